//! A report as aligned tables.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::SocketAddr;

use comfy_table::Cell;

use super::CounterChoice;
use crate::admin::{
    BackendStatus, ClusterStatus, FeedStatus, FlowRecordsStatus, HealthStatus, NextHopStatus,
    ServiceState, ServiceStatus, StatusReport,
};
use crate::cli::drain;
use crate::cli::table::{Aligned, bad, doubtful, good, plain};
use crate::control::Health;
use crate::forwarding::BackendState;

/// The whole report.
pub fn tables(report: &StatusReport, choice: CounterChoice, coloured: bool) -> String {
    let sections = [
        head(report),
        interfaces(report, coloured),
        workers(report, coloured),
        snat(report, coloured),
        services(report, coloured),
        backends(report, coloured),
        drain::table(&report.drains, report.now_unix_ms, coloured),
        traffic(report, coloured),
        verdicts(report, choice, coloured),
        steer(report, choice, coloured),
    ];
    sections.into_iter().filter(|section| !section.is_empty()).collect::<Vec<_>>().join("\n")
}

fn head(report: &StatusReport) -> String {
    let ago = |then| age(report.now_unix_ms, then);
    let (config, generation) = (&report.configuration, report.generation);
    let mut text = String::new();
    let mut line = |name: &str, value: String| {
        // Writing into a String cannot fail.
        let _ = writeln!(text, "{name:<14} {value}");
    };
    line(
        "guideway",
        format!("{}, pid {}, up {}", report.version, report.pid, ago(report.started_unix_ms)),
    );
    line("configuration", format!("{}, read {} ago", config.file, ago(config.loaded_unix_ms)));
    if let Some(refused) = &config.refused {
        line("", format!("a later form was REFUSED {} ago:", ago(refused.at_unix_ms)));
        refused.error.lines().for_each(|part| line("", format!("  {part}")));
    }
    let behind = if generation.acknowledged == generation.published {
        "in use by all workers".to_string()
    } else {
        format!("all workers have {}", generation.acknowledged)
    };
    line("generation", format!("{}, {behind}", generation.published));
    line("cluster key", format!("fingerprint {}", report.cluster_key_fingerprint));
    if let Some(records) = &report.flow_records {
        let FlowRecordsStatus { written, sent, lost } = records;
        line("flow records", format!("{written} written, {sent} sent, {lost} LOST"));
    }
    report.feeds.iter().for_each(|feed| feed_lines(feed, &mut line, ago));
    report.clusters.iter().for_each(|cluster| cluster_lines(cluster, &mut line, ago));
    text
}

/// A feed: whether there is a connection, how old its state is, and what is wrong.
fn feed_lines(feed: &FeedStatus, line: &mut impl FnMut(&str, String), ago: impl Fn(u64) -> String) {
    let state = match feed.connected_unix_ms {
        Some(since) => format!("connected for {}", ago(since)),
        None => "NOT CONNECTED".to_string(),
    };
    let taken = match feed.taken_unix_ms {
        Some(then) => {
            format!("{} services of revision {}, {} old", feed.services, feed.revision, ago(then))
        }
        None => "nothing was ever taken".to_string(),
    };
    line("feed", format!("{} ({}), {state}, {taken}", feed.name, feed.url));
    let problem = feed.problem.iter().map(|why| format!("  {why}"));
    let refused = feed.refused.iter().map(|why| format!("  refused: {why}"));
    problem.chain(refused).for_each(|text| line("", text));
}

/// A cluster: whether it is known, how old its last change is, and what is wrong.
fn cluster_lines(
    cluster: &ClusterStatus,
    line: &mut impl FnMut(&str, String),
    ago: impl Fn(u64) -> String,
) {
    let state = match cluster.known_unix_ms {
        Some(since) => format!("known for {}", ago(since)),
        None => "NOT KNOWN YET".to_string(),
    };
    let taken = match cluster.taken_unix_ms {
        Some(then) => format!("last change {} ago", ago(then)),
        None => "nothing was ever taken".to_string(),
    };
    let ClusterStatus { ours, services, .. } = cluster;
    let leads = if cluster.leads { ", writes" } else { "" };
    let what = format!("{ours} Services as {services}");
    line("kubernetes", format!("{}, {state}, {what}, {taken}{leads}", cluster.name));
    let problems = cluster.problems.iter().map(|why| format!("  {why}"));
    let refused = cluster.refused.iter().map(|why| format!("  refused: {why}"));
    problems.chain(refused).for_each(|text| line("", text));
}

