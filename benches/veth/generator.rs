//! The ends of the packet rows: a generator that does not limit, and a sink that counts and drops.
//!
//! The generator is an XDP program (`bpf/bench.bpf.c`) that the kernel runs over "live frames"
//! (`BPF_PROG_TEST_RUN`): what it returns `XDP_TX` for leaves by the client's interface.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use aya::maps::{Array, MapData, PerCpuArray};
use aya::programs::{
    SchedClassifier, TcAttachType, TestRun, TestRunAttrs, TestRunOptions, Xdp, tc,
};
use aya::{Ebpf, programs::ProgramError};

use super::arrival::{self, Form};
use super::lab::{BACKENDS, CLIENT, CLIENT_MAC, FRONT_MAC};
use super::process::{Task, inside, nap};

/// The compiled programs.
pub static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/bench.bpf.o"));
/// As in bpf/bench.h.
const FRAME: usize = 64;
const GENERATED: u32 = 0;
const ARRIVED: u32 = 1;
const KEPT: u32 = 64;
const KEPT_BYTES: usize = 128;
/// First source address of the generated flows: 10.128.0.0.
pub const SOURCE: u32 = 0x0a80_0000;
pub const VIP: u32 = 0x0a01_0064;
pub const PORT: u16 = 80;
/// Frames a call: the kernel makes a call ready in a millisecond, so many are wanted.
const FRAMES_A_CALL: u32 = 1 << 23;
/// Frames the kernel runs at once.
const BATCH: u32 = 64;
/// Spreads successive frames over all flows.
const SCATTER: u32 = 0x9e37_79b1;

/// What is generated.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Traffic {
    /// UDP of that many flows (a power of two), in a scattered order.
    Udp { flows: u32 },
    /// TCP SYNs, each of a flow that was never there before; the first one's number.
    Syn { first: u32 },
}

type Config = [u8; FRAME + 32];
type Kept = [u8; 4 + KEPT_BYTES];

/// Runs until it is dropped, or until `finish`.
pub struct Generator {
    config: Array<MapData, Config>,
    settings: Config,
    counters: PerCpuArray<MapData, u64>,
    task: Task,
}

impl Generator {
    /// Starts generating on a core.
    pub fn start(traffic: Traffic, core: usize) -> Result<Generator> {
        let mut ebpf = Ebpf::load(OBJECT)?;
        let mut config: Array<_, Config> = Array::try_from(map(&mut ebpf, "bench_config")?)?;
        let counters = PerCpuArray::try_from(map(&mut ebpf, "bench_counters")?)?;
        let settings = settings(traffic);
        config.set(0, settings, 0)?;
        xdp(&mut ebpf, "generate")?.load()?;
        let task = Task::start(CLIENT, core, move |stop| generate(&mut ebpf, stop))?;
        Ok(Generator { config, settings, counters, task })
    }

    /// Frames so far.
    pub fn generated(&self) -> Result<u64> {
        Ok(self.counters.get(&GENERATED, 0)?.iter().sum())
    }

    /// An error when it has ended.
    pub fn check(&mut self) -> Result<()> {
        self.task.check()
    }

    /// Ends it; frames of the call under way are dropped where they are made.
    pub fn finish(&mut self) -> Result<()> {
        let last = self.settings.len() - 4;
        self.settings[last] = 1;
        self.config.set(0, self.settings, 0)?;
        self.task.finish()
    }
}

impl Drop for Generator {
    fn drop(&mut self) {
        let _ = self.finish();
    }
}

fn generate(ebpf: &mut Ebpf, stop: &AtomicBool) -> Result<()> {
    let socket = rustix::net::socket(
        rustix::net::AddressFamily::INET,
        rustix::net::SocketType::DGRAM,
        None,
    )?;
    let interface = rustix::net::netdevice::name_to_index(&socket, "eth0")?;
    let program = xdp(ebpf, "generate")?;
    // struct xdp_md: data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex.
    let context: Vec<u8> =
        [0, FRAME as u32, 0, interface, 0, 0].iter().flat_map(|word| word.to_ne_bytes()).collect();
    while !stop.load(Ordering::Relaxed) {
        let options = TestRunOptions {
            data_in: Some(&[0; FRAME]),
            ctx_in: Some(&context),
            repeat: FRAMES_A_CALL,
            attrs: TestRunAttrs::new().xdp_live_frames(BATCH),
            ..TestRunOptions::new()
        };
        match program.test_run(options) {
            Ok(_) => (),
            Err(ProgramError::SyscallError(error))
                if error.io_error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error).context("BPF_PROG_TEST_RUN with live frames"),
        }
    }
    Ok(())
}

