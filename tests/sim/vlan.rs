//! VLANs between a switch and the balancer: hosts know nothing of them.

use guideway::wire::Tags;

use super::chance::Chance;

/// What the switch puts behind the MACs of frames to the balancer, and wants there in frames from it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Vlan {
    pub tags: Tags,
    bytes: Vec<u8>,
}

const MACS: usize = 12;

impl Vlan {
    /// Untagged.
    pub fn none() -> Vlan {
        Vlan { tags: Tags::NONE, bytes: vec![] }
    }

    /// A customer's VLAN, in one of a provider if there is one (IEEE 802.1ad).
    pub fn new(provider: Option<u16>, customer: u16) -> Vlan {
        let mut vlan = Vlan::none();
        if let Some(provider) = provider {
            vlan.add([0x88, 0xa8], provider, true);
        }
        vlan.add([0x81, 0x00], customer, false);
        vlan
    }

    fn add(&mut self, protocol: [u8; 2], number: u16, is_service: bool) {
        self.tags = self.tags.with_inner(number, is_service).expect("two tags at most");
        self.bytes.extend(protocol);
        self.bytes.extend(number.to_be_bytes());
    }

    /// None in half of all cases, two in a quarter.
    pub fn draw(chance: &mut Chance) -> Vlan {
        if chance.one_in(2) {
            return Vlan::none();
        }
        let mut number = || chance.between(1, 4094) as u16;
        let (provider, customer) = (number(), number());
        Vlan::new(chance.one_in(2).then_some(provider), customer)
    }

    /// The frame as it goes to the balancer.
    pub fn put(&self, frame: &[u8]) -> Vec<u8> {
        let (macs, rest) = frame.split_at(MACS.min(frame.len()));
        [macs, &self.bytes, rest].concat()
    }

    /// The frame as hosts get it; none when its tags are other ones.
    pub fn take(&self, frame: &[u8]) -> Option<Vec<u8>> {
        let (macs, rest) = frame.split_at_checked(MACS)?;
        let rest = rest.strip_prefix(&self.bytes[..])?;
        let is_tag = |protocol: &&[u8; 2]| matches!(protocol, [0x81, 0x00] | [0x88, 0xa8]);
        let has_more = rest.first_chunk().is_some_and(|protocol| is_tag(&protocol));
        (!has_more).then(|| [macs, rest].concat())
    }
}

/// The frame without its tags, at most two.
pub fn without_tags(frame: &[u8]) -> Vec<u8> {
    let (macs, mut rest) = frame.split_at(MACS.min(frame.len()));
    for _ in 0..2 {
        match rest {
            [0x81, 0x00, _, _, behind @ ..] | [0x88, 0xa8, _, _, behind @ ..] => rest = behind,
            _ => break,
        }
    }
    [macs, rest].concat()
}
