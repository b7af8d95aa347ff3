//! Status, changes and questions over a unix socket: one API, used by the command line. Must never
//! know devices.

mod capture;
mod change;
mod client;
mod clusters;
mod drains;
mod explain;
mod flows;
mod http;
mod inspect;
pub mod metrics;
pub mod proto;
#[cfg(test)]
mod sample;
mod server;
mod services;
mod status;
mod stop;

pub use capture::Copies;
pub use change::{Applied, ChangeReport, ChangeRequest, ChangeVerb};
pub use client::{
    Admin, FetchError, connect, fetch, fetch_kubernetes, request_change, request_stop,
};
pub use clusters::{
    ClusterReport, ClusterStatus, KubernetesReport, KubernetesService, KubernetesServiceState,
    LastError, PoolFamily, PoolStatus, PooledAddress,
};
pub use drains::{DrainAsk, DrainDone, DrainError, DrainSource, DrainStatus, DrainVerb, drains_of};
pub use flows::AskError;
pub use http::{HttpError, HttpListener, Pages};
pub use inspect::{DataPlane, TakePart};
#[cfg(test)]
pub(crate) use sample::sample_report;
pub use server::{
    AdminError, AdminSocket, Answers, ChangeSource, KubernetesSource, StatusSource, StopSource,
};
pub use services::{Measured, services_of};
pub use status::{
    BackendStatus, ConfigurationStatus, CountersStatus, FeedStatus, FlowRecordsStatus,
    GenerationStatus, HealthStatus, InterfaceStatus, NextHopStatus, RefusedReload, ReloadsStatus,
    ServiceState, ServiceStatus, SnatStatus, StatusReport, TrafficStatus, WorkerStatus,
};
pub use stop::{StopReport, StopRequest, StoppingStatus};

/// Where the admin socket is when nothing else is said.
pub const DEFAULT_SOCKET: &str = "/run/guideway/admin.sock";
/// The path of [`StatusReport`] in the API.
const STATUS_PATH: &str = "/v1/status";
/// The path of [`KubernetesReport`].
const KUBERNETES_PATH: &str = "/v1/kubernetes";
/// Where a [`ChangeRequest`] is sent.
const CHANGE_PATH: &str = "/v1/change";
/// Where a [`StopRequest`] is sent.
const STOP_PATH: &str = "/v1/stop";
