//! The unix socket: one owner, mode 0660, no trace of it after a clean end.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::extract::connect_info::{ConnectInfo, Connected};
use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::serve::IncomingStream;
use axum::{Json, Router};
use rustix::fs::{FlockOperation, flock};
use rustix::net::sockopt::socket_peercred;
use tokio::net::unix::UCred;

use super::drains::DrainSource;
use super::inspect::{self, DataPlane};
use super::{
    CHANGE_PATH, ChangeReport, ChangeRequest, ChangeVerb, KUBERNETES_PATH, KubernetesReport,
    STATUS_PATH, STOP_PATH, StatusReport, StopReport, StopRequest,
};

/// Makes a report of this moment.
pub type StatusSource = Arc<dyn Fn() -> StatusReport + Send + Sync>;

/// Says how clusters and their services are.
pub type KubernetesSource = Arc<dyn Fn() -> KubernetesReport + Send + Sync>;

/// Does a change, or says what it would do.
pub type ChangeSource = Arc<dyn Fn(ChangeRequest) -> ChangeReport + Send + Sync>;

/// Ends what runs.
pub type StopSource = Arc<dyn Fn(StopRequest) -> StopReport + Send + Sync>;

/// Bytes of a request: the largest configuration file, with every byte of it escaped.
const REQUEST_LIMIT_BYTES: usize = 100 << 20;

/// Who answers what.
#[derive(Clone)]
pub struct Answers {
    /// What runs.
    pub status: StatusSource,
    /// Clusters and their services.
    pub kubernetes: KubernetesSource,
    /// Changes of what runs.
    pub change: ChangeSource,
    /// Drains by hand.
    pub drain: DrainSource,
    /// The end of what runs.
    pub stop: StopSource,
    /// Questions about packets and flows.
    pub data_plane: Arc<dyn DataPlane>,
}

/// Who asks, as the kernel says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer(pub(super) Option<UCred>);

impl Peer {
    /// Its user; none when the kernel does not say.
    pub(super) fn uid(self) -> Option<u32> {
        self.0.map(|peer| peer.uid())
    }

    /// Its process; none when the kernel does not say.
    pub(super) fn pid(self) -> Option<i32> {
        self.0.and_then(|peer| peer.pid())
    }

    /// May it change anything? Root and our own user; whoever else the file's mode lets in may look.
    pub(super) fn may_change(self) -> bool {
        let own = rustix::process::geteuid().as_raw();
        self.uid().is_some_and(|uid| uid == 0 || uid == own)
    }
}

impl Connected<IncomingStream<'_, tokio::net::UnixListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, tokio::net::UnixListener>) -> Peer {
        Peer(stream.io().peer_cred().ok())
    }
}

/// Why there is no admin socket.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// Somebody answers on it.
    #[error(
        "another guideway is running{} on {}: stop it first, or give this one its own \
         `admin.socket`",
        pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default(), socket.display()
    )]
    Running {
        /// Its process, where the kernel tells.
        pid: Option<i32>,
        /// The socket.
        socket: PathBuf,
    },
    /// It would have to be removed, and is not ours to remove.
    #[error("{} exists and is not a socket: move it away, or change `admin.socket`", .0.display())]
    NotASocket(PathBuf),
    /// The system refused.
    #[error("admin socket {}: {doing}: {source}", socket.display())]
    Io {
        /// The socket.
        socket: PathBuf,
        /// What was tried.
        doing: &'static str,
        /// What it said.
        source: io::Error,
    },
}

/// A bound admin socket; its file goes when it is dropped.
#[derive(Debug)]
pub struct AdminSocket {
    path: PathBuf,
    listener: UnixListener,
    inode: u64,
}

impl AdminSocket {
    /// Binds `path`: makes its directory, replaces the socket of a process that is dead.
    ///
    /// # Errors
    /// When another Guideway answers there, or the file system refuses.
    pub fn bind(path: &Path) -> Result<AdminSocket, AdminError> {
        let refused =
            |doing| move |source| AdminError::Io { socket: path.to_path_buf(), doing, source };
        let directory = path.parent().filter(|p| !p.as_os_str().is_empty());
        let directory = directory.unwrap_or(Path::new("."));
        fs::create_dir_all(directory).map_err(refused("make its directory"))?;
        // Two that start at once would each take the other's new socket for a dead one's.
        let lock = fs::File::open(directory).map_err(refused("open its directory"))?;
        flock(&lock, FlockOperation::LockExclusive)
            .map_err(|error| refused("lock its directory")(error.into()))?;
        remove_dead(path)?;
        let listener = UnixListener::bind(path).map_err(refused("bind"))?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o660))
            .map_err(refused("set its mode"))?;
        listener.set_nonblocking(true).map_err(refused("make it non-blocking"))?;
        let inode = fs::symlink_metadata(path).map_err(refused("look at it"))?.ino();
        Ok(AdminSocket { path: path.to_path_buf(), listener, inode })
    }

    /// Answers until the future is dropped.
    ///
    /// # Errors
    /// When the socket cannot be used any more.
    pub async fn serve(self, answers: Answers) -> io::Result<()> {
        let listener = tokio::net::UnixListener::from_std(self.listener.try_clone()?)?;
        let limit = DefaultBodyLimit::max(REQUEST_LIMIT_BYTES);
        let calls = inspect::service(answers.clone());
        let calls = tonic::service::Routes::new(calls).into_axum_router();
        let router = Router::new()
            .route(STATUS_PATH, get(report))
            .route(KUBERNETES_PATH, get(kubernetes))
            .route(CHANGE_PATH, post(change).layer(limit))
            .route(STOP_PATH, post(stop))
            .with_state(answers)
            .merge(calls);
        axum::serve(listener, router.into_make_service_with_connect_info::<Peer>()).await
    }
}

