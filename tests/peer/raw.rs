//! Encapsulated packets, as a balancer would send them: the outer header and all in it by hand, by
//! a raw IP socket (root). What a backend answers comes back to sockets of the inner source.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use etherparse::{IpNumber, PacketBuilder, PacketBuilderStep, ip_number};
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType, ipproto, recv, sendto,
    socket_with,
};

use crate::report;

/// Of each SYN.
const SEQUENCE: u32 = 1_000_000;

#[derive(clap::Args)]
pub struct Options {
    /// How it is encapsulated
    #[arg(long, value_enum)]
    encapsulation: Encapsulation,
    /// Outer source
    #[arg(long)]
    from: IpAddr,
    /// Outer destination
    #[arg(long)]
    to: IpAddr,
    /// Inner source; each SYN has the next port
    #[arg(long)]
    client: SocketAddr,
    /// Inner destination
    #[arg(long)]
    vip: SocketAddr,
    /// A TCP SYN in place of a UDP datagram
    #[arg(long)]
    syn: bool,
    /// How many, one after the other
    #[arg(long, default_value_t = 10)]
    count: u64,
    /// Bytes of a datagram
    #[arg(long, default_value_t = 64)]
    bytes: usize,
    /// UDP port of GUE
    #[arg(long, default_value_t = 6080)]
    gue_port: u16,
    /// An answer takes at most this long, in milliseconds
    #[arg(long, default_value_t = 5000)]
    timeout_ms: u64,
}

#[derive(clap::ValueEnum, Clone, Copy, PartialEq, Eq)]
enum Encapsulation {
    Ipip,
    Gre,
    GreKey,
    Gue0,
    Gue1,
}

#[derive(Default, serde::Serialize)]
struct Report {
    sent: u64,
    answered: u64,
    /// Answers that were not the question's bytes behind a name.
    different: u64,
}

/// Where answers are waited for.
enum Answers {
    Datagrams(UdpSocket),
    /// All TCP segments to this machine, with their IPv4 headers (raw(7)).
    Segments(OwnedFd),
}

pub fn run(options: &Options) -> Result<(), Box<dyn std::error::Error>> {
    let limit = Duration::from_millis(options.timeout_ms);
    let answers = if options.syn {
        let socket = raw(AddressFamily::INET, ipproto::TCP)?;
        set_socket_timeout(&socket, Timeout::Recv, Some(limit))?;
        Answers::Segments(socket)
    } else {
        let socket = UdpSocket::bind(options.client)?;
        socket.set_read_timeout(Some(limit))?;
        Answers::Datagrams(socket)
    };
    let family = if options.to.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    // With this protocol the kernel takes the header as it is given.
    let sender = raw(family, ipproto::RAW)?;
    let mut report = Report::default();
    for number in 0..options.count {
        let text: Vec<u8> = (0..options.bytes).map(|place| (place as u64 + number) as u8).collect();
        let mut client = options.client;
        if options.syn {
            client.set_port(client.port() + number as u16);
        }
        let inner = inner(options, client, &text)?;
        let packet = encapsulate(options, &inner)?;
        sendto(&sender, &packet, SendFlags::empty(), &SocketAddr::new(options.to, 0))?;
        report.sent += 1;
        match &answers {
            Answers::Datagrams(socket) => hear_datagram(socket, options.vip, &text, &mut report),
            Answers::Segments(socket) => {
                report.answered += u64::from(hear_syn_ack(socket, client, options.vip, limit));
            }
        }
    }
    report::print(&report)
}

fn raw(family: AddressFamily, protocol: Protocol) -> rustix::io::Result<OwnedFd> {
    socket_with(family, SocketType::RAW, SocketFlags::CLOEXEC, Some(protocol))
}

type Bytes = Result<Vec<u8>, Box<dyn std::error::Error>>;

