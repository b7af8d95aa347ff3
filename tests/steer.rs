//! What the XDP program decides, frame by frame, run by the kernel on byte arrays
//! (`BPF_PROG_TEST_RUN`). With no socket in its XSKMAP "ours" and "not ours" both end without a
//! redirect, so the counters are what is compared: all of them after each frame.
#![cfg(feature = "afxdp")]

use std::net::Ipv4Addr;

use aya::Ebpf;
use aya::maps::{Array, HashMap, MapData, PerCpuArray};
use aya::programs::{TestRun, TestRunOptions, Xdp};
use guideway::io::afxdp::layout::{self, AddressBytes, ConfigBytes, PortBytes, STEER_COUNTERS};
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

const XDP_DROP: u32 = 1;
const XDP_PASS: u32 = 2;
const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
const MORE: u16 = 0x2000;

fn ethernet(destination: MacAddress, kind: u16, body: &[u8]) -> Vec<u8> {
    [&destination.0[..], &OTHER.0, &kind.to_be_bytes(), body].concat()
}

/// An IPv4 packet with `options` bytes of options; its checksum is no business of the program.
fn ipv4(
    destination: Ipv4Addr,
    source: Ipv4Addr,
    protocol: u8,
    fragment: u16,
    options: usize,
    body: &[u8],
) -> Vec<u8> {
    let header = 20 + options;
    let mut packet = vec![0; header];
    packet[0] = 0x40 | (header / 4) as u8;
    packet[2..4].copy_from_slice(&((header + body.len()) as u16).to_be_bytes());
    packet[6..8].copy_from_slice(&fragment.to_be_bytes());
    packet[8] = 64;
    packet[9] = protocol;
    packet[12..16].copy_from_slice(&source.octets());
    packet[16..20].copy_from_slice(&destination.octets());
    packet.extend_from_slice(body);
    packet
}

fn ports(source: u16, destination: u16) -> Vec<u8> {
    [&source.to_be_bytes()[..], &destination.to_be_bytes(), &[0; 16]].concat()
}

fn to(destination: Ipv4Addr, protocol: u8, port: u16) -> Vec<u8> {
    ethernet(OWN, 0x0800, &ipv4(destination, CLIENT, protocol, 0, 0, &ports(40000, port)))
}

fn icmp(destination: Ipv4Addr, kind: u8, quoted: &[u8]) -> Vec<u8> {
    let message = [&[kind, 0, 0, 0, 0, 0, 0, 0], quoted].concat();
    ethernet(OWN, 0x0800, &ipv4(destination, CLIENT, ICMP, 0, 0, &message))
}

/// What a router quotes of a packet we sent: header and 8 bytes (RFC 792).
fn quoted(source: Ipv4Addr, protocol: u8, port: u16, fragment: u16, options: usize) -> Vec<u8> {
    ipv4(CLIENT, source, protocol, fragment, options, &ports(port, 40000)[..8])
}

fn arp(operation: u16, target: Ipv4Addr) -> Vec<u8> {
    let mut body = vec![0, 1, 8, 0, 6, 4];
    body.extend_from_slice(&operation.to_be_bytes());
    body.extend_from_slice(&OTHER.0);
    body.extend_from_slice(&CLIENT.octets());
    body.extend_from_slice(&[0; 6]);
    body.extend_from_slice(&target.octets());
    ethernet(MacAddress::BROADCAST, 0x0806, &body)
}

fn with_destination(mut frame: Vec<u8>, mac: MacAddress) -> Vec<u8> {
    frame[..6].copy_from_slice(&mac.0);
    frame
}

