//! Takes the interfaces: asks what they are, loads programs, gives every queue to a worker.

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;

use super::device::AfxdpDevice;
use super::ethtool::Rss;
use super::layout::STEER_QUEUES;
use super::memory::largest_mtu;
use super::netlink::{self, Link};
use super::program::InterfaceProgram;
use super::queue::QueuePlan;
use super::waker::Waker;
use super::{OpenError, Steer, bpffs, ethtool};
use crate::wire::{MacAddress, PortId};

/// Where the XDP program runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum XdpMode {
    /// In the driver if it can, else in the stack.
    #[default]
    Auto,
    /// In the driver, or opening fails.
    Native,
    /// In the stack: works on every interface, slow.
    Generic,
}

/// How frames get into the worker's memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum ZeroCopy {
    /// Without copy if the driver can.
    #[default]
    Auto,
    /// Without copy, or opening fails.
    Required,
    /// By copy.
    Off,
}

/// One interface to take.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct InterfaceOptions {
    /// Interface name; its place in the list is its [`PortId`].
    pub name: String,
    /// XDP mode.
    pub mode: XdpMode,
    /// Zero copy or copy.
    pub zero_copy: ZeroCopy,
    /// What is ours and comes to a queue without a socket is dropped, not passed to the kernel.
    pub drop_without_worker: bool,
}

/// What to open.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OpenOptions {
    /// The interfaces, in the order of their port ids.
    pub interfaces: Vec<InterfaceOptions>,
    /// Workers; worker w gets every queue q with q modulo workers = w.
    pub workers: usize,
    /// Frames of memory for each (interface, queue).
    pub frames_per_queue: u32,
    /// Bytes of a frame's chunk: 2048 or 4096.
    pub frame_bytes: u32,
    /// A directory on a bpffs, or one that can be made or mounted there.
    pub bpf_dir: PathBuf,
}

/// What was opened.
pub struct Opened {
    /// One for each worker.
    pub devices: Vec<AfxdpDevice>,
    /// One for each device.
    pub wakers: Vec<Waker>,
    /// The XDP programs. Passes everything to the kernel until rules are added.
    pub steer: Steer,
    /// How each interface's NIC spreads packets over queues, where it tells.
    pub rss: Vec<Option<Rss>>,
    /// What could not be had and what was taken instead, for the log.
    pub notes: Vec<String>,
    /// What will go wrong if it matters, for the log.
    pub warnings: Vec<String>,
}

/// What is known of an interface before anything is done to it.
struct Interface {
    link: Link,
    rx: u32,
    tx: u32,
    rss: io::Result<Rss>,
}

/// Receive queues of an interface, each of which gets a socket.
///
/// # Errors
/// When there is no such interface, or the kernel does not tell.
pub fn queue_count(interface: &str) -> Result<u32, OpenError> {
    look_at(interface).map(|known| known.rx)
}

/// An interface's MAC address now.
///
/// # Errors
/// When there is no such interface, or the kernel does not tell.
pub fn mac_address(interface: &str) -> Result<MacAddress, OpenError> {
    look_at(interface).map(|known| known.link.mac)
}

/// Takes the interfaces. When it fails, nothing of it is left behind; a program of an earlier run
/// stays as it was.
///
/// # Errors
/// Each says what to do.
pub fn open(options: &OpenOptions) -> Result<Opened, OpenError> {
    check(options)?;
    let mut interfaces = Vec::new();
    for interface in &options.interfaces {
        let known = look_at(&interface.name)?;
        check_interface(&interface.name, &known, options.frame_bytes)?;
        interfaces.push(known);
    }
    bpffs::prepare(&options.bpf_dir)?;
    let mut programs = Vec::new();
    match take(options, &interfaces, &mut programs) {
        Ok((devices, mut notes)) => {
            let names = options.interfaces.iter().map(|interface| interface.name.as_str());
            let warnings = names.filter_map(|name| keep_tags(name, &mut notes)).collect();
            notes.extend(programs.iter().flat_map(|program| program.notes.clone()));
            for (interface, known) in options.interfaces.iter().zip(&interfaces) {
                notes.extend(known.rss.as_ref().err().map(|error| {
                    format!(
                        "{}: the driver does not tell how it spreads packets over queues ({error}): \
                         flows that arrive at the wrong worker are handed over",
                        interface.name
                    )
                }));
            }
            let wakers = devices.iter().map(AfxdpDevice::waker).collect();
            let rss = interfaces.into_iter().map(|known| known.rss.ok()).collect();
            let steer = Steer::new(programs);
            Ok(Opened { devices, wakers, steer, rss, notes, warnings })
        }
        Err(error) => {
            programs.into_iter().filter(InterfaceProgram::is_new).for_each(|new| new.detach());
            Err(error)
        }
    }
}

