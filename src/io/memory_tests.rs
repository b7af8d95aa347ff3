use std::time::{Duration, Instant};

use super::*;
use crate::io::check::{Fidelity, Network, check_device};

pub(in crate::io) fn small() -> MemoryOptions {
    MemoryOptions {
        ports: vec!["left".into(), "right".into()],
        chunks: ChunkOptions {
            chunks: 24,
            chunk_bytes: 512,
            headroom_bytes: 64,
            fill: 8,
            transmit: 4,
        },
        wire: 6,
    }
}

impl<D: Device> Network<D> for Vec<FarEnd> {
    fn push(&mut self, _device: &mut D, port: PortId, bytes: &[u8]) -> bool {
        self[port.index()].push(bytes).is_ok()
    }

    fn take(&mut self, _device: &mut D) -> Vec<(Option<PortId>, Vec<u8>)> {
        let taken = |far: &FarEnd| std::iter::from_fn(|| far.take()).collect::<Vec<_>>();
        self.iter().flat_map(|far| taken(far).into_iter().map(|b| (Some(far.port()), b))).collect()
    }
}

#[test]
fn random_operations_agree_with_the_model() {
    for seed in 0..50 {
        check_device(seed, Fidelity::Exact, MemoryDevice::new(small()));
    }
}

#[test]
fn what_does_not_fit_is_counted_at_the_border() {
    let (mut device, far) = MemoryDevice::new(small());
    (0..6).for_each(|_| far[0].push(&[0; 60]).unwrap());
    assert_eq!(far[0].push(&[0; 60]), Err(PushError::Full));
    assert_eq!(far[1].push(&[0; 449]), Err(PushError::TooLong));
    assert_eq!(far[1].push(&[0; 448]), Ok(()));
    let mut batch = Batch::new();
    assert_eq!(device.receive(&mut batch), 7);
    // The fill ring held eight: of two more frames only one has a chunk.
    (0..2).for_each(|_| far[1].push(&[0; 60]).unwrap());
    assert_eq!((device.receive(&mut batch), far[1].waiting()), (1, 1));
    let [left, right] = &device.statistics().queues[..] else { panic!("two ports") };
    assert_eq!((left.received, left.rx_ring_full, left.rx_dropped), (6, 1, 0));
    assert_eq!((right.received, right.rx_ring_full, right.rx_dropped), (2, 0, 1));
    assert!(right.rx_fill_ring_empty > 0);
    batch.into_iter().for_each(|frame| device.release(frame));
    drop(device);
    assert_eq!(far[0].push(&[0; 60]), Err(PushError::Gone));
}

#[test]
fn a_far_end_that_takes_nothing_fills_the_transmit_ring() {
    let (mut device, far) = MemoryDevice::new(small());
    let mut sent = 0;
    loop {
        let frame = device.acquire(PortId(0), 60).unwrap();
        if let Err(frame) = device.transmit(PortId(0), frame) {
            device.release(frame);
            break;
        }
        sent += 1;
        device.flush();
        device.reclaim();
    }
    assert_eq!(sent, 6 + 4, "the wire's six and the ring's four");
    assert_eq!(device.statistics().queues[0].transmit_full, 1);
    assert!(far[0].take().is_some());
    device.flush();
    let frame = device.acquire(PortId(0), 60).unwrap();
    assert!(device.transmit(PortId(0), frame).is_ok());
    assert!(device.census().is_conserved());
}

#[test]
fn ports_take_turns_in_being_first() {
    let (mut device, far) = MemoryDevice::new(small());
    let mut first = Vec::new();
    for _ in 0..4 {
        far.iter().for_each(|far| far.push(&[0; 60]).unwrap());
        let mut batch = Batch::new();
        device.receive(&mut batch);
        first.push(batch[0].port.0);
        batch.into_iter().for_each(|frame| device.release(frame));
        device.reclaim();
    }
    assert_eq!(first, [0, 1, 0, 1]);
}

#[test]
fn far_ends_work_from_other_threads_and_end_the_wait() {
    let (mut device, mut far) = MemoryDevice::new(small());
    let (right, left) = (far.pop().unwrap(), far.pop().unwrap());
    const FRAMES: u32 = 2000;
    let sender = std::thread::spawn(move || {
        let mut next = 0;
        while next < FRAMES {
            match left.push(&next.to_be_bytes()) {
                Ok(()) => next += 1,
                Err(_) => std::thread::sleep(Duration::from_micros(20)),
            }
        }
    });
    let taker = std::thread::spawn(move || {
        let mut taken = Vec::new();
        while taken.len() < FRAMES as usize {
            match right.take() {
                Some(bytes) => taken.push(u32::from_be_bytes(bytes.try_into().unwrap())),
                None => std::thread::sleep(Duration::from_micros(20)),
            }
        }
        taken
    });
    let mut sent = 0;
    while sent < FRAMES || device.census().transmit > 0 {
        let mut batch = Batch::new();
        if device.receive(&mut batch) == 0 && sent < FRAMES {
            device.wait(Duration::from_secs(5));
        }
        for frame in batch {
            let mut frame = Some(frame);
            while let Some(waiting) = frame.take() {
                match device.transmit(PortId(1), waiting) {
                    Ok(()) => sent += 1,
                    Err(back) => {
                        device.flush();
                        frame = Some(back);
                    }
                }
            }
        }
        device.flush();
        device.reclaim();
        assert!(device.census().is_conserved());
    }
    sender.join().unwrap();
    assert_eq!(taker.join().unwrap(), (0..FRAMES).collect::<Vec<_>>());
    assert_eq!(device.census().in_hand, 0);
}

#[test]
fn a_waker_ends_the_wait_even_from_before() {
    let (mut device, _far) = MemoryDevice::new(small());
    device.waker().wake();
    let begin = Instant::now();
    device.wait(Duration::from_secs(600));
    let waker = device.waker();
    let thread = std::thread::spawn(move || waker.wake());
    device.wait(Duration::from_secs(600));
    thread.join().unwrap();
    assert!(begin.elapsed() < Duration::from_secs(600));
}
