//! Rules of health checks, as rows.

use super::tests::check;
use super::*;
use crate::control::testing::address;
use crate::control::{Exchange, HealthCheckKind, HealthCheckSpec, HttpCheck, StatusSet, TlsCheck};

fn http(state: &mut DesiredState) -> &mut HealthCheckSpec {
    let spec = state.services[0].health_check.as_mut().unwrap();
    spec.kind = HealthCheckKind::Http(HttpCheck {
        method: "GET".into(),
        path: "/".into(),
        host: None,
        status: StatusSet(vec![200..=399]),
        body: None,
        tls: None,
    });
    spec
}

fn tcp(state: &mut DesiredState) -> &mut HealthCheckSpec {
    state.services[0].health_check.as_mut().unwrap()
}

#[test]
fn health_checks() {
    check(&[
        (
            "more than all",
            |s| s.services[0].min_healthy_percent = 101,
            &[("services[0].min_healthy", "101 % of the backends are never healthy")],
        ),
        ("http", |s| _ = http(s), &[]),
        (
            "a timeout longer than the interval",
            |s| http(s).timeout_ms = 2_001,
            &[(
                "services[0].health_check.timeout",
                "2001 ms is longer than the interval of 2000 ms",
            )],
        ),
        (
            "all zero",
            |s| {
                *tcp(s) = HealthCheckSpec {
                    port: Some(0),
                    interval_ms: 0,
                    fast_interval_ms: Some(0),
                    timeout_ms: 0,
                    rise: 0,
                    fall: 0,
                    ..HealthCheckSpec::new(HealthCheckKind::TCP)
                }
            },
            &[
                ("services[0].health_check.interval", "no time"),
                ("services[0].health_check.fast_interval", "no time"),
                ("services[0].health_check.timeout", "0 ms"),
                ("services[0].health_check.rise", "never"),
                ("services[0].health_check.fall", "never"),
                ("services[0].health_check.port", "0 is not a port"),
            ],
        ),
        (
            "not HTTP",
            |s| {
                http(s).kind = HealthCheckKind::Http(HttpCheck {
                    method: "get it".into(),
                    path: "x y".into(),
                    host: Some("a\r\nb".into()),
                    status: StatusSet(vec![200..=299, 99..=600]),
                    body: Some(String::new()),
                    tls: None,
                });
            },
            &[
                ("services[0].health_check.method", "\"get it\" is not a method"),
                ("services[0].health_check.path", "\"x y\" is not a request target"),
                ("services[0].health_check.host", "is not a host name"),
                ("services[0].health_check.status", "200-299,99-600"),
                ("services[0].health_check.body", "empty"),
            ],
        ),
    ]);
}

#[test]
fn health_checks_of_all_kinds() {
    const UDP: fn(usize) -> HealthCheckKind = |len| {
        HealthCheckKind::Udp(Exchange { send: Some(vec![b'?'; len]), expect: Some(vec![b'!']) })
    };
    check(&[
        ("UDP", |s| tcp(s).kind = UDP(1_024), &[]),
        (
            "UDP with too much to say",
            |s| tcp(s).kind = UDP(1_025),
            &[("services[0].health_check.send", "1025 bytes")],
        ),
        (
            "UDP with nothing to say",
            |s| tcp(s).kind = HealthCheckKind::Udp(Exchange::default()),
            &[("services[0].health_check.send", "a datagram that is not sent")],
        ),
        ("ICMP", |s| tcp(s).kind = HealthCheckKind::Icmp, &[]),
        (
            "ICMP to a port",
            |s| (tcp(s).kind, tcp(s).port) = (HealthCheckKind::Icmp, Some(7)),
            &[("services[0].health_check.port", "an ICMP check has none")],
        ),
        (
            "a source of the other family",
            |s| tcp(s).source = Some(address("2001:db8::1")),
            &[("services[0].health_check.source", "cannot be the source of probes to 10.2.0.11")],
        ),
        (
            "not so fast",
            |s| tcp(s).fast_interval_ms = Some(2_001),
            &[("services[0].health_check.fast_interval", "longer than the interval of 2000 ms")],
        ),
        (
            "a name that is none, and authorities for nothing",
            |s| {
                let HealthCheckKind::Http(http) = &mut http(s).kind else { return };
                let server_name = Some("a..b".to_string());
                let ca_file = Some("/etc/ca.pem".into());
                http.tls = Some(TlsCheck { server_name, verify: false, ca_file });
            },
            &[
                ("services[0].health_check.server_name", "\"a..b\" is not a host name"),
                ("services[0].health_check.ca_file", "nothing is verified"),
            ],
        ),
        (
            "HEAD has no body",
            |s| {
                let HealthCheckKind::Http(http) = &mut http(s).kind else { return };
                (http.method, http.body) = ("HEAD".into(), Some("ok".into()));
            },
            &[("services[0].health_check.body", "HEAD")],
        ),
    ]);
}
