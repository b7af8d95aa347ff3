//! The outside world -> desired state. Must never know `dataplane` or `io`.

#[cfg(feature = "program")]
pub mod ask;
#[cfg(feature = "program")]
pub mod grpc;
pub mod kubernetes;
#[cfg(feature = "program")]
pub mod moment;
pub mod yaml;
