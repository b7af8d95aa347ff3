//! What a reload changes, in lines for the log.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::net::{IpAddr, SocketAddr};

use super::{BackendSpec, DesiredState, ServiceSpec, Shared, SnatSpec, TunnelSourceSpec};

/// One line for each thing added, removed or changed, in order of names; empty when nothing is,
/// also when only the order in the file is another.
pub fn diff(old: &DesiredState, new: &DesiredState) -> Vec<String> {
    let (before, after) = (services(old), services(new));
    let pairs = pairs(&before, &after);
    let mut lines: Vec<String> =
        pairs.flat_map(|(name, (old, new))| service_lines(name, old, new)).collect();
    lines.extend(around_changes(old, new));
    lines
}

/// What changes of one service; nothing when nothing does.
pub(super) fn service_lines(
    name: &str,
    old: Option<&Shared<ServiceSpec>>,
    new: Option<&Shared<ServiceSpec>>,
) -> Vec<String> {
    let what = format!("service {name}");
    let mut lines = Vec::new();
    match (old, new) {
        (None, Some(new)) => lines.push(format!("{what} added: {}", told(new))),
        (Some(old), None) => {
            lines.push(format!("{what} removed: its flows end by {}", words(&old.on_service_gone)));
        }
        (Some(old), Some(new)) if old.is_same(new) => {}
        (Some(old), Some(new)) => service_changes(&what, old, new, &mut lines),
        (None, None) => {}
    }
    lines
}

/// What changes beside services.
pub(super) fn around_changes(old: &DesiredState, new: &DesiredState) -> Vec<String> {
    let mut lines = Vec::new();
    for ((address, _), pair) in pairs(&pools(old), &pools(new)) {
        let ports = |spec: &SnatSpec| format!("{}-{}", spec.ports.start(), spec.ports.end());
        match pair {
            (None, Some(new)) => lines.push(format!("snat {address} added: ports {}", ports(new))),
            (Some(old), None) => {
                lines.push(format!("snat {address} removed: ports {}", ports(old)))
            }
            (Some(old), Some(new)) => lines.extend(changes(
                &format!("snat {address}"),
                &[
                    ("ports", ports(old), ports(new)),
                    ("interface", words(&old.interface), words(&new.interface)),
                    ("shared_address", words(&old.shared_address), words(&new.shared_address)),
                ],
            )),
            (None, None) => {}
        }
    }
    let (before, after) = (&old.tunnel_sources, &new.tunnel_sources);
    let told = |source: &TunnelSourceSpec| format!("{}/{}", source.network, source.prefix_len);
    for source in after.iter().filter(|source| !before.contains(source)) {
        lines.push(format!("tunnel_sources: {} added", told(source)));
    }
    for source in before.iter().filter(|source| !after.contains(source)) {
        lines.push(format!("tunnel_sources: {} removed", told(source)));
    }
    lines
}

fn service_changes(what: &str, old: &ServiceSpec, new: &ServiceSpec, lines: &mut Vec<String>) {
    lines.extend(changes(
        what,
        &[
            ("address", old.address.to_string(), new.address.to_string()),
            ("port", old.port.to_string(), new.port.to_string()),
            ("protocol", old.protocol.to_string(), new.protocol.to_string()),
            ("shared_address", words(&old.shared_address), words(&new.shared_address)),
            ("mode", old.mode.to_string(), new.mode.to_string()),
            ("last_port", words(&old.last_port), words(&new.last_port)),
            ("hash", words(&old.rules.hash), words(&new.rules.hash)),
            ("flow entries", words(&old.rules.entries), words(&new.rules.entries)),
            ("affinity_ms", words(&old.rules.affinity_ms), words(&new.rules.affinity_ms)),
            ("max_flows", words(&old.rules.max_flows), words(&new.rules.max_flows)),
            ("mss", words(&old.mss), words(&new.mss)),
            ("table_size", words(&old.table_size), words(&new.table_size)),
            ("no_backend", words(&old.no_backend), words(&new.no_backend)),
            ("min_healthy", words(&old.min_healthy_percent), words(&new.min_healthy_percent)),
            ("slow_start_ms", words(&old.slow_start_ms), words(&new.slow_start_ms)),
            ("on_service_gone", words(&old.on_service_gone), words(&new.on_service_gone)),
            ("on_backend_gone", words(&old.on_backend_gone), words(&new.on_backend_gone)),
            ("drain_time", time(old.drain_time_ms), time(new.drain_time_ms)),
            ("timeouts", words(&old.timeouts), words(&new.timeouts)),
            ("health_check", words(&old.health_check), words(&new.health_check)),
            ("health", words(&old.health), words(&new.health)),
        ],
    ));
    if old.rules.allow != new.rules.allow {
        lines.push(format!("{what}: other networks in `allow`"));
    }
    for (name, pair) in pairs(&backends(old), &backends(new)) {
        let what = format!("{what}, backend {name}");
        match pair {
            (None, Some(new)) => {
                let drains = if new.drain { ", drains" } else { "" };
                lines.push(format!("{what} added: {}, weight {}{drains}", new.place(), new.weight));
            }
            (Some(_), None) => lines.push(match new.drain_time_ms {
                None => format!("{what} removed: it keeps its flows"),
                time_ms => format!("{what} removed: it keeps its flows for {}", time(time_ms)),
            }),
            (Some(old), Some(new)) => lines.extend(changes(
                &what,
                &[
                    ("address", old.address.to_string(), new.address.to_string()),
                    ("port", old.port_told(), new.port_told()),
                    ("weight", old.weight.to_string(), new.weight.to_string()),
                    ("backup", words(&old.backup), words(&new.backup)),
                    ("drain", words(&old.drain), words(&new.drain)),
                    ("healthy", words(&old.healthy), words(&new.healthy)),
                ],
            )),
            (None, None) => {}
        }
    }
}

