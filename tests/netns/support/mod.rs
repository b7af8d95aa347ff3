//! What the namespaced tests stand on: namespaces, links, servers, and the binary under test.
//!
//! Everything a test makes belongs to its [`Lab`] and goes with it, also when the test panics.

pub mod encapsulated;
mod guideway;
pub mod judge;
mod lab;
mod machine;
mod network;
pub mod page;
mod peers;
mod process;
mod uml;

pub use guideway::{Backend, Config, Guideway, Service, refused, refused_under};
pub use lab::Lab;
pub use machine::{Machine, package};
pub use network::{Namespace, Site, plug, switch};
pub use peers::{
    Download, Hold, Nginx, fragments, get, serve, serve_all, storm, testpeer, transfer, udp,
};
pub use process::{Process, output, told};
pub use uml::Uml;

use std::time::{Duration, Instant};

/// Time for anything that ought to happen at once, on a machine that is busy with other things.
pub const SOON: Duration = Duration::from_secs(20);

/// Asks again and again until there is an answer; panics with `what` when the time is over.
pub fn wait_for<T>(what: &str, limit: Duration, mut ask: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(start.elapsed() < limit, "waited {limit:?} in vain for: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Waits until something is so.
pub fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    wait_for(what, SOON, || is_so().then_some(()));
}
