//! Each interface: its link, XDP, queues, RSS, MTU, offloads.

use super::facts::{Facts, InterfaceFacts, LinkFacts};
use super::finding::Finding;
use crate::control::{XdpModeChoice, ZeroCopyChoice};
use crate::io::afxdp::largest_mtu;
use crate::io::afxdp::layout::STEER_QUEUES;

/// A veth with a larger MTU takes no program in the driver that does not know of several buffers.
const VETH_MOST_MTU: u32 = 3_498;

/// Looks at all of them.
pub fn look(facts: &Facts) -> Vec<Finding> {
    let mut findings = Vec::new();
    for interface in &facts.interfaces {
        let Some(link) = &interface.link else {
            findings.push(no_link(interface));
            continue;
        };
        findings.push(up(interface, link));
        if facts.running.is_none() {
            // Of one that runs its own status says what it got.
            findings.extend(modes(interface, link));
        }
        findings.extend(queues(facts, interface));
        findings.push(rss(facts, interface));
        findings.extend(mtu(facts, interface, link));
        findings.push(offloads(interface, link));
        findings.extend(rp_filter(interface));
    }
    findings.extend(too_few_queues(facts));
    findings
}

fn no_link(interface: &InterfaceFacts) -> Finding {
    let name = &interface.spec.name;
    match &interface.spec.bridge {
        Some(bridge) => {
            Finding::ok("link", name, format!("not there yet: made at start, into {bridge}"))
        }
        None => Finding::fail(
            "link",
            name,
            "there is no such interface",
            "`ip link` lists those there are in this network namespace",
        ),
    }
}

fn up(interface: &InterfaceFacts, link: &LinkFacts) -> Finding {
    let name = &interface.spec.name;
    match link.up {
        true => Finding::ok("link", name, "up"),
        false => Finding::fail("link", name, "down", format!("`ip link set {name} up`")),
    }
}

fn modes(interface: &InterfaceFacts, link: &LinkFacts) -> Vec<Finding> {
    let name = &interface.spec.name;
    let mut findings = Vec::new();
    if let Some(id) = link.program {
        findings.push(Finding::warn(
            "xdp",
            name,
            format!("program {id} is on it already"),
            "one that a Guideway has left is replaced at start; another one refuses it: `bpftool \
             prog show`, `ip link set dev IF xdp off`",
        ));
    }
    let Some(features) = interface.features else {
        let found =
            "the kernel does not tell what the driver can do (Linux 6.3 does): tried at start";
        findings.push(Finding::ok("xdp", name, found));
        return findings;
    };
    let has_native = features.native && features.redirect;
    findings.push(match (has_native, interface.spec.xdp_mode) {
        (_, XdpModeChoice::Generic) => Finding::warn(
            "xdp",
            name,
            "generic, as configured: slow, and merged segments are dropped",
            match has_native {
                true => "`xdp_mode: auto`: the driver can do better",
                false => "an interface whose driver has XDP of its own",
            },
        ),
        (true, _) => Finding::ok("xdp", name, "native"),
        (false, XdpModeChoice::Native) => Finding::fail(
            "xdp",
            name,
            "the driver has no native XDP, and `xdp_mode: native` wants it",
            "`xdp_mode: auto`, or an interface whose driver has it",
        ),
        (false, XdpModeChoice::Auto) => Finding::warn(
            "xdp",
            name,
            "generic only: the driver has no XDP of its own. Slow, and merged segments are dropped",
            "an interface whose driver has it",
        ),
    });
    findings.push(match (features.zero_copy, interface.spec.zero_copy) {
        (true, ZeroCopyChoice::Off) => Finding::warn(
            "zero_copy",
            name,
            "off, as configured, though the driver can",
            "`zero_copy: auto`",
        ),
        (true, _) => Finding::ok("zero_copy", name, "the driver can"),
        (false, ZeroCopyChoice::Required) => Finding::fail(
            "zero_copy",
            name,
            "the driver cannot, and `zero_copy: required` wants it",
            "`zero_copy: auto` for copy mode",
        ),
        (false, _) => Finding::ok("zero_copy", name, "the driver cannot: frames are copied"),
    });
    findings
}

