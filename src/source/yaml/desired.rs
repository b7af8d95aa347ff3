//! The part of a file that may change while running -> [`DesiredState`].

use std::ops::RangeInclusive;
use std::sync::Arc;

use super::health_check;
use super::reader::Section;
use super::scalar::{
    Scalar, Wrong, address, boolean, choice, duration_ms, interface_name, network, number, percent,
    range, text,
};
use super::schema;
use crate::control::{
    BackendSpec, DesiredState, HealthFrom, ServiceSpec, Shared, SnatSpec, TunnelSourceSpec,
};
use crate::forwarding::{
    BackendGonePolicy, FlowRules, FlowTimeouts, HashBy, Mode, MssClamp, NoBackendPolicy, PrefixSet,
    ServiceGonePolicy,
};
use crate::wire::Protocol;
use crate::wire::encap::{Dscp, GueVersion, Tunnel};

// Readers here take whatever the type can hold: what it may mean is for `control::validate`.
pub(super) const PORT: std::ops::RangeInclusive<u64> = 0..=65_535;

pub(super) fn read(root: &Section<'_>) -> Option<DesiredState> {
    let snat = root.maps("snat", &schema::SNAT, snat);
    let of_all = root.section("timeouts", &schema::TIMEOUTS).and_then(|s| timeouts(&s));
    let services = root.maps("services", &schema::SERVICE, |section| {
        // What was refused once must not be refused again for each service.
        service(section, &of_all.unwrap_or_default()).map(Shared::from)
    });
    let tunnel_sources = root.scalars("tunnel_sources", tunnel_source);
    of_all?;
    Some(DesiredState {
        services: services?,
        snat: snat?,
        tunnel_sources: tunnel_sources?.unwrap_or_default(),
    })
}

fn snat(section: &Section<'_>) -> Option<SnatSpec> {
    let address = section.get("address", address);
    let ports = section.get("ports", range);
    let interface = section.optional("interface", interface_name);
    let shared_address = section.get("shared_address", boolean);
    Some(SnatSpec {
        address: address?,
        ports: ports?,
        interface: interface?,
        shared_address: shared_address?,
    })
}

const BACKEND_GONE: &[(&str, BackendGonePolicy)] = &[
    ("reset", BackendGonePolicy::Reset),
    ("drop", BackendGonePolicy::Drop),
    ("keep", BackendGonePolicy::Keep),
];

pub(super) fn service(section: &Section<'_>, of_all: &FlowTimeouts) -> Option<ServiceSpec> {
    const PROTOCOLS: &[(&str, Protocol)] =
        &[("tcp", Protocol::Tcp), ("udp", Protocol::Udp), ("sctp", Protocol::Sctp)];
    const NO_BACKEND: &[(&str, NoBackendPolicy)] = &[
        ("reset", NoBackendPolicy::Reset),
        ("unreachable", NoBackendPolicy::Unreachable),
        ("drop", NoBackendPolicy::Drop),
    ];
    const SERVICE_GONE: &[(&str, ServiceGonePolicy)] =
        &[("reset", ServiceGonePolicy::Reset), ("drop", ServiceGonePolicy::Drop)];
    let name = section.get("name", text);
    let address = section.get("address", address);
    let ports = section.get("port", ports);
    let port = ports.as_ref().map(|ports| *ports.start());
    let protocol = section.get("protocol", choice(PROTOCOLS));
    let shared_address = section.get("shared_address", boolean);
    let mode = mode(section);
    let rules = rules(section);
    let mss = section.get("mss", mss);
    let table_size = section.optional("table_size", number(0..=u64::from(u32::MAX)));
    let no_backend = section.get("no_backend", choice(NO_BACKEND));
    let min_healthy_percent = section.get("min_healthy", percent);
    let slow_start_ms = section.get("slow_start", duration_ms(0, u32::MAX));
    let on_service_gone = section.get("on_service_gone", choice(SERVICE_GONE));
    let on_backend_gone = section.get("on_backend_gone", choice(BACKEND_GONE));
    let drain_time_ms = section.optional("drain_time", duration_ms(0, u32::MAX));
    let timeouts = section.section("timeouts", &schema::SERVICE_TIMEOUTS);
    let timeouts = timeouts.and_then(|section| own_timeouts(&section, of_all));
    let health_check = if section.has("health_check") {
        section
            .section("health_check", &schema::HEALTH_CHECK)
            .and_then(|s| health_check::read(&s))
            .map(Some)
    } else {
        Some(None)
    };
    let health = section.get("health", choice(HEALTH_FROM));
    let last_port = ports.map(|ports| *ports.end()).filter(|&last| port != Some(last));
    let on_all = last_port.is_some() && mode.is_some_and(|mode| mode.is_translated());
    // A port that was refused already must not be refused again for each backend.
    let absent = if on_all { 0 } else { port.unwrap_or(0) };
    let backends = section.maps("backends", &schema::BACKEND, |s| backend(s, absent));
    Some(ServiceSpec {
        name: name?,
        address: address?,
        port: port?,
        last_port,
        rules: rules?,
        protocol: protocol?,
        shared_address: shared_address?,
        mode: mode?,
        mss: mss?,
        table_size: table_size?,
        backends: backends?,
        health_check: health_check?,
        health: health?,
        timeouts: timeouts?,
        no_backend: no_backend?,
        min_healthy_percent: min_healthy_percent?,
        slow_start_ms: slow_start_ms?,
        on_service_gone: on_service_gone?,
        on_backend_gone: on_backend_gone?,
        drain_time_ms: drain_time_ms?,
        removed_time_ms: None,
    })
}

