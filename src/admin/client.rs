//! Asking a running Guideway, and having it change.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::Request;
use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint};

use super::proto::admin_client::AdminClient;
use super::{
    CHANGE_PATH, ChangeReport, ChangeRequest, KUBERNETES_PATH, KubernetesReport, STATUS_PATH,
    STOP_PATH, StatusReport, StopReport, StopRequest,
};

/// More than any report: 65,536 backends take about 30 MB.
const REPORT_LIMIT_BYTES: usize = 256 << 20;

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// Nobody listens.
    #[error(
        "no guideway answers on {}: is it running? If its configuration has another \
         `admin.socket`, give that with --socket", .0.display()
    )]
    NotRunning(PathBuf),
    /// It is there, but not for us.
    #[error(
        "no permission to use {}: run as root (to change something), or as its group (to look)",
        .0.display()
    )]
    NoPermission(PathBuf),
    /// It does not answer.
    #[error("guideway on {} did not answer within {limit:?}: is it stuck?", socket.display())]
    TimedOut {
        /// The socket.
        socket: PathBuf,
        /// How long was waited.
        limit: Duration,
    },
    /// It answers something else.
    #[error("{} answered something that is not understood: {problem}", socket.display())]
    NotUnderstood {
        /// The socket.
        socket: PathBuf,
        /// What was wrong with it.
        problem: String,
    },
}

/// The report of the Guideway that listens on `socket`.
///
/// # Errors
/// See [`FetchError`]; each says what to do.
pub async fn fetch(socket: &Path, limit: Duration) -> Result<StatusReport, FetchError> {
    get(socket, STATUS_PATH, limit).await
}

/// The Kubernetes clusters of the Guideway that listens on `socket`, with their services.
///
/// # Errors
/// See [`FetchError`]; each says what to do.
pub async fn fetch_kubernetes(
    socket: &Path,
    limit: Duration,
) -> Result<KubernetesReport, FetchError> {
    get(socket, KUBERNETES_PATH, limit).await
}

/// What became of a change, or would.
///
/// # Errors
/// See [`FetchError`]; each says what to do.
pub async fn request_change(
    socket: &Path,
    change: &ChangeRequest,
    limit: Duration,
) -> Result<ChangeReport, FetchError> {
    post(socket, CHANGE_PATH, change, limit).await
}

/// Has it end.
///
/// # Errors
/// See [`FetchError`]; each says what to do.
pub async fn request_stop(
    socket: &Path,
    stop: &StopRequest,
    limit: Duration,
) -> Result<StopReport, FetchError> {
    post(socket, STOP_PATH, stop, limit).await
}

async fn get<T: DeserializeOwned>(
    socket: &Path,
    path: &str,
    limit: Duration,
) -> Result<T, FetchError> {
    let request = Request::get(path).header(HOST, "guideway").body(Full::default());
    ask(socket, request, limit).await
}

async fn post<T: DeserializeOwned>(
    socket: &Path,
    path: &str,
    what: &impl Serialize,
    limit: Duration,
) -> Result<T, FetchError> {
    let body = serde_json::to_vec(what).unwrap_or_default();
    let request = Request::post(path)
        .header(HOST, "guideway")
        .header(CONTENT_TYPE, "application/json")
        .body(Full::from(body));
    ask(socket, request, limit).await
}

async fn ask<T: DeserializeOwned>(
    socket: &Path,
    request: hyper::http::Result<Request<Full<Bytes>>>,
    limit: Duration,
) -> Result<T, FetchError> {
    let not_understood =
        |problem: String| FetchError::NotUnderstood { socket: socket.to_path_buf(), problem };
    let request = request.map_err(|error| not_understood(error.to_string()))?;
    let body = tokio::time::timeout(limit, exchange(socket, request))
        .await
        .map_err(|_| FetchError::TimedOut { socket: socket.to_path_buf(), limit })?
        .map_err(|failure| match failure {
            Failure::Connect(error) => not_connected(socket, &error),
            Failure::Answer(problem) => not_understood(problem),
        })?;
    serde_json::from_slice(&body)
        .map_err(|error| not_understood(format!("{error} (is it a guideway of another version?)")))
}

