//! What a driver says that it can do with XDP, by generic netlink's family `netdev` (Linux 6.3 and
//! newer; Documentation/netlink/specs/netdev.yaml of the kernel). Nothing is attached for it.

use std::io;

use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_GENERIC};

const NLMSG_ERROR: u16 = 2;
const NLM_F_REQUEST: u16 = 1;
/// `struct nlmsghdr` and `struct genlmsghdr`.
const HEADERS_LEN: usize = 20;
/// The family that knows the others, its question for one by name, and two attributes.
const GENL_ID_CTRL: u16 = 16;
const CTRL_GET_FAMILY: u8 = 3;
const CTRL_FAMILY_ID: u16 = 1;
const CTRL_FAMILY_NAME: u16 = 2;
/// The family's question for a device, and two attributes.
const DEV_GET: u8 = 1;
const DEV_IFINDEX: u16 = 1;
const DEV_XDP_FEATURES: u16 = 3;

/// What the driver of an interface can do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct XdpFeatures {
    /// XDP programs in the driver.
    pub native: bool,
    /// They may send frames to AF_XDP sockets.
    pub redirect: bool,
    /// AF_XDP without a copy.
    pub zero_copy: bool,
}

impl XdpFeatures {
    fn of(bits: u64) -> XdpFeatures {
        let has = |bit: u32| bits & (1 << bit) != 0;
        XdpFeatures { native: has(0), redirect: has(1), zero_copy: has(3) }
    }
}

/// Asks the kernel about the interface with this number.
///
/// # Errors
/// `ENOENT` where the kernel is too old to tell.
pub fn xdp_features(ifindex: u32) -> io::Result<XdpFeatures> {
    let socket = Socket::new(NETLINK_GENERIC)?;
    socket.connect(&SocketAddr::new(0, 0))?;
    let name = attribute(CTRL_FAMILY_NAME, b"netdev\0");
    let answer = ask(&socket, GENL_ID_CTRL, CTRL_GET_FAMILY, &name)?;
    let family = find(&answer, CTRL_FAMILY_ID).and_then(|value| value.first_chunk::<2>());
    let family = u16::from_ne_bytes(*family.ok_or_else(not_understood)?);
    let device = attribute(DEV_IFINDEX, &ifindex.to_ne_bytes());
    let answer = ask(&socket, family, DEV_GET, &device)?;
    let bits = find(&answer, DEV_XDP_FEATURES).and_then(|value| value.first_chunk::<8>());
    Ok(XdpFeatures::of(u64::from_ne_bytes(*bits.ok_or_else(not_understood)?)))
}

fn not_understood() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "an answer of netlink that is not understood")
}

/// A question, and the attributes of the answer.
fn ask(socket: &Socket, family: u16, command: u8, attributes: &[u8]) -> io::Result<Vec<u8>> {
    let len = (HEADERS_LEN + attributes.len()) as u32;
    let mut question = Vec::with_capacity(len as usize);
    question.extend(len.to_ne_bytes());
    question.extend(family.to_ne_bytes());
    question.extend(NLM_F_REQUEST.to_ne_bytes());
    // Sequence number and sender, which nobody asks for here.
    question.extend([0; 8]);
    question.extend([command, 1, 0, 0]);
    question.extend(attributes);
    socket.send(&question, 0)?;
    let (answer, _) = socket.recv_from_full()?;
    attributes_of(&answer).map(<[u8]>::to_vec)
}

fn attributes_of(answer: &[u8]) -> io::Result<&[u8]> {
    let kind = answer.get(4..6).and_then(|bytes| bytes.first_chunk::<2>());
    if kind.map(|bytes| u16::from_ne_bytes(*bytes)) == Some(NLMSG_ERROR) {
        let code = answer.get(16..20).and_then(|bytes| bytes.first_chunk::<4>());
        let code = code.map_or(0, |bytes| i32::from_ne_bytes(*bytes));
        return Err(io::Error::from_raw_os_error(-code));
    }
    answer.get(HEADERS_LEN..).ok_or_else(not_understood)
}

fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let len = 4 + value.len();
    let mut bytes = Vec::with_capacity(len.next_multiple_of(4));
    bytes.extend((len as u16).to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value);
    bytes.resize(len.next_multiple_of(4), 0);
    bytes
}

/// The value of an attribute.
fn find(mut attributes: &[u8], wanted: u16) -> Option<&[u8]> {
    while let Some(&[len_0, len_1, kind_0, kind_1]) = attributes.first_chunk::<4>() {
        let len = usize::from(u16::from_ne_bytes([len_0, len_1]));
        let value = attributes.get(4..len)?;
        // The two highest bits say how it is nested.
        if u16::from_ne_bytes([kind_0, kind_1]) & 0x3fff == wanted {
            return Some(value);
        }
        attributes = attributes.get(len.next_multiple_of(4)..)?;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_one_after_the_other() {
        let all = [attribute(1, b"abcde"), attribute(3, &5u64.to_ne_bytes())].concat();
        assert_eq!(all.len(), 12 + 12);
        assert_eq!(find(&all, 1), Some(&b"abcde"[..]));
        assert_eq!(find(&all, 3), Some(&5u64.to_ne_bytes()[..]));
        assert_eq!(find(&all, 2), None);
        for cut in 0..all.len() {
            let found = find(&all[..cut], 3);
            assert_eq!(found, None, "{cut}");
        }
        assert_eq!(find(&[0; 8], 3), None, "a length that is none");
    }

    #[test]
    fn bits_of_the_kernels() {
        let rows = [
            (0b0000, (false, false, false)),
            (0b0011, (true, true, false)),
            (0b1011, (true, true, true)),
        ];
        for (bits, (native, redirect, zero_copy)) in rows {
            assert_eq!(XdpFeatures::of(bits), XdpFeatures { native, redirect, zero_copy });
        }
    }

    /// The loopback has no XDP of its own; an old kernel says that it does not know the question.
    #[test]
    fn the_loopback() {
        match xdp_features(1) {
            Ok(features) => assert!(!features.native && !features.zero_copy, "{features:?}"),
            Err(error) => assert_eq!(error.raw_os_error(), Some(libc::ENOENT)),
        }
        assert!(xdp_features(u32::MAX >> 1).is_err());
    }
}
