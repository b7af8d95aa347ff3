//! Which settings of the machine a direct-return backend needs, and why. Pure.

use std::collections::BTreeSet;
use std::net::IpAddr;

use crate::runtime::netlink::MachineAddress;

/// What the kernel is set to for one interface, or for all (`/proc/sys/net/*/conf`); none where the
/// kernel lacks it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Conf {
    pub rp_filter: Option<u32>,
    pub arp_ignore: Option<u32>,
    pub arp_announce: Option<u32>,
    pub accept_local: Option<u32>,
    pub disable_ipv6: Option<u32>,
}

/// One interface that tunnel packets come in by.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct InterfaceFacts {
    pub name: String,
    pub own: Conf,
    pub all: Conf,
    pub mtu: u32,
}

/// What the operator wants.
pub struct Wishes<'a> {
    pub vips: &'a [IpAddr],
    /// No source is listed.
    pub any_source: bool,
}

/// How a setting is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    Fine,
    /// It will not work so.
    Wrong,
    /// It may be meant so.
    Hint,
}

/// One setting, and what there is to say about it.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize)]
pub struct Finding {
    pub setting: String,
    pub value: String,
    pub wanted: &'static str,
    pub state: State,
    pub why: String,
    /// The command to run.
    pub fix: Option<String>,
}

const RP_FILTER: &str = "Inner packets carry clients' addresses and come in by this interface. With \
    1 (strict) the kernel drops, without a word, those of clients to whom its route leaves by \
    another one (RFC 3704). The larger value of the interface and `all` holds.";
const ARP_IGNORE: &str = "The VIP is on lo. With 0 this machine answers ARP for it, and takes the \
    VIP from the balancer. It matters where clients, router or balancer share a link with it. The \
    larger value of the interface and `all` holds.";
const ARP_ANNOUNCE: &str = "With 0 or 1 this machine may ask by ARP in the name of the VIP, from \
    which others learn its MAC for the VIP. The larger value of the interface and `all` holds.";
const ACCEPT_LOCAL: &str = "Not needed: inner packets come from clients, never from this machine's \
    own addresses, and with 1 the kernel would believe those that say so.";
const DISABLE_IPV6: &str = "Inner IPv6 packets come in by this interface, and with 1 the kernel \
    drops them.";
/// `arp_ignore` values with which an address on lo is not answered for on another interface.
const QUIET: [u32; 3] = [1, 2, 8];
/// Largest encapsulation a Guideway balancer makes: an outer IPv6 header, UDP and GUE.
const OVERHEAD: u32 = 40 + 8 + 4;
/// IPv4 and TCP header.
const INNER_HEADERS: u32 = 40;

/// Looks at everything.
pub fn look(
    interfaces: &[InterfaceFacts],
    machine: &BTreeSet<MachineAddress>,
    wishes: &Wishes<'_>,
) -> Vec<Finding> {
    let names: Vec<&str> = interfaces.iter().map(|one| one.name.as_str()).collect();
    let mut found: Vec<Finding> =
        wishes.vips.iter().map(|vip| vip_finding(*vip, machine, &names)).collect();
    found.extend(open_doors(wishes));
    for interface in interfaces {
        found.extend(sysctls(interface));
        if wishes.vips.iter().any(IpAddr::is_ipv6) {
            found.extend(ipv6(interface));
        }
        found.push(mtu(interface));
    }
    found
}

fn vip_finding(vip: IpAddr, machine: &BTreeSet<MachineAddress>, names: &[&str]) -> Finding {
    let whole = if vip.is_ipv4() { 32 } else { 128 };
    let places: Vec<_> = machine.iter().filter(|one| one.address == vip).collect();
    let add = format!("ip address add {vip}/{whole} dev lo");
    let outside = places.iter().find(|one| names.contains(&one.interface.as_str()));
    let wide = places.iter().find(|one| one.interface == "lo" && one.prefix_len < whole);
    let (state, why, fix) = if places.is_empty() {
        let why = "The kernel takes packets to its own addresses only: those to the VIP would be \
                   dropped, or sent on where ip_forward is 1.";
        (State::Wrong, why, Some(add))
    } else if let Some(place) = outside {
        let (interface, len) = (&place.interface, place.prefix_len);
        let remove = format!("ip address del {vip}/{len} dev {interface}");
        let why = "On an interface of its link the machine answers ARP and neighbour solicitations \
                   for it, whatever arp_ignore says, and takes the VIP from the balancer.";
        (State::Wrong, why, Some(format!("{remove} && {add}")))
    } else if let Some(place) = wide {
        let len = place.prefix_len;
        let why = "On lo every address of the prefix is the machine's own: it would not reach the \
                   others of that network.";
        (State::Wrong, why, Some(format!("ip address del {vip}/{len} dev lo && {add}")))
    } else {
        let why = "The kernel takes packets to its own addresses only; on lo nobody hears of it.";
        (State::Fine, why, None)
    };
    let at = places.iter().map(|one| format!("on {}/{}", one.interface, one.prefix_len));
    let value = at.collect::<Vec<_>>().join(", ");
    Finding {
        setting: format!("VIP {vip}"),
        value: if value.is_empty() { "on no interface".to_string() } else { value },
        wanted: "on lo, alone in its prefix",
        state,
        why: why.to_string(),
        fix,
    }
}

