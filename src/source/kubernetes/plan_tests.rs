use super::*;
use crate::source::kubernetes::objects::{Holder, ServicePort, Transport};
use crate::source::kubernetes::pool::{Block, Pool};
use crate::source::kubernetes::testing::{claim, service, world};
use crate::source::kubernetes::way::Target;
use crate::source::kubernetes::world::Change;

fn told(writes: &[Write]) -> String {
    let one = |write: &Write| match write {
        Write::AddFinalizers => "finalizers".to_string(),
        Write::RemoveFinalizers => "no finalizers".to_string(),
        Write::Take(address, claim) => {
            let holders: Vec<String> =
                claim.holders.iter().map(|holder| holder.service.to_string()).collect();
            format!("take {address} of {} for {}", claim.pool, holders.join("+"))
        }
        Write::ClearStatus => "clear status".to_string(),
        Write::Release(address) => format!("release {address}"),
        Write::Status(addresses, _, told) => {
            let port = |port: &PortTold| {
                let refused = if port.is_refused { " refused" } else { "" };
                format!("{} {}{refused}", port.port, port.transport.word())
            };
            let ports: Vec<String> = told.ports.iter().map(port).collect();
            let ports = match ports.is_empty() {
                true => String::new(),
                false => format!(" {{{}}}", ports.join(", ")),
            };
            format!("status [{}] {}{ports}", list(addresses.iter().copied()), told.reason)
        }
        Write::Event(told) => format!("event {}", told.reason),
    };
    writes.iter().map(one).collect::<Vec<_>>().join(", ")
}

fn vip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// As it is once all was written for [`service`] with 203.0.113.1.
fn ready() -> Service {
    Service {
        has_our_finalizer: true,
        has_standard_finalizer: true,
        status: vec![vip("203.0.113.1")],
        status_mode: Some(IpMode::Proxy),
        told: Some(("Ready".into(), "203.0.113.1 assigned".into())),
        ..service()
    }
}

type Before = fn(&mut World, &mut Service);
const FIRST: &str = "take 203.0.113.1 of web for shop/web, status [203.0.113.1] Ready, \
                     event AddressAssigned";

fn hold(world: &mut World, address: &str, claim: Claim) {
    world.apply(Change::Claim(vip(address), Some(claim)));
}

fn other(world: &mut World, name: &str, change: fn(&mut Service)) {
    let mut service = Service { uid: format!("u-{name}").into(), ..service() };
    change(&mut service);
    world.apply(Change::Service(Key::new("shop", name), Some(service)));
}

fn check(rows: &[(&str, Before, &str)]) {
    for (description, before, wanted) in rows {
        let (mut world, key, mut service) = (world(), Key::new("shop", "web"), service());
        before(&mut world, &mut service);
        world.apply(Change::Service(key.clone(), Some(service)));
        assert_eq!(told(&plan(&world, &key)), *wanted, "{description}");
    }
}

/// Several services that want one address.
#[path = "plan_sharing_tests.rs"]
mod sharing;

#[test]
fn whose_services() {
    let first = format!("finalizers, {FIRST}");
    check(&[
        ("without a class, since we are the default", |_, _| {}, &first),
        ("our class", |_, s| s.class = Some("guideway.dev/external".into()), &first),
        ("another's class", |_, s| s.class = Some("metallb".into()), ""),
        ("another type", |_, s| s.is_balanced = false, ""),
        ("deleted, and never ours", |_, s| s.is_deleted = true, ""),
        (
            "held by another Guideway of the cluster",
            |w, s| {
                *s = ready();
                s.class = Some("old".into());
                hold(w, "203.0.113.1", Claim { manager: "other".into(), ..claim("web") });
            },
            "",
        ),
    ]);
}

