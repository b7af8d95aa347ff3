//! A day in seconds: time is an argument.

use super::*;
use crate::control::HealthCheckKind;

fn target(service: &str, backend: &str, place: &str, spec: &HealthCheckSpec) -> ProbeTarget {
    let socket = place.parse().unwrap();
    let (service, backend) = (service.into(), backend.into());
    ProbeTarget { service, backend, socket, spec: Arc::new(spec.clone()) }
}

fn groups(targets: &[ProbeTarget]) -> Vec<TargetGroup> {
    vec![targets.into()]
}

fn spec() -> HealthCheckSpec {
    HealthCheckSpec { rise: 1, fall: 2, ..HealthCheckSpec::new(HealthCheckKind::TCP) }
}

fn refused() -> Result<(), ProbeError> {
    Err(ProbeError::Failed("refused".to_string()))
}

/// What events say: service/backend, health, reason.
fn told(events: &mut Vec<HealthEvent>) -> Vec<String> {
    let mut told: Vec<String> = events
        .drain(..)
        .map(|e| format!("{}/{} {:?} {}", e.service, e.backend, e.health, e.reason))
        .collect();
    told.sort();
    told
}

/// The next try, whenever it is due.
fn next(schedule: &mut Schedule) -> (u64, Due) {
    let at_ms = schedule.next_ms().unwrap();
    (at_ms, schedule.begin(at_ms).unwrap())
}

#[test]
fn services_that_ask_the_same_share_a_check() {
    let (mut schedule, mut events) = (Schedule::new(7), vec![]);
    let slow = HealthCheckSpec { interval_ms: 9_000, ..spec() };
    let mut targets = vec![
        target("web", "b1", "10.2.0.11:80", &spec()),
        target("api", "x1", "10.2.0.11:80", &spec()),
        target("slow", "b1", "10.2.0.11:80", &slow),
        target("web", "b2", "10.2.0.12:80", &spec()),
    ];
    schedule.follow(&groups(&targets), 0, &mut events);
    let ids: HashSet<CheckId> = (0..3).map(|_| next(&mut schedule).1.id).collect();
    assert_eq!((ids.len(), schedule.next_ms()), (3, None), "three checks for four targets");
    let shared = schedule.by_asked[&(targets[0].socket, targets[0].spec.clone())];
    let shared = *ids.iter().find(|id| id.place == shared).unwrap();
    schedule.finish(shared, &Ok(()), 5, &mut events);
    assert_eq!(told(&mut events), ["api/x1 Up ok", "web/b1 Up ok"]);

    // One leaves and another joins: nothing begins anew, and the new one is told at once.
    targets[1] = target("new", "n1", "10.2.0.11:80", &spec());
    assert_eq!(schedule.follow(&groups(&targets), 6, &mut events), []);
    assert_eq!(told(&mut events), ["new/n1 Up ok"]);
    assert_eq!(schedule.follow(&groups(&targets), 7, &mut events), []);
    assert_eq!(told(&mut events), [""; 0], "the same again is no news");

    let stopped = schedule.follow(&groups(&targets[3..]), 8, &mut events);
    assert_eq!(stopped.len(), 2);
    assert!(stopped.contains(&shared));
    schedule.finish(shared, &refused(), 9, &mut events);
    assert_eq!(told(&mut events), [""; 0], "a result that comes too late");
}

#[test]
fn a_place_that_is_used_again_is_another_check() {
    let (mut schedule, mut events) = (Schedule::new(7), vec![]);
    schedule.follow(&groups(&[target("web", "b1", "10.2.0.11:80", &spec())]), 0, &mut events);
    let (_, old) = next(&mut schedule);
    let moved = [target("web", "b1", "10.2.0.99:80", &spec())];
    assert_eq!(schedule.follow(&groups(&moved), 10, &mut events), [old.id]);
    schedule.finish(old.id, &Ok(()), 11, &mut events);
    assert_eq!(told(&mut events), [""; 0]);
    let (_, new) = next(&mut schedule);
    assert_eq!((new.id.place, new.socket), (old.id.place, moved[0].socket));
    assert_ne!(new.id, old.id);
}

