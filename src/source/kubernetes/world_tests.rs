use super::*;
use crate::source::kubernetes::testing::{claim, service, world};

fn vip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn of(name: &str) -> Key {
    Key::new("shop", name)
}

/// What a service `shop/web` is and what the world knows beside it, and then a change; is `shop/web`
/// looked at again?
type Row = (&'static str, fn(&mut World, &mut Service), Change, bool);

#[test]
fn who_waits_is_looked_at_again() {
    fn has(world: &mut World, address: &str, holder: &str) {
        world.apply(Change::Claim(vip(address), Some(claim(holder))));
    }
    fn shared(holders: &[&str]) -> Claim {
        let holders = holders.iter().map(|name| claim(name).holders.remove(0)).collect();
        Claim { version: "9".into(), share: Some("k".into()), holders, ..claim("a") }
    }
    let free = |address| Change::Claim(vip(address), None);
    let rows: &[Row] = &[
        (
            "it has none, and one is free",
            |w, _| has(w, "203.0.113.1", "a"),
            free("203.0.113.1"),
            true,
        ),
        (
            "it has one already",
            |w, _| {
                has(w, "203.0.113.1", "a");
                has(w, "203.0.113.2", "web");
            },
            free("203.0.113.1"),
            false,
        ),
        (
            "it has another one than it asks for",
            |w, s| {
                has(w, "203.0.113.1", "a");
                has(w, "203.0.113.2", "web");
                s.wishes.addresses = vec![vip("203.0.113.1")];
            },
            free("203.0.113.1"),
            true,
        ),
        (
            "it has one out of another pool than it asks for",
            |w, s| {
                has(w, "203.0.113.1", "a");
                has(w, "203.0.113.2", "web");
                s.wishes.pool = Some("gold".into());
            },
            free("203.0.113.1"),
            true,
        ),
        (
            "it has one of two families",
            |w, s| {
                has(w, "2001:db8::1", "a");
                has(w, "203.0.113.2", "web");
                s.families = vec![IpFamily::V4, IpFamily::V6];
            },
            free("2001:db8::1"),
            true,
        ),
        (
            "one of several that share has left",
            |w, _| w.apply(Change::Claim(vip("203.0.113.1"), Some(shared(&["a", "b"])))),
            Change::Claim(vip("203.0.113.1"), Some(shared(&["b"]))),
            true,
        ),
        (
            "one that shares is known by now",
            |w, _| w.apply(Change::Claim(vip("203.0.113.1"), Some(shared(&["a"])))),
            Change::Service(of("a"), {
                let mut shares = Service { uid: "u-a".into(), ..service() };
                shares.wishes.share = Some("k".into());
                Some(shares)
            }),
            true,
        ),
        (
            "somebody else has taken one",
            |_, _| {},
            Change::Claim(vip("203.0.113.1"), Some(claim("a"))),
            false,
        ),
        (
            "somebody else has taken the one that it asks for",
            |_, s| s.wishes.addresses = vec![vip("203.0.113.1")],
            Change::Claim(vip("203.0.113.1"), Some(claim("a"))),
            true,
        ),
        ("somebody else is there", |_, _| {}, Change::Service(of("a"), Some(service())), false),
    ];
    for (description, before, change, wanted) in rows {
        let (mut world, key, mut service) = (world(), of("web"), service());
        before(&mut world, &mut service);
        world.apply(Change::Service(key.clone(), Some(service)));
        let _ = world.take_dirty();
        world.apply(change.clone());
        assert_eq!(world.take_dirty().contains(&key), *wanted, "{description}");
    }
}

#[test]
fn versions_are_not_known_while_a_kind_is_listed() {
    let mut world = world();
    assert!(world.is_known() && !world.is_listing());
    world.begin_list(Kind::Slice);
    assert!(!world.is_listing(), "nothing is written to these");
    world.begin_list(Kind::Claim);
    assert!(world.is_known() && world.is_listing());
    world.apply(Change::Listed(Kind::Node, BTreeSet::new()));
    assert!(world.is_listing(), "another kind");
    world.apply(Change::Listed(Kind::Claim, BTreeSet::new()));
    assert!(!world.is_listing());
}

#[test]
fn an_answer_brings_nothing_back() {
    let web = || Change::Service(of("web"), Some(Service { version: 5, ..service() }));
    let held = || Change::Claim(vip("203.0.113.1"), Some(claim("web")));
    let mut world = world();
    world.apply(web());
    let written = Service { version: 7, has_our_finalizer: true, ..service() };
    world.answer(Change::Service(of("web"), Some(written.clone())));
    assert_eq!(world.service(&of("web")), Some(&written), "before the watch tells it");
    let again = Service { uid: "u-new".into(), version: 9, ..service() };
    world.apply(Change::Service(of("web"), Some(again.clone())));
    world.answer(Change::Service(of("web"), Some(written.clone())));
    assert_eq!(world.service(&of("web")), Some(&again), "of one that is gone");
    world.apply(Change::Service(of("web"), None));
    world.answer(Change::Service(of("web"), Some(written)));
    assert_eq!(world.service(&of("web")), None, "its deletion came between write and answer");
    world.apply(held());
    world.apply(Change::Claim(vip("203.0.113.1"), None));
    world.answer(held());
    assert_eq!(world.claim(vip("203.0.113.1")), None);
    let assumed = Claim { version: String::new(), ..claim("a") };
    world.apply(Change::Claim(vip("203.0.113.1"), Some(assumed.clone())));
    world.answer(held());
    assert_eq!(world.claim(vip("203.0.113.1")), Some(&assumed), "asked for by another one since");
    world.answer(Change::Claim(vip("203.0.113.1"), Some(claim("a"))));
    assert_eq!(world.claim(vip("203.0.113.1")), Some(&claim("a")));
}
