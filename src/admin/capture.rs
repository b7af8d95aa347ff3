//! Copies of frames, as they are asked for and shown.

use std::time::{Duration, Instant};

use futures::channel::mpsc;
use tonic::Status;

use super::flows::{AskError, network, no};
use super::inspect::DataPlane;
use super::proto::{CaptureRequest, CaptureResponse, CapturedFrame};
use crate::dataplane::{Arrival, TapCopy, TapFilter, TapPoint, Verdict, VerdictSet};
use crate::forwarding::Snapshot;

/// Bytes copied of a frame when nothing else is said.
const SNAP_BYTES: u32 = 2048;
/// The most that may be said.
const MOST_SNAP_BYTES: u32 = 16_384;
/// Bytes of frames in one answer, about: far below what gRPC lets pass.
const PART_BYTES: usize = 256 << 10;
/// How often it is looked for copies. A million frames a second fill the workers' room in a millisecond.
const LOOK_EVERY: Duration = Duration::from_millis(1);
/// How often a client hears from a capture without frames.
const ALIVE_EVERY: Duration = Duration::from_secs(1);

/// Copies of frames that workers make for as long as this lives.
pub trait Copies: Send {
    /// Gives those that are there, each with its worker's number; says how many.
    fn take(&mut self, give: &mut dyn FnMut(u8, &TapCopy)) -> usize;
    /// How many were lost, since they were not taken as fast as they came.
    fn lost(&self) -> u64;
}

/// What was asked for.
///
/// # Errors
/// A point, a verdict or an address that is none.
pub fn tap_filter_of(asked: &CaptureRequest) -> Result<TapFilter, AskError> {
    let has = |point: &str| asked.points.iter().any(|asked| asked == point);
    let known = ["in", "out", "drop"];
    if let Some(other) = asked.points.iter().find(|point| !known.contains(&point.as_str())) {
        return Err(no(format!("point `{other}`: expected in, out or drop")));
    }
    let mut verdicts = match asked.verdicts.is_empty() {
        true => VerdictSet::ALL,
        false => VerdictSet::NONE,
    };
    for name in &asked.verdicts {
        let named = VerdictSet::named(name).ok_or_else(|| {
            no(format!(
                "verdict `{name}`: expected forward, reply, drop, not_ours, or the name of a reply or reason \
                 (docs/reference/verdicts.md), such as tcp_reset or no_backend"
            ))
        })?;
        verdicts = verdicts.or(named);
    }
    // Drops alone are what came in and was dropped.
    let is_all = asked.points.is_empty();
    if has("drop") && !has("in") && !has("out") {
        verdicts = verdicts.and(VerdictSet::DROPS);
    }
    let snap_bytes = if asked.snap_bytes == 0 { SNAP_BYTES } else { asked.snap_bytes };
    if snap_bytes > MOST_SNAP_BYTES {
        return Err(no(format!("{snap_bytes} bytes of a frame: at most {MOST_SNAP_BYTES}")));
    }
    Ok(TapFilter {
        takes_in: is_all || has("in"),
        takes_drops: has("drop"),
        takes_out: is_all || has("out"),
        ends: match asked.client.as_str() {
            "" => None,
            text => Some(network(text)?),
        },
        verdicts,
        one_in: asked.one_in.max(1),
        snap_bytes: snap_bytes as usize,
    })
}

/// Sends copies until there is nobody to take them. The first answer, an empty one, says that the capture
/// has begun.
pub(super) fn send_copies(
    data_plane: &dyn DataPlane,
    mut copies: Box<dyn Copies>,
    mut parts: mpsc::Sender<Result<CaptureResponse, Status>>,
) {
    let mut give =
        |part| futures::executor::block_on(futures::SinkExt::send(&mut parts, Ok(part))).is_ok();
    let mut said = Instant::now();
    let mut goes_on = give(CaptureResponse::default());
    while goes_on {
        let snapshot = data_plane.snapshot();
        let mut part = CaptureResponse::default();
        let (mut whole, mut part_bytes) = (Vec::new(), 0);
        copies.take(&mut |worker, copy| {
            part.frames.push(frame_of(&snapshot, worker, copy));
            part_bytes += copy.bytes.len();
            if part_bytes > PART_BYTES {
                whole.push(std::mem::take(&mut part));
                part_bytes = 0;
            }
        });
        part.lost = copies.lost();
        if part.frames.is_empty() && whole.is_empty() && said.elapsed() < ALIVE_EVERY {
            std::thread::sleep(LOOK_EVERY);
            continue;
        }
        whole.push(part);
        said = Instant::now();
        goes_on = whole.into_iter().all(&mut give);
    }
}

fn frame_of(snapshot: &Snapshot, worker: u8, copy: &TapCopy) -> CapturedFrame {
    let service = copy.service.and_then(|index| snapshot.services.get(index.index()));
    let service = service.map(|service| &*service.name);
    CapturedFrame {
        time_ns: u64::try_from(copy.time.as_nanos()).unwrap_or(u64::MAX),
        interface: port_name(snapshot, copy.port),
        point: match copy.point {
            TapPoint::In => "in".into(),
            TapPoint::Out => "out".into(),
        },
        verdict: copy.verdict.map_or("", verdict_name).into(),
        comment: comment(snapshot, (worker, service), copy),
        len: u32::try_from(copy.len).unwrap_or(u32::MAX),
        data: copy.bytes.clone(),
    }
}

