//! What goes with mode `dscp`, and with several ports, and what does not.

use super::mistakes::{shown, small_with};
use super::*;

/// One problem of a value, with its place.
const ROWS: [(&str, &str, &str, &str); 2] = [
    (
        "a DSCP for no VIP",
        "port: 80",
        "port: 80\n    dscp: 3",
        "f:10:11: services[0].dscp: mode nat tells no VIP by it; wanted no such key, or `mode: dscp` \
         (`tunnel.dscp` is that of an envelope)
  10 |     dscp: 3
     |           ^",
    ),
    (
        "mode dscp without one",
        "port: 80",
        "port: 80\n    mode: dscp",
        "f:7:5: services[0].dscp: it is missing, and backends of mode dscp know the VIP by it; \
         wanted a number from 1 to 63
   7 |   - name: web
     |     ^",
    ),
];

#[test]
fn each_mistake_is_shown_at_its_place() {
    for (description, from, to, wanted) in ROWS {
        assert_eq!(shown(&small_with(from, to)), wanted, "{description}");
    }
}

#[test]
fn a_value_is_part_of_the_mode() {
    let text = small_with("port: 80", "port: 80\n    mode: dscp\n    dscp: 10");
    let config = parse("f", &text).unwrap();
    assert_eq!(config.desired.services[0].mode, Mode::Dscp(10));
}

/// The small file's service with ports 80-90, and this said of its backend.
fn several(mode: &str, of_backend: &str) -> String {
    let text = small_with(
        "port: 80\n    health_check: { type: tcp }",
        &format!("port: 80-90\n    mode: {mode}"),
    );
    text.replace("address: 10.2.0.11", &format!("address: 10.2.0.11{of_backend}"))
}

#[test]
fn a_backend_of_several_ports_listens_on_all_of_them_or_on_its_own() {
    let rows = [
        ("nat", "", Ok(0)),
        ("nat", ", port: 8080", Ok(8080)),
        ("dnat", "", Ok(0)),
        ("l2dsr", "", Ok(80)),
        ("nat", ", port: 0", Err("f:12:47: services[0].backends[0].port: 0 is not a port")),
        ("dnat", ", port: 85", Err("answers from 85 could be of any of the service's ports")),
        ("l2dsr", ", port: 85", Err("85 is not the service's port")),
    ];
    for (mode, of_backend, wanted) in rows {
        let text = several(mode, of_backend);
        match (parse("f", &text), wanted) {
            (Ok(config), Ok(port)) => {
                let service = &config.desired.services[0];
                assert_eq!((service.port, service.last_port), (80, Some(90)), "{mode}");
                assert_eq!(service.backends[0].port, port, "{mode}{of_backend}");
            }
            (Err(error), Err(part)) => {
                assert!(error.to_string().contains(part), "{mode}{of_backend}: {error}");
            }
            (found, _) => panic!("{mode}{of_backend}: {found:?}"),
        }
    }
}
