//! A running Guideway, by what its status says.

use super::facts::Facts;
use super::finding::Finding;
use super::network::shortened;
use crate::admin::{NextHopStatus, ServiceState, StatusReport};

/// Looks at all of it; at nothing where none runs.
pub fn look(facts: &Facts) -> Vec<Finding> {
    let Some(report) = &facts.running else {
        return vec![Finding::ok("running", "", "no Guideway answers on the admin socket")];
    };
    let mut findings = vec![Finding::ok(
        "running",
        "",
        format!("{}, pid {}, {}", report.version, report.pid, report.configuration.file),
    )];
    findings.extend(configuration(report));
    findings.extend(generation(report));
    findings.extend(queues(report));
    findings.extend(restarts(report));
    findings.extend(services(report));
    findings.push(next_hops(report));
    findings
}

fn configuration(report: &StatusReport) -> Option<Finding> {
    let refused = report.configuration.refused.as_ref()?;
    let first = refused.error.lines().next().unwrap_or_default();
    let advice = "`guideway status` has all of it; what runs is the form before";
    Some(Finding::fail("reload", "", format!("refused: {first}"), advice))
}

fn generation(report: &StatusReport) -> Option<Finding> {
    let generation = report.generation;
    (generation.acknowledged < generation.published).then(|| {
        Finding::warn(
            "generation",
            "",
            format!("workers have {} of {}", generation.acknowledged, generation.published),
            "again in a second: a worker that stays behind is stuck, and the log says which",
        )
    })
}

/// The mode that each queue got, and what was lost in it.
fn queues(report: &StatusReport) -> Vec<Finding> {
    let mut findings = Vec::new();
    for interface in &report.interfaces {
        if !interface.up {
            let advice = format!("`ip link show {}`: no carrier, or set down", interface.name);
            findings.push(Finding::fail("link", &interface.name, "down", advice));
        }
        for queue in &interface.queues {
            let of = format!("{} queue {}", interface.name, queue.queue);
            let mode = queue.mode.clone();
            findings.push(if mode.starts_with("generic") {
                let advice = "an interface whose driver has XDP of its own; the log says why not";
                Finding::warn("xdp", &of, mode, advice)
            } else if mode.contains("packet socket") {
                let advice = "as many workers as the interface has queues, or more queues";
                Finding::warn("xdp", &of, mode, advice)
            } else {
                Finding::ok("xdp", &of, mode)
            });
            let lost = queue.rx_ring_full + queue.rx_fill_ring_empty;
            if lost > 0 {
                findings.push(Finding::warn(
                    "lost",
                    &of,
                    format!("{lost} frames found no place since the start"),
                    "more `limits.frames_per_queue`, or more workers",
                ));
            }
        }
    }
    findings
}

fn restarts(report: &StatusReport) -> Option<Finding> {
    let restarts: u64 = report.workers.iter().map(|worker| worker.restarts).sum();
    (restarts > 0).then(|| {
        let advice = "a bug of ours: please report it with the log";
        Finding::warn("restarts", "", format!("workers have panicked {restarts} times"), advice)
    })
}

fn services(report: &StatusReport) -> Option<Finding> {
    let without = report.services.iter().filter(|s| s.state == ServiceState::NoBackend);
    let names: Vec<&str> = without.map(|service| service.name.as_str()).collect();
    (!names.is_empty()).then(|| {
        let advice = "`guideway services NAME` says of each backend why not";
        Finding::fail("services", &shortened(names.into_iter()), "no usable backend", advice)
    })
}

fn next_hops(report: &StatusReport) -> Finding {
    let backends = report.services.iter().flat_map(|service| {
        service
            .backends
            .iter()
            .map(|backend| (format!("{}/{}", service.name, backend.name), backend))
    });
    let (mut names, mut first, mut count) = (Vec::new(), None, 0);
    for (name, backend) in backends {
        count += 1;
        if let NextHopStatus::Missing(why) = &backend.next_hop {
            names.push(name);
            first = first.or(Some(why));
        }
    }
    match first {
        None => Finding::ok("next_hops", "", format!("known for all {count} backends")),
        Some(why) => Finding::fail(
            "next_hops",
            &shortened(names.iter().map(String::as_str)),
            why.clone(),
            "`ping` and `ip route get ADDRESS` say whether there is a way; what goes there is \
             dropped as `no_next_hop`",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::State::{self, Fail, Ok, Warn};
    use super::super::testing::{facts, told};
    use super::*;
    use crate::admin::{GenerationStatus, sample_report};

    type Row = (&'static str, &'static str, fn(&mut StatusReport), State, &'static str);

    /// The sample report with all that is wrong in it put right.
    fn sound() -> StatusReport {
        let mut report = sample_report();
        report.configuration.refused = None;
        report.generation = GenerationStatus { published: 8, acknowledged: 8 };
        report.interfaces.iter_mut().for_each(|interface| interface.up = true);
        report.workers.iter_mut().for_each(|worker| worker.restarts = 0);
        let backends = &mut report.services[0].backends;
        backends[1].next_hop = backends[0].next_hop.clone();
        report
    }

    const ROWS: &[Row] = &[
        ("as it should be", "running", |_| {}, Ok, "0.1.0, pid 4242"),
        ("native", "xdp", |_| {}, Ok, "native copy"),
        (
            "generic",
            "xdp",
            |r| r.interfaces[0].queues[1].mode = "generic copy".into(),
            Warn,
            "generic",
        ),
        ("lost", "lost", |r| r.interfaces[0].queues[0].rx_ring_full = 7, Warn, "7 frames"),
        ("down", "link", |r| r.interfaces[1].up = false, Fail, "down"),
        (
            "refused",
            "reload",
            |r| r.configuration.refused = sample_report().configuration.refused,
            Fail,
            "unknown key",
        ),
        ("behind", "generation", |r| r.generation.acknowledged = 7, Warn, "7 of 8"),
        ("panics", "restarts", |r| r.workers[0].restarts = 2, Warn, "2 times"),
        (
            "nobody serves",
            "services",
            |r| r.services[0].state = ServiceState::NoBackend,
            Fail,
            "no usable backend",
        ),
        (
            "no way",
            "next_hops",
            |r| r.services[0].backends[1].next_hop = NextHopStatus::Missing("no route".into()),
            Fail,
            "no route",
        ),
    ];

    #[test]
    fn faults_by_row() {
        for (description, check, change, state, found) in ROWS {
            let mut report = sound();
            change(&mut report);
            let facts = Facts { running: Some(report), ..facts() };
            told(description, &look(&facts), check, *state, found);
        }
        let of_none = look(&facts());
        told("none runs", &of_none, "running", Ok, "no Guideway answers");
        assert_eq!(of_none.len(), 1);
    }
}
