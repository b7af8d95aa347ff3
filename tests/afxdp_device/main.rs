//! The AF_XDP device on real veth pairs: frames, modes, take-over, refusals.

#![cfg(feature = "afxdp")]

mod lab;
mod refusals;
mod takeover;
mod traffic;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use guideway::io::afxdp::{AfxdpDevice, SteerRule, bridge, ethtool, open};
use guideway::io::{Batch, Device};
use guideway::wire::PortId;

use lab::{CLIENT, Lab, SERVER, VIP, may_run, run};
use traffic::{Workers, ask, ask_in_vain, ask_until_answered, cross, echo, sum};

pub fn whole(address: &str) -> SteerRule {
    SteerRule::Whole(address.parse().unwrap())
}

#[test]
fn echo_by_two_queues_loses_nothing() {
    if !may_run() {
        return;
    }
    let lab = Lab::new("echo", 2, 1);
    let options = lab.options(1, 2);
    let mut opened = lab.within("b", move || open(&options)).unwrap();
    assert_eq!(opened.steer.modes(), [("left".to_string(), "native")]);
    assert!(
        opened.notes.iter().any(|note| note.contains("copy mode, since")),
        "{:?}",
        opened.notes
    );
    assert!(opened.notes.iter().any(|note| note.contains("spreads")), "{:?}", opened.notes);
    let tags = opened.notes.iter().filter(|note| note.contains("left: rxvlan is off now"));
    assert_eq!((tags.count(), opened.warnings.len()), (1, 0), "{:?}", opened.notes);
    assert_eq!(opened.rss, [None]);
    opened.steer.add(&whole(VIP)).unwrap();

    let workers = Workers::start(opened.devices, echo);
    ask(&lab, 32, 25);
    // A question by ARP for the address is ours too; the worker's answer to it is of no use.
    lab.ip("c", &format!("neigh del {VIP} dev c0"));
    lab.within("c", || {
        let socket = UdpSocket::bind((CLIENT, 0)).unwrap();
        socket.send_to(b"?", (VIP, 7)).unwrap();
        std::thread::sleep(Duration::from_millis(100));
    });
    let counters = opened.steer.counters().unwrap();
    let devices = workers.stop();

    let count = |name| counters[0].get(name);
    assert_eq!((count("steered"), count("steer_no_worker")), (800, 0), "{counters:?}");
    assert!(count("steered_arp") > 0, "{counters:?}");
    assert_eq!(sum(&devices, |queue| queue.received), count("steered") + count("steered_arp"));
    assert_eq!(sum(&devices, |queue| queue.transmitted), sum(&devices, |queue| queue.received));
    for device in &devices {
        let statistics = device.statistics();
        assert!(statistics.queues[0].received > 0, "both queues have work: {statistics:?}");
        assert_eq!(statistics.queues[0].mode, "native copy");
        assert_eq!(statistics.queues[0].invalid_descriptors, 0);
    }
    opened.steer.detach();
}

#[test]
fn tcp_crosses_interfaces_with_different_queue_counts() {
    if !may_run() {
        return;
    }
    let lab = Lab::new("tcp", 2, 1);
    let options = lab.options(2, 2);
    let mut opened = lab.within("b", move || open(&options)).unwrap();
    assert!(opened.notes.iter().any(|note| note.contains("packet socket")), "{:?}", opened.notes);
    for address in [CLIENT, SERVER] {
        opened.steer.add(&whole(address)).unwrap();
    }
    let workers = Workers::start(opened.devices, cross);
    download(&lab, 8, 2 << 20);
    let devices = workers.stop();
    let statistics: Vec<_> = devices.iter().map(AfxdpDevice::statistics).collect();
    let packet =
        statistics.iter().flat_map(|of| &of.queues).find(|one| one.mode.contains("packet"));
    assert!(packet.is_some_and(|one| one.transmitted > 0), "{statistics:?}");
    opened.steer.detach();
}

#[test]
fn a_container_in_a_bridge_sends_20_mb_with_its_offloads_on() {
    if !may_run() {
        return;
    }
    let lab = Lab::new("container", 2, 1);
    let (b, s) = (lab.name("b"), lab.name("s"));
    lab.ip("b", "link add br0 type bridge");
    // What was our end is the container's now, in the bridge; our port takes over its address.
    lab.ip("b", "link set right address 02:00:00:00:00:aa master br0");
    lab.ip("b", "link set br0 up");
    run(&format!("ip netns exec {s} ethtool -K s0 tx on sg on tso on gso on"));
    lab.within("b", || bridge::make_port("gw0", "br0", 2)).unwrap();
    run(&format!("ip -n {b} link set gw0 address {}", lab::RIGHT_MAC));
    let mut options = lab.options(2, 2);
    options.interfaces[1].name = "gw0".to_string();
    let mut opened = lab.within("b", move || open(&options)).unwrap();
    assert!(opened.steer.modes().iter().all(|(_, mode)| *mode == "native"));
    for address in [CLIENT, SERVER] {
        opened.steer.add(&whole(address)).unwrap();
    }
    let workers = Workers::start(opened.devices, cross);
    download(&lab, 1, 20 << 20);
    let devices = workers.stop();
    // What is dropped for another reason than a burst is a frame too long for its chunk.
    let dropped = sum(&devices, |queue| queue.rx_dropped);
    assert_eq!(dropped, sum(&devices, |queue| queue.rx_fill_ring_empty));
    opened.steer.detach();
}

