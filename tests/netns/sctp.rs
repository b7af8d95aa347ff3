//! SCTP between kernels that speak it, which the host's does not.

use crate::support::{Config, Guideway, Lab, Service, Site, Uml, wait_until};
use crate::uml::HAS_THE_VIP;

/// Waits for the answer before it closes: SCTP knows no half-closed association.
const ASK: &str = "socat SCTP4-CONNECT:10.1.0.100:7000 \
                   'SYSTEM:echo over sctp; read answer; echo $answer >&2'";

#[test]
fn an_association_with_direct_return_and_an_abort_without_a_backend() {
    let Some(lab) = Lab::new("sctp") else { return };
    let site = Site::one_arm(&lab, 0, 1);
    let plug = |port: &str, address: &str, script: &str| {
        Uml::plug(&lab, &site.switches[0], port, address, &format!("{script}modprobe sctp"))
    };
    let backend = plug("b1", "10.1.0.11/24", HAS_THE_VIP);
    let client = plug("g2", "10.1.0.60/24", "");
    // By the VIP alone, or it would offer its other addresses for the association.
    backend.start_inside("socat SCTP4-LISTEN:7000,bind=10.1.0.100,fork EXEC:cat", "socat");
    let is_open = "cat /proc/net/sctp/eps | grep -qw 7000";
    wait_until("the server's endpoint", || backend.succeeds(is_open));
    let service = Service::nat("signalling", Site::VIP, 7000, "10.1.0", 1);
    let service = service.line("mode: l2dsr").line("protocol: sctp");
    let mut config = Config::new(&["eth1"], "").with(service);
    config.snat.clear();
    let guideway = Guideway::start(&lab, &site.balancer, &config);

    assert_eq!(client.run(ASK), "over sctp\n");
    assert_eq!(guideway.counter("flows_created"), 1);
    let counters = backend.run("cat /proc/net/sctp/snmp");
    let number = |name: &str| {
        let line = counters.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
    };
    assert_eq!((number("SctpPassiveEstabs"), number("SctpChecksumErrors")), (1, 0), "{counters}");

    config.services[0].backends[0].more = "drain: true".to_owned();
    guideway.reload(&lab, &config);
    let (status, output) = client.try_run(&format!("{ASK} 2>&1"));
    assert!(status != 0 && output.contains("Connection refused"), "{status}: {output}");
    assert!(guideway.counter("sctp_abort") > 0);
}
