//! The way to backends and back to clients, as the kernel's routes and neighbours change.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{
    Config, Download, Guideway, Hold, Lab, Namespace, Process, Service, Site, plug, serve_all,
    storm, switch, wait_for, wait_until,
};

fn hop(guideway: &Guideway, backend: &str) -> Value {
    guideway.backend("lines", backend)["next_hop"]["known"]["mac"].clone()
}

/// The kernel takes up to a minute to find that a silent neighbour has gone. Not in a test.
fn be_impatient(balancer: &Namespace) {
    balancer.run(
        "cd /proc/sys/net/ipv4/neigh/eth1
         echo 1000 > base_reachable_time_ms
         echo 200 > retrans_time_ms
         echo 1 > delay_first_probe_time",
    );
}

#[test]
fn backends_are_kept_and_followed() {
    let Some(lab) = Lab::new("neigh") else { return };
    let site = Site::one_arm(&lab, 2, 1);
    be_impatient(&site.balancer);
    let _peers = serve_all(&site, "--lines 0.0.0.0:7001 --greet 0.0.0.0:7000");
    let config = Config::new(&["eth1"], "10.1.0.10")
        .with(Service::nat("lines", Site::VIP, 7001, "10.1.0", 2))
        .with(Service::nat("greet", Site::VIP, 7000, "10.1.0", 2));
    let guideway = Guideway::start(&lab, &site.balancer, &config);
    let known = site.balancer.run("ip neigh show 10.1.0.11");
    assert!(known.contains("managed"), "{known}");
    let hold = Hold::open(
        &site.client,
        "hold.log",
        "--to 10.1.0.100:7001 --connections 20 --timeout-ms 30000",
    );

    // The machine is replaced by another with its address: nothing tells but the kernel's probes.
    site.backends[0].run("ip link set eth0 address 02:00:00:00:00:b1");
    wait_until("the new MAC", || hop(&guideway, "b1") == "02:00:00:00:00:b1");
    let report = storm(&site.client, "--to 10.1.0.100:7000 --count 200");
    assert_eq!(report["answered"], 200, "{report}");

    // What somebody cleans away is asked for again.
    site.balancer.run("ip neigh delete 10.1.0.12 dev eth1");
    wait_until("the deleted one", || {
        let known = site.balancer.run("ip neigh show 10.1.0.12");
        known.contains("managed") && hop(&guideway, "b2") == *site.backends[1].mac("eth0")
    });
    let report = hold.close();
    assert_eq!((&report["alive"], &report["moved"]), (&json!(20), &json!(0)), "{report}");
}

/// A router between the switch and a network of its own.
fn router(lab: &Lab, role: &str, front: (&Namespace, &str), back: (&Namespace, &str)) -> Namespace {
    let router = lab.namespace(role);
    plug(&router, "eth0", front.0, role, front.1, 2);
    plug(&router, "eth1", back.0, role, back.1, 2);
    router.run("sysctl -qw net.ipv4.ip_forward=1 net.ipv4.conf.all.send_redirects=0");
    router
}

/// Packets that a router has sent on.
fn forwarded(router: &Namespace) -> u64 {
    router.kernel_counter("Ip", "ForwDatagrams")
}

