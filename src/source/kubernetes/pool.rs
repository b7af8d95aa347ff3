//! Pools of addresses, and which address of them a service gets. Pure.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use super::objects::{IpFamily, Key, Range, Service};
use super::way::{Target, keeps_source};
use crate::control::AddressPoolSpec;

/// Rest of an address after it was given back: who talked to the last service may still send.
pub const REUSE_AFTER_MS: u64 = 60_000;

/// Addresses from .. to, of one family.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Block {
    first: u128,
    last: u128,
    family: IpFamily,
}

/// Addresses that services may get.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pool {
    /// Its name.
    pub name: Arc<str>,
    /// What is in it.
    pub blocks: Vec<Block>,
    /// Services that ask for nothing get addresses of it.
    pub auto_assign: bool,
    /// Of several pools the one with the smallest number comes first.
    pub priority: u32,
    /// Addresses that end in .0 and .255 are left out: some old devices do not take them.
    pub skip_ends: bool,
    /// Only for services of these namespaces; empty: of all.
    pub namespaces: Vec<Arc<str>>,
    /// Only for services with all of these labels.
    pub labels: Vec<(Arc<str>, Arc<str>)>,
    /// Rest of an address after it was given back, in milliseconds.
    pub reuse_after_ms: u64,
    /// Services of several namespaces may share an address.
    pub share_across_namespaces: bool,
    /// Where packets of its services go, if they say nothing else.
    pub target: Target,
    /// With the client's address, if they say nothing else.
    pub keep_source: bool,
}

/// Why a service gets no address.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum NoAddress {
    /// There is no pool at all.
    NoPool,
    /// The pool that it asks for is not there.
    UnknownPool(Arc<str>),
    /// The pool that it asks for, or that has its address, is not for it.
    NotForIt(Arc<str>),
    /// No pool that it may use has addresses of this family.
    NoneOf(IpFamily),
    /// All of them are in use.
    Exhausted(IpFamily, Vec<Arc<str>>),
    /// The address that it asks for is in no pool.
    InNoPool(IpAddr),
    /// The address that it asks for is somebody else's, or rests.
    Taken(IpAddr, String),
}

impl NoAddress {
    /// One word for it, as events have.
    pub fn reason(&self) -> &'static str {
        match self {
            NoAddress::NoPool | NoAddress::NoneOf(_) => "NoAddressPool",
            NoAddress::UnknownPool(_) => "UnknownAddressPool",
            NoAddress::NotForIt(_) => "AddressPoolNotAllowed",
            NoAddress::Exhausted(..) => "AddressPoolExhausted",
            NoAddress::InNoPool(_) => "AddressNotInPool",
            NoAddress::Taken(..) => "AddressInUse",
        }
    }
}

impl fmt::Display for NoAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NoAddress::NoPool => f.write_str(
                "there is no address pool: make an AddressPool, or `kubernetes[].pools` in \
                 Guideway's configuration",
            ),
            NoAddress::UnknownPool(name) => {
                write!(f, "there is no pool `{name}`: `kubectl get addresspools` lists them")
            }
            NoAddress::NotForIt(name) => write!(
                f,
                "pool `{name}` is not for this service: its `namespaces` or `serviceLabels` say \
                 for which"
            ),
            NoAddress::NoneOf(family) => write!(
                f,
                "no pool that this service may use has {family} addresses: add some, or ask for \
                 the other family by `ipFamilies`"
            ),
            NoAddress::Exhausted(family, pools) => write!(
                f,
                "all {family} addresses of {} are in use: add addresses, or delete a service",
                pools.join(", ")
            ),
            NoAddress::InNoPool(address) => {
                write!(f, "{address} is in no pool: add it to one, or ask for another address")
            }
            NoAddress::Taken(address, by) => {
                write!(f, "{address} is {by}: ask for another address, or share it")
            }
        }
    }
}

