//! Many services with many backends: as values, and as a folder of files.

use std::fmt::Write;
use std::net::Ipv4Addr;
use std::path::Path;

use guideway::control::{
    BackendSpec, Delivery, Form, LimitsSpec, LinkState, Part, ServiceSpec, Shared, SnatSpec,
    Topology,
};
use guideway::forwarding::{Neighbour, Route};
use guideway::wire::{MacAddress, PortId, Tags};

/// Files of the folder beside the main one.
pub const FILES: u32 = 100;
/// Backends of each service.
pub const BACKENDS: u32 = 100;
pub const OUR_MAC: MacAddress = MacAddress([2, 0, 0, 0, 1, 0]);
pub const ROUTER_MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 1]);
pub const SNAT: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 10);

/// How large all of it is.
#[derive(Clone, Copy)]
pub struct Size {
    pub services: u32,
    /// Slots of each Maglev table; none: as many as Guideway chooses.
    pub table_size: Option<u32>,
}

pub fn vip(service: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(0x0a40_0000 + service)
}

/// The version is in the first backend: its weight in files, its address in a feed.
fn backend_address(service: u32, number: u32, version: u32) -> Ipv4Addr {
    let moved = if number == 0 { version << 20 } else { 0 };
    Ipv4Addr::from_bits(0x2000_0000 + service * BACKENDS + number + moved)
}

pub fn spec(size: Size, place: u32, version: u32) -> ServiceSpec {
    let backend = |number: u32| {
        let address = backend_address(place, number, version);
        BackendSpec::new(format!("backend-{number}"), (address, 80).into())
    };
    ServiceSpec {
        table_size: size.table_size,
        ..ServiceSpec::new(
            format!("service-{place}"),
            (vip(place), 80).into(),
            (0..BACKENDS).map(backend).collect(),
        )
    }
}

pub fn form(size: Size, place: u32, version: u32) -> Form {
    Form::from(Shared::from(spec(size, place, version)))
}

/// The SNAT address, as a part of its own: feeds have none.
pub fn snat() -> Delivery {
    let snat = SnatSpec {
        address: SNAT.into(),
        ports: 1_024..=65_535,
        interface: None,
        shared_address: false,
    };
    Delivery::Whole(Part { snat: vec![snat], ..Part::default() })
}

/// One interface with a router behind which everything is.
pub fn topology() -> Topology {
    let router = Ipv4Addr::new(10, 1, 0, 1).into();
    let link = LinkState {
        name: "memory0".into(),
        ifindex: 2,
        bridge_ifindex: None,
        mac: OUR_MAC,
        mtu_bytes: 1_500,
        up: true,
    };
    let (port, tags) = (PortId(0), Tags::NONE);
    let route = |network: Ipv4Addr, prefix_len, gateway| Route {
        network: network.into(),
        prefix_len,
        metric: 0,
        port,
        tags,
        gateway,
    };
    Topology {
        links: vec![link],
        routes: vec![
            route(Ipv4Addr::new(10, 1, 0, 0), 24, None),
            route(Ipv4Addr::UNSPECIFIED, 0, Some(router)),
        ],
        neighbours: vec![Neighbour { address: router, port, tags, mac: ROUTER_MAC, gone: false }],
        ..Topology::default()
    }
}

pub fn limits() -> LimitsSpec {
    LimitsSpec {
        flows_per_worker: 1 << 16,
        backends: 1_048_576,
        retired_backends: 4_096,
        service_gone_linger_ms: 60_000,
        snat_hold_down_ms: 1_000,
        snat_blocks_per_worker: 65_536,
        new_flows_per_second: 1_000_000,
        replies_per_second: 10_000,
        fragmented_packets: 64,
        fragments_held: 16,
        fragment_hold_ms: 2_000,
        frames_per_queue: 4_096,
        frame_bytes: 2_048,
        hand_over_ring: 1_024,
    }
}

/// Writes the main file.
pub fn write_main(folder: &Path) -> std::io::Result<()> {
    let text = format!(
        "version: 1\ninterfaces:\n  - name: memory0\nlimits: {{ backends: 1048576 }}\nsnat:\n  - \
         address: {SNAT}\nservices: []\n"
    );
    std::fs::write(folder.join("guideway.yaml"), text)
}

/// Writes one file, as a tool does that puts a new one in the old one's place.
pub fn write_file(folder: &Path, size: Size, file: u32, version: u32) -> std::io::Result<usize> {
    let mut text = "version: 1\nservices:\n".to_string();
    let each = size.services / FILES;
    for place in file * each..(file + 1) * each {
        let _ = write!(
            text,
            "  - name: service-{place}\n    address: {}\n    port: 80\n{}    backends:\n",
            vip(place),
            size.table_size.map(|slots| format!("    table_size: {slots}\n")).unwrap_or_default(),
        );
        for number in 0..BACKENDS {
            let address = backend_address(place, number, 0);
            let weight = if number == 0 { 1 + version } else { 1 };
            let _ = writeln!(
                text,
                "      - {{ name: backend-{number}, address: {address}, weight: {weight} }}"
            );
        }
    }
    let new = folder.join(format!("{file}.new"));
    std::fs::write(&new, &text)?;
    std::fs::rename(new, folder.join(format!("{file}.yaml")))?;
    Ok(text.len())
}
