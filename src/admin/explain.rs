//! What happens to a packet, and why: `guideway explain`. Pure: a snapshot, and the flow there is.

use super::flows::{AskError, key_of};
use super::proto::{self, Choice, ExplainRequest, ExplainResponse};
use crate::control::slots_without;
use crate::forwarding::{Backend, BackendId, Mode, Service, ServiceIndex, Snapshot};
use crate::wire::FlowKey;

/// Says it of a packet with the key that is asked about; `flow` is what the workers have of it, and the
/// backend it has, by number: one that changed its mode has the same name twice.
///
/// # Errors
/// A request that makes no sense, see [`key_of`], or a backend to leave that the service has not.
pub fn explain(
    snapshot: &Snapshot,
    asked: &ExplainRequest,
    flow: Option<(proto::Flow, BackendId)>,
) -> Result<ExplainResponse, AskError> {
    let key = key_of(asked)?;
    let (flow, kept) = flow.unzip();
    let Some((index, service)) = snapshot.find_service(&key) else {
        return Ok(of_no_service(snapshot, &key));
    };
    let mut lines = vec![format!(
        "service {}: {} {}, mode {}",
        service.name,
        service.protocol,
        vip_of(service),
        service.mode
    )];
    let is_allowed = service.rules.allows(key.source);
    if !is_allowed {
        lines.push("its allow list does not let the client begin flows: the packet is dropped (client_not_allowed)".into());
    }
    let slot = snapshot.slot(service, &key);
    let given = slot.and_then(|slot| snapshot.backend(*service.slots.get(slot)?));
    let choice = choice_of(service, &key, slot, given);
    if let Some(flow) = &flow {
        lines.push(format!(
            "flow: {} at worker {}, idle for {} ms; its backend {} stays",
            flow.state,
            flow.worker,
            flow.idle_ms,
            named(&flow.backend)
        ));
    } else if !service.rules.entries && !service.mode.is_translated() {
        lines.push("flow: the service keeps no entries, Maglev chooses for each packet".into());
    } else {
        lines.push("flow: there is none, the packet begins one".into());
    }
    lines.push(of_choice("Maglev", &choice, given));
    let decides = match kept {
        Some(id) => snapshot.backend(id),
        None => given,
    };
    if let Some(backend) = decides {
        lines.extend(way_of(snapshot, backend, &key, flow.as_ref()));
    }
    let without = match asked.without.as_str() {
        "" => None,
        name => Some(choice_without(snapshot, (index, service), &key, name)?),
    };
    if let Some(without) = &without {
        let backend = backend_named(snapshot, service, &without.backend);
        lines.push(of_choice(&format!("without {}", asked.without), without, backend));
    }
    Ok(ExplainResponse {
        service: service.name.to_string(),
        mode: service.mode.to_string(),
        is_allowed,
        flow,
        choice: Some(choice),
        without,
        lines,
    })
}

fn of_no_service(snapshot: &Snapshot, key: &FlowKey) -> ExplainResponse {
    let is_vip = |service: &&Service| service.vip.ip() == key.destination.ip();
    let there: Vec<String> = (snapshot.services.iter().filter(is_vip))
        .map(|service| format!("{} {} ({})", service.protocol, vip_of(service), service.name))
        .collect();
    let line = match there.is_empty() {
        true => format!("{} is no VIP of ours: the kernel has its packets", key.destination.ip()),
        false => format!("no service is there; {} has: {}", key.destination.ip(), there.join(", ")),
    };
    ExplainResponse { lines: vec![line], ..ExplainResponse::default() }
}

fn vip_of(service: &Service) -> String {
    match service.last_port {
        None => service.vip.to_string(),
        Some(last) => format!("{}-{last}", service.vip),
    }
}

fn named(name: &str) -> &str {
    if name.is_empty() { "(gone)" } else { name }
}

