//! Rows: a small change of a fine file, and the whole answer.

use super::*;
use crate::control::Refusal;

/// `SMALL` with one text replaced, which has to be in it once.
pub(super) fn small_with(from: &str, to: &str) -> String {
    assert_eq!(SMALL.matches(from).count(), 1, "{from}");
    SMALL.replace(from, to)
}

pub(super) fn shown(text: &str) -> String {
    parse("f", text).map_or_else(|error| error.to_string(), |_| "fine".to_string())
}

/// One problem of a value, with its place.
const VALUES: [(&str, &str, &str, &str); 23] = [
    (
        "a word for a number",
        "port: 80",
        "port: http",
        "f:9:11: services[0].port: `http` is not a number; wanted a number from 0 to 65535
   9 |     port: http
     |           ^^^^",
    ),
    (
        "a number that is too large",
        "port: 80",
        "port: 65536",
        "f:9:11: services[0].port: `65536` is out of range; wanted a number from 0 to 65535
   9 |     port: 65536
     |           ^^^^^",
    ),
    (
        "a negative number",
        "port: 80",
        "port: -1",
        "f:9:11: services[0].port: `-1` is out of range; wanted a number from 0 to 65535
   9 |     port: -1
     |           ^^",
    ),
    (
        "a number in quotes",
        "port: 80",
        "port: \"80\"",
        "f:9:11: services[0].port: `80` is a text in quotes; wanted a number from 0 to 65535
   9 |     port: \"80\"
     |           ^^^^
     = hint: leave the quotes away",
    ),
    (
        "a number that may be octal",
        "port: 80",
        "port: 080",
        "f:9:11: services[0].port: `080` begins with 0; wanted a number from 0 to 65535
   9 |     port: 080
     |           ^^^
     = hint: some YAML readers take it for octal: leave the 0 away",
    ),
    (
        "no value",
        "port: 80",
        "port:",
        "f:9:9: services[0].port: there is no value; wanted a number from 0 to 65535
   9 |     port:
     |         ^",
    ),
    (
        "a list for a number",
        "port: 80",
        "port: [80]",
        "f:9:11: services[0].port: a list; wanted a number from 0 to 65535
   9 |     port: [80]
     |           ^",
    ),
    (
        "a duration without a unit",
        "type: tcp",
        "type: tcp, interval: 2",
        "f:10:42: services[0].health_check.interval: `2` is not a duration; wanted a duration such \
         as 500ms, 2s, 5m or 2h4m
  10 |     health_check: { type: tcp, interval: 2 }
     |                                          ^
     = hint: it has no unit: 2s or 2ms",
    ),
    (
        "a duration that no number holds",
        "type: tcp",
        "type: tcp, interval: 50d",
        "f:10:42: services[0].health_check.interval: `50d` is out of range; wanted 0s to \
         49d17h2m47s295ms
  10 |     health_check: { type: tcp, interval: 50d }
     |                                          ^^^",
    ),
    (
        "a word that is nearly one",
        "port: 80",
        "port: 80\n    mode: l2dsn",
        "f:10:11: services[0].mode: `l2dsn` is not known; wanted `nat`, `dnat`, `l2dsr`, `dscp`, \
         `ipip`, `gre` or `gue`
  10 |     mode: l2dsn
     |           ^^^^^
     = hint: did you mean `l2dsr`?",
    ),
    (
        "a tunnel of a mode that has none",
        "port: 80",
        "port: 80\n    tunnel: { dscp: 3 }",
        "f:10:13: services[0].tunnel: mode nat has no tunnel; wanted no such key, or `mode: ipip`, \
         `gre` or `gue`
  10 |     tunnel: { dscp: 3 }
     |             ^",
    ),
    (
        "an option of another tunnel",
        "port: 80",
        "port: 80\n    mode: ipip\n    tunnel: { gre_key: 3 }",
        "f:11:24: services[0].tunnel.gre_key: mode ipip has none; wanted no such key, or `mode: gre`
  11 |     tunnel: { gre_key: 3 }
     |                        ^",
    ),
    (
        "a DSCP of eight bits",
        "port: 80",
        "port: 80\n    mode: ipip\n    tunnel: { dscp: 64 }",
        "f:11:21: services[0].tunnel.dscp: `64` is out of range; wanted a number from 0 to 63
  11 |     tunnel: { dscp: 64 }
     |                     ^^",
    ),
    (
        "a boolean of YAML 1.1",
        "b1, ",
        "b1, drain: yes, ",
        "f:12:28: services[0].backends[0].drain: `yes` is not known; wanted `true` or `false`
  12 |       - { name: b1, drain: yes, address: 10.2.0.11 }
     |                            ^^^",
    ),
    (
        "a range the wrong way round",
        "10.1.0.10\n",
        "10.1.0.10\n    ports: 65535-1024\n",
        "f:6:12: snat[0].ports: `65535-1024` is empty; wanted a range such as 1024-65535, or one \
         number, up to 65535
   6 |     ports: 65535-1024
     |            ^^^^^^^^^^
     = hint: the smaller number stands first",
    ),
    (
        "an interface that is not there",
        "10.1.0.10\n",
        "10.1.0.10\n    interface: eth2\n",
        "f:6:16: snat[0].interface: `eth2` is not in `interfaces`; wanted `eth1`
   6 |     interface: eth2
     |                ^^^^",
    ),
    (
        "an interface name the kernel cannot have",
        "eth1",
        "a-name-of-16-byte",
        "f:3:11: interfaces[0].name: `a-name-of-16-byte` is no interface's name; wanted 1 to 15 \
         bytes without blanks, `/` and `:`
   3 |   - name: a-name-of-16-byte
     |           ^^^^^^^^^^^^^^^^^",
    ),
    (
        "an interface twice",
        "eth1",
        "eth1\n  - name: eth1",
        "f:4:11: interfaces[1].name: `eth1` is interfaces[0] already; wanted each interface once
   4 |   - name: eth1
     |           ^^^^",
    ),
    (
        "a path that depends on where Guideway is started",
        "version: 1",
        "version: 1\nstate_dir: state",
        "f:2:12: state_dir: `state` is not a whole path; wanted a path that begins with `/`
   2 | state_dir: state
     |            ^^^^^",
    ),
    (
        "a ring that is no power of two",
        "version: 1",
        "version: 1\nlimits: { frames_per_queue: 5000 }",
        "f:2:29: limits.frames_per_queue: `5000` is not a power of two; wanted a power of two from \
         256 to 262144
   2 | limits: { frames_per_queue: 5000 }
     |                             ^^^^
     = hint: the next one is 8192",
    ),
    (
        "cores that do not fit the count",
        "version: 1",
        "version: 1\nworkers: { count: 3, cores: [0, 1] }",
        "f:2:29: workers.cores: 2 cores; wanted one for each of the workers in `count`
   2 | workers: { count: 3, cores: [0, 1] }
     |                             ^",
    ),
    (
        "a key that means nothing here",
        "type: tcp",
        "type: tcp, path: /",
        "f:10:38: services[0].health_check.path: a check of type tcp has none; wanted type \
         `http` or `https`, or no such key
  10 |     health_check: { type: tcp, path: / }
     |                                      ^",
    ),
    (
        "another version",
        "version: 1",
        "version: 2",
        "f:1:10: version: `2` is out of range; wanted `1`
   1 | version: 2
     |          ^",
    ),
];