impl Block {
    /// `203.0.113.0/24`, `203.0.113.10-203.0.113.20`, or one address.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Block, String> {
        let wrong = || format!("`{text}` is no network, range or address");
        let address = |text: &str| text.trim().parse::<IpAddr>().map_err(|_| wrong());
        let (first, last) = if let Some((network, len)) = text.split_once('/') {
            let (network, len) =
                (address(network)?, len.trim().parse::<u8>().map_err(|_| wrong())?);
            let range = Range { network, prefix_len: len };
            range.ends().ok_or_else(|| format!("`{text}` has a longer prefix than its address"))?
        } else if let Some((first, last)) = text.split_once('-') {
            (address(first)?, address(last)?)
        } else {
            (address(text)?, address(text)?)
        };
        let family = IpFamily::of(first);
        if family != IpFamily::of(last) {
            return Err(format!("`{text}` begins in one family and ends in the other"));
        }
        let (first, last) = (bits(first), bits(last));
        if first > last {
            return Err(format!("`{text}` ends before it begins"));
        }
        Ok(Block { first, last, family })
    }

    /// Each of these.
    ///
    /// # Errors
    /// What is wrong with the first that is.
    pub fn parse_all(texts: &[String]) -> Result<Vec<Block>, String> {
        texts.iter().map(|text| Block::parse(text)).collect()
    }

    /// Is it one of ours?
    pub fn has(&self, address: IpAddr) -> bool {
        IpFamily::of(address) == self.family && (self.first..=self.last).contains(&bits(address))
    }

    /// How many there are; a number without end is cut.
    pub fn size(&self) -> u64 {
        u64::try_from(self.last - self.first).map_or(u64::MAX, |more| more.saturating_add(1))
    }

    /// How many of them end in .0 or .255.
    fn ends_skipped(&self) -> u64 {
        if self.family == IpFamily::V6 {
            return 0;
        }
        // Below an address: one of each kind for each 256, and those of the last ones begun.
        let below = |end: u128| end.div_ceil(256) + end / 256;
        u64::try_from(below(self.last + 1) - below(self.first)).unwrap_or(u64::MAX)
    }

    fn addresses(&self) -> impl Iterator<Item = IpAddr> + use<> {
        let family = self.family;
        (self.first..=self.last).map(move |bits| of_bits(bits, family))
    }
}

