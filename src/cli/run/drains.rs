//! Backends that are drained by hand: begun, ended, and kept on disk over reloads and restarts.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::PoisonError;

use serde::{Deserialize, Serialize};

use super::reload::Reloader;
use super::replace_file::write_private;
use crate::admin::{AskError, DrainAsk, DrainDone, DrainError, DrainVerb};
use crate::cli::moment::now_unix_ms;
use crate::control::{Drain, Drains};

/// The form of the file. A later one has another number, and reads this one, too.
const VERSION: u32 = 1;

/// The file as it is on disk.
#[derive(Serialize, Deserialize)]
struct Kept {
    version: u32,
    drains: Vec<Drain>,
}

fn file_in(state_dir: &Path) -> PathBuf {
    state_dir.join("drains.json")
}

/// What was kept, without what is over by now. What cannot be read is told and not used: a balancer
/// that does not start would be worse than a backend that gets flows.
pub fn read(state_dir: &Path, now_unix_ms: u64) -> Drains {
    let file = file_in(state_dir);
    match try_read(&file) {
        Ok(mut drains) => {
            drains.end(|drain| drain.is_over(now_unix_ms)).iter().for_each(tell_over);
            let (count, file) = (drains.iter().count(), file.display());
            if count > 0 {
                tracing::warn!(%file, count, "backends are drained by hand: `guideway drain list`");
            }
            drains
        }
        Err(error) => {
            let file = file.display();
            tracing::error!(%file, %error, "no backend is drained by hand: the file cannot be used");
            Drains::default()
        }
    }
}

fn try_read(file: &Path) -> io::Result<Drains> {
    let text = match fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Drains::default()),
        Err(error) => return Err(error),
    };
    let kept: Kept = serde_json::from_str(&text)?;
    if kept.version != VERSION {
        let problem = format!("version {} of the file is not known", kept.version);
        return Err(io::Error::new(ErrorKind::InvalidData, problem));
    }
    let mut drains = Drains::default();
    if !kept.drains.into_iter().all(|drain| drains.begin(drain)) {
        return Err(io::Error::new(ErrorKind::InvalidData, "there are too many"));
    }
    Ok(drains)
}

fn keep(state_dir: &Path, drains: &Drains) -> io::Result<()> {
    let kept = Kept { version: VERSION, drains: drains.iter().cloned().collect() };
    fs::create_dir_all(state_dir)?;
    write_private(&file_in(state_dir), serde_json::to_string_pretty(&kept)?.as_bytes())
}

fn tell_over(drain: &Drain) {
    let Drain { backend, service, .. } = drain;
    tracing::info!(backend, service, "the drain is over: its time has come");
}

impl Reloader {
    /// Begins or ends a drain: first on disk, then in force.
    pub fn drain(&mut self, ask: DrainAsk) -> Result<DrainDone, DrainError> {
        let mut drains = self.sources.drains().clone();
        let done = match ask.verb {
            DrainVerb::Begin { until_unix_ms } => {
                let drain = self.drain_of(&ask, until_unix_ms).map_err(wrong)?;
                if !drains.begin(drain.clone()) {
                    let why = "so many backends cannot be drained by hand: say it in the \
                               configuration (`drain: true`)";
                    return Err(wrong(why.to_string()));
                }
                vec![drain]
            }
            DrainVerb::End => {
                let is_it = |drain: &Drain| {
                    drain.backend == ask.backend
                        && (ask.service.is_none() || drain.service == ask.service)
                };
                let ended = drains.end(is_it);
                if ended.is_empty() {
                    return Err(wrong(self.not_drained(&ask)));
                }
                ended
            }
        };
        self.take_drains(drains).map_err(DrainError::Failed)?;
        let is_ended = ask.verb == DrainVerb::End;
        let still_drains_in = if is_ended { self.still_drains_in(&ask) } else { vec![] };
        Ok(DrainDone { drains: done, still_drains_in })
    }

    /// Is the time of a drain over?
    pub fn is_drain_over(&self, now_unix_ms: u64) -> bool {
        self.sources.drains().iter().any(|drain| drain.is_over(now_unix_ms))
    }

    /// Ends those whose time is over.
    pub fn end_drains(&mut self, now_unix_ms: u64) {
        let mut drains = self.sources.drains().clone();
        let ended = drains.end(|drain| drain.is_over(now_unix_ms));
        if let Err(error) = self.put_in_force(drains.clone()) {
            tracing::error!(error, "drains that are over go on, tried again");
            return;
        }
        ended.iter().for_each(tell_over);
        // A restart leaves out what is over, so this is only for those who look into the file.
        if let Err(error) = keep(&self.node.state_dir, &drains) {
            tracing::warn!(%error, "drains that are over stay on disk");
        }
    }

