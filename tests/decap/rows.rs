//! Every encapsulation in every family, and what is not taken: description, frame, outcome.

use super::frames::*;
use super::{Bench, Outcome, XDP_DROP, XDP_PASS};

/// Description, frame, counter, and the inner packet where it is taken.
type Row = (&'static str, Vec<u8>, &'static str, Option<Vec<u8>>);

fn wanted(frame: &[u8], counter: &'static str, inner: Option<&Vec<u8>>) -> Outcome {
    match inner {
        Some(inner) => {
            let kind = if inner[0] >> 4 == 4 { TYPE4 } else { TYPE6 };
            (XDP_PASS, ethernet(kind, inner), counter)
        }
        None if counter.starts_with("dropped") => (XDP_DROP, frame.to_vec(), counter),
        None => (XDP_PASS, frame.to_vec(), counter),
    }
}

fn compare(bench: &Bench, rows: impl IntoIterator<Item = Row>) {
    for (description, frame, counter, inner) in rows {
        let outcome = wanted(&frame, counter, inner.as_ref());
        assert_eq!(bench.run(&frame), outcome, "{description}");
    }
}

/// Over IPv4 and over IPv6, IPv4 and IPv6 in it.
fn every_family(encapsulation: &'static str) -> Vec<Row> {
    let mut rows = Vec::new();
    for (inner, protocol, kind) in [(inner4(), IPIP, TYPE4), (inner6(), IPV6, TYPE6)] {
        let (protocol, body, counter) = match encapsulation {
            "IPIP" => (protocol, inner.clone(), "decapsulated_ipip"),
            "GRE" => (GRE, gre(0, kind, &inner), "decapsulated_gre"),
            "GRE with a key" => (GRE, gre(0x2000, kind, &inner), "decapsulated_gre"),
            "GRE with all fields" => (GRE, gre(0xb000, kind, &inner), "decapsulated_gre"),
            "GUE 0" => (UDP, gue(0, protocol, &inner), "decapsulated_gue"),
            "GUE 0 with one word" => (UDP, gue(1, protocol, &inner), "decapsulated_gue"),
            "GUE 0 with 31 words" => (UDP, gue(31, protocol, &inner), "decapsulated_gue"),
            _ => (UDP, udp(GUE_PORT, &inner), "decapsulated_gue"),
        };
        rows.push((encapsulation, over4(protocol, &body), counter, Some(inner.clone())));
        rows.push((encapsulation, over6(protocol, &body), counter, Some(inner)));
    }
    rows
}

#[test]
fn every_encapsulation_in_every_family() {
    let Some(bench) = Bench::new() else { return };
    for encapsulation in [
        "IPIP",
        "GRE",
        "GRE with a key",
        "GRE with all fields",
        "GUE 0",
        "GUE 0 with one word",
        "GUE 0 with 31 words",
        "GUE 1",
    ] {
        compare(&bench, every_family(encapsulation));
    }
}

#[test]
fn outer_headers_of_other_shapes() {
    let Some(bench) = Bench::new() else { return };
    let outer = |outer: Ipv4<'_>, body: &[u8]| ethernet(TYPE4, &outer.around(body));
    let taken = |inner| Some(inner);
    let mut padded = over4(IPIP, &Ipv4::INNER.around(&[]));
    padded.resize(60, 0xaa);
    let with_padding = [Ipv4::INNER.around(&[]), vec![0xaa; 6]].concat();
    let options = |more, body: &[u8]| extension(IPIP, more, body);
    let twice = extension(60, 0, &extension(UDP, 2, &gue(0, IPIP, &inner4())));
    let four = |last, body: &[u8]| {
        extension(60, 0, &extension(60, 0, &extension(60, 0, &extension(last, 0, body))))
    };
    let mut fast = Ipv6::INNER.around(&payload());
    fast[7] = 255;
    let slowed = with(fast.clone(), 7, 254);
    compare(
        &bench,
        [
            (
                "IPv4 options",
                outer(Ipv4 { options: 8, ..Ipv4::OUTER }, &inner4()),
                "decapsulated_ipip",
                taken(inner4()),
            ),
            (
                "40 bytes of them, before GUE",
                outer(Ipv4 { options: 40, protocol: UDP, ..Ipv4::OUTER }, &gue(2, IPV6, &inner6())),
                "decapsulated_gue",
                taken(inner6()),
            ),
            ("Ethernet padding", padded, "decapsulated_ipip", taken(with_padding)),
            (
                "do not fragment is no fragment",
                outer(Ipv4 { fragment: 0x4000, ..Ipv4::OUTER }, &inner4()),
                "decapsulated_ipip",
                taken(inner4()),
            ),
            (
                "an encapsulation limit (RFC 2473)",
                over6(60, &options(0, &inner4())),
                "decapsulated_ipip",
                taken(inner4()),
            ),
            (
                "hop-by-hop, then a long destination option",
                over6(0, &twice),
                "decapsulated_gue",
                taken(inner4()),
            ),
            (
                "four extension headers",
                over6(0, &four(IPV6, &inner6())),
                "decapsulated_ipip",
                taken(inner6()),
            ),
            (
                "five are too many",
                over6(0, &four(60, &extension(IPV6, 0, &inner6()))),
                "passed_extensions",
                None,
            ),
            (
                "a hop limit that would pass for the link's own",
                over4(IPV6, &fast),
                "decapsulated_ipip",
                taken(slowed),
            ),
            (
                "an inner fragment is the kernel's",
                over4(IPIP, &Ipv4 { fragment: 0x2000, ..Ipv4::INNER }.around(&payload())),
                "decapsulated_ipip",
                taken(Ipv4 { fragment: 0x2000, ..Ipv4::INNER }.around(&payload())),
            ),
        ],
    );
}

