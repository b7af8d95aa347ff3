//! How long packets to a backend may be, as routers on the way have told (RFC 1191, RFC 8201).
//!
//! Of tunnels only: there the errors come to us, not to the client. One number a backend, set at
//! start, forgotten after a time, so that a way that has become wider is used again.

use super::{Engine, Ticks};
use crate::forwarding::BackendId;
use crate::wire::Family;

/// RFC 1191 section 6.3: ten minutes.
const FORGOTTEN_AFTER_MS: u32 = 600_000;
/// Nothing below is believed: a forged error must not make packets tiny.
const LEAST_V4: u16 = 552;
/// RFC 8200 section 5.
const LEAST_V6: u16 = 1280;

#[derive(Clone, Copy, Debug)]
struct Learned {
    /// 0: nothing.
    mtu_bytes: u16,
    at_ms: u32,
}

/// By backend id.
#[derive(Debug)]
pub(super) struct PathMtus(Box<[Learned]>);

impl PathMtus {
    pub(super) fn new(max_backends: usize) -> PathMtus {
        PathMtus(vec![Learned { mtu_bytes: 0, at_ms: 0 }; max_backends].into_boxed_slice())
    }

    /// Longest packet that the way to a backend is known to take; the largest number when nothing is
    /// known of it.
    #[inline]
    pub(super) fn of(&self, backend: u32, now_ms: u32) -> u16 {
        match self.0.get(backend as usize) {
            Some(learned)
                if learned.mtu_bytes > 0
                    && now_ms.wrapping_sub(learned.at_ms) < FORGOTTEN_AFTER_MS =>
            {
                learned.mtu_bytes
            }
            _ => u16::MAX,
        }
    }

    /// All that is known, by backend id.
    pub(super) fn known(&self, now_ms: u32) -> impl Iterator<Item = (BackendId, u16)> + '_ {
        let of = move |id| (BackendId(id), self.of(id, now_ms));
        (0..self.0.len() as u32).map(of).filter(|&(_, mtu_bytes)| mtu_bytes < u16::MAX)
    }

    /// A router says that packets to a backend may be no longer; says whether that is news.
    pub(super) fn lower(
        &mut self,
        backend: u32,
        family: Family,
        mtu_bytes: u16,
        now_ms: u32,
    ) -> bool {
        let least = if family == Family::Ipv4 { LEAST_V4 } else { LEAST_V6 };
        let mtu_bytes = mtu_bytes.max(least);
        let is_news = mtu_bytes < self.of(backend, now_ms);
        if let Some(learned) = self.0.get_mut(backend as usize).filter(|_| is_news) {
            *learned = Learned { mtu_bytes, at_ms: now_ms };
        }
        is_news
    }
}

impl Engine {
    /// Path MTUs of backends that routers have told, and that are not forgotten yet.
    pub fn path_mtus(&self, now: Ticks) -> impl Iterator<Item = (BackendId, u16)> + '_ {
        self.path_mtus.known(now.0 as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lowered_bounded_and_forgotten() {
        let mut mtus = PathMtus::new(2);
        assert_eq!(mtus.of(0, 5), u16::MAX);
        assert!(mtus.lower(0, Family::Ipv4, 1300, u32::MAX - 5));
        assert!(!mtus.lower(0, Family::Ipv4, 1400, 0), "higher");
        assert!(!mtus.lower(0, Family::Ipv4, 1300, 0), "the same: it ages all the same");
        assert_eq!((mtus.of(0, 100_000), mtus.of(1, 100_000)), (1300, u16::MAX));
        assert_eq!(mtus.known(100_000).collect::<Vec<_>>(), [(BackendId(0), 1300)]);
        assert_eq!(mtus.of(0, FORGOTTEN_AFTER_MS - 6), u16::MAX);
        assert!(mtus.lower(0, Family::Ipv4, 60, FORGOTTEN_AFTER_MS) && mtus.of(0, 700_000) == 552);
        assert!(mtus.lower(1, Family::Ipv6, 60, 0) && mtus.of(1, 0) == 1280);
        assert!(
            mtus.lower(2, Family::Ipv6, 1300, 0) && mtus.of(2, 0) == u16::MAX,
            "no such backend"
        );
    }
}
