//! The part of a file that is fixed at start -> [`NodeSpec`].

use super::feeds;
use super::kubernetes;
use super::reader::Section;
use super::scalar::{
    Scalar, Wrong, boolean, choice, duration_ms, interface_name, number, path, socket_address,
    socket_path,
};
use super::schema;
use crate::control::{
    FlowRecordsSpec, HttpSpec, IdlePolicy, InterfaceSpec, LimitsSpec, NodeSpec, Spread,
    WorkerGonePolicy, WorkersSpec, XdpModeChoice, ZeroCopyChoice,
};

/// Ports are numbered by a byte, and a machine with more NICs is not known.
const MAX_INTERFACES: usize = 64;
/// A flow's owner is one of 256 shards, so more workers would have nothing to own; the count itself
/// is a byte.
const MAX_WORKERS: usize = 255;
/// No receiver waits longer for the rest of a packet (RFC 8200 section 4.5).
const MOST_FRAGMENT_HOLD_MS: u32 = 60_000;

pub(super) fn read(root: &Section<'_>) -> Option<NodeSpec> {
    let interfaces = root.maps("interfaces", &schema::INTERFACE, interface);
    if let Some(interfaces) = &interfaces {
        check_interfaces(root, interfaces);
    }
    let workers = root.section("workers", &schema::WORKERS).and_then(|section| workers(&section));
    let limits = root.section("limits", &schema::LIMITS).and_then(|section| limits(&section));
    let admin = root.section("admin", &schema::ADMIN);
    let admin_socket = admin.as_ref().and_then(|section| section.get("socket", socket_path));
    let http = admin.as_ref().and_then(http);
    let state_dir = root.get("state_dir", path);
    let bpf_dir = root.get("bpf_dir", path);
    let cluster_key_file = root.optional("cluster_key_file", path);
    let flow_records = match root.has("flow_records") {
        true => {
            let section = root.section("flow_records", &schema::FLOW_RECORDS);
            section.and_then(|section| flow_records(&section)).map(Some)
        }
        false => Some(None),
    };
    let feeds = feeds::read(root);
    let kubernetes = kubernetes::read(root);
    Some(NodeSpec {
        interfaces: interfaces?,
        workers: workers?,
        limits: limits?,
        admin_socket: admin_socket?,
        http: http?,
        state_dir: state_dir?,
        bpf_dir: bpf_dir?,
        cluster_key_file: cluster_key_file?,
        flow_records: flow_records?,
        feeds: feeds?,
        kubernetes: kubernetes?,
    })
}

fn interface(section: &Section<'_>) -> Option<InterfaceSpec> {
    const XDP_MODES: &[(&str, XdpModeChoice)] = &[
        ("auto", XdpModeChoice::Auto),
        ("native", XdpModeChoice::Native),
        ("generic", XdpModeChoice::Generic),
    ];
    const ZERO_COPY: &[(&str, ZeroCopyChoice)] = &[
        ("auto", ZeroCopyChoice::Auto),
        ("required", ZeroCopyChoice::Required),
        ("off", ZeroCopyChoice::Off),
    ];
    const WORKER_GONE: &[(&str, WorkerGonePolicy)] =
        &[("drop", WorkerGonePolicy::Drop), ("kernel", WorkerGonePolicy::Kernel)];
    let name = section.get("name", interface_name);
    let bridge = section.optional("bridge", interface_name);
    let xdp_mode = section.get("xdp_mode", choice(XDP_MODES));
    let zero_copy = section.get("zero_copy", choice(ZERO_COPY));
    let on_worker_gone = section.get("on_worker_gone", choice(WORKER_GONE));
    if let (Some(name), Some(Some(bridge))) = (&name, &bridge)
        && name == bridge
    {
        section.refuse("bridge", format!("`{bridge}` is the interface itself"), "a bridge");
    }
    Some(InterfaceSpec {
        name: name?,
        bridge: bridge?,
        xdp_mode: xdp_mode?,
        zero_copy: zero_copy?,
        on_worker_gone: on_worker_gone?,
    })
}

fn flow_records(section: &Section<'_>) -> Option<FlowRecordsSpec> {
    let file = section.optional("file", path);
    let ipfix = section.optional("ipfix", socket_address);
    let waiting_per_worker = section.get("waiting_per_worker", number(64..=1 << 20));
    if !section.has("file") && !section.has("ipfix") {
        section.refuse("file", "nobody gets the records", "`file`, `ipfix`, or both");
    }
    Some(FlowRecordsSpec { file: file?, ipfix: ipfix?, waiting_per_worker: waiting_per_worker? })
}

fn check_interfaces(root: &Section<'_>, interfaces: &[InterfaceSpec]) {
    if interfaces.is_empty() {
        root.refuse("interfaces", "there is none", "at least one interface");
    }
    if interfaces.len() > MAX_INTERFACES {
        let problem = format!("there are {}", interfaces.len());
        root.refuse("interfaces", problem, format!("at most {MAX_INTERFACES}"));
        return;
    }
    for (place, interface) in interfaces.iter().enumerate() {
        let first = interfaces.iter().take(place).position(|other| other.name == interface.name);
        if let Some(first) = first {
            root.refuse_below(
                "interfaces",
                &format!("[{place}].name"),
                format!("`{}` is interfaces[{first}] already", interface.name),
                "each interface once",
            );
        }
    }
}

