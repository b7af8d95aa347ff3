//! Health checks.

use super::super::{
    BackendSpec, Exchange, HealthCheckKind, HealthCheckSpec, HttpCheck, Refusal, TlsCheck,
};

/// Longest text that is sent or expected, in bytes: a datagram that every way takes whole.
const EXCHANGE_BYTES: usize = 1_024;

struct Refusals<'a> {
    path: &'a str,
    list: &'a mut Vec<Refusal>,
}

impl Refusals<'_> {
    fn add(&mut self, field: &str, problem: impl Into<String>, wanted: &str) {
        self.list.push(Refusal::new(format!("{}.{field}", self.path), problem, wanted));
    }
}

pub(super) fn check(
    path: &str,
    spec: &HealthCheckSpec,
    backends: &[BackendSpec],
    refusals: &mut Vec<Refusal>,
) {
    let mut refusals = Refusals { path, list: refusals };
    check_times(spec, &mut refusals);
    if spec.port == Some(0) {
        refusals.add("port", "0 is not a port", "1 to 65535, or none for the backend's own");
    }
    if spec.port.is_some() && !spec.kind.has_ports() {
        refusals.add("port", "an ICMP check has none", "another type, or no such key");
    }
    let is_other = |backend: &&BackendSpec| {
        spec.source.is_some_and(|source| source.is_ipv4() != backend.address.is_ipv4())
    };
    if let (Some(source), Some(backend)) = (spec.source, backends.iter().find(is_other)) {
        let problem = format!("{source} cannot be the source of probes to {}", backend.address);
        refusals.add("source", problem, "an address of the backends' family, or none");
    }
    match &spec.kind {
        HealthCheckKind::Tcp(exchange) => check_exchange(exchange, &mut refusals),
        HealthCheckKind::Udp(exchange) => {
            check_exchange(exchange, &mut refusals);
            if exchange.send.is_none() {
                refusals.add("send", "nobody answers a datagram that is not sent", "a text");
            }
        }
        HealthCheckKind::Http(http) => check_http(http, &mut refusals),
        HealthCheckKind::Grpc(grpc) => {
            if grpc.service.len() > EXCHANGE_BYTES {
                refusals.add("grpc_service", "it is longer than 1024 bytes", "a service's name");
            }
            check_tls(grpc.tls.as_ref(), &mut refusals);
        }
        HealthCheckKind::Icmp => {}
    }
}

fn check_times(spec: &HealthCheckSpec, refusals: &mut Refusals<'_>) {
    for (field, ms) in
        [("interval", Some(spec.interval_ms)), ("fast_interval", spec.fast_interval_ms)]
    {
        if ms == Some(0) {
            refusals.add(field, "0 is no time between probes", "a time such as 2s");
        }
    }
    if let Some(fast) = spec.fast_interval_ms.filter(|&fast| fast > spec.interval_ms) {
        let problem = format!("{fast} ms is longer than the interval of {} ms", spec.interval_ms);
        refusals.add("fast_interval", problem, "a time up to the interval");
    }
    if spec.timeout_ms == 0 {
        refusals.add("timeout", "no probe is answered in 0 ms", "a time such as 1s");
    }
    if spec.timeout_ms > spec.interval_ms {
        let (timeout, interval) = (spec.timeout_ms, spec.interval_ms);
        refusals.add(
            "timeout",
            format!("{timeout} ms is longer than the interval of {interval} ms"),
            "a timeout up to the interval, so that probes do not overlap",
        );
    }
    for (field, value) in [("rise", spec.rise), ("fall", spec.fall)] {
        if value == 0 {
            refusals.add(field, "0 results in a row never come", "1 or more");
        }
    }
}

fn check_exchange(exchange: &Exchange, refusals: &mut Refusals<'_>) {
    for (field, bytes) in [("send", &exchange.send), ("expect", &exchange.expect)] {
        let len = bytes.as_ref().map_or(1, Vec::len);
        if len == 0 || len > EXCHANGE_BYTES {
            refusals.add(field, format!("{len} bytes"), "1 to 1024 bytes, or no such key");
        }
    }
}

fn check_http(http: &HttpCheck, refusals: &mut Refusals<'_>) {
    let HttpCheck { method, path, host, status, body, tls } = http;
    if method.is_empty() || !method.bytes().all(|byte| byte.is_ascii_uppercase()) {
        refusals.add("method", format!("{method:?} is not a method"), "one such as GET or HEAD");
    }
    if !path.starts_with('/') || !is_plain(path) {
        let wanted = "a request target that begins with `/`, printable ASCII without blanks";
        refusals.add("path", format!("{path:?} is not a request target"), wanted);
    }
    if let Some(host) = host.as_ref().filter(|host| host.is_empty() || !is_plain(host)) {
        refusals.add("host", format!("{host:?} is not a host name"), "a name such as example.org");
    }
    let is_wrong = |range: &std::ops::RangeInclusive<u16>| {
        *range.start() < 100 || *range.end() > 599 || range.is_empty()
    };
    if status.0.is_empty() || status.0.iter().any(is_wrong) {
        let problem = format!("{status} is not a set of statuses");
        refusals.add("status", problem, "ranges from 100 to 599, such as 200-299,401");
    }
    if method == "HEAD" && body.is_some() {
        refusals.add("body", "the answer to HEAD has none", "`method: GET`, or no such key");
    }
    if body.as_ref().is_some_and(|body| body.is_empty() || body.len() > EXCHANGE_BYTES) {
        refusals.add("body", "it is empty or very long", "1 to 1024 bytes, or no such key");
    }
    check_tls(tls.as_ref(), refusals);
}

fn check_tls(tls: Option<&TlsCheck>, refusals: &mut Refusals<'_>) {
    let Some(TlsCheck { server_name, verify, ca_file }) = tls else { return };
    let is_name = |name: &String| {
        let is_part = |part: &str| {
            let is_fine = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
            (1..=63).contains(&part.len()) && part.bytes().all(is_fine)
        };
        name.len() <= 253 && name.split('.').all(is_part)
    };
    if let Some(name) = server_name.as_ref().filter(|name| !is_name(name)) {
        let problem = format!("{name:?} is not a host name");
        refusals.add("server_name", problem, "a name such as example.org");
    }
    if ca_file.is_some() && !verify {
        let problem = "nothing is verified with `verify: false`";
        refusals.add("ca_file", problem, "`verify: true`, or no such key");
    }
}

fn is_plain(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_graphic())
}
