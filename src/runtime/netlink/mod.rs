//! The kernel's links, addresses, routes and neighbours as a [`Topology`], by route netlink.
//!
//! `view` turns messages into a topology and `keep` says which neighbours the kernel has to be
//! asked to keep alive; both are pure. `socket` talks to the kernel, `watch` does it all for as
//! long as Guideway runs. `addresses` is for those who want to know the machine's addresses and no
//! more.

mod addresses;
mod keep;
#[cfg(test)]
mod live_tests;
mod routes;
mod socket;
mod view;
mod watch;

use std::io;

pub use addresses::{MachineAddress, read_addresses, watch_addresses};
pub use watch::watch_topology;

use crate::control::{InterfaceSpec, Topology};

/// Reads everything once. Blocks for a moment: for the time before the runtime starts.
///
/// # Errors
/// When route netlink cannot be used.
pub fn read_topology(interfaces: &[InterfaceSpec]) -> io::Result<Topology> {
    let mut view = view::KernelView::default();
    view.take(socket::Requester::open()?.read(true)?);
    view.set_local_port_range(socket::read_local_port_range());
    Ok(view.topology(interfaces))
}