/// VLAN tags have to stand in the bytes; gives a warning where they do not.
fn keep_tags(interface: &str, notes: &mut Vec<String>) -> Option<String> {
    match ethtool::rx_vlan_off(interface) {
        Ok(false) => None,
        Ok(true) => {
            notes.push(format!(
                "{interface}: rxvlan is off now, so that VLAN tags are seen (it stays off: to put it \
                 back, `ethtool -K {interface} rxvlan on`)"
            ));
            None
        }
        Err(error) => Some(format!(
            "{interface} takes VLAN tags off received frames, and that cannot be turned off \
             (rxvlan: {error}): frames of VLANs look untagged here, and answers to them go out \
             untagged. Use it for untagged traffic only"
        )),
    }
}

fn check(options: &OpenOptions) -> Result<(), OpenError> {
    let problem = if options.interfaces.is_empty() || options.interfaces.len() > 256 {
        "between 1 and 256 interfaces are needed".to_string()
    } else if options.workers == 0 {
        "at least one worker is needed".to_string()
    } else if ![2048, 4096].contains(&options.frame_bytes) {
        format!("frame_bytes is {}, has to be 2048 or 4096", options.frame_bytes)
    } else if !(128..=1 << 20).contains(&options.frames_per_queue) {
        format!("frames_per_queue is {}, has to be 128 to 1048576", options.frames_per_queue)
    } else {
        return Ok(());
    };
    Err(OpenError::Options(problem))
}

/// An interface by its name.
pub(super) fn find_link(name: &str) -> Result<Link, OpenError> {
    netlink::link(name).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => OpenError::NoSuchInterface { interface: name.to_string() },
        _ => OpenError::Query { interface: name.to_string(), source },
    })
}

fn look_at(name: &str) -> Result<Interface, OpenError> {
    let link = find_link(name)?;
    // A driver that does not tell has the queues it was made with.
    let (rx, tx) = match ethtool::channels(name) {
        Ok(channels) => (channels.rx, channels.tx),
        Err(_) => (link.rx_queues, link.rx_queues),
    };
    Ok(Interface { link, rx: rx.max(1), tx: tx.max(1), rss: ethtool::rss(name) })
}

fn check_interface(name: &str, known: &Interface, frame_bytes: u32) -> Result<(), OpenError> {
    let interface = name.to_string();
    if known.rx > STEER_QUEUES {
        return Err(OpenError::TooManyQueues { interface, queues: known.rx });
    }
    let fits = largest_mtu(frame_bytes);
    if known.link.mtu > fits {
        return Err(OpenError::Mtu { interface, mtu: known.link.mtu, fits, frame_bytes });
    }
    let named = known.rss.as_ref().ok().and_then(|rss| rss.indirection.iter().copied().max());
    check_rss(interface, named, known.rx)
}

/// Every queue below `queues` gets a socket; `named` is the highest the NIC spreads packets to.
fn check_rss(interface: String, named: Option<u32>, queues: u32) -> Result<(), OpenError> {
    match named {
        Some(queue) if queue >= queues => Err(OpenError::RssQueue { interface, queue, queues }),
        _ => Ok(()),
    }
}

