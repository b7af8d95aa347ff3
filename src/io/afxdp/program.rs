//! The XDP program on one interface: its loading and its maps. How it gets onto the interface and
//! off it is in `attach`.

use std::fs;
use std::net::IpAddr;
use std::os::fd::RawFd;
use std::path::Path;

use aya::maps::{Array, HashMap, MapData, MapError, PerCpuArray, XskMap};
use aya::programs::{ProgramError, Xdp};
use aya::{Ebpf, EbpfLoader};

use super::attach::{self, Attachment};
use super::error::{chain, os_error};
use super::layout::{
    self, AddressBytes, ConfigBytes, KeyBytes, PortBytes, RangeBytes, STEER_COUNTERS,
};
use super::netlink::Link;
use super::{InterfaceOptions, OpenError, SteerError, bpffs};
use crate::wire::MacAddress;

/// The compiled XDP program, for tests that run it on byte arrays.
pub static STEER_OBJECT: &[u8] =
    aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/steer.bpf.o"));
const PROGRAM: &str = "steer";
const COUNTERS: &str = "steer_counters";

/// The program and its maps on one interface.
pub(super) struct InterfaceProgram {
    pub name: String,
    pub index: u32,
    /// Runs in the stack, not in the driver.
    pub generic: bool,
    /// Why it is not what was wished for.
    pub notes: Vec<String>,
    pub(super) attachment: Attachment,
    pub(super) ebpf: Ebpf,
    settings: layout::Config,
    sockets: XskMap<MapData>,
    config: Array<MapData, ConfigBytes>,
    addresses: HashMap<MapData, KeyBytes, AddressBytes>,
    ports: HashMap<MapData, PortBytes, u8>,
    backends: HashMap<MapData, PortBytes, RangeBytes>,
    own: HashMap<MapData, KeyBytes, u8>,
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
        let attachment = Attachment::new(directory.clone(), options.mode);
        let opened = Self::load(options, link, attachment).and_then(|mut program| {
            program.attach_or_wait(link)?;
            Ok(program)
        });
        if opened.is_err() {
            attach::forget_unlinked(&directory);
        }
        opened
    }

    fn load(
        options: &InterfaceOptions,
        link: &Link,
        attachment: Attachment,
    ) -> Result<Self, OpenError> {
        let counters = attachment.counters();
        // The counters go on over a crash: what was dropped meanwhile is worth knowing. A pinned
        // map of another version has another length.
        let same = MapData::from_pin(&counters)
            .and_then(|data| data.info())
            .is_ok_and(|info| info.max_entries() == STEER_COUNTERS.len() as u32);
        if !same {
            let _ = fs::remove_file(&counters);
        }
        let failed = |action, error: &(dyn std::error::Error + 'static)| {
            OpenError::loading(&options.name, action, error)
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
            settings: layout::Config {
                mac: link.mac,
                drop_without_worker: options.drop_without_worker,
                dnat: false,
                sources: Vec::new(),
            },
            attachment,
            sockets: map!("steer_sockets", XskMap),
            config: map!("steer_config", Array),
            addresses: map!("steer_addresses", HashMap),
            ports: map!("steer_ports", HashMap),
            backends: map!("steer_backends", HashMap),
            own: map!("steer_own", HashMap),
            counters: map!("steer_counters", PerCpuArray),
            ebpf,
        };
        program.set_mac(link.mac)?;
        Ok(program)
    }

    /// Frames of `queue` go to this AF_XDP socket from now on.
    pub fn set_socket(&mut self, queue: u32, socket: RawFd) -> Result<(), SteerError> {
        let set = self.sockets.set(queue, socket, 0);
        set.map_err(|error| self.kernel_error("entering a socket", chain(&error)))
    }

    /// The interface's MAC address, to which frames have to be sent.
    pub fn set_mac(&mut self, mac: MacAddress) -> Result<(), SteerError> {
        self.settings.mac = mac;
        self.write_settings("setting its MAC address")
    }

    /// Are there DNAT backends, whose packets are looked for by their source?
    pub fn set_dnat(&mut self, dnat: bool) -> Result<(), SteerError> {
        if self.settings.dnat == dnat {
            return Ok(());
        }
        self.settings.dnat = dnat;
        self.write_settings("turning DNAT on or off")
    }

    /// Networks of tunnels' outer sources.
    pub fn set_sources(&mut self, sources: &[(IpAddr, u8)]) -> Result<(), SteerError> {
        self.settings.sources = sources.to_vec();
        self.write_settings("setting tunnels' sources")
    }

    fn write_settings(&mut self, action: &'static str) -> Result<(), SteerError> {
        let set = self.config.set(0, layout::config(&self.settings), 0);
        set.map_err(|error| self.kernel_error(action, chain(&error)))
    }

    /// Takes, or no longer takes, what comes from a socket.
    pub fn set_backend(
        &mut self,
        key: PortBytes,
        ports: Option<(u16, u16)>,
    ) -> Result<(), SteerError> {
        let done = match ports {
            Some(ports) => self.backends.insert(key, layout::range(ports), 0),
            None => self.backends.remove(&key).or_else(absent),
        };
        done.map_err(|error| self.kernel_error("changing its backends", chain(&error)))
    }

    /// The machine has, or has no longer, this address.
    pub fn set_own(&mut self, address: IpAddr, is_own: bool) -> Result<(), SteerError> {
        let key = layout::key(address);
        let done = match is_own {
            true => self.own.insert(key, 1, 0),
            false => self.own.remove(&key).or_else(absent),
        };
        done.map_err(|error| self.kernel_error("changing the machine's addresses", chain(&error)))
    }

    /// Sets, or with none removes, what is taken of an address.
    pub fn set_address(
        &mut self,
        address: IpAddr,
        value: Option<AddressBytes>,
    ) -> Result<(), SteerError> {
        let key = layout::key(address);
        let done = match value {
            Some(value) => self.addresses.insert(key, value, 0),
            None => self.addresses.remove(&key).or_else(absent),
        };
        done.map_err(|error| self.kernel_error("changing its addresses", chain(&error)))
    }

    /// Takes, or no longer takes, one protocol and port.
    pub fn set_port(&mut self, key: PortBytes, taken: bool) -> Result<(), SteerError> {
        let done = if taken {
            self.ports.insert(key, 1, 0)
        } else {
            self.ports.remove(&key).or_else(absent)
        };
        done.map_err(|error| self.kernel_error("changing its ports", chain(&error)))
    }

    /// All counters, summed over CPUs, in the order of their names.
    pub fn counters(&self) -> Result<[u64; STEER_COUNTERS.len()], SteerError> {
        sums(&self.counters)
            .map_err(|error| self.kernel_error("reading its counters", chain(&error)))
    }

    pub(super) fn kernel_error(&self, action: &'static str, problem: String) -> SteerError {
        SteerError::Kernel { interface: self.name.clone(), action, problem }
    }
}

/// The first counters, each summed over CPUs.
pub(super) fn sums<const COUNTERS: usize>(
    counters: &PerCpuArray<MapData, u64>,
) -> Result<[u64; COUNTERS], MapError> {
    let mut sums = [0; COUNTERS];
    for (number, sum) in (0u32..).zip(&mut sums) {
        *sum = counters.get(&number, 0)?.iter().sum();
    }
    Ok(sums)
}

pub(super) fn steer_program(ebpf: &mut Ebpf) -> Result<&mut Xdp, ProgramError> {
    let program = ebpf.program_mut(PROGRAM).ok_or(ProgramError::NotLoaded)?;
    program.try_into()
}

/// Removing what is not there is fine.
pub(super) fn absent(error: MapError) -> Result<(), MapError> {
    match error {
        MapError::KeyNotFound => Ok(()),
        error if os_error(&error) == Some(libc::ENOENT) => Ok(()),
        error => Err(error),
    }
}