/// The client fetches `bytes` from the server, several times, and checks each.
fn download(lab: &Lab, connections: usize, bytes: usize) {
    let server = lab.spawn("s", move || {
        let listener = TcpListener::bind((SERVER, 80)).unwrap();
        for _ in 0..connections {
            let (mut stream, _) = listener.accept().unwrap();
            let sent: Vec<u8> = (0..bytes).map(|at| (at % 251) as u8).collect();
            stream.write_all(&sent).unwrap();
        }
    });
    lab.within("c", move || {
        for number in 0..connections {
            let mut stream = loop {
                match TcpStream::connect((SERVER, 80)) {
                    Ok(stream) => break stream,
                    // The server may still be on its way to listen.
                    Err(_) => std::thread::sleep(Duration::from_millis(20)),
                }
            };
            let mut got = Vec::new();
            stream.read_to_end(&mut got).unwrap();
            let right = got.iter().enumerate().all(|(at, byte)| *byte == (at % 251) as u8);
            assert!(right && got.len() == bytes, "connection {number}: {} bytes", got.len());
        }
    });
    lab::join(server);
}

#[test]
fn a_full_ring_gives_the_frame_back_and_loses_none() {
    if !may_run() {
        return;
    }
    let lab = Lab::new("full", 1, 1);
    let options = lab.options(1, 1);
    let mut opened = lab.within("b", move || open(&options)).unwrap();
    let device = &mut opened.devices[0];
    let total = device.census().total;
    assert_eq!((total, device.census().fill), (1024, 512), "a full fill ring");
    // The other half of the frames fits the transmit ring exactly; one is kept in hand.
    let spare = device.acquire(PortId(0), 60).unwrap();
    let mut sent = 0;
    while let Some(frame) = frame_to_server(device) {
        assert!(device.transmit(PortId(0), frame).is_ok());
        sent += 1;
    }
    assert_eq!((sent, device.census().transmit), (511, 511));
    assert!(device.acquire(PortId(0), 60).is_none(), "no frame is left");
    assert!(device.transmit(PortId(0), spare).is_ok(), "the last place");
    drain(device);
    assert_eq!(device.census().free, 512);
    let wrong_port = device.acquire(PortId(0), 60).unwrap();
    let back = device.transmit(PortId(9), wrong_port).unwrap_err();
    device.release(back);
    assert!(device.acquire(PortId(0), 1793).is_none(), "more than a chunk holds");
    // What a panicked worker had in hand is found again.
    let mut lost = Batch::new();
    lost.push(device.acquire(PortId(0), 60).unwrap());
    lost.clear();
    assert_eq!(device.census().in_hand, 1);
    assert_eq!((device.recover_lost_frames(), device.census().in_hand), (1, 0));
    assert!(device.census().is_conserved());
    opened.steer.detach();
}

/// A frame nobody answers: to the client's MAC, of a type nobody knows.
fn frame_to_server(device: &mut AfxdpDevice) -> Option<guideway::io::Frame> {
    let frame = device.acquire(PortId(0), 60)?;
    let mut view = device.view(&frame);
    let bytes = view.bytes_mut();
    bytes.fill(0);
    bytes[..6].copy_from_slice(&lab::CLIENT_MAC.0);
    bytes[6..12].copy_from_slice(&lab::LEFT_MAC.0);
    bytes[12..14].copy_from_slice(&[0x88, 0xb5]);
    Some(frame)
}

fn drain(device: &mut AfxdpDevice) {
    for _ in 0..500 {
        device.flush();
        device.reclaim();
        assert!(device.census().is_conserved());
        if device.census().transmit == 0 {
            return;
        }
        device.wait(Duration::from_millis(10));
    }
    panic!("frames stay in transmit: {:?} {:?}", device.census(), device.statistics());
}

