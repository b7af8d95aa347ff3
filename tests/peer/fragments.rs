//! UDP questions in fragments made by hand and sent in an order of ours, by a raw IP socket (root).
//! The answers come back through the kernel, in its own fragments.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::OwnedFd;
use std::time::Duration;

use etherparse::PacketBuilder;
use rustix::net::{
    AddressFamily, SendFlags, SocketFlags, SocketType, ipproto, sendto, socket_with,
};

use crate::report;

#[derive(clap::Args)]
pub struct Options {
    /// Source
    #[arg(long)]
    client: SocketAddr,
    /// Destination
    #[arg(long)]
    to: SocketAddr,
    /// In which order, and what is wrong with it
    #[arg(long, value_enum)]
    order: Order,
    /// Questions, one after the other
    #[arg(long, default_value_t = 10)]
    count: u32,
    /// Bytes of a question
    #[arg(long, default_value_t = 4000)]
    bytes: usize,
    /// Bytes of a fragment's part of the datagram, a multiple of 8
    #[arg(long, default_value_t = 800)]
    part: usize,
    /// An answer takes at most this long, in milliseconds
    #[arg(long, default_value_t = 1000)]
    timeout_ms: u64,
}

#[derive(clap::ValueEnum, Clone, Copy, PartialEq, Eq)]
enum Order {
    /// The last one first
    Reversed,
    /// The odd ones, then the even ones: the first one in the middle
    OddFirst,
    /// Each one twice, in order
    Doubled,
    /// The first one is never sent
    WithoutFirst,
    /// The second one again, 8 bytes earlier
    Overlapping,
}

#[derive(Default, serde::Serialize)]
struct Report {
    sent: u64,
    answered: u64,
    /// Answers that were not the question's bytes behind a name.
    different: u64,
}

pub fn run(options: &Options) -> Result<(), Box<dyn std::error::Error>> {
    let answers = UdpSocket::bind(options.client)?;
    answers.set_read_timeout(Some(Duration::from_millis(options.timeout_ms)))?;
    let is_v4 = options.to.is_ipv4();
    let family = if is_v4 { AddressFamily::INET } else { AddressFamily::INET6 };
    // With this protocol the kernel takes the header as it is given.
    let sender: OwnedFd =
        socket_with(family, SocketType::RAW, SocketFlags::CLOEXEC, Some(ipproto::RAW))?;
    let mut report = Report::default();
    for number in 0..options.count {
        let text: Vec<u8> =
            (0..options.bytes).map(|place| (place as u32 * 7 + number) as u8).collect();
        let packet = whole(options.client, options.to, &text)?;
        // Of each order others, since what is wrong with one is remembered for a while.
        let id = (options.order as u32 + 1) * 0x1000 + number;
        for fragment in fragments(options, &packet, id) {
            sendto(&sender, &fragment, SendFlags::empty(), &SocketAddr::new(options.to.ip(), 0))?;
        }
        report.sent += 1;
        let mut answer = vec![0; 65536];
        let Ok((len, from)) = answers.recv_from(&mut answer) else { continue };
        report.answered += u64::from(from == options.to);
        let blank = answer[..len].iter().position(|byte| *byte == b' ').unwrap_or(len);
        report.different += u64::from(answer[..len].get(blank + 1..) != Some(&text[..]));
    }
    report::print(&report)
}

/// The question as one packet.
fn whole(
    from: SocketAddr,
    to: SocketAddr,
    text: &[u8],
) -> Result<Vec<u8>, Box<dyn std::error::Error>> {
    let ip = match (from.ip(), to.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => PacketBuilder::ipv4(from.octets(), to.octets(), 64),
        (IpAddr::V6(from), IpAddr::V6(to)) => PacketBuilder::ipv6(from.octets(), to.octets(), 64),
        _ => return Err("source and destination are of different families".into()),
    };
    let mut packet = vec![];
    ip.udp(from.port(), to.port()).write(&mut packet, text)?;
    Ok(packet)
}

fn fragments(options: &Options, packet: &[u8], id: u32) -> Vec<Vec<u8>> {
    let header_len = if options.to.is_ipv4() { 20 } else { 40 };
    let payload_len = packet.len() - header_len;
    let starts: Vec<usize> = (0..payload_len).step_by(options.part).collect();
    let cut = |start: usize| {
        let end = (start + options.part).min(payload_len);
        fragment(packet, header_len, start..end, end < payload_len, id)
    };
    let odd = || starts.iter().skip(1).step_by(2);
    match options.order {
        Order::Reversed => starts.iter().rev().map(|&start| cut(start)).collect(),
        Order::OddFirst => odd().chain(starts.iter().step_by(2)).map(|&at| cut(at)).collect(),
        Order::Doubled => starts.iter().flat_map(|&start| [cut(start), cut(start)]).collect(),
        Order::WithoutFirst => starts.iter().skip(1).map(|&start| cut(start)).collect(),
        Order::Overlapping => {
            let mut all: Vec<_> = starts.iter().map(|&start| cut(start)).collect();
            all.insert(2, cut(options.part - 8));
            all
        }
    }
}

fn fragment(
    packet: &[u8],
    header_len: usize,
    bytes: std::ops::Range<usize>,
    more: bool,
    id: u32,
) -> Vec<u8> {
    let (mut out, payload) = (packet[..header_len].to_vec(), &packet[header_len..]);
    let start = bytes.start as u16;
    if header_len == 20 {
        // The kernel fills in the length and the checksum (raw(7)).
        out[4..6].copy_from_slice(&(id as u16).to_be_bytes());
        out[6..8].copy_from_slice(&((start / 8) | (u16::from(more) << 13)).to_be_bytes());
    } else {
        out[4..6].copy_from_slice(&(bytes.len() as u16 + 8).to_be_bytes());
        let next_header = std::mem::replace(&mut out[6], 44);
        out.extend([next_header, 0]);
        out.extend((start | u16::from(more)).to_be_bytes());
        out.extend(id.to_be_bytes());
    }
    out.extend(&payload[bytes]);
    out
}
