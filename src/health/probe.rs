//! One try: connect, and for HTTP ask and read the answer's status.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use futures::future::{Either, select};
use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONNECTION, HOST, USER_AGENT};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use crate::control::{HealthCheckKind, HealthCheckSpec};

/// An answer's body is read up to here, so that the server is not cut off in a short one.
const BODY_LIMIT_BYTES: usize = 64 * 1024;
/// An answer's head has to fit into this.
const HEAD_LIMIT_BYTES: usize = 16 * 1024;

/// Why a try is not a success.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ProbeError {
    /// The backend's fault.
    #[error("{0}")]
    Failed(String),
    /// The try could not be made for want of something on this machine: says nothing about the
    /// backend.
    #[error("not tried: {0}")]
    NotTried(String),
}

/// Tries once. The time limit covers everything from connect to the status line.
///
/// # Errors
/// Why it is no success, as a text for people.
pub async fn probe(socket: SocketAddr, spec: &HealthCheckSpec) -> Result<(), ProbeError> {
    let limit = Duration::from_millis(spec.timeout_ms.into());
    let deadline = Instant::now() + limit;
    match timeout_at(deadline, attempt(socket, &spec.kind)).await {
        Err(_) => Err(ProbeError::Failed(format!("timed out after {}", duration_text(limit)))),
        Ok(Err(error)) => Err(error),
        Ok(Ok(None)) => Ok(()),
        Ok(Ok(Some(rest))) => {
            // The judgement stands; what comes after it changes nothing any more.
            let _ = timeout_at(deadline, rest.discard()).await;
            Ok(())
        }
    }
}

async fn attempt(socket: SocketAddr, kind: &HealthCheckKind) -> Result<Option<Rest>, ProbeError> {
    let stream = TcpStream::connect(socket).await.map_err(connect_error)?;
    let HealthCheckKind::Http { path, host, status } = kind else {
        return Ok(None);
    };
    let rest = get(stream, socket, path, host.as_deref()).await.map_err(ProbeError::Failed)?;
    let got = rest.response.status().as_u16();
    if status.contains(&got) {
        return Ok(Some(rest));
    }
    let wanted = if status.start() == status.end() {
        status.start().to_string()
    } else {
        format!("{}-{}", status.start(), status.end())
    };
    Err(ProbeError::Failed(format!("status {got}, wanted {wanted}")))
}

type Connection = hyper::client::conn::http1::Connection<TokioIo<TcpStream>, Empty<Bytes>>;

/// An answer whose status is known and whose body is still to come.
struct Rest {
    response: Response<Incoming>,
    connection: Option<Connection>,
}

impl Rest {
    async fn discard(self) {
        let body = async {
            let (mut body, mut seen_bytes) = (self.response.into_body(), 0);
            while let Some(Ok(frame)) = body.frame().await {
                seen_bytes += frame.data_ref().map_or(0, Bytes::len);
                if seen_bytes > BODY_LIMIT_BYTES {
                    break;
                }
            }
        };
        match self.connection {
            None => body.await,
            Some(connection) => {
                if let Either::Right((_, body)) = select(Box::pin(body), connection).await {
                    body.await;
                }
            }
        }
    }
}

async fn get(
    stream: TcpStream,
    socket: SocketAddr,
    path: &str,
    host: Option<&str>,
) -> Result<Rest, String> {
    let host = host.map_or_else(|| socket.to_string(), str::to_string);
    let request = Request::get(path)
        .header(HOST, host)
        .header(USER_AGENT, concat!("guideway/", env!("CARGO_PKG_VERSION"), " health check"))
        .header(CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|error| format!("request: {error}"))?;
    let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
        .max_buf_size(HEAD_LIMIT_BYTES)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|error| answer_error(&error))?;
    // The connection has to be driven beside the request; a server that closes at once ends it
    // first, with the answer (or the error) already on its way to the request's side.
    let exchange = Box::pin(sender.send_request(request));
    let (response, connection) = match select(exchange, connection).await {
        Either::Left((response, connection)) => (response, Some(connection)),
        Either::Right((_, exchange)) => (exchange.await, None),
    };
    Ok(Rest { response: response.map_err(|error| answer_error(&error))?, connection })
}

fn answer_error(error: &hyper::Error) -> String {
    let cause = std::error::Error::source(error).and_then(|e| e.downcast_ref::<io::Error>());
    match cause {
        Some(cause) => format!("HTTP: {}", io_text(cause)),
        None => format!("HTTP: {error}"),
    }
}

fn connect_error(error: io::Error) -> ProbeError {
    // Out of descriptors, memory or ports: our own shortage must not take every backend down.
    let own = [libc::EMFILE, libc::ENFILE, libc::ENOMEM, libc::ENOBUFS, libc::EADDRNOTAVAIL];
    let text = format!("connect: {}", io_text(&error));
    match error.raw_os_error() {
        Some(number) if own.contains(&number) => ProbeError::NotTried(text),
        _ => ProbeError::Failed(text),
    }
}

/// The system's text without its number: `connection refused`.
fn io_text(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_lowercase().chain(letters).collect())
}