/// A client of the whole API.
pub type Admin = AdminClient<Channel>;

/// The API of the Guideway that listens on `socket`.
///
/// # Errors
/// See [`FetchError`]; each says what to do.
pub async fn connect(socket: &Path, limit: Duration) -> Result<Admin, FetchError> {
    // Asked first, since the error of a channel does not say which one it was.
    let stream = tokio::time::timeout(limit, UnixStream::connect(socket)).await;
    let first = match stream {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return Err(not_connected(socket, &error)),
        Err(_) => return Err(FetchError::TimedOut { socket: socket.to_path_buf(), limit }),
    };
    let (path, mut first) = (socket.to_path_buf(), Some(first));
    let connector = tower::service_fn(move |_: tonic::transport::Uri| {
        let (path, first) = (path.clone(), first.take());
        async move {
            let stream = match first {
                Some(stream) => stream,
                None => UnixStream::connect(path).await?,
            };
            Ok::<_, io::Error>(TokioIo::new(stream))
        }
    });
    // The address is for the header alone.
    let endpoint = Endpoint::from_static("http://guideway").connect_timeout(limit);
    let channel = endpoint.connect_with_connector(connector).await.map_err(|error| {
        FetchError::NotUnderstood { socket: socket.to_path_buf(), problem: error.to_string() }
    })?;
    Ok(AdminClient::new(channel))
}

fn not_connected(socket: &Path, error: &io::Error) -> FetchError {
    let socket = socket.to_path_buf();
    match error.kind() {
        ErrorKind::NotFound | ErrorKind::ConnectionRefused => FetchError::NotRunning(socket),
        ErrorKind::PermissionDenied => FetchError::NoPermission(socket),
        _ => FetchError::NotUnderstood { socket, problem: error.to_string() },
    }
}

enum Failure {
    Connect(io::Error),
    Answer(String),
}

async fn exchange(socket: &Path, request: Request<Full<Bytes>>) -> Result<Bytes, Failure> {
    let answer = |error: &dyn std::fmt::Display| Failure::Answer(error.to_string());
    let stream = UnixStream::connect(socket).await.map_err(Failure::Connect)?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|e| answer(&e))?;
    let exchange = async {
        let response = sender.send_request(request).await.map_err(|e| answer(&e))?;
        let status = response.status();
        let body = Limited::new(response.into_body(), REPORT_LIMIT_BYTES).collect().await;
        let body = body.map_err(|e| answer(&e))?.to_bytes();
        if status.is_success() {
            return Ok(body);
        }
        if status == hyper::StatusCode::FORBIDDEN {
            return Err(Failure::Connect(ErrorKind::PermissionDenied.into()));
        }
        Err(Failure::Answer(format!("status {status}: {}", String::from_utf8_lossy(&body))))
    };
    // The connection ends by itself once the exchange lets go of its sender.
    let driven = async {
        let _ = connection.await;
        std::future::pending::<()>().await;
    };
    tokio::select! {
        result = exchange => result,
        () = driven => Err(Failure::Answer("the connection ended early".into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    #[tokio::test]
    async fn errors_say_what_to_do() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("admin.sock");
        let limit = Duration::from_millis(100);
        let text = |result: Result<StatusReport, FetchError>| result.unwrap_err().to_string();
        assert!(text(fetch(&path, limit).await).contains("is it running?"));
        let silent = UnixListener::bind(&path).unwrap();
        assert!(text(fetch(&path, limit).await).contains("did not answer within 100ms"));
        drop(silent);
        assert!(text(fetch(&path, limit).await).contains("is it running?"));
    }

    #[tokio::test]
    async fn another_answer_is_not_understood() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("admin.sock");
        let listener = tokio::net::UnixListener::bind(&path).unwrap();
        let other = axum::Router::new().route(STATUS_PATH, axum::routing::get(|| async { "{}" }));
        let server = tokio::spawn(async { axum::serve(listener, other).await });
        let error = fetch(&path, Duration::from_secs(30)).await.unwrap_err().to_string();
        assert!(error.contains("missing field `version`"), "{error}");
        server.abort();
    }
}
