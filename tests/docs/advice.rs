//! What an operator can do about each counter. New reasons do not compile without an answer here.

use guideway::dataplane::{DropReason, ReplyKind};

const NOTHING: &str = "Nothing.";
const BUG: &str = "A bug of ours: report it, with the log.";

pub fn reply(kind: ReplyKind) -> &'static str {
    match kind {
        ReplyKind::Arp | ReplyKind::NeighbourAdvertisement | ReplyKind::EchoReply => NOTHING,
        ReplyKind::Reset => {
            "Connections of no known flow: after a restart, after a service or its last backend \
             left, or of a scan. Many at once: look at the backends' health."
        }
        ReplyKind::Abort => "As `tcp_reset`, for SCTP.",
        ReplyKind::TooBig => {
            "A sender learns the path's MTU: normal. Many: give all interfaces on the way the same \
             MTU."
        }
        ReplyKind::TimeExceeded => "A traceroute; many at once: a routing loop.",
        ReplyKind::PortUnreachable => {
            "As `tcp_reset`, for UDP: no usable backend, or the service was removed."
        }
    }
}

pub fn dropped(reason: DropReason) -> &'static str {
    use DropReason as Why;
    match reason {
        Why::Malformed => "Broken or hostile senders. Many: capture at the sender.",
        Why::BadIpv4Checksum => "Damaged on the way here: look for a bad cable, NIC or router.",
        Why::SourceRouted => {
            "Nothing: nobody honest sends such packets to a VIP. Many: filter them at the router."
        }
        Why::TooManyExtensionHeaders => {
            "Nothing: no honest sender has use for so many. Many: filter them at the router."
        }
        Why::Fragment => {
            "A ping longer than the MTU, say. To a shared address, and from DNAT backends, fragments \
             stay with the kernel: use an address of its own, NAT, or smaller packets."
        }
        Why::FragmentTiny | Why::FragmentOverlap | Why::FragmentEndless => {
            "Broken or hostile senders: nobody honest sends such fragments. Many: filter them at the \
             router."
        }
        Why::FragmentRepeated => "Nothing: the network doubled a packet. Many: look for a loop.",
        Why::FragmentTableFull => {
            "With `fragments_forgotten`: raise `limits.fragmented_packets`, or it is a flood. \
             Without, that limit is 0."
        }
        Why::FragmentHoldFull => {
            "Fragments arrive in the wrong order: find out where they are reordered, or raise \
             `limits.fragments_held`; or it is a flood."
        }
        Why::FragmentTimeout => {
            "First fragments are lost, or a firewall lets only later ones pass. Many: a flood."
        }
        Why::FragmentNoFlow => {
            "As its first fragment, which has another reason: a full table, no backend, an MTU. Of \
             TCP also segments of no known connection."
        }
        Why::FragmentNoFrame => "Raise `limits.frames_per_queue`.",
        Why::BadAddress => {
            "Spoofed or mistaken: filter such sources at the router. Also another host's \
             gratuitous ARP for an address of ours: find it with `arping -D`."
        }
        Why::UnknownProtocol => "Nothing: only TCP, UDP and SCTP are balanced.",
        Why::NoService => "A scan, or a service that is missing in the configuration.",
        Why::NoBackend => "Bring backends back: their health and last check stand in status.",
        Why::BackendGone => {
            "Nothing: it ends when both sides give up. Resets tell them: `on_backend_gone`."
        }
        Why::ServiceGone => "Nothing: it ends when clients give up.",
        Why::NoNextHop => {
            "The NEXT HOP column of status says why: no route, no answer to ARP, or the link is \
             down. Under l2dsr the backend has to be on a link."
        }
        Why::TtlExceeded => "A routing loop; the other packets of it are `icmp_time_exceeded`.",
        Why::ExceedsMtu => {
            "Give all interfaces on the way the same MTU, or let senders set don't-fragment: then \
             they are told what fits (`icmp_too_big`)."
        }
        Why::NoHeadroom => BUG,
        Why::FlowTableFull => {
            "Raise `limits.flows_per_worker`, add workers, or shorten `timeouts`; LIMIT and FLOWS \
             of each worker stand in status."
        }
        Why::ServiceFull => "As the event `max_flows_reached`.",
        Why::SnatPortsExhausted => {
            "Add addresses to `snat`, widen `ports`, or spread over more backends."
        }
        Why::SnatBlocksExhausted => {
            "Raise `limits.snat_blocks_per_worker`: each pair of a backend and a `snat` address \
             needs 256 over all workers."
        }
        Why::NoSnatAddress => {
            "Add a `snat` address without `interface`, or for the interface the backend's route \
             leaves by."
        }
        Why::ClientNotAllowed => {
            "Add the client's network to the service's `allow`, if it is meant."
        }
        Why::NoTunnelSource => {
            "Add a network of the backend's family to `tunnel_sources`; it was taken out while \
             flows by a tunnel to such a backend were alive."
        }
        Why::NoDnatFlow => {
            "After a restart the client's next packet makes the flow known again. Else somebody \
             uses the backend's port past the VIP, by this machine as a router: that is not \
             possible under dnat; use nat, or another way."
        }
        Why::TunnelError => {
            "A few after a change of a path's MTU are right. Many: a router on the way to a backend \
             cannot reach it, or quotes less than RFC 1812 asks for; see the ICMP errors there."
        }
        Why::NoSnatBinding => {
            "A few are late packets of closed flows. Many: after a restart, which forgets flows, \
             or a scan of the SNAT address."
        }
        Why::NotOpening => "A scan: no TCP sends such segments.",
        Why::HandOverFull => {
            "Raise `limits.hand_over_ring`, or make packets arrive at their owner: a NIC whose RSS \
             can be read, or one queue."
        }
        Why::HandOverNoFrame => "Raise `limits.frames_per_queue`.",
        Why::BadIcmpChecksum => "Damaged on the way, or made up. Many: capture at the sender.",
        Why::BadQuote => {
            "Broken or hostile senders, or errors about packets of other protocols. Many: capture."
        }
        Why::NoFlowForError => {
            "A few are about flows that have just ended. Many: somebody makes them up."
        }
        Why::IcmpNotHandled => {
            "Pings to a SNAT address, and ICMP errors about flows. Since path MTU discovery stands \
             on those, use one MTU on the whole way."
        }
        Why::ArpNotRequest => {
            "Another host answers our announcement, so it has the address too: find it with \
             `arping -D`."
        }
        Why::ReplyRateLimited => "A flood. Raise `limits.replies_per_second` if it is a good one.",
        Why::ResetNotAnswered => NOTHING,
        Why::ReplyNotMade => BUG,
        Why::WorkerRestarted => {
            "A bug of ours: the log has `a worker panicked and is restarted` with the reason. \
             Report it."
        }
    }
}