fn interfaces(report: &StatusReport, coloured: bool) -> String {
    let mut table = Aligned::new(
        coloured,
        "INTERFACE|MAC|#MTU|LINK|#QUEUE|MODE|#RECEIVED|#SENT|#TX FULL|#DROPPED|#RING FULL|#NO FILL|\
         #INVALID",
    );
    for interface in &report.interfaces {
        let name = match &interface.bridge {
            Some(bridge) => format!("{} ({bridge})", interface.name),
            None => interface.name.clone(),
        };
        let link = if interface.up { good("up") } else { bad("down") };
        let about = [plain(name), plain(&interface.mac), plain(interface.mtu_bytes), link];
        for queue in &interface.queues {
            let counts = [
                queue.received,
                queue.transmitted,
                queue.transmit_full,
                queue.rx_dropped,
                queue.rx_ring_full,
                queue.rx_fill_ring_empty,
                queue.invalid_descriptors,
            ];
            let queue = [plain(queue.queue), plain(&queue.mode)];
            table.row(about.clone().into_iter().chain(queue).chain(counts.map(plain)));
        }
        if interface.queues.is_empty() {
            table.row(about);
        }
    }
    table.text()
}

fn workers(report: &StatusReport, coloured: bool) -> String {
    let header = "#WORKER|#CORE|IDLE|#GENERATION|#BATCHES|#FLOWS|#LIMIT|#HANDED OVER|#RESTARTS";
    let mut table = Aligned::new(coloured, header);
    for worker in &report.workers {
        let core = worker.core.map_or_else(|| "-".to_string(), |core| core.to_string());
        table.row([
            plain(worker.worker),
            plain(core),
            plain(format!("{:?}", worker.idle).to_lowercase()),
            plain(worker.generation),
            plain(worker.batches),
            plain(worker.flows),
            plain(worker.flows_limit),
            plain(worker.handed_over),
            if worker.restarts == 0 { plain(0) } else { bad(worker.restarts) },
        ]);
    }
    table.text()
}

fn snat(report: &StatusReport, coloured: bool) -> String {
    let mut table = Aligned::new(coloured, "SNAT ADDRESS|PORTS|TOWARDS|#IN USE");
    for snat in &report.snat {
        let shared = if snat.shared_address { " (shared)" } else { "" };
        table.row([
            plain(format!("{}{shared}", snat.address)),
            plain(format!("{}-{}", snat.first_port, snat.last_port)),
            plain(snat.interface.as_deref().unwrap_or("all")),
            plain(snat.in_use.map_or_else(|| "-".to_string(), |count| count.to_string())),
        ]);
    }
    table.text()
}

/// A row a service.
pub fn services(report: &StatusReport, coloured: bool) -> String {
    let mut table = Aligned::new(coloured, "SERVICE|VIP|MODE|STATE|#SLOTS|#BACKENDS|#FLOWS");
    for service in &report.services {
        table.row([
            plain(&service.name),
            plain(format!("{} {}", service.protocol, ports(service.vip, service.last_port))),
            plain(&service.mode),
            match service.state {
                ServiceState::Serving => good("serving"),
                ServiceState::NoBackend => bad("no backend"),
                ServiceState::Removed => doubtful("removed"),
            },
            plain(service.table_size),
            plain(service.backends.len()),
            plain(service.flows),
        ]);
    }
    table.text()
}

/// A row a backend: what it may get, and its way.
pub fn backends(report: &StatusReport, coloured: bool) -> String {
    let mut table = Aligned::new(
        coloured,
        "BACKEND|ADDRESS|#WEIGHT|STATE|HEALTH|#SINCE|#SHARE|#PROMISED|#FLOWS|NEXT HOP|LAST CHECK",
    );
    let row = |service: &ServiceStatus, backend: &BackendStatus| {
        let (health, since, check) = health_cells(report.now_unix_ms, backend.health.as_ref());
        [
            plain(format!("{}/{}", service.name, backend.name)),
            plain(ports(backend.socket, backend.last_port)),
            plain(backend.weight),
            match backend.state {
                BackendState::Active => good("active"),
                BackendState::Draining => doubtful("draining"),
                BackendState::Unhealthy => bad("unhealthy"),
                BackendState::Standby => plain("standby"),
                BackendState::Retired => doubtful("retired"),
            },
            health,
            since,
            plain(percent(backend.share)),
            plain(percent(backend.promised_share)),
            plain(backend.flows),
            match &backend.next_hop {
                NextHopStatus::Known { interface, mac } => plain(format!("{mac} {interface}")),
                NextHopStatus::Missing(reason) => bad(reason),
            },
            check,
        ]
    };
    for service in &report.services {
        service.backends.iter().for_each(|backend| table.row(row(service, backend)));
    }
    table.text()
}

/// A socket with all of its ports.
fn ports(socket: SocketAddr, last: Option<u16>) -> String {
    last.map_or_else(|| socket.to_string(), |last| format!("{socket}-{last}"))
}

