//! A machine on the network: a smoltcp stack with its own MAC and addresses.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;

use guideway::wire::MacAddress;
use guideway::wire::encap::Tunnel;
use smoltcp::iface::{Config, Interface, SocketSet};
use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::time::Instant;
use smoltcp::wire::{EthernetAddress, HardwareAddress, IpCidr};

use super::envelope;
use super::hidden::{ask_as, asked_for, neighbour_in};
use super::keep_alive::KeepAlives;
use super::marked::Mark;
use super::parts::{Parts, is_datagram};
use super::path_mtu::{PathMtu, Told};
use super::sound::is_sound;

/// What a machine is.
#[derive(Clone, Debug)]
pub struct HostPlan {
    pub mac: MacAddress,
    pub address: IpAddr,
    /// Of its network, and by whom it sends elsewhere.
    pub prefix_len: u8,
    pub gateway: Option<IpAddr>,
    /// Direct return: the VIP, on loopback.
    pub hidden: Option<IpAddr>,
    /// The envelopes that it opens, and the address they come to.
    pub tunnel: Option<(IpAddr, Tunnel)>,
    /// What it knows the VIP's packets by.
    pub mark: Option<Mark>,
    pub seed: u64,
}

/// One machine.
pub struct Host {
    /// Of TCP.
    pub sockets: SocketSet<'static>,
    /// Of UDP.
    pub datagrams: SocketSet<'static>,
    /// Frames that came and were no envelope for it, or not marked as they have to be.
    pub not_opened: u64,
    /// ICMP errors that came about what it never sent.
    pub strange_errors: u64,
    /// How often its path was found to be narrower.
    pub narrowed: u64,
    plan: HostPlan,
    iface: Interface,
    wire: Wire,
    /// Datagrams go by an interface of their own: smoltcp sends none that is longer than its packets may
    /// be, and what a path makes of them is done behind it.
    datagram_iface: Interface,
    datagram_wire: Wire,
    path: PathMtu,
    keep_alives: KeepAlives,
    /// What it was told of its neighbours last.
    neighbours: BTreeMap<IpAddr, Vec<u8>>,
    /// Datagrams leave and come in fragments.
    parts: Option<Parts>,
}

impl Host {
    pub fn new(plan: HostPlan, parts: Option<Parts>) -> Host {
        let (mut wire, mut datagram_wire) = (Wire::new(LINK_MTU), Wire::new(LINK_MTU));
        Host {
            sockets: SocketSet::new(vec![]),
            datagrams: SocketSet::new(vec![]),
            not_opened: 0,
            strange_errors: 0,
            narrowed: 0,
            iface: interface(&plan, &mut wire),
            datagram_iface: interface(&plan, &mut datagram_wire),
            datagram_wire,
            plan,
            wire,
            path: PathMtu::new(LINK_MTU),
            keep_alives: KeepAlives::default(),
            neighbours: BTreeMap::new(),
            parts,
        }
    }

    pub fn address(&self) -> IpAddr {
        self.plan.address
    }

    /// A frame without its envelope or mark, if it came with one; none when that is not as it has to be.
    pub fn open(&mut self, frame: Vec<u8>) -> Option<Vec<u8>> {
        if let Some(mark) = self.plan.mark.filter(|mark| mark.is_on(&frame)) {
            let restored = mark.restore(frame);
            self.not_opened += u64::from(restored.is_none());
            return restored;
        }
        let to_it = |&(address, _): &(IpAddr, Tunnel)| envelope::is_to(&frame, address);
        let Some((_, tunnel)) = self.plan.tunnel.filter(to_it) else { return Some(frame) };
        let inside = envelope::open(&frame, tunnel);
        self.not_opened += u64::from(inside.is_none());
        inside
    }

    /// Hands the machine a frame without an envelope.
    pub fn deliver(&mut self, frame: Vec<u8>) {
        match self.path.hears(&frame) {
            Some(Told::Lower) => return self.narrow(),
            Some(Told::Known) => return,
            Some(Told::Strange) => return self.strange_errors += 1,
            None => {}
        }
        let neighbour = neighbour_in(&frame).filter(|_| is_sound(&frame));
        if let Some(neighbour) = neighbour {
            self.neighbours.insert(neighbour, frame.clone());
            self.datagram_wire.inbox.push_back(frame.clone());
        }
        let asks_for_hidden = self.plan.hidden.is_some_and(|vip| asked_for(&frame) == Some(vip));
        let whole = match &mut self.parts {
            Some(parts) => parts.join(frame),
            None => Some(frame),
        };
        if let Some(frame) = whole.filter(|_| !asks_for_hidden) {
            let wire = if is_datagram(&frame) { &mut self.datagram_wire } else { &mut self.wire };
            wire.inbox.push_back(frame);
        }
    }

