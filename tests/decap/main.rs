//! What the decap program does, frame by frame, run by the kernel on byte arrays
//! (`BPF_PROG_TEST_RUN`): return code, all bytes of the frame after it, and all counters.

#![cfg(feature = "program")]

mod ecn;
mod frames;
mod hostile;
mod rows;

use aya::Ebpf;
use aya::maps::lpm_trie::{Key, LpmTrie};
use aya::maps::{Array, HashMap, MapData, PerCpuArray};
use aya::programs::{TestRun, TestRunOptions, Xdp};
use guideway::io::afxdp::decap::DECAP_OBJECT;
use guideway::io::afxdp::decap::layout::{self, AddressBytes, ConfigBytes, DECAP_COUNTERS};

use frames::{BACKEND, BACKEND6, GUE_PORT, VIP, VIP6, ip};

pub const XDP_DROP: u32 = 1;
pub const XDP_PASS: u32 = 2;

/// What became of a frame: return code, its bytes, and the one counter that moved.
pub type Outcome = (u32, Vec<u8>, &'static str);

pub struct Bench {
    ebpf: Ebpf,
    config: Array<MapData, ConfigBytes>,
    sources: LpmTrie<MapData, AddressBytes, u8>,
    counters: PerCpuArray<MapData, u64>,
}

impl Bench {
    /// A program that knows backend and VIPs; none where it cannot be loaded.
    pub fn new() -> Option<Bench> {
        if !rustix::process::geteuid().is_root() {
            assert!(
                std::env::var_os("CI").is_none(),
                "loading an XDP program needs root, and CI has it"
            );
            println!("skipped: loading an XDP program needs root; run with sudo, or in CI");
            return None;
        }
        let mut ebpf = Ebpf::load(DECAP_OBJECT).unwrap();
        let program: &mut Xdp = ebpf.program_mut("decap").unwrap().try_into().unwrap();
        program.load().unwrap();
        let mut addresses: HashMap<_, AddressBytes, u8> =
            HashMap::try_from(ebpf.take_map("decap_addresses").unwrap()).unwrap();
        for (address, bit) in [
            (BACKEND, layout::LOCAL),
            (BACKEND6, layout::LOCAL),
            (VIP, layout::INNER),
            (VIP6, layout::INNER),
        ] {
            addresses.insert(layout::address(ip(address)), bit, 0).unwrap();
        }
        let mut bench = Bench {
            config: Array::try_from(ebpf.take_map("decap_config").unwrap()).unwrap(),
            sources: LpmTrie::try_from(ebpf.take_map("decap_sources").unwrap()).unwrap(),
            counters: PerCpuArray::try_from(ebpf.take_map("decap_counters").unwrap()).unwrap(),
            ebpf,
        };
        bench.configure(GUE_PORT, &[]);
        Some(bench)
    }

    pub fn configure(&mut self, gue_port: u16, sources: &[&str]) {
        for prefix in sources {
            let (bits, bytes) = layout::source(&prefix.parse().unwrap());
            self.sources.insert(&Key::new(bits, bytes), 1, 0).unwrap();
        }
        self.config.set(0, layout::config(gue_port, !sources.is_empty()), 0).unwrap();
    }

    fn counted(&self) -> Vec<u64> {
        let count = |number| self.counters.get(&number, 0).unwrap().iter().sum();
        (0..DECAP_COUNTERS.len() as u32).map(count).collect()
    }

    pub fn run(&self, frame: &[u8]) -> Outcome {
        let before = self.counted();
        let program: &Xdp = self.ebpf.program("decap").unwrap().try_into().unwrap();
        let mut out = vec![0; 4096];
        let options = TestRunOptions {
            data_in: Some(frame),
            data_out: Some(&mut out),
            ..TestRunOptions::default()
        };
        let result = program.test_run(options).unwrap();
        out.truncate(result.data_size_out as usize);
        let moved: Vec<_> = self
            .counted()
            .into_iter()
            .zip(before)
            .zip(DECAP_COUNTERS)
            .filter(|((after, before), _)| after != before)
            .map(|((after, before), name)| (name, after - before))
            .collect();
        match moved[..] {
            [(name, 1)] => (result.return_value, out, name),
            _ => panic!("one counter has to move by one: {moved:?}"),
        }
    }
}
