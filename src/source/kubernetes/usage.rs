//! How many addresses of each pool are used, and how many are free. Pure.

use std::net::IpAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::objects::IpFamily;
use super::pool::Pool;
use super::world::World;

/// What the API takes for a number. A network of IPv6 has more.
const MOST: u64 = i64::MAX as u64;

/// What an AddressPool's status says.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Usage {
    /// Of its IPv4 addresses; none: it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv4: Option<Count>,
    /// Of its IPv6 addresses; none: it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv6: Option<Count>,
    /// Why nothing is given out of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// How many addresses are what. A number beyond 9223372036854775807 is told as that.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Count {
    /// All that may be given out.
    pub addresses: u64,
    /// Services have them.
    pub used: u64,
    /// They were given back, and rest.
    pub resting: u64,
    /// They can be had.
    pub free: u64,
}

impl Usage {
    /// The counts that it has, with their families.
    pub fn counts(&self) -> impl Iterator<Item = (IpFamily, Count)> + use<> {
        let of = |family, count: Option<Count>| count.map(|count| (family, count));
        of(IpFamily::V4, self.ipv4).into_iter().chain(of(IpFamily::V6, self.ipv6))
    }
}

/// Of every pool, those of the configuration first. An address that lies in several pools counts in each
/// of them: whoever has it, it cannot be had there.
pub fn usages(world: &World) -> Vec<(Arc<str>, Usage)> {
    let good = world.pools().iter().map(|pool| (pool.name.clone(), usage(world, pool)));
    let wrong = world.wrong_pools().map(|(name, problem)| {
        (name.clone(), Usage { problem: Some(problem.clone()), ..Usage::default() })
    });
    good.chain(wrong).collect()
}

/// Of all [`usages`] those of AddressPools of the cluster whose status says something else, or nothing.
pub fn untold(world: &World, usages: &[(Arc<str>, Usage)]) -> Vec<(Arc<str>, Usage)> {
    let of_cluster = usages.iter().skip(world.options().pools.len());
    of_cluster.filter(|(name, usage)| world.told_of_pool(name) != Some(usage)).cloned().collect()
}

fn usage(world: &World, pool: &Pool) -> Usage {
    let count = |family| {
        let addresses = pool.size(family);
        if addresses == 0 {
            return None;
        }
        let (mut used, mut resting) = (0, 0);
        let is_its = |address: IpAddr| IpFamily::of(address) == family && pool.has(address);
        for (_, claim) in world.claims().filter(|(address, _)| is_its(*address)) {
            let count = if claim.holders.is_empty() { &mut resting } else { &mut used };
            *count += 1;
        }
        let free = addresses.saturating_sub(used + resting).min(MOST);
        Some(Count { addresses: addresses.min(MOST), used, resting, free })
    };
    Usage { ipv4: count(IpFamily::V4), ipv6: count(IpFamily::V6), problem: None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::kubernetes::objects::Claim;
    use crate::source::kubernetes::pool::Block;
    use crate::source::kubernetes::testing::{claim, world};
    use crate::source::kubernetes::world::Change;

    fn pool(name: &str, blocks: &[&str]) -> Pool {
        Pool::new(name, blocks.iter().map(|block| Block::parse(block).unwrap()).collect())
    }

    fn told(usage: &Usage) -> String {
        let problem = usage.problem.clone().into_iter();
        let count = |(family, count): (IpFamily, Count)| {
            let Count { addresses, used, resting, free } = count;
            format!("{family} {addresses} {used} {resting} {free}")
        };
        usage.counts().map(count).chain(problem).collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn what_is_counted() {
        let mut skips = pool("skips", &["198.51.100.0/24", "198.51.99.200-198.51.100.10"]);
        skips.skip_ends = true;
        let mut world = world();
        let mut add = |name: &str, pool| world.apply(Change::Pool(name.into(), Some(pool)));
        add("skips", Ok(skips));
        add("twice", Ok(pool("twice", &["203.0.113.0/30", "203.0.113.2-203.0.113.9"])));
        add("six", Ok(pool("six", &["2001:db8::/64"])));
        add("wrong", Err("`x` is no network".to_string()));
        let rests = Claim { holders: vec![], released_ms: Some(5), ..claim("x") };
        for (address, claim) in [
            ("203.0.113.1", claim("web")),
            ("203.0.113.2", rests),
            ("198.51.100.7", Claim { manager: "other".into(), ..claim("y") }),
            ("198.51.100.0", claim("before-it-was-skipped")),
            ("192.0.2.1", claim("of-no-pool")),
            ("2001:db8::1", claim("six")),
        ] {
            world.apply(Change::Claim(address.parse().unwrap(), Some(claim)));
        }
        let found: Vec<String> =
            usages(&world).iter().map(|(name, usage)| format!("{name}: {}", told(usage))).collect();
        assert_eq!(
            found,
            [
                "web: IPv4 3 1 1 1, IPv6 3 1 0 2",
                "six: IPv6 9223372036854775807 1 0 9223372036854775807",
                // 200 to 254 of the one, 1 to 254 of the other.
                "skips: IPv4 309 1 0 308",
                "twice: IPv4 10 1 1 8",
                "wrong: `x` is no network",
            ]
        );
    }

    #[test]
    fn only_what_has_changed_is_to_be_told() {
        let mut world = world();
        world.apply(Change::Pool("few".into(), Some(Ok(pool("few", &["198.51.100.7"])))));
        let names = |world: &World| -> Vec<String> {
            untold(world, &usages(world))
                .iter()
                .map(|(name, usage)| format!("{name}: {}", told(usage)))
                .collect()
        };
        assert_eq!(names(&world), ["few: IPv4 1 0 0 1"], "not those of the configuration");
        let (name, usage) = untold(&world, &usages(&world)).remove(0);
        world.apply(Change::PoolTold(name, Some(usage)));
        assert_eq!(names(&world), [""; 0]);
        world.apply(Change::Claim("203.0.113.1".parse().unwrap(), Some(claim("web"))));
        assert_eq!(names(&world), [""; 0], "of another pool");
        world.apply(Change::Claim("198.51.100.7".parse().unwrap(), Some(claim("a"))));
        assert_eq!(names(&world), ["few: IPv4 1 1 0 0"]);
        world.apply(Change::Pool("few".into(), None));
        assert_eq!(names(&world), [""; 0], "it is gone");
    }
}
