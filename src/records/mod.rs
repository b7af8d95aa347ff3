//! Records of flows that have ended, for whoever asks later: "who was that" behind a SNAT address.
//!
//! Workers give flow events, this makes records of them and their form: JSON lines for a file, IPFIX for a
//! collector. Pure; who writes and sends is elsewhere.

pub mod ipfix;
mod json;
mod record;

pub use json::line;
pub use record::{Clock, EndReason, FlowRecord};