/// A row a backend: what went to it and came from it.
pub fn traffic(report: &StatusReport, coloured: bool) -> String {
    let mut table = Aligned::new(
        coloured,
        "TRAFFIC OF|#PACKETS IN|#BYTES IN|#PACKETS OUT|#BYTES OUT|#PATH MTU",
    );
    for service in &report.services {
        for BackendStatus { name, traffic, path_mtu_bytes, .. } in &service.backends {
            let path_mtu = path_mtu_bytes.map_or_else(|| plain("-"), doubtful);
            table.row([
                plain(format!("{}/{name}", service.name)),
                plain(traffic.packets_in),
                plain(traffic.bytes_in),
                plain(traffic.packets_out),
                plain(traffic.bytes_out),
                path_mtu,
            ]);
        }
    }
    table.text()
}

fn health_cells(now_unix_ms: u64, status: Option<&HealthStatus>) -> (Cell, Cell, Cell) {
    let Some(status) = status else { return (plain("-"), plain("-"), plain("-")) };
    let health = match status.health {
        Health::Unknown => doubtful("unknown"),
        Health::Up => good("up"),
        Health::Down => bad("down"),
    };
    // What is as it should be needs no time beside it.
    let check = match status.reason.as_str() {
        "ok" => plain("ok"),
        reason => plain(format!("{reason}, for {}", age(now_unix_ms, status.reason_since_unix_ms))),
    };
    (health, plain(age(now_unix_ms, status.since_unix_ms)), check)
}

fn verdicts(report: &StatusReport, choice: CounterChoice, coloured: bool) -> String {
    let counters = &report.counters;
    let mut table = Aligned::new(coloured, "VERDICT|REASON|#FRAMES");
    table.row([plain("forwarded"), plain(""), plain(counters.forwarded)]);
    for (verdict, counts) in [
        ("replied", &counters.replied),
        ("dropped", &counters.dropped),
        ("event", &counters.events),
    ] {
        for (name, count) in chosen(counts, choice) {
            table.row([plain(verdict), plain(name), plain(count)]);
        }
        if verdict == "dropped" {
            table.row([plain("not ours"), plain(""), plain(counters.not_ours)]);
        }
    }
    let mut text = table.text();
    let mark = |agrees| if agrees { "" } else { "  (counted while running: apart by a batch)" };
    let _ = writeln!(
        text,
        "\nreceived {} = verdicts {} + between workers {}{}",
        counters.received,
        counters.verdicts(),
        counters.in_hand_over,
        mark(counters.receive_balances())
    );
    let _ = writeln!(
        text,
        "forwarded + replied + announced {} = transmitted {} + transmit_full {}{}",
        counters.to_send(),
        counters.transmitted,
        counters.transmit_full,
        mark(counters.transmit_balances())
    );
    text
}

fn steer(report: &StatusReport, choice: CounterChoice, coloured: bool) -> String {
    let mut table = Aligned::new(coloured, "XDP PROGRAM|COUNTER|#FRAMES");
    for interface in &report.interfaces {
        for (name, count) in chosen(&interface.steer, choice) {
            table.row([plain(&interface.name), plain(name), plain(count)]);
        }
    }
    table.text()
}

fn chosen(
    counts: &BTreeMap<String, u64>,
    choice: CounterChoice,
) -> impl Iterator<Item = (&String, &u64)> {
    counts.iter().filter(move |&(_, &count)| choice == CounterChoice::All || count > 0)
}

fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

/// The time between, in its two largest units.
pub fn age(now_unix_ms: u64, then_unix_ms: u64) -> String {
    let seconds = now_unix_ms.saturating_sub(then_unix_ms) / 1000;
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{minutes} m {} s", seconds % 60),
        3600..86_400 => format!("{hours} h {} m", minutes % 60),
        _ => format!("{days} d {} h", hours % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::sample_report;

    #[test]
    fn sample_report_looks_like_this() {
        insta::assert_snapshot!(tables(&sample_report(), CounterChoice::Nonzero, false));
    }

    #[test]
    fn all_counters_and_colours_when_asked() {
        let report = sample_report();
        let few = tables(&report, CounterChoice::Nonzero, false);
        let all = tables(&report, CounterChoice::All, false);
        assert!(!few.contains("snat_ports_exhausted") && all.contains("snat_ports_exhausted"));
        assert!(!few.contains('\u{1b}'));
        assert!(tables(&report, CounterChoice::Nonzero, true).contains('\u{1b}'));
    }

    #[test]
    fn ages_by_row() {
        let rows =
            [(0, "0 s"), (59, "59 s"), (192, "3 m 12 s"), (7_440, "2 h 4 m"), (90_000, "1 d 1 h")];
        for (seconds, wanted) in rows {
            assert_eq!(age(seconds * 1000 + 5, 5), wanted);
        }
        assert_eq!(age(5, 10), "0 s", "a clock that was set back");
    }
}
