//! Each rule as a row: what is changed, and the refusal's path with a part of what it says.

use super::*;
use crate::control::testing::{address, desired, service, service_6, snat};
use crate::control::{ServiceSpec, SnatSpec};
use crate::forwarding::Mode;
use crate::wire::Protocol;

type Change = fn(&mut DesiredState);
type Row = (&'static str, Change, &'static [(&'static str, &'static str)]);

/// Two services: `web` on 10.1.0.100:80, `api` on 10.1.0.101:80.
pub(super) fn check(rows: &[Row]) {
    for (description, change, wanted) in rows {
        let mut api = service("api", 2);
        api.address = address("10.1.0.101");
        let mut state = desired(vec![service("web", 3), api]);
        change(&mut state);
        let found = validate(&state);
        let paths: Vec<&str> = found.iter().map(|refusal| refusal.path.as_str()).collect();
        let wanted_paths: Vec<&str> = wanted.iter().map(|&(path, _)| path).collect();
        assert_eq!(paths, wanted_paths, "{description}: {found:?}");
        for (refusal, (_, part)) in found.iter().zip(*wanted) {
            assert!(refusal.to_string().contains(part), "{description}: {refusal}");
            assert!(!refusal.wanted.is_empty(), "{description}");
        }
    }
}

#[test]
fn names_and_sockets() {
    check(&[
        ("as it is", |_| {}, &[]),
        ("empty", |s| s.services.clear(), &[]),
        ("no backend", |s| s.services[0].backends.clear(), &[]),
        (
            "one name twice",
            |s| s.services[1].name = "web".into(),
            &[("services[1].name", "web is the name of service number 1 already")],
        ),
        (
            "one VIP and port twice",
            |s| s.services[1].address = s.services[0].address,
            &[("services[1].port", "tcp 10.1.0.100:80 is taken by service web (services[0])")],
        ),
        (
            "another protocol",
            |s| {
                s.services[1].address = s.services[0].address;
                s.services[1].protocol = Protocol::Udp;
            },
            &[],
        ),
        (
            "a backend's name twice",
            |s| s.services[0].backends[2].name = "b1".into(),
            &[("services[0].backends[2].name", "b1 is the name of backend number 1 already")],
        ),
        ("empty name", |s| s.services[0].name.clear(), &[("services[0].name", "not a name")]),
        (
            "capitals",
            |s| s.services[0].backends[0].name = "B 1".into(),
            &[("services[0].backends[0].name", "\"B 1\" is not a name")],
        ),
        ("long", |s| s.services[0].name = "x".repeat(254), &[("services[0].name", "1 to 253")]),
    ]);
}

#[test]
fn stations_between() {
    fn via(s: &mut DesiredState, text: &str) {
        s.services[0].backends[0].via = Some(address(text));
    }
    check(&[
        ("a node", |s| via(s, "10.1.0.254"), &[]),
        (
            "another family",
            |s| via(s, "2001:db8::1"),
            &[("services[0].backends[0].via", "2001:db8::1 is of another family than 10.2.0.11")],
        ),
        ("nobody's address", |s| via(s, "0.0.0.0"), &[("services[0].backends[0].via", "0.0.0.0")]),
        (
            "direct return",
            |s| {
                via(s, "10.1.0.254");
                s.services[0].mode = Mode::L2dsr;
            },
            &[("services[0].backends[0].via", "no such key with `mode: l2dsr`")],
        ),
    ]);
}

#[test]
fn ports_sizes_and_times() {
    check(&[
        ("port 0", |s| s.services[0].port = 0, &[("services[0].port", "0 is not a port")]),
        (
            "a backend's port 0",
            |s| s.services[0].backends[1].port = 0,
            &[("services[0].backends[1].port", "0 is not a port")],
        ),
        (
            "l2dsr to another port",
            |s| {
                s.services[0].mode = Mode::L2dsr;
                s.services[0].backends[1].port = 8080;
            },
            &[("services[0].backends[1].port", "l2dsr leaves ports as they are; wanted: 80")],
        ),
        (
            "not a prime",
            |s| s.services[0].table_size = Some(1_000),
            &[(
                "services[0].table_size",
                "1000 is not a prime up to 5000011; wanted: for example 1009",
            )],
        ),
        (
            "too large",
            |s| s.services[0].table_size = Some(5_000_077),
            &[("services[0].table_size", "for example 5000011")],
        ),
        (
            "fewer slots than backends",
            |s| s.services[0].table_size = Some(2),
            &[("services[0].table_size", "3 backends do not fit a table of 2 slots; wanted: 307")],
        ),
        (
            "weight 0 needs no slot",
            |s| {
                s.services[0].table_size = Some(2);
                s.services[0].backends[0].weight = 0;
            },
            &[],
        ),
        (
            "no time, and more than can be counted",
            |s| {
                s.services[0].timeouts.udp_ms = 0;
                s.services[0].timeouts.tcp_established_ms = u32::MAX;
            },
            &[
                ("services[0].timeouts.tcp_established", "24 days"),
                ("services[0].timeouts.udp", "0 ms"),
            ],
        ),
    ]);
}

