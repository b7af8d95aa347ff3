//! The two sockets: one to ask, one to listen.

use std::fs;
use std::future::poll_fn;
use std::io;
use std::time::Duration;

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REPLACE, NLM_F_REQUEST,
    NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::address::AddressMessage;
use netlink_packet_route::link::LinkMessage;
use netlink_packet_route::neighbour::NeighbourMessage;
use netlink_packet_route::route::RouteMessage;
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{AsyncSocket, Socket, SocketAddr, TokioSocket};
use rustix::net::sockopt::{Timeout, set_socket_timeout};

use super::keep::Ask;
use super::view::Reading;

/// Larger than any datagram of the kernel's: it makes dumps of at most 32 KiB each.
const DATAGRAM_BYTES: usize = 64 * 1024;
/// Room for a burst of events before the kernel drops them and says so.
const EVENT_BUFFER_BYTES: usize = 1 << 20;
/// The kernel answers at once; this is for the case that it does not.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);
/// A reading that the kernel's own changes kept interrupting is good enough after so many times:
/// each change also makes an event.
const READINGS: usize = 3;
/// Link and neighbour groups, those of both families' addresses and routes (`RTMGRP_*`), and nexthop
/// objects (`RTNLGRP_NEXTHOP`, the 32nd): with a deleted one its routes go, and no event tells of
/// them.
pub const TOPOLOGY_GROUPS: u32 = 0x1 | 0x4 | 0x10 | 0x40 | 0x100 | 0x400 | 1 << 31;
/// Link, IPv4 address and IPv6 address groups.
pub const ADDRESS_GROUPS: u32 = 0x1 | 0x10 | 0x100;
const FAMILIES: [AddressFamily; 2] = [AddressFamily::Inet, AddressFamily::Inet6];
/// `RTM_NEWNEXTHOP` and `RTM_DELNEXTHOP`.
const NEXTHOP_MESSAGES: [u16; 2] = [104, 105];

/// Asks and waits for the answer.
#[derive(Debug)]
pub struct Requester {
    socket: Socket,
    sequence: u32,
}

impl Requester {
    /// A socket in this thread's network namespace.
    pub fn open() -> io::Result<Requester> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        set_socket_timeout(&socket, Timeout::Recv, Some(ANSWER_LIMIT))?;
        Ok(Requester { socket, sequence: 0 })
    }

    /// Reads links, addresses and routes, and neighbours if wanted.
    pub fn read(&mut self, with_neighbours: bool) -> io::Result<Reading> {
        let (links, addresses) = self.read_addresses(AddressFamily::Unspec)?;
        let neighbours = with_neighbours.then(Vec::new);
        let mut reading = Reading { links, addresses, neighbours, ..Reading::default() };
        FAMILIES.into_iter().try_for_each(|family| self.read_family(family, &mut reading))?;
        Ok(reading)
    }

    /// Routes of one family, and neighbours if wanted.
    fn read_family(&mut self, family: AddressFamily, reading: &mut Reading) -> io::Result<()> {
        let mut route = RouteMessage::default();
        route.header.address_family = family;
        for message in self.dump(&RouteNetlinkMessage::GetRoute(route))? {
            if let RouteNetlinkMessage::NewRoute(route) = message {
                reading.routes.push(route);
            }
        }
        let Some(neighbours) = &mut reading.neighbours else { return Ok(()) };
        let mut neighbour = NeighbourMessage::default();
        neighbour.header.family = family;
        for message in self.dump(&RouteNetlinkMessage::GetNeighbour(neighbour))? {
            if let RouteNetlinkMessage::NewNeighbour(neighbour) = message {
                neighbours.push(neighbour);
            }
        }
        Ok(())
    }

    /// Reads links, and the addresses of one family or (`Unspec`) of all.
    pub fn read_addresses(
        &mut self,
        family: AddressFamily,
    ) -> io::Result<(Vec<LinkMessage>, Vec<AddressMessage>)> {
        let mut address = AddressMessage::default();
        address.header.family = family;
        let (mut links, mut addresses) = (vec![], vec![]);
        for message in self.dump(&RouteNetlinkMessage::GetLink(LinkMessage::default()))? {
            if let RouteNetlinkMessage::NewLink(link) = message {
                links.push(link);
            }
        }
        for message in self.dump(&RouteNetlinkMessage::GetAddress(address))? {
            if let RouteNetlinkMessage::NewAddress(address) = message {
                addresses.push(address);
            }
        }
        Ok((links, addresses))
    }

    /// Asks for something about a neighbour.
    pub fn ask(&mut self, ask: Ask) -> io::Result<()> {
        let (message, create) = ask.message();
        let create = if create { NLM_F_CREATE } else { 0 };
        let flags = NLM_F_ACK | NLM_F_REPLACE | create;
        self.exchange(&RouteNetlinkMessage::NewNeighbour(message), flags).map(|_| ())
    }

    fn dump(&mut self, request: &RouteNetlinkMessage) -> io::Result<Vec<RouteNetlinkMessage>> {
        let mut answer = self.exchange(request, NLM_F_DUMP)?;
        for _ in 1..READINGS {
            if !answer.interrupted {
                break;
            }
            answer = self.exchange(request, NLM_F_DUMP)?;
        }
        Ok(answer.messages)
    }

    fn exchange(&mut self, request: &RouteNetlinkMessage, flags: u16) -> io::Result<Answer> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | flags;
        header.sequence_number = self.sequence;
        let mut message =
            NetlinkMessage::new(header, NetlinkPayload::InnerMessage(request.clone()));
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        self.socket.send(&bytes, 0)?;
        let mut answer = Answer::default();
        let mut datagram = Vec::with_capacity(DATAGRAM_BYTES);
        loop {
            datagram.clear();
            self.socket.recv(&mut datagram, 0)?;
            for message in messages(&datagram) {
                if message.header.sequence_number != self.sequence {
                    continue;
                }
                answer.interrupted |= message.header.flags & NLM_F_DUMP_INTR != 0;
                match message.payload {
                    NetlinkPayload::InnerMessage(inner) => answer.messages.push(inner),
                    NetlinkPayload::Done(_) => return Ok(answer),
                    NetlinkPayload::Error(error) if error.code.is_some() => {
                        return Err(error.to_io());
                    }
                    NetlinkPayload::Error(_) => return Ok(answer),
                    _ => {}
                }
            }
        }
    }
}

