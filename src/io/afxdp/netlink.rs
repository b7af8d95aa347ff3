//! Few, blocking questions to the kernel's route netlink: what an interface is, and making one.

use std::io;

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{
    InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkMessage, LinkXdp, XdpAttached,
};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

use crate::wire::MacAddress;

/// What is known about an interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// Interface name.
    pub name: String,
    /// Interface index.
    pub index: u32,
    /// Hardware address.
    pub mac: MacAddress,
    /// MTU in bytes.
    pub mtu: u32,
    /// Set up by the administrator.
    pub up: bool,
    /// A veth.
    pub is_veth: bool,
    /// Index of the link it belongs to, of a veth the other end; none where that is in another network
    /// namespace.
    pub other_end: Option<u32>,
    /// Index of the bridge (or bond) it is in.
    pub master: Option<u32>,
    /// Receive queues it was made with; fewer may be in use.
    pub rx_queues: u32,
    /// The XDP program on it.
    pub xdp: Option<AttachedXdp>,
}

/// An XDP program on an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttachedXdp {
    /// Its id.
    pub id: u32,
    /// In the stack, not in the driver.
    pub generic: bool,
}

/// Asks about an interface by name; `ErrorKind::NotFound` when there is none.
///
/// # Errors
/// What the kernel said.
pub fn link(name: &str) -> io::Result<Link> {
    let mut question = LinkMessage::default();
    question.attributes.push(LinkAttribute::IfName(name.to_string()));
    ask(question)
}

/// Asks about an interface by its index; `ErrorKind::NotFound` when there is none.
///
/// # Errors
/// What the kernel said.
pub fn link_by_index(index: u32) -> io::Result<Link> {
    let mut question = LinkMessage::default();
    question.header.index = index;
    ask(question)
}

fn ask(question: LinkMessage) -> io::Result<Link> {
    let answers = request(RouteNetlinkMessage::GetLink(question), 0)?;
    let answer = answers.into_iter().find_map(|answer| match answer {
        RouteNetlinkMessage::NewLink(link) => Some(read(link)),
        _ => None,
    });
    answer.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
}

fn read(message: LinkMessage) -> Link {
    let mut link = Link {
        index: message.header.index,
        up: message.header.flags.contains(LinkFlags::Up),
        ..Link::default()
    };
    let is_elsewhere =
        |attribute: &LinkAttribute| matches!(attribute, LinkAttribute::LinkNetNsId(_));
    let is_elsewhere = message.attributes.iter().any(is_elsewhere);
    for attribute in message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name = name,
            LinkAttribute::Link(index) if !is_elsewhere => link.other_end = Some(index),
            LinkAttribute::Address(bytes) => {
                link.mac = bytes.try_into().map(MacAddress).unwrap_or_default();
            }
            LinkAttribute::Mtu(mtu) => link.mtu = mtu,
            LinkAttribute::Controller(index) => link.master = Some(index),
            LinkAttribute::NumRxQueues(queues) => link.rx_queues = queues,
            LinkAttribute::Xdp(facts) => link.xdp = read_xdp(&facts),
            LinkAttribute::LinkInfo(facts) => {
                link.is_veth =
                    facts.iter().any(|fact| matches!(fact, LinkInfo::Kind(InfoKind::Veth)));
            }
            _ => {}
        }
    }
    link
}

fn read_xdp(facts: &[LinkXdp]) -> Option<AttachedXdp> {
    let mut generic = false;
    let mut id = None;
    for fact in facts {
        match fact {
            LinkXdp::Attached(XdpAttached::SocketBuffer) => generic = true,
            LinkXdp::ProgId(number)
            | LinkXdp::DrvProgId(number)
            | LinkXdp::SkbProgId(number)
            | LinkXdp::HwProgId(number) => id = Some(*number),
            _ => {}
        }
    }
    id.map(|id| AttachedXdp { id, generic })
}

/// Sends one request and collects its answers.
///
/// # Errors
/// The kernel's refusal, or an answer that cannot be read.
pub(super) fn request(
    message: RouteNetlinkMessage,
    flags: u16,
) -> io::Result<Vec<RouteNetlinkMessage>> {
    let socket = Socket::new(NETLINK_ROUTE)?;
    socket.connect(&SocketAddr::new(0, 0))?;
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | NLM_F_ACK | flags;
    header.sequence_number = 1;
    let mut packet = NetlinkMessage::new(header, NetlinkPayload::from(message));
    packet.finalize();
    let mut bytes = vec![0; packet.buffer_len()];
    packet.serialize(&mut bytes);
    socket.send(&bytes, 0)?;

    let mut answers = Vec::new();
    loop {
        let (bytes, _) = socket.recv_from_full()?;
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            let answer = NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))?;
            // Messages stand on multiples of 4 bytes (NLMSG_ALIGN).
            let len = (answer.header.length as usize).next_multiple_of(4);
            rest = rest.get(len.max(4)..).unwrap_or_default();
            match answer.payload {
                NetlinkPayload::InnerMessage(message) => answers.push(message),
                NetlinkPayload::Error(error) if error.code.is_some() => {
                    return Err(refusal(error.to_io()));
                }
                NetlinkPayload::Error(_) | NetlinkPayload::Done(_) => return Ok(answers),
                _ => {}
            }
        }
    }
}

/// ENODEV is what the kernel says to an unknown name.
fn refusal(error: io::Error) -> io::Error {
    if error.raw_os_error() == Some(libc::ENODEV) {
        io::Error::from(io::ErrorKind::NotFound)
    } else {
        error
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_is_known_and_nonsense_is_not() {
        let lo = link("lo").unwrap();
        assert!(lo.index >= 1 && !lo.is_veth && lo.xdp.is_none(), "{lo:?}");
        assert_eq!(link("guideway-none").unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
