//! A folder of YAML files as one source, each file a part of it.
//!
//! [`MAIN`] says what is fixed at start, and may have services as a single file has. Every other
//! `*.yaml` or `*.yml` has what may change: `services`, `snat`, `tunnel_sources`, `timeouts`. Each is
//! refused or taken by itself. Files that look as they did are not read again, and those with the same
//! content are not parsed again.

use std::collections::BTreeMap;
use std::hash::Hasher;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use siphasher::sip::SipHasher13;

use super::error::ConfigError;
use super::looks::{Looks, looks};
use super::reader::Findings;
use super::tree::Node;
use super::{
    LoadedConfig, desired, open_root, parse, parse_by, placed, read, scalar, schema, text_of,
};
use crate::control::{DesiredState, Refusal, validate_part};

/// The file in a folder that says what is fixed at start.
pub const MAIN: &str = "guideway.yaml";

/// A folder, and what is known of its files.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    files: BTreeMap<String, Seen>,
}

/// A file as it was when it was read last.
#[derive(Debug)]
struct Seen {
    looks: Looks,
    hash: u64,
}

/// A file beside the main one.
#[derive(Clone)]
pub struct LoadedPart {
    /// The file as it is called.
    pub file: String,
    /// What it wants.
    pub desired: DesiredState,
    text: Arc<str>,
    tree: Arc<Node>,
}

impl std::fmt::Debug for LoadedPart {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let LoadedPart { file, desired, .. } = self;
        f.debug_struct("LoadedPart").field("file", file).field("desired", desired).finish()
    }
}

impl LoadedPart {
    /// The file's text.
    pub fn text(&self) -> Arc<str> {
        self.text.clone()
    }

    /// Shows refusals that were found later with line and caret.
    pub fn refuse(&self, refusals: Vec<Refusal>) -> ConfigError {
        ConfigError::new(&self.file, &self.text, placed(&self.tree, refusals))
    }
}

/// A file of the folder that has another content.
#[derive(Debug)]
pub enum Changed {
    /// The main one.
    Main(Box<Result<LoadedConfig, ConfigError>>),
    /// Another one.
    Part(Box<Result<LoadedPart, ConfigError>>),
}

/// What has happened in a folder.
#[derive(Debug, Default)]
pub struct FolderChanges {
    /// Files with another content, by name.
    pub changed: Vec<(String, Changed)>,
    /// Files that are no longer there.
    pub gone: Vec<String>,
}

impl FolderChanges {
    /// Nothing has happened.
    pub fn is_empty(&self) -> bool {
        self.changed.is_empty() && self.gone.is_empty()
    }
}

impl Folder {
    /// A folder of which nothing has been read.
    pub fn new(path: &Path) -> Folder {
        Folder { path: path.to_path_buf(), files: BTreeMap::new() }
    }

    /// Reads what looks otherwise than last time, on all cores.
    ///
    /// # Errors
    /// When the folder itself cannot be read.
    pub fn read(&mut self) -> Result<FolderChanges, ConfigError> {
        let names = names(&self.path).map_err(|error| {
            let name = self.path.display().to_string();
            let problem = format!("cannot be read: {error}");
            ConfigError::of_file(&name, problem, "a folder of YAML files that can be read")
        })?;
        let is_known = |name: &String, now: &Looks| {
            self.files.get(name).is_some_and(|seen| seen.looks == *now && now.is_some())
        };
        let others: Vec<(String, Looks)> = names
            .iter()
            .map(|name| (name.clone(), looks(&self.path.join(name))))
            .filter(|(name, now)| !is_known(name, now))
            .collect();
        let mut changes = FolderChanges::default();
        for ((name, looks), (hash, changed)) in others.iter().zip(self.read_all(&others)) {
            if let Some(changed) = changed {
                changes.changed.push((name.clone(), changed));
            }
            self.files.insert(name.clone(), Seen { looks: *looks, hash });
        }
        let gone = self.files.keys().filter(|name| !names.contains(name));
        changes.gone = gone.cloned().collect();
        changes.gone.iter().for_each(|name| _ = self.files.remove(name));
        Ok(changes)
    }

    /// Forgets that these were read, so that they are read again next time.
    pub fn forget<'n>(&mut self, names: impl IntoIterator<Item = &'n String>) {
        names.into_iter().for_each(|name| _ = self.files.remove(name));
    }

    /// Each file's hash and, where that is another one, its content, in order.
    fn read_all(&self, files: &[(String, Looks)]) -> Vec<(u64, Option<Changed>)> {
        let (next, workers) = (AtomicUsize::new(0), std::thread::available_parallelism());
        let work = || {
            let mut done = Vec::new();
            loop {
                let place = next.fetch_add(1, Ordering::Relaxed);
                let Some((name, _)) = files.get(place) else { return done };
                done.push((place, self.read_one(name)));
            }
        };
        let workers = workers.map_or(1, usize::from).min(files.len());
        let mut done: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (1..workers).map(|_| scope.spawn(work)).collect();
            let mut done = work();
            // A thread that panicked has panicked here.
            threads.into_iter().for_each(|thread| match thread.join() {
                Ok(more) => done.extend(more),
                Err(panic) => std::panic::resume_unwind(panic),
            });
            done
        });
        done.sort_by_key(|&(place, _)| place);
        done.into_iter().map(|(_, one)| one).collect()
    }

    fn read_one(&self, name: &str) -> (u64, Option<Changed>) {
        let path = self.path.join(name);
        let shown = path.display().to_string();
        let bytes = read(&shown, &path);
        let mut hasher = SipHasher13::new();
        hasher.write(bytes.as_deref().unwrap_or_default());
        let hash = hasher.finish();
        if bytes.is_ok() && self.files.get(name).is_some_and(|seen| seen.hash == hash) {
            return (hash, None);
        }
        let text = bytes.and_then(|bytes| text_of(&shown, bytes));
        let changed = if name == MAIN {
            Changed::Main(Box::new(text.and_then(|text| parse(&shown, &text))))
        } else {
            Changed::Part(Box::new(text.and_then(|text| parse_part(&shown, &text))))
        };
        (hash, Some(changed))
    }
}

