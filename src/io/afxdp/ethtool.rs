//! What only the ethtool ioctls know: queue counts, the RSS hash, offloads.

#![allow(unsafe_code)]

use std::io;
use std::os::fd::AsRawFd;

use rustix::net::{AddressFamily, SocketType, socket};

const SIOCETHTOOL: libc::c_ulong = 0x8946;
// Commands and bits of linux/ethtool.h.
const GCHANNELS: u32 = 0x3c;
const GRSSH: u32 = 0x46;
const GRXFH: u32 = 0x29;
const SRXCSUM: u32 = 0x15;
const GTXCSUM: u32 = 0x16;
const STXCSUM: u32 = 0x17;
const SSG: u32 = 0x19;
const STSO: u32 = 0x1f;
const SGSO: u32 = 0x24;
const GFLAGS: u32 = 0x25;
const SFLAGS: u32 = 0x26;
const GGRO: u32 = 0x2b;
const SGRO: u32 = 0x2c;
const FLAG_TXVLAN: u32 = 1 << 7;
const FLAG_RXVLAN: u32 = 1 << 8;
const FLAG_LRO: u32 = 1 << 15;
const TCP_V4_FLOW: u32 = 1;
const UDP_V4_FLOW: u32 = 2;
const HASH_TOEPLITZ: u8 = 1;
const FIELDS_ADDRESSES: u64 = 1 << 4 | 1 << 5;
const FIELDS_PORTS: u64 = 1 << 6 | 1 << 7;
const RSS_HEAD: usize = 6;
const RSS_WORDS: usize = 2048;

/// Queues in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Channels {
    /// Receive queues.
    pub rx: u32,
    /// Transmit queues.
    pub tx: u32,
}

/// What a NIC hashes of a protocol's packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HashedFields {
    /// Both addresses.
    pub addresses: bool,
    /// Both ports.
    pub ports: bool,
}

/// How a NIC spreads packets over its queues.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rss {
    /// The hash function is Toeplitz.
    pub toeplitz: bool,
    /// The hash key.
    pub key: Vec<u8>,
    /// Hash modulo length gives the place, its number the receive queue.
    pub indirection: Vec<u32>,
    /// Fields hashed for IPv4 TCP; none when the driver does not tell.
    pub tcp: Option<HashedFields>,
    /// Fields hashed for IPv4 UDP.
    pub udp: Option<HashedFields>,
}

#[repr(C)]
struct Request {
    name: [u8; libc::IFNAMSIZ],
    data: *mut libc::c_void,
    // The kernel's `struct ifreq` ends in a union of 24 bytes.
    padding: [u8; 16],
}

/// Runs a command whose argument is `words`, in place.
fn call(interface: &str, words: &mut [u32]) -> io::Result<()> {
    if interface.len() >= libc::IFNAMSIZ {
        return Err(io::Error::from_raw_os_error(libc::ENODEV));
    }
    let mut request =
        Request { name: [0; libc::IFNAMSIZ], data: words.as_mut_ptr().cast(), padding: [0; 16] };
    for (place, byte) in request.name.iter_mut().zip(interface.bytes()) {
        *place = byte;
    }
    let socket = socket(AddressFamily::INET, SocketType::DGRAM, None)?;
    // SAFETY: `request` has the layout of `struct ifreq` with a terminated name, and `data` points
    // to `words`, which lives over the call. Every caller passes as many words as the kernel reads
    // and writes for its command: the sizes below are those of linux/ethtool.h.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), SIOCETHTOOL as _, &raw mut request) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Receive and transmit queues in use.
///
/// # Errors
/// `EOPNOTSUPP` where the driver does not tell, `ENODEV` for no such interface.
pub fn channels(interface: &str) -> io::Result<Channels> {
    // struct ethtool_channels: cmd, four maxima, then rx, tx, other, combined.
    let mut words = [0u32; 9];
    words[0] = GCHANNELS;
    call(interface, &mut words)?;
    let [_, _, _, _, _, rx, tx, _, combined] = words;
    Ok(Channels { rx: rx + combined, tx: tx + combined })
}

/// The RSS hash key, table and fields.
///
/// # Errors
/// `EOPNOTSUPP` where there is none (veth, virtio without it): flows are then spread by a hash of
/// our own and handed over.
pub fn rss(interface: &str) -> io::Result<Rss> {
    // struct ethtool_rxfh: cmd, rss_context, indir_size, key_size, four bytes of which the first
    // is the function, one reserved word; then the table as words and the key as bytes. A call with
    // both sizes 0 tells them.
    let mut words = vec![0u32; RSS_HEAD + RSS_WORDS];
    words[0] = GRSSH;
    call(interface, &mut words)?;
    let (table, key) = (words[2] as usize, words[3] as usize);
    if table + key.div_ceil(4) > RSS_WORDS {
        return Err(io::Error::from_raw_os_error(libc::E2BIG));
    }
    words[0] = GRSSH;
    call(interface, &mut words)?;
    let mut rss = read_rss(&words);
    rss.tcp = hashed_fields(interface, TCP_V4_FLOW);
    rss.udp = hashed_fields(interface, UDP_V4_FLOW);
    Ok(rss)
}

/// Reads a `struct ethtool_rxfh` with its table and key.
fn read_rss(words: &[u32]) -> Rss {
    let word = |at: usize| words.get(at).copied().unwrap_or_default();
    let (table, key) = (word(2) as usize, word(3) as usize);
    let rest = words.get(RSS_HEAD..).unwrap_or_default();
    let after = rest.get(table..).unwrap_or_default();
    Rss {
        toeplitz: word(4).to_ne_bytes()[0] == HASH_TOEPLITZ,
        key: after.iter().flat_map(|word| word.to_ne_bytes()).take(key).collect(),
        indirection: rest.iter().copied().take(table).collect(),
        tcp: None,
        udp: None,
    }
}

fn hashed_fields(interface: &str, flow: u32) -> Option<HashedFields> {
    // struct ethtool_rxnfc: cmd, flow_type, data (64 bits), and 176 bytes that are not used here.
    let mut words = [0u32; 48];
    words[0] = GRXFH;
    words[1] = flow;
    call(interface, &mut words).ok()?;
    let [low, high] = [words[2].to_ne_bytes(), words[3].to_ne_bytes()];
    let mut data = [0; 8];
    data[..4].copy_from_slice(&low);
    data[4..].copy_from_slice(&high);
    let data = u64::from_ne_bytes(data);
    Some(HashedFields {
        addresses: data & FIELDS_ADDRESSES == FIELDS_ADDRESSES,
        ports: data & FIELDS_PORTS == FIELDS_PORTS,
    })
}

/// Offloads that AF_XDP has to do with; none where the driver does not tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offloads {
    /// Checksums of what is sent are left to the hardware; by a veth, to whoever receives.
    pub tx_checksum: Option<bool>,
    /// Received segments become larger ones, in the stack.
    pub gro: Option<bool>,
    /// The same in the hardware.
    pub lro: Option<bool>,
    /// VLAN tags are taken off what is received.
    pub rx_vlan: Option<bool>,
}