#[test]
fn an_interface_goes_down_and_up_while_running() {
    if !may_run() {
        return;
    }
    let lab = Lab::new("down", 2, 1);
    let options = lab.options(1, 2);
    let mut opened = lab.within("b", move || open(&options)).unwrap();
    opened.steer.add(&whole(VIP)).unwrap();
    let workers = Workers::start(opened.devices, echo);
    ask(&lab, 4, 5);
    lab.ip("b", "link set left down");
    ask_in_vain(&lab, 2);
    lab.ip("b", "link set left up");
    ask_until_answered(&lab);
    ask(&lab, 4, 5);

    let mut devices = workers.stop();
    let device = &mut devices[0];
    lab.ip("b", "link set left down");
    for _ in 0..10 {
        let frame = frame_to_server(device).unwrap();
        assert!(device.transmit(PortId(0), frame).is_ok());
    }
    for _ in 0..5 {
        device.flush();
        device.reclaim();
        device.wait(Duration::from_millis(10));
    }
    assert_eq!(device.census().transmit, 10, "they wait for the interface, none is lost");
    lab.ip("b", "link set left up");
    drain(device);
    opened.steer.detach();
}

#[test]
fn a_worker_outlives_its_interface() {
    if !may_run() {
        return;
    }
    let lab = Lab::new("gone", 1, 1);
    let options = lab.options(2, 1);
    let mut opened = lab.within("b", move || open(&options)).unwrap();
    let device = &mut opened.devices[0];
    lab.ip("b", "link del left");
    let frame = frame_to_server(device).unwrap();
    assert!(device.transmit(PortId(0), frame).is_ok());
    for _ in 0..5 {
        assert_eq!(device.receive(&mut Batch::new()), 0);
        device.flush();
        device.reclaim();
        device.wait(Duration::from_millis(20));
    }
    assert!(device.census().is_conserved(), "{:?}", device.census());
    opened.steer.detach();
}

#[test]
fn generic_mode_moves_frames_too() {
    if !may_run() {
        return;
    }
    let lab = Lab::new("generic", 2, 1);
    let mut options = lab.options(1, 1);
    options.interfaces[0].mode = guideway::io::afxdp::XdpMode::Generic;
    let mut opened = lab.within("b", move || open(&options)).unwrap();
    assert_eq!(opened.steer.modes(), [("left".to_string(), "generic")]);
    opened.steer.add(&whole(VIP)).unwrap();
    let workers = Workers::start(opened.devices, echo);
    ask(&lab, 16, 5);
    // One worker has both queues.
    let devices = workers.stop();
    let statistics = devices[0].statistics();
    assert_eq!(statistics.queues.len(), 2);
    assert!(statistics.queues.iter().all(|queue| queue.mode == "generic copy"), "{statistics:?}");
    opened.steer.detach();
}

#[test]
fn a_bridge_port_is_made_reused_and_removed() {
    if !may_run() {
        return;
    }
    let lab = Lab::new("bridge", 1, 1);
    lab.ip("b", "link add br0 mtu 1400 type bridge");
    lab.ip("b", "link set br0 up");
    lab.within("b", || {
        let missing = bridge::make_port("gw0", "br9", 2).unwrap_err();
        assert!(matches!(missing, bridge::BridgeError::NoBridge(_)), "{missing}");
        let taken = bridge::make_port("left", "br0", 2).unwrap_err();
        assert!(matches!(taken, bridge::BridgeError::NameTaken { .. }), "{taken}");
        for _ in 0..2 {
            let port = bridge::make_port("gw0", "br0", 2).unwrap();
            assert_eq!(port.peer, "gw0-br");
            assert_eq!(ethtool::channels("gw0").unwrap(), ethtool::Channels { rx: 2, tx: 2 });
        }
    });
    let netns = lab.name("b");
    let features = output(&format!("ip netns exec {netns} ethtool -k gw0-br"));
    for off in [
        "tx-checksumming: off",
        "scatter-gather: off",
        "tx-tcp-segmentation: off",
        "generic-segmentation-offload: off",
        "generic-receive-offload: off",
        "tx-vlan-offload: off",
    ] {
        assert!(features.contains(off), "{off}: {features}");
    }
    let link = output(&format!("ip -n {netns} link show gw0-br"));
    assert!(link.contains("mtu 1400") && link.contains("master br0"), "{link}");
    assert!(link.contains("state UP"), "{link}");
    lab.within("b", || {
        bridge::remove_port("gw0").unwrap();
        bridge::remove_port("gw0").unwrap();
    });
    run(&format!("ip -n {netns} link show br0"));
    assert!(!output(&format!("ip -n {netns} link")).contains("gw0"));
}

pub fn output(line: &str) -> String {
    let mut words = line.split_whitespace();
    let output = std::process::Command::new(words.next().unwrap()).args(words).output().unwrap();
    String::from_utf8_lossy(&output.stdout).to_string()
}
