//! A machine on the network: a smoltcp stack with its own MAC and addresses.

use std::collections::VecDeque;
use std::net::Ipv4Addr;

use guideway::wire::MacAddress;
use smoltcp::iface::{Config, Interface, SocketSet};
use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::time::Instant;
use smoltcp::wire::{EthernetAddress, HardwareAddress, IpCidr, Ipv4Cidr};

/// One machine.
pub struct Host {
    pub address: Ipv4Addr,
    /// L2DSR: the VIP, on loopback. The machine neither answers ARP for it nor asks in its name
    /// (`arp_ignore` and `arp_announce` of a real backend).
    pub hidden: Option<Ipv4Addr>,
    pub sockets: SocketSet<'static>,
    iface: Interface,
    wire: Wire,
}

impl Host {
    /// A machine with a /24 around its address.
    pub fn new(mac: MacAddress, address: Ipv4Addr, hidden: Option<Ipv4Addr>, seed: u64) -> Host {
        let mut wire = Wire::default();
        let mut config = Config::new(HardwareAddress::Ethernet(EthernetAddress(mac.0)));
        config.random_seed = seed;
        let mut iface = Interface::new(config, &mut wire, Instant::ZERO);
        iface.update_ip_addrs(|addresses| {
            let own = [Ipv4Cidr::new(address, 24)];
            let all = own.into_iter().chain(hidden.map(|vip| Ipv4Cidr::new(vip, 32)));
            addresses.extend(all.map(IpCidr::Ipv4));
        });
        Host { address, hidden, sockets: SocketSet::new(vec![]), iface, wire }
    }

    /// Hands the machine a frame.
    pub fn deliver(&mut self, frame: Vec<u8>) {
        let asks_for_hidden = self.hidden.is_some_and(|vip| arp_target(&frame) == Some(vip));
        if !asks_for_hidden {
            self.wire.inbox.push_back(frame);
        }
    }

    /// Lets the stack work; gives the frames it sends.
    pub fn poll(&mut self, now_ms: u64) -> Vec<Vec<u8>> {
        self.iface.poll(instant(now_ms), &mut self.wire, &mut self.sockets);
        let mut sent: Vec<Vec<u8>> = self.wire.outbox.drain(..).collect();
        if let Some(vip) = self.hidden {
            sent.iter_mut().for_each(|frame| announce_as(frame, vip, self.address));
        }
        sent
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

/// The address an ARP packet asks for.
pub fn arp_target(frame: &[u8]) -> Option<Ipv4Addr> {
    let target: [u8; 4] = frame.get(ARP_TARGET)?.try_into().ok()?;
    (frame.get(12..14) == Some(&ARP)).then(|| target.into())
}

/// In an ARP packet sent in the name of `vip`, puts `own` in its place.
fn announce_as(frame: &mut [u8], vip: Ipv4Addr, own: Ipv4Addr) {
    if frame.get(12..14) == Some(&ARP)
        && let Some(sender) = frame.get_mut(ARP_SENDER)
        && *sender == vip.octets()
    {
        sender.copy_from_slice(&own.octets());
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
