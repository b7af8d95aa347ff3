//! Worker loop, pinning, snapshot publishing, supervision, the kernel's routes. Must never know YAML.

pub mod clock;
mod hand_over;
mod publish;
pub mod replay;
mod shared;
mod supervisor;
mod worker;

pub use hand_over::{HandOver, Parcel};
pub use publish::{Publisher, Reader};
pub use shared::{Message, Waker, WorkerReport, WorkerShared};
pub use supervisor::Supervisor;
pub use worker::{Idle, Worker};
