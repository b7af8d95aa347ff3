//! The decap program (`bpf/decap.bpf.c`) on one interface of a backend: it takes tunnel headers off
//! and gives the inner packets to the kernel.
//!
//! IP in IP (RFC 2003, 2473, 4213), GRE (RFC 2784, 2890), GUE (draft-ietf-intarea-gue); ECN by RFC
//! 6040 section 4.2. Nothing is pinned: the program leaves its interface with the process, however
//! that ends.

pub mod layout;
mod prefix;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;

use aya::maps::lpm_trie::{Key, LpmTrie};
use aya::maps::{Array, HashMap, MapData, PerCpuArray};
use aya::programs::Xdp;
use aya::programs::links::FdLink;
use aya::{Ebpf, EbpfLoader};

use super::error::chain;
use super::netlink;
use super::open::find_link;
use super::program::{absent, sums};
use super::{OpenError, SteerError, XdpMode, modes};
use layout::{AddressBytes, ConfigBytes, DECAP_COUNTERS};
pub use prefix::AddressPrefix;

/// The compiled XDP program, for tests that run it on byte arrays.
pub static DECAP_OBJECT: &[u8] =
    aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/decap.bpf.o"));

/// What is fixed while the program runs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DecapOptions {
    /// Interface name.
    pub interface: String,
    /// XDP mode.
    pub mode: XdpMode,
    /// UDP port of GUE (draft-ietf-intarea-gue section 3.1; IANA gave it 6080).
    pub gue_port: u16,
    /// Outer sources that are taken; all when there are none.
    pub sources: Vec<AddressPrefix>,
}

/// Which destinations are ours.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct DecapAddresses {
    /// Of outer headers.
    pub local: BTreeSet<IpAddr>,
    /// Of inner packets.
    pub inner: BTreeSet<IpAddr>,
}

impl DecapAddresses {
    /// The address map's content.
    fn entries(&self) -> BTreeMap<IpAddr, u8> {
        let mut entries = BTreeMap::new();
        for (addresses, bit) in [(&self.local, layout::LOCAL), (&self.inner, layout::INNER)] {
            for address in addresses {
                *entries.entry(*address).or_default() |= bit;
            }
        }
        entries
    }
}

/// The program on one interface. Dropped, it leaves it.
pub struct Decap {
    name: String,
    index: u32,
    id: u32,
    generic: bool,
    notes: Vec<String>,
    /// What is in `addresses`.
    known: BTreeMap<IpAddr, u8>,
    addresses: HashMap<MapData, AddressBytes, u8>,
    counters: PerCpuArray<MapData, u64>,
    link: Option<FdLink>,
    ebpf: Ebpf,
}

impl Decap {
    /// Loads the program, tells it what is ours, and attaches it.
    ///
    /// # Errors
    /// Each says what to do; nothing is left on the interface.
    pub fn open(options: &DecapOptions, addresses: &DecapAddresses) -> Result<Decap, OpenError> {
        let name = &options.interface;
        let link = find_link(name)?;
        if let Some(other) = link.xdp {
            return Err(OpenError::OtherProgram { interface: name.clone(), id: other.id });
        }
        let failed = |action, error: &(dyn std::error::Error + 'static)| {
            OpenError::loading(name, action, error)
        };
        let mut ebpf = EbpfLoader::new()
            .load(DECAP_OBJECT)
            .map_err(|error| failed("making its maps", &error))?;
        let id = load(&mut ebpf, name)?;
        macro_rules! map {
            ($name:literal, $kind:ident) => {{
                let map = ebpf
                    .take_map($name)
                    .ok_or_else(|| kernel_error(name, "finding its map", $name.to_string()))?;
                $kind::try_from(map).map_err(|error| failed("opening its map", &error))?
            }};
        }
        let mut config: Array<_, ConfigBytes> = map!("decap_config", Array);
        let mut sources: LpmTrie<_, AddressBytes, u8> = map!("decap_sources", LpmTrie);
        for prefix in &options.sources {
            let (bits, bytes) = layout::source(prefix);
            sources
                .insert(&Key::new(bits, bytes), 1, 0)
                .map_err(|error| failed("entering a source prefix", &error))?;
        }
        config
            .set(0, layout::config(options.gue_port, !options.sources.is_empty()), 0)
            .map_err(|error| failed("configuring it", &error))?;
        let mut decap = Decap {
            name: name.clone(),
            index: link.index,
            id,
            generic: false,
            notes: Vec::new(),
            known: BTreeMap::new(),
            addresses: map!("decap_addresses", HashMap),
            counters: map!("decap_counters", PerCpuArray),
            link: None,
            ebpf,
        };
        decap.set_addresses(addresses)?;
        decap.attach(options.mode)?;
        Ok(decap)
    }

