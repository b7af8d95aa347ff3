//! Which worker owns a flow: computed, never remembered.
//!
//! `shard = hash mod 256`, and a table maps shards to workers. A SNAT port's low 8 bits are its
//! flow's shard, so that return traffic finds the owner without a look-up.

use std::sync::Arc;

use crate::wire::FlowKey;
use crate::wire::toeplitz::{KEY_LEN, Toeplitz};

/// Number of shards. Fixed: it is part of the state that restarts and nodes exchange.
pub const SHARDS: usize = 256;

/// One 256th of all flows.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Shard(pub u8);

impl Shard {
    /// The shard of a flow by its hash.
    #[inline]
    pub fn of_hash(hash: u64) -> Shard {
        Shard(hash as u8)
    }

    /// The shard of the flow that uses this SNAT port.
    #[inline]
    pub fn of_snat_port(port: u16) -> Shard {
        Shard(port as u8)
    }
}

/// Flow -> shard -> worker; the same for all workers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ShardMap {
    owners: [u8; SHARDS],
    nic: Option<Arc<NicHash>>,
}

/// How a NIC spreads packets over its receive queues: with it, packets arrive at their owner.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NicHash {
    /// The NIC's hash with its key.
    pub toeplitz: Toeplitz,
    /// Ports of TCP are hashed, not the addresses alone.
    pub tcp_ports: bool,
    /// Ports of UDP are hashed.
    pub udp_ports: bool,
}

impl NicHash {
    fn of(&self, key: &FlowKey) -> u32 {
        let with_ports = if key.is_tcp() { self.tcp_ports } else { self.udp_ports };
        if with_ports { self.toeplitz.hash(key) } else { self.toeplitz.hash_addresses(key) }
    }
}

impl ShardMap {
    /// Spreads the shards over `workers` (1 to 256) in turn; a flow's shard is in its keyed hash.
    ///
    /// # Panics
    /// When `workers` is 0 or more than 256: configuration is checked before.
    pub fn even(workers: usize) -> ShardMap {
        assert!((1..=SHARDS).contains(&workers), "{workers} workers, wanted 1 to {SHARDS}");
        ShardMap { owners: std::array::from_fn(|shard| (shard % workers) as u8), nic: None }
    }

    /// As a NIC does it: hash modulo the length of its indirection table gives a place, and that
    /// the queue; queue q is worker q modulo `workers`'s. None when the table cannot be told by the
    /// low 8 bits of the hash alone, or is empty: its length has to divide 256, or the table has to
    /// repeat itself every 256 places.
    pub fn of_nic(nic: NicHash, indirection: &[u32], workers: usize) -> Option<ShardMap> {
        let mut map = ShardMap::even(workers);
        let len = indirection.len();
        let repeats =
            || indirection.iter().zip(indirection.iter().skip(SHARDS)).all(|(a, b)| a == b);
        if len == 0 || !(SHARDS.is_multiple_of(len) || (len.is_multiple_of(SHARDS) && repeats())) {
            return None;
        }
        for (shard, owner) in map.owners.iter_mut().enumerate() {
            *owner = (indirection[shard % len] as usize % workers) as u8;
        }
        map.nic = Some(Arc::new(nic));
        Some(map)
    }

    /// By the client's address and the VIP alone, as a NIC that hashes no ports does it: all flows of a
    /// client to a VIP have one owner. The secret keeps clients from choosing theirs.
    ///
    /// # Panics
    /// As [`ShardMap::even`].
    pub fn by_client(workers: usize, secret: [u8; 32]) -> ShardMap {
        let mut key = [0; KEY_LEN];
        key.iter_mut().zip(secret.iter().cycle()).for_each(|(place, byte)| *place = *byte);
        let toeplitz = Toeplitz::new(&key);
        let nic = NicHash { toeplitz, tcp_ports: false, udp_ports: false };
        ShardMap { nic: Some(Arc::new(nic)), ..ShardMap::even(workers) }
    }

    /// The shard of a client's packet; `hash` is the keyed hash of `key`.
    #[inline]
    pub fn shard_of(&self, key: &FlowKey, hash: u64) -> Shard {
        match &self.nic {
            None => Shard::of_hash(hash),
            Some(nic) => Shard(nic.of(key) as u8),
        }
    }

    /// The shard of a fragmented datagram; `hash` is the keyed hash of what its fragments share. A NIC
    /// has no ports to hash in a fragment, and takes the addresses alone.
    pub fn shard_of_datagram(&self, key: &FlowKey, hash: u64) -> Shard {
        match &self.nic {
            None => Shard::of_hash(hash),
            Some(nic) => Shard(nic.toeplitz.hash_addresses(key) as u8),
        }
    }

