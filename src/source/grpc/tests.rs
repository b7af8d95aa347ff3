//! Both ends of a feed against each other: message in, message out; and the real ones over TCP.

mod wire;

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use prost::Message as _;

use super::make;
use super::peer::{Peer, Served};
use super::proto::follow_request::Message;
use super::proto::{Answer, FollowRequest, Hello, Resource, Service, Update};
use super::session::Session;
use crate::control::Delivery;
use crate::source::ask::Took;
use crate::source::yaml::values::parse_served;

/// Services by name and port, on one address.
fn resources(services: &[(&str, &str)]) -> Vec<Resource> {
    let entry = |(name, port): &(&str, &str)| {
        format!("  - {{ name: {name}, address: 10.1.0.100, port: {port}, backends: [] }}\n")
    };
    let list: String = services.iter().map(entry).collect();
    let list = if list.is_empty() { "  []\n".to_string() } else { list };
    let served = parse_served("f", &format!("version: 1\nservices:\n{list}")).unwrap();
    let made = served.services.iter().map(|(name, value)| make(name, value, 0).unwrap());
    made.collect()
}

fn served(revision: u64, services: &[(&str, &str)]) -> Served {
    let named = resources(services).into_iter().map(|r| (r.name.clone(), Arc::new(r)));
    Served { revision, force: false, resources: named.collect() }
}

fn update(revision: u64, services: &[(&str, &str)], removed: &[&str]) -> Update {
    Update {
        revision,
        nonce: "n".to_string(),
        resources: resources(services),
        removed: removed.iter().map(ToString::to_string).collect(),
        force: false,
        is_last: true,
    }
}

fn answer(message: FollowRequest) -> Answer {
    match message.message {
        Some(Message::Answer(answer)) => answer,
        other => panic!("{other:?}"),
    }
}

fn hello(session: &Session) -> Hello {
    match session.hello("lb1").message {
        Some(Message::Hello(hello)) => hello,
        other => panic!("{other:?}"),
    }
}

/// As the desired state would: services whose port cannot be read are refused.
fn deliver(session: &mut Session, update: Update) -> Answer {
    let change = match session.read(update) {
        Ok(change) => change,
        Err(refused) => return answer(refused),
    };
    let mut refused = BTreeMap::new();
    for delivery in change.deliveries() {
        if let Delivery::Unfit(unfit) = delivery {
            let lines = |(name, why): (String, Vec<_>)| {
                (name, why.iter().map(ToString::to_string).collect::<Vec<String>>())
            };
            refused.extend(unfit.into_iter().map(lines));
        }
    }
    answer(session.took(change, Ok(Took { refused, held: None })))
}

/// A session that has taken `a` and `b` of revision 5.
fn session() -> Session {
    let mut session = Session::new(100);
    let answer = deliver(&mut session, update(5, &[("a", "1"), ("b", "2")], &[]));
    assert_eq!((answer.revision, answer.errors.len(), &*answer.refused), (5, 0, ""));
    session
}

#[test]
fn updates_and_what_they_are_answered() {
    let with = |change: fn(&mut Update)| {
        let mut update = update(6, &[("c", "3")], &[]);
        change(&mut update);
        update
    };
    let long = "n".repeat(300);
    let mut long_name = update(6, &[], &[]);
    long_name.removed.push(long);
    // Update, revision and services after it, what the refusal says.
    let rows = [
        ("more", update(6, &[("c", "3")], &[]), 6, 3, ""),
        ("less", update(6, &[], &["a"]), 6, 1, ""),
        ("the same revision", update(5, &[("c", "3")], &[]), 5, 3, ""),
        ("nothing", update(9, &[], &[]), 9, 2, ""),
        ("an unknown one removed", update(6, &[], &["z"]), 6, 2, ""),
        ("one of two is wrong", update(6, &[("c", "3"), ("d", "x")], &[]), 6, 3, ""),
        ("older", update(4, &[("c", "3")], &[]), 5, 2, "revision 4 is older than 5"),
        ("older and forced", Update { force: true, ..update(4, &[], &["a"]) }, 4, 1, ""),
        ("twice", with(|u| u.removed.push("c".to_string())), 5, 2, "`c` is there twice"),
        ("no name", with(|u| u.resources[0].name.clear()), 5, 2, "a name that is none"),
        ("an escape", with(|u| u.removed.push("\u{1b}[2J".to_string())), 5, 2, "that is none"),
        ("a long name", long_name, 5, 2, "over 256 bytes"),
        ("no service", with(|u| u.resources[0].service = None), 6, 2, ""),
        ("another's name", with(|u| u.resources[0].name = "q".to_string()), 6, 2, ""),
        ("needs", with(|u| u.resources[0].needs.push("quic".to_string())), 6, 2, ""),
    ];
    for (description, update, revision, services, refused) in rows {
        let mut session = session();
        let answer = deliver(&mut session, update);
        let got = (session.revision(), session.len(), answer.refused.contains(refused));
        assert_eq!(got, (revision, services, true), "{description}: {answer:?}");
        assert_eq!(answer.refused.is_empty(), refused.is_empty(), "{description}");
        assert_eq!(answer.revision, revision, "{description}");
    }
}