fn duration_text(duration: Duration) -> String {
    match duration.as_millis() {
        ms if ms % 1000 == 0 => format!("{} s", ms / 1000),
        ms => format!("{ms} ms"),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use std::net::{Ipv4Addr, Ipv6Addr};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    pub fn spec(kind: HealthCheckKind) -> HealthCheckSpec {
        HealthCheckSpec { kind, port: None, interval_ms: 20, timeout_ms: 2000, rise: 2, fall: 3 }
    }

    fn http(status: std::ops::RangeInclusive<u16>) -> HealthCheckKind {
        HealthCheckKind::Http { path: "/ready".into(), host: Some("example.org".into()), status }
    }

    /// A loopback address that refuses: bound, so that nobody else gets it, and not listening.
    fn refusing() -> (tokio::net::TcpSocket, SocketAddr) {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let address = socket.local_addr().unwrap();
        (socket, address)
    }

    /// Answers every connection with `answer`, then holds it open for `hold`; gives the requests.
    async fn server(
        answer: Vec<u8>,
        hold: Duration,
    ) -> (SocketAddr, tokio::task::JoinHandle<String>) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        (address, tokio::spawn(answer_once(listener, answer, hold)))
    }

    async fn answer_once(listener: TcpListener, answer: Vec<u8>, hold: Duration) -> String {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            if stream.read_buf(&mut request).await.unwrap() == 0 {
                break;
            }
        }
        let _ = stream.write_all(&answer).await;
        tokio::time::sleep(hold).await;
        String::from_utf8(request).unwrap()
    }

    #[tokio::test]
    async fn http_answers_by_row() {
        let long = [b"HTTP/1.1 200 OK\r\n\r\n".to_vec(), vec![b'x'; 4 * BODY_LIMIT_BYTES]].concat();
        let rows: Vec<(&str, Vec<u8>, Result<(), &str>)> = vec![
            ("in the range", b"HTTP/1.1 204 No Content\r\n\r\n".to_vec(), Ok(())),
            (
                "outside",
                b"HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n".to_vec(),
                Err("status 503, wanted 200-399"),
            ),
            ("a body that never ends", long, Ok(())),
            (
                "a body shorter than announced",
                b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc".to_vec(),
                Ok(()),
            ),
            ("closed at once", vec![], Err("HTTP: connection closed before message completed")),
            ("not HTTP", b"220 mail ready\r\n".to_vec(), Err("HTTP: invalid HTTP version parsed")),
        ];
        for (description, answer, wanted) in rows {
            let (address, task) = server(answer, Duration::ZERO).await;
            let got = probe(address, &spec(http(200..=399))).await;
            assert_eq!(
                got.map_err(|e| e.to_string()),
                wanted.map_err(String::from),
                "{description}"
            );
            let request = task.await.unwrap();
            assert!(request.starts_with("GET /ready HTTP/1.1\r\n"), "{request}");
            assert!(request.contains("host: example.org\r\n"), "{request}");
            assert!(request.contains("connection: close\r\n"), "{request}");
        }
    }

    #[tokio::test]
    async fn a_silent_server_times_out_and_a_slow_body_does_not_matter() {
        let mut impatient = spec(http(200..=200));
        impatient.timeout_ms = 50;
        let (address, task) = server(vec![], Duration::from_secs(60)).await;
        let error = probe(address, &impatient).await.unwrap_err();
        assert_eq!(error.to_string(), "timed out after 50 ms");
        task.abort();
        let head = b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n".to_vec();
        let (address, task) = server(head, Duration::from_secs(60)).await;
        impatient.timeout_ms = 1000;
        assert_eq!(probe(address, &impatient).await, Ok(()));
        task.abort();
    }

    #[tokio::test]
    async fn tcp_connects_or_is_refused() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        assert_eq!(probe(address, &spec(HealthCheckKind::Tcp)).await, Ok(()));
        let (_held, address) = refusing();
        let error = probe(address, &spec(HealthCheckKind::Tcp)).await.unwrap_err();
        assert_eq!(error, ProbeError::Failed("connect: connection refused".into()));
    }

    #[tokio::test]
    async fn ipv6_backends_are_asked_like_others() {
        let listener = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        assert_eq!(probe(address, &spec(HealthCheckKind::Tcp)).await, Ok(()));
        let answer = b"HTTP/1.1 204 No Content\r\n\r\n";
        let task = tokio::spawn(async move {
            // The TCP probe's connection, then the other one's.
            let _ = listener.accept().await.unwrap();
            answer_once(listener, answer.to_vec(), Duration::ZERO).await
        });
        let mut spec = spec(http(200..=399));
        if let HealthCheckKind::Http { host, .. } = &mut spec.kind {
            *host = None;
        }
        assert_eq!(probe(address, &spec).await, Ok(()));
        let request = task.await.unwrap();
        assert!(request.contains(&format!("host: {address}\r\n")), "{request}");
    }

    #[test]
    fn our_own_shortage_is_not_the_backends_fault() {
        let rows = [
            (libc::EMFILE, "not tried: connect: too many open files"),
            (libc::EADDRNOTAVAIL, "not tried: connect: cannot assign requested address"),
            (libc::EHOSTUNREACH, "connect: no route to host"),
        ];
        for (number, wanted) in rows {
            assert_eq!(connect_error(io::Error::from_raw_os_error(number)).to_string(), wanted);
        }
        assert_eq!(duration_text(Duration::from_secs(1)), "1 s");
    }
}
