//! Sources that want the same, sources that are wrong, and changes that nobody can mean.

mod random;

use super::*;
use crate::control::testing::{address, backend, service, snat};
use crate::control::{ServiceSpec, Shared, validate};
use crate::forwarding::Mode;

fn form(name: &str, last_octet: u8, port: u16) -> Form {
    let address = [10, 1, 0, last_octet].into();
    Form::from(Shared::from(ServiceSpec { address, port, ..service(name, 2) }))
}

fn changed(form: Form, change: impl FnOnce(&mut ServiceSpec)) -> Form {
    let mut form = form;
    change(&mut form.spec);
    form
}

fn old(form: Form, created_ms: u64) -> Form {
    Form { created_ms, ..form }
}

/// A file with an address to translate to, and these services.
fn file(forms: Vec<Form>) -> Part {
    Part { snat: vec![snat("10.1.0.10", None)], ..Part::of(forms) }
}

fn whole(part: Part) -> Vec<(Arc<str>, Delivery)> {
    vec![("".into(), Delivery::Whole(part))]
}

fn some(forms: Vec<Form>, removed: &[&str]) -> Vec<(Arc<str>, Delivery)> {
    let removed = removed.iter().map(|name| name.to_string()).collect();
    vec![("".into(), Delivery::Some(forms, removed))]
}

/// `file` and then `feed`, each with what it delivers.
fn merger(in_file: Vec<Form>, in_feed: Vec<Form>) -> Merger {
    let sources = vec![Source::new("file", Unit::File), Source::new("feed", Unit::Service)];
    let mut merger = Merger::new(sources);
    merger.take(0, whole(file(in_file)));
    merger.take(1, whole(Part::of(in_feed)));
    merger
}

/// `name:port`, of all that is served.
fn served(merged: &Merged) -> Vec<String> {
    assert_eq!(validate(&merged.desired), [], "what is served can be compiled");
    let told = |spec: &Shared<ServiceSpec>| format!("{}:{}", spec.name, spec.port);
    merged.desired.services.iter().map(told).collect()
}

fn refused(merged: &Merged) -> Vec<String> {
    merged.refused.iter().map(Refused::to_string).collect()
}

