//! Where packets of a service go, and what that means for its status: by the service's own annotations,
//! else by the pool of its address.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::objects::{ServicePort, Transport, Wishes};
use super::pool::Pool;
use crate::forwarding::Mode;
use crate::wire::Protocol;

/// Where packets go.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum Target {
    /// Straight to pods.
    #[default]
    Pods,
    /// Unchanged to nodes, where kube-proxy sends them on.
    Nodes,
    /// To node ports, where nothing else of a cluster can be reached.
    NodePorts,
}

impl Target {
    /// Their words.
    pub const WORDS: [(&'static str, Target); 3] =
        [("pods", Target::Pods), ("nodes", Target::Nodes), ("nodePorts", Target::NodePorts)];

    /// As annotations and pools write it.
    ///
    /// # Errors
    /// It is none of them.
    pub fn parse(word: &str) -> Result<Target, String> {
        let found = Target::WORDS.into_iter().find(|(name, _)| *name == word);
        found
            .map(|(_, target)| target)
            .ok_or_else(|| format!("`{word}` is not `pods`, `nodes` or `nodePorts`"))
    }

    /// As annotations and pools write it.
    pub fn word(self) -> &'static str {
        let found = Target::WORDS.into_iter().find(|(_, target)| *target == self);
        found.map_or("", |(word, _)| word)
    }
}

/// Whose address backends see.
///
/// # Errors
/// It is none of the two words.
pub fn keeps_source(word: &str) -> Result<bool, String> {
    match word {
        "snat" => Ok(false),
        "keep" => Ok(true),
        _ => Err(format!("`{word}` is not `snat` or `keep`")),
    }
}

/// `ipMode` of an address in a status.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum IpMode {
    /// Nodes know the address, and send to pods what arrives for it.
    Vip,
    /// Only the balancer knows it: packets from pods go there, too.
    Proxy,
}

impl IpMode {
    /// As the API writes it.
    pub fn word(self) -> &'static str {
        match self {
            IpMode::Vip => "VIP",
            IpMode::Proxy => "Proxy",
        }
    }

    /// As the API writes it, which is `VIP` where nothing is said.
    pub fn of(word: Option<&str>) -> Option<IpMode> {
        match word {
            None | Some("VIP") => Some(IpMode::Vip),
            Some("Proxy") => Some(IpMode::Proxy),
            Some(_) => None,
        }
    }
}

/// How packets of one service go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Way {
    /// Where to.
    pub target: Target,
    /// With the client's address, which the backends have to answer by way of us.
    pub keep_source: bool,
    /// What pods are told of the address.
    pub ip_mode: IpMode,
}

impl Way {
    /// By what a service asks for, else by the pool of its address.
    pub fn of(wishes: &Wishes, pool: Option<&Pool>) -> Way {
        let target = wishes.target.or(pool.map(|pool| pool.target)).unwrap_or_default();
        let keep_source =
            wishes.keep_source.or(pool.map(|pool| pool.keep_source)).unwrap_or_default();
        let ip_mode = match target {
            // kube-proxy would write no rule for the address otherwise.
            Target::Nodes => IpMode::Vip,
            // A pod that calls the address would be answered by another pod, and not by way of us.
            _ if keep_source => wishes.ip_mode.unwrap_or(IpMode::Vip),
            Target::Pods | Target::NodePorts => wishes.ip_mode.unwrap_or(IpMode::Proxy),
        };
        Way { target, keep_source, ip_mode }
    }

    /// Backends see our address in place of the client's.
    pub fn hides_clients(self) -> bool {
        self.mode() == Mode::Nat
    }

    /// How the engine does it.
    pub fn mode(self) -> Mode {
        match (self.target, self.keep_source) {
            (Target::Nodes, _) => Mode::L2dsr,
            (Target::Pods | Target::NodePorts, true) => Mode::Dnat,
            (Target::Pods | Target::NodePorts, false) => Mode::Nat,
        }
    }

