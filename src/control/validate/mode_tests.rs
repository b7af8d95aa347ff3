//! Modes and what they need, a rule a row.

use super::tests::check;
use super::*;
use crate::control::testing::address;
use crate::control::{ServiceSpec, TunnelSourceSpec};
use crate::forwarding::Mode;
use crate::wire::Protocol;
use crate::wire::encap::{Dscp, Tunnel};

const IPIP: Mode = Mode::Tunnel(Tunnel::Ipip, Dscp::Copied);

fn source(network: &str, prefix_len: u8) -> TunnelSourceSpec {
    TunnelSourceSpec { network: address(network), prefix_len }
}

/// The first service by a tunnel, on the service's port.
fn tunnel(state: &mut DesiredState) -> &mut ServiceSpec {
    state.tunnel_sources = vec![source("10.9.0.0", 24)];
    let service: &mut ServiceSpec = &mut state.services[0];
    service.mode = IPIP;
    service.backends.iter_mut().for_each(|backend| backend.port = service.port);
    service
}

/// The first service with ports 80-90, on which its backends listen, too.
fn several(state: &mut DesiredState, mode: Mode) -> &mut ServiceSpec {
    let service = &mut state.services[0];
    (service.last_port, service.health_check, service.mode) = (Some(90), None, mode);
    service.backends.iter_mut().for_each(|backend| backend.port = 0);
    service
}

#[test]
fn tunnels() {
    check(&[
        ("with a source", |s| s.services[0].mode = tunnel(s).mode, &[]),
        (
            "without a source",
            |s| {
                tunnel(s);
                s.tunnel_sources.clear();
            },
            &[("services[0].mode", "ipip to IPv4 backends needs an outer source address")],
        ),
        (
            "IPv6 backends need one of IPv6",
            |s| tunnel(s).backends[1].address = address("2001:db8:2::12"),
            &[("services[0].mode", "an IPv6 network in `tunnel_sources`")],
        ),
        (
            "either family in either",
            |s| {
                tunnel(s).backends[1].address = address("2001:db8:2::12");
                s.tunnel_sources.push(source("2001:db8:9::", 64));
            },
            &[],
        ),
        (
            "another port than the service's",
            |s| tunnel(s).backends[0].port = 8081,
            &[("services[0].backends[0].port", "ipip leaves ports as they are")],
        ),
    ]);
}

#[test]
fn sctp_is_not_translated() {
    let refused: &[(&str, &str)] = &[("services[0].mode", "sctp is not translated")];
    check(&[
        ("by a tunnel", |s| tunnel(s).protocol = Protocol::Sctp, &[]),
        (
            "l2dsr",
            |s| {
                let service = tunnel(s);
                (service.protocol, service.mode) = (Protocol::Sctp, Mode::L2dsr);
            },
            &[],
        ),
        ("nat", |s| s.services[0].protocol = Protocol::Sctp, refused),
        (
            "dnat",
            |s| (s.services[0].protocol, s.services[0].mode) = (Protocol::Sctp, Mode::Dnat),
            refused,
        ),
    ]);
}

#[test]
fn tunnel_sources() {
    check(&[
        (
            "two of one family",
            |s| s.tunnel_sources = vec![source("10.8.0.0", 24), source("10.9.0.0", 24)],
            &[("tunnel_sources[1]", "a second IPv4 network")],
        ),
        (
            "with a VIP in it",
            |s| s.tunnel_sources = vec![source("10.1.0.0", 25)],
            &[("tunnel_sources[0]", "10.1.0.0/25 has the VIP 10.1.0.100")],
        ),
        (
            "with a SNAT address in it",
            |s| s.tunnel_sources = vec![source("10.1.0.8", 29)],
            &[("tunnel_sources[0]", "10.1.0.8/29 has the SNAT address 10.1.0.10")],
        ),
        (
            "no station's",
            |s| s.tunnel_sources = vec![source("224.0.0.0", 24)],
            &[("tunnel_sources[0]", "multicast")],
        ),
    ]);
}

#[test]
fn dnat() {
    check(&[
        ("on another port", |s| s.services[0].mode = Mode::Dnat, &[]),
        (
            "two services by one socket",
            |s| {
                s.services.iter_mut().for_each(|service| service.mode = Mode::Dnat);
                let backend = s.services[0].backends[1].clone();
                s.services[1].backends[0] = backend;
                s.services[1].backends[0].name = "c1".into();
            },
            &[
                ("services[1].backends[0].address", "is a backend of service web already"),
                ("services[1].backends[1].address", "is a backend of service web already"),
            ],
        ),
        (
            "one by dnat, one by nat",
            |s| {
                s.services[0].mode = Mode::Dnat;
                s.services[1].backends[0].address = s.services[0].backends[1].address;
            },
            &[],
        ),
        (
            "of the other family",
            |s| {
                s.services[0].mode = Mode::Dnat;
                s.services[0].backends[0].address = address("2001:db8:2::1");
            },
            &[("services[0].backends[0].address", "dnat makes no IPv6 packets of IPv4 ones")],
        ),
    ]);
}

