//! The switches between hosts and balancer: one segment for each of the balancer's ports.
//!
//! Frames take a millisecond or a few, so some overtake others. Which of the balancer's queues a
//! frame comes in by is a hash of its addresses and ports, and now and then another one, as after a
//! change of a real NIC's table.

use std::collections::BTreeMap;

use guideway::wire::{MacAddress, PortId};

use smoltcp::wire::{EthernetFrame, PrettyPrinter};

use super::chance::{CHECKSUM_START, Chance, checksum, scramble};
use super::router::{self, NarrowWay};
use super::vlan::Vlan;

/// Where a frame arrives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// A host.
    Host(usize),
    /// A worker's queue of a port.
    Queue(usize, PortId),
}

/// A frame on its way.
pub struct Flight {
    pub to: End,
    pub frame: Vec<u8>,
}

/// All segments.
pub struct Network {
    chance: Chance,
    hosts: BTreeMap<(PortId, MacAddress), usize>,
    /// By port: its MAC, and the VLANs of its segment.
    balancer: Vec<(MacAddress, Vlan)>,
    workers: usize,
    /// One frame in so many comes in by any queue.
    wander: u64,
    in_flight: BTreeMap<(u64, u64), Flight>,
    sent: u64,
    /// Ways to machines over which only packets of so many bytes go.
    narrow: BTreeMap<NarrowWay, usize>,
    /// Packets that were too long for theirs.
    pub too_big: u64,
    /// Frames are shown: `GUIDEWAY_SIM_TRACE` is set.
    is_traced: bool,
}

impl Network {
    /// A network of a balancer with these MACs and VLANs, by port, and as many queues a port as
    /// workers.
    pub fn new(
        balancer: Vec<(MacAddress, Vlan)>,
        workers: usize,
        wander: u64,
        chance: Chance,
    ) -> Network {
        Network {
            chance,
            hosts: BTreeMap::new(),
            balancer,
            workers,
            wander,
            in_flight: BTreeMap::new(),
            sent: 0,
            narrow: BTreeMap::new(),
            too_big: 0,
            is_traced: std::env::var_os("GUIDEWAY_SIM_TRACE").is_some(),
        }
    }

    /// Connects a host.
    pub fn attach(&mut self, segment: PortId, mac: MacAddress, host: usize) {
        self.hosts.insert((segment, mac), host);
    }

    /// Takes a frame from a host, or from the balancer (`from_host` none), for its segment.
    pub fn send(&mut self, now_ms: u64, segment: PortId, from_host: Option<usize>, frame: &[u8]) {
        if self.is_traced {
            self.show(now_ms, segment, from_host, frame);
        }
        match (from_host, self.balancer.get(segment.index())) {
            (None, Some((_, vlan))) => {
                // What leaves in another VLAN than this segment's is nobody's here.
                let Some(frame) = vlan.take(frame) else { return };
                match self.narrow_way(segment, &frame, 0) {
                    Some(mtu) => self.refuse(now_ms, segment, None, (&frame, mtu)),
                    None => self.deliver(now_ms, segment, None, &frame),
                }
            }
            (Some(_), Some((own, _))) if frame.starts_with(&own.0) => {
                match self.narrow_way(segment, frame, 6) {
                    Some(mtu) => self.refuse(now_ms, segment, from_host, (frame, mtu)),
                    None => self.deliver(now_ms, segment, from_host, frame),
                }
            }
            _ => self.deliver(now_ms, segment, from_host, frame),
        }
    }

    /// Over the way to this machine only packets of so many bytes go from now on, or fewer.
    pub fn make_narrow(&mut self, way: NarrowWay, mtu: usize) {
        let known = self.narrow.entry(way).or_insert(mtu);
        *known = mtu.min(*known);
    }

    /// The MTU of the way to or from the station whose MAC stands at a place in a frame, if the frame
    /// is too long for it.
    fn narrow_way(&self, segment: PortId, frame: &[u8], mac_at: usize) -> Option<usize> {
        let mac = MacAddress(*frame.get(mac_at..)?.first_chunk()?);
        let mtu = *self.narrow.get(&(segment, mac))?;
        router::packet_len(frame).filter(|&len| len > mtu).map(|_| mtu)
    }

