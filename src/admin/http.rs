//! Metrics and health over HTTP: pages that only tell, without password and TLS, on loopback unless the
//! configuration says something else.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hyper::body::Bytes;
use tokio::sync::Mutex;

use super::metrics;

/// Metrics that are as young as this are told once more instead of being made anew, so that whoever
/// asks all the time costs the workers little.
const FRESH: Duration = Duration::from_millis(200);

/// Makes the metrics of this moment.
pub type MetricsSource = Arc<dyn Fn() -> String + Send + Sync>;

/// Says what is wrong, if anything is. May block.
pub type Complaint = Arc<dyn Fn() -> Option<String> + Send + Sync>;

/// Who answers what.
#[derive(Clone)]
pub struct Pages {
    /// `/metrics`.
    pub metrics: MetricsSource,
    /// `/healthz`: which part is stuck.
    pub stuck: Complaint,
    /// `/readyz`: why no new flows should come here.
    pub unready: Complaint,
}

/// Why nobody listens.
#[derive(Debug, thiserror::Error)]
#[error("HTTP on {listen} (`admin.http`): {error}")]
pub struct HttpError {
    listen: SocketAddr,
    error: io::Error,
}

/// A bound listener.
#[derive(Debug)]
pub struct HttpListener(TcpListener);

#[derive(Clone)]
struct Shown {
    pages: Pages,
    /// The metrics told last. Held while new ones are made: one at a time.
    last: Arc<Mutex<Option<(Instant, Bytes)>>>,
}

impl HttpListener {
    /// Binds it.
    ///
    /// # Errors
    /// When the address is not there, or taken.
    pub fn bind(listen: SocketAddr) -> Result<HttpListener, HttpError> {
        let bind = || {
            let listener = TcpListener::bind(listen)?;
            listener.set_nonblocking(true)?;
            Ok(listener)
        };
        bind().map(HttpListener).map_err(|error| HttpError { listen, error })
    }

    /// Answers until the future is dropped.
    ///
    /// # Errors
    /// When the listener cannot be used any more.
    pub async fn serve(self, pages: Pages) -> io::Result<()> {
        let listener = tokio::net::TcpListener::from_std(self.0)?;
        let router = Router::new()
            .route("/", get(index))
            .route("/metrics", get(metrics))
            .route("/healthz", get(healthz))
            .route("/readyz", get(readyz))
            .with_state(Shown { pages, last: Arc::default() });
        axum::serve(listener, router).await
    }
}

async fn index() -> &'static str {
    "guideway: /metrics /healthz /readyz\n"
}

async fn metrics(State(shown): State<Shown>) -> Response {
    let mut last = shown.last.lock().await;
    let fresh = last.as_ref().filter(|(made, _)| made.elapsed() < FRESH);
    let text = match fresh {
        Some((_, text)) => text.clone(),
        None => {
            let source = shown.pages.metrics.clone();
            // It asks the workers, which takes its time.
            let Ok(text) = tokio::task::spawn_blocking(move || source()).await else {
                return StatusCode::INTERNAL_SERVER_ERROR.into_response();
            };
            let text = Bytes::from(text);
            *last = Some((Instant::now(), text.clone()));
            text
        }
    };
    ([(CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response()
}

async fn healthz(State(shown): State<Shown>) -> Response {
    tell(shown.pages.stuck).await
}

async fn readyz(State(shown): State<Shown>) -> Response {
    tell(shown.pages.unready).await
}

async fn tell(complaint: Complaint) -> Response {
    match tokio::task::spawn_blocking(move || complaint()).await {
        Ok(None) => (StatusCode::OK, "ok\n").into_response(),
        Ok(Some(what)) => (StatusCode::SERVICE_UNAVAILABLE, what + "\n").into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use http_body_util::{BodyExt, Empty};
    use hyper::Request;
    use hyper_util::rt::TokioIo;

    use super::*;

    async fn ask(address: SocketAddr, method: &str, path: &str) -> (u16, String, String) {
        let stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let request = Request::builder().method(method).uri(path).header("host", "guideway");
        let request = request.body(Empty::<Bytes>::new()).unwrap();
        let response = sender.send_request(request).await.unwrap();
        let status = response.status().as_u16();
        let kind = response.headers().get(CONTENT_TYPE).map(|kind| kind.to_str().unwrap());
        let kind = kind.unwrap_or_default().to_string();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, kind, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn pages_tell_and_nothing_more() {
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = free.local_addr().unwrap();
        let error = HttpListener::bind(address).unwrap_err().to_string();
        assert!(error.contains("`admin.http`") && error.contains("in use"), "{error}");
        drop(free);
        let listener = HttpListener::bind(address).unwrap();
        let made = Arc::new(AtomicUsize::new(0));
        let counted = made.clone();
        let pages = Pages {
            metrics: Arc::new(move || {
                counted.fetch_add(1, Ordering::Relaxed);
                "a 1\n".to_string()
            }),
            stuck: Arc::new(|| None),
            unready: Arc::new(|| Some("no snapshot yet".to_string())),
        };
        let task = tokio::spawn(listener.serve(pages));
        let plain = "text/plain; charset=utf-8";
        let rows = [
            ("GET", "/metrics", 200, metrics::CONTENT_TYPE, "a 1\n"),
            ("GET", "/metrics", 200, metrics::CONTENT_TYPE, "a 1\n"),
            ("GET", "/healthz", 200, plain, "ok\n"),
            ("GET", "/readyz", 503, plain, "no snapshot yet\n"),
            ("POST", "/metrics", 405, "", ""),
            ("GET", "/v1/status", 404, "", ""),
        ];
        for (method, path, status, kind, body) in rows {
            let wanted = (status, kind.to_string(), body.to_string());
            assert_eq!(ask(address, method, path).await, wanted, "{method} {path}");
        }
        assert!(made.load(Ordering::Relaxed) <= 2);
        task.abort();
    }
}
