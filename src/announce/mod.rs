//! Telling the network where VIPs are: gratuitous ARP, unsolicited neighbour advertisements. Must
//! never know packets in flight.

mod gratuitous;

pub use gratuitous::{Announcer, Due};
