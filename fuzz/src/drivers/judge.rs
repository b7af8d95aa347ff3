//! What must be true of a frame after its verdict, told from its bytes before and after.

use guideway::dataplane::{ReplyKind, Verdict};
use guideway::forwarding::{Backend, Mode, Snapshot};

use crate::wire::{
    Body, Content, ERROR_HEADER_LEN, Fragment, IpPacket, Packet, ParseOutcome, PortId, TcpFlags,
    parse, parse_quote,
};

use super::{envelope, sums};

/// Checks one frame.
pub fn check(snapshot: &Snapshot, ingress: PortId, verdict: Verdict, (sent, out): (&[u8], &[u8])) {
    match verdict {
        Verdict::NotOurs => assert_eq!(sent, out, "not ours, and changed"),
        Verdict::Drop(_) => {}
        Verdict::Forward(port) => forwarded(snapshot, port, sent, out),
        Verdict::Reply(port, kind) => {
            assert_eq!(port, ingress, "an answer leaves where the question came in");
            answered(kind, sent, out);
        }
    }
}

fn read(what: &str, frame: &[u8]) -> Packet {
    match parse(frame) {
        ParseOutcome::Parsed(packet) => packet,
        other => panic!("{what}: {other:?}: {frame:02x?}"),
    }
}

fn read_ip(what: &str, frame: &[u8]) -> (Packet, IpPacket) {
    let packet = read(what, frame);
    match packet.body {
        Body::Ip(ip) => (packet, ip),
        Body::Arp(arp) => panic!("{what}: {arp:?}"),
    }
}

fn forwarded(snapshot: &Snapshot, port: PortId, sent: &[u8], out: &[u8]) {
    if envelope::is_one(snapshot, out) {
        let inside = envelope::check(snapshot, port, out);
        return unchanged_but_a_hop(sent, &inside);
    }
    let (_, before) = read_ip("forwarded, and could not be read", sent);
    if snapshot.tunnel_sources.cover(before.destination()) {
        return told(snapshot, port, out);
    }
    let (link, after) = read_ip("cannot be read any more", out);
    let port = snapshot.port(port).expect("a port that is there");
    assert!(port.up, "sent to a port that is down");
    assert_eq!(link.link.source, port.mac);
    assert!(after.len() <= usize::from(port.mtu_bytes), "longer than the MTU");
    assert_eq!(after.len(), before.len());
    assert_eq!(kind(&after), kind(&before));
    let is_translated = after.key != before.key;
    assert_eq!(after.hop_limit + u8::from(is_translated), before.hop_limit);
    let classes = [(sent, &before), (out, &after)].map(|(frame, ip)| traffic_class(frame, ip));
    // ECN is the packet's own, and so is the DSCP unless it tells the VIP.
    let wanted = marked(snapshot, &after).map_or(classes[0], |dscp| dscp << 2 | classes[0] & 3);
    assert_eq!(classes[1], wanted, "DSCP and ECN");
    match after.content {
        Content::Tcp(_) | Content::Udp => {
            let sums = [(sent, &before), (out, &after)].map(|(f, ip)| sums::of_payload(f, ip));
            assert_eq!(sums[0], sums[1], "its checksum is as right as it came");
            let rest = [(sent, &before), (out, &after)].map(|(f, ip)| data(f, ip));
            // The maximum segment size in a SYN may be lowered.
            let is_syn = after.tcp().is_some_and(|flags| flags.contains(TcpFlags::SYN));
            assert!(is_syn || rest[0] == rest[1], "what is not translated stays");
        }
        Content::IcmpError => error_forwarded((sent, &before), (out, &after)),
        _ => {}
    }
}

/// The DSCP of packets to this one's receiver, if that is how it knows the VIP.
fn marked(snapshot: &Snapshot, after: &IpPacket) -> Option<u8> {
    let at = |backend: &&Backend| after.destination() == backend.socket.ip().into();
    match snapshot.backends.iter().flatten().find(at)?.mode {
        Mode::Dscp(value) => Some(value),
        _ => None,
    }
}

fn traffic_class(frame: &[u8], ip: &IpPacket) -> u8 {
    let at = ip.start();
    if ip.key.source.is_v4() { frame[at + 1] } else { frame[at] << 4 | frame[at + 1] >> 4 }
}

/// What came out of an envelope is what went into it, but for the hop that it costs.
fn unchanged_but_a_hop(sent: &[u8], inside: &[u8]) {
    let (_, before) = read_ip("put into an envelope, and could not be read", sent);
    let (_, after) = read_ip("what is in an envelope", inside);
    assert_eq!((after.key, kind(&after)), (before.key, kind(&before)));
    assert_eq!(after.hop_limit + 1, before.hop_limit);
    let [was, is] = [(sent, &before), (inside, &after)]
        .map(|(frame, ip)| &frame[ip.payload_start()..usize::from(ip.end)]);
    // The maximum segment size in a SYN may be lowered.
    let is_syn = after.tcp().is_some_and(|flags| flags.contains(TcpFlags::SYN));
    assert!(is_syn || was == is, "what is in an envelope stays as it was");
    if matches!(after.content, Content::Tcp(_) | Content::Udp) {
        assert_eq!(sums::of_payload(inside, &after), sums::of_payload(sent, &before));
    }
}