/// Which of them are on.
pub fn offloads(interface: &str) -> Offloads {
    let word = |command| {
        let mut words = [command, 0];
        call(interface, &mut words).ok().map(|()| words[1])
    };
    let flags = word(GFLAGS);
    Offloads {
        tx_checksum: word(GTXCSUM).map(|on| on != 0),
        gro: word(GGRO).map(|on| on != 0),
        lro: flags.map(|flags| flags & FLAG_LRO != 0),
        rx_vlan: flags.map(|flags| flags & FLAG_RXVLAN != 0),
    }
}

/// Turns off what makes an interface send frames that are not complete on the wire: checksums left
/// to hardware, large segments, tags beside the frame. Gives what could not be turned off.
///
/// # Errors
/// The first refusal of the checksum, without which frames are unusable.
pub fn offloads_off(interface: &str) -> io::Result<Vec<&'static str>> {
    let mut refused = Vec::new();
    for (name, command) in [
        ("segmentation of TCP (tso)", STSO),
        ("segmentation (gso)", SGSO),
        ("receive coalescing (gro)", SGRO),
        ("scatter and gather (sg)", SSG),
        ("receive checksum (rx)", SRXCSUM),
    ] {
        if call(interface, &mut [command, 0]).is_err() {
            refused.push(name);
        }
    }
    let mut flags = [GFLAGS, 0];
    let vlan_and_lro = call(interface, &mut flags).and_then(|()| {
        let wanted = flags[1] & !(FLAG_TXVLAN | FLAG_RXVLAN | FLAG_LRO);
        call(interface, &mut [SFLAGS, wanted])
    });
    if vlan_and_lro.is_err() {
        refused.push("VLAN tags beside the frame (txvlan, rxvlan), lro");
    }
    call(interface, &mut [STXCSUM, 0])?;
    Ok(refused)
}

/// Has an interface leave the VLAN tags in the frames it receives: XDP does not see a tag that stands
/// beside the frame, and would take it for an untagged one. Gives whether it took them off until now.
///
/// # Errors
/// When it goes on taking them off.
pub fn rx_vlan_off(interface: &str) -> io::Result<bool> {
    let flags = || {
        let mut words = [GFLAGS, 0];
        call(interface, &mut words).map(|()| words[1])
    };
    // Where nobody tells, no hardware does it.
    let Ok(before) = flags() else { return Ok(false) };
    if before & FLAG_RXVLAN == 0 {
        return Ok(false);
    }
    call(interface, &mut [SFLAGS, before & !FLAG_RXVLAN])?;
    match flags()? & FLAG_RXVLAN {
        0 => Ok(true),
        _ => Err(io::Error::from_raw_os_error(libc::EOPNOTSUPP)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_and_key_stand_behind_the_head() {
        // cmd, context, 4 entries, a key of 6 bytes, Toeplitz, reserved.
        let head = [GRSSH, 0, 4, 6, u32::from_ne_bytes([HASH_TOEPLITZ, 0, 0, 0]), 0];
        let key = [u32::from_ne_bytes([1, 2, 3, 4]), u32::from_ne_bytes([5, 6, 9, 9])];
        let words = [&head[..], &[0, 1, 2, 3], &key].concat();
        let rss = read_rss(&words);
        assert!(rss.toeplitz);
        assert_eq!((rss.indirection, rss.key), (vec![0, 1, 2, 3], vec![1, 2, 3, 4, 5, 6]));
        let cut = read_rss(&words[..8]);
        assert_eq!((cut.indirection, cut.key), (vec![0, 1], vec![]));
    }

    #[test]
    fn refusals_are_the_kernels() {
        let no_such = channels("guideway-none").unwrap_err();
        assert_eq!(no_such.raw_os_error(), Some(libc::ENODEV));
        let too_long = channels("a-name-of-twenty-byte").unwrap_err();
        assert_eq!(too_long.raw_os_error(), Some(libc::ENODEV));
        // The loopback has neither: what a veth says too.
        assert_eq!(channels("lo").unwrap_err().raw_os_error(), Some(libc::EOPNOTSUPP));
        assert_eq!(rss("lo").unwrap_err().raw_os_error(), Some(libc::EOPNOTSUPP));
        assert!(!rx_vlan_off("lo").unwrap(), "no hardware, no tags taken off");
    }
}
