//! What becomes of a frame. Every frame gets exactly one verdict, every drop one reason.

use crate::wire::PortId;

/// The end of a frame's way through the engine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Rewritten in place; leaves by this port.
    Forward(PortId),
    /// Turned into an answer to its sender in place; leaves by this port.
    Reply(PortId, ReplyKind),
    /// Not sent on, for this reason.
    Drop(DropReason),
    /// Not for a VIP or SNAT address: the XDP program should have left it to the kernel.
    NotOurs,
}

macro_rules! named_reasons {
    ($(#[$meta:meta])* $name:ident { $($(#[doc = $doc:literal])* $variant:ident => $text:literal,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
        #[repr(u8)]
        pub enum $name { $($(#[doc = $doc])* $variant,)* }

        impl $name {
            /// All of them, in order.
            pub const ALL: &'static [$name] = &[$($name::$variant,)*];
            /// How many there are.
            pub const COUNT: usize = Self::ALL.len();

            /// The name it has in counters, status and documentation.
            pub fn name(self) -> &'static str {
                match self { $($name::$variant => $text,)* }
            }

            /// What it means, as its documentation says.
            pub fn meaning(self) -> &'static str {
                match self { $($name::$variant => concat!($($doc, "\n",)*).trim_ascii(),)* }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.name())
            }
        }
    };
}

named_reasons! {
    /// Kinds of answers made in the data path.
    ReplyKind {
        /// ARP reply for a VIP or SNAT address (RFC 826).
        Arp => "arp",
        /// Neighbour advertisement for a VIP or SNAT address (RFC 4861).
        NeighbourAdvertisement => "neighbour_advertisement",
        /// ICMP or ICMPv6 echo reply from a VIP (RFC 792, RFC 4443).
        EchoReply => "icmp_echo",
        /// TCP reset (RFC 9293 section 3.10.7).
        Reset => "tcp_reset",
        /// SCTP abort (RFC 9260 section 8.4).
        Abort => "sctp_abort",
        /// ICMP or ICMPv6 port unreachable (RFC 792, RFC 4443).
        PortUnreachable => "icmp_port_unreachable",
        /// Fragmentation needed (RFC 1191) or packet too big (RFC 8201): the packet is longer than the
        /// MTU of the port it would leave by.
        TooBig => "icmp_too_big",
        /// ICMP or ICMPv6 time exceeded: the time to live or hop limit ran out here.
        TimeExceeded => "icmp_time_exceeded",
    }
}

named_reasons! {
    /// Why a frame is dropped.
    DropReason {
        /// The frame ends before a header it announces, or lengths disagree.
        Malformed => "malformed",
        /// The IPv4 header checksum is wrong.
        BadIpv4Checksum => "bad_ipv4_checksum",
        /// A source route: an IPv4 option, or an IPv6 routing header with segments left.
        SourceRouted => "source_routed",
        /// More IPv6 extension headers than are walked over (8).
        TooManyExtensionHeaders => "too_many_extension_headers",
        /// A fragment to an address that is shared with the machine, of a DNAT backend's answer, or of
        /// another protocol than TCP, UDP and SCTP.
        Fragment => "fragment",
        /// A first fragment without the whole transport header, an empty one, or one that is not the
        /// last and not a multiple of 8 bytes long. With it all others of its packet.
        FragmentTiny => "fragment_tiny",
        /// A fragment that overlaps another one: all fragments of such a packet are dropped.
        FragmentOverlap => "fragment_overlap",
        /// A fragment that reaches beyond 65,535 bytes or beyond the last one, or is the 65th of its
        /// packet. With it all others of its packet.
        FragmentEndless => "fragment_endless",
        /// The same fragment once more; the packet goes on.
        FragmentRepeated => "fragment_repeated",
        /// A fragment that waited for its packet's first one and was forgotten for a newer packet, or
        /// no packet in fragments may be kept at all.
        FragmentTableFull => "fragment_table_full",
        /// A fragment that came before its packet's first one, and there was no room to hold it. With
        /// it all others of its packet.
        FragmentHoldFull => "fragment_hold_full",
        /// A fragment that waited for its packet's first one, which did not come in time.
        FragmentTimeout => "fragment_timeout",
        /// A fragment of a packet that no flow takes: its first fragment was refused, or the flow has
        /// ended since.
        FragmentNoFlow => "fragment_no_flow",
        /// No free frame to send a fragment from that was held.
        FragmentNoFrame => "fragment_no_frame",
        /// Source or destination address that no honest sender uses: multicast, broadcast, loopback,
        /// zero, IPv4-mapped in IPv6, a VIP's own, or the same on both sides.
        BadAddress => "bad_address",
        /// To an address of ours, but to a protocol that is not balanced.
        UnknownProtocol => "unknown_protocol",
        /// To a VIP, but no service has that protocol and port.
        NoService => "no_service",
        /// The service has no usable backend and its policy is to drop.
        NoBackend => "no_backend",
        /// The flow's backend is gone (dead, or its drain time is over), and the policy is to drop.
        BackendGone => "backend_gone",
        /// The flow's service was removed and its policy is to drop.
        ServiceGone => "service_gone",
        /// The client is in none of the service's `allow` networks.
        ClientNotAllowed => "client_not_allowed",
        /// There is no route or no MAC to the next hop.
        NoNextHop => "no_next_hop",
        /// The time to live or hop limit ran out, and its sender may not be told.
        TtlExceeded => "ttl_exceeded",
        /// Longer than the MTU of the port it would leave by, and its sender cannot be told: IPv4 that
        /// may be fragmented on the way (we do not), or not to be answered.
        ExceedsMtu => "exceeds_mtu",
        /// The chunk has no room for the link header that it needs (more VLAN tags than it came
        /// with).
        NoHeadroom => "no_headroom",
        /// The flow table is full and the mode (NAT) needs an entry.
        FlowTableFull => "flow_table_full",
        /// The service has `max_flows` flows, and its policy (`no_backend`) is to drop.
        ServiceFull => "service_full",
        /// No SNAT port is left towards the backend.
        SnatPortsExhausted => "snat_ports_exhausted",
        /// No block of SNAT ports is left: too many pairs of a backend and a SNAT address.
        SnatBlocksExhausted => "snat_blocks_exhausted",
        /// The service is NAT and no SNAT address can be used towards the backend.
        NoSnatAddress => "no_snat_address",
        /// The tunnel has no source address of the backend's family (`tunnel_sources`).
        NoTunnelSource => "no_tunnel_source",
        /// From a backend of a DNAT service, but of no flow that is known.
        NoDnatFlow => "no_dnat_flow",
        /// To a SNAT address and port, but no flow uses it.
        NoSnatBinding => "no_snat_binding",
        /// A TCP segment of no known flow that does not open one (no SYN), of a NAT service.
        NotOpening => "not_opening",
        /// The owner's hand-over ring is full.
        HandOverFull => "hand_over_full",
        /// No free frame to take a handed-over packet into.
        HandOverNoFrame => "hand_over_no_frame",
        /// An ICMP message that is neither an echo request nor an error.
        IcmpNotHandled => "icmp_not_handled",
        /// An ICMP error whose checksum is wrong.
        BadIcmpChecksum => "bad_icmp_checksum",
        /// An ICMP error that quotes too little, or no packet that we could have sent on.
        BadQuote => "bad_quote",
        /// An ICMP error about a flow that is not known.
        NoFlowForError => "no_flow_for_error",
        /// An ICMP error about a tunnel's packet that the client is not told of: no path MTU, or too
        /// little quoted. A path MTU that it tells is taken over.
        TunnelError => "tunnel_error",
        /// An ARP message for an address of ours that is not a request.
        ArpNotRequest => "arp_not_request",
        /// An answer would exceed the limit of answers a second.
        ReplyRateLimited => "reply_rate_limited",
        /// A reset is not answered with a reset.
        ResetNotAnswered => "reset_not_answered",
        /// An answer does not fit into the frame's memory.
        ReplyNotMade => "reply_not_made",
        /// The worker was restarted while it had the frame in hand.
        WorkerRestarted => "worker_restarted",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_are_distinct_and_documented() {
        let names: BTreeSet<_> = DropReason::ALL.iter().map(|reason| reason.name()).collect();
        assert_eq!(names.len(), DropReason::COUNT);
        assert!(DropReason::ALL.iter().all(|reason| reason.meaning().ends_with('.')));
        assert_eq!(ReplyKind::ALL[ReplyKind::Reset as usize], ReplyKind::Reset);
    }
}