#[test]
fn a_refused_service_is_named_and_keeps_its_version() {
    let mut session = session();
    let before = hello(&session).initial_versions;
    let answer = deliver(&mut session, update(6, &[("a", "none"), ("b", "2-3")], &[]));
    assert_eq!(answer.errors.len(), 1);
    let (error, sent) = (&answer.errors[0], &resources(&[("a", "none")])[0]);
    assert_eq!((&error.name, &error.version), (&sent.name, &sent.version));
    assert!(error.problems[0].starts_with("services[a].port: `none` is not"), "{error:?}");
    let after = hello(&session).initial_versions;
    assert_eq!(before[0], after[0], "a as it was");
    assert_ne!(before[1], after[1], "b is another");
}

#[test]
fn too_many_backends_are_refused_one_service_at_a_time() {
    let with = |name: &str, count: usize| {
        let mut resource = resources(&[(name, "1")]).remove(0);
        let service = resource.service.get_or_insert_with(Service::default);
        let backend = |number| super::proto::Backend {
            name: Some(format!("b{number}")),
            address: Some("10.2.0.1".to_string()),
            ..Default::default()
        };
        service.backends = (0..count).map(backend).collect();
        resource
    };
    let mut session = Session::new(5);
    let resources = vec![with("a", 3), with("b", 3), with("c", 2)];
    let answer = deliver(&mut session, Update { revision: 1, resources, ..Update::default() });
    assert_eq!(answer.errors.len(), 1);
    assert!(answer.errors[0].problems[0].contains("the feed has 6 backends"), "{answer:?}");
    // Room that is made in the same update counts.
    let removed = vec!["a".to_string()];
    let resources = vec![with("b", 3)];
    let update = Update { revision: 2, resources, removed, ..Update::default() };
    assert_eq!(deliver(&mut session, update).errors, []);
}

#[test]
fn what_is_not_in_force_is_not_taken() {
    let mut session = session();
    let change = session.read(update(6, &[("c", "3")], &["a"])).unwrap();
    let answer = answer(session.took(change, Err("no room".to_string())));
    assert_eq!((answer.revision, &*answer.refused), (5, "no room"));
    assert!(session.knows("a") && !session.knows("c"));
}

#[test]
fn kept_and_begun_again() {
    let session = session();
    let kept = session.to_keep("https://feed:1", 7);
    let (again, change) = Session::of_kept(kept.clone(), 100).unwrap();
    assert_eq!((again.revision(), again.is_empty()), (0, true), "until it is delivered");
    assert_eq!(change.names(), ["a", "b"]);
    let mut again = again;
    let _ = again.took(change, Ok(Took::default()));
    assert_eq!(again.revision(), 5, "it is what it was");
    assert_eq!(hello(&again), hello(&session));
    let newer = super::proto::KeptState { format: 2, ..kept };
    assert!(Session::of_kept(newer, 100).is_none());
}

/// Sends until there is nothing to send; gives how many messages that took.
fn settle(peer: &mut Peer, session: &mut Session, served: &Served) -> usize {
    let mut count = 0;
    while let Some(update) = peer.next(served) {
        assert!(peer.is_waited_for() && peer.next(served).is_none(), "one at a time");
        assert!(peer.answered(&deliver(session, update)));
        count += 1;
        assert!(count < 100, "without end");
    }
    count
}