fn services(state: &DesiredState) -> BTreeMap<&str, &Shared<ServiceSpec>> {
    state.services.iter().map(|spec| (spec.name.as_str(), spec)).collect()
}

fn backends(service: &ServiceSpec) -> BTreeMap<&str, &BackendSpec> {
    service.backends.iter().map(|spec| (spec.name.as_str(), spec)).collect()
}

fn pools(state: &DesiredState) -> BTreeMap<(IpAddr, u16), &SnatSpec> {
    state.snat.iter().map(|spec| ((spec.address, *spec.ports.start()), spec)).collect()
}

/// Everything that is in one of the two, in order.
fn pairs<'a, K: Ord + Copy, V>(
    old: &BTreeMap<K, &'a V>,
    new: &BTreeMap<K, &'a V>,
) -> impl Iterator<Item = (K, (Option<&'a V>, Option<&'a V>))> {
    let keys: BTreeSet<K> = old.keys().chain(new.keys()).copied().collect();
    keys.into_iter().map(move |key| (key, (old.get(&key).copied(), new.get(&key).copied())))
}

/// One line with all fields that are not the same, if there is one.
fn changes(what: &str, fields: &[(&str, String, String)]) -> Option<String> {
    let change = |(field, old, new): &(&str, String, String)| format!("{field} {old} -> {new}");
    let changed: Vec<String> =
        fields.iter().filter(|(_, old, new)| old != new).map(change).collect();
    (!changed.is_empty()).then(|| format!("{what}: {}", changed.join(", ")))
}

fn told(service: &ServiceSpec) -> String {
    let socket = SocketAddr::new(service.address, service.port);
    let (protocol, mode) = (service.protocol, service.mode);
    let backends = match service.backends.len() {
        1 => "1 backend".to_string(),
        count => format!("{count} backends"),
    };
    format!("{protocol} {socket}, {mode}, {backends}")
}

fn time(ms: Option<u32>) -> String {
    ms.map_or_else(|| "none".to_string(), |ms| format!("{ms} ms"))
}

/// A value as a person would say it: lower case, without `Some` around it.
fn words(value: &impl Debug) -> String {
    let text = format!("{value:?}").to_lowercase();
    match text.strip_prefix("some(").and_then(|text| text.strip_suffix(')')) {
        Some(inner) => inner.to_string(),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::testing::{backend, desired, service, snat};

    #[test]
    fn lines_tell_what_changes() {
        let mut db = service("db", 2);
        db.port = 5432;
        let old = desired(vec![service("web", 3), db]);
        assert_eq!(diff(&old, &old), Vec::<String>::new());
        let mut new = old.clone();
        new.services.reverse();
        assert_eq!(diff(&old, &new), Vec::<String>::new(), "order has no meaning");
        let mut new = desired(vec![service("web", 3), service("api", 1)]);
        let web = &mut new.services[0];
        web.port = 8080;
        web.table_size = Some(1_021);
        web.drain_time_ms = Some(30_000);
        web.backends.remove(0);
        web.backends[0].drain = true;
        web.backends[1].weight = 5;
        web.backends[1].port = 0;
        web.backends.push(backend(4));
        new.snat[0].interface = Some("eth1".into());
        new.snat.push(snat("10.1.0.11", None));
        assert_eq!(
            diff(&old, &new),
            [
                "service api added: tcp 10.1.0.100:80, nat, 1 backend",
                "service db removed: its flows end by reset",
                "service web: port 80 -> 8080, table_size 251 -> 1021, drain_time none -> 30000 ms",
                "service web, backend b1 removed: it keeps its flows for 30000 ms",
                "service web, backend b2: drain false -> true",
                "service web, backend b3: port 80 -> as asked, weight 1 -> 5",
                "service web, backend b4 added: 10.2.0.14:80, weight 1",
                "snat 10.1.0.10: interface none -> \"eth1\"",
                "snat 10.1.0.11 added: ports 1024-65535",
            ]
        );
    }
}
