use super::*;
use crate::io::check::{Fidelity, check_device};
use crate::io::memory::{FarEnd, MemoryDevice, MemoryOptions};

const NONE: FaultRates =
    FaultRates { loss: 0.0, duplication: 0.0, reordering: 0.0, truncation: 0.0, bit_flips: 0.0 };
const SOME: FaultRates =
    FaultRates { loss: 0.1, duplication: 0.1, reordering: 0.2, truncation: 0.1, bit_flips: 0.1 };

fn options(seed: u64, receive: FaultRates, transmit: FaultRates) -> FaultOptions {
    FaultOptions { seed, receive, transmit, reorder_span: 4 }
}

fn around_memory(options: FaultOptions) -> (FaultInjector<MemoryDevice>, Vec<FarEnd>) {
    let ports = vec!["left".into(), "right".into()];
    let (device, far) = MemoryDevice::new(MemoryOptions { ports, ..MemoryOptions::default() });
    (FaultInjector::new(device, options), far)
}

#[test]
fn without_faults_it_is_the_inner_device() {
    for seed in 0..20 {
        check_device(seed, Fidelity::Exact, around_memory(options(seed, NONE, NONE)));
    }
}

#[test]
fn with_faults_no_frame_of_the_memory_is_lost() {
    for seed in 0..50 {
        check_device(seed, Fidelity::Conserving, around_memory(options(seed, SOME, SOME)));
    }
}

/// Sends frames with numbers through the device; gives what arrives at the far end.
fn send_through(options: FaultOptions, frames: u32) -> (Vec<Vec<u8>>, (FaultCounts, FaultCounts)) {
    let (mut device, far) = around_memory(options);
    let mut taken = Vec::new();
    for turn in 0..frames + 50 {
        if turn < frames {
            far[0].push(&[[0; 32].as_slice(), &turn.to_be_bytes()].concat()).unwrap();
        }
        let mut batch = Batch::new();
        device.receive(&mut batch);
        for frame in batch {
            if let Err(frame) = device.transmit(PortId(1), frame) {
                device.release(frame);
            }
        }
        device.flush();
        device.reclaim();
        assert!(device.census().is_conserved());
        assert_eq!(device.census().in_hand, 0);
        taken.extend(std::iter::from_fn(|| far[1].take()));
    }
    (taken, device.faults())
}

#[test]
fn a_seed_repeats_and_another_differs() {
    let run = |seed| send_through(options(seed, SOME, SOME), 500);
    assert_eq!(run(7), run(7));
    assert_ne!(run(7).0, run(8).0);
}

#[test]
fn each_fault_does_what_its_name_says() {
    const FRAMES: u32 = 1000;
    let number = |bytes: &Vec<u8>| u32::from_be_bytes(*bytes.last_chunk().unwrap());
    type Count = fn(&FaultCounts) -> u64;
    let rows: [(&str, FaultRates, Count); 5] = [
        ("loss", FaultRates { loss: 0.2, ..NONE }, |counts| counts.lost),
        ("duplication", FaultRates { duplication: 0.2, ..NONE }, |counts| counts.duplicated),
        ("reordering", FaultRates { reordering: 0.2, ..NONE }, |counts| counts.reordered),
        ("truncation", FaultRates { truncation: 0.2, ..NONE }, |counts| counts.truncated),
        ("bit flips", FaultRates { bit_flips: 0.2, ..NONE }, |counts| counts.bits_flipped),
    ];
    for (name, rates, count) in rows {
        for on_receive in [true, false] {
            let (receive, transmit) = if on_receive { (rates, NONE) } else { (NONE, rates) };
            let (taken, (receiving, sending)) = send_through(options(3, receive, transmit), FRAMES);
            let counts = if on_receive { receiving } else { sending };
            let happened = count(&counts);
            assert!((100..300).contains(&happened), "{name}: {happened} of {FRAMES}");
            let all = FaultCounts::default();
            assert_eq!(if on_receive { sending } else { receiving }, all, "{name}: other way");
            let wanted = u64::from(FRAMES) - counts.lost + counts.duplicated;
            assert_eq!(taken.len() as u64, wanted, "{name}");
            let whole = taken.iter().filter(|bytes| bytes.len() == 36).count() as u64;
            assert_eq!(whole, wanted - counts.truncated, "{name}");
            if ["reordering", "loss", "duplication"].contains(&name) {
                let numbers: Vec<u32> = taken.iter().map(number).collect();
                assert_eq!(numbers.is_sorted(), name != "reordering", "{name}");
            }
            if name == "bit flips" {
                let ones = |bytes: &Vec<u8>| bytes[..32].iter().any(|&byte| byte != 0);
                let seen = taken.iter().filter(|bytes| ones(bytes)).count() as u64;
                assert!(seen > happened / 2 && seen <= happened, "{name}: {seen} of {happened}");
            }
        }
    }
}

#[test]
fn always_means_always() {
    let all = FaultRates { loss: 1.0, ..NONE };
    assert_eq!(send_through(options(1, all, NONE), 50).0.len(), 0);
    let all = FaultRates { duplication: 1.0, ..NONE };
    assert_eq!(send_through(options(1, all, all), 50).0.len(), 200);
}

#[test]
fn frames_that_wait_arrive_without_others_to_push_them() {
    let all = FaultRates { reordering: 1.0, ..NONE };
    let (taken, _) = send_through(options(1, all, all), 1);
    assert_eq!(taken.len(), 1);
}
