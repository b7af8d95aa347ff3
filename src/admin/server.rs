//! The unix socket: one owner, mode 0660, no trace of it after a clean end.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use rustix::fs::{FlockOperation, flock};
use rustix::net::sockopt::socket_peercred;

use super::{STATUS_PATH, StatusReport};

/// Makes a report of this moment.
pub type StatusSource = Arc<dyn Fn() -> StatusReport + Send + Sync>;

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
    pub async fn serve(self, status: StatusSource) -> io::Result<()> {
        let listener = tokio::net::UnixListener::from_std(self.listener.try_clone()?)?;
        let router = Router::new().route(STATUS_PATH, get(report)).with_state(status);
        axum::serve(listener, router).await
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

/// Binds and answers until the future is dropped.
///
/// # Errors
/// See [`AdminSocket::bind`] and [`AdminSocket::serve`].
pub async fn serve(path: &Path, status: StatusSource) -> Result<(), AdminError> {
    let socket = AdminSocket::bind(path)?;
    socket.serve(status).await.map_err(|source| AdminError::Io {
        socket: path.to_path_buf(),
        doing: "answer",
        source,
    })
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

async fn report(State(status): State<StatusSource>) -> Response {
    // Making it may take locks and, with many backends, a while: not on a thread others wait for.
    match tokio::task::spawn_blocking(move || Json(status()).into_response()).await {
        Ok(response) => response,
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{fetch, sample_report};
    use super::*;

    #[tokio::test]
    async fn round_trip_over_a_real_socket() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("run/admin.sock");
        let socket = AdminSocket::bind(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
        let task = tokio::spawn(socket.serve(Arc::new(sample_report)));
        let limit = std::time::Duration::from_secs(30);
        assert_eq!(fetch(&path, limit).await.unwrap(), sample_report());
        let error = serve(&path, Arc::new(sample_report)).await.unwrap_err().to_string();
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