    /// How many workers own shards, or could: their numbers are below this.
    pub fn workers(&self) -> usize {
        self.owners.iter().max().map_or(1, |&most| usize::from(most) + 1)
    }

    /// The worker that owns a shard.
    #[inline]
    pub fn owner(&self, shard: Shard) -> u8 {
        self.owners[usize::from(shard.0)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Protocol;

    #[test]
    fn even_to_one_shard() {
        for workers in 1..=SHARDS {
            let map = ShardMap::even(workers);
            let mut owned = vec![0usize; workers];
            (0..SHARDS).for_each(|shard| owned[usize::from(map.owner(Shard(shard as u8)))] += 1);
            assert!(owned.iter().max().unwrap() - owned.iter().min().unwrap() <= 1, "{workers}");
        }
    }

    /// Of "Verifying the RSS Hash Calculation" in Microsoft's driver documentation, as are key and
    /// hashes below.
    const KEY: [u8; 40] = [
        0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3, 0x8f,
        0xb0, 0xd0, 0xca, 0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3, 0x80, 0x30,
        0xf2, 0x0c, 0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa,
    ];

    #[test]
    fn a_packet_arrives_at_its_owner_by_the_nics_own_hash() {
        let nic = NicHash { toeplitz: Toeplitz::new(&KEY), tcp_ports: true, udp_ports: false };
        let socket = |text: &str| text.parse::<std::net::SocketAddr>().unwrap();
        let (source, destination) = (socket("66.9.149.187:2794"), socket("161.142.100.80:1766"));
        // 128 places over 4 queues, not in turn.
        let indirection: Vec<u32> = (0..128).map(|place| place / 3 % 4).collect();
        let map = ShardMap::of_nic(nic, &indirection, 3).unwrap();
        for (protocol, hash) in [(Protocol::Tcp, 0x51cc_c178u32), (Protocol::Udp, 0x323e_8fc2)] {
            let key = FlowKey::new(protocol, source, destination);
            let queue = indirection[hash as usize % 128];
            let shard = map.shard_of(&key, 0);
            assert_eq!(shard, Shard(hash as u8), "{protocol}");
            assert_eq!(u32::from(map.owner(shard)), queue % 3, "{protocol}");
            // In fragments it sees no ports, of whatever protocol.
            assert_eq!(map.shard_of_datagram(&key, 0), Shard(0xc2), "{protocol}");
        }
    }

    #[test]
    fn all_flows_of_a_client_have_one_owner_and_clients_are_spread() {
        for workers in [1usize, 2, 3, 8] {
            let map = ShardMap::by_client(workers, std::array::from_fn(|at| (7 * at as u8) ^ 0x5a));
            let owner = |client: &str, port| {
                let socket = std::net::SocketAddr::new(client.parse().unwrap(), port);
                let vip = if socket.is_ipv4() { "10.1.0.100:80" } else { "[2001:db8::1]:80" };
                let protocol = if port % 2 == 0 { Protocol::Tcp } else { Protocol::Udp };
                let vip: std::net::SocketAddr = vip.parse().unwrap();
                let key = FlowKey::new(protocol, socket, vip);
                map.owner(map.shard_of(&key, u64::from(port) * 0x9e37_79b9))
            };
            let mut owned = vec![0usize; workers];
            for client in 0..2000u16 {
                let [high, low] = client.to_be_bytes();
                for client in [format!("192.0.{high}.{low}"), format!("2001:db8:7::{client:x}")] {
                    let first = owner(&client, 1);
                    assert!((2..20).all(|port| owner(&client, port) == first), "{client}");
                    owned[usize::from(first)] += 1;
                }
            }
            let most = owned.iter().max().unwrap() * workers;
            assert!(most < 4000 * 6 / 5, "{workers}: {owned:?}");
        }
    }

    #[test]
    fn only_tables_that_eight_bits_can_tell() {
        let nic = || NicHash { toeplitz: Toeplitz::new(&KEY), tcp_ports: true, udp_ports: true };
        let rows = [("empty", 0, false), ("one", 1, true), ("mlx", 256, true), ("odd", 96, false)];
        for (description, len, wanted) in rows {
            let indirection: Vec<u32> = (0..len).map(|place| place % 4).collect();
            assert_eq!(ShardMap::of_nic(nic(), &indirection, 2).is_some(), wanted, "{description}");
        }
        let long =
            |odd_one: u32| (0..512).map(|at| if at == 300 { odd_one } else { at % 4 }).collect();
        let (repeating, not): (Vec<u32>, Vec<u32>) = (long(0), long(3));
        assert!(ShardMap::of_nic(nic(), &repeating, 4).is_some());
        assert!(ShardMap::of_nic(nic(), &not, 4).is_none());
    }
}
