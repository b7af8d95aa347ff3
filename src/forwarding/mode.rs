//! How packets get to a backend.

use std::fmt;

use crate::wire::Family;
use crate::wire::encap::{Dscp, Tunnel};

/// How packets get to a backend.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Mode {
    /// Source and destination are translated: backends need nothing.
    Nat,
    /// The destination is translated and the client's address kept: backends route back through us.
    Dnat,
    /// Direct server return on one link: only the MAC changes, the backend has the VIP on loopback
    /// and answers the client itself.
    L2dsr,
    /// Direct server return over routers: the destination becomes the backend's, and this DSCP tells
    /// it the VIP, which it puts back.
    Dscp(u8),
    /// Direct server return over routers: the packet goes in an envelope, which the backend opens.
    Tunnel(Tunnel, Dscp),
}

impl Mode {
    /// Are packets of both directions translated here?
    #[inline]
    pub const fn is_translated(self) -> bool {
        matches!(self, Mode::Nat | Mode::Dnat)
    }

    /// Does the backend answer the client past us?
    #[inline]
    pub const fn is_direct_return(self) -> bool {
        !self.is_translated()
    }

    /// Are we a hop on the packet's way? Under L2 DSR we are a bridge on its link.
    #[inline]
    pub const fn is_hop(self) -> bool {
        !matches!(self, Mode::L2dsr)
    }

    /// Does the backend get the packet as it was sent to the VIP, so that it has to listen on the
    /// service's port?
    #[inline]
    pub const fn keeps_port(self) -> bool {
        self.is_direct_return()
    }

    /// The tunnel, if packets go by one.
    #[inline]
    pub const fn tunnel(self) -> Option<Tunnel> {
        match self {
            Mode::Tunnel(tunnel, _) => Some(tunnel),
            _ => None,
        }
    }

    /// Bytes that a packet gains on its way to a backend of this family.
    #[inline]
    pub const fn overhead_bytes(self, backend: Family) -> usize {
        match self {
            Mode::Tunnel(tunnel, _) => tunnel.overhead_bytes(backend),
            _ => 0,
        }
    }

    /// The word it has in configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Mode::Nat => "nat",
            Mode::Dnat => "dnat",
            Mode::L2dsr => "l2dsr",
            Mode::Dscp(_) => "dscp",
            Mode::Tunnel(tunnel, _) => tunnel.name(),
        }
    }
}

impl serde::Serialize for Mode {
    /// As [`fmt::Display`] has it.
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl fmt::Display for Mode {
    /// With all that is said of it: `dscp 10`, `gue port 6080 dscp 46`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Mode::Dscp(value) => write!(f, "dscp {value}"),
            Mode::Tunnel(tunnel, Dscp::Copied) => write!(f, "{tunnel}"),
            Mode::Tunnel(tunnel, Dscp::Fixed(dscp)) => write!(f, "{tunnel} dscp {dscp}"),
            mode => f.write_str(mode.name()),
        }
    }
}