/// `struct bench_config` of bpf/bench.h.
fn settings(traffic: Traffic) -> Config {
    let (protocol, transport, mask, first, step) = match traffic {
        Traffic::Udp { flows } => (17, udp(), flows - 1, 0, SCATTER),
        Traffic::Syn { first } => (6, syn(), u32::MAX, first, 1),
    };
    let mut frame = [&FRONT_MAC[..], &CLIENT_MAC, &0x0800u16.to_be_bytes()].concat();
    let length = (20 + transport.len()) as u16;
    let ip: Vec<u8> = [
        &[0x45, 0][..],
        &length.to_be_bytes(),
        &[0, 0, 0, 0, 64, protocol, 0, 0],
        &[0; 4],
        &VIP.to_be_bytes(),
    ]
    .concat();
    let pseudo = sum(&VIP.to_be_bytes()) + u32::from(protocol) + transport.len() as u32;
    frame.extend_from_slice(&ip);
    frame.extend_from_slice(&transport);
    frame.resize(FRAME, 0);
    let checksum_at = if protocol == 17 { 40 } else { 50 };
    let words = [sum(&ip), pseudo + sum(&transport), SOURCE, mask, first, step, checksum_at, 0];
    let mut settings = [0; FRAME + 32];
    settings[..FRAME].copy_from_slice(&frame);
    for (place, word) in settings[FRAME..].chunks_exact_mut(4).zip(words) {
        place.copy_from_slice(&word.to_ne_bytes());
    }
    settings
}

/// A UDP header, source port and checksum 0, with 22 bytes: a frame of 64 bytes.
fn udp() -> Vec<u8> {
    [&[0, 0][..], &PORT.to_be_bytes(), &30u16.to_be_bytes(), &[0; 24]].concat()
}

/// A TCP header with SYN, source port and checksum 0.
fn syn() -> Vec<u8> {
    let rest = [0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 0xff, 0xff, 0, 0, 0, 0];
    [&[0, 0][..], &PORT.to_be_bytes(), &rest].concat()
}

/// Of all words of 16 bits; what is left at the end is half of one.
pub fn sum(bytes: &[u8]) -> u32 {
    let word = |two: &[u8]| u16::from_be_bytes([two[0], two.get(1).copied().unwrap_or(0)]);
    bytes.chunks(2).map(|two| u32::from(word(two))).sum()
}

/// Counts and drops what arrives at the backends, and keeps a few frames of it.
pub struct Sink {
    counters: PerCpuArray<MapData, u64>,
    kept: Array<MapData, Kept>,
    // Its link ends with it.
    _ebpf: Ebpf,
}

impl Sink {
    pub fn attach(native: bool) -> Result<Sink> {
        let mut ebpf = Ebpf::load(OBJECT)?;
        let counters = PerCpuArray::try_from(map(&mut ebpf, "bench_counters")?)?;
        let kept = Array::try_from(map(&mut ebpf, "bench_kept")?)?;
        inside(BACKENDS, || {
            if native {
                let program = xdp(&mut ebpf, "sink")?;
                program.load()?;
                program.attach("eth0", aya::programs::XdpMode::Driver)?;
            } else {
                let program: &mut SchedClassifier =
                    ebpf.program_mut("sink_tc").context("sink_tc")?.try_into()?;
                program.load()?;
                let _ = tc::qdisc_add_clsact("eth0");
                program.attach("eth0", TcAttachType::Ingress)?;
            }
            Ok(())
        })?;
        Ok(Sink { counters, kept, _ebpf: ebpf })
    }

    /// Frames so far.
    pub fn arrived(&self) -> Result<u64> {
        Ok(self.counters.get(&ARRIVED, 0)?.iter().sum())
    }

    /// Looks at the frames kept, once nothing comes any more.
    pub fn check(&self, form: Form) -> Result<()> {
        let mut before = None;
        while before != Some(self.arrived()?) {
            before = Some(self.arrived()?);
            nap(Duration::from_millis(20))?;
        }
        let all: Vec<Kept> =
            (0..KEPT).map(|place| self.kept.get(&place, 0)).collect::<Result<_, _>>()?;
        let frames = all.iter().filter_map(|kept| {
            let (length, bytes) = kept.split_first_chunk::<4>()?;
            bytes.get(..u32::from_ne_bytes(*length) as usize)
        });
        arrival::check(frames, form)
    }
}

/// One of the programs.
pub fn xdp<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut Xdp> {
    Ok(ebpf.program_mut(name).context("a program of bench.bpf.c")?.try_into()?)
}

/// One of the maps.
pub fn map(ebpf: &mut Ebpf, name: &str) -> Result<aya::maps::Map> {
    ebpf.take_map(name).context("a map of bench.bpf.c")
}
