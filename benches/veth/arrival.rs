//! What arrives at the backends, looked at: a row counts only if each frame in a sample of those that
//! it counts is what its contender has to make of the generator's.
//!
//! Read by hand, since Guideway's own reader is one of those under test.

use anyhow::{Result, bail, ensure};

use super::generator::{PORT, SOURCE, VIP, sum};

const ETHERNET: usize = 14;
const IPV4: usize = 20;
const IPIP: u8 = 4;
const TCP: u8 = 6;
const UDP: u8 = 17;
const GRE: u8 = 47;
/// Backends 10.2.2.1 to 10.2.2.100, and the network that envelopes come from.
const BACKENDS: std::ops::RangeInclusive<u32> = 0x0a02_0201..=0x0a02_0264;
const OUTER_NETWORK: u32 = 0x0a09_0000;
pub const OUTER_SOURCES: &str = "10.9.0.0/16";
const SNAT: u32 = 0x0a02_000a;

/// What a contender makes of a client's packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Form {
    /// Addresses and ports stay as they are.
    AsSent,
    /// It goes to a backend's port 8080 from the client's own address.
    ToBackend,
    /// The same, from the balancer's address.
    Translated,
    /// It is in an envelope to a backend, and is as it was.
    Ipip,
    Gue,
    Gre,
}

impl Form {
    pub fn is_envelope(self) -> bool {
        matches!(self, Form::Ipip | Form::Gue | Form::Gre)
    }
}

/// Is each of these frames of that form? Others than IPv4's are not the generator's.
pub fn check<'a>(frames: impl Iterator<Item = &'a [u8]>, form: Form) -> Result<()> {
    let mut checked = 0;
    for frame in frames.filter(|frame| frame.get(12..ETHERNET) == Some(&[8, 0])) {
        if let Err(error) = check_packet(&frame[ETHERNET..], form) {
            bail!("a frame arrived that is not as it has to be ({form:?}): {error}: {frame:02x?}");
        }
        checked += 1;
    }
    ensure!(checked > 0, "no frame in the sample of those that arrived");
    Ok(())
}

fn check_packet(bytes: &[u8], form: Form) -> Result<()> {
    let outer = Packet::read(bytes)?;
    let inside = match form {
        Form::Ipip => outer.payload,
        // RFC 2784: no checksum, version 0, IPv4 inside.
        Form::Gre => within(outer.payload, &[0, 0, 8, 0])?,
        // Version 0, no words of options, IPv4 inside; behind a UDP header with its checksum.
        Form::Gue => {
            outer.check_transport(UDP)?;
            ensure!(outer.port(2)? == 6080, "GUE's port");
            within(&outer.payload[8..], &[0, IPIP, 0, 0])?
        }
        Form::AsSent | Form::ToBackend | Form::Translated => return outer.check_inner(form),
    };
    let protocol = match form {
        Form::Gre => GRE,
        Form::Gue => UDP,
        _ => IPIP,
    };
    ensure!(outer.protocol == protocol, "the envelope's protocol {}", outer.protocol);
    ensure!(outer.source & 0xffff_0000 == OUTER_NETWORK, "the envelope's source");
    ensure!(BACKENDS.contains(&outer.destination), "the envelope's destination");
    let inner = Packet::read(inside)?;
    ensure!(inner.len == inside.len(), "the envelope has more in it than the packet");
    inner.check_inner(Form::AsSent)
}

/// What follows this header.
fn within<'a>(bytes: &'a [u8], header: &[u8]) -> Result<&'a [u8]> {
    match bytes.strip_prefix(header) {
        Some(rest) => Ok(rest),
        None => bail!("no header {header:02x?}"),
    }
}

/// An IPv4 packet with its length and its header's checksum right.
struct Packet<'a> {
    source: u32,
    destination: u32,
    protocol: u8,
    len: usize,
    payload: &'a [u8],
}

impl Packet<'_> {
    fn read(bytes: &[u8]) -> Result<Packet<'_>> {
        ensure!(bytes.len() >= IPV4 && bytes[0] == 0x45, "no IPv4 header of 20 bytes");
        ensure!(is_whole(sum(&bytes[..IPV4])), "the header's checksum is wrong");
        let len = usize::from(u16::from_be_bytes([bytes[2], bytes[3]]));
        ensure!((IPV4..=bytes.len()).contains(&len), "a length of {len} in {}", bytes.len());
        let address = |at| u32::from_be_bytes(std::array::from_fn(|place| bytes[at + place]));
        Ok(Packet {
            source: address(12),
            destination: address(16),
            protocol: bytes[9],
            len,
            payload: &bytes[IPV4..len],
        })
    }

    fn port(&self, at: usize) -> Result<u16> {
        ensure!(self.payload.len() >= 20, "no transport header");
        Ok(u16::from_be_bytes([self.payload[at], self.payload[at + 1]]))
    }

    /// The generator's packet, which is of that form.
    fn check_inner(&self, form: Form) -> Result<()> {
        ensure!([TCP, UDP].contains(&self.protocol), "protocol {}", self.protocol);
        self.check_transport(self.protocol)?;
        let is_client = self.source & 0xff80_0000 == SOURCE;
        let (source, port) = (self.source, self.port(2)?);
        let is_from = if form == Form::Translated { source == SNAT } else { is_client };
        ensure!(is_from, "it comes from {source:08x}");
        let is_to = match form {
            Form::AsSent => (self.destination, port) == (VIP, PORT),
            _ => BACKENDS.contains(&self.destination) && port == 8080,
        };
        ensure!(is_to, "it goes to {:08x} port {port}", self.destination);
        Ok(())
    }

    /// The checksum over pseudo header, header and payload.
    fn check_transport(&self, protocol: u8) -> Result<()> {
        ensure!(self.protocol == protocol, "protocol {} for {protocol}", self.protocol);
        let addresses = [self.source.to_be_bytes(), self.destination.to_be_bytes()].concat();
        let pseudo = sum(&addresses) + u32::from(protocol) + self.payload.len() as u32;
        ensure!(is_whole(pseudo + sum(self.payload)), "the transport's checksum is wrong");
        Ok(())
    }
}

/// Does a sum of words with their checksum say that they are whole?
fn is_whole(mut sum: u32) -> bool {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum == 0xffff
}