/// Clients in 198.51.100.0/24 behind the routers 10.1.0.251 and 10.1.0.252; the balancer's own route
/// to them is by the second.
#[test]
fn replies_go_back_by_the_router_the_flow_came_from() {
    let Some(lab) = Lab::new("routers") else { return };
    let site = Site::one_arm(&lab, 2, 2);
    be_impatient(&site.balancer);
    let far = switch(&lab, "far");
    let front = &site.switches[0];
    let first = router(&lab, "r1", (front, "10.1.0.251/24"), (&far, "198.51.100.251/24"));
    let second = router(&lab, "r2", (front, "10.1.0.252/24"), (&far, "198.51.100.252/24"));
    let client = lab.namespace("c2");
    plug(&client, "eth0", &far, "c2", "198.51.100.50/24", 2);
    client.run("ip route add 10.1.0.0/24 via 198.51.100.251");
    site.balancer.run(
        "ip route add 198.51.100.0/24 via 10.1.0.252 metric 10
         ip route add 198.51.100.0/24 via 10.1.0.251 metric 20",
    );
    let _peers = serve_all(&site, "--lines 0.0.0.0:7001 --greet 0.0.0.0:7000");
    let config = Config::new(&["eth1"], "10.1.0.10")
        .with(Service::nat("lines", Site::VIP, 7001, "10.1.0", 2))
        .with(Service::nat("greet", Site::VIP, 7000, "10.1.0", 2));
    let guideway = Guideway::start(&lab, &site.balancer, &config);
    wait_until("both routers to be known", || {
        let known = site.balancer.run("ip neigh show");
        known.matches("managed").count() >= 4 && !known.contains("INCOMPLETE")
    });

    let report = storm(&client, "--to 10.1.0.100:7000 --count 200");
    assert_eq!(report["answered"], 200, "{report}");
    let (by_first, by_second) = (forwarded(&first), forwarded(&second));
    assert!(
        by_first > 1000 && by_second == 0,
        "{by_first} by the first, {by_second} by the second"
    );

    // The first router dies under a download. The client still sends by it, so that nothing of the
    // client's arrives, and what is sent to it takes the balancer's own route.
    let options = "--to 10.1.0.100:7001 --connections 5 --timeout-ms 90000";
    let hold = Hold::open(&client, "hold.log", options);
    let download = Download::start(
        &client,
        "download.log",
        "--to 10.1.0.100:7001 --get 20000000 --bytes-per-second 2000000",
    );
    wait_until("the download", || forwarded(&first) > by_first + 500);
    first.run("ip link set eth0 down");
    wait_for("the other way", Duration::from_secs(40), || {
        (forwarded(&second) > by_second).then_some(())
    });
    client.run("ip route change 10.1.0.0/24 via 198.51.100.252");
    let report = download.finish(Duration::from_secs(90));
    assert_eq!(report["is_same"], true, "{report}");
    let report = hold.close();
    assert_eq!((&report["alive"], &report["moved"]), (&json!(5), &json!(0)), "{report}");
    drop(guideway);
}

/// Both sides behind routers: clients in 198.51.100.0/24, backends in 203.0.113.0/24.
#[test]
fn two_arms_with_a_router_on_each() {
    let Some(lab) = Lab::new("tworout") else { return };
    let mut site = Site::two_arms(&lab, 0, 2);
    let (far, deep) = (switch(&lab, "far"), switch(&lab, "deep"));
    let (front, back) = (&site.switches[0], &site.switches[1]);
    let _first = router(&lab, "r1", (front, "10.1.0.251/24"), (&far, "198.51.100.1/24"));
    let second = router(&lab, "r2", (back, "10.2.0.251/24"), (&deep, "203.0.113.1/24"));
    let client = lab.namespace("c2");
    plug(&client, "eth0", &far, "c2", "198.51.100.50/24", 2);
    client.run("ip route add default via 198.51.100.1");
    site.balancer
        .run("ip route add default via 10.1.0.251; ip route add 203.0.113.0/24 via 10.2.0.251");
    for number in 1..=2 {
        let backend = lab.namespace(&format!("b{number}"));
        let address = format!("203.0.113.{}/24", 10 + number);
        plug(&backend, "eth0", &deep, &format!("b{number}"), &address, 2);
        backend.run("ip route add default via 203.0.113.1");
        site.backends.push(backend);
    }
    let _peers = serve_all(&site, "--lines 0.0.0.0:7001 --greet 0.0.0.0:7000");
    let config = Config::new(&["eth1", "eth2"], "10.2.0.10")
        .with(Service::nat("lines", Site::VIP, 7001, "203.0.113", 2).checked())
        .with(Service::nat("greet", Site::VIP, 7000, "203.0.113", 2));
    let guideway = Guideway::start(&lab, &site.balancer, &config);
    assert_eq!(hop(&guideway, "b1"), *second.mac("eth0"));
    for namespace in [&client, &site.client] {
        let report = storm(namespace, "--to 10.1.0.100:7000 --count 200");
        assert_eq!(report["answered"], 200, "{report}");
    }
    let options = "--to 10.1.0.100:7001 --get 10000000 --put 10000000";
    let report = crate::support::transfer(&client, options);
    assert_eq!(report["is_same"], true, "{report}");

    // A better route appears: the next packet takes it.
    let third = router(&lab, "r3", (back, "10.2.0.252/24"), (&deep, "203.0.113.2/24"));
    let hold = Hold::open(&client, "hold.log", "--to 10.1.0.100:7001 --connections 10");
    site.balancer.run("ip route replace 203.0.113.0/24 via 10.2.0.252");
    wait_until("the new route", || hop(&guideway, "b1") == *third.mac("eth0"));
    let report = hold.close();
    assert_eq!((&report["alive"], &report["moved"]), (&json!(10), &json!(0)), "{report}");
}

/// Backends in 203.0.113.0/24 behind two gateways, 10.2.0.251 and 10.2.0.252. Their way back is by a
/// third router: the gateways forward nothing but what the balancer sends by them.
struct TwoGateways {
    site: Site,
    first: Namespace,
    second: Namespace,
    _peers: Vec<Process>,
}