/// Programs first, since a driver may rearrange its queues for them; then sockets, and at last the
/// sockets into the programs.
fn take(
    options: &OpenOptions,
    interfaces: &[Interface],
    programs: &mut Vec<InterfaceProgram>,
) -> Result<(Vec<AfxdpDevice>, Vec<String>), OpenError> {
    for (wanted, known) in options.interfaces.iter().zip(interfaces) {
        programs.push(InterfaceProgram::open(wanted, &known.link, &options.bpf_dir)?);
    }
    let mut notes = Vec::new();
    let mut devices = Vec::new();
    for worker in 0..options.workers {
        let plans = plans_of(worker, options, interfaces, programs);
        if plans.is_empty() {
            return Err(OpenError::Options(format!(
                "worker {worker} has no queue: the interfaces have fewer queues than there are \
                 workers ({}); lower `workers.count`, or raise the queues: `ethtool -L IF combined N`",
                options.workers
            )));
        }
        for (port, program) in programs.iter().enumerate() {
            if !plans.iter().any(|plan| plan.port.index() == port && plan.sends) {
                notes.push(format!(
                    "worker {worker} has no queue of {} and sends there by a packet socket, slowly: \
                     use as many workers as it has queues, or raise its queues",
                    program.name
                ));
            }
        }
        devices.push(open_device(&plans, options, programs, &mut notes)?);
    }
    for device in &devices {
        for (port, queue, socket) in device.sockets() {
            if let Some(program) = programs.get_mut(port.index()) {
                program.set_socket(queue, socket)?;
            }
        }
    }
    // Each worker says the same of its own sockets.
    let mut said = BTreeSet::new();
    notes.retain(|note| said.insert(note.clone()));
    Ok((devices, notes))
}

fn plans_of(
    worker: usize,
    options: &OpenOptions,
    interfaces: &[Interface],
    programs: &[InterfaceProgram],
) -> Vec<QueuePlan> {
    let mut plans = Vec::new();
    for (port, (known, program)) in interfaces.iter().zip(programs).enumerate() {
        for number in (worker..known.rx as usize).step_by(options.workers) {
            plans.push(QueuePlan {
                port: PortId(port as u8),
                interface: program.name.clone(),
                number: number as u32,
                sends: (number as u32) < known.tx,
                generic: program.generic,
            });
        }
    }
    plans
}

/// Without copy if it is allowed and works on all of the worker's sockets: they share one memory,
/// and the kernel takes it in one way.
fn open_device(
    plans: &[QueuePlan],
    options: &OpenOptions,
    programs: &[InterfaceProgram],
    notes: &mut Vec<String>,
) -> Result<AfxdpDevice, OpenError> {
    let of = |plan: &QueuePlan| &options.interfaces[plan.port.index()];
    let required = plans.iter().find(|plan| of(plan).zero_copy == ZeroCopy::Required);
    let reason = if let Some(off) = plans.iter().find(|plan| of(plan).zero_copy == ZeroCopy::Off) {
        format!("copy mode is configured for {}, with which it shares memory", off.interface)
    } else if let Some(generic) = plans.iter().find(|plan| plan.generic) {
        format!("{} is in generic XDP mode", generic.interface)
    } else {
        match open_with(plans, options, programs, true) {
            Ok(device) => return Ok(device),
            Err(OpenError::Socket { interface, source, .. }) => {
                format!("the driver of {interface} refuses it ({source})")
            }
            Err(error) => return Err(error),
        }
    };
    if let Some(plan) = required {
        return Err(OpenError::ZeroCopy { interface: plan.interface.clone(), reason });
    }
    if plans.iter().all(|plan| of(plan).zero_copy == ZeroCopy::Auto) {
        notes.push(format!("copy mode, since {reason}"));
    }
    open_with(plans, options, programs, false)
}

fn open_with(
    plans: &[QueuePlan],
    options: &OpenOptions,
    programs: &[InterfaceProgram],
    zero_copy: bool,
) -> Result<AfxdpDevice, OpenError> {
    let ports: Vec<_> = programs.iter().map(|one| (one.name.clone(), one.index)).collect();
    AfxdpDevice::open(plans, &ports, options.frames_per_queue, options.frame_bytes, zero_copy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_rss_queue_without_a_socket_is_refused() {
        for (named, queues, fine) in [(None, 1, true), (Some(3), 4, true), (Some(4), 4, false)] {
            let result = check_rss("eth1".to_string(), named, queues);
            assert_eq!(result.is_ok(), fine, "{named:?} of {queues}");
            if let Err(error) = result {
                assert!(error.to_string().contains("ethtool -X eth1 equal 4"), "{error}");
            }
        }
    }
}