/// An error about an envelope has become one about the packet inside, for its client.
fn told(snapshot: &Snapshot, port: PortId, out: &[u8]) {
    let (_, error) = read_ip("an error made of one about an envelope", out);
    let port = snapshot.port(port).expect("a port that is there");
    assert!(port.up && error.len() <= usize::from(port.mtu_bytes));
    assert_eq!(error.content, Content::IcmpError);
    assert_eq!(sums::of_payload(out, &error), Some(0), "checksum of an error made anew");
    let quote = parse_quote(out, &error).expect("it quotes the client's packet");
    assert_eq!(
        (quote.key.source, quote.key.destination),
        (error.key.destination, error.key.source)
    );
}

/// What it is, but for the identification of a fragment, which is another one under NAT.
fn kind(ip: &IpPacket) -> (Content, u32) {
    let content = match ip.content {
        Content::Fragment(fragment) => {
            Content::Fragment(Fragment { identification: 0, ..fragment })
        }
        content => content,
    };
    (content, ip.key.protocol)
}

/// A transport's bytes without ports and checksum.
fn data(frame: &[u8], ip: &IpPacket) -> Vec<u8> {
    let payload = &frame[ip.payload_start()..usize::from(ip.end)];
    let sum = if ip.key.is_tcp() { 16 } else { 6 };
    [&payload[4..sum], &payload[sum + 2..]].concat()
}

/// The error's own checksum is right, and those of a packet that it quotes as right as they came.
fn error_forwarded(before: (&[u8], &IpPacket), after: (&[u8], &IpPacket)) {
    assert_eq!(sums::of_payload(after.0, after.1), Some(0), "checksum of an ICMP error");
    let quoted = [before, after].map(|(frame, error)| quoted_sums(frame, error));
    assert_eq!(quoted[0], quoted[1], "checksums of the quoted packet");
}

/// Of the packet that an error quotes: how wrong the IPv4 header's checksum is, and the transport's
/// if the packet is quoted as a whole.
fn quoted_sums(frame: &[u8], error: &IpPacket) -> (u32, Option<u32>) {
    let quote = parse_quote(frame, error).expect("a quote that found a flow");
    let start = error.payload_start() + ERROR_HEADER_LEN;
    assert_eq!(start, usize::from(quote.start));
    let packet = &frame[start..usize::from(error.end)];
    let transport = usize::from(quote.transport) - start;
    let is_v4 = quote.key.source.is_v4();
    let header = if is_v4 { sums::remainder(&[&packet[..transport]]) } else { 0 };
    let [high, low] = if is_v4 { [packet[2], packet[3]] } else { [packet[4], packet[5]] };
    let len = usize::from(u16::from_be_bytes([high, low])) + if is_v4 { 0 } else { 40 };
    let protocol = quote.key.protocol as u8;
    let least = transport + if quote.key.is_tcp() { 20 } else { 8 };
    let is_part = is_v4 && u16::from_be_bytes([packet[6], packet[7]]) & 0x2000 != 0;
    let payload = packet.get(transport..len).filter(|_| len >= least && !is_part);
    let has_sum = |payload: &&[u8]| protocol != 17 || payload[6..8] != [0, 0];
    let sum = payload.filter(has_sum).map(|payload| {
        let pseudo = sums::pseudo_header(packet, protocol, payload.len());
        sums::remainder(&[&pseudo, payload])
    });
    (header, sum)
}

fn answered(kind: ReplyKind, sent: &[u8], out: &[u8]) {
    let (asked, answer) = (read("answered, and could not be read", sent), read("an answer", out));
    assert_eq!(answer.link.tags, asked.link.tags, "an answer stays on its VLAN");
    let ip = match answer.body {
        Body::Ip(ip) => ip,
        Body::Arp(_) => return assert_eq!(kind, ReplyKind::Arp),
    };
    let sum = sums::of_payload(out, &ip);
    let wanted = match (kind, asked.body) {
        (ReplyKind::EchoReply, Body::Ip(request)) => sums::of_payload(sent, &request),
        _ => Some(0),
    };
    assert_eq!(sum, wanted, "checksum of an answer: {kind}");
    match kind {
        ReplyKind::Reset => assert!(ip.tcp().is_some()),
        ReplyKind::EchoReply | ReplyKind::NeighbourAdvertisement => {
            assert_eq!(ip.content, Content::Icmp);
        }
        _ => assert_eq!(ip.content, Content::IcmpError),
    }
}