/// How packets get to backends: one word, and what a tunnel has to know besides.
fn mode(section: &Section<'_>) -> Option<Mode> {
    const MODES: &[(&str, Mode)] = &[
        ("nat", Mode::Nat),
        ("dnat", Mode::Dnat),
        ("l2dsr", Mode::L2dsr),
        ("dscp", Mode::Dscp(0)),
        ("ipip", Mode::Tunnel(Tunnel::Ipip, Dscp::Copied)),
        ("gre", Mode::Tunnel(Tunnel::Gre { key: None }, Dscp::Copied)),
        ("gue", Mode::Tunnel(Tunnel::GUE, Dscp::Copied)),
    ];
    let mode = section.get("mode", choice(MODES));
    let value = section.optional("dscp", number(0..=63));
    let options = section.section("tunnel", &schema::TUNNEL)?;
    let dscp = options.optional("dscp", number(0..=63));
    let key = options.optional("gre_key", number(0..=u64::from(u32::MAX)));
    let port = options.get("gue_port", number(PORT));
    let version = options.get("gue_version", choice(GUE_VERSIONS));
    let checksum = options.get("gue_checksum", boolean);
    let mode = mode?;
    match (mode, section.has("dscp")) {
        (Mode::Dscp(_), false) => {
            let problem = "it is missing, and backends of mode dscp know the VIP by it";
            section.refuse("dscp", problem, "a number from 1 to 63");
            return None;
        }
        (Mode::Dscp(_), true) | (_, false) => {}
        (_, true) => section.refuse(
            "dscp",
            format!("mode {} tells no VIP by it", mode.name()),
            "no such key, or `mode: dscp` (`tunnel.dscp` is that of an envelope)",
        ),
    }
    if mode.tunnel().is_none() && section.has("tunnel") {
        let problem = format!("mode {} has no tunnel", mode.name());
        section.refuse("tunnel", problem, "no such key, or `mode: ipip`, `gre` or `gue`");
    }
    for key in ["gre_key", "gue_port", "gue_version", "gue_checksum"] {
        let (of, _) = key.split_once('_').unwrap_or((key, ""));
        if mode.tunnel().is_some_and(|tunnel| tunnel.name() != of) && options.has(key) {
            options.refuse(
                key,
                format!("mode {mode} has none"),
                format!("no such key, or `mode: {of}`"),
            );
        }
    }
    let tunnel = match mode.tunnel() {
        None if matches!(mode, Mode::Dscp(_)) => return Some(Mode::Dscp(value??)),
        None => return Some(mode),
        Some(Tunnel::Ipip) => Tunnel::Ipip,
        Some(Tunnel::Gre { .. }) => Tunnel::Gre { key: key? },
        Some(Tunnel::Gue { .. }) => {
            Tunnel::Gue { port: port?, version: version?, checksum: checksum? }
        }
    };
    Some(Mode::Tunnel(tunnel, dscp?.map_or(Dscp::Copied, Dscp::Fixed)))
}

/// One port, several in a row, or `all`.
fn ports(scalar: Scalar<'_>) -> Result<RangeInclusive<u16>, Wrong> {
    if scalar.text == "all" {
        return Ok(1..=u16::MAX);
    }
    if scalar.text.trim_start_matches('-').contains('-') {
        return range(scalar);
    }
    number(PORT)(scalar).map(|port: u16| port..=port)
}