#[test]
fn reasons_are_told_once() {
    let (mut schedule, mut events) = (Schedule::new(7), vec![]);
    let flapping = HealthCheckSpec { fall: 1, interval_ms: 1_000, ..spec() };
    schedule.follow(&groups(&[target("web", "b1", "10.2.0.11:80", &flapping)]), 0, &mut events);
    let not_tried = || Err(ProbeError::NotTried("no descriptor".to_string()));
    let rows = [
        (not_tried(), "web/b1 Unknown not tried: no descriptor"),
        (not_tried(), ""),
        (Ok(()), "web/b1 Up ok"),
        (Ok(()), ""),
        (refused(), "web/b1 Down refused"),
        (refused(), ""),
        (Ok(()), "web/b1 Up ok"),
        (refused(), "web/b1 Down refused"),
        (Ok(()), "web/b1 Down ok, but it flapped: has to be good for 2 s"),
        (Ok(()), ""),
    ];
    for (number, (result, wanted)) in rows.into_iter().enumerate() {
        let (at_ms, due) = next(&mut schedule);
        schedule.finish(due.id, &result, at_ms + 3, &mut events);
        assert_eq!(told(&mut events).join(", "), wanted, "try {number}");
    }
}

#[test]
fn intervals_vary_by_a_tenth_and_are_short_while_it_changes() {
    let (mut schedule, mut events) = (Schedule::new(7), vec![]);
    let spec = HealthCheckSpec { fast_interval_ms: Some(100), ..spec() };
    schedule.follow(&groups(&[target("web", "b1", "10.2.0.11:80", &spec)]), 0, &mut events);
    let (mut before_ms, due) = next(&mut schedule);
    assert!(before_ms < 100, "the first one while nothing is known");
    schedule.finish(due.id, &Ok(()), before_ms, &mut events);
    let mut passed = vec![];
    for result in (0..1_000).map(|number| if number % 10 == 9 { refused() } else { Ok(()) }) {
        let (at_ms, due) = next(&mut schedule);
        passed.push(at_ms - before_ms);
        before_ms = at_ms;
        schedule.finish(due.id, &result, at_ms + 7, &mut events);
    }
    let (fast, slow): (Vec<u64>, Vec<u64>) = passed.iter().partition(|&&ms| ms < 1_000);
    assert_eq!(fast.len(), 99, "one after each failure");
    assert!(fast.iter().all(|ms| (90..=110).contains(ms)), "{fast:?}");
    assert!(slow.iter().all(|ms| (1_800..=2_200).contains(ms)));
    assert!(slow.iter().any(|&ms| ms < 1_850) && slow.iter().any(|&ms| ms > 2_150));
}

#[test]
fn a_try_that_took_longer_than_the_interval_is_followed_by_one_at_once() {
    let (mut schedule, mut events) = (Schedule::new(7), vec![]);
    schedule.follow(&groups(&[target("web", "b1", "10.2.0.11:80", &spec())]), 0, &mut events);
    let (at_ms, due) = next(&mut schedule);
    assert!(schedule.begin(at_ms + 10_000).is_none(), "one at a time");
    schedule.finish(due.id, &Ok(()), at_ms + 10_000, &mut events);
    assert_eq!(schedule.next_ms(), Some(at_ms + 10_000));
}

#[test]
fn those_of_one_list_are_spread_over_the_interval() {
    let (mut schedule, mut events) = (Schedule::new(7), vec![]);
    let targets: Vec<ProbeTarget> = (0..1_000)
        .map(|number| target("web", &format!("b{number}"), &format!("10.2.0.1:{number}"), &spec()))
        .collect();
    schedule.follow(&groups(&targets), 500, &mut events);
    let times: Vec<u64> = (0..1_000).map(|_| next(&mut schedule).0).collect();
    assert!(times.is_sorted() && (500..2_500).contains(&times[999]));
    for from in (500..2_500).step_by(250) {
        let count = times.iter().filter(|&&ms| (from..from + 250).contains(&ms)).count();
        assert!((75..=175).contains(&count), "{count} of 1000 in an eighth");
    }
}