#[test]
fn what_is_missing_is_written() {
    check(&[
        (
            "all is well: nothing",
            |w, s| {
                *s = ready();
                hold(w, "203.0.113.1", claim("web"));
            },
            "",
        ),
        (
            "killed between claim and status",
            |w, s| {
                *s = ready();
                (s.status, s.told) = (vec![], None);
                hold(w, "203.0.113.1", claim("web"));
            },
            "status [203.0.113.1] Ready",
        ),
        (
            "somebody took our finalizer off",
            |w, s| {
                *s = ready();
                s.has_our_finalizer = false;
                hold(w, "203.0.113.1", claim("web"));
            },
            "finalizers",
        ),
        (
            "somebody wrote another address into the status",
            |w, s| {
                *s = ready();
                s.status = vec![vip("192.0.2.1")];
                hold(w, "203.0.113.1", claim("web"));
            },
            "status [203.0.113.1] Ready",
        ),
        (
            "adopted: its address stands in its status",
            |_, s| {
                *s = ready();
                s.status = vec![vip("203.0.113.3")];
            },
            "take 203.0.113.3 of web for shop/web, status [203.0.113.3] Ready, event AddressAssigned",
        ),
        (
            "the pool is smaller by now: the address stays",
            |w, s| {
                *s = ready();
                s.status = vec![vip("198.51.100.1")];
                s.told = Some(("Ready".into(), "198.51.100.1 assigned".into()));
                hold(w, "198.51.100.1", claim("web"));
            },
            "",
        ),
        (
            "two are its own, since somebody was killed in between: the one that clients know stays",
            |w, s| {
                *s = ready();
                s.status = vec![vip("203.0.113.3")];
                s.told = Some(("Ready".into(), "203.0.113.3 assigned".into()));
                hold(w, "203.0.113.1", claim("web"));
                hold(w, "203.0.113.3", claim("web"));
            },
            "release 203.0.113.1, event AddressReleased",
        ),
        (
            "its pool has another name by now, and it asks for that one: the address stays",
            |w, s| {
                *s = ready();
                s.wishes.pool = Some("new".into());
                let block = Block::parse("203.0.113.0/29").unwrap();
                let pool = Pool::new("new", vec![block]);
                w.apply(Change::Pool("new".into(), Some(Ok(pool))));
                hold(w, "203.0.113.1", claim("web"));
            },
            "take 203.0.113.1 of new for shop/web",
        ),
        (
            "made again under the same name: the claim is not its own",
            |w, _| {
                hold(
                    w,
                    "203.0.113.1",
                    Claim {
                        holders: vec![Holder {
                            service: Key::new("shop", "web"),
                            uid: "u-old".into(),
                        }],
                        ..claim("web")
                    },
                )
            },
            "finalizers, take 203.0.113.2 of web for shop/web, status [203.0.113.2] Ready, \
             event AddressAssigned",
        ),
        (
            "made again, and the old claim rests",
            |w, _| {
                hold(
                    w,
                    "203.0.113.3",
                    Claim {
                        holders: vec![],
                        released_ms: Some(5),
                        last: Some(Key::new("shop", "web")),
                        ..claim("web")
                    },
                )
            },
            "finalizers, take 203.0.113.3 of web for shop/web, status [203.0.113.3] Ready, \
             event AddressAssigned",
        ),
        (
            "one that rests is nobody's",
            |w, _| {
                hold(
                    w,
                    "203.0.113.1",
                    Claim { holders: vec![], last: Some(Key::new("shop", "x")), ..claim("web") },
                )
            },
            "finalizers, take 203.0.113.2 of web for shop/web, status [203.0.113.2] Ready, \
             event AddressAssigned",
        ),
    ]);
}

