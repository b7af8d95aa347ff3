//! What the XDP program decides, frame by frame, run by the kernel on byte arrays
//! (`BPF_PROG_TEST_RUN`). With no socket in its XSKMAP "ours" and "not ours" both end without a
//! redirect, so the counters are what is compared: all of them after each frame.

#![cfg(feature = "afxdp")]

#[path = "steer/back.rs"]
mod back;
#[path = "steer/chance.rs"]
mod chance;
#[path = "steer/frames.rs"]
mod frames;
#[path = "steer/ipv4.rs"]
mod ipv4;
#[path = "steer/ipv6.rs"]
mod ipv6;
#[path = "steer/vlan.rs"]
mod vlan;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use aya::Ebpf;
use aya::maps::{Array, HashMap, MapData, PerCpuArray};
use aya::programs::{TestRun, TestRunOptions, Xdp};
use guideway::io::afxdp::layout::{
    self, AddressBytes, ConfigBytes, KeyBytes, PortBytes, RangeBytes, STEER_COUNTERS,
};
use guideway::io::afxdp::{STEER_OBJECT, SteerRule};
use guideway::wire::MacAddress;

const OWN: MacAddress = MacAddress([2, 0, 0, 0, 0, 1]);
const OTHER: MacAddress = MacAddress([2, 0, 0, 0, 0, 2]);
const GROUP: MacAddress = MacAddress([1, 0, 0x5e, 0, 0, 1]);
/// Ours alone.
const VIP: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 100);
/// The machine's too: TCP 80, UDP 53, and SNAT ports 20000-20999 and 30000-30999 are ours.
const SHARED: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 1);
const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 7);
/// The same of IPv6; of the shared one TCP 443 is ours, too.
const VIP6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 0x100);
const SHARED6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 1);
const CLIENT6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 9, 0, 0, 0, 0, 7);

/// Backends of DNAT services, on TCP 8080 each, and outer sources of tunnels.
const BACKEND: Ipv4Addr = Ipv4Addr::new(10, 2, 0, 11);
const BACKEND6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, 0x11);
const SOURCES: Ipv4Addr = Ipv4Addr::new(10, 7, 0, 0);
const SOURCES6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 7, 0, 0, 0, 0, 0);

const XDP_DROP: u32 = 1;
const XDP_PASS: u32 = 2;
const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMPV6: u8 = 58;
const MORE: u16 = 0x2000;

struct Bench {
    ebpf: Ebpf,
    config: Array<MapData, ConfigBytes>,
    counters: PerCpuArray<MapData, u64>,
}

impl Bench {
    fn new() -> Bench {
        let mut ebpf = Ebpf::load(STEER_OBJECT).unwrap();
        let program: &mut Xdp = ebpf.program_mut("steer").unwrap().try_into().unwrap();
        program.load().unwrap();
        let mut addresses: HashMap<_, KeyBytes, AddressBytes> =
            HashMap::try_from(ebpf.take_map("steer_addresses").unwrap()).unwrap();
        let mut taken: HashMap<_, PortBytes, u8> =
            HashMap::try_from(ebpf.take_map("steer_ports").unwrap()).unwrap();
        let (shared, shared6) = (IpAddr::V4(SHARED), IpAddr::V6(SHARED6));
        for whole in [IpAddr::V4(VIP), IpAddr::V6(VIP6)] {
            let value = layout::address([SteerRule::Whole(whole)].iter()).unwrap().unwrap();
            addresses.insert(layout::key(whole), value, 0).unwrap();
        }
        for shared in [shared, shared6] {
            let ranges = [
                SteerRule::PortRange(shared, 20000, 20999),
                SteerRule::PortRange(shared, 30000, 30999),
            ];
            let value = layout::address(ranges.iter()).unwrap().unwrap();
            addresses.insert(layout::key(shared), value, 0).unwrap();
            taken.insert(layout::port(shared, TCP, 80), 1, 0).unwrap();
            taken.insert(layout::port(shared, UDP, 53), 1, 0).unwrap();
            taken.insert(layout::port(shared, 132, 2905), 1, 0).unwrap();
        }
        taken.insert(layout::port(shared6, TCP, 443), 1, 0).unwrap();
        let mut backends: HashMap<_, PortBytes, RangeBytes> =
            HashMap::try_from(ebpf.take_map("steer_backends").unwrap()).unwrap();
        let mut own: HashMap<_, KeyBytes, u8> =
            HashMap::try_from(ebpf.take_map("steer_own").unwrap()).unwrap();
        for backend in [IpAddr::V4(BACKEND), IpAddr::V6(BACKEND6)] {
            let socket = layout::range((8080, 8080));
            backends.insert(layout::port(backend, TCP, 8080), socket, 0).unwrap();
            // One of several ports stands by port 0.
            let several = layout::range((5000, 5999));
            backends.insert(layout::port(backend, UDP, 0), several, 0).unwrap();
        }
        for address in [shared, shared6] {
            own.insert(layout::key(address), 1, 0).unwrap();
        }
        let mut bench = Bench {
            config: Array::try_from(ebpf.take_map("steer_config").unwrap()).unwrap(),
            counters: PerCpuArray::try_from(ebpf.take_map("steer_counters").unwrap()).unwrap(),
            ebpf,
        };
        bench.set_policy(true);
        bench
    }