impl TwoGateways {
    fn new(lab: &Lab) -> TwoGateways {
        let mut site = Site::two_arms(lab, 0, 2);
        let deep = switch(lab, "deep");
        let back = &site.switches[1];
        let first = router(lab, "r1", (back, "10.2.0.251/24"), (&deep, "203.0.113.1/24"));
        let second = router(lab, "r2", (back, "10.2.0.252/24"), (&deep, "203.0.113.2/24"));
        router(lab, "r3", (back, "10.2.0.253/24"), (&deep, "203.0.113.3/24"));
        for number in 1..=2 {
            let backend = lab.namespace(&format!("b{number}"));
            let address = format!("203.0.113.{}/24", 10 + number);
            plug(&backend, "eth0", &deep, &format!("b{number}"), &address, 1);
            backend.run("ip route add default via 203.0.113.3");
            site.backends.push(backend);
        }
        let _peers = serve_all(&site, "--lines 0.0.0.0:7001");
        TwoGateways { site, first, second, _peers }
    }

    /// Guideway, and ten connections that each ask ten times a second.
    fn start(&self, lab: &Lab) -> (Guideway, Hold) {
        let config = Config::new(&["eth1", "eth2"], "10.2.0.10").with(Service::nat(
            "lines",
            Site::VIP,
            7001,
            "203.0.113",
            2,
        ));
        let guideway = Guideway::start(lab, &self.site.balancer, &config);
        let options = "--to 10.1.0.100:7001 --connections 10 --every-ms 100";
        (guideway, Hold::open(&self.site.client, "hold.log", options))
    }

    /// Waits until a hundred packets go by one gateway and none by the other.
    fn wait_for_all_by(&self, what: &str, way: &Namespace) {
        let other = if way.name() == self.first.name() { &self.second } else { &self.first };
        wait_until(&format!("all by {} after {what}", way.name()), || {
            let (by_way, by_other) = (forwarded(way), forwarded(other));
            wait_until("a hundred packets more", || {
                forwarded(way) >= by_way + 100 || forwarded(other) > by_other
            });
            forwarded(other) == by_other
        });
    }
}

#[test]
fn held_connections_follow_a_replaced_route() {
    let Some(lab) = Lab::new("reroute") else { return };
    let gateways = TwoGateways::new(&lab);
    let balancer = &gateways.site.balancer;
    balancer.run("ip route add 203.0.113.0/24 via 10.2.0.251");
    let (guideway, hold) = gateways.start(&lab);
    gateways.wait_for_all_by("the start", &gateways.first);
    assert_eq!(forwarded(&gateways.second), 0, "the second has been used for nothing so far");
    balancer.run("ip route replace 203.0.113.0/24 via 10.2.0.252");
    gateways.wait_for_all_by("the change", &gateways.second);
    assert_eq!(hop(&guideway, "b1"), *gateways.second.mac("eth0"));
    balancer.run("ip route replace 203.0.113.0/24 via 10.2.0.251");
    gateways.wait_for_all_by("the change back", &gateways.first);
    let report = hold.close();
    assert_eq!((&report["alive"], &report["moved"]), (&json!(10), &json!(0)), "{report}");
}

/// Routes by nexthop objects, as routing daemons make them. No event tells of the routes that go
/// when an object is deleted; only the object's own does.
#[test]
fn held_connections_follow_a_nexthop_object() {
    let Some(lab) = Lab::new("nexthop") else { return };
    let gateways = TwoGateways::new(&lab);
    let balancer = &gateways.site.balancer;
    balancer.run(
        "ip nexthop add id 1 via 10.2.0.251 dev eth2
         ip nexthop add id 2 via 10.2.0.251 dev eth2
         ip route add 203.0.113.0/24 nhid 1
         ip route add 203.0.113.0/24 nhid 2 metric 50",
    );
    let (_guideway, hold) = gateways.start(&lab);
    gateways.wait_for_all_by("the start", &gateways.first);
    balancer.run("ip nexthop replace id 1 via 10.2.0.252 dev eth2");
    gateways.wait_for_all_by("the object was replaced", &gateways.second);
    balancer.run("ip nexthop delete id 1");
    gateways.wait_for_all_by("the object was deleted", &gateways.first);
    balancer.run("ip nexthop add id 3 via 10.2.0.252 dev eth2; ip nexthop add id 10 group 3");
    balancer.run("ip route add 203.0.113.0/24 nhid 10");
    gateways.wait_for_all_by("a route by a group", &gateways.second);
    balancer.run("ip nexthop replace id 10 group 2");
    gateways.wait_for_all_by("the group was replaced", &gateways.first);
    let report = hold.close();
    assert_eq!((&report["alive"], &report["moved"]), (&json!(10), &json!(0)), "{report}");
}
