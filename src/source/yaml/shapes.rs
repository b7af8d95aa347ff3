//! What the value of each key looks like: the table that the JSON Schema is made from. Tests hold it
//! against [`super::schema`], against the reference file, and against what the readers say they want.

use super::schema::{self, Schema};

/// What a value looks like.
#[derive(Clone, Copy, Debug)]
pub(super) enum Shape {
    /// A map with the keys of a schema.
    Map(&'static Schema),
    /// A list of such maps.
    Maps(&'static Schema),
    /// A list of single values.
    List(&'static Shape),
    /// A number from .. to.
    Number(u64, u64),
    /// `true` or `false`.
    Boolean,
    /// One of these words.
    Words(&'static [&'static str]),
    /// `500ms`, `2h4m`.
    Duration,
    /// Anything but nothing.
    Text,
    /// The name of a service or backend.
    Name,
    /// The name of an interface.
    Interface,
    /// IPv4 or IPv6.
    Address,
    /// The same with a prefix length.
    Network,
    /// Of a station.
    Mac,
    /// From the root.
    Path,
    /// Ports: `1024-65535`, or one.
    Range,
    /// One port, several, or `all`.
    Ports,
    /// `30`, or `30%`.
    Percent,
    /// Of HTTP: `200-299,401`.
    Statuses,
    /// `auto`, `off`, or bytes.
    Mss,
    /// Address and port.
    Socket,
    /// Of a feed: `https://HOST:PORT`.
    Url,
    /// SERVICE/BACKEND.
    BackendOfService,
}

use Shape::{
    Address, BackendOfService, Boolean, Duration, Interface, List, Mac, Map, Maps, Mss, Name,
    Network, Number, Path, Percent, Ports, Range, Socket, Statuses, Text, Url, Words,
};

const PORT: Shape = Number(1, 65_535);
const MANY: Shape = Number(0, u32::MAX as u64);
const POLICY: Shape = Words(&["reset", "drop"]);

/// The shape of a key, by its path; `[]` stands for each item of a list.
pub(super) fn shape_of(path: &str) -> Option<Shape> {
    SHAPES.iter().find(|(known, _)| *known == path).map(|(_, shape)| *shape)
}

/// In the order of the reference file.
pub(super) const SHAPES: &[(&str, Shape)] = &[
    ("version", Number(1, 1)),
    ("interfaces", Maps(&schema::INTERFACE)),
    ("workers", Map(&schema::WORKERS)),
    ("snat", Maps(&schema::SNAT)),
    ("tunnel_sources", List(&Network)),
    ("limits", Map(&schema::LIMITS)),
    ("admin", Map(&schema::ADMIN)),
    ("state_dir", Path),
    ("bpf_dir", Path),
    ("cluster_key_file", Path),
    ("flow_records", Map(&schema::FLOW_RECORDS)),
    ("feeds", Maps(&schema::FEED)),
    ("kubernetes", Maps(&schema::KUBERNETES)),
    ("timeouts", Map(&schema::TIMEOUTS)),
    ("services", Maps(&schema::SERVICE)),
    ("replay", Map(&schema::REPLAY)),
    ("interfaces[].name", Interface),
    ("interfaces[].bridge", Interface),
    ("interfaces[].xdp_mode", Words(&["auto", "native", "generic"])),
    ("interfaces[].zero_copy", Words(&["auto", "required", "off"])),
    ("interfaces[].on_worker_gone", Words(&["drop", "kernel"])),
    ("workers.count", Number(1, 255)),
    ("workers.cores", List(&Number(0, 8191))),
    ("workers.idle", Words(&["auto", "busy", "sleep"])),
    ("workers.spread", Words(&["flow", "client"])),
    ("snat[].address", Address),
    ("snat[].ports", Range),
    ("snat[].interface", Interface),
    ("snat[].shared_address", Boolean),
    ("limits.flows_per_worker", Number(1_024, 67_108_864)),
    ("limits.backends", Number(1, 1_048_576)),
    ("limits.retired_backends", Number(0, 1_048_576)),
    ("limits.service_gone_linger", Duration),
    ("limits.snat_hold_down", Duration),
    ("limits.snat_blocks_per_worker", Number(1, 8_388_608)),
    ("limits.new_flows_per_second", Number(1, 100_000_000)),
    ("limits.replies_per_second", Number(0, 100_000_000)),
    ("limits.fragmented_packets", Number(0, 1_048_576)),
    ("limits.fragments_held", Number(0, 65_536)),
    ("limits.fragment_hold", Duration),
    ("limits.frames_per_queue", Number(256, 262_144)),
    ("limits.frame_bytes", Number(2_048, 4_096)),
    ("limits.hand_over_ring", Number(64, 65_536)),
    ("admin.socket", Path),
    ("admin.http", Socket),
    ("admin.http_anywhere", Boolean),
    ("admin.metrics_services", Number(0, 1_000_000)),
    ("admin.metrics_backends", Number(0, 1_000_000)),
    ("flow_records.file", Path),
    ("flow_records.ipfix", Socket),
    ("flow_records.waiting_per_worker", Number(64, 1 << 20)),
    ("feeds[].name", Name),
    ("feeds[].url", Url),
    ("feeds[].plaintext", Boolean),
    ("feeds[].node", Text),
    ("feeds[].ca_file", Path),
    ("feeds[].cert_file", Path),
    ("feeds[].key_file", Path),
    ("feeds[].token_file", Path),
    ("kubernetes[].name", Name),
    ("kubernetes[].kubeconfig", Path),
    ("kubernetes[].context", Text),
    ("kubernetes[].classes", List(&Text)),
    ("kubernetes[].default", Boolean),
    ("kubernetes[].manager", Name),
    ("kubernetes[].lease_namespace", Name),
    ("kubernetes[].pools", Maps(&schema::ADDRESS_POOL)),
    ("kubernetes[].pools[].name", Name),
    ("kubernetes[].pools[].addresses", List(&Text)),
    ("kubernetes[].pools[].auto_assign", Boolean),
    ("kubernetes[].pools[].priority", MANY),
    ("kubernetes[].pools[].skip_ends", Boolean),
    ("kubernetes[].pools[].namespaces", List(&Text)),
    ("kubernetes[].pools[].reuse_after", Duration),
    ("kubernetes[].pools[].share_across_namespaces", Boolean),
    ("kubernetes[].pools[].target", Words(&["pods", "nodes", "nodePorts"])),
    ("kubernetes[].pools[].source", Words(&["snat", "keep"])),
    ("timeouts.tcp_opening", Duration),
    ("timeouts.tcp_established", Duration),
    ("timeouts.tcp_closing", Duration),
    ("timeouts.tcp_reset", Duration),
    ("timeouts.udp", Duration),
    ("services[].name", Name),
    ("services[].address", Address),
    ("services[].port", Ports),
    ("services[].protocol", Words(&["tcp", "udp", "sctp"])),
    ("services[].shared_address", Boolean),
    ("services[].mode", Words(&["nat", "dnat", "l2dsr", "dscp", "ipip", "gre", "gue"])),
    ("services[].dscp", Number(1, 63)),
    ("services[].tunnel", Map(&schema::TUNNEL)),
    ("services[].hash", Words(&["five_tuple", "client", "client_and_port", "destination_port"])),
    ("services[].flow", Words(&["entry", "none"])),
    ("services[].affinity", Duration),
    ("services[].max_flows", MANY),
    ("services[].allow", List(&Network)),
    ("services[].mss", Mss),
    ("services[].table_size", Number(1, 5_000_011)),
    ("services[].no_backend", Words(&["reset", "unreachable", "drop"])),
    ("services[].min_healthy", Percent),
    ("services[].slow_start", Duration),
    ("services[].on_service_gone", POLICY),
    ("services[].on_backend_gone", Words(&["reset", "drop", "keep"])),
    ("services[].drain_time", Duration),
    ("services[].timeouts", Map(&schema::SERVICE_TIMEOUTS)),
    ("services[].health_check", Map(&schema::HEALTH_CHECK)),
    ("services[].health", Words(&["local", "feed"])),
    ("services[].backends", Maps(&schema::BACKEND)),
    ("services[].tunnel.dscp", Number(0, 63)),
    ("services[].tunnel.gre_key", MANY),
    ("services[].tunnel.gue_port", PORT),
    ("services[].tunnel.gue_version", Words(&["0", "1"])),
    ("services[].tunnel.gue_checksum", Boolean),
    ("services[].timeouts.tcp_opening", Duration),
    ("services[].timeouts.tcp_established", Duration),
    ("services[].timeouts.tcp_closing", Duration),
    ("services[].timeouts.tcp_reset", Duration),
    ("services[].timeouts.udp", Duration),
    (
        "services[].health_check.type",
        Words(&["tcp", "http", "https", "grpc", "grpcs", "udp", "icmp"]),
    ),
    ("services[].health_check.send", Text),
    ("services[].health_check.expect", Text),
    ("services[].health_check.method", Text),
    ("services[].health_check.path", Text),
    ("services[].health_check.host", Text),
    ("services[].health_check.status", Statuses),
    ("services[].health_check.body", Text),
    ("services[].health_check.grpc_service", Text),
    ("services[].health_check.server_name", Text),
    ("services[].health_check.verify", Boolean),
    ("services[].health_check.ca_file", Path),
    ("services[].health_check.probe", Words(&["backend", "via"])),
    ("services[].health_check.port", PORT),
    ("services[].health_check.source", Address),
    ("services[].health_check.interval", Duration),
    ("services[].health_check.fast_interval", Duration),
    ("services[].health_check.timeout", Duration),
    ("services[].health_check.rise", Number(1, u32::MAX as u64)),
    ("services[].health_check.fall", Number(1, u32::MAX as u64)),
    ("services[].health_check.flap_window", Duration),
    ("services[].health_check.flap_wait", Duration),
    ("services[].backends[].name", Name),
    ("services[].backends[].address", Address),
    ("services[].backends[].via", Address),
    ("services[].backends[].port", PORT),
    ("services[].backends[].weight", Number(0, 65_535)),
    ("services[].backends[].backup", Boolean),
    ("services[].backends[].drain", Boolean),
    ("services[].backends[].healthy", Boolean),
    ("replay.links", Maps(&schema::REPLAY_LINK)),
    ("replay.own_addresses", Maps(&schema::REPLAY_OWN_ADDRESS)),
    ("replay.routes", Maps(&schema::REPLAY_ROUTE)),
    ("replay.neighbours", Maps(&schema::REPLAY_NEIGHBOUR)),
    ("replay.down", List(&BackendOfService)),
    ("replay.links[].name", Interface),
    ("replay.links[].mac", Mac),
    ("replay.links[].mtu", Number(68, 65_535)),
    ("replay.own_addresses[].address", Address),
    ("replay.own_addresses[].interface", Interface),
    ("replay.routes[].to", Network),
    ("replay.routes[].via", Address),
    ("replay.routes[].interface", Interface),
    ("replay.neighbours[].address", Address),
    ("replay.neighbours[].mac", Mac),
    ("replay.neighbours[].interface", Interface),
];
