use super::*;

fn read_service(yaml: &str) -> Service {
    let object: api::Service = serde_saphyr::from_str(yaml).unwrap();
    service(&object)
}

#[test]
fn a_service_that_says_everything() {
    let read = read_service(
        r#"
metadata:
  name: web
  namespace: shop
  uid: u1
  creationTimestamp: "2026-11-27T00:00:00Z"
  finalizers: [service.kubernetes.io/load-balancer-cleanup, guideway.dev/release]
  labels: {tier: gold}
  annotations:
    guideway.dev/addresses: "203.0.113.7, 2001:db8::7"
    guideway.dev/pool: web
    guideway.dev/share: key
    guideway.dev/source: keep
    guideway.dev/target: nodes
spec:
  type: LoadBalancer
  loadBalancerClass: guideway.dev/external
  ipFamilies: [IPv6, IPv4]
  ipFamilyPolicy: RequireDualStack
  externalTrafficPolicy: Local
  healthCheckNodePort: 31000
  sessionAffinity: ClientIP
  sessionAffinityConfig: {clientIP: {timeoutSeconds: 60}}
  loadBalancerSourceRanges: ["198.51.100.0/24", " 2001:db8:1::/48"]
  ports:
    - {name: http, port: 80, targetPort: web, nodePort: 30080}
    - {name: dns, port: 53, protocol: UDP}
    - {name: sig, port: 9, protocol: SCTP}
status:
  loadBalancer:
    ingress:
      - ip: 203.0.113.7
        ipMode: Proxy
        ports: [{port: 80, protocol: TCP}, {port: 9, protocol: SCTP, error: guideway.dev/ProtocolNotSupported}]
  conditions:
    - {type: guideway.dev/Ready, status: "True", reason: Ready, message: fine, lastTransitionTime: "2026-11-27T00:00:00Z"}
"#,
    );
    assert_eq!(read.created_ms, 1_795_737_600_000);
    assert!(read.is_balanced && read.has_our_finalizer && read.has_standard_finalizer);
    assert!(read.needs_both_families && !read.is_deleted);
    assert_eq!(read.status_mode, Some(IpMode::Proxy));
    assert_eq!(read.class.as_deref(), Some("guideway.dev/external"));
    assert_eq!(read.families, [IpFamily::V6, IpFamily::V4]);
    let ports: Vec<String> = read
        .ports
        .iter()
        .map(|port| format!("{} {}/{}", port.name, port.port, port.transport.word()))
        .collect();
    assert_eq!(ports, ["http 80/tcp", "dns 53/udp", "sig 9/sctp"]);
    assert_eq!((read.affinity_s, read.source_ranges.len()), (Some(60), 2));
    assert_eq!(read.labels, [("tier".into(), "gold".into())]);
    assert_eq!(read.wishes.addresses.len(), 2);
    assert_eq!(read.wishes.pool.as_deref(), Some("web"));
    assert_eq!(read.wishes.share.as_deref(), Some("key"));
    assert_eq!(read.wishes.keep_source, Some(true));
    assert!(read.wishes.wrong.is_empty());
    assert_eq!((read.wishes.target, read.is_local), (Some(Target::Nodes), true));
    let node_ports: Vec<_> = read.ports.iter().map(|port| port.node_port).collect();
    assert_eq!(node_ports, [Some(30_080), None, None]);
    assert_eq!(read.health_port, Some(31_000));
    assert_eq!(read.status, ["203.0.113.7".parse::<IpAddr>().unwrap()]);
    let ports = read.status_ports.iter();
    let ports: Vec<_> = ports.map(|told| (told.port, told.transport, told.is_refused)).collect();
    assert_eq!(ports, [(80, Transport::Tcp, false), (9, Transport::Sctp, true)]);
    assert_eq!(read.told, Some(("Ready".into(), "fine".into())));
}

