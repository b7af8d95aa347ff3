//! Who is measured. A new mode of Guideway is one row in [`MODES`].

use std::any::Any;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::Result;
use guideway::io::afxdp::{self, InterfaceOptions, OpenOptions, SteerRule, XdpMode, ZeroCopy};
use guideway::io::{Batch, Device};
use guideway::wire::PortId;

use super::arrival::Form;
use super::cpu::Thread;
use super::guideway::Guideway;
use super::lab::{BALANCER, Lab, VIP};
use super::process::{Task, inside};
use super::{forwarder, kernel, proxy};

/// A mode of Guideway.
#[derive(PartialEq, Eq, Debug)]
pub struct Mode {
    pub name: &'static str,
    /// Of the service, in YAML.
    pub line: &'static str,
    /// Where backends listen.
    pub port: u16,
    /// What arrives there.
    pub form: Form,
    /// Has it rows of TCP? Backends open no envelopes here, and `dnat` does what `nat` does, and less.
    pub has_tcp: bool,
}

pub const MODES: &[Mode] = &[
    mode("guideway nat", "mode: nat", 8080, Form::Translated),
    mode("guideway l2dsr", "mode: l2dsr", 80, Form::AsSent),
    mode("guideway dnat", "mode: dnat", 8080, Form::ToBackend),
    mode("guideway ipip", "mode: ipip", 80, Form::Ipip),
    mode("guideway gue", "mode: gue", 80, Form::Gue),
    mode("guideway gre", "mode: gre", 80, Form::Gre),
];
pub const NAT: Contender = Contender::Guideway(&MODES[0]);
/// The modes of a short run: each kind of work once.
pub const FEW_MODES: [&Mode; 3] = [&MODES[0], &MODES[1], &MODES[3]];

const fn mode(name: &'static str, line: &'static str, port: u16, form: Form) -> Mode {
    Mode { name, line, port, form, has_tcp: matches!(form, Form::Translated | Form::AsSent) }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Contender {
    /// The bare AF_XDP forwarder.
    Bare,
    /// The same with Guideway's own device and XDP program: what these two cost.
    OwnDevice,
    Guideway(&'static Mode),
    /// nftables, DNAT to all backends with connection tracking.
    Nft,
    /// The kernel's forwarding, without translation.
    Kernel,
    Haproxy,
    Nginx,
}

/// How it is to run.
#[derive(Clone, Debug)]
pub struct Setting {
    /// The core of each of Guideway's workers; everybody else is on the first.
    pub cores: Vec<usize>,
    /// Flow entries of each of Guideway's workers.
    pub max_flows: usize,
    /// The kernel's rivals get their core by threaded NAPI (packet rows); else they run where
    /// packets come from.
    pub threaded: bool,
}

/// A contender at work; dropped, it is gone.
pub struct Running {
    /// Whose CPU time is the balancer's.
    pub threads: Vec<Thread>,
    pub guideway: Option<Guideway>,
    _guards: Vec<Box<dyn Any>>,
}

impl Running {
    pub fn new(threads: Vec<Thread>, guard: impl Any) -> Running {
        Running { threads, guideway: None, _guards: vec![Box::new(guard)] }
    }
}

impl Contender {
    pub fn name(self) -> &'static str {
        match self {
            Contender::Bare => "bare AF_XDP",
            Contender::OwnDevice => "own device",
            Contender::Guideway(mode) => mode.name,
            Contender::Nft => "nft dnat",
            Contender::Kernel => "kernel forwarding",
            Contender::Haproxy => "haproxy",
            Contender::Nginx => "nginx stream",
        }
    }

    /// What it makes of the generator's packets.
    pub fn form(self) -> Form {
        match self {
            Contender::Guideway(mode) => mode.form,
            Contender::Nft => Form::ToBackend,
            _ => Form::AsSent,
        }
    }

    /// Does it remember flows, so that those of a row have to be known to it first?
    pub fn knows_flows(self) -> bool {
        matches!(self, Contender::Guideway(_) | Contender::Nft)
    }

    /// Does its worker move every packet by AF_XDP?
    pub fn is_afxdp(self) -> bool {
        matches!(self, Contender::Bare | Contender::OwnDevice | Contender::Guideway(_))
    }

    pub fn start(self, lab: &Lab, setting: &Setting) -> Result<Running> {
        let core = setting.cores[0];
        match self {
            Contender::Bare => {
                let (task, programs) = forwarder::start(core)?;
                Ok(Running::new(vec![own(&task)], (task, programs)))
            }
            Contender::OwnDevice => {
                let (task, steer) = own_device(lab, core)?;
                Ok(Running::new(vec![own(&task)], (task, steer)))
            }
            Contender::Guideway(mode) => {
                let guideway = Guideway::start(lab, mode, setting)?;
                let threads = guideway.workers(setting.cores.len())?;
                Ok(Running { threads, guideway: Some(guideway), _guards: vec![] })
            }
            Contender::Nft => kernel::nft(setting),
            Contender::Kernel => kernel::forwarding(setting),
            Contender::Haproxy => proxy::haproxy(lab, core),
            Contender::Nginx => proxy::nginx(lab, core),
        }
    }
}

fn own(task: &Task) -> Thread {
    Thread { process: std::process::id(), tid: task.tid }
}

/// Takes the XDP programs off when it is dropped.
struct Steer(Option<afxdp::Steer>);

impl Drop for Steer {
    fn drop(&mut self) {
        let steer = self.0.take();
        let _ = inside(BALANCER, || {
            if let Some(steer) = steer {
                steer.detach();
            }
            Ok(())
        });
    }
}

/// Guideway's device and XDP program, and a loop as its worker's that only swaps MAC addresses.
fn own_device(lab: &Lab, core: usize) -> Result<(Task, Steer)> {
    let interface = |name: &str| InterfaceOptions {
        name: name.to_owned(),
        mode: XdpMode::Native,
        zero_copy: ZeroCopy::Auto,
        drop_without_worker: true,
    };
    let options = OpenOptions {
        interfaces: vec![interface("eth1"), interface("eth2")],
        workers: 1,
        frames_per_queue: 4096,
        frame_bytes: 2048,
        bpf_dir: lab.path("bpf"),
    };
    let mut opened = inside(BALANCER, || {
        let mut opened = afxdp::open(&options)?;
        opened.steer.add(&SteerRule::Whole(VIP.parse()?))?;
        Ok(opened)
    })?;
    let mut device = opened.devices.remove(0);
    let task = Task::start(BALANCER, core, move |stop| {
        let mut batch = Batch::new();
        while !stop.load(Ordering::Relaxed) {
            device.reclaim();
            let received = device.receive(&mut batch);
            for frame in batch.drain(..) {
                let mut view = device.view(&frame);
                let (to, from) = view.bytes_mut().split_at_mut(6);
                to.swap_with_slice(&mut from[..6]);
                if let Err(frame) = device.transmit(PortId(1), frame) {
                    device.release(frame);
                }
            }
            device.flush();
            if received == 0 {
                device.wait(Duration::from_millis(20));
            }
        }
        Ok(())
    })?;
    Ok((task, Steer(Some(opened.steer))))
}
