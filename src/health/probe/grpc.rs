//! gRPC's own health check, `grpc.health.v1.Health/Check`: one call over HTTP/2. Its two messages have
//! a field each, so they are written and read here.

use std::net::{IpAddr, SocketAddr};

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http2;
use hyper::header::{CONTENT_TYPE, HeaderMap, TE, USER_AGENT};
use hyper::rt::{Read, Write};
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::task::AbortHandle;

use super::tls::{Inside, TlsConfigs, secure};
use super::{ANSWER_BYTES, ProbeError, tcp};
use crate::control::GrpcCheck;

const METHOD: &str = "/grpc.health.v1.Health/Check";
/// A message has a flag for compression and its length before it.
const PREFIX_BYTES: usize = 5;
/// HealthCheckResponse.ServingStatus, by number.
const STATUSES: [&str; 4] = ["UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"];
const SERVING: u64 = 1;

pub(super) async fn check(
    socket: SocketAddr,
    source: Option<IpAddr>,
    check: &GrpcCheck,
    configs: &TlsConfigs,
) -> Result<(), ProbeError> {
    let stream = tcp::connect(socket, source).await?;
    match &check.tls {
        None => call(TokioIo::new(stream), ("http", socket.to_string()), check).await,
        Some(tls) => {
            let names = (None, socket.ip());
            let stream = secure(stream, tls, names, (configs, Inside::Http2)).await?;
            let name = tls.server_name.clone().unwrap_or_else(|| socket.to_string());
            call(TokioIo::new(stream), ("https", name), check).await
        }
    }
}

async fn call<S: Read + Write + Send + Unpin + 'static>(
    stream: S,
    (scheme, authority): (&str, String),
    check: &GrpcCheck,
) -> Result<(), ProbeError> {
    let request = Request::post(format!("{scheme}://{authority}{METHOD}"))
        .header(CONTENT_TYPE, "application/grpc")
        .header(TE, "trailers")
        .header(USER_AGENT, concat!("guideway/", env!("CARGO_PKG_VERSION"), " health check"))
        .body(Full::new(Bytes::from(question(&check.service))))
        .map_err(|error| ProbeError::failed(format!("request: {error}")))?;
    let (mut sender, connection) = http2::Builder::new(TokioExecutor::new())
        .handshake(stream)
        .await
        .map_err(|error| broken(&error))?;
    let _driver = Driver(tokio::spawn(async move { _ = connection.await }).abort_handle());
    let response = sender.send_request(request).await.map_err(|error| broken(&error))?;
    let (message, head, trailers) = read(response).await?;
    judge(&message, trailers.as_ref().unwrap_or(&head))
}

/// Ends the connection's task with the try.
struct Driver(AbortHandle);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn broken(error: &hyper::Error) -> ProbeError {
    use std::error::Error;
    let cause = error.source().map_or_else(|| error.to_string(), ToString::to_string);
    ProbeError::failed(format!("HTTP/2: {cause}"))
}

/// The body, the head, and the trailers if there are any.
async fn read(
    response: Response<Incoming>,
) -> Result<(Vec<u8>, HeaderMap, Option<HeaderMap>), ProbeError> {
    let status = response.status().as_u16();
    if status != 200 {
        return Err(ProbeError::failed(format!("status {status}, wanted 200")));
    }
    let (head, mut body) = response.into_parts();
    let (mut message, mut trailers) = (vec![], None);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| broken(&error))?;
        match frame.into_data() {
            Ok(piece) if message.len() + piece.len() > ANSWER_BYTES => {
                return Err(ProbeError::failed("gRPC: the answer is very long"));
            }
            Ok(piece) => message.extend_from_slice(&piece),
            Err(frame) => trailers = frame.into_trailers().ok(),
        }
    }
    Ok((message, head.headers, trailers))
}

fn judge(message: &[u8], end: &HeaderMap) -> Result<(), ProbeError> {
    let text = |name| end.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    match text("grpc-status") {
        "0" => {}
        "" => return Err(ProbeError::failed("gRPC: no grpc-status, so this is no gRPC")),
        status => {
            let message: String = decoded(text("grpc-message")).chars().take(100).collect();
            let words = ["gRPC status", status, name_of(status)].map(str::trim).join(" ");
            let colon = if message.is_empty() { "" } else { ": " };
            return Err(ProbeError::failed(format!("{}{colon}{message}", words.trim_end())));
        }
    }
    match status_of(message) {
        Some(SERVING) => Ok(()),
        Some(status) => {
            let name = usize::try_from(status).ok().and_then(|status| STATUSES.get(status));
            let name = name.map_or_else(|| status.to_string(), |name| name.to_string());
            Err(ProbeError::failed(format!("gRPC health {name}, wanted SERVING")))
        }
        None => Err(ProbeError::failed("gRPC: the answer is no HealthCheckResponse")),
    }
}

/// A message is percent-encoded.
fn decoded(text: &str) -> String {
    let (mut bytes, mut rest) = (vec![], text.as_bytes());
    while let Some((&first, after)) = rest.split_first() {
        let hex = after.get(..2).filter(|_| first == b'%');
        let hex = hex.and_then(|hex| u8::from_str_radix(str::from_utf8(hex).ok()?, 16).ok());
        bytes.push(hex.unwrap_or(first));
        rest = if hex.is_some() { after.get(2..).unwrap_or_default() } else { after };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The codes that a health check meets.
fn name_of(status: &str) -> &'static str {
    match status {
        "4" => "(deadline exceeded)",
        "5" => "(not found)",
        "7" => "(permission denied)",
        "12" => "(unimplemented)",
        "14" => "(unavailable)",
        "16" => "(unauthenticated)",
        _ => "",
    }
}

/// HealthCheckRequest { string service = 1 }, with its prefix.
fn question(service: &str) -> Vec<u8> {
    let mut message = vec![];
    if !service.is_empty() {
        message.push(0x0a);
        push_varint(service.len() as u64, &mut message);
        message.extend_from_slice(service.as_bytes());
    }
    let len = u32::try_from(message.len()).unwrap_or(u32::MAX).to_be_bytes();
    [&[0], &len[..], &message].concat()
}

/// HealthCheckResponse { ServingStatus status = 1 }, with its prefix. A field that is not there is 0.
fn status_of(bytes: &[u8]) -> Option<u64> {
    let (prefix, mut message) = bytes.split_at_checked(PREFIX_BYTES)?;
    let (&flag, len) = prefix.split_first()?;
    let len = u32::from_be_bytes(len.try_into().ok()?) as usize;
    if flag != 0 || message.len() != len {
        return None;
    }
    let mut status = 0;
    while !message.is_empty() {
        let (tag, rest) = take_varint(message)?;
        message = match (tag >> 3, tag & 7) {
            (field, 0) => {
                let (value, rest) = take_varint(rest)?;
                status = if field == 1 { value } else { status };
                rest
            }
            (_, 1) => rest.get(8..)?,
            (_, 2) => {
                let (len, rest) = take_varint(rest)?;
                rest.get(usize::try_from(len).ok()?..)?
            }
            (_, 5) => rest.get(4..)?,
            _ => return None,
        };
    }
    Some(status)
}

fn push_varint(mut value: u64, to: &mut Vec<u8>) {
    while value >= 0x80 {
        to.push(value as u8 | 0x80);
        value >>= 7;
    }
    to.push(value as u8);
}

fn take_varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0;
    for (place, byte) in bytes.iter().take(10).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            return Some((value, bytes.get(place + 1..)?));
        }
    }
    None
}

#[cfg(test)]
#[path = "grpc_tests.rs"]
mod tests;
