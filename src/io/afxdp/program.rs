//! The XDP program on one interface: load, attach or take over, maps, detach.

use std::fs;
use std::net::Ipv4Addr;
use std::os::fd::RawFd;
use std::path::{Path, PathBuf};

use aya::maps::{Array, HashMap, MapData, PerCpuArray, XskMap};
use aya::programs::links::{FdLink, PinnedLink};
use aya::programs::xdp::XdpLink;
use aya::programs::{ProgramError, Xdp, XdpMode as AyaMode};
use aya::{Ebpf, EbpfLoader};

use super::error::{chain, os_error};
use super::layout::{self, AddressBytes, ConfigBytes, PortBytes, STEER_COUNTERS};
use super::netlink::Link;
use super::{InterfaceOptions, OpenError, SteerError, XdpMode, bpffs};
use crate::wire::MacAddress;

/// The compiled XDP program, for tests that run it on byte arrays.
pub static STEER_OBJECT: &[u8] =
    aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/steer.bpf.o"));
const PROGRAM: &str = "steer";
const COUNTERS: &str = "steer_counters";

/// How the program came to be on the interface.
enum Attachment {
    /// Attached by us, or taken over; its link is held by the program.
    Ours,
    /// The program of an earlier run is still attached: ours replaces it at [`activate`].
    ///
    /// [`activate`]: InterfaceProgram::activate
    Predecessor(XdpLink),
    /// Nothing attached yet.
    Nothing,
}

/// The program and its maps on one interface.
pub(super) struct InterfaceProgram {
    pub name: String,
    pub index: u32,
    /// Runs in the stack, not in the driver.
    pub generic: bool,
    /// Why it is not what was wished for.
    pub notes: Vec<String>,
    drop_without_worker: bool,
    directory: PathBuf,
    attachment: Attachment,
    ebpf: Ebpf,
    sockets: XskMap<MapData>,
    config: Array<MapData, ConfigBytes>,
    addresses: HashMap<MapData, [u8; 4], AddressBytes>,
    ports: HashMap<MapData, PortBytes, u8>,
    counters: PerCpuArray<MapData, u64>,
}

impl InterfaceProgram {
    /// Loads the program with empty maps and attaches it, unless one of an earlier run is there:
    /// then that one stays, and drops what is ours, until [`activate`](Self::activate).
    pub fn open(
        options: &InterfaceOptions,
        link: &Link,
        bpf_dir: &Path,
    ) -> Result<Self, OpenError> {
        let directory = bpffs::interface_directory(bpf_dir, &options.name)?;
        let mut program = Self::load(options, link, directory)?;
        program.find_predecessor(options, link)?;
        if matches!(program.attachment, Attachment::Nothing) {
            program.attach(options.mode)?;
        }
        Ok(program)
    }

    fn load(
        options: &InterfaceOptions,
        link: &Link,
        directory: PathBuf,
    ) -> Result<Self, OpenError> {
        let counters = directory.join("counters");
        // The counters go on over a crash: what was dropped meanwhile is worth knowing. A pinned
        // map of another version has another length.
        let same = MapData::from_pin(&counters)
            .and_then(|data| data.info())
            .is_ok_and(|info| info.max_entries() == STEER_COUNTERS.len() as u32);
        if !same {
            let _ = fs::remove_file(&counters);
        }
        let failed = |action, error: &(dyn std::error::Error + 'static)| {
            load_error(&options.name, action, error)
        };
        let mut ebpf = EbpfLoader::new()
            .map_pin_path(COUNTERS, counters)
            .load(STEER_OBJECT)
            .map_err(|error| failed("making its maps", &error))?;
        let program = steer_program(&mut ebpf).map_err(|error| failed("finding it", &error))?;
        program.load().map_err(|error| failed("loading it", &error))?;

        macro_rules! map {
            ($name:literal, $kind:ident) => {{
                let map = ebpf.take_map($name).ok_or_else(|| SteerError::Kernel {
                    interface: options.name.clone(),
                    action: "finding its map",
                    problem: $name.to_string(),
                })?;
                $kind::try_from(map).map_err(|error| failed("opening its map", &error))?
            }};
        }
        let mut program = InterfaceProgram {
            name: options.name.clone(),
            index: link.index,
            generic: false,
            notes: Vec::new(),
            drop_without_worker: options.drop_without_worker,
            directory,
            attachment: Attachment::Nothing,
            sockets: map!("steer_sockets", XskMap),
            config: map!("steer_config", Array),
            addresses: map!("steer_addresses", HashMap),
            ports: map!("steer_ports", HashMap),
            counters: map!("steer_counters", PerCpuArray),
            ebpf,
        };
        program.set_mac(link.mac)?;
        Ok(program)
    }

