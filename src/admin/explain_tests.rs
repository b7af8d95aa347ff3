//! What is said of packets, on a small snapshot.

use super::*;
use crate::admin::flows::filter_of;
use crate::admin::services::small_snapshot;
use crate::dataplane::FlowFilter;

fn asked(vip: &str, vip_port: u32) -> ExplainRequest {
    ExplainRequest {
        client: "192.0.2.7".into(),
        client_port: 40_000,
        vip: vip.into(),
        vip_port,
        ..ExplainRequest::default()
    }
}

#[test]
fn a_new_flow_and_what_would_be_if_its_backend_left() {
    let snapshot = small_snapshot();
    let request = ExplainRequest { without: "b0".into(), ..asked("10.1.0.100", 80) };
    let told = explain(&snapshot, &request, None).unwrap();
    let choice = told.choice.unwrap();
    assert_eq!((choice.slots, choice.slot < 5), (5, true));
    assert_eq!(told.without.unwrap().backend, "b2", "the only other one that is usable");
    let text = told.lines.join("\n");
    for part in [
        "service web: tcp 10.1.0.100:80, mode nat",
        "the packet begins one",
        "Maglev: slot ",
        "without b0: slot ",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn a_flow_decides() {
    let snapshot = small_snapshot();
    let flow = proto::Flow {
        backend: "b0".into(),
        state: "established".into(),
        snat_address: "10.2.0.250".into(),
        snat_port: 1025,
        ..proto::Flow::default()
    };
    let flow = Some((flow, BackendId(0)));
    let told = explain(&snapshot, &asked("10.1.0.100", 80), flow).unwrap();
    let text = told.lines.join("\n");
    for part in [
        "its backend b0 stays",
        "packet: 10.2.0.250:1025 to 10.2.0.1:80",
        "leaves: by eth1 to 02:00:00:00:00:07",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn a_flow_goes_on_in_the_mode_it_began_with() {
    let mut snapshot = small_snapshot();
    let backends = snapshot.backends.iter().cloned().map(|backend| {
        backend.map(|mut backend| {
            // As after a change of the service's mode: the one that leaves has the other's name.
            if backend.id == BackendId(3) {
                (backend.name, backend.mode) = ("b0".into(), Mode::L2dsr);
            }
            backend
        })
    });
    snapshot.backends = backends.collect();
    let rows = [(0, "packet: a free port of "), (3, "packet: unchanged, 192.0.2.7:40000 to ")];
    for (id, wanted) in rows {
        let flow = proto::Flow { backend: "b0".into(), ..proto::Flow::default() };
        let told = explain(&snapshot, &asked("10.1.0.100", 80), Some((flow, BackendId(id))));
        let text = told.unwrap().lines.join("\n");
        assert!(text.contains(wanted), "{wanted}: {text}");
    }
}

#[test]
fn no_service_and_no_sense() {
    let snapshot = small_snapshot();
    let rows = [
        (asked("10.1.0.100", 81), "no service is there; 10.1.0.100 has: tcp 10.1.0.100:80 (web)"),
        (asked("10.9.9.9", 80), "10.9.9.9 is no VIP of ours: the kernel has its packets"),
    ];
    for (request, wanted) in rows {
        assert_eq!(explain(&snapshot, &request, None).unwrap().lines, [wanted]);
    }
    let rows = [
        (
            ExplainRequest { client: "x".into(), ..asked("10.1.0.100", 80) },
            "client `x`: expected an address",
        ),
        (ExplainRequest { vip: "::1".into(), ..asked("", 80) }, "of two families"),
        (asked("10.1.0.100", 65_536), "VIP port 65536: expected a port"),
        (
            ExplainRequest { protocol: "icmp".into(), ..asked("10.1.0.100", 80) },
            "protocol `icmp`: expected tcp",
        ),
        (
            ExplainRequest { without: "b9".into(), ..asked("10.1.0.100", 80) },
            "service `web` has no backend `b9`",
        ),
    ];
    for (request, wanted) in rows {
        let error = explain(&snapshot, &request, None).unwrap_err().to_string();
        assert!(error.contains(wanted), "{wanted}: {error}");
    }
}

#[test]
fn which_flows_are_asked_for() {
    let snapshot = small_snapshot();
    let ask = |client: &str, service: &str, backend: &str| {
        let (client, service, backend) = (client.into(), service.into(), backend.into());
        filter_of(&proto::FlowFilter { client, service, backend }, &snapshot)
    };
    let backends =
        |ids: &[u32]| FlowFilter { backends: Some(ids.to_vec()), ..FlowFilter::default() };
    assert_eq!(ask("", "", ""), Ok(FlowFilter::default()));
    assert_eq!(ask("", "web", ""), Ok(backends(&[0, 2, 3])));
    assert_eq!(ask("", "", "b2"), Ok(backends(&[2])));
    let clients = ask("192.0.2.77/24", "", "").unwrap().clients.unwrap();
    assert_eq!((clients.0.ip().to_string(), clients.1), ("192.0.2.0".into(), 255));
    for (client, service, backend, wanted) in [
        ("192.0.2.0/33", "", "", "expected an address or a network"),
        ("web", "", "", "expected an address or a network"),
        ("", "wbe", "", "no service `wbe`"),
        ("", "web", "b9", "no backend `b9` of service `web`"),
    ] {
        let error = ask(client, service, backend).unwrap_err().to_string();
        assert!(error.contains(wanted), "{wanted}: {error}");
    }
}
