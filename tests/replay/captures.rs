//! Captures made by code, and the frames in them.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use etherparse::{PacketBuilder, PacketBuilderStep, SlicedPacket, TransportSlice};
use pcap_file::pcap::{PcapHeader, PcapPacket, PcapReader, PcapWriter};
use pcap_file::{DataLink, TsResolution};

pub type Mac = [u8; 6];
pub const CLIENT_MAC: Mac = [2, 0, 0, 0, 0, 0x20];
pub const OUR_MAC: Mac = [2, 0, 0, 0, 0, 1];
pub const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 20);

/// What a TCP segment says besides its ports.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Segment {
    Syn,
    SynAck,
    Ack,
}

fn ip(from: (Mac, Ipv4Addr), to: (Mac, Ipv4Addr)) -> PacketBuilderStep<etherparse::IpHeaders> {
    PacketBuilder::ethernet2(from.0, to.0).ipv4(from.1.octets(), to.1.octets(), 64)
}

/// A frame with a TCP segment.
pub fn tcp(from: (Mac, SocketAddrV4), to: (Mac, SocketAddrV4), segment: Segment) -> Vec<u8> {
    let (source, destination) = (from.1, to.1);
    let builder = ip((from.0, *source.ip()), (to.0, *destination.ip()));
    let builder = builder.tcp(source.port(), destination.port(), 1000, 4096);
    let builder = match segment {
        Segment::Syn => builder.syn(),
        Segment::SynAck => builder.syn().ack(1001),
        Segment::Ack => builder.ack(1001),
    };
    let mut frame = Vec::new();
    builder.write(&mut frame, b"").unwrap();
    frame
}

/// From a port of the client.
pub fn from_client(port: u16, to: &str, segment: Segment) -> Vec<u8> {
    let to = (OUR_MAC, to.parse().unwrap());
    tcp((CLIENT_MAC, SocketAddrV4::new(CLIENT, port)), to, segment)
}

/// A datagram of the client.
pub fn datagram(port: u16, to: &str, payload: &[u8]) -> Vec<u8> {
    let to: SocketAddrV4 = to.parse().unwrap();
    let builder = ip((CLIENT_MAC, CLIENT), (OUR_MAC, *to.ip())).udp(port, to.port());
    let mut frame = Vec::new();
    builder.write(&mut frame, payload).unwrap();
    frame
}

/// An echo request of the client.
pub fn ping(to: Ipv4Addr) -> Vec<u8> {
    let builder = ip((CLIENT_MAC, CLIENT), (OUR_MAC, to)).icmpv4_echo_request(7, 1);
    let mut frame = Vec::new();
    builder.write(&mut frame, b"payload").unwrap();
    frame
}

/// Who has this address? (RFC 826)
pub fn arp_request(target: Ipv4Addr) -> Vec<u8> {
    let head: &[u8] = &[0x08, 0x06, 0, 1, 0x08, 0, 6, 4, 0, 1];
    let sender = [&CLIENT_MAC[..], &CLIENT.octets()[..]].concat();
    [&[0xff; 6][..], &CLIENT_MAC, head, &sender, &[0; 6], &target.octets(), &[0; 18]].concat()
}

/// A capture of frames and the milliseconds they came at.
pub fn capture(frames: &[(u64, Vec<u8>)]) -> Vec<u8> {
    let header = PcapHeader { ts_resolution: TsResolution::NanoSecond, ..PcapHeader::default() };
    let mut writer = PcapWriter::with_header(Vec::new(), header).unwrap();
    for (at_ms, frame) in frames {
        // With a part below the millisecond, to see that it is kept.
        let time = Duration::from_secs(1_700_000_000) + Duration::from_millis(*at_ms);
        let time = time + Duration::from_nanos(123);
        writer.write_packet(&PcapPacket::new(time, frame.len() as u32, frame)).unwrap();
    }
    writer.into_writer()
}

/// The frames of a capture and the milliseconds they stand at.
pub fn frames(capture: &[u8]) -> Vec<(u64, Vec<u8>)> {
    let mut reader = PcapReader::new(capture).unwrap();
    assert_eq!(reader.header().datalink, DataLink::ETHERNET);
    let mut frames = Vec::new();
    while let Some(packet) = reader.next_packet() {
        let packet = packet.unwrap();
        assert_eq!(packet.timestamp.subsec_nanos() % 1_000_000, 123);
        let at = packet.timestamp - Duration::from_secs(1_700_000_000);
        frames.push((at.as_millis() as u64, packet.data.into_owned()));
    }
    frames
}

/// MACs and sockets of a frame, checksums checked: destination MAC, source, destination.
pub fn path(frame: &[u8]) -> (Mac, SocketAddrV4, SocketAddrV4) {
    let parsed = SlicedPacket::from_ethernet(frame).unwrap();
    let Some(etherparse::NetSlice::Ipv4(ipv4)) = &parsed.net else { panic!("not IPv4") };
    let header = ipv4.header();
    assert_eq!(header.to_header().calc_header_checksum(), header.header_checksum());
    let ports = match &parsed.transport {
        Some(TransportSlice::Tcp(tcp)) => {
            let sum = tcp.calc_checksum_ipv4(header.source(), header.destination()).unwrap();
            assert_eq!(sum, tcp.checksum());
            (tcp.source_port(), tcp.destination_port())
        }
        Some(TransportSlice::Udp(udp)) => (udp.source_port(), udp.destination_port()),
        other => panic!("no transport: {other:?}"),
    };
    let mac = *frame.first_chunk().unwrap();
    let source = SocketAddrV4::new(header.source_addr(), ports.0);
    (mac, source, SocketAddrV4::new(header.destination_addr(), ports.1))
}
