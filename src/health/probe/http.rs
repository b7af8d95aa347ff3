//! HTTP/1.1, bare or over TLS: a request, its status, and what is in the answer's body.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;

use futures::future::{Either, select};
use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{Builder, Connection};
use hyper::header::{CONNECTION, HOST, USER_AGENT};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use super::answer::Answer;
use super::tls::{Inside, TlsConfigs, secure};
use super::{ANSWER_BYTES, ProbeError, io_text, tcp};
use crate::control::HttpCheck;

/// An answer's head has to fit into this.
const HEAD_LIMIT_BYTES: usize = 16 * 1024;

/// A TCP or a TLS connection.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

type Io = TokioIo<Box<dyn Stream>>;
type Driver = Pin<Box<Connection<Io, Empty<Bytes>>>>;

/// An answer that is judged, and whose body is still to come.
pub(super) struct Rest {
    body: Incoming,
    driver: Option<Driver>,
}

impl Rest {
    /// Reads a short body to its end, so that the server is not cut off in it.
    pub async fn discard(mut self) {
        let mut seen_bytes = 0;
        while let Some(Ok(piece)) = self.next().await {
            seen_bytes += piece.len();
            if seen_bytes > ANSWER_BYTES {
                break;
            }
        }
    }

    /// The body's next piece. The connection is driven beside it.
    async fn next(&mut self) -> Option<hyper::Result<Bytes>> {
        loop {
            let frame = match self.driver.take() {
                None => self.body.frame().await,
                Some(driver) => {
                    let frame = Box::pin(self.body.frame());
                    match select(frame, driver).await {
                        Either::Left((frame, driver)) => {
                            self.driver = Some(driver);
                            frame
                        }
                        Either::Right((_, frame)) => frame.await,
                    }
                }
            };
            match frame? {
                Ok(frame) => {
                    if let Ok(piece) = frame.into_data() {
                        return Some(Ok(piece));
                    }
                }
                Err(error) => return Some(Err(error)),
            }
        }
    }

    async fn look_for(&mut self, text: &str) -> Result<(), ProbeError> {
        let mut answer = Answer::new(text.as_bytes());
        while !answer.is_full() {
            match self.next().await {
                Some(Ok(piece)) if answer.take(&piece) => return Ok(()),
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(answer_error(&error)),
                None => break,
            }
        }
        Err(answer.refusal("body"))
    }
}

pub(super) async fn ask(
    socket: SocketAddr,
    source: Option<IpAddr>,
    check: &HttpCheck,
    configs: &TlsConfigs,
) -> Result<Rest, ProbeError> {
    let stream = tcp::connect(socket, source).await?;
    let stream: Box<dyn Stream> = match &check.tls {
        None => Box::new(stream),
        Some(tls) => {
            let names = (check.host.as_deref(), socket.ip());
            Box::new(secure(stream, tls, names, (configs, Inside::Http1)).await?)
        }
    };
    let (response, driver) = exchange(stream, socket, check).await?;
    let (status, mut rest) =
        (response.status().as_u16(), Rest { body: response.into_body(), driver });
    if !check.status.contains(status) {
        return Err(ProbeError::failed(format!("status {status}, wanted {}", check.status)));
    }
    if let Some(text) = &check.body {
        rest.look_for(text).await?;
    }
    Ok(rest)
}

async fn exchange(
    stream: Box<dyn Stream>,
    socket: SocketAddr,
    check: &HttpCheck,
) -> Result<(Response<Incoming>, Option<Driver>), ProbeError> {
    let host = check.host.clone().unwrap_or_else(|| socket.to_string());
    let request = Request::builder()
        .method(check.method.as_str())
        .uri(&check.path)
        .header(HOST, host)
        .header(USER_AGENT, concat!("guideway/", env!("CARGO_PKG_VERSION"), " health check"))
        .header(CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|error| ProbeError::failed(format!("request: {error}")))?;
    let (mut sender, connection) = Builder::new()
        .max_buf_size(HEAD_LIMIT_BYTES)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|error| answer_error(&error))?;
    // The connection has to be driven beside the request; a server that closes at once ends it
    // first, with the answer (or the error) already on its way to the request's side.
    let request = Box::pin(sender.send_request(request));
    let (response, driver) = match select(request, Box::pin(connection)).await {
        Either::Left((response, driver)) => (response, Some(driver)),
        Either::Right((_, request)) => (request.await, None),
    };
    Ok((response.map_err(|error| answer_error(&error))?, driver))
}

fn answer_error(error: &hyper::Error) -> ProbeError {
    let cause = std::error::Error::source(error).and_then(|e| e.downcast_ref::<io::Error>());
    ProbeError::failed(match cause {
        Some(cause) => format!("HTTP: {}", io_text(cause)),
        None => format!("HTTP: {error}"),
    })
}

#[cfg(test)]
#[path = "http_tests.rs"]
mod tests;