    fn drain_of(&self, ask: &DrainAsk, until_unix_ms: Option<u64>) -> Result<Drain, String> {
        let now = now_unix_ms();
        let DrainAsk { backend, service, uid, .. } = ask;
        if until_unix_ms.is_some_and(|until| until <= now) {
            return Err("the drain would be over at once: its end is not in the future".to_string());
        }
        let drain = Drain {
            backend: backend.clone(),
            service: service.clone(),
            uid: *uid,
            user: uid.and_then(user_name),
            since_unix_ms: now,
            until_unix_ms,
        };
        let mut services = self.desired.services.iter().filter(|s| drain.is_in(&s.name));
        if services.any(|service| service.backends.iter().any(|b| b.name == *backend)) {
            return Ok(drain);
        }
        let of = service.as_ref().map_or_else(String::new, |name| format!(" of service `{name}`"));
        Err(format!("no backend `{backend}`{of}: `guideway backends` shows those there are"))
    }

    fn not_drained(&self, ask: &DrainAsk) -> String {
        let backend = &ask.backend;
        let mut others = self.sources.drains().iter().filter(|drain| drain.backend == *backend);
        match (others.next(), self.still_drains_in(ask).as_slice()) {
            (Some(Drain { service: None, .. }), _) => format!(
                "`{backend}` is drained in all services at once: end that without --service"
            ),
            (Some(Drain { service: Some(other), .. }), _) => {
                format!("`{backend}` is drained by hand in service `{other}` only")
            }
            (None, []) => {
                format!("`{backend}` is not drained: `guideway drain list` shows what is")
            }
            (None, services) => format!(
                "`{backend}` is not drained by hand, but by the configuration of {}: change that",
                services.join(", ")
            ),
        }
    }

    /// Services that have the backend and give it no new flow.
    fn still_drains_in(&self, ask: &DrainAsk) -> Vec<String> {
        let is_meant = |name: &String| ask.service.as_ref().is_none_or(|service| service == name);
        let services = self.desired.services.iter().filter(|service| {
            let mut of_it = service.backends.iter().filter(|b| b.name == ask.backend);
            is_meant(&service.name) && of_it.any(|b| b.drain || b.weight == 0)
        });
        services.map(|service| service.name.clone()).collect()
    }

    /// What is not on disk must not be in force: after a restart it would be gone.
    fn take_drains(&mut self, drains: Drains) -> Result<(), String> {
        let state_dir = self.node.state_dir.clone();
        let before = self.sources.drains().clone();
        let failed = |error: io::Error| {
            format!("{} cannot be written: {error}", file_in(&state_dir).display())
        };
        keep(&state_dir, &drains).map_err(failed)?;
        let done = self.put_in_force(drains);
        if done.is_err() {
            keep(&state_dir, &before).map_err(failed)?;
        }
        done
    }

    fn put_in_force(&mut self, drains: Drains) -> Result<(), String> {
        let before = self.sources.drains().clone();
        self.sources.set_drains(drains.clone());
        if let Err(error) = self.publish(self.sources.merged().desired.clone()) {
            self.sources.set_drains(before);
            return Err(error.to_string());
        }
        *self.context.drains.lock().unwrap_or_else(PoisonError::into_inner) = drains;
        self.wait_until_everywhere();
        Ok(())
    }
}

fn wrong(text: String) -> DrainError {
    DrainError::Wrong(AskError(text))
}

/// The name that `/etc/passwd` has for a user.
fn user_name(uid: u32) -> Option<String> {
    let text = fs::read_to_string("/etc/passwd").ok()?;
    text.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_string())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(backend: &str, until_unix_ms: Option<u64>) -> Drain {
        Drain {
            backend: backend.to_string(),
            service: None,
            uid: Some(0),
            user: user_name(0),
            since_unix_ms: 1,
            until_unix_ms,
        }
    }

    #[test]
    fn kept_and_read_again() {
        let directory = tempfile::tempdir().unwrap();
        let state = directory.path().join("state");
        assert_eq!(read(&state, 5), Drains::default(), "nothing is there");
        let mut drains = Drains::default();
        let all = [drain("b1", None), drain("b2", Some(10)), drain("b3", Some(5))];
        assert!(all.iter().all(|drain| drains.begin(drain.clone())));
        keep(&state, &drains).unwrap();
        assert_eq!(read(&state, 4), drains);
        let names: Vec<_> = read(&state, 5).iter().map(|drain| drain.backend.clone()).collect();
        assert_eq!(names, ["b1", "b2"], "one was over before the restart");
    }

    #[test]
    fn what_is_not_understood_is_not_used() {
        let directory = tempfile::tempdir().unwrap();
        let mut drains = Drains::default();
        assert!(drains.begin(drain("b1", None)));
        keep(directory.path(), &drains).unwrap();
        let file = file_in(directory.path());
        let text = fs::read_to_string(&file).unwrap();
        for broken in ["", "{}", &text[..20], &text.replace("\"version\": 1", "\"version\": 2")] {
            fs::write(&file, broken).unwrap();
            assert_eq!(read(directory.path(), 5), Drains::default(), "{broken}");
        }
    }

    #[test]
    fn users_have_names() {
        assert_eq!(user_name(0).as_deref(), Some("root"));
        assert_eq!(user_name(4_000_000_000), None);
    }
}