fn workers(section: &Section<'_>) -> Option<WorkersSpec> {
    const IDLE: &[(&str, IdlePolicy)] =
        &[("auto", IdlePolicy::Auto), ("busy", IdlePolicy::Busy), ("sleep", IdlePolicy::Sleep)];
    const SPREADS: &[(&str, Spread)] = &[("flow", Spread::Flow), ("client", Spread::Client)];
    let count = section.optional("count", number(1..=MAX_WORKERS as u64));
    let cores: Option<Option<Vec<usize>>> = section.scalars("cores", number(0..=8191));
    let idle = section.get("idle", choice(IDLE));
    let spread = section.get("spread", choice(SPREADS));
    if let Some(Some(cores)) = &cores {
        check_cores(section, count, cores);
    }
    Some(WorkersSpec { count: count?, cores: cores?, idle: idle?, spread: spread? })
}

fn check_cores(section: &Section<'_>, count: Option<Option<u8>>, cores: &[usize]) {
    for (place, core) in cores.iter().enumerate().take(MAX_WORKERS) {
        if cores.iter().take(place).any(|other| other == core) {
            let problem = format!("core {core} is there twice");
            section.refuse_below("cores", &format!("[{place}]"), problem, "a core of its own each");
        }
    }
    if cores.is_empty() || count.flatten().is_some_and(|count| usize::from(count) != cores.len()) {
        let problem = format!("{} cores", cores.len());
        section.refuse("cores", problem, "one for each of the workers in `count`");
    }
}

/// Metrics tell who serves what, so they leave the machine only where somebody wants that.
fn http(section: &Section<'_>) -> Option<Option<HttpSpec>> {
    let listen = section.optional("http", socket_address);
    let anywhere = section.get("http_anywhere", boolean);
    let most_services = section.get("metrics_services", number(0..=1_000_000));
    let most_backends = section.get("metrics_backends", number(0..=1_000_000));
    let (listen, anywhere) = (listen?, anywhere?);
    if let Some(listen) = listen.filter(|listen| !anywhere && !listen.ip().is_loopback()) {
        let problem = format!("`{listen}` is reached from outside of this machine");
        let wanted = "an address such as 127.0.0.1, or `http_anywhere: true`";
        section.refuse("http", problem, wanted);
        return None;
    }
    let (most_services, most_backends) = (most_services?, most_backends?);
    Some(listen.map(|listen| HttpSpec { listen, most_services, most_backends }))
}

fn limits(section: &Section<'_>) -> Option<LimitsSpec> {
    let day_ms = 86_400_000;
    let flows_per_worker = section.get("flows_per_worker", number(1_024..=67_108_864));
    let backends = section.get("backends", number(1..=1_048_576));
    let retired_backends = section.get("retired_backends", number(0..=1_048_576));
    let service_gone_linger_ms = section.get("service_gone_linger", duration_ms(0, day_ms));
    let snat_hold_down_ms = section.get("snat_hold_down", duration_ms(0, day_ms));
    let snat_blocks_per_worker = section.get("snat_blocks_per_worker", number(1..=8_388_608));
    let new_flows_per_second = section.get("new_flows_per_second", number(1..=100_000_000));
    let replies_per_second = section.get("replies_per_second", number(0..=100_000_000));
    let fragmented_packets = section.get("fragmented_packets", number(0..=1_048_576));
    let fragments_held = section.get("fragments_held", number(0..=65_536));
    let fragment_hold_ms = section.get("fragment_hold", duration_ms(0, MOST_FRAGMENT_HOLD_MS));
    let frames_per_queue = section.get("frames_per_queue", power_of_two(256, 262_144));
    let frame_bytes = section.get("frame_bytes", power_of_two(2_048, 4_096));
    let hand_over_ring = section.get("hand_over_ring", number(64..=65_536));
    Some(LimitsSpec {
        flows_per_worker: flows_per_worker?,
        backends: backends?,
        retired_backends: retired_backends?,
        service_gone_linger_ms: service_gone_linger_ms?,
        snat_hold_down_ms: snat_hold_down_ms?,
        snat_blocks_per_worker: snat_blocks_per_worker?,
        new_flows_per_second: new_flows_per_second?,
        replies_per_second: replies_per_second?,
        fragmented_packets: fragmented_packets?,
        fragments_held: fragments_held?,
        fragment_hold_ms: fragment_hold_ms?,
        frames_per_queue: frames_per_queue?,
        frame_bytes: frame_bytes?,
        hand_over_ring: hand_over_ring?,
    })
}

/// Rings and chunks of AF_XDP are powers of two long.
fn power_of_two(least: u32, most: u32) -> impl Fn(Scalar<'_>) -> Result<u32, Wrong> {
    move |scalar| {
        let read: u32 = number(u64::from(least)..=u64::from(most))(scalar)?;
        if read.is_power_of_two() {
            return Ok(read);
        }
        Err(Wrong {
            problem: format!("`{read}` is not a power of two"),
            wanted: format!("a power of two from {least} to {most}"),
            hint: Some(format!("the next one is {}", read.next_power_of_two())),
        })
    }
}
