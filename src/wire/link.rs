//! The link header: Ethernet II with up to two VLAN tags.

use std::fmt;

use super::MacAddress;
use super::parse_error::{Fault, Layer, ParseError};

/// Length of an Ethernet header without tags.
pub const ETHERNET_LEN: usize = 14;
/// Length of one VLAN tag (IEEE 802.1Q clause 9.3).
pub const TAG_LEN: usize = 4;
/// Most tags a frame may carry: a service tag and a customer tag (IEEE 802.1ad).
pub const MOST_TAGS: usize = 2;

/// EtherType of IPv4.
pub const ETHERTYPE_IPV4: u16 = 0x0800;
/// EtherType of ARP.
pub const ETHERTYPE_ARP: u16 = 0x0806;
/// EtherType of IPv6.
pub const ETHERTYPE_IPV6: u16 = 0x86dd;
/// Tag protocol identifier of a customer tag (IEEE 802.1Q).
const CUSTOMER: u16 = 0x8100;
/// Tag protocol identifier of a service tag (IEEE 802.1ad).
const SERVICE: u16 = 0x88a8;

/// In a word: the six bytes of a MAC.
const MAC: u64 = (1 << 48) - 1;

/// In a tag: it is there. A VLAN number of 0 would not tell.
const PRESENT: u16 = 1 << 15;
/// In a tag: of 802.1ad.
const IS_SERVICE: u16 = 1 << 12;
const NUMBER: u16 = 0xfff;

/// The VLANs of a frame, the outer one first; 4 bytes, plain data.
///
/// Priority bits are not part of it, and a tag with VLAN number 0 says a priority and no VLAN.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
#[repr(C)]
pub struct Tags([u16; MOST_TAGS]);

impl Tags {
    /// No tag.
    pub const NONE: Tags = Tags([0; MOST_TAGS]);

    /// One customer tag (802.1Q); a number above 4095 is cut to its low 12 bits.
    pub const fn customer(number: u16) -> Tags {
        Tags([PRESENT | number & NUMBER, 0])
    }

    /// The same with one more tag inside; none when both places are taken.
    pub fn with_inner(self, number: u16, is_service: bool) -> Option<Tags> {
        let tag = PRESENT | number & NUMBER | if is_service { IS_SERVICE } else { 0 };
        match self.0 {
            [0, _] => Some(Tags([tag, 0])),
            [outer, 0] => Some(Tags([outer, tag])),
            _ => None,
        }
    }

    /// How many tags.
    #[inline]
    pub const fn count(self) -> usize {
        (self.0[0] != 0) as usize + (self.0[1] != 0) as usize
    }

    /// Bytes of a link header with these tags.
    #[inline]
    pub const fn header_len(self) -> usize {
        ETHERNET_LEN + self.count() * TAG_LEN
    }

    /// The VLAN numbers, outer first.
    pub fn numbers(self) -> impl Iterator<Item = u16> {
        self.0.into_iter().filter(|&tag| tag != 0).map(|tag| tag & NUMBER)
    }

    /// Writes the tags as they stand behind the MACs.
    #[inline]
    fn emit(self, place: &mut [u8]) {
        for (tag, place) in self.0.into_iter().zip(place.chunks_exact_mut(TAG_LEN)) {
            let protocol = if tag & IS_SERVICE != 0 { SERVICE } else { CUSTOMER };
            place[..2].copy_from_slice(&protocol.to_be_bytes());
            place[2..].copy_from_slice(&(tag & NUMBER).to_be_bytes());
        }
    }
}

impl fmt::Display for Tags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Tags::NONE {
            return f.write_str("untagged");
        }
        let mut separator = "vlan ";
        for number in self.numbers() {
            write!(f, "{separator}{number}")?;
            separator = ".";
        }
        Ok(())
    }
}

impl fmt::Debug for Tags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A frame's link header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Link {
    /// Whom the frame is for: a station or a group.
    pub destination: MacAddress,
    /// Who sent the frame.
    pub source: MacAddress,
    /// Its VLANs.
    pub tags: Tags,
    /// Bytes before the packet: 14, 18 or 22.
    pub len: u8,
}

impl Link {
    /// Nothing was read yet.
    pub const NONE: Link =
        Link { destination: MacAddress::ZERO, source: MacAddress::ZERO, tags: Tags::NONE, len: 0 };