/// What is taken from whom to where, if it was not said.
fn open_doors(wishes: &Wishes<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut hint = |option: &str, value: &str, wanted, why: &str| {
        found.push(Finding {
            setting: option.to_string(),
            value: value.to_string(),
            wanted,
            state: State::Hint,
            why: why.to_string(),
            fix: None,
        });
    };
    if wishes.vips.is_empty() {
        hint(
            "--vip",
            "all addresses of this machine",
            "the VIPs",
            "Whoever can send tunnel packets here reaches every address of this machine past the \
             filters on the way.",
        );
    }
    if wishes.any_source {
        hint(
            "--source",
            "any",
            "the balancers' prefix",
            "An outer source is easily forged from within the network, but not from outside of one \
             whose border filters (BCP 38).",
        );
    }
    found
}

/// One sysctl that the larger of two values decides.
fn sysctl(
    interface: &str,
    key: &str,
    values: (Option<u32>, Option<u32>),
    (is_fine, wanted, best): (impl Fn(u32) -> bool, &'static str, u32),
    why: &str,
) -> Option<Finding> {
    let (own, all) = (values.0?, values.1?);
    let effective = own.max(all);
    let fine = is_fine(effective);
    // In a name of sysctl's the interface's own dots are slashes.
    let of = |interface: &str| format!("net.ipv4.conf.{}.{key}", interface.replace('.', "/"));
    let mut set = Vec::new();
    // A value of `all` that is too large cannot be undone for one interface.
    if all > best {
        set.push(format!("sysctl -w {}={best}", of("all")));
    }
    if own != best {
        set.push(format!("sysctl -w {}={best}", of(interface)));
    }
    Some(Finding {
        setting: of(interface),
        value: format!("{effective} (own {own}, all {all})"),
        wanted,
        state: if fine { State::Fine } else { State::Wrong },
        why: why.to_string(),
        fix: (!fine).then(|| set.join(" && ")),
    })
}

fn sysctls(facts: &InterfaceFacts) -> Vec<Finding> {
    let InterfaceFacts { name, own, all, .. } = facts;
    let quiet = |value| QUIET.contains(&value);
    let found = [
        sysctl(
            name,
            "rp_filter",
            (own.rp_filter, all.rp_filter),
            (|value| value != 1, "0 or 2", 2),
            RP_FILTER,
        ),
        sysctl(
            name,
            "arp_ignore",
            (own.arp_ignore, all.arp_ignore),
            (quiet, "1, 2 or 8", 1),
            ARP_IGNORE,
        ),
        sysctl(
            name,
            "arp_announce",
            (own.arp_announce, all.arp_announce),
            (|value| value == 2, "2", 2),
            ARP_ANNOUNCE,
        ),
        sysctl(
            name,
            "accept_local",
            (own.accept_local, all.accept_local),
            (|value| value == 0, "0", 0),
            ACCEPT_LOCAL,
        ),
    ];
    found.into_iter().flatten().collect()
}

fn ipv6(facts: &InterfaceFacts) -> Option<Finding> {
    let value = facts.own.disable_ipv6?;
    let setting = format!("net.ipv6.conf.{}.disable_ipv6", facts.name.replace('.', "/"));
    Some(Finding {
        value: value.to_string(),
        wanted: "0",
        state: if value == 0 { State::Fine } else { State::Wrong },
        why: DISABLE_IPV6.to_string(),
        fix: (value != 0).then(|| format!("sysctl -w {setting}=0")),
        setting,
    })
}

/// Balancers do not fragment: what does not fit with its outer headers is lost on the way.
fn mtu(facts: &InterfaceFacts) -> Finding {
    let InterfaceFacts { name, mtu, .. } = facts;
    let fits = |overhead: u32| mtu.saturating_sub(overhead);
    let enough = *mtu >= 1500 + OVERHEAD;
    let why = format!(
        "Of an inner packet fit {} bytes with IPIP, {} with GRE and a key, {} with GUE, and 20 fewer \
         over IPv6; the balancer does not fragment. Have every station of the way from the balancer \
         take {}, or have clients send less: `advmss {}` on this machine's route to them goes into \
         its SYN-ACKs.",
        fits(20),
        fits(28),
        fits(32),
        1500 + OVERHEAD,
        fits(OVERHEAD + INNER_HEADERS),
    );
    Finding {
        setting: format!("MTU of {name}"),
        value: mtu.to_string(),
        wanted: "1552 or more, on the whole way",
        state: if enough { State::Fine } else { State::Hint },
        why,
        fix: None,
    }
}

#[cfg(test)]
mod tests;
