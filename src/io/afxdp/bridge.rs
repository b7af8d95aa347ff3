//! A port of Guideway in a Linux bridge of this machine: the containers of one host behind it.
//!
//! XDP on the bridge itself sees large segments that have no frame on any wire. A veth pair into the
//! bridge has native XDP on our end, and with offloads off on the bridge's end every frame arrives
//! complete, whatever the containers leave to their own interfaces.

use std::io;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{
    InfoData, InfoKind, InfoVeth, LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
};

use super::ethtool;
use super::netlink::{link, request};

/// Longest interface name.
const NAME_LEN: usize = 15;

/// A bridge port could not be made or removed.
#[derive(Debug, thiserror::Error)]
pub enum BridgeError {
    /// No such bridge.
    #[error("there is no bridge `{0}`: make it first (`ip link add {0} type bridge`)")]
    NoBridge(String),
    /// The name is taken by something else.
    #[error(
        "interface `{name}` exists and is not a veth pair into `{bridge}` made by Guideway: choose \
         another name, or remove it (`ip link del {name}`)"
    )]
    NameTaken {
        /// The interface.
        name: String,
        /// The bridge.
        bridge: String,
    },
    /// The kernel refused.
    #[error("cannot {action} `{name}`: {source}")]
    Kernel {
        /// What was tried.
        action: &'static str,
        /// On which interface.
        name: String,
        /// What the kernel said.
        source: io::Error,
    },
}

/// What was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BridgePort {
    /// The bridge's end.
    pub peer: String,
    /// It was not there before.
    pub made: bool,
    /// Offloads of the bridge's end that could not be turned off.
    pub refused: Vec<&'static str>,
}

/// Offloads that could not be turned off.
type Refused = Vec<&'static str>;

/// The bridge's end of the pair: `NAME-br`, shortened to what a name may have.
pub fn peer_name(name: &str) -> String {
    let keep: String = name.chars().take(NAME_LEN - "-br".len()).collect();
    format!("{keep}-br")
}

/// Makes the veth pair `name` into `bridge` with `queues` queues, up, offloads of the bridge's end
/// off, MTU as the bridge's. One that is there already is used, and brought into that state.
///
/// # Errors
/// Says what to do; what was made of it is removed.
pub fn make_port(name: &str, bridge: &str, queues: u32) -> Result<BridgePort, BridgeError> {
    let of_bridge = link(bridge).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => BridgeError::NoBridge(bridge.to_string()),
        _ => kernel("look at", bridge, source),
    })?;
    let peer = peer_name(name);
    let made = match link(name) {
        Ok(own) => {
            let into_bridge =
                link(&peer).is_ok_and(|peer| peer.is_veth && peer.master == Some(of_bridge.index));
            if !own.is_veth || !into_bridge {
                let (name, bridge) = (name.to_string(), bridge.to_string());
                return Err(BridgeError::NameTaken { name, bridge });
            }
            false
        }
        Err(_) => {
            create(name, &peer, queues.max(1)).map_err(|source| kernel("make", name, source))?;
            true
        }
    };
    let set_up = set_up(name, &peer, of_bridge.index, of_bridge.mtu).inspect_err(|_| {
        if made {
            let _ = remove_port(name);
        }
    });
    set_up.map(|refused| BridgePort { peer, made, refused })
}

/// Removes the pair. None there is fine.
///
/// # Errors
/// The kernel's.
pub fn remove_port(name: &str) -> Result<(), BridgeError> {
    let index = match link(name) {
        Ok(own) if own.is_veth => own.index,
        _ => return Ok(()),
    };
    let mut message = LinkMessage::default();
    message.header.index = index;
    request(RouteNetlinkMessage::DelLink(message), 0)
        .map(drop)
        .map_err(|source| kernel("remove", name, source))
}

fn create(name: &str, peer: &str, queues: u32) -> io::Result<()> {
    let named = |name: &str| {
        let mut end = LinkMessage::default();
        end.attributes.push(LinkAttribute::IfName(name.to_string()));
        end.attributes.push(LinkAttribute::NumTxQueues(queues));
        end.attributes.push(LinkAttribute::NumRxQueues(queues));
        end
    };
    let mut message = named(name);
    message.attributes.push(LinkAttribute::LinkInfo(vec![
        LinkInfo::Kind(InfoKind::Veth),
        LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(named(peer)))),
    ]));
    request(RouteNetlinkMessage::NewLink(message), NLM_F_CREATE | NLM_F_EXCL).map(drop)
}

fn set_up(name: &str, peer: &str, bridge: u32, mtu: u32) -> Result<Refused, BridgeError> {
    let refused = ethtool::offloads_off(peer)
        .map_err(|source| kernel("turn off checksum offload (tx) of", peer, source))?;
    let controller = LinkAttribute::Controller(bridge);
    for (end, attributes) in
        [(peer, vec![LinkAttribute::Mtu(mtu), controller]), (name, vec![LinkAttribute::Mtu(mtu)])]
    {
        change(end, attributes).map_err(|source| kernel("set up", end, source))?;
    }
    Ok(refused)
}

fn change(name: &str, attributes: Vec<LinkAttribute>) -> io::Result<()> {
    let mut message = LinkMessage::default();
    message.header.index = link(name)?.index;
    message.header.flags = LinkFlags::Up;
    message.header.change_mask = LinkFlags::Up;
    message.attributes = attributes;
    request(RouteNetlinkMessage::SetLink(message), 0).map(drop)
}

fn kernel(action: &'static str, name: &str, source: io::Error) -> BridgeError {
    BridgeError::Kernel { action, name: name.to_string(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peers_name_is_never_too_long() {
        assert_eq!(peer_name("gw0"), "gw0-br");
        let long = "fifteen-letters";
        assert_eq!((long.len(), peer_name(long).as_str()), (NAME_LEN, "fifteen-lett-br"));
    }
}
