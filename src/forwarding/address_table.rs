//! Addresses of ours -> how they are ours: open addressing, at most half full, built once a snapshot.

use std::sync::Arc;

use super::AddressRole;
use crate::wire::Address;

/// Asked of most packets: of each from a backend, and of each that is not ours.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct AddressTable {
    /// A power of two long, and never full.
    places: Arc<[(Address, Option<AddressRole>)]>,
}

impl AddressTable {
    /// Of two roles of one address, the first one counts.
    pub(super) fn new(addresses: &[(Address, AddressRole)]) -> AddressTable {
        let len = (addresses.len() * 2).next_power_of_two().max(2);
        let mut places = vec![(Address::UNSPECIFIED, None); len];
        for &(address, role) in addresses {
            let place = place_of(&places, address);
            if let Some((found, its_role @ None)) = places.get_mut(place) {
                (*found, *its_role) = (address, Some(role));
            }
        }
        AddressTable { places: places.into() }
    }

    /// How an address is ours, if it is.
    #[inline]
    pub(super) fn get(&self, address: Address) -> Option<AddressRole> {
        self.places.get(place_of(&self.places, address)).and_then(|&(_, role)| role)
    }
}

/// Where an address stands, or the empty place where it would.
#[inline]
fn place_of(places: &[(Address, Option<AddressRole>)], address: Address) -> usize {
    let mask = places.len() - 1;
    // Spreads what an operator chose: no secret is needed.
    let (high, low) = address.halves();
    let mixed = (low ^ high.rotate_left(29)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut place = (mixed >> 32) as usize & mask;
    loop {
        let (found, role) = &places[place & mask];
        if role.is_none() || found.differs(address) == 0 {
            return place & mask;
        }
        place += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::IpAddr;

    #[test]
    fn finds_each_address_and_nothing_else() {
        let roles = [AddressRole::Vip, AddressRole::Snat, AddressRole::Shared];
        let v6 = |number: u32| Address::from_bits(0x2001_0db8 << 96 | u128::from(number));
        for address in [Address::v4 as fn(u32) -> Address, v6] {
            let addresses: Vec<_> = (0..500u32)
                .map(|number| (address(0x0a01_0000 + number * 2), roles[number as usize % 3]))
                .collect();
            let table = AddressTable::new(&addresses);
            for &(address, role) in &addresses {
                assert_eq!(table.get(address), Some(role), "{address}");
            }
            for number in 0..500 {
                assert_eq!(table.get(address(0x0a01_0001 + number * 2)), None);
            }
            assert_eq!(table.get(Address::UNSPECIFIED), None);
        }
    }

    #[test]
    fn the_first_role_counts_and_none_is_found_in_nothing() {
        let any = "::".parse::<IpAddr>().unwrap().into();
        let table = AddressTable::new(&[(any, AddressRole::Vip), (any, AddressRole::Snat)]);
        assert_eq!(table.get(any), Some(AddressRole::Vip));
        assert_eq!(AddressTable::new(&[]).get(any), None);
    }
}