    /// Sends no longer segments from now on. A stack asks for its link's MTU when it is made: here it
    /// is made anew, around the same connections, and told its neighbours again.
    fn narrow(&mut self) {
        self.narrowed += 1;
        self.plan.seed += 1;
        self.wire.mtu = self.path.bytes;
        self.iface = interface(&self.plan, &mut self.wire);
        self.wire.inbox.extend(self.neighbours.values().cloned());
    }

    /// Lets the stack work; gives the frames it sends.
    pub fn poll(&mut self, now_ms: u64) -> Vec<Vec<u8>> {
        self.iface.poll(instant(now_ms), &mut self.wire, &mut self.sockets);
        let datagrams = (&mut self.datagram_wire, &mut self.datagrams);
        self.datagram_iface.poll(instant(now_ms), datagrams.0, datagrams.1);
        let outboxes = self.wire.outbox.drain(..).chain(self.datagram_wire.outbox.drain(..));
        let mut sent: Vec<Vec<u8>> = outboxes.collect();
        if let Some(vip) = self.plan.hidden {
            sent.iter_mut().for_each(|frame| ask_as(frame, vip, self.plan.address));
        }
        sent.iter_mut().for_each(|frame| self.keep_alives.mend(frame));
        sent.iter().for_each(|frame| self.path.sends(frame));
        let Host { parts: Some(parts), path, .. } = self else { return sent };
        let cut = |frame: Vec<u8>| {
            let is_too_long = path.is_too_long(&frame);
            parts.cut(frame, is_too_long)
        };
        sent.into_iter().flat_map(cut).collect()
    }

    /// Datagrams that were too long for their path, and left in fragments.
    pub fn datagrams_cut(&self) -> u64 {
        self.parts.as_ref().map_or(0, |parts| parts.had_to)
    }

    /// When the stack wants to work again.
    pub fn next_poll_ms(&mut self, now_ms: u64) -> Option<u64> {
        let now = instant(now_ms);
        let segments = self.iface.poll_at(now, &self.sockets);
        let datagrams = self.datagram_iface.poll_at(now, &self.datagrams);
        let at = [segments, datagrams].into_iter().flatten().min()?;
        Some(at.total_millis().max(0) as u64)
    }

    /// What connecting needs besides the socket.
    pub fn split(&mut self) -> (&mut SocketSet<'static>, &mut smoltcp::iface::Context) {
        (&mut self.sockets, self.iface.context())
    }
}

fn interface(plan: &HostPlan, wire: &mut Wire) -> Interface {
    let mut config = Config::new(HardwareAddress::Ethernet(EthernetAddress(plan.mac.0)));
    config.random_seed = plan.seed;
    let mut iface = Interface::new(config, wire, Instant::ZERO);
    let host_len = if plan.address.is_ipv4() { 32 } else { 128 };
    let hidden = plan.hidden.map(|vip| IpCidr::new(vip.into(), host_len));
    iface.update_ip_addrs(|addresses| {
        let own = IpCidr::new(plan.address.into(), plan.prefix_len);
        addresses.extend([own].into_iter().chain(hidden));
    });
    let routes = iface.routes_mut();
    let is_full = match plan.gateway {
        Some(IpAddr::V4(gateway)) => routes.add_default_ipv4_route(gateway).is_err(),
        Some(IpAddr::V6(gateway)) => routes.add_default_ipv6_route(gateway).is_err(),
        None => false,
    };
    assert!(!is_full, "a stack without room for one route");
    iface
}

pub fn instant(now_ms: u64) -> Instant {
    Instant::from_millis(now_ms as i64)
}

/// Both directions of the machine's cable.
struct Wire {
    /// Of IP packets, in bytes.
    mtu: usize,
    inbox: VecDeque<Vec<u8>>,
    outbox: VecDeque<Vec<u8>>,
}

const LINK_MTU: usize = 1500;

impl Wire {
    fn new(mtu: usize) -> Wire {
        Wire { mtu, inbox: VecDeque::new(), outbox: VecDeque::new() }
    }
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
        capabilities.max_transmission_unit = self.mtu + 14;
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
