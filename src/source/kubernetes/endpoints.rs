//! Which endpoints of a Service get packets: the rules of kube-proxy, as a function.
//!
//! As the API documents the conditions of `discovery.k8s.io/v1` EndpointSlice: new flows go to those
//! that are ready; where there are none, to those that still serve while they terminate. Flows that are
//! there go on as long as their endpoint serves.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::objects::{Endpoint, IpFamily, ServicePort, Slice};

/// Where packets of one port of a Service go.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Target {
    /// The pod, or the address where there is none; unique.
    pub name: String,
    /// Where it listens.
    pub socket: SocketAddr,
    /// The node that it runs on.
    pub node: Option<Arc<str>>,
    /// Gets no new flow.
    pub drain: bool,
}

/// What an endpoint is good for; the better is the larger.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Use {
    Nothing,
    /// It answers and is neither ready nor about to end.
    OldFlows,
    /// It answers until it has ended.
    LastResort,
    NewFlows,
}

impl Use {
    fn of(endpoint: &Endpoint) -> Use {
        match (endpoint.ready, endpoint.serving, endpoint.terminating) {
            (true, ..) => Use::NewFlows,
            (false, true, true) => Use::LastResort,
            (false, true, false) => Use::OldFlows,
            (false, false, _) => Use::Nothing,
        }
    }
}

/// The targets of one port in one family, in the order of their sockets. What several slices say of one
/// socket counts at its best: endpoints move between slices.
pub fn targets<'a>(
    port: &ServicePort,
    family: IpFamily,
    slices: impl Iterator<Item = &'a Slice>,
) -> Vec<Target> {
    let mut found: BTreeMap<SocketAddr, (Use, &Endpoint)> = BTreeMap::new();
    for slice in slices.filter(|slice| slice.family == family) {
        let is_ours = |other: &&super::objects::SlicePort| {
            other.name == port.name && other.transport == port.transport
        };
        for slice_port in slice.ports.iter().filter(is_ours) {
            for endpoint in &slice.endpoints {
                let socket = SocketAddr::new(endpoint.address, slice_port.port);
                let good_for = Use::of(endpoint);
                let known = found.entry(socket).or_insert((good_for, endpoint));
                if good_for > known.0 {
                    *known = (good_for, endpoint);
                }
            }
        }
    }
    let has_new = found.values().any(|(good_for, _)| *good_for == Use::NewFlows);
    let takes_new = if has_new { Use::NewFlows } else { Use::LastResort };
    let mut targets: Vec<Target> = found
        .into_iter()
        .filter(|(_, (good_for, _))| *good_for != Use::Nothing)
        .map(|(socket, (good_for, endpoint))| Target {
            name: name_of(endpoint),
            socket,
            node: endpoint.node.clone(),
            drain: good_for != takes_new,
        })
        .collect();
    tell_apart(&mut targets);
    targets
}

/// Maglev goes by names: those of pods are the same wherever they are looked at, and never used twice.
pub(super) fn name_of(endpoint: &Endpoint) -> String {
    match &endpoint.pod {
        Some(pod) => pod.to_string(),
        None => written(endpoint.address),
    }
}

/// With the letters that a name may have.
pub(super) fn written(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => {
            let words = address.segments().map(|word| format!("{word:04x}"));
            words.join("-")
        }
    }
}