    /// Looks for the pinned link of an earlier run, and for programs of others.
    fn find_predecessor(
        &mut self,
        options: &InterfaceOptions,
        link: &Link,
    ) -> Result<(), OpenError> {
        let pin = self.pin();
        let pinned = PinnedLink::from_pin(&pin).ok().map(FdLink::from);
        let pinned_id = pinned.as_ref().and_then(|pinned| pinned.info().ok()?.program_id().into());
        let Some(attached) = link.xdp else {
            // A pin without a program: the interface was removed and made anew since.
            let _ = fs::remove_file(&pin);
            return Ok(());
        };
        let (Some(pinned), true) = (pinned, pinned_id == Some(attached.id)) else {
            return Err(OpenError::OtherProgram { interface: self.name.clone(), id: attached.id });
        };
        let wanted = match options.mode {
            XdpMode::Auto => attached.generic,
            XdpMode::Native => false,
            XdpMode::Generic => true,
        };
        if wanted != attached.generic {
            self.notes.push(format!(
                "{}: the XDP program of the run before was in the other mode and is removed first",
                self.name
            ));
            let _ = fs::remove_file(&pin);
            drop(pinned);
            return Ok(());
        }
        self.generic = attached.generic;
        self.attachment = match XdpLink::try_from(pinned) {
            Ok(link) => Attachment::Predecessor(link),
            Err(_) => Attachment::Nothing,
        };
        Ok(())
    }

    /// Attaches in the driver or, where that fails and it is allowed, in the stack; pins the link.
    fn attach(&mut self, mode: XdpMode) -> Result<(), OpenError> {
        let modes: &[bool] = match mode {
            XdpMode::Auto => &[false, true],
            XdpMode::Native => &[false],
            XdpMode::Generic => &[true],
        };
        let mut reasons = Vec::new();
        for &generic in modes {
            match self.attach_in(generic) {
                Ok(()) => {
                    self.generic = generic;
                    self.notes.extend(reasons);
                    return Ok(());
                }
                Err(Refusal::Fatal(error)) => return Err(error),
                Err(Refusal::Mode(reason)) => reasons.push(reason),
            }
        }
        Err(OpenError::NoXdp { interface: self.name.clone(), reason: reasons.join("; ") })
    }

    fn attach_in(&mut self, generic: bool) -> Result<(), Refusal> {
        let mode = if generic { AyaMode::Skb } else { AyaMode::Driver };
        let index = self.index;
        let linked = steer_program(&mut self.ebpf).and_then(|program| {
            let id = program.attach_to_if_index(index, mode)?;
            program.take_link(id)
        });
        let link = match linked.map(FdLink::try_from) {
            Ok(Ok(link)) => link,
            Ok(Err(error)) => return Err(Refusal::Mode(self.refusal(generic, &error))),
            Err(error) => {
                if os_error(&error) == Some(libc::EPERM) {
                    let action = format!("attach an XDP program to {}", self.name);
                    return Err(Refusal::Fatal(OpenError::Permission { action }));
                }
                return Err(Refusal::Mode(self.refusal(generic, &error)));
            }
        };
        let pin = self.pin();
        let pinned = link.pin(&pin).map_err(|error| {
            let problem = chain(&error);
            Refusal::Fatal(self.kernel_error("pinning its link", problem).into())
        })?;
        let link = XdpLink::try_from(FdLink::from(pinned));
        // Giving the link to the program again costs an update to itself and keeps one way to hold.
        let held = link
            .map_err(|error| chain(&error))
            .and_then(|link| self.hold(link).map_err(|error| chain(&error)));
        held.map_err(|problem| {
            let _ = fs::remove_file(&pin);
            Refusal::Fatal(self.kernel_error("holding its link", problem).into())
        })
    }

    fn hold(&mut self, link: XdpLink) -> Result<(), ProgramError> {
        steer_program(&mut self.ebpf)?.attach_to_link(link)?;
        self.attachment = Attachment::Ours;
        Ok(())
    }