#[test]
fn addresses_and_their_uses() {
    check(&[
        (
            "what no station has",
            |s| {
                s.services[0].address = address("224.0.0.1");
                s.services[1].address = address("127.0.0.1");
                s.services[1].backends[0].address = address("255.255.255.255");
                s.services[1].backends[1].address = address("0.0.0.0");
            },
            &[
                ("services[0].address", "224.0.0.1 is a multicast address"),
                ("services[1].address", "loopback"),
                ("services[1].backends[0].address", "reserved"),
                ("services[1].backends[1].address", "this network"),
            ],
        ),
        (
            "shared here and not there",
            |s| {
                s.services[1].address = s.services[0].address;
                s.services[1].port = 81;
                s.services[1].shared_address = true;
            },
            &[(
                "services[1].shared_address",
                "10.1.0.100 is shared with the machine here and Guideway's alone as VIP of",
            )],
        ),
        (
            "VIP and SNAT address in one, shared here and not there",
            |s| {
                s.snat[0].address = s.services[0].address;
                s.snat[0].shared_address = true;
            },
            &[("snat[0].shared_address", "as VIP of service web")],
        ),
        ("VIP and SNAT address in one", |s| s.snat[0].address = s.services[0].address, &[]),
        (
            "a service's port among the SNAT ports of its address",
            |s| {
                s.snat[0].address = s.services[0].address;
                s.services[0].port = 8080;
            },
            &[("services[0].port", "10.1.0.100:8080 lies in the ports 1024-65535 of snat[0]")],
        ),
        (
            "a backend at a VIP",
            |s| {
                s.services[0].mode = Mode::L2dsr;
                s.services[0].backends[0].address = s.services[0].address;
            },
            &[("services[0].backends[0].address", "10.1.0.100 is the VIP of service web")],
        ),
        (
            "a backend at a SNAT address",
            |s| s.services[1].backends[0].address = s.snat[0].address,
            &[("services[1].backends[0].address", "10.1.0.10 is the address of snat[0]")],
        ),
    ]);
}

#[test]
fn snat_pools() {
    check(&[
        (
            "nat without an address",
            |s| s.snat.clear(),
            &[("services[0].mode", "nat needs"), ("services[1].mode", "or `mode: l2dsr`")],
        ),
        (
            "l2dsr needs none",
            |s| {
                s.snat.clear();
                s.services.iter_mut().for_each(|service| service.mode = Mode::L2dsr);
            },
            &[],
        ),
        ("256 ports", |s| s.snat[0].ports = 1_000..=1_255, &[]),
        ("all ports", |s| s.snat[0].ports = 1..=65_535, &[]),
        (
            "255 ports",
            |s| s.snat[0].ports = 1_000..=1_254,
            &[("snat[0].ports", "1000-1254 has port 0 or fewer than 256 ports")],
        ),
        ("port 0", |s| s.snat[0].ports = 0..=65_535, &[("snat[0].ports", "0-65535 has port 0")]),
        (
            "none",
            |s| s.snat[0].ports = std::ops::RangeInclusive::new(65_535, 1),
            &[("snat[0].ports", "65535-1 has")],
        ),
        (
            "overlap",
            |s| {
                s.snat.push(snat("10.1.0.10", Some("eth1")));
                s.snat[0].ports = 1_024..=2_000;
                s.snat[1].ports = 2_000..=3_000;
            },
            &[("snat[1].ports", "2000-3000 overlaps snat[0] of the same address")],
        ),
        (
            "side by side",
            |s| {
                s.snat.push(snat("10.1.0.10", None));
                s.snat[0].ports = 1_024..=1_999;
                s.snat[1].ports = 2_000..=3_000;
            },
            &[],
        ),
        (
            "more ranges of a shared address than the XDP program has room for",
            |s| {
                let range = |number: u16| SnatSpec {
                    ports: number * 1_000..=number * 1_000 + 299,
                    shared_address: true,
                    ..snat("10.1.0.1", None)
                };
                s.snat.extend((2..=10).map(range));
            },
            &[("snat[9].ports", "10.1.0.1 has more than 8 port ranges")],
        ),
        (
            "not a station's",
            |s| s.snat[0].address = address("240.0.0.1"),
            &[("snat[0].address", "reserved")],
        ),
    ]);
}

