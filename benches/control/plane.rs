//! Workers over memory devices with traffic, and the controller they get their snapshots from.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use etherparse::PacketBuilder;
use guideway::control::{DesiredState, Merged};
use guideway::dataplane::{Engine, ShardMap};
use guideway::forwarding::{ClusterKey, SteerEntry};
use guideway::io::memory::{FarEnd, MemoryDevice, MemoryOptions};
use guideway::runtime::{
    Controller, HandOver, Idle, Publisher, SteerTarget, Supervisor, Waker, Worker, WorkerShared,
    clock, engine_config,
};
use guideway::wire::MacAddress;

use crate::world;

const WORKERS: usize = 2;

/// Takes everything.
pub struct Taken;

impl SteerTarget for Taken {
    fn add(&mut self, _: SteerEntry) -> Result<(), String> {
        Ok(())
    }

    fn remove(&mut self, _: SteerEntry) -> Result<(), String> {
        Ok(())
    }

    fn activate(&mut self) -> Result<(), String> {
        Ok(())
    }

    fn set_mac(&mut self, _: &str, _: MacAddress) -> Result<(), String> {
        Ok(())
    }
}

pub struct Plane {
    controller: Controller<Taken>,
    publisher: Arc<Publisher>,
    supervisor: Supervisor,
    traffic: Traffic,
}

impl Plane {
    pub fn start() -> Plane {
        let made: Vec<_> =
            (0..WORKERS).map(|_| MemoryDevice::new(MemoryOptions::default())).collect();
        let (devices, mut far_ends): (Vec<_>, Vec<_>) = made.into_iter().unzip();
        let shared: Vec<_> = (0..)
            .zip(&devices)
            .map(|(number, device): (u8, &MemoryDevice)| {
                let waker = device.waker();
                let waker: Waker = Arc::new(move || waker.wake());
                Arc::new(WorkerShared::new(number, waker))
            })
            .collect();
        let publisher = Arc::new(Publisher::new(shared.clone()));
        let limits = world::limits();
        let rings = HandOver::mesh(WORKERS, limits.hand_over_ring, 2_048);
        let made = devices.into_iter().zip(rings).zip(shared).map(|((device, rings), shared)| {
            let shards = ShardMap::even(WORKERS);
            let engine = Engine::new(engine_config(&limits, shared.number, shards, [3; 16]));
            let ends = (publisher.clone(), shared.clone());
            let worker = Worker::new(device, engine, rings, ends, Idle::Sleep, None);
            (worker, shared, None)
        });
        let supervisor = Supervisor::start(made.collect()).expect("threads");
        let (key, topology) = (ClusterKey([7; 16]), world::topology());
        let controller = Controller::new(publisher.clone(), Taken, limits.clone(), key, topology);
        let far_ends = far_ends.iter_mut().map(|ends| ends.remove(0)).collect();
        Plane { controller, publisher, supervisor, traffic: Traffic::start(far_ends) }
    }

    /// Until every worker runs it; other things that time brings are done, too.
    pub fn take_over(&mut self, merged: &Merged) {
        let desired: DesiredState = merged.desired.clone();
        let step = self.controller.set_desired(desired, clock::now().0);
        step.unwrap_or_else(|refusals| panic!("{}", refusals[0]));
        let newest = self.publisher.current().generation;
        assert_eq!(self.publisher.acknowledged(), newest, "a worker does not take it over");
    }

    /// Backends and services of the newest snapshot.
    pub fn counts(&self) -> (usize, usize) {
        let snapshot = self.publisher.current();
        (snapshot.services.len(), snapshot.backends.iter().flatten().count())
    }

    /// Frames sent, frames lost, and the longest that one took.
    pub fn stop(self) -> (u64, u64, Duration) {
        let told = self.traffic.stop();
        self.supervisor.stop();
        told
    }
}

/// One frame after another to the first service, each waited for.
struct Traffic {
    is_over: Arc<AtomicBool>,
    thread: JoinHandle<(u64, u64, Duration)>,
}

impl Traffic {
    fn start(far_ends: Vec<FarEnd>) -> Traffic {
        let is_over = Arc::new(AtomicBool::new(false));
        let seen = is_over.clone();
        let thread = std::thread::spawn(move || {
            let (mut sent, mut lost, mut longest) = (0, 0, Duration::ZERO);
            // Nothing comes before there is a service.
            while !round_trip(&far_ends, 0, Duration::from_millis(20)).0 {}
            while !seen.load(Ordering::Relaxed) {
                let (came, time) = round_trip(&far_ends, sent as u16, Duration::from_secs(5));
                sent += 1;
                lost += u64::from(!came);
                longest = longest.max(time);
                std::thread::sleep(Duration::from_millis(1));
            }
            (sent, lost, longest)
        });
        Traffic { is_over, thread }
    }

    fn stop(self) -> (u64, u64, Duration) {
        self.is_over.store(true, Ordering::Relaxed);
        self.thread.join().expect("the traffic goes on to the end")
    }
}

/// Did it come out again, and how long did that take?
fn round_trip(far_ends: &[FarEnd], client: u16, patience: Duration) -> (bool, Duration) {
    let vip = world::vip(0).octets();
    let builder = PacketBuilder::ethernet2(world::ROUTER_MAC.0, world::OUR_MAC.0)
        .ipv4([198, 51, 100, 1], vip, 64)
        .tcp(1_024 + client % 50_000, 80, 1_000, 8_000)
        .syn();
    let mut frame = vec![];
    builder.write(&mut frame, &[]).expect("a frame");
    let started = Instant::now();
    if far_ends[0].push(&frame).is_err() {
        return (false, started.elapsed());
    }
    while started.elapsed() < patience {
        let came = far_ends
            .iter()
            .any(|end| std::iter::from_fn(|| end.take()).any(|frame| frame[12..14] == [8, 0]));
        if came {
            return (true, started.elapsed());
        }
        std::thread::sleep(Duration::from_micros(100));
    }
    (false, started.elapsed())
}