pub fn event(name: &str) -> &'static str {
    match name {
        "flows_created" | "flows_closed" | "taken_over" | "announcements" => NOTHING,
        "flows_expired" => {
            "Nothing for UDP. Many for TCP: clients that vanish, or `timeouts` shorter than the \
             connections' silence."
        }
        "flows_cut" => {
            "Connections that were lost: the log names the limit for a retired backend; the others \
             are of removed services."
        }
        "flows_ended_by_hand" => {
            "Connections that were ended on purpose: the log tells by whom, and which."
        }
        "flows_backend_gone" => {
            "Connections that were lost, by `on_backend_gone`: the log tells which backends became \
             unhealthy; the others were drained for as long as `drain_time`."
        }
        "forwarded_stateless" => {
            "The flow table is full, as `flow_table_full`, or new flows come faster than \
             `limits.new_flows_per_second`: a flood. Such flows move when backends change."
        }
        "max_flows_reached" => {
            "Raise `max_flows` of the service if its clients are good ones, or shorten its `timeouts`; \
             its live flows stand in status."
        }
        "affinities_created" => NOTHING,
        "moved_for_room" => {
            "Frames that were handed over, or got too little room in front. It costs a copy of each; \
             many on one worker: a chunk of memory is too small, or the XDP program is an older one."
        }
        "path_mtu_lowered" => "Normal where the way to a backend is narrower than the port's MTU.",
        "mss_clamped" => "Nothing: it saves the connection a round of path MTU discovery.",
        "snat_hold_down_shortened" => {
            "Ports towards a backend are few: as `snat_ports_exhausted`. Until then a backend in \
             TIME_WAIT may delay a connection by a second."
        }
        "snat_ports_of_same_client" => {
            "Ports towards a backend are few, but no connection was delayed by it: a backend in \
             TIME_WAIT takes its old client back."
        }
        "handed_over" => {
            "Normal where no RSS can be read, and under NAT from backends. It costs two copies; \
             one worker has none."
        }
        "fragments_held" => "Normal where the network changes the order of packets.",
        "fragments_forgotten" => {
            "Raise `limits.fragmented_packets` if senders are honest; else a flood of fragments of \
             which the others never come."
        }
        "flow_events_lost" => {
            "Records of flows are lost (`flow_records`): more flows end at once than are written. Raise \
             `flow_records.waiting_per_worker`, or look whether the disk keeps up."
        }
        unknown => panic!("no advice for the event {unknown}: add it to tests/docs/advice.rs"),
    }
}

pub fn steer(name: &str) -> &'static str {
    match name {
        "steered" | "steered_arp" | "steered_icmp_error" | "steered_return" | "passed" => NOTHING,
        "steer_no_worker" => {
            "Dropped, or passed up with `on_worker_gone: kernel`. Normal between a crash and the \
             next start; else start Guideway."
        }
        "passed_other_mac" => "Nothing: a switch that floods, or a promiscuous interface.",
        "passed_shared_fragment" => {
            "Fragments to a shared address stay with the kernel: use an address of its own, or \
             smaller packets."
        }
        "passed_vlan" => {
            "Two VLAN tags are the most that are balanced: take one off on the switch."
        }
        unknown => panic!("no advice for the counter {unknown}: add it to tests/docs/advice.rs"),
    }
}