fn port_name(snapshot: &Snapshot, port: crate::wire::PortId) -> String {
    snapshot.port(port).map_or_else(|| format!("port {}", port.0), |port| port.name.to_string())
}

fn verdict_name(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Forward(_) => "forward",
        Verdict::Reply(_, kind) => kind.name(),
        Verdict::Drop(reason) => reason.name(),
        Verdict::NotOurs => "not_ours",
    }
}

/// What became of it, in words: `forward by eth2, service web, worker 0`.
fn comment(snapshot: &Snapshot, (worker, service): (u8, Option<&str>), copy: &TapCopy) -> String {
    let by = |port| port_name(snapshot, port);
    let mut text = match copy.verdict {
        None => "held: a fragment that came before its datagram's first one".to_owned(),
        Some(Verdict::Forward(port)) => format!("forward by {}", by(port)),
        Some(Verdict::Reply(port, kind)) => format!("reply {kind} by {}", by(port)),
        Some(Verdict::Drop(reason)) => {
            // Its first sentence; the rest is in the documentation.
            let meaning = reason.meaning().split(". ").next().unwrap_or_default();
            format!("drop {reason}: {}", meaning.trim_end_matches('.').replace('\n', " "))
        }
        Some(Verdict::NotOurs) => "not ours".to_owned(),
    };
    if let Some(service) = service {
        text += &format!(", service {service}");
    }
    text += &format!(", worker {worker}");
    match copy.arrival {
        Arrival::Received(_) => {}
        Arrival::TakenOver(_) | Arrival::TakenOverFragment(..) => {
            text += ", handed over by another"
        }
        Arrival::Released(..) => text += ", was held",
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataplane::{DropReason, ReplyKind};
    use crate::wire::PortId;

    fn asked(points: &[&str], verdicts: &[&str]) -> CaptureRequest {
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        CaptureRequest {
            points: owned(points),
            verdicts: owned(verdicts),
            ..CaptureRequest::default()
        }
    }

    #[test]
    fn what_is_asked_for() {
        let forward = Verdict::Forward(PortId(0));
        let full = Verdict::Drop(DropReason::FlowTableFull);
        let reset = Verdict::Reply(PortId(0), ReplyKind::Reset);
        // Points and verdicts asked for; in, drops, out; forward, flow_table_full and tcp_reset.
        type Row = (&'static [&'static str], &'static [&'static str], [bool; 3], [bool; 3]);
        let rows: &[Row] = &[
            (&[], &[], [true, false, true], [true, true, true]),
            (&["in"], &[], [true, false, false], [true, true, true]),
            (&["out"], &["forward"], [false, false, true], [true, false, false]),
            (&["drop"], &[], [false, true, false], [false, true, false]),
            (&["drop"], &["malformed"], [false, true, false], [false, false, false]),
            (&["drop", "out"], &[], [false, true, true], [true, true, true]),
            (&[], &["tcp_reset", "drop"], [true, false, true], [false, true, true]),
        ];
        for (points, verdicts, takes, has) in rows {
            let filter = tap_filter_of(&asked(points, verdicts)).unwrap();
            let taken = [filter.takes_in, filter.takes_drops, filter.takes_out];
            assert_eq!(taken, *takes, "{points:?} {verdicts:?}");
            let found = [forward, full, reset].map(|verdict| filter.verdicts.has(verdict));
            assert_eq!(found, *has, "{points:?} {verdicts:?}");
        }
        for (wrong, text) in [
            (asked(&["drops"], &[]), "point `drops`: expected in, out or drop"),
            (asked(&[], &["dropped"]), "verdict `dropped`: expected forward"),
            (CaptureRequest { client: "10.0.0".into(), ..asked(&[], &[]) }, "client `10.0.0`"),
            (CaptureRequest { snap_bytes: 99_999, ..asked(&[], &[]) }, "at most 16384"),
        ] {
            let error = tap_filter_of(&wrong).unwrap_err();
            assert!(error.0.contains(text), "{error}");
        }
    }

    #[test]
    fn comments_say_what_became_of_it() {
        let copy = |verdict, arrival| TapCopy {
            time: Duration::from_secs(1),
            point: TapPoint::In,
            port: PortId(3),
            verdict,
            arrival,
            service: None,
            len: 60,
            bytes: vec![0; 60],
        };
        let snapshot = Snapshot::empty();
        let here = Arrival::Received(PortId(3));
        let rows = [
            (copy(Some(Verdict::Forward(PortId(1))), here), "forward by port 1, worker 2"),
            (
                copy(Some(Verdict::Drop(DropReason::BadIpv4Checksum)), here),
                "drop bad_ipv4_checksum: The IPv4 header checksum is wrong, worker 2",
            ),
            (
                copy(Some(Verdict::NotOurs), Arrival::TakenOver(PortId(3))),
                "not ours, worker 2, handed over by another",
            ),
        ];
        for (copy, wanted) in rows {
            let frame = frame_of(&snapshot, 2, &copy);
            assert_eq!((frame.comment.as_str(), frame.interface.as_str()), (wanted, "port 3"));
        }
    }
}
