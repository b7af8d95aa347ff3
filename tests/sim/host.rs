//! A machine on the network: a smoltcp stack with its own MAC and addresses.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use guideway::wire::MacAddress;

use super::parts::Parts;
use smoltcp::iface::{Config, Interface, SocketSet};
use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::time::Instant;
use smoltcp::wire::{
    EthernetAddress, EthernetFrame, EthernetProtocol, HardwareAddress, Icmpv6Message, Icmpv6Packet,
    IpCidr, IpProtocol, Ipv6Packet,
};

/// One machine.
pub struct Host {
    pub address: IpAddr,
    /// L2DSR: the VIP, on loopback. The machine neither answers ARP for it nor asks in its name
    /// (`arp_ignore` and `arp_announce` of a real backend; with IPv6 that is Linux' habit).
    pub hidden: Option<IpAddr>,
    pub sockets: SocketSet<'static>,
    iface: Interface,
    wire: Wire,
    /// Datagrams leave and come in fragments.
    parts: Option<Parts>,
}

impl Host {
    /// A machine with an address and the length of its network's prefix.
    pub fn new(
        mac: MacAddress,
        (address, prefix_len): (IpAddr, u8),
        hidden: Option<IpAddr>,
        seed: u64,
        parts: Option<Parts>,
    ) -> Host {
        let mut wire = Wire::default();
        let mut config = Config::new(HardwareAddress::Ethernet(EthernetAddress(mac.0)));
        config.random_seed = seed;
        let mut iface = Interface::new(config, &mut wire, Instant::ZERO);
        iface.update_ip_addrs(|addresses| {
            let host_len = if address.is_ipv4() { 32 } else { 128 };
            let own = [IpCidr::new(address.into(), prefix_len)];
            addresses
                .extend(own.into_iter().chain(hidden.map(|vip| IpCidr::new(vip.into(), host_len))));
        });
        Host { address, hidden, sockets: SocketSet::new(vec![]), iface, wire, parts }
    }

    /// Hands the machine a frame.
    pub fn deliver(&mut self, frame: Vec<u8>) {
        let asks_for_hidden = self.hidden.is_some_and(|vip| asked_for(&frame) == Some(vip));
        let whole = match &mut self.parts {
            Some(parts) => parts.join(frame),
            None => Some(frame),
        };
        if let Some(frame) = whole.filter(|_| !asks_for_hidden) {
            self.wire.inbox.push_back(frame);
        }
    }

    /// Lets the stack work; gives the frames it sends.
    pub fn poll(&mut self, now_ms: u64) -> Vec<Vec<u8>> {
        self.iface.poll(instant(now_ms), &mut self.wire, &mut self.sockets);
        let mut sent: Vec<Vec<u8>> = self.wire.outbox.drain(..).collect();
        if let Some(vip) = self.hidden {
            sent.iter_mut().for_each(|frame| ask_as(frame, vip, self.address));
        }
        match &mut self.parts {
            Some(parts) => sent.into_iter().flat_map(|frame| parts.cut(frame)).collect(),
            None => sent,
        }
    }

    /// When the stack wants to work again.
    pub fn next_poll_ms(&mut self, now_ms: u64) -> Option<u64> {
        let at = self.iface.poll_at(instant(now_ms), &self.sockets)?;
        Some(at.total_millis().max(0) as u64)
    }

    /// What connecting needs besides the socket.
    pub fn split(&mut self) -> (&mut SocketSet<'static>, &mut smoltcp::iface::Context) {
        (&mut self.sockets, self.iface.context())
    }
}

pub fn instant(now_ms: u64) -> Instant {
    Instant::from_millis(now_ms as i64)
}

const ARP: [u8; 2] = [0x08, 0x06];
const ARP_SENDER: std::ops::Range<usize> = 28..32;
const ARP_TARGET: std::ops::Range<usize> = 38..42;

/// The address an ARP packet or a neighbour solicitation asks for.
fn asked_for(frame: &[u8]) -> Option<IpAddr> {
    if frame.get(12..14) == Some(&ARP) {
        let target: [u8; 4] = frame.get(ARP_TARGET)?.try_into().ok()?;
        return Some(target.into());
    }
    let ethernet = EthernetFrame::new_checked(frame).ok()?;
    if ethernet.ethertype() != EthernetProtocol::Ipv6 {
        return None;
    }
    let packet = Ipv6Packet::new_checked(ethernet.payload()).ok()?;
    let message = Icmpv6Packet::new_checked(packet.payload()).ok()?;
    let is_question = packet.next_header() == IpProtocol::Icmpv6
        && message.msg_type() == Icmpv6Message::NeighborSolicit;
    is_question.then(|| message.target_addr().into())
}

/// In a question sent in the name of `vip`, puts `own` in its place.
fn ask_as(frame: &mut [u8], vip: IpAddr, own: IpAddr) {
    match (vip, own) {
        (IpAddr::V4(vip), IpAddr::V4(own)) => ask_as_ipv4(frame, vip, own),
        (IpAddr::V6(vip), IpAddr::V6(own)) if asked_for(frame).is_some() => {
            ask_as_ipv6(frame, vip, own);
        }
        _ => {}
    }
}

fn ask_as_ipv4(frame: &mut [u8], vip: Ipv4Addr, own: Ipv4Addr) {
    if frame.get(12..14) == Some(&ARP)
        && let Some(sender) = frame.get_mut(ARP_SENDER)
        && *sender == vip.octets()
    {
        sender.copy_from_slice(&own.octets());
    }
}

fn ask_as_ipv6(frame: &mut [u8], vip: Ipv6Addr, own: Ipv6Addr) {
    let mut ethernet = EthernetFrame::new_unchecked(frame);
    let mut packet = Ipv6Packet::new_unchecked(ethernet.payload_mut());
    if packet.src_addr() == vip {
        packet.set_src_addr(own);
        let destination = packet.dst_addr();
        let mut message = Icmpv6Packet::new_unchecked(packet.payload_mut());
        message.fill_checksum(&own, &destination);
    }
}

/// Both directions of the machine's cable.
#[derive(Default)]
struct Wire {
    inbox: VecDeque<Vec<u8>>,
    outbox: VecDeque<Vec<u8>>,
}

impl Device for Wire {
    type RxToken<'a> = Received;
    type TxToken<'a> = Outbox<'a>;

    fn receive(&mut self, _now: Instant) -> Option<(Received, Outbox<'_>)> {
        let frame = self.inbox.pop_front()?;
        Some((Received(frame), Outbox(&mut self.outbox)))
    }

    fn transmit(&mut self, _now: Instant) -> Option<Outbox<'_>> {
        Some(Outbox(&mut self.outbox))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = 1514;
        capabilities
    }
}

struct Received(Vec<u8>);

impl RxToken for Received {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}

struct Outbox<'a>(&'a mut VecDeque<Vec<u8>>);

impl TxToken for Outbox<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let mut frame = vec![0; len];
        let answer = f(&mut frame);
        self.0.push_back(frame);
        answer
    }
}
