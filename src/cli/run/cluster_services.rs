//! A Service of a cluster as `guideway kubernetes status` shows it: what the cluster says of it, and what
//! the data plane makes of that.

use std::collections::{BTreeMap, HashMap};

use crate::admin::{
    KubernetesService, KubernetesServiceState, NextHopStatus, PooledAddress, ServiceStatus,
};
use crate::forwarding::BackendState;
use crate::source::kubernetes::view::ServiceView;
use crate::source::kubernetes::way::Target;
use crate::source::kubernetes::world::Standing;

/// What is known besides of all services.
pub struct Beside<'a> {
    /// Those in force, by name.
    pub services: &'a HashMap<&'a str, &'a ServiceStatus>,
    /// What is not in force, a line each that begins with `services[NAME]`.
    pub refused: &'a [String],
    /// Writes that the API did not take, by namespace and name.
    pub not_written: &'a BTreeMap<String, String>,
}

/// How many of those that packets go to are what.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Counts {
    ready: usize,
    draining: usize,
    down: usize,
}

/// Of one service.
pub fn told(view: ServiceView, beside: &Beside<'_>) -> KubernetesService {
    let counts = counts(&view, beside);
    let (state, reason, message) = why(&view, counts, beside);
    let addresses = view.addresses.iter();
    KubernetesService {
        namespace: view.key.namespace.to_string(),
        name: view.key.name.to_string(),
        state,
        addresses: addresses
            .map(|(address, pool)| PooledAddress { address: *address, pool: pool.to_string() })
            .collect(),
        target: view.target.word().to_string(),
        source: if view.keeps_source { "keep" } else { "snat" }.to_string(),
        services: view.forms,
        ready: counts.ready,
        draining: counts.draining,
        down: counts.down,
        reason,
        message,
    }
}

/// A pod behind several ports, or at addresses of both families, counts once, at its worst.
fn counts(view: &ServiceView, beside: &Beside<'_>) -> Counts {
    let forms = view.forms.iter().filter_map(|name| beside.services.get(name.as_str()));
    let mut worst: BTreeMap<&str, u8> = BTreeMap::new();
    let mut is_served = false;
    for backend in forms.inspect(|_| is_served = true).flat_map(|service| &service.backends) {
        let state = match (backend.state, &backend.next_hop) {
            // Flows of one that is gone: Kubernetes does not know it any more.
            (BackendState::Retired, _) => continue,
            (BackendState::Unhealthy, _) | (_, NextHopStatus::Missing(_)) => 2,
            (BackendState::Draining, _) => 1,
            (BackendState::Active | BackendState::Standby, _) => 0,
        };
        let known = worst.entry(&backend.name).or_default();
        *known = state.max(*known);
    }
    let is_pods = view.target == Target::Pods;
    let known = view.endpoints;
    if !is_served {
        let of_cluster = Counts { ready: known.ready, draining: known.draining, down: known.down };
        return if is_pods { of_cluster } else { Counts::default() };
    }
    let count = |wanted| worst.values().filter(|state| **state == wanted).count();
    let silent = if is_pods { known.down } else { 0 };
    Counts { ready: count(0), draining: count(1), down: count(2) + silent }
}

/// The first that is in its way, the worst first.
fn why(
    view: &ServiceView,
    counts: Counts,
    beside: &Beside<'_>,
) -> (KubernetesServiceState, String, String) {
    use KubernetesServiceState as State;
    let told =
        |state, reason: &str, message: &str| (state, reason.to_string(), message.to_string());
    let limited = if view.addresses.is_empty() { State::NoAddress } else { State::Limited };
    let (reason, message) =
        view.told.as_ref().map_or(("", ""), |(reason, message)| (&**reason, &**message));
    let is_refused = |line: &&String| {
        view.forms.iter().any(|name| line.starts_with(&format!("services[{name}]")))
    };
    if view.standing == Standing::Leaving {
        return told(State::Leaving, "Leaving", "it gives back what it has");
    }
    if let Some(why) = beside.not_written.get(&view.key.to_string()) {
        return told(limited, "WriteRefused", why);
    }
    if let Some(line) = beside.refused.iter().find(is_refused) {
        return told(limited, "NotServed", line);
    }
    if view.standing == Standing::Orphaned {
        return told(State::Orphaned, "Orphaned", message);
    }
    if !matches!(reason, "" | "Ready" | "Orphaned") {
        return told(limited, reason, message);
    }
    if view.addresses.is_empty() {
        return told(State::NoAddress, "Pending", "no address is claimed for it yet");
    }
    if counts.ready == 0 {
        return told(State::NoEndpoint, "NoEndpoint", &no_endpoint(view));
    }
    told(State::Serving, "Ready", message)
}

