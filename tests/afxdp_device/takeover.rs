//! A process that dies leaves its program; the next takes it over; a running one is left alone.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use guideway::io::afxdp::{OpenError, XdpMode, open};

use super::lab::{Lab, VIP, may_run};
use super::traffic::{Workers, ask, ask_in_vain, echo};
use super::{output, whole};

const CHILD: &str = "GUIDEWAY_TEST_BPF_DIR";

/// Does nothing by itself: [`victim`] runs this test as a process of its own, to be killed.
#[test]
fn victim_process() {
    let Some(bpf_dir) = std::env::var_os(CHILD) else {
        return;
    };
    let options = guideway::io::afxdp::OpenOptions {
        interfaces: vec![guideway::io::afxdp::InterfaceOptions {
            name: "left".to_string(),
            drop_without_worker: true,
            ..Default::default()
        }],
        workers: 2,
        frames_per_queue: 1024,
        frame_bytes: 2048,
        bpf_dir: bpf_dir.into(),
    };
    let mut opened = open(&options).unwrap();
    opened.steer.add(&whole(VIP)).unwrap();
    let _workers = Workers::start(opened.devices, echo);
    println!("\nready");
    std::thread::sleep(Duration::from_secs(60));
}

/// Killed in any case.
struct Victim(Child);

impl Victim {
    /// SIGKILL.
    fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn victim(lab: &Lab) -> Victim {
    let mut child = Command::new("nsenter")
        .arg(format!("--net=/run/netns/{}", lab.name("b")))
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "takeover::victim_process", "--nocapture"])
        .env(CHILD, &lab.bpf_dir)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let victim = Victim(child);
    assert!(lines.map_while(Result::ok).any(|line| line == "ready"), "the victim did not start");
    victim
}

fn attached_id(lab: &Lab) -> Option<String> {
    let link = output(&format!("ip -n {} link show left", lab.name("b")));
    let (_, rest) = link.split_once("prog/xdp id ")?;
    rest.split_whitespace().next().map(str::to_string)
}

#[test]
fn a_killed_process_is_taken_over_without_a_leak_to_the_kernel() {
    if !may_run() {
        return;
    }
    let lab = Lab::new("kill", 2, 1);
    // The kernel of the balancer would answer for the VIP, if it ever saw a frame to it.
    lab.ip("b", &format!("addr add {VIP}/32 dev lo"));
    let mut child = victim(&lab);
    ask(&lab, 4, 5);
    let first = attached_id(&lab);
    child.kill();
    ask_in_vain(&lab, 4);
    assert_eq!(attached_id(&lab), first, "the program outlives its process");

    let options = lab.options(1, 2);
    let mut opened = lab.within("b", move || open(&options)).unwrap();
    assert_eq!(attached_id(&lab), first, "it stays until the new rules are in");
    let dropped = opened.steer.counters().unwrap()[0].get("steer_no_worker");
    assert!(dropped >= 4, "what was dropped meanwhile is known: {dropped}");
    let workers = Workers::start(opened.devices, echo);
    ask_in_vain(&lab, 1);
    opened.steer.add(&whole(VIP)).unwrap();
    opened.steer.activate().unwrap();
    assert_ne!(attached_id(&lab), first);
    ask(&lab, 4, 5);
    assert_eq!(opened.steer.counters().unwrap()[0].get("passed"), 0, "the kernel saw nothing");

    drop(workers.stop());
    opened.steer.detach();
    assert_eq!(attached_id(&lab), None);
    let pinned = output(&format!("ls {}", lab.bpf_dir.display()));
    assert!(!pinned.contains("-left"), "nothing stays pinned: {pinned}");
}

#[test]
fn a_running_process_is_left_alone() {
    if !may_run() {
        return;
    }
    let lab = Lab::new("second", 2, 1);
    let mut child = victim(&lab);
    let first = attached_id(&lab);
    let options = lab.options(1, 2);
    let refused = lab.within("b", move || open(&options).err());
    let busy =
        matches!(refused, Some(OpenError::QueueBusy { ref interface, .. }) if interface == "left");
    assert!(busy, "{refused:?}");
    assert_eq!(attached_id(&lab), first);
    ask(&lab, 4, 5);
    child.kill();
}

#[test]
fn an_interface_made_anew_has_no_predecessor() {
    if !may_run() {
        return;
    }
    let lab = Lab::new("anew", 1, 1);
    let options = lab.options(1, 1);
    let opened = lab
        .within("b", {
            let options = options.clone();
            move || open(&options)
        })
        .unwrap();
    drop(opened);
    lab.ip("b", "link del left");
    lab.ip("b", "link add left type veth peer name other");
    lab.ip("b", "link set left up");
    let opened = lab.within("b", move || open(&options)).unwrap();
    assert!(attached_id(&lab).is_some());
    opened.steer.detach();
}

#[test]
fn a_new_start_may_change_the_mode() {
    if !may_run() {
        return;
    }
    let lab = Lab::new("mode", 1, 1);
    let mut options = lab.options(1, 1);
    let before = options.clone();
    // Dropped as by a crash: without `detach`.
    drop(lab.within("b", move || open(&before)).unwrap());
    options.interfaces[0].mode = XdpMode::Generic;
    let mut opened = lab.within("b", move || open(&options)).unwrap();
    assert!(opened.notes.iter().any(|note| note.contains("in the other mode")));
    opened.steer.add(&whole(VIP)).unwrap();
    let workers = Workers::start(opened.devices, echo);
    let steer = lab.within("b", move || {
        opened.steer.activate().unwrap();
        opened.steer
    });
    assert_eq!(steer.modes(), [("left".to_string(), "generic")]);
    ask(&lab, 2, 5);
    drop(workers.stop());
    steer.detach();
    assert_eq!(attached_id(&lab), None);
}
