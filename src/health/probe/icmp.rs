//! ICMP echo, both families (RFC 792, RFC 4443 section 4): by a ping socket where the kernel lets us
//! have one, else by a raw one.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::{self, AddressFamily, Protocol, SocketFlags, SocketType, ipproto};
use tokio::net::UdpSocket;

use super::{ProbeError, Step, io_error};

const HEADER_BYTES: usize = 8;
/// By this an answer is known: 16 bytes by chance.
const TOKEN_BYTES: usize = 16;

type Token = [u8; TOKEN_BYTES];

pub(super) async fn echo(to: IpAddr, source: Option<IpAddr>) -> Result<(), ProbeError> {
    let socket = open(to)?;
    if let Some(source) = source {
        let from = SocketAddr::new(source, 0);
        net::bind(&socket, &from).map_err(|error| io_error(Step::Bind, &error.into()))?;
    }
    // Connected, so that only its answers come, and ICMP errors too.
    let to_socket = SocketAddr::new(to, 0);
    net::connect(&socket, &to_socket).map_err(|error| io_error(Step::Connect, &error.into()))?;
    let token: Token = rand::random();
    // From here on it is used as any socket that sends datagrams.
    let socket = UdpSocket::from_std(std::net::UdpSocket::from(socket))
        .map_err(|error| ProbeError::NotTried(format!("epoll: {error}")))?;
    let sent = socket.send(&request(to, token)).await;
    sent.map_err(|error| io_error(Step::Send, &error))?;
    let mut buffer = [0; 2_048];
    loop {
        let received = socket.recv(&mut buffer).await;
        let len = received.map_err(|error| io_error(Step::Receive, &error))?;
        if is_answer(to, token, buffer.get(..len).unwrap_or_default()) {
            return Ok(());
        }
    }
}

fn open(to: IpAddr) -> Result<OwnedFd, ProbeError> {
    let (family, protocol) = match to {
        IpAddr::V4(_) => (AddressFamily::INET, ipproto::ICMP),
        IpAddr::V6(_) => (AddressFamily::INET6, ipproto::ICMPV6),
    };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let protocol: Option<Protocol> = Some(protocol);
    let ping = net::socket_with(family, SocketType::DGRAM, flags, protocol);
    let opened = match ping {
        // Who may have one is in net.ipv4.ping_group_range, for both families (icmp(7)).
        Err(Errno::ACCESS | Errno::PERM) => {
            net::socket_with(family, SocketType::RAW, flags, protocol)
        }
        opened => opened,
    };
    opened.map_err(|error| match error {
        Errno::ACCESS | Errno::PERM => ProbeError::NotTried(
            "no ping socket: net.ipv4.ping_group_range excludes us, and so does the lack of \
             CAP_NET_RAW"
                .to_string(),
        ),
        error => io_error(Step::Connect, &error.into()),
    })
}

fn request(to: IpAddr, token: Token) -> [u8; HEADER_BYTES + TOKEN_BYTES] {
    let mut bytes = [0; HEADER_BYTES + TOKEN_BYTES];
    let (header, rest) = bytes.split_at_mut(HEADER_BYTES);
    rest.copy_from_slice(&token);
    // A ping socket puts its own identifier in the place of these two bytes.
    let [a, b, ..] = token;
    header.copy_from_slice(&[if to.is_ipv4() { 8 } else { 128 }, 0, 0, 0, a, b, 0, 1]);
    if to.is_ipv4() {
        // Over IPv6 the kernel does it, since addresses count (RFC 3542 section 3.1).
        let sum = checksum(&bytes).to_be_bytes();
        if let Some(field) = bytes.get_mut(2..4) {
            field.copy_from_slice(&sum);
        }
    }
    bytes
}

/// The Internet checksum (RFC 1071).
fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|pair| match pair {
        [high, low] => u32::from(u16::from_be_bytes([*high, *low])),
        [high] => u32::from(*high) << 8,
        _ => 0,
    });
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    !(sum as u16)
}

/// A raw socket of IPv4 gives the IP header too, and others' answers.
fn is_answer(to: IpAddr, token: Token, bytes: &[u8]) -> bool {
    let has_header = |bytes: &[u8]| to.is_ipv4() && bytes.first().is_some_and(|b| b >> 4 == 4);
    let message = if has_header(bytes) {
        let len = usize::from(bytes.first().map_or(0, |first| first & 0xf)) * 4;
        bytes.get(len..).unwrap_or_default()
    } else {
        bytes
    };
    let wanted_type = if to.is_ipv4() { 0 } else { 129 };
    let carried = message.get(HEADER_BYTES..HEADER_BYTES + TOKEN_BYTES);
    message.first() == Some(&wanted_type) && carried == Some(&token[..])
}

#[cfg(test)]
mod tests {
    use super::super::testing::{kind, told};
    use super::*;
    use crate::control::HealthCheckKind;

    const TOKEN: Token = *b"sixteen bytes ..";

    #[test]
    fn requests_by_the_byte() {
        let request_4 = request("10.2.0.11".parse().unwrap(), TOKEN);
        assert_eq!(&request_4[..2], &[8, 0]);
        assert_eq!(checksum(&request_4), 0, "with its checksum the sum is nothing");
        let request_6 = request("2001:db8::1".parse().unwrap(), TOKEN);
        assert_eq!(&request_6[..8], &[128, 0, 0, 0, b's', b'i', 0, 1]);
        // RFC 1071 section 3 has this sum.
        assert_eq!(checksum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), !0xddf2);
    }

    #[test]
    fn answers_by_row() {
        let message = |first: u8, token: &[u8]| [&[first, 0, 0, 0, 1, 2, 0, 1], token].concat();
        let header = [&[0x46], &[0; 23][..]].concat();
        let rows = [
            ("10.2.0.11", message(0, &TOKEN), true),
            ("10.2.0.11", [header, message(0, &TOKEN)].concat(), true),
            ("10.2.0.11", message(8, &TOKEN), false),
            ("10.2.0.11", message(0, b"another answer.."), false),
            ("10.2.0.11", vec![], false),
            ("10.2.0.11", vec![0x4f], false),
            ("2001:db8::1", message(129, &TOKEN), true),
            ("2001:db8::1", message(128, &TOKEN), false),
        ];
        for (to, bytes, wanted) in rows {
            assert_eq!(is_answer(to.parse().unwrap(), TOKEN, &bytes), wanted, "{to} {bytes:?}");
        }
    }

    #[tokio::test]
    async fn loopback_answers_or_we_may_not_ask() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let got = told(address.parse().unwrap(), &kind(HealthCheckKind::Icmp)).await;
            let may_not = got.as_ref().is_err_and(|told| told.starts_with("not tried: no ping"));
            assert!(got.is_ok() || may_not, "{address}: {got:?}");
        }
    }
}
