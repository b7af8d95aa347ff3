//! Every key there is, and what it means when it is absent: the one table that the reader takes
//! names and defaults from, and that the reference file and the documentation are checked against.

/// What the absence of a key means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Absent {
    /// The file is refused.
    Refused,
    /// As if this stood there.
    Is(&'static str),
    /// Something that no value says.
    Means(&'static str),
}

/// A key of a map.
#[derive(Debug)]
pub(super) struct Field {
    pub key: &'static str,
    pub absent: Absent,
}

/// A map: its keys, and where it stands, with `[]` for "each of a list".
#[derive(Debug)]
pub(super) struct Schema {
    pub path: &'static str,
    pub fields: &'static [Field],
}

impl Schema {
    pub fn field(&self, key: &str) -> Option<&'static Field> {
        self.fields.iter().find(|field| field.key == key)
    }
}

const fn required(key: &'static str) -> Field {
    Field { key, absent: Absent::Refused }
}

const fn or(key: &'static str, value: &'static str) -> Field {
    Field { key, absent: Absent::Is(value) }
}

const fn optional(key: &'static str, meaning: &'static str) -> Field {
    Field { key, absent: Absent::Means(meaning) }
}

pub(super) static ROOT: Schema = Schema {
    path: "",
    fields: &[
        required("version"),
        required("interfaces"),
        optional("workers", "the defaults of its keys"),
        optional("snat", "no address, so no service may use NAT"),
        optional("tunnel_sources", "no address, so no service may use a tunnel"),
        optional("limits", "the defaults of its keys"),
        optional("admin", "the defaults of its keys"),
        or("state_dir", super::DEFAULT_STATE_DIR),
        or("bpf_dir", "/sys/fs/bpf/guideway"),
        optional("cluster_key_file", "a random key, made once and kept in state_dir"),
        optional("flow_records", "no records, and flows are not counted one by one"),
        optional("feeds", "none"),
        optional("kubernetes", "none"),
        optional("timeouts", "the defaults of its keys"),
        required("services"),
        optional("replay", "nothing is known of the world"),
    ],
};

/// A file beside the main one in a folder: a part of what may change while running.
pub(super) static PART: Schema = Schema {
    path: "",
    fields: &[
        required("version"),
        optional("snat", "no address"),
        optional("tunnel_sources", "no address"),
        optional("timeouts", "the defaults of its keys"),
        optional("services", "none"),
    ],
};

pub(super) static INTERFACE: Schema = Schema {
    path: "interfaces[]",
    fields: &[
        required("name"),
        optional("bridge", "the interface exists already"),
        or("xdp_mode", "auto"),
        or("zero_copy", "auto"),
        or("on_worker_gone", "drop"),
    ],
};

pub(super) static WORKERS: Schema = Schema {
    path: "workers",
    fields: &[
        optional("count", "the largest number of queues of any interface"),
        optional("cores", "worker w on core w, modulo the cores there are"),
        or("idle", "auto"),
        or("spread", "flow"),
    ],
};

pub(super) static SNAT: Schema = Schema {
    path: "snat[]",
    fields: &[
        required("address"),
        or("ports", "1024-65535"),
        optional("interface", "towards backends behind any interface"),
        or("shared_address", "false"),
    ],
};

pub(super) static LIMITS: Schema = Schema {
    path: "limits",
    fields: &[
        or("flows_per_worker", "1048576"),
        or("backends", "65536"),
        or("retired_backends", "4096"),
        or("service_gone_linger", "60s"),
        or("snat_hold_down", "60s"),
        or("snat_blocks_per_worker", "65536"),
        or("new_flows_per_second", "1000000"),
        or("replies_per_second", "10000"),
        or("fragmented_packets", "1024"),
        or("fragments_held", "256"),
        or("fragment_hold", "2s"),
        or("frames_per_queue", "4096"),
        or("frame_bytes", "2048"),
        or("hand_over_ring", "1024"),
    ],
};

pub(super) static ADMIN: Schema = Schema {
    path: "admin",
    fields: &[
        or("socket", "/run/guideway/admin.sock"),
        optional("http", "nobody listens"),
        or("http_anywhere", "false"),
        or("metrics_services", "1000"),
        or("metrics_backends", "10000"),
    ],
};

pub(super) static FLOW_RECORDS: Schema = Schema {
    path: "flow_records",
    fields: &[
        optional("file", "no file"),
        optional("ipfix", "no collector"),
        or("waiting_per_worker", "8192"),
    ],
};

pub(super) static SERVICE: Schema = Schema {
    path: "services[]",
    fields: &[
        required("name"),
        required("address"),
        required("port"),
        or("protocol", "tcp"),
        or("shared_address", "false"),
        or("mode", "nat"),
        optional("dscp", "none; mode dscp needs one"),
        optional("tunnel", "the defaults of its keys"),
        or("hash", "five_tuple"),
        or("flow", "entry"),
        optional("affinity", "none: each flow by itself"),
        or("max_flows", "0"),
        optional("allow", "everybody"),
        or("mss", "auto"),
        optional("table_size", "a prime chosen from the number of backends"),
        or("no_backend", "reset"),
        or("min_healthy", "0"),
        or("slow_start", "0s"),
        or("on_service_gone", "reset"),
        or("on_backend_gone", "reset"),
        optional("drain_time", "as long as they live"),
        optional("timeouts", "those of all services"),
        optional("health_check", "backends are always healthy"),
        or("health", "local"),
        required("backends"),
    ],
};