/// Files that count, sorted: no hidden ones, among which are those that editors leave.
pub fn names(folder: &Path) -> std::io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let Ok(name) = entry?.file_name().into_string() else { continue };
        let is_yaml = name.ends_with(".yaml") || name.ends_with(".yml");
        if is_yaml && !name.starts_with('.') {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// Reads the text of a file beside the main one; `name` is what errors call it.
///
/// # Errors
/// All problems that were found.
pub fn parse_part(name: &str, text: &str) -> Result<LoadedPart, ConfigError> {
    let (text, tree, desired) = parse_by(name, text, interpret)?;
    let part = LoadedPart { file: name.to_string(), desired, text: text.into(), tree };
    let refusals = validate_part(&part.desired);
    if refusals.is_empty() { Ok(part) } else { Err(part.refuse(refusals)) }
}

fn interpret(tree: &Node, findings: &Findings) -> Option<DesiredState> {
    let root = open_root(tree, &schema::PART, findings)?;
    let version: Option<u32> = root.get("version", scalar::number(1..=1));
    let desired = desired::read(&root);
    version?;
    desired
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const MAIN_TEXT: &str = "version: 1\ninterfaces: [{ name: eth1 }]\nsnat: [{ address: 10.1.0.10 }]\n\
                             services: []\n";

    fn part(port: u16) -> String {
        format!(
            "version: 1\nservices:\n  - name: s{port}\n    address: 10.1.0.100\n    port: {port}\n    \
             backends: [{{ name: b1, address: 10.2.0.11 }}]\n"
        )
    }

    fn told(changes: &FolderChanges) -> Vec<String> {
        let told = |(name, changed): &(String, Changed)| match changed {
            Changed::Main(main) if main.is_ok() => format!("{name} is the main one"),
            Changed::Part(part) => match &**part {
                Ok(part) => format!("{name} {}", part.desired.services[0].name),
                Err(error) => format!("{name} {}", error.problems[0].problem),
            },
            Changed::Main(_) => format!("{name} is refused"),
        };
        let gone = changes.gone.iter().map(|name| format!("{name} is gone"));
        changes.changed.iter().map(told).chain(gone).collect()
    }

    #[test]
    fn only_what_has_changed_is_parsed() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let mut folder = Folder::new(directory.path());
        fs::write(at("guideway.yaml"), MAIN_TEXT).unwrap();
        for port in 80..90 {
            fs::write(at(&format!("{port}.yaml")), part(port)).unwrap();
        }
        for stranger in [".hidden.yaml", "note.txt", "80.yaml~"] {
            fs::write(at(stranger), "neither read nor refused").unwrap();
        }
        let changes = folder.read().unwrap();
        assert_eq!(changes.changed.len(), 11);
        assert_eq!(told(&changes)[9..], ["89.yaml s89", "guideway.yaml is the main one"]);
        assert!(folder.read().unwrap().is_empty(), "nothing has happened");
        // Written anew with the same content, as by a tool that writes all of it each time.
        fs::write(at("new"), part(80)).unwrap();
        fs::rename(at("new"), at("80.yaml")).unwrap();
        assert!(folder.read().unwrap().is_empty(), "the same content");
        fs::write(at("81.yaml"), part(8081)).unwrap();
        fs::write(at("82.yml"), part(8082)).unwrap();
        fs::write(at("83.yaml"), "version: 1\nservices: 7\n").unwrap();
        fs::write(at("84.yaml"), "version: 1\ninterfaces: []\n").unwrap();
        fs::remove_file(at("85.yaml")).unwrap();
        let changes = folder.read().unwrap();
        let wanted = [
            "81.yaml s8081",
            "82.yml s8082",
            "83.yaml `7`",
            "84.yaml unknown key",
            "85.yaml is gone",
        ];
        assert_eq!(told(&changes), wanted);
        folder.forget(&["81.yaml".to_string()]);
        assert_eq!(told(&folder.read().unwrap()), ["81.yaml s8081"]);
        let error = Folder::new(&at("none")).read().unwrap_err();
        assert!(error.to_string().contains("cannot be read: No such file"), "{error}");
    }

    #[test]
    fn a_part_may_need_what_stands_in_another() {
        assert!(parse_part("p", &part(80)).is_ok(), "its SNAT address is elsewhere");
        let twice = format!("{}{}", part(80), part(81).split_once("services:\n").unwrap().1);
        assert!(parse_part("p", &twice).is_ok());
        let error = parse_part("p", &twice.replace("port: 81", "port: 80")).unwrap_err();
        assert!(error.to_string().starts_with("p:9:11: services[1].port: tcp"), "{error}");
    }
}