#[test]
fn ipv6_addresses() {
    check(&[
        (
            "both families",
            |s| {
                *s.services[1] = service_6("api", 2);
                s.snat.push(snat("2001:db8:1::10", None));
            },
            &[],
        ),
        (
            "l2dsr",
            |s| *s.services[1] = ServiceSpec { mode: Mode::L2dsr, ..service_6("api", 2) },
            &[],
        ),
        (
            "unique local",
            |s| {
                *s.services[1] = service_6("api", 0);
                s.services[1].address = address("fd00::1");
                s.snat[0].address = address("fd00::2");
                s.services.remove(0);
            },
            &[],
        ),
        (
            "what no station has",
            |s| {
                *s.services[1] = service_6("api", 4);
                s.services[1].mode = Mode::L2dsr;
                s.services[1].address = address("ff02::1");
                for (backend, text) in
                    s.services[1].backends.iter_mut().zip(["::", "::1", "::10.0.0.1", "fe80::1"])
                {
                    backend.address = address(text);
                }
            },
            &[
                ("services[1].address", "ff02::1 is a multicast address; wanted: a global or"),
                ("services[1].backends[0].address", ":: is no address"),
                ("services[1].backends[1].address", "::1 is the loopback address"),
                ("services[1].backends[2].address", "::a00:1 is in ::/80"),
                ("services[1].backends[3].address", "fe80::1 is a link-local address"),
            ],
        ),
        (
            "a link-local VIP and SNAT address",
            |s| {
                *s.services[1] = service_6("api", 0);
                s.services[1].address = address("fe80::100");
                s.snat.push(snat("fe80::10", None));
            },
            &[
                ("services[1].address", "of which every link has its own"),
                ("snat[1].address", "fe80::10 is a link-local address"),
            ],
        ),
        (
            "IPv4-mapped",
            |s| {
                s.services[1].address = address("::ffff:10.1.0.101");
                s.snat[0].address = address("::ffff:10.1.0.10");
            },
            &[
                (
                    "services[1].address",
                    "::ffff:10.1.0.101 is an IPv4-mapped address, which no packet may carry; \
                     wanted: 10.1.0.101: IPv4 addresses are written as such",
                ),
                ("snat[0].address", "wanted: 10.1.0.10:"),
            ],
        ),
    ]);
}

#[test]
fn families_stay_apart() {
    check(&[
        (
            "an IPv6 backend of an IPv4 VIP",
            |s| s.services[0].backends[1].address = address("2001:db8:2::12"),
            &[(
                "services[0].backends[1].address",
                "2001:db8:2::12 is IPv6, and the VIP 10.1.0.100 is IPv4: nat makes no IPv6 packets \
                 of IPv4 ones; wanted: the backend's IPv4 address, or a tunnel",
            )],
        ),
        (
            "an IPv4 backend of an IPv6 VIP",
            |s| {
                *s.services[1] = ServiceSpec { mode: Mode::L2dsr, ..service_6("api", 2) };
                s.services[1].backends[0].address = address("10.2.0.11");
            },
            &[("services[1].backends[0].address", "wanted: the backend's IPv6 address")],
        ),
        (
            "nat without an address of its family",
            |s| *s.services[1] = service_6("api", 2),
            &[(
                "services[1].mode",
                "nat needs an IPv6 address to translate to, and there is none in `snat`; wanted: \
                 an entry with an IPv6 one in `snat`, or `mode: l2dsr`",
            )],
        ),
        (
            "one IPv6 VIP and port twice",
            |s| {
                s.services = vec![service_6("web", 1).into(), service_6("api", 1).into()];
                s.snat[0].address = address("2001:db8:1::10");
            },
            &[("services[1].port", "tcp [2001:db8:1::100]:80 is taken by service web")],
        ),
        (
            "an IPv6 service's port among the SNAT ports of its address",
            |s| {
                s.services = vec![service_6("web", 1).into()];
                s.services[0].port = 8080;
                s.snat[0].address = s.services[0].address;
            },
            &[("services[0].port", "[2001:db8:1::100]:8080 lies in the ports 1024-65535")],
        ),
    ]);
}