/// Problems of the form.
const FORMS: [(&str, &str, &str, &str); 13] = [
    (
        "a key that is missing",
        "    port: 80\n",
        "",
        "f:7:5: services[0].port: it is missing; wanted a number from 0 to 65535
   7 |   - name: web
     |     ^",
    ),
    (
        "a key that is misspelt is not missing too",
        "b1, address",
        "b1, adress",
        "f:12:21: services[0].backends[0].adress: unknown key; wanted `name`, `address`, `via`, `port`, \
         `weight`, `backup`, `drain` or `healthy`
  12 |       - { name: b1, adress: 10.2.0.11 }
     |                     ^^^^^^
     = hint: did you mean `address`?",
    ),
    (
        "a key that resembles nothing",
        "b1, ",
        "b1, colour: red, ",
        "f:12:21: services[0].backends[0].colour: unknown key; wanted `name`, `address`, `via`, `port`, \
         `weight`, `backup`, `drain` or `healthy`
  12 |       - { name: b1, colour: red, address: 10.2.0.11 }
     |                     ^^^^^^",
    ),
    (
        "a key twice",
        "port: 80",
        "port: 80\n    port: 81",
        "f:10:5: services[0].port: the key is there twice, first in line 9; wanted it once
  10 |     port: 81
     |     ^^^^",
    ),
    (
        "a map for a list",
        "  - address: 10.1.0.10\n",
        "  address: 10.1.0.10\n",
        "f:5:3: snat: a map; wanted a list (an empty one is `[]`)
   5 |   address: 10.1.0.10
     |   ^",
    ),
    (
        "a map without anything",
        " { type: tcp }",
        "",
        "f:10:17: services[0].health_check: there is no value; wanted a map with the keys type, \
         send, expect, method, path, host, status, body, grpc_service, server_name, verify, ca_file, \
         probe, port, source, interval, fast_interval, timeout, rise, fall, flap_window, flap_wait
  10 |     health_check:
     |                 ^",
    ),
    (
        "a tab",
        "    port: 80",
        "\tport: 80",
        "f:9:1: a tab; wanted spaces
   9 |  port: 80
     | ^",
    ),
    (
        "an open bracket",
        "{ name: b1, address: 10.2.0.11 }",
        "{ name: b1, address: 10.2.0.11",
        "f:12:9: a `{` that is not closed; wanted a closing `}`
  12 |       - { name: b1, address: 10.2.0.11
     |         ^",
    ),
    (
        "an open quote",
        "b1",
        "\"b1",
        "f:12:17: a quote that is not closed; wanted a closing quote
  12 |       - { name: \"b1, address: 10.2.0.11 }
     |                 ^",
    ),
    (
        "a tag",
        "port: 80",
        "port: !!int 80",
        "f:9:17: services[0].port: a YAML tag (`!…`); wanted a value without a tag
   9 |     port: !!int 80
     |                 ^^",
    ),
    (
        "an alias of nothing",
        "port: 80",
        "port: *port",
        "f:9:11: an alias without its anchor; wanted `&name` above it
   9 |     port: *port
     |           ^",
    ),
    (
        "an alias inside itself",
        "backends:\n",
        "backends: &all\n      - *all\n",
        "f:12:9: services[0].backends[0]: the alias names what it stands in; wanted an anchor that \
         ends before
  12 |       - *all
     |         ^^^^",
    ),
    (
        "a merge key",
        "b1, ",
        "b1, <<: {}, ",
        "f:12:21: services[0].backends[0].<<: unknown key; wanted `name`, `address`, `via`, `port`, \
         `weight`, `backup`, `drain` or `healthy`
  12 |       - { name: b1, <<: {}, address: 10.2.0.11 }
     |                     ^^
     = hint: merge keys are not read: use an alias for a whole map, or repeat it",
    ),
];

#[test]
fn each_mistake_is_shown_at_its_place() {
    for (description, from, to, wanted) in VALUES.iter().chain(&FORMS) {
        assert_eq!(shown(&small_with(from, to)), *wanted, "{description}");
    }
}

#[test]
fn whole_files_that_are_none() {
    let empty = "f: the file is empty; wanted a map that begins with `version: 1`";
    let map = "wanted a map with the keys version, interfaces, workers, snat, tunnel_sources, limits, admin, \
               state_dir, bpf_dir, cluster_key_file, flow_records, feeds, kubernetes, timeouts, services, replay";
    let rows = [
        ("nothing", "", empty.to_string()),
        ("a comment", "# nothing\n", empty.to_string()),
        ("an empty document", "---\n", empty.to_string()),
        ("a word", "a", format!("f:1:1: `a`; {map}\n   1 | a\n     | ^")),
        ("a list", "[1]", format!("f:1:1: a list; {map}\n   1 | [1]\n     | ^")),
        (
            "two documents",
            "a: 1\n---\na: 2\n",
            "f:2:1: a second document; wanted one document\n   2 | ---\n     | ^^^".to_string(),
        ),
        (
            "a directive",
            "%YAML 1.2\n---\na: 1\n",
            "f:1:1: a `%` directive; wanted none\n   1 | %YAML 1.2\n     | ^".to_string(),
        ),
    ];
    for (description, text, wanted) in rows {
        assert_eq!(shown(text), wanted, "{description}");
    }
}

#[test]
fn all_problems_are_told_in_the_order_of_the_file() {
    let text = SMALL.replace("eth1", "eth/1").replace("80", "x").replace("10.2.0.11", "y");
    let error = parse("f", &text).unwrap_err();
    let paths: Vec<&str> = error.problems.iter().map(|problem| problem.path.as_str()).collect();
    assert_eq!(
        paths,
        ["interfaces[0].name", "services[0].port", "services[0].backends[0].address"]
    );
    let json = serde_json::to_string(&error).unwrap();
    assert_eq!(serde_json::from_str::<ConfigError>(&json).unwrap(), error);
}

/// What `control::validate` and the parts together refuse is shown like everything else.
#[test]
fn what_the_values_mean_is_judged_too() {
    let rows = [
        (
            "port 0",
            "port: 80",
            "port: 0",
            "f:9:11: services[0].port: 0 is not a port; wanted 1 to 65535
   9 |     port: 0
     |           ^",
        ),
        (
            "NAT without an address to translate to",
            "snat:\n  - address: 10.1.0.10\n",
            "",
            "f:5:5: services[0].mode: nat needs an address to translate to, and there is none in \
             `snat`; wanted an entry in `snat`, or `mode: l2dsr`
   5 |   - name: web
     |     ^",
        ),
        (
            "more backends than the limit",
            "version: 1",
            "version: 1\nlimits: { backends: 1 }",
            "f:2:21: limits.backends: there are 2 backends, more than 1; wanted 2 or more, and some \
             for those that are removed
   2 | limits: { backends: 1 }
     |                     ^",
        ),
    ];
    for (description, from, to, wanted) in rows {
        let mut text = small_with(from, to);
        if description.starts_with("more") {
            text += "      - { name: b2, address: 10.2.0.12 }\n";
        }
        let all = shown(&text);
        let first: Vec<&str> = all.lines().take(3).collect();
        assert_eq!(first.join("\n"), wanted, "{description}");
    }
}

#[test]
fn anchors_and_a_byte_order_mark_are_read() {
    let text = SMALL
        .replace("{ type: tcp }", "&check { type: tcp }")
        .replace("      - {", "      - &b1 {")
        + "  - { name: two, address: 10.1.0.101, port: 80, health_check: *check, backends: [*b1] }\n";
    let config = parse("f", &format!("\u{feff}{text}")).unwrap_or_else(|e| panic!("{e}"));
    let [one, two] = &config.desired.services[..] else { panic!("two services") };
    assert_eq!((&one.backends, &one.health_check), (&two.backends, &two.health_check));
}

#[test]
fn later_refusals_are_shown_at_their_place_too() {
    let config = parse("f", SMALL).unwrap();
    let rows = [
        ("a value", "services[0].port", "f:9:11: "),
        ("a map, by its key", "services[0].health_check", "f:10:5: "),
        ("an item", "services[0].backends[0]", "f:12:9: "),
        ("a key that was left out", "services[0].backends[0].weight", "f:12:9: "),
        ("no such item", "services[7].name", "f:6:1: "),
        ("the file", "", "f:1:1: "),
    ];
    for (description, path, wanted) in rows {
        let refusal =
            Refusal { path: path.to_string(), problem: "bad".into(), wanted: "good".into() };
        let shown = config.refuse(vec![refusal]).to_string();
        assert!(shown.starts_with(wanted), "{description}: {shown}");
    }
}

#[test]
fn what_is_fixed_at_start_needs_a_restart() {
    let running = parse("f", SMALL).unwrap().node;
    let same = parse("f", &small_with("port: 80", "port: 81")).unwrap();
    assert_eq!(same.check_same_node(&running), Ok(()));
    let changed = parse("f", &small_with("eth1", "eth2")).unwrap();
    assert_eq!(
        changed.check_same_node(&running).unwrap_err().to_string(),
        "f:2:1: interfaces: it is fixed while Guideway runs; wanted what it was at start, or a \
         restart
   2 | interfaces:
     | ^^^^^^^^^^"
    );
}

#[test]
fn replay_names_what_the_file_has() {
    let replay = "\
replay:
  routes: [{ to: 10.0.0.1/8, interface: eth9 }]
  down: [web/b9, web]
";
    let paths = |text: &str| {
        let error = parse("f", text).unwrap_err();
        error.problems.into_iter().map(|p| (p.path, p.hint)).collect::<Vec<_>>()
    };
    let text = format!("{SMALL}{replay}");
    assert_eq!(
        paths(&text),
        [
            ("replay.routes[0].to".into(), Some("its network is 10.0.0.0/8".into())),
            ("replay.down[1]".into(), None),
        ]
    );
    let text = text.replace("10.0.0.1/8", "10.0.0.0/8").replace(", web]", "]");
    assert_eq!(
        paths(&text),
        [("replay.routes[0].interface".into(), None), ("replay.down[0]".into(), None)]
    );
}
