//! Outer source addresses of tunnels.

use super::super::{DesiredState, Refusal, TunnelSourceSpec};
use super::addresses::check_unicast;
use crate::forwarding::TunnelSource;
use crate::wire::Address;

pub(super) fn check(desired: &DesiredState, refusals: &mut Vec<Refusal>) {
    let sources = &desired.tunnel_sources;
    for (place, source) in sources.iter().enumerate() {
        let path = format!("tunnel_sources[{place}]");
        check_unicast(path.clone(), source.network, refusals);
        let is_v4 = |source: &TunnelSourceSpec| source.network.is_ipv4();
        if sources[..place].iter().any(|other| is_v4(other) == is_v4(source)) {
            let family = Address::from(source.network).family();
            refusals.push(Refusal::new(
                path.clone(),
                format!("a second {family} network"),
                "one network of each family",
            ));
        }
        check_contains(&path, source, desired, refusals);
    }
}

/// ICMP errors to an outer source are about a tunnel, those to a VIP about a flow.
fn check_contains(
    path: &str,
    source: &TunnelSourceSpec,
    desired: &DesiredState,
    refusals: &mut Vec<Refusal>,
) {
    let range = TunnelSource::new(source.network.into(), source.prefix_len);
    let vips = desired.services.iter().map(|service| (service.address, "VIP"));
    let snat = desired.snat.iter().map(|snat| (snat.address, "SNAT address"));
    let inside = |(address, _): &(std::net::IpAddr, &str)| range.covers(Address::from(*address));
    if let Some((address, what)) = vips.chain(snat).find(inside) {
        refusals.push(Refusal::new(
            path,
            format!("{}/{} has the {what} {address}", source.network, source.prefix_len),
            "a network of its own",
        ));
    }
}
