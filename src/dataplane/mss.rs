//! Lowering the maximum segment size of SYNs that go by.

use super::Engine;
use super::engine::Turn;
use crate::forwarding::{BackendId, Mode, MssClamp, Target};
use crate::wire::{FrameView, IpPacket, TcpFlags, mss};

/// Is it a SYN or SYN-ACK?
#[inline]
pub(super) fn is_syn(ip: &IpPacket) -> bool {
    ip.tcp().is_some_and(|flags| flags.contains(TcpFlags::SYN))
}

impl Engine {
    /// As the service of the flow with this backend says. What fits is asked of the backend's way and
    /// of the client's, which is known by its MTU.
    #[cold]
    pub(super) fn clamp_mss(
        &mut self,
        turn: &Turn<'_>,
        (backend, target): (BackendId, &Target),
        client_mtu_bytes: u16,
        ip: &IpPacket,
        frame: &mut FrameView<'_>,
    ) {
        let service = turn.snapshot.services.get(target.service as usize);
        let most = match service.map(|service| service.mss) {
            Some(MssClamp::Most(bytes)) => bytes,
            Some(MssClamp::Auto) if target.mode != Mode::L2dsr => {
                let way = target.way().map_or(u16::MAX, |way| way.mtu_bytes);
                let path = self.path_mtus.of(backend.0, turn.now_ms()).min(way);
                let overhead = target.mode.overhead_bytes(target.address.family()) as u16;
                let mtu_bytes = path.saturating_sub(overhead).min(client_mtu_bytes);
                mss::segment_of(ip, mtu_bytes)
            }
            _ => return,
        };
        let clamped = mss::clamp(frame.bytes_mut(), ip, most);
        self.flows.counters.events.mss_clamped += u64::from(clamped);
    }
}
