//! A replay's report as an aligned table, and as JSON.

use std::fmt::Write;
use std::path::Path;

use comfy_table::{CellAlignment, Table, presets};
use serde_json::{Map, Value, json};

use super::CounterChoice;
use crate::dataplane::{Counters, DropReason, EventCounters, ReplyKind};
use crate::runtime::replay::ReplayReport;

/// Verdicts by kind and reason, with totals; then events and the frames' way out.
pub fn table(report: &ReplayReport, choice: CounterChoice) -> String {
    let mut text = String::new();
    let counters = &report.counters;
    let mut verdicts = aligned(["VERDICT", "WHY", "FRAMES"]);
    for (verdict, why, count) in rows(counters) {
        if count > 0 || choice == CounterChoice::All {
            verdicts.add_row([verdict, why, &count.to_string()]);
        }
    }
    verdicts.add_row(["total", "", &counters.verdicts().to_string()]);
    push(&mut text, &verdicts);

    let events = EventCounters::NAMES.iter().zip(counters.events.values());
    let way_out = [("transmitted", transmitted(report)), ("transmit_full", transmit_full(report))];
    let mut others = aligned(["EVENT", "", "COUNT"]);
    let mut count = 0;
    for (name, value) in events.map(|(name, value)| (*name, value)).chain(way_out) {
        if value > 0 || choice == CounterChoice::All {
            others.add_row([name, "", &value.to_string()]);
            count += 1;
        }
    }
    if count > 0 {
        text.push('\n');
        push(&mut text, &others);
    }
    let flows = if report.live_flows == 1 { "flow lives" } else { "flows live" };
    let generations = report.publications.len();
    let snapshots = if generations == 1 { "snapshot" } else { "snapshots" };
    // Writing into a String cannot fail.
    let _ = writeln!(
        text,
        "\n{} bytes in {} s; {generations} {snapshots}; {} {flows} at the end",
        counters.received_bytes,
        report.span_ms as f64 / 1000.0,
        report.live_flows,
    );
    text
}

/// Everything, for programs. Keys are sorted, so that equal reports are equal texts.
pub fn value(report: &ReplayReport, files: &[&Path]) -> Value {
    let counters = &report.counters;
    let replied = ReplyKind::ALL.iter().map(|kind| kind.name()).zip(counters.replied);
    let dropped = DropReason::ALL.iter().map(|reason| reason.name()).zip(counters.dropped);
    let events = EventCounters::NAMES.into_iter().zip(counters.events.values());
    let file = |chapter: usize| files.get(chapter).map(|file| file.display().to_string());
    let publications: Vec<Value> = report
        .publications
        .iter()
        .map(|publication| {
            let notes: Vec<String> = publication.notes.iter().map(ToString::to_string).collect();
            json!({
                "at_ms": publication.at_ms,
                "generation": publication.generation,
                "file": file(publication.chapter),
                "notes": notes,
            })
        })
        .collect();
    let unused: Vec<_> = report.unused_chapters.iter().map(|&chapter| file(chapter)).collect();
    json!({
        "received": counters.received,
        "received_bytes": counters.received_bytes,
        "truncated_records": report.truncated,
        "span_ms": report.span_ms,
        "verdicts": {
            "total": counters.verdicts(),
            "forward": counters.forwarded,
            "not_ours": counters.not_ours,
            "reply": object(replied),
            "drop": object(dropped),
        },
        "events": object(events),
        "transmitted": transmitted(report),
        "transmit_full": transmit_full(report),
        "live_flows": report.live_flows,
        "snapshots": publications,
        "unused": unused,
    })
}

/// Verdict, reason and count of each, in the order of the code.
fn rows(counters: &Counters) -> Vec<(&'static str, &'static str, u64)> {
    let mut rows = vec![("forward", "", counters.forwarded)];
    rows.extend(ReplyKind::ALL.iter().zip(counters.replied).map(|(k, n)| ("reply", k.name(), n)));
    rows.extend(DropReason::ALL.iter().zip(counters.dropped).map(|(r, n)| ("drop", r.name(), n)));
    rows.push(("not_ours", "", counters.not_ours));
    rows
}

fn object(counts: impl Iterator<Item = (&'static str, u64)>) -> Map<String, Value> {
    counts.map(|(name, count)| (name.to_string(), count.into())).collect()
}

fn transmitted(report: &ReplayReport) -> u64 {
    report.device.queues.iter().map(|queue| queue.transmitted).sum()
}

fn transmit_full(report: &ReplayReport) -> u64 {
    report.device.queues.iter().map(|queue| queue.transmit_full).sum()
}

fn aligned(header: [&str; 3]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(header);
    if let Some(counts) = table.column_mut(2) {
        counts.set_cell_alignment(CellAlignment::Right);
    }
    table
}

fn push(text: &mut String, table: &Table) {
    for line in table.lines() {
        text.push_str(line.trim_end());
        text.push('\n');
    }
}