#[derive(Default)]
struct Answer {
    messages: Vec<RouteNetlinkMessage>,
    interrupted: bool,
}

/// What the listening socket had.
#[derive(Debug)]
pub enum Heard {
    /// Events in order.
    Events(Vec<RouteNetlinkMessage>),
    /// A nexthop object was changed or deleted, and with it the routes that use it.
    Nexthop,
    /// Some did not fit into the buffer, or were not understood.
    Lost,
}

/// Hears of changes.
pub struct Listener {
    socket: TokioSocket,
    datagram: Vec<u8>,
}

impl Listener {
    /// A socket in this thread's network namespace that hears these groups. Needs a tokio runtime.
    pub fn open(groups: u32) -> io::Result<Listener> {
        let mut socket = TokioSocket::new(NETLINK_ROUTE)?;
        socket.socket_mut().bind(&SocketAddr::new(0, groups))?;
        // Without the privilege for so much, the kernel takes as much as it allows.
        socket.socket_ref().set_rx_buf_sz(EVENT_BUFFER_BYTES as i32)?;
        Ok(Listener { socket, datagram: Vec::with_capacity(DATAGRAM_BYTES) })
    }

    /// Waits for the next datagram's events. May be dropped while it waits: nothing is lost.
    pub async fn hear(&mut self) -> io::Result<Heard> {
        self.datagram.clear();
        let (socket, datagram) = (&self.socket, &mut self.datagram);
        let received = poll_fn(|context| socket.poll_recv_from(context, datagram)).await;
        self.understand(received)
    }

    /// The next datagram's events, if there is one already.
    pub fn try_hear(&mut self) -> io::Result<Option<Heard>> {
        self.datagram.clear();
        match self.socket.socket_ref().recv_from(&mut self.datagram, 0) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            received => self.understand(received.map(|(_, sender)| sender)).map(Some),
        }
    }

    fn understand(&self, received: io::Result<SocketAddr>) -> io::Result<Heard> {
        match received {
            Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => return Ok(Heard::Lost),
            Err(error) => return Err(error),
            // Only the kernel is believed.
            Ok(sender) if sender.port_number() != 0 => return Ok(Heard::Events(vec![])),
            Ok(_) if is_of_nexthop(&self.datagram) => return Ok(Heard::Nexthop),
            Ok(_) => {}
        }
        let events = messages(&self.datagram).into_iter().map(|message| match message.payload {
            NetlinkPayload::InnerMessage(inner) => Some(inner),
            _ => None,
        });
        Ok(events.collect::<Option<_>>().map_or(Heard::Lost, Heard::Events))
    }
}

/// The kernel gives each of these events a datagram of its own. What is in it does not matter:
/// routes are read anew, and they are dumped with their nexthops' gateways.
fn is_of_nexthop(datagram: &[u8]) -> bool {
    let kind = datagram.get(4..6).and_then(|kind| kind.try_into().ok()).map(u16::from_ne_bytes);
    kind.is_some_and(|kind| NEXTHOP_MESSAGES.contains(&kind))
}

/// The messages of a datagram. One that is not understood (a newer kernel's) is passed over.
fn messages(datagram: &[u8]) -> Vec<NetlinkMessage<RouteNetlinkMessage>> {
    let (mut found, mut rest) = (vec![], datagram);
    while let Some(len) = rest.first_chunk::<4>().map(|len| u32::from_ne_bytes(*len) as usize) {
        let Some(message) = rest.get(..len).filter(|_| len > 0) else { break };
        match NetlinkMessage::deserialize(message) {
            Ok(message) => found.push(message),
            Err(error) => tracing::debug!(%error, "a netlink message that is not understood"),
        }
        rest = rest.get(len.next_multiple_of(4)..).unwrap_or_default();
    }
    found
}

/// The ports the machine's own connections use (`net.ipv4.ip_local_port_range`).
pub fn read_local_port_range() -> Option<(u16, u16)> {
    parse_port_range(&fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").ok()?)
}

fn parse_port_range(text: &str) -> Option<(u16, u16)> {
    let mut numbers = text.split_whitespace().map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn port_ranges() {
        assert_eq!(parse_port_range("32768\t60999\n"), Some((32768, 60999)));
        assert_eq!(parse_port_range("32768\n"), None);
        assert_eq!(parse_port_range("a b"), None);
    }

    #[test]
    fn broken_datagrams_end_quietly() {
        let ack = [36u32.to_ne_bytes(), [2, 0, 0, 0], [1, 0, 0, 0], [0; 4], [0; 4]].concat();
        for datagram in [&[][..], &[1, 0], &[0; 16], &[16, 0, 0, 0, 3, 0], &ack] {
            assert!(messages(datagram).is_empty(), "{datagram:?}");
            assert!(!is_of_nexthop(datagram), "{datagram:?}");
        }
    }
}
