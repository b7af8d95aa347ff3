//! Who may use a service, and what its flows' backends are chosen by.

use std::sync::Arc;

use super::PrefixSet;
use crate::wire::{Address, FlowKey};

/// What of a packet chooses its backend.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HashBy {
    /// Addresses, ports and protocol: each connection by itself.
    #[default]
    FiveTuple,
    /// The client's address: all connections of a client, to all ports, to one backend.
    Client,
    /// The client's address and the destination port.
    ClientAndPort,
    /// The destination port.
    DestinationPort,
}

impl HashBy {
    /// The key with all that does not choose taken out.
    #[inline]
    pub fn of(self, key: &FlowKey) -> FlowKey {
        let by_client = FlowKey { source_port: 0, ..*key };
        match self {
            HashBy::FiveTuple => *key,
            HashBy::Client => FlowKey { destination_port: 0, protocol: 0, ..by_client },
            HashBy::ClientAndPort => by_client,
            HashBy::DestinationPort => FlowKey {
                // Of the family of the destination, so that the key is one.
                source: if key.destination.is_v4() { Address::v4(0) } else { Address::UNSPECIFIED },
                ..by_client
            },
        }
    }
}

/// What holds for the new flows of a service.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FlowRules {
    /// What chooses the backend.
    pub hash: HashBy,
    /// Flows have entries. Without, Maglev alone chooses for each packet (direct return only).
    pub entries: bool,
    /// A client's new flows go where its last ones went, until it has had none for so long; 0: no
    /// affinity.
    pub affinity_ms: u32,
    /// Most flows of the service, all workers together; each has its share. 0: no limit.
    pub max_flows: u32,
    /// Clients that may begin flows; none: all.
    pub allow: Option<Arc<PrefixSet>>,
}

impl Default for FlowRules {
    /// As a configuration that says nothing of it.
    fn default() -> FlowRules {
        FlowRules {
            hash: HashBy::FiveTuple,
            entries: true,
            affinity_ms: 0,
            max_flows: 0,
            allow: None,
        }
    }
}

impl FlowRules {
    /// May this client begin a flow?
    #[inline]
    pub fn allows(&self, client: Address) -> bool {
        self.allow.as_ref().is_none_or(|allowed| allowed.contains(client))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Protocol;
    use std::net::SocketAddr;

    #[test]
    fn only_what_chooses_is_left() {
        let key = |client: &str, vip: &str, protocol| {
            let socket = |text: &str| text.parse::<SocketAddr>().unwrap();
            FlowKey::new(protocol, socket(client), socket(vip))
        };
        let base = key("192.0.2.1:1000", "10.1.0.100:80", Protocol::Tcp);
        let others = [
            key("192.0.2.1:1001", "10.1.0.100:80", Protocol::Tcp),
            key("192.0.2.1:1000", "10.1.0.100:81", Protocol::Tcp),
            key("192.0.2.1:1000", "10.1.0.100:80", Protocol::Udp),
            key("192.0.2.2:1000", "10.1.0.100:80", Protocol::Tcp),
        ];
        // Which of the others are the same to it: another client port, VIP port, protocol, client.
        let rows = [
            (HashBy::FiveTuple, [false, false, false, false]),
            (HashBy::Client, [true, true, true, false]),
            (HashBy::ClientAndPort, [true, false, false, false]),
            (HashBy::DestinationPort, [true, false, false, true]),
        ];
        for (hash, wanted) in rows {
            let same = others.map(|other| hash.of(&other) == hash.of(&base));
            assert_eq!(same, wanted, "{hash:?}");
        }
    }
}
