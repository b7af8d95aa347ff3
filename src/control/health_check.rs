//! How backends are probed: plain typed data, which [`super::validate`] judges.

use std::fmt;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use super::BackendSpec;

/// How backends are probed. Two services that say the same of the same socket share the probes.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct HealthCheckSpec {
    /// What is tried.
    pub kind: HealthCheckKind,
    /// Whom probes go to.
    pub probed: Probed,
    /// Port; none: the backend's.
    pub port: Option<u16>,
    /// Address the probes come from; none: as the kernel's routes say.
    pub source: Option<IpAddr>,
    /// Time from one probe's start to the next one's, in milliseconds.
    pub interval_ms: u32,
    /// The same while the results say something else than what is thought of the backend; none: as
    /// always.
    pub fast_interval_ms: Option<u32>,
    /// A probe without an answer by then has failed, in milliseconds.
    pub timeout_ms: u32,
    /// Successes in a row that make a backend healthy.
    pub rise: u32,
    /// Failures in a row that make it unhealthy.
    pub fall: u32,
    /// A backend that goes down again so soon after the last time has to be good for longer, in
    /// milliseconds; 0: never longer.
    pub flap_window_ms: u32,
    /// The longest that it has to be good, in milliseconds.
    pub flap_wait_ms: u32,
}

impl HealthCheckSpec {
    /// Everything but the kind as it is when nothing is said of it.
    pub fn new(kind: HealthCheckKind) -> HealthCheckSpec {
        HealthCheckSpec {
            kind,
            probed: Probed::Backend,
            port: None,
            source: None,
            interval_ms: 2_000,
            fast_interval_ms: None,
            timeout_ms: 1_000,
            rise: 2,
            fall: 3,
            flap_window_ms: 600_000,
            flap_wait_ms: 300_000,
        }
    }
}

/// Whom probes go to.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Probed {
    /// The backend itself.
    #[default]
    Backend,
    /// The station that its packets are sent to, such as the node of a pod: one check for all backends
    /// behind it.
    Via,
}

impl Probed {
    /// Where probes of a backend go.
    pub fn address_of(self, backend: &BackendSpec) -> IpAddr {
        match self {
            Probed::Backend => backend.address,
            Probed::Via => backend.routed_by(),
        }
    }
}

/// What a probe tries.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum HealthCheckKind {
    /// A TCP connection is accepted, and what is asked over it is answered.
    Tcp(Exchange),
    /// An HTTP/1.1 request is answered as it should be.
    Http(HttpCheck),
    /// `grpc.health.v1.Health/Check` says that the service is serving.
    Grpc(GrpcCheck),
    /// A datagram is answered.
    Udp(Exchange),
    /// An ICMP echo request is answered.
    Icmp,
}

impl HealthCheckKind {
    /// A TCP connection is accepted: the least there is.
    pub const TCP: HealthCheckKind = HealthCheckKind::Tcp(Exchange { send: None, expect: None });

    /// What the configuration calls it.
    pub fn name(&self) -> &'static str {
        let with_tls = |tls: &Option<TlsCheck>, name, bare| if tls.is_some() { name } else { bare };
        match self {
            HealthCheckKind::Tcp(_) => "tcp",
            HealthCheckKind::Http(check) => with_tls(&check.tls, "https", "http"),
            HealthCheckKind::Grpc(check) => with_tls(&check.tls, "grpcs", "grpc"),
            HealthCheckKind::Udp(_) => "udp",
            HealthCheckKind::Icmp => "icmp",
        }
    }

    /// Does a probe go to a port?
    pub fn has_ports(&self) -> bool {
        *self != HealthCheckKind::Icmp
    }
}

/// What is sent, and what has to come back.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Exchange {
    /// Sent first.
    pub send: Option<Vec<u8>>,
    /// Bytes that have to be somewhere in the answer; none: over TCP none is waited for, over UDP any
    /// will do.
    pub expect: Option<Vec<u8>>,
}

/// An HTTP request and the answer that is success.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct HttpCheck {
    /// Such as `GET`.
    pub method: String,
    /// Request target, begins with `/`.
    pub path: String,
    /// `Host` header; none: the backend's address.
    pub host: Option<String>,
    /// Statuses that are success.
    pub status: StatusSet,
    /// Text that has to be somewhere in the answer's body.
    pub body: Option<String>,
    /// Over TLS.
    pub tls: Option<TlsCheck>,
}

/// A question to a gRPC server about one of its services.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct GrpcCheck {
    /// The service; empty: the server as a whole.
    pub service: String,
    /// Over TLS.
    pub tls: Option<TlsCheck>,
}

/// How far a server that speaks TLS is trusted.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct TlsCheck {
    /// Name for SNI, and for which the certificate has to be good; none: that of the request, or the
    /// backend's address.
    pub server_name: Option<String>,
    /// Is a certificate that is not good a failure?
    pub verify: bool,
    /// A file with the certificates of the authorities that count, in PEM; none: the machine's.
    pub ca_file: Option<PathBuf>,
}

/// Statuses such as `200-299,401`.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct StatusSet(pub Vec<RangeInclusive<u16>>);

impl StatusSet {
    /// Is it one of them?
    pub fn contains(&self, status: u16) -> bool {
        self.0.iter().any(|range| range.contains(&status))
    }
}

impl fmt::Display for StatusSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, range) in self.0.iter().enumerate() {
            let comma = if place == 0 { "" } else { "," };
            match (range.start(), range.end()) {
                (first, last) if first == last => write!(f, "{comma}{first}")?,
                (first, last) => write!(f, "{comma}{first}-{last}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_as_they_are_written() {
        let set = StatusSet(vec![200..=299, 401..=401]);
        assert_eq!(set.to_string(), "200-299,401");
        let asked = [199, 200, 299, 300, 401];
        assert_eq!(asked.map(|status| set.contains(status)), [false, true, true, false, true]);
    }
}
