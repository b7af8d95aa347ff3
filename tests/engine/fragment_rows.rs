//! Fragments as rows: what comes, what becomes of it, and all counters, in both families.

use super::fragments::{Family, check_sum, counted, families, pass};
use super::frames::*;
use super::world::*;

/// What it is, the frames, what becomes of them, and all counters.
type Row = (&'static str, Vec<Vec<u8>>, Vec<&'static str>, Vec<(&'static str, u64)>);

fn check(family: &Family, rows: Vec<Row>) {
    for (what, frames, outcomes, counters) in rows {
        let mut world = (family.world)();
        let (told, _) = pass(&mut world, CLIENTS, &frames);
        assert_eq!(told, outcomes, "{} {what}", family.name);
        let wanted: Named = counters.into_iter().collect();
        assert_eq!(counted(&world), wanted, "{} {what}", family.name);
        check_sum(&world);
    }
}

#[test]
fn what_is_wrong_gives_the_whole_datagram_up() {
    for family in families() {
        let whole = family.dns.udp(&[7; 2000]);
        let [a, b, c] = <[_; 3]>::try_from(cut(&whole, 7, 800)).unwrap();
        let part = |bytes, more| piece(&whole, 7, bytes, more);
        let (overlap, tiny, endless) = ("fragment_overlap", "fragment_tiny", "fragment_endless");
        let created = ("flows_created", 1);
        let mut many: Vec<_> = (0..66).map(|n| part(n * 8..n * 8 + 8, true)).collect();
        let mut many_wanted = vec!["forwarded"; 64];
        many_wanted.extend([endless; 2]);
        many.push(c.clone());
        many_wanted.push(endless);
        let rows: Vec<Row> = vec![
            (
                "overlap, and all that follow",
                vec![a.clone(), part(792..1600, true), b.clone(), c.clone()],
                vec!["forwarded", overlap, overlap, overlap],
                vec![("forwarded", 1), created, (overlap, 3)],
            ),
            (
                "overlap while they wait",
                vec![b.clone(), part(1592..2008, false), a.clone(), c.clone()],
                vec!["held", overlap, overlap, overlap],
                vec![("fragments_held", 1), (overlap, 4)],
            ),
            (
                "overlap with the first one",
                vec![part(8..16, true), a.clone(), b.clone()],
                vec!["held", overlap, overlap],
                vec![("fragments_held", 1), (overlap, 3)],
            ),
            (
                "a first one of 8 bytes that has no ports of TCP",
                vec![
                    piece(&family.web.tcp_data(SYN, &[0; 90]), 7, 0..8, true),
                    piece(&family.web.tcp_data(SYN, &[0; 90]), 7, 8..88, true),
                ],
                vec![tiny, tiny],
                vec![(tiny, 2)],
            ),
            (
                "a header of TCP in two",
                vec![
                    piece(&family.web.tcp_data(SYN, &[0; 90]), 7, 16..88, true),
                    piece(&family.web.tcp_data(SYN, &[0; 90]), 7, 0..16, true),
                ],
                vec!["held", tiny],
                vec![("fragments_held", 1), (tiny, 2)],
            ),
            (
                "an empty one",
                vec![part(800..800, true), a.clone()],
                vec![tiny, tiny],
                vec![(tiny, 2)],
            ),
            (
                "an empty last one",
                vec![a.clone(), part(800..800, false)],
                vec!["forwarded", tiny],
                vec![("forwarded", 1), created, (tiny, 1)],
            ),
            (
                "no multiple of 8",
                vec![a.clone(), part(800..1599, true), c.clone()],
                vec!["forwarded", tiny, tiny],
                vec![("forwarded", 1), created, (tiny, 2)],
            ),
            (
                "beyond 65,535",
                vec![part(65_528..65_568, false), a.clone()],
                vec![endless, endless],
                vec![(endless, 2)],
            ),
            (
                "just beyond 65,535, with its header",
                vec![part(65_520..65_536, true), a.clone()],
                vec![endless, endless],
                vec![(endless, 2)],
            ),
            (
                "behind the last one",
                vec![a.clone(), c.clone(), part(2008..2016, true), b.clone()],
                vec!["forwarded", "forwarded", endless, endless],
                vec![("forwarded", 2), created, (endless, 2)],
            ),
            (
                "two ends",
                vec![c.clone(), part(2400..2410, false), a.clone()],
                vec!["held", endless, endless],
                vec![("fragments_held", 1), (endless, 3)],
            ),
            ("66 fragments", many, many_wanted, vec![("forwarded", 64), created, (endless, 3)]),
            (
                "one twice",
                vec![a.clone(), b.clone(), b.clone(), c.clone()],
                vec!["forwarded", "forwarded", "fragment_repeated", "forwarded"],
                vec![("forwarded", 3), created, ("fragment_repeated", 1)],
            ),
            (
                "one twice while it waits",
                vec![b.clone(), b.clone(), a.clone()],
                vec!["held", "fragment_repeated", "forwarded", "then forwarded"],
                vec![("forwarded", 2), created, ("fragment_repeated", 1), ("fragments_held", 1)],
            ),
            (
                "the first one twice",
                vec![a.clone(), a.clone()],
                vec!["forwarded", "fragment_repeated"],
                vec![("forwarded", 1), created, ("fragment_repeated", 1)],
            ),
        ];
        check(&family, rows);
    }
}

#[test]
fn whose_datagram_it_is() {
    for family in families() {
        let datagram = |head: Head, id| cut(&head.udp(&[7; 1200]), id, 800);
        let (one, other) = (datagram(family.dns, 7), datagram(family.dns, 8));
        let elsewhere = datagram(Head { source: family.web.destination, ..family.dns }, 7);
        let mut port = family.dns.destination;
        port.set_port(99);
        let nowhere = datagram(Head { destination: port, ..family.dns }, 7);
        let ping = cut(&family.dns.echo(), 7, 8);
        let tcp = |flags| cut(&family.web.tcp_data(flags, &[7; 80]), 7, 40);
        let created = ("flows_created", 1);
        let v4 = family.name == "IPv4";
        let held = if v4 { "fragment" } else { "held" };
        let mut ping_counters = vec![("fragment", 2)];
        ping_counters.extend((!v4).then_some(("fragments_held", 1)));
        let rows: Vec<Row> = vec![
            (
                "two datagrams at a time",
                vec![one[0].clone(), other[1].clone(), one[1].clone(), other[0].clone()],
                vec!["forwarded", "held", "forwarded", "forwarded", "then forwarded"],
                vec![("forwarded", 4), created, ("fragments_held", 1)],
            ),
            (
                "the same once more",
                [&one[..], &one[..]].concat(),
                vec!["forwarded"; 4],
                vec![("forwarded", 4), created],
            ),
            (
                "from an address of ours",
                elsewhere,
                vec!["bad_address"; 2],
                vec![("bad_address", 2)],
            ),
            (
                "to a port of no service",
                nowhere.clone(),
                vec!["no_service"; 2],
                vec![("no_service", 2)],
            ),
            (
                "to a port of no service, turned round",
                vec![nowhere[1].clone(), nowhere[0].clone()],
                vec!["held", "no_service", "then no_service"],
                vec![("no_service", 2), ("fragments_held", 1)],
            ),
            (
                "a ping",
                vec![ping[1].clone(), ping[0].clone()],
                vec![held, "fragment"],
                ping_counters,
            ),
            ("a SYN in fragments", tcp(SYN), vec!["forwarded"; 3], vec![("forwarded", 3), created]),
            (
                "a segment of no connection is not answered",
                tcp(ACK),
                vec!["fragment_no_flow"; 3],
                vec![("fragment_no_flow", 3)],
            ),
        ];
        check(&family, rows);
    }
}