#[test]
fn what_is_no_tunnel_of_ours_passes() {
    let Some(bench) = Bench::new() else { return };
    let elsewhere = Ipv4 { destination: "10.1.0.12", ..Ipv4::OUTER };
    let to_vip = Ipv4 { destination: VIP, ..Ipv4::OUTER };
    let mapped = Ipv6 { destination: "::ffff:10.1.0.11", ..Ipv6::OUTER };
    let fragment = |protocol, fragment, body: &[u8]| {
        ethernet(TYPE4, &Ipv4 { protocol, fragment, ..Ipv4::OUTER }.around(body))
    };
    let rows: Vec<(&str, Vec<u8>, &str)> = vec![
        ("TCP to the backend", over4(TCP, &payload()), "passed"),
        ("TCP over IPv6", over6(TCP, &payload()), "passed"),
        ("UDP to another port", over4(UDP, &udp(53, &inner4())), "passed"),
        ("UDP from the GUE port", over4(UDP, &with(udp(53, &inner4()), 0, 0x17)), "passed"),
        ("ICMP", over4(1, &payload()), "passed"),
        ("ESP", over6(50, &payload()), "passed"),
        ("a routing header", over6(43, &extension(IPIP, 0, &inner4())), "passed"),
        ("ARP", ethernet(0x0806, &[0; 46]), "passed"),
        ("a VLAN tag", ethernet(0x8100, &[0; 60]), "passed_vlan"),
        ("a service tag", ethernet(0x88a8, &[0; 60]), "passed_vlan"),
        ("IPv4 by type, not by version", with(over4(IPIP, &inner4()), 14, 0x65), "passed"),
        ("IPv6 by type, not by version", with(over6(IPV6, &inner6()), 14, 0x45), "passed"),
        ("to another", ethernet(TYPE4, &elsewhere.around(&inner4())), "passed_not_local"),
        ("to the VIP itself", ethernet(TYPE4, &to_vip.around(&inner4())), "passed_not_local"),
        ("to a mapped address", ethernet(TYPE6, &mapped.around(&inner6())), "passed_not_local"),
        ("a first fragment", fragment(IPIP, 0x2000, &inner4()), "passed_fragment"),
        ("a later fragment", fragment(GRE, 0x00b9, &inner4()), "passed_fragment"),
        ("one of UDP, whatever port", fragment(UDP, 0x00b9, &inner4()), "passed_fragment"),
        ("one of TCP", fragment(TCP, 0x00b9, &inner4()), "passed"),
        ("an IPv6 fragment", over6(44, &extension(IPV6, 0, &inner6())), "passed_fragment"),
        ("an IPv6 fragment of TCP", over6(44, &extension(TCP, 0, &inner6())), "passed"),
    ];
    compare(&bench, rows.into_iter().map(|(what, frame, counter)| (what, frame, counter, None)));
}

