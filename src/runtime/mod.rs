//! Worker loop, pinning, snapshot publishing, supervision, the kernel's routes. Must never know YAML.

pub mod clock;
mod control_loop;
mod controller;
mod engine_config;
mod hand_over;
pub mod netlink;
pub mod privileges;
mod progress;
mod publish;
pub mod replay;
mod seldom;
mod shared;
mod steering;
mod supervisor;
mod tap;
mod walk;
mod worker;

pub use control_loop::{Event, run_control_loop};
pub use controller::{Controller, Running, Step};
pub use engine_config::engine_config;
pub use hand_over::{HandOver, Parcel};
pub use progress::silent_workers;
pub use publish::{Publisher, Reader};
pub use seldom::Seldom;
pub use shared::{Message, Waker, WorkerReport, WorkerShared};
pub use steering::{SteerTarget, Steering};
pub use supervisor::Supervisor;
pub use tap::{Capture, CaptureError, Tap};
pub use walk::{WalkError, walk_flows};
pub use worker::{Idle, Worker};