fn queues(facts: &Facts, interface: &InterfaceFacts) -> Vec<Finding> {
    let (name, queues, workers) = (&interface.spec.name, interface.queues, facts.workers());
    if queues > STEER_QUEUES {
        return vec![Finding::fail(
            "queues",
            name,
            format!("{queues}, and at most {STEER_QUEUES} can be taken"),
            format!("`ethtool -L {name} combined {STEER_QUEUES}`"),
        )];
    }
    if (queues as usize) < workers {
        return vec![Finding::warn(
            "queues",
            name,
            format!("{queues} for {workers} workers: some send there by a packet socket, slowly"),
            format!("`ethtool -L {name} combined {workers}`, or fewer `workers.count`"),
        )];
    }
    vec![Finding::ok("queues", name, format!("{queues} for {workers} workers"))]
}

/// A worker without any queue is refused at start.
fn too_few_queues(facts: &Facts) -> Option<Finding> {
    let (most, workers) =
        (facts.interfaces.iter().map(|interface| interface.queues).max()?, facts.workers());
    let is_known = facts.interfaces.iter().all(|interface| interface.link.is_some());
    (is_known && workers > most as usize).then(|| {
        let found = format!("{workers} workers, and no interface has more than {most} queues");
        let advice = format!("`workers.count: {most}`, or more queues: `ethtool -L IF combined N`");
        Finding::fail("workers", "", found, advice)
    })
}

fn rss(facts: &Facts, interface: &InterfaceFacts) -> Finding {
    let (name, workers) = (&interface.spec.name, facts.workers());
    let handed_over = "packets that arrive at the wrong worker are handed over";
    let rss = match &interface.rss {
        _ if workers == 1 => return Finding::ok("rss", name, "one worker has all packets"),
        Ok(rss) => rss,
        Err(error) => {
            let found = format!("the driver does not tell ({error}): {handed_over}");
            let advice = "nothing where speed suffices, or one worker (`workers.count: 1`)";
            return Finding::warn("rss", name, found, advice);
        }
    };
    let highest = rss.indirection.iter().copied().max().unwrap_or(0);
    if highest >= interface.queues {
        return Finding::fail(
            "rss",
            name,
            format!("it spreads packets to queue {highest}, of {}", interface.queues),
            format!("`ethtool -X {name} equal {}`", interface.queues),
        );
    }
    if !rss.toeplitz {
        let found = format!("its hash is not Toeplitz: {handed_over}");
        return Finding::warn("rss", name, found, format!("`ethtool -X {name} hfunc toeplitz`"));
    }
    let (key, table) = (rss.key.len(), rss.indirection.len());
    let found = format!("Toeplitz, a key of {key} bytes, a table of {table} entries");
    let used = (0..interface.queues).filter(|queue| rss.indirection.contains(queue)).count();
    if used < interface.queues as usize {
        return Finding::warn(
            "rss",
            name,
            format!("{found}, and only {used} of {} queues get packets", interface.queues),
            format!("`ethtool -X {name} equal {}`", interface.queues),
        );
    }
    Finding::ok("rss", name, found)
}

fn mtu(facts: &Facts, interface: &InterfaceFacts, link: &LinkFacts) -> Option<Finding> {
    let (name, mtu) = (&interface.spec.name, link.mtu);
    let frame_bytes = facts.good_config()?.node.limits.frame_bytes;
    let fits = largest_mtu(frame_bytes);
    if mtu > fits {
        let larger = match largest_mtu(4_096) {
            larger if larger >= mtu => ", or `limits.frame_bytes: 4096`",
            _ => "",
        };
        return Some(Finding::fail(
            "mtu",
            name,
            format!("{mtu}, and a frame of {frame_bytes} bytes holds {fits} with its headroom"),
            format!("`ip link set {name} mtu {fits}`{larger}"),
        ));
    }
    if link.is_veth && mtu > VETH_MOST_MTU {
        return Some(Finding::warn(
            "mtu",
            name,
            format!("{mtu}: a veth takes no native XDP program above {VETH_MOST_MTU}"),
            format!("`ip link set {name} mtu {VETH_MOST_MTU}`"),
        ));
    }
    Some(Finding::ok("mtu", name, format!("{mtu}, of {fits} that a frame holds")))
}

