//! A feed of services by gRPC, `guideway.v1.ServiceFeed`: the balancer's end and the reference server.
//!
//! What is said and answered is pure ([`session`] here, [`peer`] there); around that are connections.

mod client;
mod io;
pub mod peer;
mod progress;
pub mod proto;
mod resource;
mod server;
pub mod session;
#[cfg(test)]
mod tests;

pub use client::{FeedState, Follower, follow};
pub use io::{ServerFiles, plain_is_allowed};
pub use progress::Sent;
pub use resource::{make, used_twice};
pub use server::{Board, Event, PeerView, Serve, serve};

/// Bytes of one message at most. The reference server sends 1 MiB.
pub const MOST_MESSAGE_BYTES: usize = 16 << 20;
