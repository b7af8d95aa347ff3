//! `docs/reference/verdicts.md` from names and meanings in the code.

use std::fmt::Write;

use guideway::dataplane::{DropReason, EventCounters, ReplyKind};

use super::advice;

const STEER_HEADER: &str = include_str!("../../bpf/steer.h");

const HEAD: &str = "\
<!-- Made from the code; to change it, change the code or tests/docs/advice.rs, then run
     GUIDEWAY_WRITE_DOCS=1 cargo test --no-default-features --test docs -->
# Verdicts, events and counters

Every frame a worker takes gets exactly one verdict: forwarded, replied (by kind), dropped (by
reason), or not ours. `guideway status` shows those that happened, `--counters all` every one, and
`--output json` has them under `counters`. Two sums hold at any moment between two batches, and
status says so where they do not:

- received = forwarded + replied + dropped + not ours + what waits between two workers, or as a
  fragment for the first one of its packet
- forwarded + replied + announced = transmitted + `transmit_full`

`not ours` should stay 0: the XDP program took a frame that the engine would have left to the
kernel. It happens for a moment when a VIP leaves, and when an interface gets another MAC.
";

const QUEUES: &str = "\
## What no verdict sees: the sockets

By interface and queue, in the first table of `guideway status`. They are the kernel's
(`XDP_STATISTICS`), but for the first three.

| column | JSON | meaning | what to do |
| --- | --- | --- | --- |
| RECEIVED | `received` | Frames taken from the receive ring. | Nothing. |
| SENT | `transmitted` | Frames put into the transmit ring. | Nothing. |
| TX FULL | `transmit_full` | Frames with a verdict to be sent that found the transmit ring \
full: lost. | The interface is slower than what comes in, or down. Raise \
`limits.frames_per_queue`, or use a faster one. |
| DROPPED | `rx_dropped` | Frames the kernel dropped at the socket for another reason than a \
full ring. | Frames longer than `limits.frame_bytes` holds, say. |
| RING FULL | `rx_ring_full` | Frames lost since the worker did not empty its receive ring in \
time. | The worker has no time: give it its own core, use more queues and workers, or raise \
`limits.frames_per_queue`. |
| NO FILL | `rx_fill_ring_empty` | Times the kernel had no free frame to receive into. | As \
for RING FULL. |
| INVALID | `invalid_descriptors` | Descriptors the kernel refused. | A bug of ours: report \
it. |
";

/// The whole page.
pub fn verdicts() -> String {
    let mut page = String::from(HEAD);
    let rows =
        ReplyKind::ALL.iter().map(|&kind| (kind.name(), kind.meaning(), advice::reply(kind)));
    table(&mut page, "Replied: answers made in the data path", "kind", rows);
    let rows = DropReason::ALL.iter();
    let rows = rows.map(|&reason| (reason.name(), reason.meaning(), advice::dropped(reason)));
    table(&mut page, "Dropped, and why", "reason", rows);
    let rows = EventCounters::NAMES.iter().zip(EventCounters::MEANINGS);
    let rows = rows.map(|(&name, meaning)| (name, meaning, advice::event(name)));
    table(&mut page, "Events: what happens besides the verdict", "event", rows);
    let steer = steer_counters();
    let rows = steer.iter().map(|(name, meaning)| (&name[..], &meaning[..], advice::steer(name)));
    table(&mut page, "What no verdict sees: the XDP program", "counter", rows);
    page.push_str(
        "\nEach frame that reaches an interface of ours is in exactly one of them. They go on over \
         a crash\nand the next start; a clean stop ends them.\n\n",
    );
    page.push_str(QUEUES);
    page
}

/// Everything the tables say under "what to do".
pub fn all_advice() -> Vec<&'static str> {
    let replies = ReplyKind::ALL.iter().map(|&kind| advice::reply(kind));
    let drops = DropReason::ALL.iter().map(|&reason| advice::dropped(reason));
    let events = EventCounters::NAMES.iter().map(|name| advice::event(name));
    let steer = steer_counters();
    let steer = steer.iter().map(|(name, _)| advice::steer(name));
    replies.chain(drops).chain(events).chain(steer).collect()
}

fn table<'a>(
    page: &mut String,
    title: &str,
    first: &str,
    rows: impl Iterator<Item = (&'a str, &'a str, &'a str)>,
) {
    // Writing into a String cannot fail.
    let _ =
        write!(page, "\n## {title}\n\n| {first} | meaning | what to do |\n| --- | --- | --- |\n");
    for (name, meaning, advice) in rows {
        let meaning = meaning.split_whitespace().collect::<Vec<_>>().join(" ");
        let _ = writeln!(page, "| `{name}` | {meaning} | {advice} |");
    }
}

/// Name and comment of each of the program's counters, as its header has them. A unit test of the
/// library holds the names against those in status.
fn steer_counters() -> Vec<(String, String)> {
    let (_, counters) = STEER_HEADER.split_once("enum steer_counter {").unwrap();
    let (counters, _) = counters.split_once("STEER_COUNTERS").unwrap();
    let row = |line: &str| {
        let (name, comment) = line.trim().strip_prefix("STEER_")?.split_once(',')?;
        let name = match name {
            "NO_WORKER" => "steer_no_worker".to_string(),
            name => name.to_lowercase(),
        };
        let comment = comment.trim().trim_start_matches("/*").trim_end_matches("*/").trim();
        let mut letters = comment.chars();
        let first = letters.next()?.to_uppercase();
        Some((name, format!("{first}{}.", letters.as_str())))
    };
    counters.lines().filter_map(row).collect()
}
