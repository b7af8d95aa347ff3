//! TCP: a connection, and over it something that is sent and something that is expected.

use std::net::{IpAddr, SocketAddr};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use super::answer::Answer;
use super::{ProbeError, Step, io_error};
use crate::control::Exchange;

/// Connects, from an address of ours if one is named.
pub(super) async fn connect(
    to: SocketAddr,
    source: Option<IpAddr>,
) -> Result<TcpStream, ProbeError> {
    let socket = if to.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() };
    let socket = socket.map_err(|error| io_error(Step::Connect, &error))?;
    if let Some(source) = source {
        let from = SocketAddr::new(source, 0);
        socket.bind(from).map_err(|error| io_error(Step::Bind, &error))?;
    }
    socket.connect(to).await.map_err(|error| io_error(Step::Connect, &error))
}

pub(super) async fn exchange(
    to: SocketAddr,
    source: Option<IpAddr>,
    exchange: &Exchange,
) -> Result<(), ProbeError> {
    let mut stream = connect(to, source).await?;
    if let Some(send) = &exchange.send {
        stream.write_all(send).await.map_err(|error| io_error(Step::Send, &error))?;
    }
    let Some(expect) = &exchange.expect else { return Ok(()) };
    let (mut answer, mut buffer) = (Answer::new(expect), [0; 4_096]);
    while !answer.is_full() {
        let read = stream.read(&mut buffer).await;
        let len = read.map_err(|error| io_error(Step::Receive, &error))?;
        if len == 0 {
            return Err(answer.refusal("closed after"));
        }
        if answer.take(buffer.get(..len).unwrap_or_default()) {
            return Ok(());
        }
    }
    Err(answer.refusal("answer"))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{kind, refusing, server, told};
    use super::*;
    use crate::control::{HealthCheckKind, HealthCheckSpec};
    use std::time::Duration;
    use tokio::net::TcpListener;

    fn ping(expect: Option<&str>) -> HealthCheckKind {
        let expect = expect.map(|text| text.as_bytes().to_vec());
        HealthCheckKind::Tcp(Exchange { send: Some(b"PING\r\n".to_vec()), expect })
    }

    #[tokio::test]
    async fn answers_by_row() {
        let long = vec![b'x'; 4 * super::super::ANSWER_BYTES];
        type Row<'a> = (&'a str, Option<&'a str>, &'a [u8], Result<(), &'a str>);
        let rows: [Row<'_>; 5] = [
            ("as expected", Some("+PONG"), b"+PONG\r\n", Ok(())),
            ("nothing is expected", None, b"", Ok(())),
            (
                "something else",
                Some("+PONG"),
                b"-ERR",
                Err(r#"closed after "-ERR", wanted "+PONG""#),
            ),
            ("nothing", Some("+PONG"), b"", Err(r#"closed after "", wanted "+PONG""#)),
            ("too much", Some("+PONG"), &long, Err("answer \"xxxxxxxx")),
        ];
        for (description, expect, answer, wanted) in rows {
            let (address, task) = server(answer.to_vec(), b"PING\r\n", Duration::ZERO).await;
            let got = told(address, &kind(ping(expect))).await;
            match wanted {
                Ok(()) => assert_eq!(got, Ok(()), "{description}"),
                Err(text) => {
                    let got = got.unwrap_err();
                    assert!(got.starts_with(text), "{description}: {got}");
                }
            }
            assert_eq!(task.await.unwrap(), "PING\r\n", "{description}");
        }
    }

    #[tokio::test]
    async fn refused_and_silent() {
        let (_held, address) = refusing();
        let got = told(address, &kind(ping(None))).await;
        assert_eq!(got, Err("connect: connection refused".to_string()));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let impatient = HealthCheckSpec { timeout_ms: 50, ..kind(ping(Some("+PONG"))) };
        let got = told(listener.local_addr().unwrap(), &impatient).await;
        assert_eq!(got, Err("timed out after 50 ms".to_string()));
    }

    #[tokio::test]
    async fn from_an_address_of_ours_or_not() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let from = |text: &str| {
            let source = Some(text.parse().unwrap());
            HealthCheckSpec { source, ..kind(ping(None)) }
        };
        assert_eq!(told(address, &from("127.0.0.9")).await, Ok(()));
        let (_, peer) = listener.accept().await.unwrap();
        assert_eq!(peer.ip().to_string(), "127.0.0.9");
        let got = told(address, &from("192.0.2.1")).await.unwrap_err();
        assert_eq!(got, "not tried: source: cannot assign requested address");
    }
}
