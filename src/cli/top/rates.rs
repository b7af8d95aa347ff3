//! What happened between two reports, a second, and what it was before. Pure.

use std::collections::{BTreeMap, VecDeque};

use crate::admin::{BackendStatus, StatusReport, TrafficStatus};

/// Values kept for each line that is drawn.
const KEPT: usize = 240;

/// Packets and bits a second.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Rate {
    pub packets: f64,
    pub bits: f64,
}

impl Rate {
    fn of(packets: (u64, u64), bytes: (u64, u64), seconds: f64) -> Rate {
        let a_second = |(before, now): (u64, u64)| now.saturating_sub(before) as f64 / seconds;
        Rate { packets: a_second(packets), bits: 8.0 * a_second(bytes) }
    }

    fn plus(self, other: Rate) -> Rate {
        Rate { packets: self.packets + other.packets, bits: self.bits + other.bits }
    }
}

/// Of a service or backend.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Both {
    /// From clients.
    pub towards: Rate,
    /// From backends.
    pub back: Rate,
}

/// All there is to show, at the places of the newer report.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Rates {
    /// Frames received.
    pub total: Rate,
    /// Frames that were dropped.
    pub dropped_packets: f64,
    /// By service, and within it by backend.
    pub services: Vec<(Both, Vec<Both>)>,
    /// By worker.
    pub workers: Vec<Rate>,
    /// Name of a verdict, how often so far, and a second; only those there were. The busiest first.
    pub verdicts: Vec<(String, u64, f64)>,
}

impl Rates {
    /// Of another process there is no difference: all is zero.
    pub fn between(before: &StatusReport, now: &StatusReport) -> Rates {
        let ms = now.now_unix_ms.saturating_sub(before.now_unix_ms).max(1);
        let seconds = ms as f64 / 1000.0;
        let before = if before.pid == now.pid { before } else { now };
        let (old, new) = (&before.counters, &now.counters);
        let dropped = |report: &StatusReport| report.counters.dropped.values().sum::<u64>();
        Rates {
            total: Rate::of(
                (old.received, new.received),
                (old.received_bytes, new.received_bytes),
                seconds,
            ),
            dropped_packets: dropped(now).saturating_sub(dropped(before)) as f64 / seconds,
            services: services(before, now, seconds),
            workers: workers(before, now, seconds),
            verdicts: verdicts(before, now, seconds),
        }
    }
}

fn services(before: &StatusReport, now: &StatusReport, seconds: f64) -> Vec<(Both, Vec<Both>)> {
    let before: BTreeMap<(&str, &str), TrafficStatus> = before
        .services
        .iter()
        .flat_map(|service| service.backends.iter().map(move |backend| (service, backend)))
        .map(|(service, backend)| ((&*service.name, &*backend.name), backend.traffic))
        .collect();
    let service = |service: &crate::admin::ServiceStatus| {
        let backend = |backend: &BackendStatus| {
            let new = backend.traffic;
            let key = (&*service.name, &*backend.name);
            // One that is new has everything from now on.
            let old = before.get(&key).copied().unwrap_or(new);
            Both {
                towards: Rate::of(
                    (old.packets_in, new.packets_in),
                    (old.bytes_in, new.bytes_in),
                    seconds,
                ),
                back: Rate::of(
                    (old.packets_out, new.packets_out),
                    (old.bytes_out, new.bytes_out),
                    seconds,
                ),
            }
        };
        let backends: Vec<Both> = service.backends.iter().map(backend).collect();
        let all = backends.iter().fold(Both::default(), |sum, one| Both {
            towards: sum.towards.plus(one.towards),
            back: sum.back.plus(one.back),
        });
        (all, backends)
    };
    now.services.iter().map(service).collect()
}

fn workers(before: &StatusReport, now: &StatusReport, seconds: f64) -> Vec<Rate> {
    let pairs = now.workers.iter().map(|new| {
        let old = before.workers.iter().find(|old| old.worker == new.worker).unwrap_or(new);
        let packets = (old.received, new.received);
        Rate::of(packets, (old.received_bytes, new.received_bytes), seconds)
    });
    pairs.collect()
}

