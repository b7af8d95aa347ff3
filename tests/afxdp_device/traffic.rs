//! What the tests send, and what the worker under test does with it.

use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use guideway::io::afxdp::{AfxdpDevice, Waker};
use guideway::io::{Batch, Device, DeviceStatistics};
use guideway::wire::{MacAddress, PortId};

use super::lab::{CLIENT, Lab, VIP};

/// Where a frame goes: port and MAC addresses.
pub type Decide = fn(&mut [u8], PortId) -> PortId;

/// Threads that move frames until stopped.
pub struct Workers {
    stop: Arc<AtomicBool>,
    wakers: Vec<Waker>,
    threads: Vec<JoinHandle<AfxdpDevice>>,
}

impl Workers {
    pub fn start(devices: Vec<AfxdpDevice>, decide: Decide) -> Workers {
        let stop = Arc::new(AtomicBool::new(false));
        let wakers = devices.iter().map(AfxdpDevice::waker).collect();
        let thread = |device| {
            let stop = stop.clone();
            std::thread::spawn(move || work(device, decide, &stop))
        };
        Workers { threads: devices.into_iter().map(thread).collect(), wakers, stop }
    }

    /// Ends them and gives the devices back. A sleeping worker has to be woken: none waits less
    /// than a minute.
    pub fn stop(self) -> Vec<AfxdpDevice> {
        self.stop.store(true, Ordering::Release);
        self.wakers.iter().for_each(Waker::wake);
        self.threads.into_iter().map(super::lab::join).collect()
    }
}

fn work(mut device: AfxdpDevice, decide: Decide, stop: &AtomicBool) -> AfxdpDevice {
    let mut batch = Batch::new();
    while !stop.load(Ordering::Acquire) {
        let count = device.receive(&mut batch);
        for frame in batch.drain(..) {
            let from = frame.port;
            let to = decide(device.view(&frame).bytes_mut(), from);
            if let Err(frame) = device.transmit(to, frame) {
                device.release(frame);
            }
        }
        device.flush();
        device.reclaim();
        let census = device.census();
        assert!(census.is_conserved() && census.in_hand == 0, "{census:?}");
        if count == 0 {
            device.wait(Duration::from_secs(60));
        }
    }
    device
}

/// Sends a UDP or TCP packet back: addresses and ports change places, which leaves checksums right.
pub fn echo(frame: &mut [u8], port: PortId) -> PortId {
    swap(frame, 0, 6, 6);
    swap(frame, 26, 30, 4);
    swap(frame, 34, 36, 2);
    port
}

fn swap(frame: &mut [u8], a: usize, b: usize, len: usize) {
    for at in 0..len {
        frame.swap(a + at, b + at);
    }
}

/// From one side to the other, as a router without a TTL.
pub fn cross(frame: &mut [u8], port: PortId) -> PortId {
    use super::lab::{CLIENT_MAC, LEFT_MAC, RIGHT_MAC, SERVER_MAC};
    let (out, destination, source): (_, MacAddress, MacAddress) = match port {
        PortId(0) => (PortId(1), SERVER_MAC, RIGHT_MAC),
        _ => (PortId(0), CLIENT_MAC, LEFT_MAC),
    };
    frame[..6].copy_from_slice(&destination.0);
    frame[6..12].copy_from_slice(&source.0);
    out
}

/// Sends `count` datagrams from each of `sockets` sockets to the VIP, and wants all back.
pub fn ask(lab: &Lab, sockets: usize, count: usize) {
    lab.within("c", move || {
        for number in 0..sockets {
            let socket = connected(Duration::from_secs(10));
            for question in 0..count {
                let text = format!("{number} {question}");
                socket.send(text.as_bytes()).unwrap();
                let mut answer = [0; 64];
                let len = socket.recv(&mut answer).expect(&text);
                assert_eq!(&answer[..len], text.as_bytes());
            }
        }
    });
}

/// Sends datagrams to the VIP, and wants neither an answer nor the kernel's refusal.
pub fn ask_in_vain(lab: &Lab, count: usize) {
    lab.within("c", move || {
        let socket = connected(Duration::from_millis(100));
        for _ in 0..count {
            // An interface that is down takes nothing, which is no answer either.
            let _ = socket.send(b"?");
            let heard = socket.recv(&mut [0; 64]).map_err(|error| error.kind());
            assert_eq!(heard, Err(std::io::ErrorKind::WouldBlock));
        }
    });
}

/// Asks until there is an answer: a link that came up passes frames a moment later.
pub fn ask_until_answered(lab: &Lab) {
    lab.within("c", move || {
        let socket = connected(Duration::from_millis(100));
        let answered = (0..100).any(|_| {
            let _ = socket.send(b"?");
            socket.recv(&mut [0; 64]).is_ok()
        });
        assert!(answered, "no answer for ten seconds");
    });
}

fn connected(timeout: Duration) -> UdpSocket {
    let socket = UdpSocket::bind((CLIENT, 0)).unwrap();
    socket.connect((VIP, 7)).unwrap();
    socket.set_read_timeout(Some(timeout)).unwrap();
    socket
}

/// Sums one number over all queues of all devices.
pub fn sum(devices: &[AfxdpDevice], number: fn(&guideway::io::QueueStatistics) -> u64) -> u64 {
    let of = |statistics: DeviceStatistics| statistics.queues.iter().map(number).sum::<u64>();
    devices.iter().map(|device| of(device.statistics())).sum()
}
