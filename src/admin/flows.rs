//! Which flows are asked for, and flows as they are shown.

use std::net::IpAddr;

use super::proto;
use crate::dataplane::{FlowEntry, FlowFilter, FlowMeter, FlowState, Ticks};
use crate::forwarding::{Backend, BackendId, Snapshot};
use crate::wire::{Address, FlowKey, Protocol};

/// What was asked makes no sense here; the text says why, and what would.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub struct AskError(pub String);

pub(super) fn no(text: impl Into<String>) -> AskError {
    AskError(text.into())
}

/// What was asked for, by the numbers that stand in flows.
///
/// # Errors
/// An address that is none, or a service or backend that is not there.
pub fn filter_of(asked: &proto::FlowFilter, snapshot: &Snapshot) -> Result<FlowFilter, AskError> {
    let clients = match asked.client.as_str() {
        "" => None,
        text => Some(network(text)?),
    };
    Ok(FlowFilter { key: None, clients, backends: backends_of(asked, snapshot)? })
}

/// An address, or a network with its length behind a slash.
pub(super) fn network(text: &str) -> Result<(Address, u128), AskError> {
    let refused = || {
        no(format!(
            "client `{text}`: expected an address or a network, such as 192.0.2.7 or 192.0.2.0/24"
        ))
    };
    let (address, len) = text.split_once('/').map_or((text, None), |(a, l)| (a, Some(l)));
    let address: Address = address.parse::<IpAddr>().map_err(|_| refused())?.into();
    let width = if address.is_v4() { 32 } else { 128 };
    let len = len.map_or(Ok(width), str::parse::<u8>).map_err(|_| refused())?;
    if len > width {
        return Err(refused());
    }
    let host_bits = address.family().host_bits(len);
    Ok((Address::from_bits(address.bits() & !host_bits), host_bits))
}

fn backends_of(
    asked: &proto::FlowFilter,
    snapshot: &Snapshot,
) -> Result<Option<Vec<u32>>, AskError> {
    let proto::FlowFilter { service, backend, .. } = asked;
    if service.is_empty() && backend.is_empty() {
        return Ok(None);
    }
    let is_service = |of: &Backend| {
        service.is_empty() || snapshot.service_of(of).is_some_and(|found| *found.name == **service)
    };
    let named = snapshot.backends.iter().flatten().filter(|b| is_service(b));
    let found: Vec<_> = named.map(|b| (b.id.0, b.name.clone())).collect();
    if found.is_empty() && !snapshot.services.iter().any(|found| *found.name == **service) {
        return Err(no(format!("no service `{service}`: `guideway status` shows those there are")));
    }
    let mut ids: Vec<u32> = (found.iter())
        .filter(|(_, name)| backend.is_empty() || **name == **backend)
        .map(|&(id, _)| id)
        .collect();
    if ids.is_empty() && !backend.is_empty() {
        let of =
            if service.is_empty() { String::new() } else { format!(" of service `{service}`") };
        return Err(no(format!(
            "no backend `{backend}`{of}: `guideway status` shows those there are"
        )));
    }
    ids.sort_unstable();
    Ok(Some(ids))
}

/// A flow as it is shown, by the names that hold now.
pub fn flow_of(
    snapshot: &Snapshot,
    worker: u8,
    (entry, meter): &(FlowEntry, Option<FlowMeter>),
    now: Ticks,
) -> proto::Flow {
    let key = &entry.key;
    let backend = snapshot.backend(BackendId(entry.backend));
    let service = backend.and_then(|backend| snapshot.service_of(backend));
    let to = entry.sent_to(backend);
    let snat = entry.is_nat().then(|| entry.snat_socket());
    proto::Flow {
        client: key.source.ip().to_string(),
        client_port: key.source_port.into(),
        vip: key.destination.ip().to_string(),
        vip_port: key.destination_port.into(),
        protocol: Protocol::name_of(key.protocol_number()),
        service: service.map(|service| service.name.to_string()).unwrap_or_default(),
        backend: backend.map(|backend| backend.name.to_string()).unwrap_or_default(),
        backend_address: to.map(|to| to.ip().to_string()).unwrap_or_default(),
        backend_port: to.map_or(0, |to| to.port().into()),
        snat_address: snat.map(|snat| snat.ip().to_string()).unwrap_or_default(),
        snat_port: snat.map_or(0, |snat| snat.port().into()),
        state: FlowState::of(entry).map_or("unknown", FlowState::name).to_string(),
        idle_ms: entry.age_ms(now.0 as u32).into(),
        worker: worker.into(),
        moved: meter.map(|meter| moved_of(&meter, now)),
    }
}

fn moved_of(FlowMeter { began_ms, traffic }: &FlowMeter, now: Ticks) -> proto::Moved {
    proto::Moved {
        age_ms: (now.0 as u32).wrapping_sub(*began_ms).into(),
        packets_in: traffic.packets_in,
        bytes_in: traffic.bytes_in,
        packets_out: traffic.packets_out,
        bytes_out: traffic.bytes_out,
    }
}

/// The key of the packets that are asked about.
///
/// # Errors
/// What is no address, port or protocol, or addresses of two families.
pub fn key_of(asked: &proto::ExplainRequest) -> Result<FlowKey, AskError> {
    let address = |what: &str, text: &str| -> Result<IpAddr, AskError> {
        text.parse()
            .map_err(|_| no(format!("{what} `{text}`: expected an address, such as 192.0.2.7")))
    };
    let port = |what: &str, number: u32| {
        u16::try_from(number)
            .map_err(|_| no(format!("{what} {number}: expected a port, 0 to 65535")))
    };
    let (client, vip) = (address("client", &asked.client)?, address("VIP", &asked.vip)?);
    if client.is_ipv4() != vip.is_ipv4() {
        return Err(no(format!("{client} and {vip} are of two families: no packet has both")));
    }
    let protocol = match asked.protocol.as_str() {
        "" | "tcp" => Protocol::Tcp,
        "udp" => Protocol::Udp,
        "sctp" => Protocol::Sctp,
        other => return Err(no(format!("protocol `{other}`: expected tcp, udp or sctp"))),
    };
    let (from, to) = (port("client port", asked.client_port)?, port("VIP port", asked.vip_port)?);
    Ok(FlowKey::new(protocol, (client, from), (vip, to)))
}