#[test]
fn of_two_that_claim_the_same_the_first_source_has_it_and_both_are_named() {
    type Row = (&'static str, Vec<Form>, Vec<Form>, &'static [&'static str], &'static str);
    let dnat = |form| changed(form, |s| s.mode = Mode::Dnat);
    let range = |form, last| {
        changed(form, |s| {
            (s.last_port, s.mode, s.health_check) = (Some(last), Mode::L2dsr, None);
            let port = s.port;
            s.backends.iter_mut().for_each(|backend| backend.port = port);
        })
    };
    let rows: Vec<Row> = vec![
        ("apart", vec![form("a", 100, 80)], vec![form("b", 100, 81)], &["a:80", "b:81"], ""),
        (
            "the same socket",
            vec![form("a", 100, 80)],
            vec![form("b", 100, 80), form("c", 100, 81)],
            &["a:80", "c:81"],
            "service b of feed: services[b].port: tcp 10.1.0.100:80 is taken by service a of file; \
             wanted: another port, protocol or address: each belongs to one service",
        ),
        (
            "the same name",
            vec![form("a", 100, 80)],
            vec![form("a", 101, 80)],
            &["a:80"],
            "service a of feed: services[a].name: a is the name of service a of file; wanted: a \
             name of its own: shares and health go by it",
        ),
        (
            "ports that overlap",
            vec![range(form("a", 100, 1000), 1999)],
            vec![range(form("b", 100, 1500), 2500)],
            &["a:1000"],
            "service b of feed: services[b].port: some of these ports of 10.1.0.100 are taken by \
             service a of file; wanted: ports that do not overlap",
        ),
        (
            "the backend of two DNAT services",
            vec![dnat(form("a", 100, 80))],
            vec![dnat(form("b", 101, 80))],
            &["a:80"],
            "service b of feed: services[b].backends: tcp 10.2.0.11:80 is a DNAT backend already, \
             of service a of file; wanted: another port or address for one of them, or `mode: nat`",
        ),
        (
            "a SNAT port",
            vec![form("a", 100, 80)],
            vec![form("b", 10, 2000)],
            &["a:80"],
            "service b of feed: services[b].port: 10.1.0.10:2000 lies in the ports of snat \
             10.1.0.10 of file; wanted: SNAT ports without the service's port, or another address \
             for one of them",
        ),
        (
            "shared and not",
            vec![form("a", 100, 80)],
            vec![changed(form("b", 100, 81), |s| s.shared_address = true)],
            &["a:80"],
            "service b of feed: services[b].shared_address: 10.1.0.100 is shared with the machine \
             or not otherwise than by service a of file; wanted: the same wherever the address is \
             used",
        ),
        (
            "a backend at a VIP",
            vec![form("a", 100, 80)],
            vec![changed(form("b", 101, 80), |s| s.backends[1].address = address("10.1.0.100"))],
            &["a:80"],
            "service b of feed: services[b].backends: a backend's address 10.1.0.100 is that of \
             service a of file; wanted: the backend's own address",
        ),
        (
            "a VIP at a backend",
            vec![changed(form("a", 101, 80), |s| s.backends[1].address = address("10.1.0.100"))],
            vec![form("b", 100, 80)],
            &["a:80"],
            "service b of feed: services[b].address: 10.1.0.100 is the address of a backend, \
             service a of file; wanted: an address that no backend has",
        ),
    ];
    for (description, in_file, in_feed, wanted, why) in rows {
        let merger = merger(in_file, in_feed);
        assert_eq!(served(merger.merged()), wanted, "{description}");
        assert_eq!(refused(merger.merged()).concat(), why, "{description}");
    }
}

#[test]
fn in_one_source_the_older_service_has_it_and_then_the_name_counts() {
    let (young, aged) = (old(form("a", 100, 80), 7), old(form("b", 100, 80), 5));
    let mut merger = merger(vec![], vec![young.clone(), aged]);
    assert_eq!(served(merger.merged()), ["b:80"]);
    merger.take(1, some(vec![old(form("b", 100, 80), 7)], &[]));
    assert_eq!(served(merger.merged()), ["a:80"]);
    // Who lost has it as soon as it is free.
    merger.take(1, some(vec![], &["a"]));
    assert_eq!(served(merger.merged()), ["b:80"]);
    assert!(merger.merged().refused.is_empty());
}

#[test]
fn what_services_need_comes_before_them() {
    let sources = vec![Source::new("first", Unit::Service), Source::new("second", Unit::File)];
    let mut merger = Merger::new(sources);
    let direct = changed(form("direct", 100, 80), |s| s.mode = Mode::L2dsr);
    merger.take(0, some(vec![form("nat", 100, 80), form("port", 10, 2000)], &[]));
    merger.take(1, whole(Part::of([direct])));
    assert_eq!(served(merger.merged()), ["direct:80"]);
    let why = |name| {
        format!(
            "service {name} of first: services[{name}].mode: nat needs an address to translate to, \
             and there is none in `snat`; wanted: an entry in `snat`, or `mode: l2dsr`"
        )
    };
    assert_eq!(refused(merger.merged()), [why("nat"), why("port")]);
    merger.take(1, whole(file(vec![])));
    assert_eq!(served(merger.merged()), ["nat:80"]);
    let why = "service port of first: services[port].port: 10.1.0.10:2000 lies in the ports of \
               snat 10.1.0.10 of second; wanted: SNAT ports without the service's port, or another \
               address for one of them";
    assert_eq!(refused(merger.merged()), [why]);
}

#[test]
fn a_refused_service_keeps_its_last_good_form_and_a_refused_file_all_of_its() {
    let mut merger = merger(vec![form("a", 100, 80)], vec![form("b", 101, 80)]);
    let bad = changed(form("b", 101, 81), |s| s.backends[0].port = 0);
    merger.take(1, some(vec![bad.clone(), form("c", 102, 80)], &[]));
    assert_eq!(served(merger.merged()), ["a:80", "b:80", "c:80"]);
    let why = "service b of feed (its last good form stays): services[b].backends[0].port: 0 is \
               not a port; wanted: 1 to 65535";
    assert_eq!(refused(merger.merged()), [why]);
    // The same when all of it is delivered anew; what never was good is not there.
    let never = changed(form("d", 103, 80), |s| s.port = 0);
    merger.take(1, whole(Part::of([bad, never])));
    assert_eq!(served(merger.merged()), ["a:80", "b:80"]);
    assert_eq!(merger.merged().refused.len(), 2);
    merger.take(1, some(vec![form("b", 101, 82)], &["d"]));
    assert_eq!(served(merger.merged()), ["a:80", "b:82"]);
    assert_eq!(refused(merger.merged()), [""; 0]);
    // What could not even be read is named, too, until it is good or gone.
    let problem = Refusal::new("services[b].port", "`x` is not a number", "a number");
    let unfit = |name: &str| Delivery::Unfit(vec![(name.to_string(), vec![problem.clone()])]);
    merger.take(1, vec![("".into(), unfit("b")), ("".into(), unfit("e"))]);
    assert_eq!(served(merger.merged()), ["a:80", "b:82"]);
    let told = "services[b].port: `x` is not a number; wanted: a number";
    let kept = format!("service b of feed (its last good form stays): {told}");
    assert_eq!(refused(merger.merged()), [kept, format!("service e of feed: {told}")]);
    merger.take(1, some(vec![form("b", 101, 82)], &["e"]));
    assert_eq!(refused(merger.merged()), [""; 0]);
    let problem = Refusal::new("services[0].port", "0 is not a port", "1 to 65535");
    merger.take(0, vec![("".into(), Delivery::Refused(vec![problem]))]);
    assert_eq!(served(merger.merged()), ["a:80", "b:82"]);
    let why = "file (its last good form stays): services[0].port: 0 is not a port; wanted: 1 to \
               65535";
    assert_eq!(refused(merger.merged()), [why]);
    merger.take(0, whole(file(vec![form("a", 100, 90)])));
    assert_eq!(served(merger.merged()), ["a:90", "b:82"]);
    assert_eq!(refused(merger.merged()), [""; 0]);
}

fn many(count: u16) -> Vec<Form> {
    (0..count).map(|n| form(&format!("s{n:02}"), 100, 80 + n)).collect()
}

#[test]
fn a_change_that_removes_over_half_is_held_until_it_is_confirmed() {
    let rows = [(10, 5, false), (10, 4, true), (11, 5, true), (9, 0, false), (10, 0, true)];
    for (before, after, is_held) in rows {
        let mut merger = merger(vec![], many(before));
        let outcome = merger.take(1, whole(Part::of(many(after))));
        assert_eq!(outcome.held.is_some(), is_held, "{before} to {after}");
        let now = if is_held { before } else { after };
        assert_eq!(merger.merged().desired.services.len(), usize::from(now));
    }
    let names: Vec<String> = (0..6).map(|n| format!("s{n:02}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut merger = merger(vec![], many(10));
    let held = merger.take(1, some(vec![form("new", 101, 80)], &names)).held.unwrap();
    assert_eq!(
        held.to_string(),
        "feed: a change that removes 6 of 10 services waits to be confirmed"
    );
    assert_eq!(merger.merged().held, [held]);
    // What comes later goes on top of what waits, and may undo it.
    merger.take(1, some(vec![form("newer", 101, 81)], &[]));
    assert_eq!(merger.merged().desired.services.len(), 10);
    let mut undone = merger.clone();
    assert_eq!(undone.take(1, some(many(1), &[])).held, None);
    assert_eq!(undone.merged().desired.services.len(), 7);
    assert!(merger.confirm(1) && !merger.confirm(1));
    assert_eq!(merger.merged().desired.services.len(), 6);
    assert!(merger.merged().held.is_empty());
    // A mistake that is taken back leaves nothing.
    let mut merger = self::merger(vec![], many(10));
    merger.take(1, whole(Part::default()));
    assert!(merger.forget_held(1) && merger.merged().held.is_empty() && !merger.confirm(1));
    assert_eq!(merger.merged().desired.services.len(), 10);
}

#[test]
fn services_that_move_to_another_part_are_not_removed() {
    let sources = vec![Source::new("folder", Unit::File)];
    let mut merger = Merger::new(sources);
    let part = |name: &str, part: Part| (Arc::from(name), Delivery::Whole(part));
    merger.take(0, vec![part("a.yaml", file(many(12))), part("b.yaml", Part::default())]);
    let moved = vec![("a.yaml".into(), Delivery::Gone), part("b.yaml", file(many(12)))];
    assert_eq!(merger.take(0, moved).held, None);
    assert_eq!(merger.merged().desired.services.len(), 12);
    assert!(merger.take(0, vec![("b.yaml".into(), Delivery::Gone)]).held.is_some());
}

/// One bad service among 5,000, while the backends of the others change all the time.
#[test]
fn one_bad_service_among_5000_hinders_no_other() {
    let at = |n: u16| {
        let mut form = form(&format!("s{n:04}"), 0, 80);
        form.spec.address = [10, 3, (n / 250) as u8, (n % 250) as u8].into();
        form
    };
    let mut merger = merger(vec![], (0..5_000).map(at).collect());
    for round in 1..=5u8 {
        let bad = changed(at(7), |s| {
            s.backends[0].name = "Not a name".into();
            s.backends[1] = backend(100 + round);
        });
        let others = (0..5_000).filter(|n| *n != 7);
        for batch in others.collect::<Vec<u16>>().chunks(500) {
            let turn = |n: &u16| changed(at(*n), |s| s.backends[0] = backend(10 + round));
            let forms = batch.iter().map(turn).chain([bad.clone()]);
            let outcome = merger.take(1, some(forms.collect(), &[]));
            assert!(outcome.is_new && !outcome.was_merged_anew, "{outcome:?}");
        }
        let merged = merger.merged();
        assert_eq!(merged.desired.services.len(), 5_000);
        for spec in &merged.desired.services {
            let wanted = if spec.name == "s0007" { backend(1) } else { backend(10 + round) };
            assert_eq!(spec.backends[0], wanted, "{}", spec.name);
        }
        assert_eq!(merged.refused.len(), 1);
        assert!(
            merged.refused[0].keeps_last_good && merged.refused[0].owner.what == "service s0007"
        );
    }
    served(merger.merged());
}

#[test]
fn drains_by_hand_lie_over_all_sources() {
    let mut merger = merger(vec![form("web", 100, 80)], vec![form("dns", 101, 53)]);
    let draining = |merger: &Merger| -> Vec<String> {
        let services = merger.merged().desired.services.iter();
        let of = services.flat_map(|s| s.backends.iter().filter(|b| b.drain).map(|b| (&s.name, b)));
        of.map(|(service, backend)| format!("{service}/{}", backend.name)).collect()
    };
    let drain = |backend: &str, service: Option<&str>| Drain {
        backend: backend.to_string(),
        service: service.map(str::to_string),
        uid: None,
        user: None,
        since_unix_ms: 0,
        until_unix_ms: None,
    };
    let mut drains = Drains::default();
    assert!(drains.begin(drain("b1", None)) && drains.begin(drain("b2", Some("dns"))));
    merger.set_drains(drains);
    assert_eq!(draining(&merger), ["web/b1", "dns/b1", "dns/b2"]);

    // A form that is put in its place at once, and all of them anew.
    let heavier = changed(form("dns", 101, 53), |spec| spec.backends[1].weight = 7);
    assert!(!merger.take(1, some(vec![heavier], &[])).was_merged_anew);
    assert_eq!(draining(&merger), ["web/b1", "dns/b1", "dns/b2"]);
    assert!(merger.take(1, some(vec![form("api", 102, 80)], &["dns"])).was_merged_anew);
    assert_eq!(draining(&merger), ["web/b1", "api/b1"]);
    merger.take(1, some(vec![form("dns", 101, 53)], &[]));
    assert_eq!(draining(&merger), ["web/b1", "api/b1", "dns/b1", "dns/b2"]);

    merger.set_drains(Drains::default());
    assert_eq!(draining(&merger), Vec::<String>::new());
}