#[test]
fn tunnels_of_other_kinds_pass() {
    let Some(bench) = Bench::new() else { return };
    let in_gre = |flags, kind| over4(GRE, &gre(flags, kind, &inner4()));
    let in_gue = |first, protocol| over4(UDP, &gue(first, protocol, &inner4()));
    let rows: Vec<(&str, Vec<u8>, &str)> = vec![
        ("GRE with routing (RFC 1701)", in_gre(0x4000, TYPE4), "passed_gre"),
        ("GRE, strict source route", in_gre(0x0800, TYPE4), "passed_gre"),
        ("GRE, recursion", in_gre(0x0400, TYPE4), "passed_gre"),
        ("PPTP (RFC 2637)", in_gre(0x3001, 0x880b), "passed_gre"),
        ("GRE version 1 with IPv4", in_gre(0x0001, TYPE4), "passed_gre"),
        ("Ethernet in GRE", in_gre(0, 0x6558), "passed_gre"),
        ("MPLS in GRE", in_gre(0, 0x8847), "passed_gre"),
        ("a GUE control message", in_gue(0x20, 0), "passed_gue"),
        ("one that says IPIP", in_gue(0x20, IPIP), "passed_gue"),
        ("GUE version 2", in_gue(0x80, IPIP), "passed_gue"),
        ("GUE version 3", in_gue(0xc0, IPIP), "passed_gue"),
        ("GUE 1 with neither IPv4 nor IPv6", in_gue(0x50, IPIP), "passed_gue"),
        ("TCP in GUE", in_gue(0, TCP), "passed_gue"),
        ("no next header in GUE, as in its fragments", in_gue(0, 59), "passed_gue"),
    ];
    compare(&bench, rows.into_iter().map(|(what, frame, counter)| (what, frame, counter, None)));
    // Reserved bits of GRE are to be ignored (RFC 2784 section 2.2).
    compare(&bench, [("reserved bits", in_gre(0x02f8, TYPE4), "decapsulated_gre", Some(inner4()))]);
}

#[test]
fn the_inner_destination_has_to_be_ours() {
    let Some(bench) = Bench::new() else { return };
    let to = |destination| Ipv4 { destination, ..Ipv4::INNER }.around(&payload());
    let to6 = |destination| Ipv6 { destination, ..Ipv6::INNER }.around(&payload());
    let rows: Vec<(&str, Vec<u8>, &str)> = vec![
        ("somebody else", over4(IPIP, &to("10.1.0.101")), "dropped_destination"),
        ("the backend, which is no VIP", over4(IPIP, &to(BACKEND)), "dropped_destination"),
        ("loopback", over6(IPIP, &to("127.0.0.1")), "dropped_destination"),
        ("a group", over4(GRE, &gre(0, TYPE4, &to("224.0.0.1"))), "dropped_destination"),
        ("broadcast", over4(UDP, &gue(0, IPIP, &to("255.255.255.255"))), "dropped_destination"),
        ("IPv6, somebody else", over4(IPV6, &to6("fd00::101")), "dropped_destination"),
        ("IPv6, all nodes", over6(IPV6, &to6("ff02::1")), "dropped_destination"),
        (
            "the VIP as a mapped address",
            over4(IPV6, &to6("::ffff:10.1.0.100")),
            "dropped_destination",
        ),
        (
            "a tunnel in the tunnel, to the backend",
            over4(IPIP, &over4(IPIP, &inner4())[14..]),
            "dropped_destination",
        ),
    ];
    compare(&bench, rows.into_iter().map(|(what, frame, counter)| (what, frame, counter, None)));
}

#[test]
fn sources_and_the_port_are_as_configured() {
    let Some(mut bench) = Bench::new() else { return };
    bench.configure(666, &["10.8.0.0/24", "fd08::/64"]);
    let from = |source| ethernet(TYPE4, &Ipv4 { source, ..Ipv4::OUTER }.around(&inner4()));
    let from6 = |source| ethernet(TYPE6, &Ipv6 { source, ..Ipv6::OUTER }.around(&inner6()));
    let other_port = over4(UDP, &udp(666, &inner4()));
    compare(
        &bench,
        [
            ("listed", from("10.8.0.200"), "decapsulated_ipip", Some(inner4())),
            ("not listed", from("10.8.1.1"), "passed_source", None),
            ("a listed IPv6", from6("fd08::77"), "decapsulated_ipip", Some(inner6())),
            ("an IPv6 that is not", from6("fd08:0:0:1::77"), "passed_source", None),
            ("another port for GUE", other_port, "decapsulated_gue", Some(inner4())),
            ("the usual one then is not", over4(UDP, &gue(0, IPIP, &inner4())), "passed", None),
        ],
    );
}
