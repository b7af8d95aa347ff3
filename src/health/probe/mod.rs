//! One try: what is asked, and whether the answer is good. A file a kind.

mod answer;
mod grpc;
mod http;
mod icmp;
mod tcp;
#[cfg(test)]
mod testing;
mod tls;
mod udp;

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use crate::control::{HealthCheckKind, HealthCheckSpec};

pub use tls::TlsConfigs;

/// Most of an answer that is read, in bytes: enough for what is looked for in it.
const ANSWER_BYTES: usize = 64 * 1024;

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

impl ProbeError {
    fn failed(text: impl Into<String>) -> ProbeError {
        ProbeError::Failed(text.into())
    }
}

/// Tries once. The time limit covers everything from connect to the last byte that is judged.
///
/// # Errors
/// Why it is no success, as a text for people.
pub async fn probe(
    socket: SocketAddr,
    spec: &HealthCheckSpec,
    tls: &TlsConfigs,
) -> Result<(), ProbeError> {
    let limit = Duration::from_millis(spec.timeout_ms.into());
    let deadline = Instant::now() + limit;
    let source = spec.source;
    let attempt = async {
        match &spec.kind {
            HealthCheckKind::Tcp(exchange) => tcp::exchange(socket, source, exchange).await,
            HealthCheckKind::Http(check) => {
                let rest = http::ask(socket, source, check, tls).await?;
                return Ok(Some(rest));
            }
            HealthCheckKind::Grpc(check) => grpc::check(socket, source, check, tls).await,
            HealthCheckKind::Udp(exchange) => udp::exchange(socket, source, exchange).await,
            HealthCheckKind::Icmp => icmp::echo(socket.ip(), source).await,
        }
        .map(|()| None)
    };
    let rest = timeout_at(deadline, attempt).await.map_err(|_| timed_out(limit))??;
    if let Some(rest) = rest {
        // The judgement stands; what comes after it changes nothing any more.
        let _ = timeout_at(deadline, rest.discard()).await;
    }
    Ok(())
}

pub(super) fn timed_out(limit: Duration) -> ProbeError {
    ProbeError::Failed(format!("timed out after {}", duration_text(limit)))
}

/// What was being done when the system refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Step {
    Bind,
    Connect,
    Send,
    Receive,
}

/// The system's refusal: whose fault it is, and what to call it.
pub(super) fn io_error(step: Step, error: &io::Error) -> ProbeError {
    // Out of descriptors, memory or ports: our own shortage must not take every backend down. Nor
    // must a source address that is not ours.
    let own = [libc::EMFILE, libc::ENFILE, libc::ENOMEM, libc::ENOBUFS, libc::EADDRNOTAVAIL];
    let name = match step {
        Step::Bind => "source",
        Step::Connect => "connect",
        Step::Send => "send",
        Step::Receive => "receive",
    };
    let text = format!("{name}: {}", io_text(error));
    match error.raw_os_error() {
        Some(number) if own.contains(&number) => ProbeError::NotTried(text),
        _ if step == Step::Bind => ProbeError::NotTried(text),
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
mod tests {
    use super::*;

    #[test]
    fn our_own_shortage_is_not_the_backends_fault() {
        let rows = [
            (Step::Connect, libc::EMFILE, "not tried: connect: too many open files"),
            (
                Step::Connect,
                libc::EADDRNOTAVAIL,
                "not tried: connect: cannot assign requested address",
            ),
            (Step::Bind, libc::EACCES, "not tried: source: permission denied"),
            (Step::Connect, libc::EHOSTUNREACH, "connect: no route to host"),
            (Step::Receive, libc::ECONNREFUSED, "receive: connection refused"),
        ];
        for (step, number, wanted) in rows {
            let error = io::Error::from_raw_os_error(number);
            assert_eq!(io_error(step, &error).to_string(), wanted);
        }
        assert_eq!(duration_text(Duration::from_secs(1)), "1 s");
        assert_eq!(duration_text(Duration::from_millis(1_500)), "1500 ms");
    }
}
