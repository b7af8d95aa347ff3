//! Against etherparse's parser of whole packets, of which `parse` uses only the header slices. What
//! it reads as TCP or UDP, `parse` reads the same, with the exceptions that [`is_excused`] lists;
//! and what it refuses, `parse` refuses.
//!
//! The fuzzer takes this file as it is, so it has no tests in it: those are in `compared.rs`.

use crate::wire::{Body, Content, Fault, FlowKey, Packet, ParseOutcome, TcpFlags, parse};
use etherparse::err::{Layer as TheirLayer, packet::SliceError};
use etherparse::{
    Ipv4Slice, Ipv6ExtensionSlice, Ipv6Slice, LenSource, NetSlice, SlicedPacket, TransportSlice,
};
use std::ops::Range;

/// A whole TCP segment or UDP datagram: key, content, and where its IP payload is in the frame.
type Transport = (FlowKey, Content, Range<usize>);

/// What etherparse makes of it.
fn theirs(frame: &[u8], sliced: &SlicedPacket<'_>) -> Option<Transport> {
    let net = sliced.net.as_ref()?;
    let payload = net.ip_payload_ref().filter(|payload| !payload.fragmented)?;
    let (source, destination) = match net {
        NetSlice::Ipv4(ip) => {
            (ip.header().source_addr().into(), ip.header().destination_addr().into())
        }
        NetSlice::Ipv6(ip) => {
            (ip.header().source_addr().into(), ip.header().destination_addr().into())
        }
        NetSlice::Arp(_) => return None,
    };
    let (protocol, source_port, destination_port, content) = match sliced.transport.as_ref()? {
        TransportSlice::Udp(udp) => (17, udp.source_port(), udp.destination_port(), Content::Udp),
        TransportSlice::Tcp(tcp) => {
            let flags = [
                (tcp.fin(), TcpFlags::FIN),
                (tcp.syn(), TcpFlags::SYN),
                (tcp.rst(), TcpFlags::RST),
                (tcp.psh(), TcpFlags::PSH),
                (tcp.ack(), TcpFlags::ACK),
                (tcp.urg(), TcpFlags::URG),
                (tcp.ece(), TcpFlags::ECE),
                (tcp.cwr(), TcpFlags::CWR),
            ];
            let set = flags.into_iter().filter(|flag| flag.0);
            let flags = set.fold(TcpFlags::default(), |all, flag| all.with(flag.1));
            (6, tcp.source_port(), tcp.destination_port(), Content::Tcp(flags))
        }
        _ => return None,
    };
    let key = FlowKey { source, destination, source_port, destination_port, protocol };
    let start = payload.payload.as_ptr().addr() - frame.as_ptr().addr();
    Some((key, content, start..start + payload.payload.len()))
}

fn ours(outcome: &ParseOutcome) -> Option<Transport> {
    let ParseOutcome::Parsed(Packet { body: Body::Ip(ip), .. }) = outcome else { return None };
    let place = ip.payload_start()..ip.payload_start() + ip.payload_len();
    // Of SCTP etherparse knows nothing.
    let is_theirs = matches!(ip.content, Content::Tcp(_) | Content::Udp);
    is_theirs.then_some((ip.key, ip.content, place))
}

/// More than two tags, and tags of other kinds.
fn has_odd_tags(frame: &[u8]) -> bool {
    let kind = |tag: usize| {
        let bytes = frame.get(12 + 4 * tag..)?.first_chunk()?;
        Some(u16::from_be_bytes(*bytes))
    };
    match (0..).find(|&tag| !matches!(kind(tag), Some(0x8100 | 0x88a8))) {
        Some(count) => count > 2 || matches!(kind(count), Some(0x9100 | 0x88e5)),
        None => false,
    }
}

fn is_mapped(ip: &Ipv6Slice<'_>) -> bool {
    let (source, destination) = (ip.header().source_addr(), ip.header().destination_addr());
    source.to_ipv4_mapped().is_some() || destination.to_ipv4_mapped().is_some()
}

/// Ones' complement is arithmetic modulo 0xffff, where a right header is zero. (etherparse's own
/// sum leaves out the reserved bit.)
fn has_wrong_sum(ip: &Ipv4Slice<'_>) -> bool {
    let words = ip.header().slice().chunks_exact(2);
    let sum: u32 = words.map(|word| u32::from(word[0]) << 8 | u32::from(word[1])).sum();
    !sum.is_multiple_of(0xffff)
}