fn verdicts(before: &StatusReport, now: &StatusReport, seconds: f64) -> Vec<(String, u64, f64)> {
    let all = |report: &StatusReport| -> BTreeMap<String, u64> {
        let counters = &report.counters;
        let single = [
            ("forward".to_owned(), counters.forwarded),
            ("not ours".to_owned(), counters.not_ours),
        ];
        let replies =
            counters.replied.iter().map(|(kind, count)| (format!("reply {kind}"), *count));
        let drops = counters.dropped.iter().map(|(why, count)| (format!("drop {why}"), *count));
        single.into_iter().chain(replies).chain(drops).collect()
    };
    let before = all(before);
    let there = all(now).into_iter().filter(|(_, count)| *count > 0);
    let mut found: Vec<_> = there
        .map(|(name, count)| {
            let old = before.get(&name).copied().unwrap_or(0);
            (name, count, count.saturating_sub(old) as f64 / seconds)
        })
        .collect();
    // By rate, and by name where nothing happens, so that rows do not jump.
    found.sort_by(|a, b| b.2.total_cmp(&a.2).then_with(|| a.0.cmp(&b.0)));
    found
}

/// Packets a second of some time, for the lines that are drawn.
#[derive(Clone, Debug, Default)]
pub struct History {
    pub total: VecDeque<u64>,
    pub dropped: VecDeque<u64>,
    services: BTreeMap<String, VecDeque<u64>>,
}

impl History {
    /// One more moment.
    pub fn add(&mut self, report: &StatusReport, rates: &Rates) {
        push(&mut self.total, rates.total.packets);
        push(&mut self.dropped, rates.dropped_packets);
        self.services.retain(|name, _| report.services.iter().any(|there| there.name == *name));
        for (service, (both, _)) in report.services.iter().zip(&rates.services) {
            let line = self.services.entry(service.name.clone()).or_default();
            push(line, both.towards.packets);
        }
    }

    /// A service's; empty when there is none.
    pub fn of_service(&self, name: &str) -> Vec<u64> {
        self.services.get(name).into_iter().flatten().copied().collect()
    }
}

fn push(line: &mut VecDeque<u64>, value: f64) {
    if line.len() == KEPT {
        line.pop_front();
    }
    line.push_back(value.round() as u64);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::sample_report;

    #[test]
    fn differences_a_second() {
        let before = sample_report();
        let mut now = before.clone();
        now.now_unix_ms += 2000;
        now.counters.received += 1000;
        now.counters.received_bytes += 100_000;
        now.counters.forwarded += 900;
        *now.counters.dropped.get_mut("no_service").unwrap() += 100;
        now.workers[1].received += 1000;
        now.services[0].backends[0].traffic.packets_in += 500;
        now.services[0].backends[1].traffic.bytes_out += 250;
        let rates = Rates::between(&before, &now);
        assert_eq!(rates.total, Rate { packets: 500.0, bits: 400_000.0 });
        assert_eq!(rates.dropped_packets, 50.0);
        assert_eq!(rates.workers[0], Rate::default());
        assert_eq!(rates.workers[1].packets, 500.0);
        let (all, backends) = &rates.services[0];
        assert_eq!((all.towards.packets, all.back.bits), (250.0, 1000.0));
        assert_eq!((backends[0].towards.packets, backends[1].towards.packets), (250.0, 0.0));
        let names: Vec<_> = rates.verdicts.iter().map(|(name, ..)| name.as_str()).collect();
        assert_eq!(names, ["forward", "drop no_service", "reply arp"], "busiest first");
        assert_eq!(rates.verdicts[0].1, 4860);
    }

    #[test]
    fn another_process_and_new_backends_begin_at_zero() {
        let mut before = sample_report();
        let mut now = before.clone();
        now.now_unix_ms += 1000;
        before.services[0].backends.remove(0);
        before.counters.received = 0;
        assert_eq!(Rates::between(&before, &now).services[0].0, Both::default());
        assert_eq!(Rates::between(&before, &now).total.packets, 4000.0);
        now.pid += 1;
        assert_eq!(Rates::between(&before, &now).total, Rate::default());
        // The same moment twice, or a clock that was set back: no division by zero.
        now.now_unix_ms = before.now_unix_ms - 5;
        assert!(Rates::between(&before, &now).total.packets.is_finite());
    }

    #[test]
    fn history_is_bounded_and_forgets_services_that_are_gone() {
        let mut report = sample_report();
        let rates = Rates::between(&report, &report);
        let mut history = History::default();
        (0..KEPT + 10).for_each(|_| history.add(&report, &rates));
        assert_eq!((history.total.len(), history.of_service("web").len()), (KEPT, KEPT));
        report.services.clear();
        history.add(&report, &Rates::between(&report, &report));
        assert!(history.of_service("web").is_empty());
    }
}
