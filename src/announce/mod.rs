//! Telling the network where VIPs are: gratuitous ARP, unsolicited neighbour advertisements, and the
//! groups in which neighbours are asked for. Must never know packets in flight.

mod gratuitous;
mod groups;
mod memberships;

pub use gratuitous::{Announcer, Due};
pub use groups::{WantedGroup, groups_of, keep_groups};