fn offloads(interface: &InterfaceFacts, link: &LinkFacts) -> Finding {
    let (name, offloads) = (&interface.spec.name, &interface.offloads);
    if offloads.lro == Some(true) {
        let advice = format!("`ethtool -K {name} lro off`");
        let found = "lro is on: merged segments are dropped, and many drivers refuse XDP with it";
        return Finding::fail("offloads", name, found, advice);
    }
    if interface.spec.xdp_mode == XdpModeChoice::Generic && offloads.gro == Some(true) {
        let found = "gro is on: in generic mode merged segments arrive, and are dropped";
        return Finding::warn("offloads", name, found, format!("`ethtool -K {name} gro off`"));
    }
    match &interface.peer {
        Some(peer) if peer.tx_checksum == Some(true) => Finding::fail(
            "offloads",
            name,
            format!("its other end {} leaves checksums to whoever receives", peer.name),
            format!("`ethtool -K {} tx off`: what it sends has wrong checksums here", peer.name),
        ),
        None if link.is_veth => Finding::warn(
            "offloads",
            name,
            "its other end is in another network namespace, which cannot be seen from here",
            "there: `ethtool -K IF tx off`, else what comes from it has wrong checksums",
        ),
        _ if offloads.rx_vlan == Some(true) => {
            Finding::ok("offloads", name, "rxvlan is on, and is turned off at start")
        }
        _ => Finding::ok("offloads", name, "none that breaks frames"),
    }
}

/// Packets for VIPs never get there. Those of health checks do, and the machine's own.
fn rp_filter(interface: &InterfaceFacts) -> Option<Finding> {
    let name = &interface.spec.name;
    let (own, all) = (interface.rp_filter.0?, interface.rp_filter.1?);
    if own.max(all) != 1 {
        return Some(Finding::ok("rp_filter", name, own.max(all).to_string()));
    }
    // In a name of sysctl's the interface's own dots are slashes.
    let key = |of: &str| format!("`sysctl -w net.ipv4.conf.{}.rp_filter=2`", of.replace('.', "/"));
    Some(Finding::warn(
        "rp_filter",
        name,
        format!("1, strict (own {own}, all {all})"),
        format!(
            "answers to health checks that come in here, and whose route leaves elsewhere, are \
             dropped without a word: {}",
            key(name)
        ),
    ))
}

#[cfg(test)]
mod tests {
    use super::super::facts::PeerFacts;
    use super::super::finding::State::{self, Fail, Ok, Warn};
    use super::super::testing::{facts, told};
    use super::*;
    use crate::io::afxdp::features::XdpFeatures;