fn no_endpoint(view: &ServiceView) -> String {
    let known = view.endpoints;
    match (known.ready, known.draining + known.down) {
        (0, 0) => "there is no endpoint: does a pod have the labels of its selector?".to_string(),
        (0, others) => format!("none of its endpoints is ready: {others} are there"),
        (ready, _) => format!(
            "{ready} endpoints are ready, and no probe of ours gets to {}: `guideway backends --service \
             {}`",
            view.target.word(),
            view.forms.first().map_or("NAME", |name| name)
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::{BackendStatus, sample_report};
    use crate::source::kubernetes::objects::Key;
    use crate::source::kubernetes::view::Endpoints;

    fn view() -> ServiceView {
        ServiceView {
            key: Key::new("shop", "web"),
            standing: Standing::Ours,
            addresses: vec![("203.0.113.1".parse().unwrap(), "pool".into())],
            target: Target::Pods,
            keeps_source: false,
            forms: vec!["shop.web.80.tcp".to_string(), "shop.web.443.tcp".to_string()],
            endpoints: Endpoints { ready: 2, draining: 0, down: 1 },
            told: Some(("Ready".into(), "203.0.113.1 assigned".into())),
        }
    }

    /// Two ports with the same backends.
    fn services(states: &[(&str, BackendState)]) -> Vec<ServiceStatus> {
        let [sample] = &sample_report().services[..] else { panic!("one service") };
        let backend = |&(name, state): &(&str, BackendState)| BackendStatus {
            name: name.to_string(),
            state,
            ..sample.backends[0].clone()
        };
        let service = |name: &String| ServiceStatus {
            name: name.clone(),
            backends: states.iter().map(backend).collect(),
            ..sample.clone()
        };
        view().forms.iter().map(service).collect()
    }

    #[test]
    fn what_is_in_the_way_of_a_service() {
        use BackendState::{Active, Draining, Retired, Unhealthy};
        type Change = fn(&mut ServiceView);
        let both = [("a", Active), ("b", Active)];
        let dead = [("a", Unhealthy), ("b", Unhealthy)];
        let rows: [(&str, &[_], Change, &str); 9] = [
            ("all is well", &both, |_| {}, "2 0 1 Serving Ready"),
            (
                "one of each",
                &[("a", Active), ("b", Draining), ("c", Unhealthy), ("d", Retired)],
                |view| view.endpoints = Endpoints::default(),
                "1 1 1 Serving Ready",
            ),
            ("probes get to none", &dead, |_| {}, "0 0 3 NoEndpoint NoEndpoint"),
            (
                "no pod",
                &[],
                |view| view.endpoints = Endpoints::default(),
                "0 0 0 NoEndpoint NoEndpoint",
            ),
            (
                "no address",
                &both,
                |view| {
                    (view.addresses, view.forms) = (vec![], vec![]);
                    view.told = Some(("AddressPoolExhausted".into(), "all are in use".into()));
                },
                "2 0 1 NoAddress AddressPoolExhausted",
            ),
            (
                "not written to yet",
                &both,
                |view| (view.addresses, view.forms, view.told) = (vec![], vec![], None),
                "2 0 1 NoAddress Pending",
            ),
            (
                "nodes are counted, not pods",
                &both,
                |view| view.target = Target::Nodes,
                "2 0 0 Serving Ready",
            ),
            (
                "orphaned",
                &both,
                |view| view.standing = Standing::Orphaned,
                "2 0 1 Orphaned Orphaned",
            ),
            ("leaving", &both, |view| view.standing = Standing::Leaving, "2 0 1 Leaving Leaving"),
        ];
        for (description, states, change, wanted) in rows {
            let services = services(states);
            let by_name = services.iter().map(|service| (service.name.as_str(), service)).collect();
            let beside = Beside { services: &by_name, refused: &[], not_written: &BTreeMap::new() };
            let mut view = view();
            change(&mut view);
            let told = told(view, &beside);
            let KubernetesService { ready, draining, down, state, reason, .. } = told;
            let found = format!("{ready} {draining} {down} {state:?} {reason}");
            assert_eq!(found, wanted, "{description}");
        }
    }

    #[test]
    fn refusals_are_told_at_their_service() {
        let by_name = HashMap::new();
        let line = "services[shop.web.443.tcp].mode: nat to ipv4 backends needs a SNAT address";
        let lines = ["services[shop.web.443.tcpx].port: x".to_string(), line.to_string()];
        let mut beside =
            Beside { services: &by_name, refused: &lines, not_written: &BTreeMap::new() };
        let one = told(view(), &beside);
        assert_eq!((one.reason.as_str(), one.message.as_str()), ("NotServed", line));
        let not_written = BTreeMap::from([("shop/web".to_string(), "forbidden".to_string())]);
        beside.not_written = &not_written;
        let one = told(view(), &beside);
        assert_eq!((one.reason.as_str(), one.message.as_str()), ("WriteRefused", "forbidden"));
        assert_eq!(one.state, KubernetesServiceState::Limited);
    }
}
