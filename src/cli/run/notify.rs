//! What systemd is told, by datagrams to the socket it names (sd_notify(3)); nothing where it named
//! none.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Whom to tell.
#[derive(Debug, Default)]
pub struct Notifier {
    socket: Option<UnixDatagram>,
    watchdog: Option<Duration>,
}

impl Notifier {
    /// As the environment says.
    pub fn from_environment() -> Notifier {
        let text = |name| std::env::var(name).ok();
        let address = std::env::var_os("NOTIFY_SOCKET").and_then(|name| address_of(&name));
        let Some(address) = address else { return Notifier::default() };
        let interval = watchdog_of(text("WATCHDOG_USEC"), text("WATCHDOG_PID"), std::process::id());
        match connect(&address) {
            Ok(socket) => Notifier { socket: Some(socket), watchdog: interval },
            Err(error) => {
                tracing::warn!(%error, "systemd's NOTIFY_SOCKET cannot be used");
                Notifier::default()
            }
        }
    }

    /// After how long without [`Notifier::alive`] it kills us.
    pub fn watchdog(&self) -> Option<Duration> {
        self.watchdog
    }

    /// Packets are balanced: the start, or a reload, is over.
    pub fn ready(&self, status: &str) {
        self.tell(&format!("READY=1\nSTATUS={status}"));
    }

    /// The configuration is read again. With the time, so that it knows which reload is meant.
    pub fn reloading(&self) {
        let now = clock_gettime(ClockId::Monotonic);
        let now_us = now.tv_sec as u64 * 1_000_000 + now.tv_nsec as u64 / 1_000;
        self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={now_us}"));
    }

    /// In words, what is going on.
    pub fn status(&self, status: &str) {
        self.tell(&format!("STATUS={status}"));
    }

    /// The end has begun.
    pub fn stopping(&self) {
        self.tell("STOPPING=1\nSTATUS=stopping");
    }

    /// All threads make progress.
    pub fn alive(&self) {
        self.tell("WATCHDOG=1");
    }

    fn tell(&self, state: &str) {
        let Some(socket) = &self.socket else { return };
        // It is told for its own good: what it does not hear is its loss.
        if let Err(error) = socket.send(state.as_bytes()) {
            tracing::debug!(%error, "systemd was not told");
        }
    }
}

fn connect(address: &SocketAddr) -> std::io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.connect_addr(address)?;
    // A manager that does not read must not stop anything here.
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// A path, or after `@` an abstract name.
fn address_of(name: &std::ffi::OsStr) -> Option<SocketAddr> {
    match name.as_bytes() {
        [b'/', ..] => SocketAddr::from_pathname(Path::new(name)).ok(),
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name).ok(),
        _ => None,
    }
}

/// The interval, if it is meant for this process (sd_watchdog_enabled(3)).
fn watchdog_of(us: Option<String>, pid: Option<String>, own: u32) -> Option<Duration> {
    let is_ours = pid.is_none_or(|pid| pid.parse() == Ok(own));
    let us = us?.parse().ok().filter(|&us: &u64| us > 0 && is_ours)?;
    Some(Duration::from_micros(us))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(listener: &UnixDatagram) -> String {
        let mut text = [0; 200];
        let len = listener.recv(&mut text).unwrap();
        String::from_utf8(text[..len].to_vec()).unwrap()
    }

    #[test]
    fn what_is_told_arrives() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let abstract_name = format!("@guideway-test-{}", std::process::id());
        for name in [path.as_os_str(), abstract_name.as_ref()] {
            let address = address_of(name).unwrap();
            let listener = UnixDatagram::bind_addr(&address).unwrap();
            let notifier = Notifier { socket: connect(&address).ok(), watchdog: None };
            notifier.ready("2 workers");
            assert_eq!(heard(&listener), "READY=1\nSTATUS=2 workers");
            notifier.reloading();
            let told = heard(&listener);
            let time = told.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap();
            assert!(time.parse::<u64>().unwrap() > 0, "{told}");
            notifier.alive();
            assert_eq!(heard(&listener), "WATCHDOG=1");
            drop(listener);
            notifier.stopping();
        }
        Notifier::default().ready("nobody hears it");
        assert!(address_of("vsock:1:2".as_ref()).is_none());
    }

    #[test]
    fn a_watchdog_is_for_the_process_that_it_names() {
        let text = |text: &str| Some(text.to_string());
        let seconds = Some(Duration::from_secs(2));
        let rows = [
            (text("2000000"), text("7"), seconds),
            (text("2000000"), None, seconds),
            (text("2000000"), text("8"), None),
            (text("0"), text("7"), None),
            (text("soon"), text("7"), None),
            (None, text("7"), None),
        ];
        for (us, pid, wanted) in rows {
            assert_eq!(watchdog_of(us.clone(), pid.clone(), 7), wanted, "{us:?} {pid:?}");
        }
    }
}