#[test]
fn families_and_wishes() {
    fn both(service: &mut Service) {
        service.families = vec![IpFamily::V6, IpFamily::V4];
    }
    check(&[
        (
            "two families",
            |_, s| both(s),
            "finalizers, take 2001:db8::1 of web for shop/web, take 203.0.113.1 of web for shop/web, \
             status [2001:db8::1 and 203.0.113.1] Ready, event AddressAssigned",
        ),
        (
            "one of two can be had, and one is enough",
            |w, s| {
                both(s);
                hold(w, "2001:db8::1", claim("a"));
                hold(w, "2001:db8::2", claim("a"));
                hold(w, "2001:db8::3", claim("a"));
            },
            "finalizers, take 203.0.113.1 of web for shop/web, \
            status [203.0.113.1] AddressPoolExhausted, event AddressAssigned, \
            event AddressPoolExhausted",
        ),
        (
            "both are needed",
            |w, s| {
                both(s);
                s.needs_both_families = true;
                hold(w, "2001:db8::1", claim("a"));
                hold(w, "2001:db8::2", claim("a"));
                hold(w, "2001:db8::3", claim("a"));
            },
            "finalizers, status [] AddressPoolExhausted, event AddressPoolExhausted",
        ),
        (
            "a family less",
            |w, s| {
                *s = ready();
                hold(w, "203.0.113.1", claim("web"));
                hold(w, "2001:db8::1", claim("web"));
            },
            "release 2001:db8::1, event AddressReleased",
        ),
        (
            "another address is asked for",
            |w, s| {
                *s = ready();
                s.wishes.addresses = vec![vip("203.0.113.3")];
                hold(w, "203.0.113.1", claim("web"));
            },
            "take 203.0.113.3 of web for shop/web, status [203.0.113.3] Ready, release 203.0.113.1, \
            event AddressAssigned, event AddressReleased",
        ),
        (
            "one that cannot be had: it stays where it is",
            |w, s| {
                *s = ready();
                s.wishes.addresses = vec![vip("192.0.2.1")];
                hold(w, "203.0.113.1", claim("web"));
            },
            "status [203.0.113.1] AddressNotInPool, event AddressNotInPool",
        ),
        (
            "one that cannot be had, and it has two: the one that clients know stays",
            |w, s| {
                *s = ready();
                s.wishes.addresses = vec![vip("192.0.2.1")];
                s.status = vec![vip("203.0.113.2")];
                hold(w, "203.0.113.1", claim("web"));
                hold(w, "203.0.113.2", claim("web"));
            },
            "status [203.0.113.2] AddressNotInPool, release 203.0.113.1, event AddressReleased, \
            event AddressNotInPool",
        ),
        (
            "and it is told once",
            |w, s| {
                *s = ready();
                s.wishes.addresses = vec![vip("192.0.2.1")];
                let why = "192.0.2.1 is in no pool: add it to one, or ask for another address";
                s.told = Some(("AddressNotInPool".into(), why.into()));
                hold(w, "203.0.113.1", claim("web"));
            },
            "",
        ),
        (
            "an annotation that cannot be read",
            |_, s| s.wishes.wrong = vec!["bad".into()],
            "finalizers, take 203.0.113.1 of web for shop/web, \
             status [203.0.113.1] AnnotationIgnored, event AddressAssigned, \
             event AnnotationIgnored",
        ),
    ]);
}

#[test]
fn a_status_may_be_ahead_of_claims() {
    let (mut world, key) = (world(), Key::new("shop", "web"));
    assert_eq!(unsure(&world, &key, &ready()), [vip("203.0.113.1")], "its claim is not told yet");
    hold(&mut world, "203.0.113.1", claim("a"));
    assert_eq!(unsure(&world, &key, &ready()), [vip("203.0.113.1")], "that of somebody before it");
    hold(&mut world, "203.0.113.1", claim("web"));
    assert!(unsure(&world, &key, &ready()).is_empty());
    assert!(unsure(&world, &key, &service()).is_empty());
}

#[test]
fn a_holder_leaves() {
    let holder = |name: &str| claim(name).holders.remove(0);
    let alone = claim("web");
    let rests = Claim {
        holders: vec![],
        released_ms: Some(9),
        last: Some(Key::new("shop", "web")),
        ..claim("web")
    };
    assert_eq!(left(&alone, &holder("web"), 9), Some(rests));
    assert_eq!(left(&alone, &holder("a"), 9), None);
    let both = Claim { holders: vec![holder("web"), holder("a")], ..claim("web") };
    assert_eq!(left(&both, &holder("web"), 9), Some(claim("a")));
}

