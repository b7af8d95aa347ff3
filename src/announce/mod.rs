//! Telling the network where VIPs are: gratuitous ARP. Must never know packets in flight.

mod gratuitous;

pub use gratuitous::{Announcer, Due};