fn choice_of(
    service: &Service,
    key: &FlowKey,
    slot: Option<usize>,
    backend: Option<&Backend>,
) -> Choice {
    let socket = backend.map(|backend| backend.socket_for(key.destination_port));
    Choice {
        slot: slot.unwrap_or(0) as u32,
        slots: service.slots.len() as u32,
        backend: backend.map(|backend| backend.name.to_string()).unwrap_or_default(),
        backend_address: socket.map(|socket| socket.ip().to_string()).unwrap_or_default(),
        backend_port: socket.map_or(0, |socket| socket.port().into()),
    }
}

fn of_choice(who: &str, choice: &Choice, backend: Option<&Backend>) -> String {
    let Choice { slot, slots, .. } = choice;
    match backend {
        None => format!("{who}: no usable backend"),
        Some(backend) => format!(
            "{who}: slot {slot} of {slots}, backend {} at {}",
            backend.name,
            std::net::SocketAddr::new(backend.socket.ip(), choice.backend_port as u16)
        ),
    }
}

fn backend_named<'a>(snapshot: &'a Snapshot, service: &Service, name: &str) -> Option<&'a Backend> {
    let is_its = |b: &&Backend| {
        *b.name == *name && snapshot.service_of(b).is_some_and(|s| s.name == service.name)
    };
    snapshot.backends.iter().flatten().find(is_its)
}

/// How the packet would look when it leaves, and where to. By the backend's mode, and not the
/// service's: flows go on in the mode that they began with.
fn way_of(
    snapshot: &Snapshot,
    backend: &Backend,
    key: &FlowKey,
    flow: Option<&proto::Flow>,
) -> Vec<String> {
    let from = key.source.socket(key.source_port);
    let to = backend.socket_for(key.destination_port);
    let looks = match backend.mode {
        Mode::Nat => match flow.filter(|flow| !flow.snat_address.is_empty()) {
            Some(flow) => format!("{}:{} to {to}", flow.snat_address, flow.snat_port),
            None => format!("a free port of {} to {to}", snat_of(snapshot, backend)),
        },
        Mode::Dnat => format!("{from} to {to}"),
        Mode::L2dsr => {
            format!("unchanged, {from} to {}", key.destination.socket(key.destination_port))
        }
        Mode::Dscp(value) => format!("{from} to {}, DSCP {value}", to.ip()),
        Mode::Tunnel(..) => format!("unchanged in an envelope ({}) to {}", backend.mode, to.ip()),
    };
    let leaves = match backend.next_hop {
        None => "it cannot leave: no route to the backend, or no MAC yet (no_next_hop)".to_string(),
        Some(hop) => {
            let port = snapshot.port(hop.port).map_or("?", |port| &port.name);
            format!("by {port} to {}", hop.mac)
        }
    };
    let mut lines = vec![format!("packet: {looks}"), format!("leaves: {leaves}")];
    if backend.gone {
        lines.push("the backend is gone: `on_backend_gone` says what its flows get".into());
    }
    lines
}

fn snat_of(snapshot: &Snapshot, backend: &Backend) -> String {
    let pool = backend.snat.iter().filter_map(|&place| snapshot.snat.get(usize::from(place)));
    let addresses: Vec<String> = pool.map(|snat| snat.address.to_string()).collect();
    if addresses.is_empty() { "no SNAT address".into() } else { addresses.join(" or ") }
}

/// What Maglev would give if a backend were not in the configuration any more.
fn choice_without(
    snapshot: &Snapshot,
    (index, service): (ServiceIndex, &Service),
    key: &FlowKey,
    name: &str,
) -> Result<Choice, AskError> {
    let slots = slots_without(snapshot, index, name).ok_or_else(|| {
        let service = &service.name;
        AskError(format!("service `{service}` has no backend `{name}` that could leave"))
    })?;
    let stays = Service { slots: slots.into(), ..service.clone() };
    let slot = snapshot.slot(&stays, key);
    let given = slot.and_then(|slot| snapshot.backend(*stays.slots.get(slot)?));
    Ok(choice_of(&stays, key, slot, given))
}

#[cfg(test)]
#[path = "explain_tests.rs"]
mod tests;