impl Range {
    /// The first and the last address; none: the prefix is longer than an address.
    pub fn ends(self) -> Option<(IpAddr, IpAddr)> {
        let family = IpFamily::of(self.network);
        let width: u32 = if family == IpFamily::V4 { 32 } else { 128 };
        let rest = width.checked_sub(u32::from(self.prefix_len))?;
        let mask = 1u128.checked_shl(rest).map_or(u128::MAX, |bit| bit - 1);
        let bits = bits(self.network);
        Some((of_bits(bits & !mask, family), of_bits(bits | mask, family)))
    }
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_bits().into(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

fn of_bits(bits: u128, family: IpFamily) -> IpAddr {
    match family {
        IpFamily::V4 => Ipv4Addr::from_bits(bits as u32).into(),
        IpFamily::V6 => Ipv6Addr::from_bits(bits).into(),
    }
}

impl Pool {
    /// A pool for everybody.
    pub fn new(name: &str, blocks: Vec<Block>) -> Pool {
        Pool {
            name: name.into(),
            blocks,
            auto_assign: true,
            priority: 100,
            skip_ends: false,
            namespaces: vec![],
            labels: vec![],
            reuse_after_ms: REUSE_AFTER_MS,
            share_across_namespaces: false,
            target: Target::Pods,
            keep_source: false,
        }
    }

    /// Of a configuration.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn of(spec: &AddressPoolSpec) -> Result<Pool, String> {
        let blocks = Block::parse_all(&spec.addresses)?;
        Ok(Pool {
            auto_assign: spec.auto_assign,
            priority: spec.priority,
            skip_ends: spec.skip_ends,
            namespaces: spec.namespaces.iter().map(|name| Arc::from(name.as_str())).collect(),
            reuse_after_ms: spec.reuse_after_ms.into(),
            share_across_namespaces: spec.share_across_namespaces,
            target: Target::parse(&spec.target)?,
            keep_source: keeps_source(&spec.source)?,
            ..Pool::new(&spec.name, blocks)
        })
    }

    /// Is it in this pool?
    pub fn has(&self, address: IpAddr) -> bool {
        self.blocks.iter().any(|block| block.has(address)) && !self.skips(address)
    }

    /// How many addresses of a family may be given out, each counted once; a number without end is cut.
    pub fn size(&self, family: IpFamily) -> u64 {
        let blocks = self.blocks.iter().filter(|block| block.family == family);
        let mut ends: Vec<(u128, u128)> = blocks.map(|block| (block.first, block.last)).collect();
        ends.sort_unstable();
        let (mut sum, mut behind) = (0u64, None::<u128>);
        for (first, last) in ends {
            let first = behind.map_or(first, |behind| first.max(behind));
            if behind.is_none_or(|behind| behind <= last) && first <= last {
                let block = Block { first, last, family };
                let skipped = if self.skip_ends { block.ends_skipped() } else { 0 };
                sum = sum.saturating_add(block.size() - skipped);
                // Behind the last of all addresses there is none.
                behind = Some(last.saturating_add(1));
            }
        }
        sum
    }

    /// May this service have addresses of it?
    pub fn admits(&self, key: &Key, service: &Service) -> bool {
        let in_namespace = self.namespaces.is_empty() || self.namespaces.contains(&key.namespace);
        in_namespace && self.labels.iter().all(|label| service.labels.contains(label))
    }

    fn skips(&self, address: IpAddr) -> bool {
        let IpAddr::V4(address) = address else { return false };
        self.skip_ends && matches!(address.octets()[3], 0 | 255)
    }

    fn has_family(&self, family: IpFamily) -> bool {
        self.blocks.iter().any(|block| block.family == family)
    }

    /// The lowest address that is free.
    fn free(&self, family: IpFamily, taken: &dyn Fn(IpAddr) -> Option<String>) -> Option<IpAddr> {
        let blocks = self.blocks.iter().filter(|block| block.family == family);
        let mut addresses = blocks.flat_map(Block::addresses);
        addresses.find(|&address| !self.skips(address) && taken(address).is_none())
    }
}

/// An address of this family for a service. `taken` says who has one, and that it rests.
///
/// # Errors
/// Why it gets none.
pub fn choose(
    pools: &[Pool],
    (key, service): (&Key, &Service),
    family: IpFamily,
    taken: &dyn Fn(IpAddr) -> Option<String>,
) -> Result<(IpAddr, Arc<str>), NoAddress> {
    if pools.is_empty() {
        return Err(NoAddress::NoPool);
    }
    let wishes = &service.wishes;
    let of_family = |address: &&IpAddr| IpFamily::of(**address) == family;
    if let Some(address) = wishes.address(family) {
        return this_one(pools, (key, service), address, taken);
    }
    // One that stands in its status already is kept, whoever wrote it.
    for &address in service.status.iter().filter(|address| of_family(address)) {
        if let Ok(kept) = this_one(pools, (key, service), address, taken) {
            return Ok(kept);
        }
    }
    let mut usable: Vec<&Pool> = match &wishes.pool {
        Some(name) => {
            let named = pools.iter().find(|pool| pool.name == *name);
            let named = named.ok_or_else(|| NoAddress::UnknownPool(name.clone()))?;
            if !named.admits(key, service) {
                return Err(NoAddress::NotForIt(name.clone()));
            }
            vec![named]
        }
        None => pools.iter().filter(|pool| pool.auto_assign && pool.admits(key, service)).collect(),
    };
    usable.retain(|pool| pool.has_family(family));
    usable.sort_by_key(|pool| (pool.priority, pool.name.clone()));
    if usable.is_empty() {
        return Err(NoAddress::NoneOf(family));
    }
    let free = |pool: &&Pool| Some((pool.free(family, taken)?, pool.name.clone()));
    let names = || usable.iter().map(|pool| pool.name.clone()).collect();
    usable.iter().find_map(free).ok_or_else(|| NoAddress::Exhausted(family, names()))
}

fn this_one(
    pools: &[Pool],
    (key, service): (&Key, &Service),
    address: IpAddr,
    taken: &dyn Fn(IpAddr) -> Option<String>,
) -> Result<(IpAddr, Arc<str>), NoAddress> {
    let wanted = service.wishes.pool.as_ref();
    let has = |pool: &&Pool| pool.has(address) && wanted.is_none_or(|name| *name == pool.name);
    let mut pools = pools.iter().filter(has).peekable();
    let Some(first) = pools.peek() else { return Err(NoAddress::InNoPool(address)) };
    let not_for_it = NoAddress::NotForIt(first.name.clone());
    let pool = pools.find(|pool| pool.admits(key, service)).ok_or(not_for_it)?;
    match taken(address) {
        Some(by) => Err(NoAddress::Taken(address, by)),
        None => Ok((address, pool.name.clone())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(name: &str, blocks: &[&str]) -> Pool {
        Pool::new(name, blocks.iter().map(|block| Block::parse(block).unwrap()).collect())
    }

    #[test]
    fn blocks_as_people_write_them() {
        let rows = [
            ("203.0.113.0/30", Ok((4, "203.0.113.0", "203.0.113.3"))),
            ("203.0.113.7/30", Ok((4, "203.0.113.4", "203.0.113.7"))),
            ("203.0.113.10-203.0.113.12", Ok((3, "203.0.113.10", "203.0.113.12"))),
            ("203.0.113.10 - 203.0.113.12", Ok((3, "203.0.113.10", "203.0.113.12"))),
            ("203.0.113.9", Ok((1, "203.0.113.9", "203.0.113.9"))),
            ("0.0.0.0/0", Ok((1 << 32, "0.0.0.0", "255.255.255.255"))),
            ("2001:db8::/126", Ok((4, "2001:db8::", "2001:db8::3"))),
            ("::/0", Ok((u64::MAX, "::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"))),
            ("2001:db8::1-2001:db8::f", Ok((15, "2001:db8::1", "2001:db8::f"))),
            ("203.0.113.0/33", Err("longer prefix")),
            ("2001:db8::/129", Err("longer prefix")),
            ("203.0.113.12-203.0.113.10", Err("ends before it begins")),
            ("203.0.113.12-2001:db8::1", Err("begins in one family")),
            ("web", Err("no network, range or address")),
            ("203.0.113.0/", Err("no network, range or address")),
            ("", Err("no network, range or address")),
        ];
        for (text, wanted) in rows {
            match (Block::parse(text), wanted) {
                (Ok(block), Ok((size, first, last))) => {
                    assert_eq!(block.size(), size, "{text}");
                    for end in [first, last] {
                        assert!(block.has(end.parse().unwrap()), "{text} has {end}");
                    }
                    assert_eq!(block.addresses().next().unwrap().to_string(), first, "{text}");
                }
                (Err(error), Err(part)) => assert!(error.contains(part), "{text}: {error}"),
                (found, _) => panic!("{text}: {found:?}"),
            }
        }
    }

    /// What is changed of a service `shop/web` that asks for nothing, and what it gets beside two pools
    /// `a` (203.0.113.0-2, of which 0 and 1 are taken, and 2001:db8::1) and `b` (198.51.100.7), first
    /// `b` by priority but not by itself, and `c`, which is for namespace `vip` alone.
    #[test]
    fn who_gets_which() {
        let mut b = pool("b", &["198.51.100.7"]);
        (b.auto_assign, b.priority) = (false, 1);
        let mut c = pool("c", &["192.0.2.0/24"]);
        (c.namespaces, c.priority) = (vec!["vip".into()], 2);
        let mut d = pool("d", &["192.0.2.0/31"]);
        (d.labels, d.priority) = (vec![("tier".into(), "gold".into())], 3);
        let mut e = pool("e", &["198.18.0.255-198.18.1.1"]);
        (e.auto_assign, e.skip_ends) = (false, true);
        let pools = [pool("a", &["203.0.113.0-203.0.113.2", "2001:db8::1"]), b, c, d, e];
        let taken = |address: IpAddr| {
            let taken = ["203.0.113.0", "203.0.113.1"].contains(&address.to_string().as_str());
            taken.then(|| "that of shop/old".to_string())
        };
        type Change = fn(&mut Service);
        fn wish(service: &mut Service, address: &str) {
            service.wishes.addresses = vec![address.parse().unwrap()];
        }
        fn from(service: &mut Service, pool: &str) {
            service.wishes.pool = Some(pool.into());
        }
        let rows: &[(&str, Change, IpFamily, Result<&str, &str>)] = &[
            ("the lowest that is free", |_| {}, IpFamily::V4, Ok("203.0.113.2 of a")),
            ("the other family", |_| {}, IpFamily::V6, Ok("2001:db8::1 of a")),
            ("a pool by name", |s| from(s, "b"), IpFamily::V4, Ok("198.51.100.7 of b")),
            ("one without this family", |s| from(s, "b"), IpFamily::V6, Err("has IPv6 addresses")),
            ("an unknown pool", |s| from(s, "x"), IpFamily::V4, Err("there is no pool `x`")),
            ("a pool of others", |s| from(s, "c"), IpFamily::V4, Err("pool `c` is not for this")),
            ("without .0 and .255", |s| from(s, "e"), IpFamily::V4, Ok("198.18.1.1 of e")),
            (
                "by a label",
                |s| s.labels = vec![("tier".into(), "gold".into())],
                IpFamily::V4,
                Ok("192.0.2.0 of d"),
            ),
            ("an address", |s| wish(s, "198.51.100.7"), IpFamily::V4, Ok("198.51.100.7 of b")),
            (
                "of the other family",
                |s| wish(s, "2001:db8::1"),
                IpFamily::V4,
                Ok("203.0.113.2 of a"),
            ),
            ("in no pool", |s| wish(s, "10.0.0.1"), IpFamily::V4, Err("10.0.0.1 is in no pool")),
            ("one of others", |s| wish(s, "192.0.2.9"), IpFamily::V4, Err("pool `c` is not for")),
            (
                "one that is taken",
                |s| wish(s, "203.0.113.1"),
                IpFamily::V4,
                Err("203.0.113.1 is that of shop/old"),
            ),
            (
                "what stands in its status",
                |s| s.status = vec!["198.51.100.7".parse().unwrap()],
                IpFamily::V4,
                Ok("198.51.100.7 of b"),
            ),
            (
                "what stands in its status and is somebody else's",
                |s| s.status = vec!["203.0.113.0".parse().unwrap()],
                IpFamily::V4,
                Ok("203.0.113.2 of a"),
            ),
        ];
        let key = Key::new("shop", "web");
        for (description, change, family, wanted) in rows {
            let mut service = Service::default();
            change(&mut service);
            let found = choose(&pools, (&key, &service), *family, &taken);
            match (found, wanted) {
                (Ok((address, pool)), Ok(wanted)) => {
                    assert_eq!(format!("{address} of {pool}"), *wanted, "{description}");
                }
                (Err(why), Err(part)) => {
                    assert!(why.to_string().contains(part), "{description}: {why}");
                }
                (found, _) => panic!("{description}: {found:?}"),
            }
        }
        let service = Service::default();
        let all = |_: IpAddr| Some("taken".to_string());
        let why = choose(&pools[..1], (&key, &service), IpFamily::V4, &all).unwrap_err();
        assert_eq!(why.reason(), "AddressPoolExhausted");
        let why = choose(&[], (&key, &service), IpFamily::V4, &all).unwrap_err();
        assert_eq!(why.reason(), "NoAddressPool");
    }
}
