//! One check for every device: random operations, and beside them a plain model of what a device
//! is. After each operation the two must agree and all frames must be somewhere.

use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};

use super::{Batch, Device, Frame, QueueStatistics};
use crate::wire::PortId;

/// The other side of the device's ports.
pub(in crate::io) trait Network<D> {
    /// Frames that are on their way to the device already.
    fn arriving(&self) -> Vec<(PortId, Vec<u8>)> {
        vec![]
    }

    /// Sends the device a frame; `false` when it cannot now.
    fn push(&mut self, device: &mut D, port: PortId, bytes: &[u8]) -> bool;

    /// Frames that the device sent, in order; without the port where the network cannot tell.
    fn take(&mut self, device: &mut D) -> Vec<(Option<PortId>, Vec<u8>)>;
}

/// How much of the model a device has to keep to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::io) enum Fidelity {
    /// Every frame, whole and in order.
    Exact,
    /// No frame of the memory may get lost, whatever the link does to its bytes.
    Conserving,
}

struct Model {
    fidelity: Fidelity,
    chance: Xoshiro256PlusPlus,
    arriving: Vec<(PortId, Vec<u8>)>,
    in_hand: Vec<(Frame, Vec<u8>)>,
    leaving: Vec<(PortId, Vec<u8>)>,
    received: u64,
    transmitted: u64,
}

/// Runs 2,000 random operations on a device and its model.
pub(in crate::io) fn check_device<D: Device, N: Network<D>>(
    seed: u64,
    fidelity: Fidelity,
    (mut device, mut network): (D, N),
) {
    let mut model = Model {
        fidelity,
        chance: Xoshiro256PlusPlus::seed_from_u64(seed),
        arriving: network.arriving(),
        in_hand: vec![],
        leaving: vec![],
        received: 0,
        transmitted: 0,
    };
    for step in 0..2000 {
        model.step(&mut device, &mut network);
        let census = device.census();
        assert!(census.is_conserved(), "seed {seed}, step {step}: {census:?}");
        assert_eq!(census.in_hand as usize, model.in_hand.len(), "seed {seed}, step {step}");
    }
    model.finish(&mut device, &mut network);
    assert!(model.received > 0 && model.transmitted > 0, "seed {seed}: nothing happened");
}

impl Model {
    fn step<D: Device, N: Network<D>>(&mut self, device: &mut D, network: &mut N) {
        match self.chance.random_range(0..10) {
            0..=1 => self.push(device, network),
            2 => self.receive(device),
            3 => self.change(device),
            4..=5 => self.transmit(device),
            6 => self.acquire(device),
            7 => self.release(device),
            8 => device.flush(),
            _ => {
                device.reclaim();
                self.take(device, network);
            }
        }
    }

    fn port(&mut self, device: &impl Device) -> PortId {
        let ports = device.ports();
        ports[self.chance.random_range(0..ports.len())]
    }

    fn bytes(&mut self) -> Vec<u8> {
        let len = self.chance.random_range(1..200);
        (0..len).map(|_| self.chance.random()).collect()
    }

    fn push<D: Device, N: Network<D>>(&mut self, device: &mut D, network: &mut N) {
        let (port, bytes) = (self.port(device), self.bytes());
        if network.push(device, port, &bytes) {
            self.arriving.push((port, bytes));
        }
    }

    fn receive<D: Device>(&mut self, device: &mut D) {
        let mut batch = Batch::new();
        let count = device.receive(&mut batch);
        assert_eq!(count, batch.len());
        self.received += count as u64;
        for frame in batch {
            let bytes = device.view(&frame).bytes().to_vec();
            if self.fidelity == Fidelity::Exact {
                let oldest = self.arriving.iter().position(|(port, _)| *port == frame.port);
                let (_, wanted) = self.arriving.remove(oldest.expect("a frame nobody sent"));
                assert_eq!(bytes, wanted);
            }
            self.in_hand.push((frame, bytes));
        }
    }

    /// Grows a frame in front, cuts it behind, writes into it, and looks at all others.
    fn change<D: Device>(&mut self, device: &mut D) {
        let room = self.chance.random_range(0..20);
        if let Some((frame, bytes)) = self.in_hand.last_mut() {
            let mut view = device.view(frame);
            if view.prepend(room) {
                bytes.splice(0..0, vec![0; room]);
            }
            let len = view.len().div_ceil(2);
            assert!(view.set_len(len));
            bytes.truncate(len);
            bytes.fill(room as u8);
            view.bytes_mut().fill(room as u8);
            let start = view.start();
            device.keep(frame, start, len);
        }
        for (frame, bytes) in &self.in_hand {
            assert_eq!(device.view(frame).bytes(), &bytes[..]);
        }
    }

    fn any_in_hand(&mut self) -> Option<(Frame, Vec<u8>)> {
        let count = self.in_hand.len();
        (count > 0).then(|| self.in_hand.swap_remove(self.chance.random_range(0..count)))
    }

    fn transmit<D: Device>(&mut self, device: &mut D) {
        let port = self.port(device);
        let Some((frame, bytes)) = self.any_in_hand() else { return };
        let frame = device.transmit(PortId(u8::MAX), frame).expect_err("there is no such port");
        match device.transmit(port, frame) {
            Ok(()) => {
                self.transmitted += 1;
                self.leaving.push((port, bytes));
            }
            Err(frame) => {
                assert_eq!(device.view(&frame).bytes(), &bytes[..], "came back changed");
                self.in_hand.push((frame, bytes));
            }
        }
    }

    fn acquire<D: Device>(&mut self, device: &mut D) {
        let (port, bytes) = (self.port(device), self.bytes());
        assert!(device.acquire(port, 1 << 20).is_none(), "no chunk has a mebibyte");
        let Some(frame) = device.acquire(port, bytes.len()) else { return };
        assert_eq!((frame.port, frame.len()), (port, bytes.len()));
        device.view(&frame).bytes_mut().copy_from_slice(&bytes);
        self.in_hand.push((frame, bytes));
    }

    fn release<D: Device>(&mut self, device: &mut D) {
        if let Some((frame, _)) = self.any_in_hand() {
            device.release(frame);
        }
    }

    fn take<D: Device, N: Network<D>>(&mut self, device: &mut D, network: &mut N) {
        for (port, bytes) in network.take(device) {
            if self.fidelity == Fidelity::Exact {
                let is_it = |left: &(PortId, Vec<u8>)| port.is_none_or(|port| left.0 == port);
                let oldest = self.leaving.iter().position(is_it);
                let (_, wanted) = self.leaving.remove(oldest.expect("a frame nobody transmitted"));
                assert_eq!(bytes, wanted);
            }
        }
    }

    /// Nothing is left over anywhere, and the counters add up.
    fn finish<D: Device, N: Network<D>>(&mut self, device: &mut D, network: &mut N) {
        for _ in 0..100 {
            self.receive(device);
            while let Some((frame, _)) = self.any_in_hand() {
                device.release(frame);
            }
            device.flush();
            device.reclaim();
            self.take(device, network);
        }
        let census = device.census();
        assert_eq!((census.in_hand, census.transmit), (0, 0), "{census:?}");
        assert_eq!(census.fill + census.free, census.total);
        if self.fidelity == Fidelity::Exact {
            assert_eq!((self.arriving.len(), self.leaving.len()), (0, 0));
            let queues = device.statistics().queues;
            let sum = |field: fn(&QueueStatistics) -> u64| queues.iter().map(field).sum::<u64>();
            assert_eq!(sum(|queue| queue.received), self.received);
            assert_eq!(sum(|queue| queue.transmitted), self.transmitted);
        }
    }
}