/// A pod may listen at several sockets that one port means.
fn tell_apart(targets: &mut [Target]) {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for target in targets.iter() {
        *seen.entry(target.name.clone()).or_default() += 1;
    }
    for target in targets.iter_mut() {
        if seen.get(&target.name).is_some_and(|&times| times > 1) {
            let (address, port) = (written(target.socket.ip()), target.socket.port());
            target.name = format!("{}_{address}_{port}", target.name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::kubernetes::objects::{SlicePort, Transport};

    /// `1r` is ready, `2st` serves and terminates, `3s` only serves, `4` nothing; numbers are the last
    /// of 10.244.0.0/24 and name the pod, a `!` leaves the pod out.
    fn slice(port: (&str, Transport, u16), endpoints: &str) -> Slice {
        let endpoint = |word: &str| {
            let number: u8 = word.trim_matches(|c: char| !c.is_ascii_digit()).parse().unwrap();
            Endpoint {
                address: [10, 244, 0, number].into(),
                pod: (!word.contains('!')).then(|| format!("p{number}").into()),
                node: Some(format!("n{}", number % 3).into()),
                ready: word.contains('r'),
                serving: word.contains('s'),
                terminating: word.contains('t'),
            }
        };
        let (name, transport, port) = port;
        Slice {
            family: IpFamily::V4,
            ports: vec![SlicePort { name: name.into(), transport, port }],
            endpoints: endpoints.split_whitespace().map(endpoint).collect(),
        }
    }

    fn told(port: &ServicePort, slices: &[Slice]) -> String {
        let targets = targets(port, IpFamily::V4, slices.iter());
        let told = targets.iter().map(|target| {
            let drain = if target.drain { " drain" } else { "" };
            format!("{}@{}{drain}", target.name, target.socket.port())
        });
        told.collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn conditions_decide() {
        let http = ServicePort {
            name: "http".into(),
            transport: Transport::Tcp,
            port: 80,
            node_port: None,
        };
        let one = |endpoints: &'static str| vec![("http", Transport::Tcp, 8080, endpoints)];
        type Slices = Vec<(&'static str, Transport, u16, &'static str)>;
        let rows: &[(&str, Slices, &str)] = &[
            ("no slice", vec![], ""),
            ("ready", one("1rs 2rs"), "p1@8080, p2@8080"),
            ("not ready", one("1rs 2"), "p1@8080"),
            ("one that terminates keeps its flows", one("1rs 2st"), "p1@8080, p2@8080 drain"),
            ("one that does not serve any more is gone", one("1rs 2t"), "p1@8080"),
            ("none is ready: those that still serve", one("1st 2st 3t"), "p1@8080, p2@8080"),
            ("only ready takes new flows", one("1s 2rs"), "p1@8080 drain, p2@8080"),
            ("one that only serves is no last resort", one("1s 2st"), "p1@8080 drain, p2@8080"),
            ("only that", one("1s"), "p1@8080 drain"),
            ("unready ones that are published are ready", one("1rt 2rt"), "p1@8080, p2@8080"),
            (
                "several slices, with other ports",
                vec![("http", Transport::Tcp, 8080, "1rs"), ("http", Transport::Tcp, 9090, "2rs")],
                "p1@8080, p2@9090",
            ),
            (
                "an endpoint that is in two slices counts once, at its best",
                vec![("http", Transport::Tcp, 8080, "1"), ("http", Transport::Tcp, 8080, "1rs")],
                "p1@8080",
            ),
            (
                "a pod at two sockets",
                vec![("http", Transport::Tcp, 80, "1rs"), ("http", Transport::Tcp, 81, "1rs")],
                "p1_10.244.0.1_80@80, p1_10.244.0.1_81@81",
            ),
            ("another port's", vec![("https", Transport::Tcp, 8443, "1rs")], ""),
            ("another transport's", vec![("http", Transport::Udp, 8080, "1rs")], ""),
            ("no pod", one("1rs!"), "10.244.0.1@8080"),
        ];
        for (description, slices, wanted) in rows {
            let slices: Vec<Slice> =
                slices.iter().map(|&(n, t, p, e)| slice((n, t, p), e)).collect();
            assert_eq!(told(&http, &slices), *wanted, "{description}");
            let turned: Vec<Slice> = slices.into_iter().rev().collect();
            assert_eq!(told(&http, &turned), *wanted, "{description}, in another order");
        }
    }

    #[test]
    fn families_are_apart() {
        let http =
            ServicePort { name: "".into(), transport: Transport::Tcp, port: 80, node_port: None };
        let mut six = slice(("", Transport::Tcp, 8080), "1rs!");
        six.family = IpFamily::V6;
        six.endpoints[0].address = "fd00:244::7".parse().unwrap();
        let four = slice(("", Transport::Tcp, 8080), "1rs");
        let both = [six, four];
        let names = |family| {
            let targets = targets(&http, family, both.iter());
            targets.into_iter().map(|target| target.name).collect::<Vec<_>>()
        };
        assert_eq!(names(IpFamily::V4), ["p1"]);
        assert_eq!(names(IpFamily::V6), ["fd00-0244-0000-0000-0000-0000-0000-0007"]);
    }
}
