//! Whole files: what is read, and what each mistake is answered with.

mod addresses;
mod admin;
mod hostile;
mod json_schema;
mod mistakes;
mod modes;

use super::json_schema::{REFERENCE, comment_above, line_of};
use super::schema::{ALL, Absent, Field};
use super::*;
use crate::control::{
    Exchange, GrpcCheck, HealthCheckKind, HealthCheckSpec, HttpCheck, IdlePolicy, StatusSet,
    TlsCheck, WorkerGonePolicy, XdpModeChoice, ZeroCopyChoice,
};
use crate::forwarding::{
    BackendGonePolicy, FlowTimeouts, Mode, NoBackendPolicy, ServiceGonePolicy,
};
use crate::wire::{PortId, Protocol};

const DOCUMENT: &str = include_str!("../../../../docs/reference/configuration.md");

const SMALL: &str = "\
version: 1
interfaces:
  - name: eth1
snat:
  - address: 10.1.0.10
services:
  - name: web
    address: 10.1.0.100
    port: 80
    health_check: { type: tcp }
    backends:
      - { name: b1, address: 10.2.0.11 }
";

#[test]
fn what_is_left_out_is_what_the_types_call_default() {
    let config = parse("f", SMALL).unwrap();
    let interface = &config.node.interfaces[0];
    assert_eq!(interface.bridge, None);
    assert_eq!(interface.xdp_mode, XdpModeChoice::default());
    assert_eq!(interface.zero_copy, ZeroCopyChoice::default());
    assert_eq!(interface.on_worker_gone, WorkerGonePolicy::default());
    assert_eq!(config.node.workers.idle, IdlePolicy::default());
    assert_eq!((config.node.workers.count, &config.node.workers.cores), (None, &None));
    assert_eq!(config.desired.snat[0].ports, 1024..=65535);
    let service = &config.desired.services[0];
    assert_eq!((service.protocol, service.mode), (Protocol::Tcp, Mode::Nat));
    assert_eq!(service.timeouts, FlowTimeouts::default());
    assert_eq!(service.no_backend, NoBackendPolicy::default());
    assert_eq!(service.on_service_gone, ServiceGonePolicy::default());
    assert_eq!(service.on_backend_gone, BackendGonePolicy::default());
    assert_eq!(service.drain_time_ms, None);
    let backend = &service.backends[0];
    assert_eq!((backend.port, backend.weight, backend.drain), (80, 1, false));
    assert_eq!((service.min_healthy_percent, service.slow_start_ms, backend.backup), (0, 0, false));
    let check = service.health_check.as_ref().unwrap();
    assert_eq!(*check, HealthCheckSpec::new(HealthCheckKind::TCP));
    assert_eq!(config.replay, None);
}

#[test]
fn idle_times_of_all_services_and_of_one() {
    let text = SMALL.replace("services:", "timeouts: { tcp_reset: 4m, udp: 2m }\nservices:");
    let own = text.replace("    backends:", "    timeouts: { udp: 10s }\n    backends:");
    let of = |text: &str| parse("f", text).unwrap().desired.services[0].timeouts;
    let all = FlowTimeouts { tcp_reset_ms: 240_000, udp_ms: 120_000, ..FlowTimeouts::default() };
    assert_eq!(of(&text), all);
    assert_eq!(of(&own), FlowTimeouts { udp_ms: 10_000, ..all });
    for wrong in ["0s", "25d", "soon"] {
        let error = parse("f", &own.replace("udp: 2m", &format!("udp: {wrong}"))).unwrap_err();
        let lines: Vec<String> = error.to_string().lines().map(str::to_string).collect();
        let told = lines.iter().filter(|line| line.contains("timeouts.udp")).count();
        assert_eq!(told, 1, "{wrong}: {lines:?}");
        assert!(!lines.iter().any(|line| line.contains("services[0]")), "{wrong}: {lines:?}");
    }
}

