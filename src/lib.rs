//! Guideway: a userspace layer-4 load balancer for Linux.
//!
//! The crate is a house with floors; imports point down only (`tests/architecture.rs` checks it).
//!
//! | module | what it is | must never know |
//! | --- | --- | --- |
//! | [`wire`] | bytes: parse, flow key, checksum, rewrite, replies | services, snapshots, devices, time |
//! | [`maglev`] | backends, weights, size, key -> table | addresses, packets, health |
//! | [`forwarding`] | the immutable snapshot workers forward by | where it came from |
//! | [`dataplane`] | engine, flow table, NAT bindings, verdicts, counters | control, devices, clocks, threads |
//! | [`control`] | desired state, validation, compile, health state machine | YAML, devices, threads |
//! | [`source`] | the outside world -> desired state | `dataplane`, `io` |
//! | [`health`] | active probes -> health events | packets |
//! | [`announce`] | telling the network where VIPs are | packets in flight |
//! | [`io`] | the `Device` trait; memory, pcap, fault, AF_XDP | services, snapshots |
//! | [`runtime`] | worker loop, publishing, supervision, the kernel's routes | YAML |
//! | [`records`] | flows that have ended, as lines of JSON and as IPFIX | files, sockets |
//! | [`admin`] | status over a unix socket | devices |
//! | [`cli`] | one file a command | — |
//!
//! A packet's way is told in `docs/architecture.md`.

#![deny(unsafe_code)]
#![warn(missing_docs)]

#[cfg(feature = "program")]
pub mod admin;
#[cfg(feature = "program")]
pub mod announce;
mod arch;
#[cfg(feature = "program")]
pub mod cli;
pub mod control;
pub mod dataplane;
pub mod forwarding;
#[cfg(feature = "program")]
pub mod health;
pub mod io;
pub mod maglev;
pub mod records;
#[cfg(feature = "program")]
pub mod runtime;
pub mod source;
pub mod wire;