    /// Reads a header as if it had no tags; gives the EtherType of what follows: that of a tag, if
    /// there is one after all.
    #[inline(always)]
    pub fn read_untagged(&mut self, header: &[u8; ETHERNET_LEN]) -> u16 {
        let [d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5, t0, t1] = *header;
        self.destination = MacAddress([d0, d1, d2, d3, d4, d5]);
        self.source = MacAddress([s0, s1, s2, s3, s4, s5]);
        (self.tags, self.len) = (Tags::NONE, ETHERNET_LEN as u8);
        u16::from_be_bytes([t0, t1])
    }

    /// Does a frame with this header come from one station to the one whose MAC is this
    /// [`word`](MacAddress::word)? Asked of whole words, before anything is copied; the answer is
    /// the EtherType.
    #[inline(always)]
    pub fn from_one_to(header: &[u8; ETHERNET_LEN], mac: u64) -> Option<u16> {
        let destination = u64::from_le_bytes(*header.first_chunk()?);
        let source = u64::from_le_bytes(*header.last_chunk()?);
        let is_group = (destination | source) & 1 != 0;
        let is_it = destination & MAC == mac && source & MAC != 0 && !is_group;
        is_it.then_some(((source >> 48) as u16).swap_bytes())
    }

    /// The [`word`](MacAddress::word) of a frame's source.
    #[inline(always)]
    pub fn source_word(header: &[u8; ETHERNET_LEN]) -> u64 {
        header.last_chunk().map_or(0, |&source| u64::from_le_bytes(source) & MAC)
    }

    /// Reads the header into place; gives the EtherType of what follows.
    #[inline]
    pub(super) fn parse(&mut self, frame: &[u8]) -> Result<u16, ParseError> {
        let Some(header) = frame.first_chunk::<ETHERNET_LEN>() else {
            let (wanted, found) = (ETHERNET_LEN, frame.len());
            return Err(ParseError::new(Layer::Ethernet, Fault::FrameEnds, 0, wanted, found));
        };
        let ethertype = self.read_untagged(header);
        if matches!(ethertype, CUSTOMER | SERVICE) {
            return self.parse_tags(frame, ethertype);
        }
        Ok(ethertype)
    }

    /// What stands behind the MACs of a tagged frame. A third tag is not looked behind: its
    /// EtherType is no packet of ours.
    #[cold]
    fn parse_tags(&mut self, frame: &[u8], mut ethertype: u16) -> Result<u16, ParseError> {
        for _ in 0..MOST_TAGS {
            if !matches!(ethertype, CUSTOMER | SERVICE) {
                break;
            }
            let at = usize::from(self.len);
            let rest = frame.get(at..).unwrap_or_default();
            let Some(&[control0, control1, next0, next1]) = rest.first_chunk::<TAG_LEN>() else {
                return Err(ParseError::new(
                    Layer::Vlan,
                    Fault::FrameEnds,
                    at,
                    TAG_LEN,
                    rest.len(),
                ));
            };
            let number = u16::from_be_bytes([control0, control1]) & NUMBER;
            if number != 0 {
                self.tags = self.tags.with_inner(number, ethertype == SERVICE).unwrap_or_default();
            }
            self.len += TAG_LEN as u8;
            ethertype = u16::from_be_bytes([next0, next1]);
        }
        Ok(ethertype)
    }

    /// Where the packet begins in the frame.
    #[inline]
    pub fn end(&self) -> usize {
        usize::from(self.len)
    }
}

/// Writes MACs and tags so that they end where the EtherType begins, which stays: the frame's link
/// header is `tags.header_len()` long. `false` when the frame is shorter than that.
#[inline(always)]
pub(super) fn emit(frame: &mut [u8], macs: &[u8; 12], tags: Tags) -> bool {
    let Some((place, rest)) = frame.split_first_chunk_mut::<12>() else { return false };
    *place = *macs;
    if tags == Tags::NONE {
        return true;
    }
    let tags_place = rest.get_mut(..tags.count() * TAG_LEN);
    tags_place.is_some_and(|place| {
        tags.emit(place);
        true
    })
}