#[test]
fn only_differences_are_sent() {
    let (mut session, mut peer) = (Session::new(100), Peer::default());
    let mut sent = |revision, services: &[(&str, &str)]| {
        let served = served(revision, services);
        let update = peer.clone().next(&served);
        settle(&mut peer, &mut session, &served);
        let update = update.unwrap_or_default();
        let names: Vec<String> = update.resources.into_iter().map(|r| r.name).collect();
        (names.join(" "), update.removed.join(" "))
    };
    let told = |names: &str, removed: &str| (names.to_string(), removed.to_string());
    assert_eq!(sent(1, &[("a", "1"), ("b", "2")]), told("a b", ""));
    assert_eq!(sent(2, &[("a", "1"), ("b", "3")]), told("b", ""));
    assert_eq!(sent(3, &[("b", "3"), ("c", "4")]), told("c", "a"));
    assert_eq!(sent(3, &[("b", "3"), ("c", "4")]), told("", ""), "it has all");
    assert_eq!(sent(4, &[("b", "x"), ("c", "4")]), told("b", ""), "refused");
    assert_eq!(sent(5, &[("b", "x"), ("c", "5")]), told("c", ""), "and not sent again");
    assert_eq!(peer.refused.keys().collect::<Vec<_>>(), ["b"]);
    // After a new connection it is, since the balancer does not have it.
    let mut peer = Peer::new(&hello(&session));
    let update = peer.next(&served(6, &[("b", "x"), ("c", "5")])).unwrap();
    assert_eq!((update.resources.len(), &*update.resources[0].name), (1, "b"));
}

#[test]
fn a_large_state_comes_in_pieces() {
    let names: Vec<String> = (0..20_000).map(|number| format!("s{number}")).collect();
    let ports: Vec<String> = (1..=20_000).map(|number: u32| number.to_string()).collect();
    let services: Vec<(&str, &str)> =
        names.iter().zip(&ports).map(|(name, port)| (&**name, &**port)).collect();
    let (mut session, mut peer) = (Session::new(100), Peer::default());
    let count = settle(&mut peer, &mut session, &served(1, &services));
    assert!((2..20).contains(&count), "{count} messages");
    assert_eq!((session.len(), peer.revision), (20_000, 1));
}

#[test]
fn a_stale_feed_is_refused_until_it_is_not() {
    let mut session = session();
    let mut peer = Peer::new(&hello(&session));
    let old = served(4, &[("a", "9")]);
    settle(&mut peer, &mut session, &old);
    assert!(peer.refused_update.as_ref().is_some_and(|why| why.contains("older than 5")));
    assert_eq!((session.len(), peer.next(&old)), (2, None), "not again and again");
    settle(&mut peer, &mut session, &served(6, &[("a", "9")]));
    assert_eq!((session.len(), session.revision(), peer.refused_update), (1, 6, None));
    let mut peer = Peer::new(&hello(&session));
    settle(&mut peer, &mut session, &Served { force: true, ..served(2, &[]) });
    assert_eq!((session.len(), session.revision()), (0, 2));
}

proptest! {
    /// Whatever comes over the wire is answered, and what was known before is known or gone.
    #[test]
    fn bytes_that_were_changed_on_the_way(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
    ) {
        let mut bytes = update(6, &[("a", "9"), ("c", "3-4")], &["b"]).encode_to_vec();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Ok(update) = Update::decode(&*bytes) {
            let mut session = session();
            let answer = deliver(&mut session, update);
            prop_assert_eq!(answer.revision, session.revision());
            prop_assert!(answer.refused.is_empty() || session.len() == 2);
        }
    }
}

#[test]
fn answers_to_nothing() {
    let (mut session, mut peer) = (Session::new(100), Peer::default());
    assert!(!peer.answered(&Answer::default()));
    let update = peer.next(&served(1, &[("a", "1")])).unwrap();
    assert!(!peer.answered(&Answer { nonce: "other".to_string(), ..Answer::default() }));
    let answer = deliver(&mut session, update);
    assert!(peer.answered(&answer));
    assert!(!peer.answered(&answer), "once");
}