/// What the client sent to the VIP.
fn inner(options: &Options, from: SocketAddr, text: &[u8]) -> Bytes {
    let to = options.vip;
    let ip = ip_header(from.ip(), to.ip())?;
    let mut packet = vec![];
    if options.syn {
        ip.tcp(from.port(), to.port(), SEQUENCE, 64240).syn().write(&mut packet, &[])?;
    } else {
        ip.udp(from.port(), to.port()).write(&mut packet, text)?;
    }
    Ok(packet)
}

fn ip_header(
    from: IpAddr,
    to: IpAddr,
) -> Result<PacketBuilderStep<etherparse::IpHeaders>, Box<dyn std::error::Error>> {
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            Ok(PacketBuilder::ipv4(from.octets(), to.octets(), 64))
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            Ok(PacketBuilder::ipv6(from.octets(), to.octets(), 64))
        }
        _ => Err("source and destination are of different families".into()),
    }
}

/// With all headers before it that the balancer adds.
fn encapsulate(options: &Options, inner: &[u8]) -> Bytes {
    let is_ipv4 = inner[0] >> 4 == 4;
    let (protocol, kind) = match is_ipv4 {
        true => (ip_number::IPV4, [0x08, 0x00]),
        false => (ip_number::IPV6, [0x86, 0xdd]),
    };
    let gue = |header: &[u8]| -> Bytes {
        let mut packet = vec![];
        let body = [header, inner].concat();
        ip_header(options.from, options.to)?
            .udp(49_999, options.gue_port)
            .write(&mut packet, &body)?;
        Ok(packet)
    };
    let under = |protocol: IpNumber, header: &[u8]| -> Bytes {
        let mut packet = vec![];
        let body = [header, inner].concat();
        ip_header(options.from, options.to)?.write(&mut packet, protocol, &body)?;
        Ok(packet)
    };
    match options.encapsulation {
        Encapsulation::Ipip => under(protocol, &[]),
        Encapsulation::Gre => under(ip_number::GRE, &[&[0, 0], &kind[..]].concat()),
        Encapsulation::GreKey => {
            under(ip_number::GRE, &[&[0x20, 0], &kind[..], &[0, 0, 0, 77]].concat())
        }
        Encapsulation::Gue0 => gue(&[0, protocol.0, 0, 0]),
        Encapsulation::Gue1 => gue(&[]),
    }
}

fn hear_datagram(socket: &UdpSocket, vip: SocketAddr, text: &[u8], report: &mut Report) {
    let mut answer = [0; 65536];
    let Ok((len, from)) = socket.recv_from(&mut answer) else { return };
    report.answered += u64::from(from == vip);
    let answer = &answer[..len];
    let blank = answer.iter().position(|byte| *byte == b' ').unwrap_or(len);
    report.different += u64::from(answer.get(blank + 1..) != Some(text));
}

/// Waits for a segment with SYN and ACK that answers ours; the kernel's own answer to it, a reset,
/// is no matter here.
fn hear_syn_ack(socket: &OwnedFd, client: SocketAddr, vip: SocketAddr, limit: Duration) -> bool {
    let start = Instant::now();
    let mut buffer = [0; 2048];
    while start.elapsed() < limit {
        let Ok((len, _)) = recv(socket, &mut buffer[..], RecvFlags::empty()) else { return false };
        let packet = &buffer[..len];
        let Ok(slice) = etherparse::SlicedPacket::from_ip(packet) else { continue };
        let Some(etherparse::TransportSlice::Tcp(tcp)) = slice.transport else { continue };
        let from = packet.get(12..16).map(|bytes| [bytes[0], bytes[1], bytes[2], bytes[3]]);
        let is_vip = from.is_some_and(|from| vip.ip() == IpAddr::from(from));
        let is_ours = (tcp.source_port(), tcp.destination_port()) == (vip.port(), client.port());
        let acknowledges = tcp.acknowledgment_number() == SEQUENCE + 1;
        if is_vip && is_ours && tcp.syn() && tcp.ack() && acknowledges {
            return true;
        }
    }
    false
}