/// Writes a whole link header; gives what is behind it, or none when the frame is shorter.
#[inline(always)]
pub(super) fn emit_whole<'a>(
    frame: &'a mut [u8],
    macs: &[u8; 12],
    tags: Tags,
    ethertype: u16,
) -> Option<&'a mut [u8]> {
    let [t0, t1] = ethertype.to_be_bytes();
    if tags != Tags::NONE {
        let (header, behind) = frame.split_at_mut_checked(tags.header_len())?;
        *header.last_chunk_mut()? = [t0, t1];
        return emit(header, macs, tags).then_some(behind);
    }
    let (header, behind) = frame.split_first_chunk_mut::<ETHERNET_LEN>()?;
    let [a, b, c, d, e, f, g, h, i, j, k, l] = *macs;
    *header = [a, b, c, d, e, f, g, h, i, j, k, l, t0, t1];
    Some(behind)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(hex: &str) -> Vec<u8> {
        let digits: Vec<u8> =
            hex.chars().filter_map(|c| c.to_digit(16)).map(|digit| digit as u8).collect();
        digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
    }

    fn parsed(frame: &[u8]) -> Result<(Link, u16), ParseError> {
        let mut link = Link::NONE;
        link.parse(frame).map(|ethertype| (link, ethertype))
    }

    #[test]
    fn tags_by_row() {
        let macs = "020000000001 0200000000c1 ";
        let rows = [
            ("untagged", "0800", Tags::NONE, 14, ETHERTYPE_IPV4),
            ("802.1Q with a priority", "8100 a00a 0800", Tags::customer(10), 18, ETHERTYPE_IPV4),
            ("priority only", "8100 a000 86dd", Tags::NONE, 18, ETHERTYPE_IPV6),
            (
                "QinQ",
                "88a8 0064 8100 000a 0806",
                Tags::NONE
                    .with_inner(100, true)
                    .and_then(|tags| tags.with_inner(10, false))
                    .unwrap(),
                22,
                ETHERTYPE_ARP,
            ),
            (
                "three tags: not looked behind",
                "8100 0001 8100 0002 8100 0003 0800",
                Tags::customer(1).with_inner(2, false).unwrap(),
                22,
                CUSTOMER,
            ),
        ];
        for (description, rest, tags, len, ethertype) in rows {
            let frame = bytes(&format!("{macs}{rest}"));
            let (link, found) = parsed(&frame).unwrap();
            assert_eq!((link.tags, link.end(), found), (tags, len, ethertype), "{description}");
            assert_eq!(link.source, MacAddress([2, 0, 0, 0, 0, 0xc1]), "{description}");
            for cut in 0..len.min(frame.len()) {
                assert!(parsed(&frame[..cut]).is_err(), "{description}, cut at {cut}");
            }
        }
    }

    #[test]
    fn from_one_station_to_one() {
        let (ours, theirs, group) =
            ([2, 4, 6, 8, 10, 12], [2, 0, 0, 0, 0, 0xc1], [3, 4, 6, 8, 10, 12]);
        let rows = [
            ("to us", ours, theirs, true),
            ("to another", theirs, theirs, false),
            ("another in the last byte", [2, 4, 6, 8, 10, 13], theirs, false),
            ("to a group", group, theirs, false),
            ("from a group", ours, [1, 0, 0x5e, 0, 0, 1], false),
            ("from nobody", ours, [0; 6], false),
            ("from a station told by its last byte", ours, [0, 0, 0, 0, 0, 1], true),
        ];
        for (description, to, from, wanted) in rows {
            let header = [&to[..], &from, &[0xff, 0xff]].concat();
            let header = header.first_chunk().unwrap();
            let wanted = wanted.then_some(0xffff);
            let found = Link::from_one_to(header, MacAddress(ours).word());
            assert_eq!(found, wanted, "{description}");
            assert_eq!(MacAddress::from_word(Link::source_word(header)).0, from, "{description}");
        }
        let header = [&group[..], &theirs, &[8, 0]].concat();
        let header = header.first_chunk().unwrap();
        let found = Link::from_one_to(header, MacAddress(group).word());
        assert_eq!(found, None, "even if ours is one");
    }

    #[test]
    fn emitted_tags_are_read_back() {
        let both = Tags::customer(7).with_inner(8, true).unwrap();
        for tags in [Tags::NONE, Tags::customer(4094), both] {
            let mut header = vec![0xff; tags.header_len()];
            let at = header.len() - 2;
            header[at..].copy_from_slice(&ETHERTYPE_IPV6.to_be_bytes());
            let (to, from) = (MacAddress([2; 6]), MacAddress([4; 6]));
            let macs: [u8; 12] = [to.0, from.0].concat().try_into().unwrap();
            assert!(emit(&mut header, &macs, tags));
            let (link, ethertype) = parsed(&header).unwrap();
            assert_eq!((link.destination, link.source), (to, from));
            assert_eq!((link.tags, ethertype), (tags, ETHERTYPE_IPV6), "{tags}");
        }
    }
}