    fn attach(&mut self, mode: XdpMode) -> Result<(), OpenError> {
        let program = program(&mut self.ebpf, &self.name)?;
        let attached = modes::attach(program, &self.name, self.index, mode)?;
        self.generic = attached.generic;
        self.notes = attached.notes;
        self.link = Some(attached.link);
        Ok(())
    }

    /// Makes these the destinations that are ours. What is new comes first, so that what stays is
    /// known at every moment.
    ///
    /// # Errors
    /// The kernel's, for example when there are more than [`layout::DECAP_ADDRESSES`]; what could
    /// not be changed is tried again at the next call.
    pub fn set_addresses(&mut self, addresses: &DecapAddresses) -> Result<(), SteerError> {
        let wanted = addresses.entries();
        for (address, bits) in &wanted {
            if self.known.get(address) != Some(bits) {
                let entered = self.addresses.insert(layout::address(*address), bits, 0);
                entered.map_err(|error| self.changing(&error))?;
                self.known.insert(*address, *bits);
            }
        }
        let gone: Vec<_> =
            self.known.keys().filter(|address| !wanted.contains_key(address)).copied().collect();
        for address in gone {
            let removed = self.addresses.remove(&layout::address(address)).or_else(absent);
            removed.map_err(|error| self.changing(&error))?;
            self.known.remove(&address);
        }
        Ok(())
    }

    fn changing(&self, error: &(dyn std::error::Error + 'static)) -> SteerError {
        kernel_error(&self.name, "changing its addresses", chain(error))
    }

    /// The interface's name.
    pub fn interface(&self) -> &str {
        &self.name
    }

    /// `native` or `generic`.
    pub fn mode(&self) -> &'static str {
        if self.generic { "generic" } else { "native" }
    }

    /// What could not be had and what was taken instead, for the log.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Is it still on its interface? An interface that was removed, or made anew, has it no longer.
    ///
    /// # Errors
    /// When the kernel does not tell.
    pub fn is_attached(&self) -> io::Result<bool> {
        match netlink::link(&self.name) {
            Ok(link) => {
                let is_ours = link.xdp.is_some_and(|program| program.id == self.id);
                Ok(link.index == self.index && is_ours)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// What it counted, in the order of [`DECAP_COUNTERS`]. Every frame is in exactly one.
    ///
    /// # Errors
    /// The kernel's.
    pub fn counters(&self) -> Result<[u64; DECAP_COUNTERS.len()], SteerError> {
        sums(&self.counters)
            .map_err(|error| kernel_error(&self.name, "reading its counters", chain(&error)))
    }

    /// Takes the program off the interface; its counters stand still from then on.
    pub fn detach(&mut self) {
        self.link = None;
    }
}

/// An interface's MTU in bytes.
///
/// # Errors
/// When there is no such interface, or the kernel does not tell.
pub fn mtu(interface: &str) -> Result<u32, OpenError> {
    find_link(interface).map(|link| link.mtu)
}

fn load(ebpf: &mut Ebpf, interface: &str) -> Result<u32, OpenError> {
    let program = program(ebpf, interface)?;
    let loaded = program.load().and_then(|()| program.info());
    let info = loaded.map_err(|error| OpenError::loading(interface, "loading it", &error))?;
    Ok(info.id())
}

fn program<'a>(ebpf: &'a mut Ebpf, interface: &str) -> Result<&'a mut Xdp, OpenError> {
    let program = ebpf.program_mut("decap").ok_or_else(|| {
        kernel_error(interface, "finding it", "there is no program `decap`".to_string())
    })?;
    program.try_into().map_err(|error| OpenError::loading(interface, "finding it", &error))
}

fn kernel_error(interface: &str, action: &'static str, problem: String) -> SteerError {
    SteerError::Kernel { interface: interface.to_string(), action, problem }
}
