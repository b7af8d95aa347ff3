//! Services that are ours no more, or are to be.

use super::*;
use crate::source::kubernetes::world::Options;

#[test]
fn leaving() {
    check(&[
        (
            "deleted",
            |w, s| {
                *s = Service { is_deleted: true, ..ready() };
                hold(w, "203.0.113.1", claim("web"));
            },
            "release 203.0.113.1, event AddressReleased, no finalizers",
        ),
        (
            "another type now",
            |w, s| {
                *s = Service { is_balanced: false, status: vec![], ..ready() };
                hold(w, "203.0.113.1", claim("web"));
            },
            "release 203.0.113.1, event AddressReleased, clear status, no finalizers",
        ),
        (
            "killed between both",
            |_, s| *s = Service { is_deleted: true, ..ready() },
            "no finalizers",
        ),
        (
            "somebody took our finalizer off, and the other one would wait for ever",
            |w, s| {
                *s = Service { is_deleted: true, has_our_finalizer: false, ..ready() };
                hold(w, "203.0.113.1", claim("web"));
            },
            "release 203.0.113.1, event AddressReleased, no finalizers",
        ),
        (
            "another Guideway's",
            |w, s| {
                *s = Service { is_deleted: true, ..ready() };
                hold(w, "203.0.113.1", Claim { manager: "other".into(), ..claim("web") });
            },
            "",
        ),
    ]);
}

/// A class, or `default`, that is taken out of the configuration releases nothing.
#[test]
fn orphans() {
    fn orphan(world: &mut World, service: &mut Service) {
        (*service, service.class) = (ready(), Some("old".into()));
        hold(world, "203.0.113.1", claim("web"));
    }
    fn told(service: &mut Service) {
        let words = "Its class is none of Guideway's any more. It keeps its address and is served until \
                     `guideway kubernetes release shop/web`";
        service.told = Some(("Orphaned".into(), words.into()));
    }
    const TOLD: &str = "status [203.0.113.1] Orphaned, event Orphaned";
    check(&[
        ("of a class that is no longer ours", orphan, TOLD),
        (
            "without a class, and we are the default no longer",
            |w, s| {
                *w = World::new(Options { default: false, ..w.options().clone() });
                orphan(w, s);
                s.class = None;
            },
            TOLD,
        ),
        (
            "told already",
            |w, s| {
                orphan(w, s);
                told(s);
            },
            "",
        ),
        (
            "told already, and somebody wrote another address",
            |w, s| {
                orphan(w, s);
                told(s);
                s.status = vec![vip("192.0.2.1")];
            },
            "status [203.0.113.1] Orphaned",
        ),
        (
            "what it asks for now counts no more",
            |w, s| {
                orphan(w, s);
                s.wishes.addresses = vec![vip("203.0.113.3")];
                s.families = vec![IpFamily::V6];
            },
            TOLD,
        ),
        (
            "it has no finalizer: none is added",
            |w, s| {
                orphan(w, s);
                (s.has_our_finalizer, s.has_standard_finalizer) = (false, false);
            },
            TOLD,
        ),
        (
            "its class is ours again",
            |w, s| {
                orphan(w, s);
                told(s);
                s.class = Some("guideway.dev/external".into());
            },
            "status [203.0.113.1] Ready",
        ),
        (
            "deleted",
            |w, s| {
                orphan(w, s);
                s.is_deleted = true;
            },
            "release 203.0.113.1, event AddressReleased, no finalizers",
        ),
        (
            "one that never got an address has nothing to keep, and may be another Guideway's",
            |_, s| (*s, s.class, s.status) = (ready(), Some("old".into()), vec![]),
            "",
        ),
        (
            "and it can be deleted",
            |_, s| {
                (*s, s.class, s.status) = (ready(), Some("old".into()), vec![]);
                s.is_deleted = true;
            },
            "no finalizers",
        ),
    ]);
}

#[test]
fn released_by_hand() {
    type Row = (&'static str, Before, &'static str);
    let rows: &[Row] = &[
        (
            "one of ours",
            |w, s| {
                *s = ready();
                hold(w, "203.0.113.1", claim("web"));
            },
            "release 203.0.113.1, event AddressReleased, clear status, no finalizers",
        ),
        (
            "one that waits",
            |_, s| (*s, s.status) = (ready(), vec![]),
            "clear status, no finalizers",
        ),
        (
            "only finalizers",
            |_, s| (*s, s.status, s.told) = (ready(), vec![], None),
            "no finalizers",
        ),
        (
            "somebody took ours off",
            |w, s| {
                *s = Service { has_our_finalizer: false, ..ready() };
                hold(w, "203.0.113.1", claim("web"));
            },
            "release 203.0.113.1, event AddressReleased, clear status, no finalizers",
        ),
        (
            "somebody took both off",
            |w, s| {
                *s = ready();
                (s.has_our_finalizer, s.has_standard_finalizer) = (false, false);
                hold(w, "203.0.113.1", claim("web"));
            },
            "release 203.0.113.1, event AddressReleased, clear status",
        ),
        (
            "deleted",
            |w, s| {
                *s = Service { is_deleted: true, ..ready() };
                hold(w, "203.0.113.1", claim("web"));
            },
            "release 203.0.113.1, event AddressReleased, no finalizers",
        ),
    ];
    for (description, before, wanted) in rows {
        let (mut world, key, mut service) = (world(), Key::new("shop", "web"), service());
        before(&mut world, &mut service);
        world.apply(Change::Service(key.clone(), Some(service)));
        assert_eq!(told(&release(&world, &key)), *wanted, "{description}");
    }
}