#[test]
fn what_metallb_calls_otherwise_and_what_cannot_be_read() {
    let rows = [
        ("metallb.io/loadBalancerIPs: 203.0.113.7", "", "203.0.113.7", None, None, ""),
        ("metallb.universe.tf/loadBalancerIPs: 203.0.113.7", "", "203.0.113.7", None, None, ""),
        ("metallb.io/address-pool: p", "", "", Some("p"), None, ""),
        ("metallb.universe.tf/address-pool: p", "", "", Some("p"), None, ""),
        ("metallb.io/allow-shared-ip: k", "", "", None, Some("k"), ""),
        ("a: b", "loadBalancerIP: 203.0.113.9", "203.0.113.9", None, None, ""),
        (
            "guideway.dev/addresses: 203.0.113.7",
            "loadBalancerIP: 203.0.113.9",
            "203.0.113.7",
            None,
            None,
            "",
        ),
        (
            "guideway.dev/addresses: 203.0.113.300",
            "",
            "",
            None,
            None,
            "guideway.dev/addresses: `203.0.113.300` is no address",
        ),
        ("guideway.dev/ip-mode: vip", "", "", None, None, "`vip` is not `VIP` or `Proxy`"),
        ("guideway.dev/target: node", "", "", None, None, "`node` is not `pods`, `nodes` or"),
        ("guideway.dev/source: mine", "", "", None, None, "`mine` is not `snat` or `keep`"),
        (
            "a: b",
            "loadBalancerSourceRanges: [\"198.51.100.0/40\"]",
            "",
            None,
            None,
            "`198.51.100.0/40` is no network",
        ),
    ];
    for (annotation, spec, addresses, pool, share, wrong) in rows {
        let read = read_service(&format!(
            "metadata:\n  annotations:\n    {annotation}\nspec:\n  type: LoadBalancer\n  {spec}\n"
        ));
        let wishes = read.wishes;
        let found: Vec<String> = wishes.addresses.iter().map(IpAddr::to_string).collect();
        assert_eq!(found.join(","), addresses, "{annotation} {spec}");
        assert_eq!(
            (wishes.pool.as_deref(), wishes.share.as_deref()),
            (pool, share),
            "{annotation}"
        );
        let told = wishes.wrong.join("; ");
        assert_eq!(told.is_empty(), wrong.is_empty(), "{annotation}: {told}");
        assert!(told.contains(wrong), "{annotation}: {told}");
    }
}

#[test]
fn conditions_that_are_not_said() {
    let rows = [
        ("{}", (true, true, false)),
        ("{ready: true}", (true, true, false)),
        ("{ready: false}", (false, false, false)),
        ("{ready: false, serving: true, terminating: true}", (false, true, true)),
        ("{ready: false, serving: false, terminating: true}", (false, false, true)),
    ];
    for (conditions, wanted) in rows {
        let text = format!("addresses: [10.244.1.5]\nconditions: {conditions}\nnodeName: n1\n");
        let object: api::Endpoint = serde_saphyr::from_str(&text).unwrap();
        let read = endpoint(&object).unwrap();
        assert_eq!((read.ready, read.serving, read.terminating), wanted, "{conditions}");
    }
}

#[test]
fn slices_and_nodes() {
    let text = r#"
metadata: {name: web-x, namespace: shop, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{name: http, port: 8080, protocol: TCP}, {name: none}]
endpoints:
  - {addresses: [10.244.1.5], nodeName: n1, targetRef: {kind: Pod, name: web-1}}
  - {addresses: ["fd00::1"]}
  - {addresses: [nonsense]}
  - {addresses: []}
"#;
    let object: api::EndpointSlice = serde_saphyr::from_str(text).unwrap();
    let (owner, read) = slice(&object).unwrap();
    assert_eq!((&*owner, read.ports.len(), read.endpoints.len()), ("web", 1, 1));
    assert_eq!(read.endpoints[0].pod.as_deref(), Some("web-1"));
    let names: api::EndpointSlice =
        serde_saphyr::from_str(&text.replace("addressType: IPv4", "addressType: FQDN")).unwrap();
    assert_eq!(slice(&names), None);
    let alone: api::EndpointSlice =
        serde_saphyr::from_str(&text.replace("kubernetes.io/service-name: web", "a: b")).unwrap();
    assert_eq!(slice(&alone), None);

    let text = r#"
metadata: {name: n1}
status:
  addresses:
    - {type: Hostname, address: n1}
    - {type: ExternalIP, address: 203.0.113.99}
    - {type: InternalIP, address: 10.210.0.11}
    - {type: InternalIP, address: "fd00:210::11"}
    - {type: InternalIP, address: 10.210.0.12}
"#;
    let object: api::Node = serde_saphyr::from_str(text).unwrap();
    let addresses: Vec<String> = node(&object).addresses.iter().map(IpAddr::to_string).collect();
    assert_eq!(addresses, ["10.210.0.11", "fd00:210::11"]);
    assert!(!node(&object).is_leaving);
    let label = "metadata: {name: n1, labels: {node.kubernetes.io/exclude-from-external-load-balancers: \"\"}}";
    let taint = "spec: {taints: [{key: ToBeDeletedByClusterAutoscaler, effect: NoSchedule}]}";
    let cordoned = "spec: {unschedulable: true, taints: [{key: node.kubernetes.io/unschedulable}]}";
    for (text, leaves) in [(label, true), (taint, true), (cordoned, false)] {
        let object: api::Node = serde_saphyr::from_str(text).unwrap();
        assert_eq!(node(&object).is_leaving, leaves, "{text}");
    }
}