/// May we say this to what etherparse reads as TCP or UDP?
fn is_excused(frame: &[u8], sliced: &SlicedPacket<'_>, outcome: &ParseOutcome) -> bool {
    let Some(net) = &sliced.net else { return false };
    let (v4, v6) = (net.ipv4_ref(), net.ipv6_ref());
    let extensions = || v6.into_iter().flat_map(|ip| ip.extensions().clone());
    let has_authentication = v4.is_some_and(|ip| ip.extensions().auth.is_some())
        || extensions().any(|header| matches!(header, Ipv6ExtensionSlice::Authentication(_)));
    match outcome {
        ParseOutcome::NotOurs => has_odd_tags(frame),
        // Authenticated packets cannot be changed.
        ParseOutcome::Parsed(Packet { body: Body::Ip(ip), .. }) => {
            has_authentication && (ip.key.protocol, ip.content) == (51, Content::Other)
        }
        ParseOutcome::Parsed(_) => false,
        ParseOutcome::Malformed(error) => match error.fault {
            Fault::Checksum => v4.is_some_and(has_wrong_sum),
            Fault::SourceRoute => {
                let has_left = |header| match header {
                    Ipv6ExtensionSlice::Routing(raw) => raw.slice()[3] != 0,
                    _ => false,
                };
                v4.is_some_and(|ip| ip.header().options().iter().any(|b| matches!(b, 131 | 137)))
                    || extensions().any(has_left)
            }
            Fault::MappedAddress => v6.is_some_and(is_mapped),
            Fault::ChainTooLong => extensions().count() > 8,
            // Jumbograms, which etherparse takes to be as long as the frame.
            Fault::PacketEnds => v6.is_some_and(|ip| ip.header().payload_length() == 0),
            Fault::LengthTooShort => has_udp_length_0(sliced),
            _ => false,
        },
    }
}

fn has_udp_length_0(sliced: &SlicedPacket<'_>) -> bool {
    matches!(&sliced.transport, Some(TransportSlice::Udp(udp)) if udp.length() == 0)
}

/// Of what etherparse reads, must we not read this?
fn is_to_be_refused(frame: &[u8], sliced: &SlicedPacket<'_>) -> bool {
    has_odd_tags(frame)
        || has_udp_length_0(sliced)
        || match &sliced.net {
            Some(NetSlice::Ipv4(ip)) => has_wrong_sum(ip),
            Some(NetSlice::Ipv6(ip)) => is_mapped(ip) || ip.header().payload_length() == 0,
            _ => false,
        }
}

/// Is it about a header that `parse` reads too?
fn is_of_our_headers(error: &SliceError) -> bool {
    use TheirLayer::*;
    match error {
        SliceError::Ipv4(_) | SliceError::Ipv6(_) | SliceError::Tcp(_) => true,
        SliceError::Len(error) => match error.layer {
            Ethernet2Header | VlanHeader | Arp | TcpHeader | UdpHeader | UdpPayload => true,
            Ipv4Header | Ipv4Packet | Ipv6Header | Ipv6Packet => true,
            Ipv6ExtHeader | Ipv6FragHeader => true,
            // In a packet of its own family.
            Icmpv4 => error.len_source == LenSource::Ipv4HeaderTotalLen,
            Icmpv6 => error.len_source == LenSource::Ipv6HeaderPayloadLen,
            _ => false,
        },
        _ => false,
    }
}

/// May we read what etherparse refuses? Not behind tags, authentication headers and the headers of
/// later fragments that only it looks behind.
fn is_not_looked_at(frame: &[u8], outcome: &ParseOutcome) -> bool {
    match outcome {
        ParseOutcome::NotOurs => has_odd_tags(frame),
        ParseOutcome::Parsed(Packet { body: Body::Ip(ip), .. }) => match ip.content {
            Content::Other => ip.key.protocol == 51,
            Content::Fragment(fragment) => fragment.offset > 0 || ip.key.protocol == 51,
            _ => false,
        },
        _ => false,
    }
}

/// How the two differ, if they may not.
pub fn difference(frame: &[u8]) -> Option<String> {
    let outcome = parse(frame);
    let told = |what: &str| Some(format!("{what}: {outcome:?}\n{frame:02x?}"));
    match SlicedPacket::from_ethernet(frame) {
        Ok(sliced) => match (theirs(frame, &sliced), ours(&outcome)) {
            (Some(theirs), Some(ours)) if ours == theirs => {
                match is_to_be_refused(frame, &sliced) {
                    true => told("both read it, and we should not"),
                    false => None,
                }
            }
            (Some(theirs), None) => match is_excused(frame, &sliced, &outcome) {
                true => None,
                false => told(&format!("only they read it: {theirs:?}")),
            },
            (None, None) => None,
            (theirs, _) => told(&format!("read otherwise, by them as {theirs:?}")),
        },
        Err(error) => match (ours(&outcome), outcome) {
            // They want hop-by-hop options first.
            (Some(_), _) if matches!(error, SliceError::Ipv6Exts(_)) => None,
            (Some(_), _) => told(&format!("only we read it: {error}")),
            (None, ParseOutcome::Malformed(_)) => None,
            (None, _) if is_of_our_headers(&error) && !is_not_looked_at(frame, &outcome) => {
                told(&format!("only they refuse it: {error}"))
            }
            (None, _) => None,
        },
    }
}
