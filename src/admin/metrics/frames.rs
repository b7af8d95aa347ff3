//! What became of frames: verdicts of all workers, each worker, each queue, the XDP programs.

use super::text::{Exposition, Kind, truth};
use crate::admin::{StatusReport, WorkerStatus};
use crate::io::QueueStatistics;

use Kind::{Counter, Gauge};

pub fn write(report: &StatusReport, all: &mut Exposition) {
    verdicts(report, all);
    workers(&report.workers, all);
    interfaces(report, all);
    queues(report, all);
}

fn verdicts(report: &StatusReport, all: &mut Exposition) {
    let counters = &report.counters;
    let rows = [
        ("guideway_frames_received_total", "Frames received.", counters.received),
        ("guideway_received_bytes_total", "Bytes of frames received.", counters.received_bytes),
        ("guideway_frames_forwarded_total", "Frames forwarded.", counters.forwarded),
        (
            "guideway_frames_not_ours_total",
            "Frames that the kernel should have had.",
            counters.not_ours,
        ),
        ("guideway_frames_announced_total", "Announcements sent.", counters.announced),
        (
            "guideway_frames_transmitted_total",
            "Frames that went into transmit rings.",
            counters.transmitted,
        ),
        (
            "guideway_frames_transmit_full_total",
            "Frames that found no place in a transmit ring.",
            counters.transmit_full,
        ),
    ];
    for (name, help, value) in rows {
        all.single(Counter, name, help, value);
    }
    let help = "Frames on their way from one worker to another.";
    all.single(Gauge, "guideway_frames_in_hand_over", help, counters.in_hand_over);
    let groups = [
        ("guideway_frames_replied_total", "Frames answered, by kind.", "kind", &counters.replied),
        (
            "guideway_frames_dropped_total",
            "Frames dropped, by reason.",
            "reason",
            &counters.dropped,
        ),
        ("guideway_events_total", "What happens beside verdicts.", "event", &counters.events),
    ];
    for (name, help, label, values) in groups {
        let mut family = all.family(Counter, name, help);
        values.iter().for_each(|(key, value)| family.sample(&[(label, key)], value));
    }
}

/// Name, help, and where the number stands.
type WorkerRow = (&'static str, &'static str, fn(&WorkerStatus) -> u64);

fn workers(workers: &[WorkerStatus], all: &mut Exposition) {
    const COUNTERS: &[WorkerRow] = &[
        ("guideway_worker_batches_total", "Batches with a frame.", |w| w.batches),
        ("guideway_worker_received_total", "Frames received.", |w| w.received),
        ("guideway_worker_received_bytes_total", "Their bytes.", |w| w.received_bytes),
        ("guideway_worker_forwarded_total", "Frames forwarded.", |w| w.forwarded),
        ("guideway_worker_dropped_total", "Frames dropped.", |w| w.dropped),
        (
            "guideway_worker_handed_over_total",
            "Packets given to the workers that own their flows.",
            |w| w.handed_over,
        ),
        ("guideway_worker_restarts_total", "Panics that were recovered from.", |w| w.restarts),
    ];
    const GAUGES: &[WorkerRow] = &[
        ("guideway_worker_flows", "Live flow entries.", |w| w.flows),
        ("guideway_worker_flows_limit", "Most flow entries.", |w| w.flows_limit),
        ("guideway_worker_generation", "Snapshot the worker runs.", |w| w.generation),
    ];
    for (kind, rows) in [(Counter, COUNTERS), (Gauge, GAUGES)] {
        for (name, help, value) in rows {
            let mut family = all.family(kind, name, help);
            for worker in workers {
                family.sample(&[("worker", &worker.worker.to_string())], value(worker));
            }
        }
    }
}

fn interfaces(report: &StatusReport, all: &mut Exposition) {
    let help = "1: administratively up and with carrier.";
    let mut family = all.family(Gauge, "guideway_interface_up", help);
    for interface in &report.interfaces {
        family.sample(&[("interface", &interface.name)], truth(interface.up));
    }
    let mut family = all.family(Gauge, "guideway_interface_mtu_bytes", "Largest IP packet.");
    for interface in &report.interfaces {
        family.sample(&[("interface", &interface.name)], interface.mtu_bytes);
    }
    let help = "Frames as the XDP programs decided.";
    let mut family = all.family(Counter, "guideway_xdp_frames_total", help);
    for interface in &report.interfaces {
        for (counter, value) in &interface.steer {
            family.sample(&[("interface", &interface.name), ("counter", counter)], value);
        }
    }
}

/// Name, help, and where the number stands.
type QueueRow = (&'static str, &'static str, fn(&QueueStatistics) -> u64);

const QUEUE_COUNTERS: &[QueueRow] = &[
    ("guideway_queue_received_total", "Frames received.", |q| q.received),
    ("guideway_queue_transmitted_total", "Frames handed to the transmit ring.", |q| q.transmitted),
    ("guideway_queue_transmit_full_total", "Frames that found no place in it.", |q| {
        q.transmit_full
    }),
    ("guideway_queue_rx_dropped_total", "Frames the kernel dropped for other reasons.", |q| {
        q.rx_dropped
    }),
    ("guideway_queue_rx_ring_full_total", "Frames dropped, the receive ring being full.", |q| {
        q.rx_ring_full
    }),
    ("guideway_queue_rx_fill_ring_empty_total", "Times the fill ring was empty.", |q| {
        q.rx_fill_ring_empty
    }),
    ("guideway_queue_invalid_descriptors_total", "Bad descriptors.", |q| q.invalid_descriptors),
];

fn queues(report: &StatusReport, all: &mut Exposition) {
    for (name, help, value) in QUEUE_COUNTERS {
        let mut family = all.family(Counter, name, help);
        for queue in report.interfaces.iter().flat_map(|interface| &interface.queues) {
            let number = queue.queue.to_string();
            family.sample(&[("interface", &queue.interface), ("queue", &number)], value(queue));
        }
    }
    let help = "1, with how frames reach the worker.";
    let mut family = all.family(Gauge, "guideway_queue_info", help);
    for queue in report.interfaces.iter().flat_map(|interface| &interface.queues) {
        let number = queue.queue.to_string();
        let labels =
            [("interface", &*queue.interface), ("queue", &*number), ("mode", &*queue.mode)];
        family.sample(&labels, 1);
    }
}