    /// A port as packets have it.
    ///
    /// # Errors
    /// Why it cannot be served: reason and message.
    pub fn protocol(self, port: &ServicePort) -> Result<Protocol, (&'static str, Arc<str>)> {
        if self.target == Target::NodePorts && port.node_port.is_none() {
            let message = format!(
                "{} {} has no node port: set `allocateLoadBalancerNodePorts: true`, or another \
                 `guideway.dev/target`",
                port.transport.word(),
                port.port
            );
            return Err(("NoNodePort", message.into()));
        }
        match port.transport {
            Transport::Tcp => Ok(Protocol::Tcp),
            Transport::Udp => Ok(Protocol::Udp),
            Transport::Sctp if self.target == Target::Nodes => Ok(Protocol::Sctp),
            Transport::Sctp => {
                let message = format!(
                    "sctp {} is not balanced: SCTP is with `guideway.dev/target: nodes` only",
                    port.port
                );
                Err(("ProtocolNotSupported", message.into()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_service_s_word_before_its_pool_s() {
        let pool = |target, keep_source| Pool { target, keep_source, ..Pool::new("p", vec![]) };
        let nodes = pool(Target::Nodes, false);
        let kept = pool(Target::Pods, true);
        let ports = pool(Target::NodePorts, false);
        let asks = |target, keep_source, ip_mode| Wishes {
            target,
            keep_source,
            ip_mode,
            ..Wishes::default()
        };
        let nothing = asks(None, None, None);
        let vip = asks(None, None, Some(IpMode::Vip));
        let proxy = asks(Some(Target::Nodes), None, Some(IpMode::Proxy));
        let calls_us = asks(None, None, Some(IpMode::Proxy));
        let pods = asks(Some(Target::Pods), Some(false), None);
        let rows = [
            (&nothing, None, "pods nat Proxy"),
            (&nothing, Some(&nodes), "nodes l2dsr VIP"),
            (&nothing, Some(&kept), "pods dnat VIP"),
            (&nothing, Some(&ports), "nodePorts nat Proxy"),
            (&vip, None, "pods nat VIP"),
            (&proxy, None, "nodes l2dsr VIP"),
            (&calls_us, Some(&kept), "pods dnat Proxy"),
            (&pods, Some(&nodes), "pods nat Proxy"),
            (&pods, Some(&kept), "pods nat Proxy"),
        ];
        for (wishes, pool, wanted) in rows {
            let way = Way::of(wishes, pool);
            let told = format!("{} {} {}", way.target.word(), way.mode(), way.ip_mode.word());
            assert_eq!(told, wanted, "{wishes:?} {pool:?}");
        }
    }

    #[test]
    fn which_ports_can_be_served() {
        let rows = [
            (Target::Pods, Transport::Udp, None, "udp"),
            (Target::Pods, Transport::Sctp, None, "ProtocolNotSupported"),
            (Target::Nodes, Transport::Sctp, None, "sctp"),
            (Target::NodePorts, Transport::Tcp, Some(30_000), "tcp"),
            (Target::NodePorts, Transport::Tcp, None, "NoNodePort"),
            (Target::NodePorts, Transport::Sctp, Some(30_000), "ProtocolNotSupported"),
        ];
        for (target, transport, node_port, wanted) in rows {
            let way = Way { target, keep_source: false, ip_mode: IpMode::Proxy };
            let port = ServicePort { name: "".into(), transport, port: 80, node_port };
            let told = match way.protocol(&port) {
                Ok(protocol) => protocol.to_string(),
                Err((reason, _)) => reason.to_string(),
            };
            assert_eq!(told, wanted, "{target:?} {transport:?} {node_port:?}");
        }
    }

    #[test]
    fn words_are_read_as_they_are_written() {
        for (word, target) in Target::WORDS {
            assert_eq!((Target::parse(word), target.word()), (Ok(target), word));
        }
        assert!(Target::parse("node").is_err() && keeps_source("mine").is_err());
    }
}