    /// The router tells whoever sent a packet that is too long.
    fn refuse(
        &mut self,
        now_ms: u64,
        segment: PortId,
        from_host: Option<usize>,
        (frame, mtu): (&[u8], usize),
    ) {
        self.too_big += 1;
        let is_short = self.chance.one_in(4);
        let Some(error) = router::too_big(frame, segment, mtu, is_short) else { return };
        self.note(now_ms, &"a router says that it is too big");
        match from_host {
            None => self.fly_to_balancer(now_ms, segment, &error),
            Some(host) => self.fly(now_ms, End::Host(host), &error),
        }
    }

    /// To all whom an untagged frame is for.
    fn deliver(&mut self, now_ms: u64, segment: PortId, from_host: Option<usize>, frame: &[u8]) {
        let Some(&mac) = frame.first_chunk() else { return };
        let mac = MacAddress(mac);
        // IPv6 groups (RFC 2464 section 7): this switch does not listen who is in which.
        if mac == MacAddress::BROADCAST || mac.0.starts_with(&[0x33, 0x33]) {
            let segment_hosts = (segment, MacAddress::ZERO)..=(segment, MacAddress::BROADCAST);
            let hosts = self.hosts.range(segment_hosts).map(|(_, &host)| host);
            let others: Vec<usize> = hosts.filter(|&host| Some(host) != from_host).collect();
            others.into_iter().for_each(|host| self.fly(now_ms, End::Host(host), frame));
            if from_host.is_some() {
                self.fly_to_balancer(now_ms, segment, frame);
            }
        } else if self.balancer.get(segment.index()).is_some_and(|(own, _)| *own == mac) {
            self.fly_to_balancer(now_ms, segment, frame);
        } else if let Some(&host) = self.hosts.get(&(segment, mac)) {
            self.fly(now_ms, End::Host(host), frame);
        }
        // Else its MAC was damaged on the way: nobody has it, or nobody has joined the group.
    }

    /// Shows what happens besides frames.
    pub fn note(&self, now_ms: u64, what: &dyn std::fmt::Display) {
        if self.is_traced {
            println!("{now_ms:>7} ms: {what}");
        }
    }

    fn show(&self, now_ms: u64, segment: PortId, from_host: Option<usize>, frame: &[u8]) {
        let from = from_host.map_or("balancer".to_string(), |host| format!("host {host}"));
        let packet = PrettyPrinter::<EthernetFrame<&[u8]>>::new("", &frame);
        let packet = packet.to_string().replace('\n', " ");
        println!("{now_ms:>7} ms, segment {}, from {from:<8}: {packet}", segment.0);
    }

    /// When the next frame arrives.
    pub fn next_ms(&self) -> Option<u64> {
        self.in_flight.first_key_value().map(|(&(at, _), _)| at)
    }

    /// The next frame that has arrived by now.
    pub fn arrived(&mut self, now_ms: u64) -> Option<Flight> {
        let first = self.in_flight.first_entry()?;
        (first.key().0 <= now_ms).then(|| first.remove())
    }

    fn fly_to_balancer(&mut self, now_ms: u64, segment: PortId, frame: &[u8]) {
        let is_ipv6 = frame.get(12..14) == Some(&[0x86, 0xdd]);
        let place = if is_ipv6 { 22..58 } else { 26..38 };
        let addresses_and_ports = frame.get(place).unwrap_or(frame);
        let hash = scramble(checksum(CHECKSUM_START, addresses_and_ports) ^ u64::from(segment.0));
        let by_hash = (hash % self.workers as u64) as usize;
        let wanders = self.chance.one_in(self.wander);
        let worker = if wanders { self.chance.place(self.workers) } else { by_hash };
        let vlan = self.balancer.get(segment.index()).map(|(_, vlan)| vlan);
        let tagged = vlan.map_or_else(|| frame.to_vec(), |vlan| vlan.put(frame));
        self.fly(now_ms, End::Queue(worker, segment), &tagged);
    }

    fn fly(&mut self, now_ms: u64, to: End, frame: &[u8]) {
        let delay = if self.chance.one_in(10) { self.chance.between(2, 4) } else { 1 };
        self.sent += 1;
        self.in_flight.insert((now_ms + delay, self.sent), Flight { to, frame: frame.to_vec() });
    }
}