#[test]
fn each_key_of_the_reference_file_is_read() {
    let config = parse("config/guideway.yaml", REFERENCE).unwrap_or_else(|e| panic!("{e}"));
    let node = &config.node;
    assert_eq!(node.interfaces[1].bridge.as_deref(), Some("br0"));
    assert_eq!((node.workers.count, node.workers.cores.as_deref()), (Some(2), Some(&[0, 1][..])));
    assert_eq!(node.cluster_key_file.as_deref(), Some(Path::new("/etc/guideway/cluster.key")));
    let web = &config.desired.services[0];
    assert_eq!(web.table_size, Some(65_537));
    assert_eq!(web.drain_time_ms, Some(3_600_000));
    assert_eq!((web.min_healthy_percent, web.slow_start_ms), (30, 30_000));
    let check = web.health_check.as_ref().unwrap();
    assert_eq!(check.port, Some(8443));
    let host = Some("example.org".to_string());
    let tls = TlsCheck {
        server_name: Some("www.example.org".to_string()),
        verify: true,
        ca_file: Some("/etc/guideway/ca.pem".into()),
    };
    let http = HttpCheck {
        method: "GET".to_string(),
        path: "/".to_string(),
        host,
        status: StatusSet(vec![200..=399, 401..=401]),
        body: Some("ready".to_string()),
        tls: Some(tls),
    };
    assert_eq!(check.kind, HealthCheckKind::Http(http));
    assert_eq!(check.source, Some("10.2.0.1".parse().unwrap()));
    assert_eq!(check.fast_interval_ms, Some(500));
    assert_eq!(config.desired.services[1].protocol, Protocol::Udp);
    assert_eq!(config.desired.services[1].backends[1].port, 53);
    let replay = config.replay.as_ref().unwrap();
    assert_eq!(replay.down, [("web".to_string(), "b2".to_string())]);
    let topology = replay.topology(node);
    assert_eq!(topology.links[0].mac.to_string(), "02:00:00:00:00:01");
    assert_eq!(topology.links[1].mac.to_string(), "02:00:00:00:01:01");
    assert!(topology.is_own("10.1.0.1".parse().unwrap()));
    assert_eq!(topology.routes[1].port, PortId(1));
    assert_eq!(topology.neighbours.len(), 2);
}

#[test]
fn health_checks_of_all_types() {
    let exchange = |send: &[u8], expect: &[u8]| Exchange {
        send: Some(send.to_vec()),
        expect: Some(expect.to_vec()),
    };
    let of_all = TlsCheck { server_name: None, verify: true, ca_file: None };
    let web = HttpCheck {
        method: "HEAD".to_string(),
        path: "/".to_string(),
        host: None,
        status: StatusSet(vec![200..=299, 401..=401]),
        body: None,
        tls: Some(TlsCheck { verify: false, ..of_all.clone() }),
    };
    let service = "a.B".to_string();
    let rows = [
        (
            "type: tcp, send: \"PING\\r\\n\", expect: +PONG",
            HealthCheckKind::Tcp(exchange(b"PING\r\n", b"+PONG")),
        ),
        (
            "type: udp, send: \"hex:00 ff\", expect: x",
            HealthCheckKind::Udp(exchange(&[0, 255], b"x")),
        ),
        (
            "type: https, method: HEAD, status: \"200-299,401\", verify: false",
            HealthCheckKind::Http(web),
        ),
        ("type: grpc, grpc_service: a.B", HealthCheckKind::Grpc(GrpcCheck { service, tls: None })),
        (
            "type: grpcs",
            HealthCheckKind::Grpc(GrpcCheck { service: String::new(), tls: Some(of_all) }),
        ),
        ("type: icmp", HealthCheckKind::Icmp),
    ];
    for (inside, wanted) in rows {
        let config = parse("f", &SMALL.replace("type: tcp", inside)).unwrap();
        let check = config.desired.services[0].health_check.clone().unwrap();
        assert_eq!(check, HealthCheckSpec::new(wanted), "{inside}");
    }
}

#[test]
fn the_reference_file_documents_every_key_and_its_default() {
    let (tree, _) = tree::read(REFERENCE);
    let tree = tree.unwrap();
    let lines: Vec<&str> = REFERENCE.lines().collect();
    for schema in ALL {
        for Field { key, absent } in schema.fields {
            let line = line_of(&tree, schema.path, key);
            let line = line.unwrap_or_else(|| panic!("{}.{key} is not there", schema.path));
            let comment = comment_above(&lines, line);
            let wanted = match absent {
                Absent::Refused => "Required.".to_string(),
                Absent::Is(text) | Absent::Means(text) => format!("Default: {text}."),
            };
            assert!(comment.contains(&wanted), "{}.{key}, `{wanted}`: {comment}", schema.path);
        }
    }
}

#[test]
fn the_document_has_a_row_for_every_key_with_its_default() {
    let mut rows = DOCUMENT.lines().filter(|line| line.starts_with("| `"));
    for schema in ALL {
        for Field { key, absent } in schema.fields {
            let path = join(schema.path, key);
            let row = rows.next().unwrap_or_default();
            let cells: Vec<&str> = row.split(" | ").collect();
            assert_eq!(cells.first(), Some(&format!("| `{path}`").as_str()), "{row}");
            let wanted = match absent {
                Absent::Refused => "required".to_string(),
                Absent::Is(text) => format!("`{text}`"),
                Absent::Means(text) => text.to_string(),
            };
            assert_eq!(cells.get(2), Some(&wanted.as_str()), "{row}");
        }
    }
    assert_eq!(rows.next(), None, "a row for a key that is not there");
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_string() } else { format!("{path}.{key}") }
}