fn cut(mut frame: Vec<u8>, len: usize) -> Vec<u8> {
    frame.truncate(len);
    frame
}

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
        let mut addresses: HashMap<_, [u8; 4], AddressBytes> =
            HashMap::try_from(ebpf.take_map("steer_addresses").unwrap()).unwrap();
        let mut taken: HashMap<_, PortBytes, u8> =
            HashMap::try_from(ebpf.take_map("steer_ports").unwrap()).unwrap();
        let whole = layout::address([SteerRule::Whole(VIP)].iter()).unwrap().unwrap();
        let ranges = [
            SteerRule::PortRange(SHARED, 20000, 20999),
            SteerRule::PortRange(SHARED, 30000, 30999),
        ];
        let shared = layout::address(ranges.iter()).unwrap().unwrap();
        addresses.insert(VIP.octets(), whole, 0).unwrap();
        addresses.insert(SHARED.octets(), shared, 0).unwrap();
        taken.insert(layout::port(SHARED, TCP, 80), 1, 0).unwrap();
        taken.insert(layout::port(SHARED, UDP, 53), 1, 0).unwrap();
        let mut bench = Bench {
            config: Array::try_from(ebpf.take_map("steer_config").unwrap()).unwrap(),
            counters: PerCpuArray::try_from(ebpf.take_map("steer_counters").unwrap()).unwrap(),
            ebpf,
        };
        bench.set_policy(true);
        bench
    }

    fn set_policy(&mut self, drop_without_worker: bool) {
        self.config.set(0, layout::config(OWN, drop_without_worker), 0).unwrap();
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

fn ip(body: Vec<u8>) -> Vec<u8> {
    ethernet(OWN, 0x0800, &body)
}

/// Addresses that are ours alone.
#[rustfmt::skip]
fn whole_address() -> Vec<Row> {
    vec![
        ("TCP to a whole address", to(VIP, TCP, 80), OURS),
        ("any port of it", to(VIP, UDP, 9999), OURS),
        ("any protocol of it", to(VIP, 132, 0), OURS),
        ("a ping to it", icmp(VIP, 8, &[]), OURS),
        ("a first fragment to it", ip(ipv4(VIP, CLIENT, UDP, MORE, 0, &ports(1, 2))), OURS),
        ("a later fragment to it", ip(ipv4(VIP, CLIENT, UDP, 185, 0, &[0; 64])), OURS),
        ("a bare header to it", ip(ipv4(VIP, CLIENT, TCP, 0, 0, &[])), OURS),
        ("to a group MAC", with_destination(to(VIP, TCP, 80), GROUP), OURS),
        ("to another station's MAC", with_destination(to(VIP, TCP, 80), OTHER), OTHER_MAC),
        ("to an address nobody configured", to(CLIENT, TCP, 80), PASSED),
    ]
}

/// ARP.
#[rustfmt::skip]
fn arp_packets() -> Vec<Row> {
    vec![
        ("who has the whole address", arp(1, VIP), OURS),
        ("an answer to the whole address", with_destination(arp(2, VIP), OWN), OURS),
        ("a question to another MAC", with_destination(arp(1, VIP), OTHER), OTHER_MAC),
        ("who has the shared address", arp(1, SHARED), PASSED),
        ("who has another address", arp(1, CLIENT), PASSED),
        ("an ARP operation that is none", arp(3, VIP), PASSED),
        ("a cut ARP", cut(arp(1, VIP), 41), PASSED),
    ]
}

/// Ports and fragments of an address the machine has too.
#[rustfmt::skip]
fn shared_ports() -> Vec<Row> {
    vec![
        ("a service's port", to(SHARED, TCP, 80), OURS),
        ("its number in the other protocol", to(SHARED, UDP, 80), PASSED),
        ("a UDP service's port", to(SHARED, UDP, 53), OURS),
        ("SSH of the machine", to(SHARED, TCP, 22), PASSED),
        ("the first SNAT port", to(SHARED, TCP, 20000), OURS),
        ("the last SNAT port", to(SHARED, UDP, 20999), OURS),
        ("below the SNAT ports", to(SHARED, TCP, 19999), PASSED),
        ("above the SNAT ports", to(SHARED, TCP, 21000), PASSED),
        ("in the second range", to(SHARED, TCP, 30500), OURS),
        ("SCTP with a service's port number", to(SHARED, 132, 80), PASSED),
        ("with IPv4 options", ip(ipv4(SHARED, CLIENT, TCP, 0, 12, &ports(1, 80))), OURS),
        ("with 40 bytes of options", ip(ipv4(SHARED, CLIENT, TCP, 0, 40, &ports(1, 22))), PASSED),
        ("cut before its ports", cut(to(SHARED, TCP, 80), 14 + 20 + 3), PASSED),
        ("cut after its ports", cut(to(SHARED, TCP, 80), 14 + 20 + 4), OURS),
        ("header length below 20", { let mut f = to(SHARED, TCP, 80); f[14] = 0x44; f }, PASSED),
        ("a first fragment", ip(ipv4(SHARED, CLIENT, UDP, MORE, 0, &ports(1, 53))), OURS),
        ("a later fragment", ip(ipv4(SHARED, CLIENT, UDP, 185, 0, &[0; 64])), FRAGMENT),
        ("a later fragment with more", ip(ipv4(SHARED, CLIENT, TCP, MORE | 185, 0, &[0; 64])), FRAGMENT),
        ("do not fragment is no fragment", ip(ipv4(SHARED, CLIENT, TCP, 0x4000, 0, &ports(1, 80))), OURS),
    ]
}

/// ICMP to an address the machine has too.
#[rustfmt::skip]
fn shared_icmp() -> Vec<Row> {
    vec![
        ("a ping", icmp(SHARED, 8, &[0; 20]), PASSED),
        ("a ping's answer", icmp(SHARED, 0, &[0; 20]), PASSED),
        ("unreachable, quotes a service", icmp(SHARED, 3, &quoted(SHARED, TCP, 80, 0, 0)), OURS),
        ("unreachable, quotes a SNAT port", icmp(SHARED, 3, &quoted(SHARED, UDP, 20500, 0, 0)), OURS),
        ("unreachable, quotes the machine's", icmp(SHARED, 3, &quoted(SHARED, TCP, 22, 0, 0)), PASSED),
        ("time exceeded, quotes a service", icmp(SHARED, 11, &quoted(SHARED, UDP, 53, 0, 0)), OURS),
        ("parameter problem, quotes a service", icmp(SHARED, 12, &quoted(SHARED, TCP, 80, 0, 0)), OURS),
        ("a redirect is the kernel's", icmp(SHARED, 5, &quoted(SHARED, TCP, 80, 0, 0)), PASSED),
        ("source quench is nobody's", icmp(SHARED, 4, &quoted(SHARED, TCP, 80, 0, 0)), PASSED),
        ("quoted with options", icmp(SHARED, 3, &quoted(SHARED, TCP, 80, 0, 8)), OURS),
        ("quoted first fragment", icmp(SHARED, 3, &quoted(SHARED, TCP, 80, MORE, 0)), OURS),
        ("quoted later fragment", icmp(SHARED, 3, &quoted(SHARED, TCP, 80, 7, 0)), PASSED),
        ("quotes a packet of another source", icmp(SHARED, 3, &quoted(CLIENT, TCP, 80, 0, 0)), PASSED),
        ("quotes a SNAT port of another source", icmp(SHARED, 3, &quoted(CLIENT, TCP, 20500, 0, 0)), PASSED),
        ("quotes an ICMP packet", icmp(SHARED, 3, &quoted(SHARED, ICMP, 80, 0, 0)), PASSED),
        ("a cut quotation", cut(icmp(SHARED, 3, &quoted(SHARED, TCP, 80, 0, 0)), 14 + 28 + 23), PASSED),
        ("a fragmented error", ip(ipv4(SHARED, CLIENT, ICMP, MORE, 0, &[&[3, 0, 0, 0, 0, 0, 0, 0][..], &quoted(SHARED, TCP, 80, 0, 0)].concat())), FRAGMENT),
        ("an error with options before it", ip(ipv4(SHARED, CLIENT, ICMP, 0, 4, &[&[3, 0, 0, 0, 0, 0, 0, 0][..], &quoted(SHARED, TCP, 80, 0, 0)].concat())), OURS),
        ("an error to a whole address, whatever it quotes", icmp(VIP, 3, &quoted(CLIENT, TCP, 1, 0, 0)), OURS),
    ]
}

/// What is neither.
#[rustfmt::skip]
fn everything_else() -> Vec<Row> {
    vec![
        ("IPv6", ethernet(OWN, 0x86dd, &[0x60; 60]), PASSED),
        ("a VLAN tag", ethernet(OWN, 0x8100, &[&[0, 100, 8, 0][..], &to(VIP, TCP, 80)[14..]].concat()), VLAN),
        ("a service tag", ethernet(OWN, 0x88a8, &[0; 60]), VLAN),
        ("IPv4 by type but not by version", { let mut f = to(VIP, TCP, 80); f[14] = 0x65; f }, PASSED),
        ("an Ethernet header and no more", ethernet(OWN, 0x0800, &[]), PASSED),
        ("cut within the IPv4 header", cut(to(VIP, TCP, 80), 33), PASSED),
    ]
}

#[test]
fn every_frame_goes_where_it_belongs() {
    if !may_run() {
        return;
    }
    let bench = Bench::new();
    let rows = [whole_address(), arp_packets(), shared_ports(), shared_icmp(), everything_else()];
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
    assert_eq!(bench.run(&to(VIP, TCP, 80)), (XDP_PASS, "steer_no_worker"));
    bench.set_policy(true);
    assert_eq!(bench.run(&to(VIP, TCP, 80)), (XDP_DROP, "steer_no_worker"));
}

#[test]
fn before_the_mac_is_known_nothing_but_groups_is_ours() {
    if !may_run() {
        return;
    }
    let mut bench = Bench::new();
    bench.config.set(0, layout::config(OTHER, true), 0).unwrap();
    assert_eq!(bench.run(&to(VIP, TCP, 80)), (XDP_PASS, "passed_other_mac"));
    assert_eq!(bench.run(&arp(1, VIP)), (XDP_DROP, "steer_no_worker"));
}