impl Drop for AdminSocket {
    fn drop(&mut self) {
        let still_ours = fs::symlink_metadata(&self.path).is_ok_and(|m| m.ino() == self.inode);
        if still_ours && let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(socket = %self.path.display(), %error, "admin socket not removed");
        }
    }
}

fn remove_dead(path: &Path) -> Result<(), AdminError> {
    let socket = path.to_path_buf();
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(AdminError::Io { socket, doing: "look at it", source }),
        Ok(metadata) if !metadata.file_type().is_socket() => {
            return Err(AdminError::NotASocket(socket));
        }
        Ok(_) => {}
    }
    match UnixStream::connect(path) {
        Ok(stream) => {
            let pid = socket_peercred(&stream).ok().map(|peer| peer.pid.as_raw_nonzero().get());
            Err(AdminError::Running { pid, socket })
        }
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => fs::remove_file(path)
            .map_err(|source| AdminError::Io { socket, doing: "remove a dead one's", source }),
        Err(source) => Err(AdminError::Io { socket, doing: "ask who has it", source }),
    }
}

async fn report(State(answers): State<Answers>) -> Response {
    answer(move || Json((answers.status)()).into_response()).await
}

async fn kubernetes(State(answers): State<Answers>) -> Response {
    answer(move || Json((answers.kubernetes)()).into_response()).await
}

/// The socket's group may look; what runs is changed by root, and by whom Guideway runs as.
async fn change(
    State(answers): State<Answers>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    Json(request): Json<ChangeRequest>,
) -> Response {
    if request.verb != ChangeVerb::Plan && !peer.may_change() {
        let why = "only root and the user Guideway runs as may change what runs";
        return (StatusCode::FORBIDDEN, why).into_response();
    }
    if request.verb != ChangeVerb::Plan {
        let (uid, pid, file) = (peer.uid(), peer.pid(), &request.shown);
        let ChangeRequest { verb, confirm, may_break, .. } = request;
        tracing::info!(uid, pid, ?verb, file, confirm, may_break, "a change is asked for");
    }
    answer(move || Json((answers.change)(request)).into_response()).await
}

/// Whoever may change what runs may end it.
async fn stop(
    State(answers): State<Answers>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    Json(request): Json<StopRequest>,
) -> Response {
    if !peer.may_change() {
        let why = "only root and the user Guideway runs as may stop it";
        return (StatusCode::FORBIDDEN, why).into_response();
    }
    tracing::info!(uid = peer.uid(), pid = peer.pid(), ?request.drain_ms, "a stop is asked for");
    answer(move || Json((answers.stop)(request)).into_response()).await
}

/// It may take locks and, with many backends, a while: not on a thread others wait for.
async fn answer(make: impl FnOnce() -> Response + Send + 'static) -> Response {
    match tokio::task::spawn_blocking(make).await {
        Ok(response) => response,
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::inspect::NoFlows;
    use super::super::{
        DrainDone, fetch, fetch_kubernetes, request_change, request_stop, sample_report,
    };
    use super::*;

    #[tokio::test]
    async fn round_trip_over_a_real_socket() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("run/admin.sock");
        let socket = AdminSocket::bind(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
        let change = |request: ChangeRequest| ChangeReport {
            refused: Some(request.text),
            ..ChangeReport::default()
        };
        let answers = Answers {
            status: Arc::new(sample_report),
            kubernetes: Arc::new(KubernetesReport::default),
            change: Arc::new(change),
            drain: Arc::new(|_| Ok(DrainDone::default())),
            stop: Arc::new(|_| StopReport::default()),
            data_plane: Arc::new(NoFlows),
        };
        let task = tokio::spawn(socket.serve(answers));
        let limit = std::time::Duration::from_secs(30);
        assert_eq!(fetch(&path, limit).await.unwrap(), sample_report());
        let clusters = fetch_kubernetes(&path, limit).await.unwrap();
        assert_eq!(clusters, KubernetesReport::default());
        // Larger than what is let pass where nothing is said.
        let request = ChangeRequest {
            verb: ChangeVerb::Apply,
            shown: "f".to_string(),
            name: "f".to_string(),
            text: "\n".repeat(3 << 20),
            confirm: false,
            may_break: false,
        };
        let report = request_change(&path, &request, limit).await.unwrap();
        assert!(report.refused == Some(request.text));
        let stop = StopRequest { drain_ms: Some(5) };
        let report = request_stop(&path, &stop, limit).await.unwrap();
        assert_eq!(report, StopReport::default());
        let error = AdminSocket::bind(&path).unwrap_err().to_string();
        let wanted = format!("another guideway is running (pid {}) on ", std::process::id());
        assert!(error.starts_with(&wanted), "{error}");
        task.abort();
        assert!(task.await.unwrap_err().is_cancelled());
        assert!(!path.exists(), "a clean end leaves nothing");
    }

    #[test]
    fn a_dead_ones_socket_is_replaced_and_a_file_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("admin.sock");
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists(), "left behind, as by SIGKILL");
        drop(AdminSocket::bind(&path).unwrap());
        fs::write(&path, "precious").unwrap();
        let error = AdminSocket::bind(&path).unwrap_err();
        assert!(matches!(error, AdminError::NotASocket(_)), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    }
}
