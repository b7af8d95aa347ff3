//! The `health_check` of a service -> [`HealthCheckSpec`].

use super::desired::PORT;
use super::reader::Section;
use super::scalar::{
    address, boolean, bytes, choice, duration_ms, number, one_of, path, status_set, text,
};
use crate::control::{
    Exchange, GrpcCheck, HealthCheckKind, HealthCheckSpec, HttpCheck, Probed, TlsCheck,
};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Type {
    Tcp,
    Http,
    Https,
    Grpc,
    Grpcs,
    Udp,
    Icmp,
}

const TYPES: &[(&str, Type)] = &[
    ("tcp", Type::Tcp),
    ("http", Type::Http),
    ("https", Type::Https),
    ("grpc", Type::Grpc),
    ("grpcs", Type::Grpcs),
    ("udp", Type::Udp),
    ("icmp", Type::Icmp),
];

const PROBED: &[(&str, Probed)] = &[("backend", Probed::Backend), ("via", Probed::Via)];

const WITH_TEXT: &[&str] = &["tcp", "udp"];
const WITH_HTTP: &[&str] = &["http", "https"];
const WITH_TLS: &[&str] = &["https", "grpcs"];

/// Keys that only some types have.
const OF_SOME: &[(&str, &[&str])] = &[
    ("send", WITH_TEXT),
    ("expect", WITH_TEXT),
    ("method", WITH_HTTP),
    ("path", WITH_HTTP),
    ("host", WITH_HTTP),
    ("status", WITH_HTTP),
    ("body", WITH_HTTP),
    ("grpc_service", &["grpc", "grpcs"]),
    ("server_name", WITH_TLS),
    ("verify", WITH_TLS),
    ("ca_file", WITH_TLS),
];

pub(super) fn read(section: &Section<'_>) -> Option<HealthCheckSpec> {
    let kind = kind(section);
    let probed = section.get("probe", choice(PROBED));
    let port = section.optional("port", number(PORT));
    let source = section.optional("source", address);
    let time = |key| section.get(key, duration_ms(0, u32::MAX));
    let interval_ms = time("interval");
    let fast_interval_ms = section.optional("fast_interval", duration_ms(0, u32::MAX));
    let timeout_ms = time("timeout");
    let rise = section.get("rise", number(0..=u64::from(u32::MAX)));
    let fall = section.get("fall", number(0..=u64::from(u32::MAX)));
    let flap_window_ms = time("flap_window");
    let flap_wait_ms = time("flap_wait");
    Some(HealthCheckSpec {
        kind: kind?,
        probed: probed?,
        port: port?,
        source: source?,
        interval_ms: interval_ms?,
        fast_interval_ms: fast_interval_ms?,
        timeout_ms: timeout_ms?,
        rise: rise?,
        fall: fall?,
        flap_window_ms: flap_window_ms?,
        flap_wait_ms: flap_wait_ms?,
    })
}

/// Every key is read, so that each that is wrong is told, whatever the type is.
fn kind(section: &Section<'_>) -> Option<HealthCheckKind> {
    let of_type = section.get("type", choice(TYPES));
    let exchange = exchange(section);
    let http = http(section);
    let service = section.optional("grpc_service", text);
    let tls = tls(section);
    let of_type = of_type?;
    refuse_others(section, of_type);
    let (exchange, http, tls) = (exchange?, http?, tls?);
    let tls = matches!(of_type, Type::Https | Type::Grpcs).then_some(tls);
    Some(match of_type {
        Type::Tcp => HealthCheckKind::Tcp(exchange),
        Type::Udp => HealthCheckKind::Udp(exchange),
        Type::Http | Type::Https => HealthCheckKind::Http(HttpCheck { tls, ..http }),
        Type::Grpc | Type::Grpcs => {
            HealthCheckKind::Grpc(GrpcCheck { service: service?.unwrap_or_default(), tls })
        }
        Type::Icmp => HealthCheckKind::Icmp,
    })
}

fn exchange(section: &Section<'_>) -> Option<Exchange> {
    let send = section.optional("send", bytes);
    let expect = section.optional("expect", bytes);
    Some(Exchange { send: send?, expect: expect? })
}

fn http(section: &Section<'_>) -> Option<HttpCheck> {
    let method = section.get("method", text);
    let path = section.get("path", text);
    let host = section.optional("host", text);
    let status = section.get("status", status_set);
    let body = section.optional("body", text);
    let (host, body) = (host?, body?);
    Some(HttpCheck { method: method?, path: path?, host, status: status?, body, tls: None })
}

fn tls(section: &Section<'_>) -> Option<TlsCheck> {
    let server_name = section.optional("server_name", text);
    let verify = section.get("verify", boolean);
    let ca_file = section.optional("ca_file", path);
    Some(TlsCheck { server_name: server_name?, verify: verify?, ca_file: ca_file? })
}

fn refuse_others(section: &Section<'_>, of_type: Type) {
    let found = TYPES.iter().find(|(_, known)| *known == of_type);
    let name = found.map_or("", |(name, _)| *name);
    for (key, types) in OF_SOME.iter().filter(|(_, types)| !types.contains(&name)) {
        if section.has(key) {
            let wanted = format!("type {}, or no such key", one_of(types));
            section.refuse(key, format!("a check of type {name} has none"), wanted);
        }
    }
}
