//! UDP: a datagram, and the one that answers it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::net::UdpSocket;

use super::answer::Answer;
use super::{ProbeError, Step, io_error};
use crate::control::Exchange;

/// Longest answer that is read.
const DATAGRAM_BYTES: usize = 65_535;

pub(super) async fn exchange(
    to: SocketAddr,
    source: Option<IpAddr>,
    exchange: &Exchange,
) -> Result<(), ProbeError> {
    let any = match to {
        SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    let from = SocketAddr::new(source.unwrap_or(any), 0);
    let socket = UdpSocket::bind(from).await.map_err(|error| io_error(Step::Bind, &error))?;
    // Connected, so that only its answers come, and ICMP errors too.
    socket.connect(to).await.map_err(|error| io_error(Step::Connect, &error))?;
    let send = exchange.send.as_deref().unwrap_or_default();
    socket.send(send).await.map_err(|error| io_error(Step::Send, &error))?;
    let mut buffer = vec![0; DATAGRAM_BYTES];
    let received = socket.recv(&mut buffer).await;
    let len = received.map_err(|error| io_error(Step::Receive, &error))?;
    let Some(expect) = &exchange.expect else { return Ok(()) };
    let mut answer = Answer::new(expect);
    match answer.take(buffer.get(..len).unwrap_or_default()) {
        true => Ok(()),
        false => Err(answer.refusal("answer")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{kind, told};
    use super::*;
    use crate::control::{HealthCheckKind, HealthCheckSpec};

    fn asking(expect: Option<&str>) -> HealthCheckSpec {
        let expect = expect.map(|text| text.as_bytes().to_vec());
        let exchange = Exchange { send: Some(b"are you there".to_vec()), expect };
        HealthCheckSpec { timeout_ms: 500, ..kind(HealthCheckKind::Udp(exchange)) }
    }

    #[tokio::test]
    async fn answers_by_row() {
        for place in ["127.0.0.1:0", "[::1]:0"] {
            let server = UdpSocket::bind(place).await.unwrap();
            let address = server.local_addr().unwrap();
            tokio::spawn(async move {
                let mut buffer = [0; 100];
                while let Ok((len, from)) = server.recv_from(&mut buffer).await {
                    let answer = [b"yes: ", &buffer[..len]].concat();
                    server.send_to(&answer, from).await.unwrap();
                }
            });
            assert_eq!(told(address, &asking(None)).await, Ok(()), "{place}");
            assert_eq!(told(address, &asking(Some("s: are you"))).await, Ok(()), "{place}");
            let wrong = told(address, &asking(Some("no"))).await;
            let wanted = r#"answer "yes: are you there", wanted "no""#;
            assert_eq!(wrong, Err(wanted.to_string()), "{place}");
        }
    }

    #[tokio::test]
    async fn nobody_there_and_nobody_who_answers() {
        let silent = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = silent.local_addr().unwrap();
        let got = told(address, &asking(None)).await;
        assert_eq!(got, Err("timed out after 500 ms".to_string()));
        drop(silent);
        let got = told(address, &asking(None)).await;
        assert_eq!(got, Err("receive: connection refused".to_string()));
    }
}
