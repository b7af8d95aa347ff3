//! The real binary over real AF_XDP in network namespaces: one file a theme.
//!
//! Tests take turns (each has both cores for itself), need root, and leave nothing behind.

mod announce;
mod crash;
mod errors;
mod lab;
mod neighbours;
mod reload;
mod storm;
mod support;