    fn set_policy(&mut self, drop_without_worker: bool) {
        self.config.set(0, layout::config(&settings(OWN, drop_without_worker)), 0).unwrap();
    }

    fn counted(&self) -> Vec<u64> {
        let count = |number| self.counters.get(&number, 0).unwrap().iter().sum();
        (0..STEER_COUNTERS.len() as u32).map(count).collect()
    }

    /// The verdict, and the one counter that moved.
    fn run(&self, frame: &[u8]) -> (u32, &'static str) {
        let before = self.counted();
        let program: &Xdp = self.ebpf.program("steer").unwrap().try_into().unwrap();
        let options = TestRunOptions { data_in: Some(frame), ..TestRunOptions::default() };
        let verdict = program.test_run(options).unwrap().return_value;
        let moved: Vec<_> = self
            .counted()
            .into_iter()
            .zip(before)
            .zip(STEER_COUNTERS)
            .filter(|((after, before), _)| after != before)
            .map(|((after, before), name)| (name, after - before))
            .collect();
        match moved[..] {
            [(name, 1)] => (verdict, name),
            _ => panic!("one counter has to move by one: {moved:?}"),
        }
    }
}

/// With DNAT backends and tunnels' sources of both families.
fn settings(mac: MacAddress, drop_without_worker: bool) -> layout::Config {
    let sources = vec![(IpAddr::V4(SOURCES), 24), (IpAddr::V6(SOURCES6), 64)];
    layout::Config { mac, drop_without_worker, dnat: true, sources }
}

fn may_run() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        assert!(
            std::env::var_os("CI").is_none(),
            "loading an XDP program needs root, and CI has it"
        );
        println!("skipped: loading an XDP program needs root; run with sudo, or in CI");
    }
    root
}

/// Description, frame, verdict and counter.
type Row = (&'static str, Vec<u8>, (u32, &'static str));

const OURS: (u32, &str) = (XDP_DROP, "steer_no_worker");
const PASSED: (u32, &str) = (XDP_PASS, "passed");
const OTHER_MAC: (u32, &str) = (XDP_PASS, "passed_other_mac");
const FRAGMENT: (u32, &str) = (XDP_PASS, "passed_shared_fragment");
const VLAN: (u32, &str) = (XDP_PASS, "passed_vlan");

#[test]
fn every_frame_goes_where_it_belongs() {
    if !may_run() {
        return;
    }
    let bench = Bench::new();
    let rows = [ipv4::rows(), ipv6::rows(), vlan::rows(), back::rows()];
    for (what, frame, wanted) in rows.into_iter().flatten() {
        assert_eq!(bench.run(&frame), wanted, "{what}");
    }
}

#[test]
fn what_is_ours_goes_to_the_kernel_only_by_policy() {
    if !may_run() {
        return;
    }
    let mut bench = Bench::new();
    bench.set_policy(false);
    assert_eq!(bench.run(&frames::to(VIP, TCP, 80)), (XDP_PASS, "steer_no_worker"));
    bench.set_policy(true);
    assert_eq!(bench.run(&frames::to(VIP, TCP, 80)), (XDP_DROP, "steer_no_worker"));
}

#[test]
fn before_the_mac_is_known_nothing_but_groups_is_ours() {
    if !may_run() {
        return;
    }
    let mut bench = Bench::new();
    bench.config.set(0, layout::config(&settings(OTHER, true)), 0).unwrap();
    assert_eq!(bench.run(&frames::to(VIP, TCP, 80)), (XDP_PASS, "passed_other_mac"));
    assert_eq!(bench.run(&frames::arp(1, VIP)), (XDP_DROP, "steer_no_worker"));
}