    type Row = (&'static str, &'static str, fn(&mut InterfaceFacts), State, &'static str);

    fn link(interface: &mut InterfaceFacts) -> &mut LinkFacts {
        interface.link.as_mut().unwrap()
    }

    fn veth(interface: &mut InterfaceFacts, tx_checksum: bool) {
        link(interface).is_veth = true;
        let tx_checksum = Some(tx_checksum);
        interface.peer = Some(PeerFacts { name: "veth7".into(), tx_checksum });
    }

    const COPY: XdpFeatures = XdpFeatures { native: true, redirect: true, zero_copy: false };
    const NONE: XdpFeatures = XdpFeatures { native: false, redirect: false, zero_copy: false };

    const LINK_AND_MODES: &[Row] = &[
        ("up", "link", |_| {}, Ok, "up"),
        ("down", "link", |i| link(i).up = false, Fail, "down"),
        ("gone", "link", |i| i.link = None, Fail, "no such interface"),
        (
            "to be made",
            "link",
            |i| (i.link, i.spec.bridge) = (None, Some("br0".into())),
            Ok,
            "into br0",
        ),
        ("native", "xdp", |_| {}, Ok, "native"),
        ("generic only", "xdp", |i| i.features = Some(NONE), Warn, "generic only"),
        (
            "native is wanted",
            "xdp",
            |i| (i.features, i.spec.xdp_mode) = (Some(NONE), XdpModeChoice::Native),
            Fail,
            "no native XDP",
        ),
        (
            "generic is wanted",
            "xdp",
            |i| i.spec.xdp_mode = XdpModeChoice::Generic,
            Warn,
            "as configured",
        ),
        ("nobody tells", "xdp", |i| i.features = None, Ok, "does not tell"),
        ("a program", "xdp", |i| link(i).program = Some(7), Warn, "program 7"),
        ("zero copy", "zero_copy", |_| {}, Ok, "can"),
        ("copy", "zero_copy", |i| i.features = Some(COPY), Ok, "copied"),
        (
            "zero copy is wanted",
            "zero_copy",
            |i| (i.features, i.spec.zero_copy) = (Some(COPY), ZeroCopyChoice::Required),
            Fail,
            "cannot",
        ),
        ("left off", "zero_copy", |i| i.spec.zero_copy = ZeroCopyChoice::Off, Warn, "off"),
    ];

    const QUEUES_AND_THE_REST: &[Row] = &[
        ("a queue each", "queues", |_| {}, Ok, "2 for 2 workers"),
        ("too many", "queues", |i| i.queues = 65, Fail, "at most 64"),
        ("spread", "rss", |_| {}, Ok, "a key of 40 bytes"),
        ("not told", "rss", |i| i.rss = Err("no".into()), Warn, "handed over"),
        ("one worker", "rss", |i| i.queues = 1, Ok, "one worker"),
        (
            "a queue that is none",
            "rss",
            |i| i.rss.as_mut().unwrap().indirection[3] = 2,
            Fail,
            "to queue 2, of 2",
        ),
        ("another hash", "rss", |i| i.rss.as_mut().unwrap().toeplitz = false, Warn, "not Toeplitz"),
        (
            "a queue without packets",
            "rss",
            |i| i.rss.as_mut().unwrap().indirection.fill(0),
            Warn,
            "only 1 of 2",
        ),
        ("fits", "mtu", |_| {}, Ok, "1500, of 1770"),
        ("does not fit", "mtu", |i| link(i).mtu = 9_000, Fail, "9000, and a frame of 2048"),
        ("offloads", "offloads", |_| {}, Ok, "none"),
        ("lro", "offloads", |i| i.offloads.lro = Some(true), Fail, "lro is on"),
        ("rxvlan", "offloads", |i| i.offloads.rx_vlan = Some(true), Ok, "turned off at start"),
        (
            "gro in generic mode",
            "offloads",
            |i| i.spec.xdp_mode = XdpModeChoice::Generic,
            Warn,
            "gro is on",
        ),
        ("an end out of sight", "offloads", |i| link(i).is_veth = true, Warn, "another network"),
        ("an end that is fine", "offloads", |i| veth(i, false), Ok, "none"),
        ("an end that is not", "offloads", |i| veth(i, true), Fail, "veth7"),
        ("loose", "rp_filter", |i| i.rp_filter = (Some(2), Some(1)), Ok, "2"),
        ("strict", "rp_filter", |i| i.rp_filter = (Some(0), Some(1)), Warn, "own 0, all 1"),
    ];

    #[test]
    fn faults_by_row() {
        for (description, check, change, state, found) in
            LINK_AND_MODES.iter().chain(QUEUES_AND_THE_REST)
        {
            let mut facts = facts();
            change(&mut facts.interfaces[0]);
            told(description, &look(&facts), check, *state, found);
        }
    }

    #[test]
    fn workers_against_queues() {
        let mut facts = facts();
        let Some(Result::Ok(config)) = &mut facts.config else { panic!("there is one") };
        config.node.workers.count = Some(3);
        let findings = look(&facts);
        told("three workers, two queues", &findings, "queues", Warn, "2 for 3 workers");
        told("three workers, two queues", &findings, "workers", Fail, "more than 2 queues");
        let mut wide = facts.interfaces[0].clone();
        (wide.queues, wide.spec.name) = (4, "eth2".into());
        facts.interfaces.push(wide);
        let findings = look(&facts);
        assert!(!findings.iter().any(|finding| finding.check == "workers"), "{findings:?}");
    }
}
