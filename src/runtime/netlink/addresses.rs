//! The machine's own addresses, IPv4 and IPv6, read once or watched.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use netlink_packet_route::AddressFamily;
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{LinkAttribute, LinkMessage};
use tokio::sync::watch;
use tokio::time::sleep;

use super::socket::{ADDRESS_GROUPS, Listener, Requester};

/// Events within this time are one change.
const TOGETHER: Duration = Duration::from_millis(10);

/// An address of the machine.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct MachineAddress {
    /// The interface that has it.
    pub interface: String,
    /// The address.
    pub address: IpAddr,
    /// Bits of the network it is in.
    pub prefix_len: u8,
}

/// Reads them once. Blocks for a moment.
///
/// # Errors
/// When route netlink cannot be used.
pub fn read_addresses() -> io::Result<BTreeSet<MachineAddress>> {
    let (links, addresses) = Requester::open()?.read_addresses(AddressFamily::Unspec)?;
    Ok(addresses_of(&links, &addresses))
}

/// Publishes them whenever they change. Ends when nobody receives any more.
///
/// # Errors
/// When route netlink cannot be used, or the socket breaks.
pub async fn watch_addresses(out: watch::Sender<BTreeSet<MachineAddress>>) -> io::Result<()> {
    // Listens before it reads, so that no change falls between.
    let mut listener = Listener::open(ADDRESS_GROUPS)?;
    loop {
        let read = tokio::task::spawn_blocking(read_addresses);
        let addresses = read.await.map_err(io::Error::other)??;
        out.send_if_modified(|published| {
            let changed = *published != addresses;
            if changed {
                *published = addresses;
            }
            changed
        });
        tokio::select! {
            heard = listener.hear() => heard.map(drop)?,
            () = out.closed() => return Ok(()),
        }
        sleep(TOGETHER).await;
        while listener.try_hear()?.is_some() {}
    }
}

fn addresses_of(links: &[LinkMessage], addresses: &[AddressMessage]) -> BTreeSet<MachineAddress> {
    let names: BTreeMap<u32, &String> = links.iter().filter_map(name_of).collect();
    let known = addresses.iter().filter_map(|message| {
        let interface = names.get(&message.header.index)?;
        Some(MachineAddress {
            interface: interface.to_string(),
            address: address_of(message)?,
            prefix_len: message.header.prefix_len,
        })
    });
    known.collect()
}

fn name_of(link: &LinkMessage) -> Option<(u32, &String)> {
    let name = link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::IfName(name) => Some(name),
        _ => None,
    });
    name.map(|name| (link.header.index, name))
}

/// The machine's end: on a point-to-point link `Address` is the other one's.
fn address_of(message: &AddressMessage) -> Option<IpAddr> {
    let of = |is_local: bool| {
        message.attributes.iter().find_map(|attribute| match attribute {
            AddressAttribute::Local(address) if is_local => Some(*address),
            AddressAttribute::Address(address) if !is_local => Some(*address),
            _ => None,
        })
    };
    of(true).or_else(|| of(false))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(index: u32, attributes: Vec<AddressAttribute>) -> AddressMessage {
        let mut message = AddressMessage::default();
        message.header.index = index;
        message.header.prefix_len = 24;
        message.attributes = attributes;
        message
    }

    #[test]
    fn addresses_have_their_interface_and_are_our_end() {
        let mut link = LinkMessage::default();
        link.header.index = 2;
        link.attributes.push(LinkAttribute::IfName("eth1".to_string()));
        let ip = |text: &str| -> IpAddr { text.parse().unwrap() };
        let addresses = [
            message(2, vec![AddressAttribute::Address(ip("fd00::1"))]),
            message(
                2,
                vec![
                    AddressAttribute::Address(ip("10.1.0.2")),
                    AddressAttribute::Local(ip("10.1.0.1")),
                ],
            ),
            message(3, vec![AddressAttribute::Address(ip("10.9.0.1"))]),
            message(2, vec![]),
        ];
        let found = addresses_of(&[link], &addresses);
        let found: Vec<_> =
            found.iter().map(|one| format!("{} {}", one.interface, one.address)).collect();
        assert_eq!(found, ["eth1 10.1.0.1", "eth1 fd00::1"]);
    }

    #[test]
    fn the_loopback_has_its_own() {
        let found = read_addresses().unwrap();
        assert!(found.iter().any(|one| one.interface == "lo" && one.address.is_loopback()));
    }
}