#[test]
fn what_is_not_as_a_service_asks() {
    fn local(world: &mut World, service: &mut Service) {
        *service = ready();
        service.is_local = true;
        hold(world, "203.0.113.1", claim("web"));
    }
    fn sctp(world: &mut World, service: &mut Service) {
        *service = ready();
        let port =
            ServicePort { name: "b".into(), transport: Transport::Sctp, port: 9, node_port: None };
        service.ports.push(port);
        hold(world, "203.0.113.1", claim("web"));
    }
    fn refused(port: u16, transport: Transport, is_refused: bool) -> PortTold {
        PortTold { port, transport, is_refused }
    }
    const NO_SCTP: &str = "sctp 9 is not balanced: SCTP is with `guideway.dev/target: nodes` only";
    check(&[
        (
            "the client's address is asked for, and hidden",
            local,
            "status [203.0.113.1] Ready, event ClientAddressHidden",
        ),
        (
            "and it is told once, whatever else changes",
            |w, s| {
                local(w, s);
                let before = format!("an older message; {HIDDEN}");
                s.told = Some(("AddressPoolExhausted".into(), before.into()));
            },
            "status [203.0.113.1] Ready",
        ),
        (
            "to a new one together with its address",
            |_, s| s.is_local = true,
            "finalizers, take 203.0.113.1 of web for shop/web, status [203.0.113.1] Ready, \
             event AddressAssigned, event ClientAddressHidden",
        ),
        (
            "it is not hidden: it is kept",
            |w, s| {
                local(w, s);
                s.wishes.keep_source = Some(true);
                s.status_mode = Some(IpMode::Vip);
            },
            "",
        ),
        (
            "it is not hidden: packets go to nodes",
            |w, s| {
                local(w, s);
                (s.wishes.target, s.status_mode) = (Some(Target::Nodes), Some(IpMode::Vip));
            },
            "",
        ),
        (
            "SCTP to pods",
            sctp,
            "status [203.0.113.1] ProtocolNotSupported {80 tcp, 9 sctp refused}, \
             event ProtocolNotSupported",
        ),
        (
            "told already",
            |w, s| {
                sctp(w, s);
                s.told = Some(("ProtocolNotSupported".into(), NO_SCTP.into()));
                s.status_ports =
                    vec![refused(80, Transport::Tcp, false), refused(9, Transport::Sctp, true)];
            },
            "",
        ),
        (
            "told already, and another port is new",
            |w, s| {
                sctp(w, s);
                s.told = Some(("ProtocolNotSupported".into(), NO_SCTP.into()));
                s.status_ports = vec![refused(9, Transport::Sctp, true)];
            },
            "status [203.0.113.1] ProtocolNotSupported {80 tcp, 9 sctp refused}",
        ),
        (
            "SCTP is there no more",
            |w, s| {
                *s = ready();
                s.status_ports = vec![refused(9, Transport::Sctp, true)];
                hold(w, "203.0.113.1", claim("web"));
            },
            "status [203.0.113.1] Ready",
        ),
        (
            "SCTP to nodes",
            |w, s| {
                sctp(w, s);
                (s.wishes.target, s.status_mode) = (Some(Target::Nodes), Some(IpMode::Vip));
            },
            "",
        ),
    ]);
}

#[test]
fn claims_are_tidied() {
    let mut world = world();
    other(&mut world, "there", |_| {});
    hold(&mut world, "203.0.113.1", claim("there"));
    hold(&mut world, "203.0.113.2", claim("gone"));
    let rests = |since| Claim { holders: vec![], released_ms: Some(since), ..claim("x") };
    hold(&mut world, "203.0.113.3", rests(1_000));
    hold(&mut world, "203.0.113.4", rests(30_000));
    hold(&mut world, "203.0.113.5", Claim { manager: "other".into(), ..rests(1) });
    let (found, next) = tidy(&world, 61_000);
    let gone = Holder { service: Key::new("shop", "gone"), uid: "u-gone".into() };
    let forget = Tidy::Forget(gone);
    assert_eq!(found, [(vip("203.0.113.2"), forget), (vip("203.0.113.3"), Tidy::Delete)]);
    assert_eq!(next, Some(90_000));
}

#[path = "plan_leave_tests.rs"]
mod leave;
