//! Guideway in front of a real Kubernetes control plane, over real AF_XDP in network namespaces.
//!
//! What is real and what stands in for something is told in `docs/kubernetes-tests.md`. The programs
//! have to be there: `scripts/kubernetes-programs core`. A cluster takes seconds to start, so tests
//! share one: each file has one test, made of parts that have a Kubernetes namespace each.

mod balancer;
mod bed;
mod cluster;
mod leaving;
mod space;
#[path = "../netns/support/mod.rs"]
#[allow(dead_code, unused_imports)]
mod support;
mod targets;
mod telling;
