//! The kernel's links, addresses, routes and neighbours as a [`Topology`], by route netlink.
//!
//! `view` turns messages into a topology and `keep` says which neighbours the kernel has to be
//! asked to keep alive; both are pure. `socket` talks to the kernel, `watch` does it all for as
//! long as Guideway runs. `addresses` is for those who want to know the machine's addresses and no
//! more.

mod addresses;
mod keep;
mod links;
#[cfg(test)]
mod live_tests;
mod routes;
mod socket;
mod view;
mod watch;

use std::io;
use std::thread::sleep;
use std::time::{Duration, Instant};

pub use addresses::{MachineAddress, read_addresses, watch_addresses};
pub use watch::watch_topology;

use crate::control::{InterfaceSpec, Topology};

/// The kernel tries an IPv6 address for a second (RFC 4862), and before that waits for up to one.
const TRIED_WITHIN: Duration = Duration::from_secs(3);
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Reads everything once. Blocks for a moment: for the time before the runtime starts. After a boot
/// that is until the machine knows its own IPv6 addresses.
///
/// # Errors
/// When route netlink cannot be used.
pub fn read_topology(interfaces: &[InterfaceSpec]) -> io::Result<Topology> {
    let (mut view, mut requester) = (view::KernelView::default(), socket::Requester::open()?);
    let deadline = Instant::now() + TRIED_WITHIN;
    loop {
        view.take(requester.read(true)?);
        if !view.has_tentative() || Instant::now() >= deadline {
            break;
        }
        sleep(LOOK_AGAIN);
    }
    view.set_local_port_range(socket::read_local_port_range());
    Ok(view.topology(interfaces))
}
