//! Packets in tunnels, made by hand: the inner one asks 10.1.0.100:7002 from 10.1.0.50:5555.
//!
//! Sent by socat, so that no socket address is put together in unsafe code here.

use etherparse::{
    EtherType, Ethernet2Header, IpNumber, Ipv4Header, Ipv6FlowLabel, Ipv6Header, PacketBuilder,
};

use super::{Lab, Namespace};

const CLIENT: [u8; 4] = [10, 1, 0, 50];
const VIP: [u8; 4] = [10, 1, 0, 100];
const BACKEND: [u8; 4] = [10, 1, 0, 11];

/// What is around the inner packet: the protocol of the outer header, and what follows that header.
/// A UDP header's length is filled in when the frame is made.
pub enum Outer {
    V4(u8, Vec<u8>),
    V6(u8, Vec<u8>),
}

/// A UDP header to `port` and what comes between it and the inner packet.
pub fn udp_header(port: u16, more: &[u8]) -> Vec<u8> {
    let port = port.to_be_bytes();
    // Checksum 0: none, which IPv6 allows to tunnels only (RFC 6935).
    [&[0xc0, 0x01, port[0], port[1], 0, 0, 0, 0], more].concat()
}

impl Outer {
    /// The Ethernet frame, to and from these MACs, whose inner datagram carries `payload`.
    pub fn frame(self, (to, from): &(String, String), payload: &[u8]) -> Vec<u8> {
        let mut inner = Vec::new();
        let builder = PacketBuilder::ipv4(CLIENT, VIP, 64).udp(5555, 7002);
        builder.write(&mut inner, payload).unwrap();
        let (is_v6, protocol, mut body) = match self {
            Outer::V4(protocol, between) => (false, IpNumber(protocol), between),
            Outer::V6(protocol, between) => (true, IpNumber(protocol), between),
        };
        body.extend_from_slice(&inner);
        if protocol == IpNumber::UDP {
            let length = body.len() as u16;
            body[4..6].copy_from_slice(&length.to_be_bytes());
        }
        let ether_type = if is_v6 { EtherType::IPV6 } else { EtherType::IPV4 };
        let ethernet = Ethernet2Header { destination: mac(to), source: mac(from), ether_type };
        let mut frame = Vec::new();
        ethernet.write(&mut frame).unwrap();
        if is_v6 {
            ipv6(body.len(), protocol).write(&mut frame).unwrap();
        } else {
            let length = body.len() as u16;
            Ipv4Header::new(length, 64, protocol, CLIENT, BACKEND)
                .unwrap()
                .write(&mut frame)
                .unwrap();
        }
        frame.extend_from_slice(&body);
        frame
    }
}

/// From fd00::50 to the guest's fd00::11.
fn ipv6(length: usize, next_header: IpNumber) -> Ipv6Header {
    let address = |last| [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last];
    Ipv6Header {
        traffic_class: 0,
        flow_label: Ipv6FlowLabel::ZERO,
        payload_length: length as u16,
        next_header,
        hop_limit: 64,
        source: address(0x50),
        destination: address(0x11),
    }
}

fn mac(text: &str) -> [u8; 6] {
    let bytes: Vec<u8> =
        text.split(':').map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect();
    bytes.try_into().unwrap()
}

/// Sends a frame by an interface as it is.
pub fn send(lab: &Lab, namespace: &Namespace, interface: &str, frame: &[u8]) {
    let path = lab.path("frame");
    std::fs::write(&path, frame).unwrap();
    namespace.run(&format!("socat -u OPEN:{} INTERFACE:{interface}", path.display()));
}