#[test]
fn dscp() {
    fn marked(state: &mut DesiredState) {
        for service in &mut state.services {
            let service: &mut ServiceSpec = service;
            service.mode = Mode::Dscp(10);
            service.backends.iter_mut().for_each(|backend| backend.port = service.port);
        }
        for (number, backend) in (21..).zip(&mut state.services[1].backends) {
            backend.address = address(&format!("10.2.0.{number}"));
        }
    }
    fn sharing(state: &mut DesiredState) {
        marked(state);
        state.services[1].backends[0].address = state.services[0].backends[1].address;
        state.services[1].address = address("10.1.0.101");
    }
    check(&[
        ("one value, backends of their own", marked, &[]),
        (
            "two VIPs of one value at one backend",
            sharing,
            &[("services[1].backends[0].address", "of service web by DSCP 10 already")],
        ),
        (
            "two values",
            |s| {
                sharing(s);
                s.services[1].mode = Mode::Dscp(11);
            },
            &[],
        ),
        (
            "two ports of one VIP",
            |s| {
                sharing(s);
                s.services[1].address = s.services[0].address;
                s.services[1].port = 81;
                s.services[1].backends.iter_mut().for_each(|backend| backend.port = 81);
            },
            &[],
        ),
        (
            "no value",
            |s| {
                marked(s);
                s.services[0].mode = Mode::Dscp(0);
            },
            &[("services[0].dscp", "0 cannot tell a VIP")],
        ),
        (
            "another port than the service's",
            |s| {
                marked(s);
                s.services[0].backends[1].port = 8080;
            },
            &[("services[0].backends[1].port", "dscp leaves ports as they are")],
        ),
        (
            "of the other family",
            |s| {
                marked(s);
                s.services[0].backends[0].address = address("2001:db8:2::1");
            },
            &[("services[0].backends[0].address", "dscp makes no IPv6 packets of IPv4 ones")],
        ),
    ]);
}

#[test]
fn several_ports() {
    check(&[
        (
            "several ports by a tunnel",
            |s| {
                tunnel(s).last_port = Some(90);
                s.services[0].health_check = None;
            },
            &[],
        ),
        (
            "several ports by nat, to one of the backend's",
            |s| {
                s.services[0].last_port = Some(90);
                s.services[0].health_check = None;
            },
            &[],
        ),
        ("by nat, to as many", |s| _ = several(s, Mode::Nat), &[]),
        ("by dnat, to as many", |s| _ = several(s, Mode::Dnat), &[]),
        (
            "by dnat, to one",
            |s| several(s, Mode::Dnat).backends[1].port = 8080,
            &[("services[0].backends[1].port", "8080 could be of any of the service's ports")],
        ),
        (
            "as many of one port",
            |s| several(s, Mode::Nat).last_port = None,
            &[
                ("services[0].backends[0].port", "0 is not a port"),
                ("services[0].backends[1].port", "0 is not a port"),
                ("services[0].backends[2].port", "0 is not a port"),
            ],
        ),
        (
            "several ports, and a check of none of them",
            |s| tunnel(s).last_port = Some(90),
            &[("services[0].health_check", "it does not say which")],
        ),
        (
            "several of a shared address",
            |s| {
                let service = tunnel(s);
                (service.last_port, service.health_check) = (Some(90), None);
                service.shared_address = true;
            },
            &[("services[0].port", "shared with the machine")],
        ),
    ]);
}

#[test]
fn ranges_that_meet() {
    check(&[
        (
            "ranges that meet at a DNAT backend",
            |s| {
                let backend = several(s, Mode::Dnat).backends[0].clone();
                let api = &mut s.services[1];
                (api.port, api.last_port, api.mode) = (90, Some(99), Mode::Dnat);
                api.health_check = None;
                api.backends = vec![backend];
            },
            &[("services[1].backends[0].address", "10.2.0.11:90-99 is a backend of service web")],
        ),
        (
            "a socket in a range, the range later in the file",
            |s| {
                let backend = several(s, Mode::Dnat).backends[2].clone();
                let api = &mut s.services[1];
                api.mode = Mode::Dnat;
                api.backends.truncate(1);
                (api.backends[0].address, api.backends[0].port) = (backend.address, 85);
                s.services.reverse();
            },
            &[("services[1].backends[2].address", "10.2.0.13:80-90 is a backend of service api")],
        ),
        (
            "a socket beside it",
            |s| {
                let backend = several(s, Mode::Dnat).backends[2].clone();
                let api = &mut s.services[1];
                api.mode = Mode::Dnat;
                api.backends.truncate(1);
                (api.backends[0].address, api.backends[0].port) = (backend.address, 91);
            },
            &[],
        ),
        (
            "overlapping ranges",
            |s| {
                tunnel(s);
                for (service, ports) in s.services.iter_mut().zip([(80, 90), (85, 95)]) {
                    service.mode = IPIP;
                    service.address = address("10.1.0.100");
                    (service.port, service.last_port) = (ports.0, Some(ports.1));
                    service.health_check = None;
                    service.backends.iter_mut().for_each(|backend| backend.port = ports.0);
                }
            },
            &[("services[1].port", "are those of service web already")],
        ),
    ]);
}

#[test]
fn what_needs_entries() {
    check(&[
        (
            "no entries under nat",
            |s| s.services[0].rules.entries = false,
            &[("services[0].flow", "nat would not know its own translation")],
        ),
        (
            "affinity without entries",
            |s| {
                let rules = &mut tunnel(s).rules;
                (rules.entries, rules.affinity_ms) = (false, 1000);
            },
            &[("services[0].affinity", "nothing is remembered")],
        ),
    ]);
}
