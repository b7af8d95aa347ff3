//! The real binary over real AF_XDP in network namespaces: one file a theme.
//!
//! Tests take turns (each has both cores for itself), need root, and leave nothing behind.

mod bridge;
mod dsr;
mod lab;
mod nat;
mod queues;
mod support;
