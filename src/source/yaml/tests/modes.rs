//! What goes with mode `dscp` and what does not.

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
