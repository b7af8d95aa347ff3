//! What may be asked over HTTP, and by whom.

use super::mistakes::{shown, small_with};
use super::*;
use crate::control::HttpSpec;

fn of(admin: &str) -> String {
    small_with("version: 1", &format!("version: 1\nadmin: {{ {admin} }}"))
}

#[test]
fn http_is_off_or_where_it_is_said() {
    let http = |listen: &str, most_services, most_backends| {
        let listen = listen.parse().unwrap();
        Some(HttpSpec { listen, most_services, most_backends })
    };
    let rows = [
        ("", None),
        ("metrics_services: 7", None),
        ("http: 127.0.0.1:9464", http("127.0.0.1:9464", 1_000, 10_000)),
        ("http: \"[::1]:9464\", metrics_backends: 0", http("[::1]:9464", 1_000, 0)),
        ("http: 10.1.0.1:80, http_anywhere: true", http("10.1.0.1:80", 1_000, 10_000)),
        ("http: 127.0.0.1:1, metrics_services: 5", http("127.0.0.1:1", 5, 10_000)),
    ];
    for (admin, wanted) in rows {
        assert_eq!(parse("f", &of(admin)).unwrap().node.http, wanted, "{admin}");
    }
}

#[test]
fn mistakes() {
    let rows = [
        (
            "http: 10.1.0.1:9464",
            "f:2:16: admin.http: `10.1.0.1:9464` is reached from outside of this machine; wanted an \
             address such as 127.0.0.1, or `http_anywhere: true`
   2 | admin: { http: 10.1.0.1:9464 }
     |                ^^^^^^^^^^^^^",
        ),
        (
            "http: 127.0.0.1",
            "f:2:16: admin.http: `127.0.0.1` is no address with a port; wanted an address and a port \
             such as 127.0.0.1:9464 or \"[::1]:9464\"
   2 | admin: { http: 127.0.0.1 }
     |                ^^^^^^^^^
     = hint: its port is missing",
        ),
    ];
    for (admin, wanted) in rows {
        assert_eq!(shown(&of(admin)), wanted, "{admin}");
    }
}

#[test]
fn http_is_fixed_at_start() {
    let running = parse("f", SMALL).unwrap().node;
    let changed = parse("f", &of("http: 127.0.0.1:9464")).unwrap();
    let error = changed.check_same_node(&running).unwrap_err().to_string();
    assert!(error.starts_with("f:2:16: admin.http: it is fixed"), "{error}");
}