    fn refusal(&self, generic: bool, error: &(dyn std::error::Error + 'static)) -> String {
        let name = &self.name;
        let mode = if generic { "generic" } else { "native" };
        match os_error(error) {
            Some(libc::EOPNOTSUPP) => format!("{name}: the driver has no {mode} XDP"),
            Some(libc::ERANGE) if !generic => format!(
                "{name}: native XDP refuses the MTU of the interface or of its veth peer (a veth \
                 takes 3498 at most for a program without multi-buffer): lower the MTU"
            ),
            Some(libc::EINVAL | libc::ENOSPC) if !generic => format!(
                "{name}: the driver refuses native XDP as the interface is set up (a veth needs as \
                 many receive queues as its peer has transmit queues; other drivers no LRO): {}",
                chain(error)
            ),
            _ => format!("{name}: {mode} XDP is refused: {}", chain(error)),
        }
    }

    /// Puts the program, with what is in its maps, in the place of the earlier run's, without a
    /// moment in between.
    pub fn activate(&mut self) -> Result<(), SteerError> {
        match std::mem::replace(&mut self.attachment, Attachment::Ours) {
            Attachment::Predecessor(link) => self
                .hold(link)
                .map_err(|error| self.kernel_error("taking over its link", chain(&error))),
            Attachment::Ours | Attachment::Nothing => Ok(()),
        }
    }

    /// Was it attached by this process? Then a failed start has to remove it.
    pub fn is_new(&self) -> bool {
        matches!(self.attachment, Attachment::Ours)
    }

    /// Takes the program off the interface.
    pub fn detach(self) {
        let _ = fs::remove_file(self.pin());
        let _ = fs::remove_file(self.directory.join("counters"));
        let _ = fs::remove_dir(&self.directory);
        // The last descriptor of an unpinned link closes here, which detaches.
        drop(self);
    }

    fn pin(&self) -> PathBuf {
        self.directory.join("link")
    }

    /// Frames of `queue` go to this AF_XDP socket from now on.
    pub fn set_socket(&mut self, queue: u32, socket: RawFd) -> Result<(), SteerError> {
        let set = self.sockets.set(queue, socket, 0);
        set.map_err(|error| self.kernel_error("entering a socket", chain(&error)))
    }

    /// The interface's MAC address, to which frames have to be sent.
    pub fn set_mac(&mut self, mac: MacAddress) -> Result<(), SteerError> {
        let set = self.config.set(0, layout::config(mac, self.drop_without_worker), 0);
        set.map_err(|error| self.kernel_error("setting its MAC address", chain(&error)))
    }

    /// Sets, or with none removes, what is taken of an address.
    pub fn set_address(
        &mut self,
        address: Ipv4Addr,
        value: Option<AddressBytes>,
    ) -> Result<(), SteerError> {
        let key = address.octets();
        let done = match value {
            Some(value) => self.addresses.insert(key, value, 0),
            None => self.addresses.remove(&key).or_else(|error| absent(error)),
        };
        done.map_err(|error| self.kernel_error("changing its addresses", chain(&error)))
    }

    /// Takes, or no longer takes, one protocol and port.
    pub fn set_port(&mut self, key: PortBytes, taken: bool) -> Result<(), SteerError> {
        let done = if taken {
            self.ports.insert(key, 1, 0)
        } else {
            self.ports.remove(&key).or_else(|error| absent(error))
        };
        done.map_err(|error| self.kernel_error("changing its ports", chain(&error)))
    }

    /// All counters, summed over CPUs, in the order of their names.
    pub fn counters(&self) -> Result<[u64; STEER_COUNTERS.len()], SteerError> {
        let mut sums = [0; STEER_COUNTERS.len()];
        for (number, sum) in (0u32..).zip(&mut sums) {
            let values = self
                .counters
                .get(&number, 0)
                .map_err(|error| self.kernel_error("reading its counters", chain(&error)))?;
            *sum = values.iter().sum();
        }
        Ok(sums)
    }

    fn kernel_error(&self, action: &'static str, problem: String) -> SteerError {
        SteerError::Kernel { interface: self.name.clone(), action, problem }
    }
}

enum Refusal {
    /// This mode does not work.
    Mode(String),
    /// No mode will.
    Fatal(OpenError),
}

fn steer_program(ebpf: &mut Ebpf) -> Result<&mut Xdp, ProgramError> {
    let program = ebpf.program_mut(PROGRAM).ok_or(ProgramError::NotLoaded)?;
    program.try_into()
}

/// Removing what is not there is fine.
fn absent(error: aya::maps::MapError) -> Result<(), aya::maps::MapError> {
    match error {
        aya::maps::MapError::KeyNotFound => Ok(()),
        error if os_error(&error) == Some(libc::ENOENT) => Ok(()),
        error => Err(error),
    }
}

fn load_error(
    interface: &str,
    action: &'static str,
    error: &(dyn std::error::Error + 'static),
) -> OpenError {
    match os_error(error) {
        Some(libc::EPERM | libc::EACCES) => {
            OpenError::Permission { action: "load an XDP program".to_string() }
        }
        _ => OpenError::Steer(SteerError::Kernel {
            interface: interface.to_string(),
            action,
            problem: chain(error),
        }),
    }
}
