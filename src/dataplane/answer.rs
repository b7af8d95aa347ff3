//! Answers in the data path: the frame becomes the reply to its sender and leaves where it came in.

use super::egress::Stuck;
use super::engine::Turn;
use super::{DropReason, Engine, ReplyKind, Verdict};
use crate::wire::reply::{self, IcmpError};
use crate::wire::{Content, FrameView, IpPacket, TcpFlags, parse_arp};

impl Engine {
    /// Tells a client that its packet was refused.
    pub(super) fn answer_refused(
        &mut self,
        turn: &Turn<'_>,
        ip: &IpPacket,
        frame: &mut FrameView<'_>,
    ) -> Verdict {
        match ip.content {
            // A reset needs the segment's length, which a fragment does not tell.
            Content::Fragment(_) if ip.key.is_of_connection() => {
                Verdict::Drop(DropReason::FragmentNoFlow)
            }
            Content::Tcp(flags) if !flags.contains(TcpFlags::RST) => {
                self.answer(turn, ReplyKind::Reset, frame, |frame| reply::tcp_reset(frame, ip))
            }
            Content::Sctp(_) if !reply::has_abort(frame.bytes(), ip) => {
                Verdict::Drop(DropReason::ResetNotAnswered)
            }
            Content::Sctp(_) => {
                self.answer(turn, ReplyKind::Abort, frame, |frame| reply::sctp_abort(frame, ip))
            }
            _ => self.answer_unreachable(turn, ip, frame),
        }
    }

    /// Tells a client that nobody is there for its packet. Not of a reset, whose sender wants nothing
    /// more, and only of a packet's first fragment (RFC 1122 section 3.2.2).
    pub(super) fn answer_unreachable(
        &mut self,
        turn: &Turn<'_>,
        ip: &IpPacket,
        frame: &mut FrameView<'_>,
    ) -> Verdict {
        match ip.content {
            Content::Tcp(flags) if flags.contains(TcpFlags::RST) => {
                Verdict::Drop(DropReason::ResetNotAnswered)
            }
            _ if ip.is_later_fragment() => Verdict::Drop(DropReason::FragmentNoFlow),
            _ => self.answer(turn, ReplyKind::PortUnreachable, frame, |frame| {
                reply::icmp_error(frame, ip, IcmpError::PortUnreachable)
            }),
        }
    }

    /// The end of a packet that cannot leave: its sender is told where it can do something about it.
    ///
    /// Too long: "fragmentation needed" or "packet too big" with the MTU that fits, from the address
    /// it was sent to (RFC 1191, RFC 8201). IPv4 without don't-fragment is dropped: we do not
    /// fragment. The hop limit ran out: time exceeded (RFC 1812 section 5.3.1), which traceroute lives
    /// by.
    #[cold]
    pub(super) fn answer_stuck(
        &mut self,
        turn: &Turn<'_>,
        ip: &IpPacket,
        Stuck { reason, mtu_bytes }: Stuck,
        frame: &mut FrameView<'_>,
    ) -> Verdict {
        // About a packet its first fragment alone is answered (RFC 1122 section 3.2.2).
        if ip.is_later_fragment() {
            return Verdict::Drop(reason);
        }
        let (kind, error) = match reason {
            DropReason::ExceedsMtu if ip.dont_fragment => {
                (ReplyKind::TooBig, IcmpError::TooBig { mtu_bytes })
            }
            DropReason::TtlExceeded => (ReplyKind::TimeExceeded, IcmpError::HopLimitExceeded),
            _ => return Verdict::Drop(reason),
        };
        self.answer(turn, kind, frame, |frame| reply::icmp_error(frame, ip, error))
    }

    /// May an ICMP error be passed on now? They count as answers do.
    pub(super) fn may_pass_error(&mut self, turn: &Turn<'_>) -> bool {
        self.replies.take(turn.now)
    }

    pub(super) fn answer_arp(&mut self, turn: &Turn<'_>, frame: &mut FrameView<'_>) -> Verdict {
        let Some(port) = turn.snapshot.port(turn.ingress) else { return Verdict::NotOurs };
        // It could be read when it was classified.
        let Ok(Some(request)) = parse_arp(frame.bytes(), turn.link) else {
            return Verdict::NotOurs;
        };
        self.answer(turn, ReplyKind::Arp, frame, |frame| {
            reply::arp_reply(frame, turn.link, &request, port.mac)
        })
    }

    pub(super) fn answer_solicitation(
        &mut self,
        turn: &Turn<'_>,
        asked: &IpPacket,
        frame: &mut FrameView<'_>,
    ) -> Verdict {
        let Some(port) = turn.snapshot.port(turn.ingress) else { return Verdict::NotOurs };
        self.answer(turn, ReplyKind::NeighbourAdvertisement, frame, |frame| {
            reply::neighbour_advertisement(frame, asked, port.mac)
        })
    }

    pub(super) fn answer_echo(
        &mut self,
        turn: &Turn<'_>,
        request: &IpPacket,
        frame: &mut FrameView<'_>,
    ) -> Verdict {
        self.answer(turn, ReplyKind::EchoReply, frame, |frame| reply::echo_reply(frame, request))
    }

    fn answer(
        &mut self,
        turn: &Turn<'_>,
        kind: ReplyKind,
        frame: &mut FrameView<'_>,
        make: impl FnOnce(&mut FrameView<'_>) -> bool,
    ) -> Verdict {
        if !self.replies.take(turn.now) {
            return Verdict::Drop(DropReason::ReplyRateLimited);
        }
        // Classification lets through only what can be answered; what is left is a chunk of memory
        // without the room that an answer needs.
        if make(frame) {
            Verdict::Reply(turn.ingress, kind)
        } else {
            Verdict::Drop(DropReason::ReplyNotMade)
        }
    }
}