pub(super) static TUNNEL: Schema = Schema {
    path: "services[].tunnel",
    fields: &[
        optional("dscp", "each packet's own"),
        optional("gre_key", "none"),
        or("gue_port", "6080"),
        or("gue_version", "0"),
        or("gue_checksum", "true"),
    ],
};

pub(super) static FEED: Schema = Schema {
    path: "feeds[]",
    fields: &[
        required("name"),
        required("url"),
        or("plaintext", "false"),
        optional("node", "the machine's host name"),
        optional("ca_file", "the authorities that the machine trusts"),
        optional("cert_file", "no certificate is shown"),
        optional("key_file", "that of `cert_file` must be said"),
        optional("token_file", "no token is sent"),
    ],
};

pub(super) static KUBERNETES: Schema = Schema {
    path: "kubernetes[]",
    fields: &[
        required("name"),
        optional("kubeconfig", "the service account of the pod that Guideway runs in"),
        optional("context", "the file's current one"),
        optional("classes", "guideway.dev/external"),
        or("default", "false"),
        or("manager", "guideway"),
        or("lease_namespace", "kube-system"),
        optional("pools", "none beside the cluster's AddressPools"),
    ],
};

pub(super) static ADDRESS_POOL: Schema = Schema {
    path: "kubernetes[].pools[]",
    fields: &[
        required("name"),
        required("addresses"),
        or("auto_assign", "true"),
        or("priority", "100"),
        or("skip_ends", "false"),
        optional("namespaces", "all"),
        or("reuse_after", "60s"),
        or("share_across_namespaces", "false"),
        or("target", "pods"),
        or("source", "snat"),
    ],
};

/// The file that `guideway feed serve` gives out.
pub(super) static SERVED: Schema = Schema {
    path: "",
    fields: &[
        required("version"),
        optional("revision", "the time at which the file was changed, in Unix ms"),
        required("services"),
    ],
};

pub(super) static TIMEOUTS: Schema = Schema {
    path: "timeouts",
    fields: &[
        or("tcp_opening", "60s"),
        or("tcp_established", "2h4m"),
        or("tcp_closing", "60s"),
        or("tcp_reset", "10s"),
        or("udp", "5m"),
    ],
};

const OF_ALL: &str = "that of all services";

pub(super) static SERVICE_TIMEOUTS: Schema = Schema {
    path: "services[].timeouts",
    fields: &[
        optional("tcp_opening", OF_ALL),
        optional("tcp_established", OF_ALL),
        optional("tcp_closing", OF_ALL),
        optional("tcp_reset", OF_ALL),
        optional("udp", OF_ALL),
    ],
};

pub(super) static HEALTH_CHECK: Schema = Schema {
    path: "services[].health_check",
    fields: &[
        required("type"),
        optional("send", "nothing"),
        optional("expect", "over tcp no answer is waited for, over udp any will do"),
        or("method", "GET"),
        or("path", "/"),
        optional("host", "the backend's address"),
        or("status", "200-399"),
        optional("body", "any"),
        optional("grpc_service", "the server as a whole"),
        optional("server_name", "`host`, else the backend's address"),
        or("verify", "true"),
        optional("ca_file", "the authorities that the machine trusts"),
        or("probe", "backend"),
        optional("port", "the backend's port"),
        optional("source", "as the kernel's routes say"),
        or("interval", "2s"),
        optional("fast_interval", "as `interval`"),
        or("timeout", "1s"),
        or("rise", "2"),
        or("fall", "3"),
        or("flap_window", "10m"),
        or("flap_wait", "5m"),
    ],
};

pub(super) static BACKEND: Schema = Schema {
    path: "services[].backends[]",
    fields: &[
        required("name"),
        required("address"),
        optional("via", "the routes say"),
        optional("port", "the service's port; of several, the one that was asked"),
        or("weight", "1"),
        or("backup", "false"),
        or("drain", "false"),
        optional("healthy", "it is"),
    ],
};

pub(super) static REPLAY: Schema = Schema {
    path: "replay",
    fields: &[
        optional("links", "every interface has a made-up MAC and an MTU of 1500"),
        optional("own_addresses", "the machine has no address"),
        optional("routes", "there is no route"),
        optional("neighbours", "no station is known"),
        optional("down", "every backend is healthy"),
    ],
};

pub(super) static REPLAY_LINK: Schema = Schema {
    path: "replay.links[]",
    fields: &[required("name"), required("mac"), or("mtu", "1500")],
};

pub(super) static REPLAY_OWN_ADDRESS: Schema = Schema {
    path: "replay.own_addresses[]",
    fields: &[required("address"), required("interface")],
};

pub(super) static REPLAY_ROUTE: Schema = Schema {
    path: "replay.routes[]",
    fields: &[
        required("to"),
        optional("via", "the destination is on the link"),
        required("interface"),
    ],
};

pub(super) static REPLAY_NEIGHBOUR: Schema = Schema {
    path: "replay.neighbours[]",
    fields: &[required("address"), required("mac"), required("interface")],
};

/// All of them, in the order of the reference file.
#[cfg(test)]
pub(super) static ALL: [&Schema; 21] = [
    &ROOT,
    &INTERFACE,
    &WORKERS,
    &SNAT,
    &LIMITS,
    &ADMIN,
    &FLOW_RECORDS,
    &FEED,
    &KUBERNETES,
    &ADDRESS_POOL,
    &TIMEOUTS,
    &SERVICE,
    &TUNNEL,
    &SERVICE_TIMEOUTS,
    &HEALTH_CHECK,
    &BACKEND,
    &REPLAY,
    &REPLAY_LINK,
    &REPLAY_OWN_ADDRESS,
    &REPLAY_ROUTE,
    &REPLAY_NEIGHBOUR,
];
