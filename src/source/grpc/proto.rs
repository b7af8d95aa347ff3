//! `guideway.v1` as `proto/guideway/v1/feed.proto` has it.

#![allow(missing_docs, reason = "the proto file has the words")]
#![allow(clippy::all, clippy::pedantic, reason = "written by a program")]

tonic::include_proto!("guideway.v1");

/// The interface for those who ask a server for it. `tests/feed_proto.rs` keeps it true.
pub const DESCRIPTORS: &[u8] = include_bytes!("../../../proto/guideway/v1/feed.binpb");
