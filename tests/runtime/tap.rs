//! Copies of frames for an operator, at workers that run.

use guideway::dataplane::{DropReason, TapCopy, TapFilter, TapPoint, Verdict, VerdictSet};
use guideway::runtime::{Capture, CaptureError};
use guideway::wire::ends_of;

use crate::plane::{ACK, Plane, SYN, desired, to_vip};

const ALL: TapFilter = TapFilter {
    takes_in: true,
    takes_drops: false,
    takes_out: true,
    ends: None,
    verdicts: VerdictSet::ALL,
    one_in: 1,
    snap_bytes: 2048,
};

/// Point, verdict, and the frame's length and destination.
fn shown(copy: &TapCopy) -> (TapPoint, Option<Verdict>, usize, String) {
    assert_eq!(copy.bytes.len(), copy.len.min(2048));
    (copy.point, copy.verdict, copy.len, ends_of(&copy.bytes).unwrap().1.ip().to_string())
}

fn taken(plane: &Plane, capture: &mut Capture, frames: usize) -> Vec<(u8, TapCopy)> {
    let mut all = Vec::new();
    let cell = std::cell::RefCell::new((capture, &mut all));
    plane.wait(|_| {
        let (capture, all) = &mut *cell.borrow_mut();
        capture.take(|worker, copy| {
            let copy = TapCopy { bytes: copy.bytes.clone(), ..*copy };
            all.push((worker, copy));
        });
        all.len() >= frames
    });
    assert_eq!(all.len(), frames, "{all:?}");
    all
}

#[test]
fn each_frame_once_before_and_after_by_the_worker_that_decided() {
    let mut plane = Plane::start(2);
    plane.controller.set_desired(desired(&["b1"]), 1).unwrap();
    let mut capture = Capture::begin(plane.workers(), &ALL).unwrap();
    assert_eq!(Capture::begin(plane.workers(), &ALL).unwrap_err(), CaptureError::Another);
    // One of two is handed over.
    plane.push(0, &to_vip(4000, SYN));
    plane.push(1, &to_vip(4000, SYN));
    let copies = taken(&plane, &mut capture, 4);
    let owner = copies[0].0;
    for (worker, copy) in &copies {
        assert_eq!(*worker, owner);
        assert!(matches!(copy.verdict, Some(Verdict::Forward(_))), "{copy:?}");
        assert!(copy.service.is_some());
    }
    let ins = copies.iter().filter(|(_, copy)| copy.point == TapPoint::In);
    let to: Vec<_> = ins.map(|(_, copy)| shown(copy).3).collect();
    assert_eq!(to, ["10.1.0.100", "10.1.0.100"], "as they came");
    let outs = copies.iter().filter(|(_, copy)| copy.point == TapPoint::Out);
    assert!(outs.map(|(_, copy)| shown(copy).3).all(|to| to != "10.1.0.100"), "as they leave");
    assert_eq!(capture.lost(), 0);

    // The next one may begin as soon as the last one is gone, and then nothing of it is left.
    drop(capture);
    let drops = TapFilter {
        takes_in: false,
        takes_drops: true,
        takes_out: false,
        verdicts: VerdictSet::DROPS,
        ..ALL
    };
    let mut capture = Capture::begin(plane.workers(), &drops).unwrap();
    let before = plane.forwarded();
    plane.push(usize::from(owner), &to_vip(4000, ACK));
    plane.wait(|plane| plane.forwarded() == before + 1);
    let mut bad = to_vip(4001, SYN);
    bad[24] ^= 0xff;
    plane.push(0, &bad);
    let copies = taken(&plane, &mut capture, 1);
    assert_eq!(copies[0].1.verdict, Some(Verdict::Drop(DropReason::BadIpv4Checksum)));
    assert_eq!(copies[0].1.bytes, bad, "unchanged");
    drop(capture);
    plane.stop();
}

#[test]
fn what_is_not_read_is_lost_and_keeps_no_packet() {
    let mut plane = Plane::start(1);
    plane.controller.set_desired(desired(&["b1"]), 1).unwrap();
    let one_in_two = TapFilter { takes_out: false, one_in: 2, ..ALL };
    let mut capture = Capture::begin(plane.workers(), &one_in_two).unwrap();
    // Nobody reads: 1,024 copies wait, all others are lost, and every packet has its verdict.
    let mut bad = to_vip(4000, SYN);
    bad[24] ^= 0xff;
    for number in 1..=2500u64 {
        plane.push(0, &bad);
        if number % 100 == 0 {
            plane.wait(|plane| plane.counters().verdicts() == number);
        }
    }
    assert_eq!(capture.lost(), 1250 - 1024);
    assert_eq!(capture.take(|_, _| ()), 1024);
    drop(capture);
    plane.stop();
}