fn rules(section: &Section<'_>) -> Option<FlowRules> {
    const HASHES: &[(&str, HashBy)] = &[
        ("five_tuple", HashBy::FiveTuple),
        ("client", HashBy::Client),
        ("client_and_port", HashBy::ClientAndPort),
        ("destination_port", HashBy::DestinationPort),
    ];
    let hash = section.get("hash", choice(HASHES));
    let entries = section.get("flow", choice(&[("entry", true), ("none", false)]));
    let affinity_ms = section.optional("affinity", duration_ms(1, i32::MAX as u32));
    let max_flows = section.get("max_flows", number(0..=u64::from(u32::MAX)));
    let allow = section.scalars("allow", network);
    let (affinity_ms, written) = (affinity_ms?.unwrap_or(0), section.has("hash"));
    let hash = match hash? {
        HashBy::FiveTuple if affinity_ms > 0 && written => {
            let problem = "with `affinity` the client's address alone chooses";
            section.refuse("hash", problem, "`client`, or no such key");
            return None;
        }
        HashBy::FiveTuple if affinity_ms > 0 => HashBy::Client,
        hash => hash,
    };
    let allow = allow?.map(|networks| Arc::new(PrefixSet::new(networks)));
    Some(FlowRules { hash, entries: entries?, affinity_ms, max_flows: max_flows?, allow })
}

/// `auto`, `off`, or a number of bytes.
fn mss(scalar: Scalar<'_>) -> Result<MssClamp, Wrong> {
    const WORDS: &[(&str, MssClamp)] = &[("auto", MssClamp::Auto), ("off", MssClamp::Off)];
    if scalar.text.starts_with(|first: char| first.is_ascii_digit()) {
        // RFC 9293 section 3.7.1: every host takes segments of 536.
        return number(536..=65_495)(scalar).map(MssClamp::Most);
    }
    choice(WORDS)(scalar).map_err(|wrong| Wrong {
        wanted: format!("{}, or a number of bytes", wrong.wanted.replace(" or ", ", ")),
        ..wrong
    })
}

const HEALTH_FROM: &[(&str, HealthFrom)] =
    &[("local", HealthFrom::Local), ("feed", HealthFrom::Feed)];

const GUE_VERSIONS: &[(&str, GueVersion)] = &[("0", GueVersion::V0), ("1", GueVersion::V1)];

fn tunnel_source(scalar: Scalar<'_>) -> Result<TunnelSourceSpec, Wrong> {
    network(scalar).map(|(network, prefix_len)| TunnelSourceSpec { network, prefix_len })
}

/// Those of all services. Their limits are asked here, since services are where they are judged.
fn timeouts(section: &Section<'_>) -> Option<FlowTimeouts> {
    each_timeout(|key, _| section.get(key, duration_ms(1, i32::MAX as u32)))
}

/// Those of one service: what it does not say is as for all.
fn own_timeouts(section: &Section<'_>, of_all: &FlowTimeouts) -> Option<FlowTimeouts> {
    each_timeout(|key, of| {
        let own = section.optional(key, duration_ms(0, u32::MAX))?;
        Some(own.unwrap_or(of(of_all)))
    })
}

/// All are read before the first that is wrong counts, so that each is told.
fn each_timeout(
    read: impl Fn(&str, fn(&FlowTimeouts) -> u32) -> Option<u32>,
) -> Option<FlowTimeouts> {
    let tcp_opening_ms = read("tcp_opening", |of| of.tcp_opening_ms);
    let tcp_established_ms = read("tcp_established", |of| of.tcp_established_ms);
    let tcp_closing_ms = read("tcp_closing", |of| of.tcp_closing_ms);
    let tcp_reset_ms = read("tcp_reset", |of| of.tcp_reset_ms);
    let udp_ms = read("udp", |of| of.udp_ms);
    Some(FlowTimeouts {
        tcp_opening_ms: tcp_opening_ms?,
        tcp_established_ms: tcp_established_ms?,
        tcp_closing_ms: tcp_closing_ms?,
        tcp_reset_ms: tcp_reset_ms?,
        udp_ms: udp_ms?,
        affinity_ms: 0,
    })
}

fn backend(section: &Section<'_>, absent_port: u16) -> Option<BackendSpec> {
    let name = section.get("name", text);
    let via = section.optional("via", address);
    let address = section.get("address", address);
    let port = section.optional("port", number(PORT));
    if port == Some(Some(0)) && absent_port == 0 {
        section.refuse("port", "0 is not a port", "1 to 65535");
    }
    let weight = section.get("weight", number(0..=65_535));
    let backup = section.get("backup", boolean);
    let drain = section.get("drain", boolean);
    let healthy = section.optional("healthy", boolean);
    Some(BackendSpec {
        name: name?,
        address: address?,
        via: via?,
        port: port?.unwrap_or(absent_port),
        weight: weight?,
        backup: backup?,
        drain: drain?,
        healthy: healthy?,
    })
}
