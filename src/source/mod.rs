//! The outside world -> desired state. Must never know `dataplane` or `io`.

pub mod grpc;
pub mod yaml;
