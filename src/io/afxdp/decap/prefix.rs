//! Prefixes of addresses, as outer sources are listed.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// An IPv4 or IPv6 prefix: `10.0.0.0/8`, `fd00::/64`, or an address alone.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct AddressPrefix {
    address: IpAddr,
    len: u8,
}

impl AddressPrefix {
    /// Its first address.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// How many bits count.
    pub fn bits(&self) -> u8 {
        self.len
    }
}

impl fmt::Display for AddressPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.len)
    }
}

impl FromStr for AddressPrefix {
    type Err = String;

    fn from_str(text: &str) -> Result<AddressPrefix, String> {
        let wanted =
            || format!("`{text}` is no prefix; wanted for example 10.0.0.0/8 or fd00::/64");
        let (address, len) = match text.split_once('/') {
            Some((address, len)) => (address, Some(len)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| wanted())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let len: u8 = match len {
            Some(len) => len.parse().map_err(|_| wanted())?,
            None => most,
        };
        if len > most {
            return Err(wanted());
        }
        let first = first_of(address, len);
        if first != address {
            return Err(format!("`{text}` has bits beyond its length; wanted {first}/{len}"));
        }
        Ok(AddressPrefix { address, len })
    }
}

fn first_of(address: IpAddr, len: u8) -> IpAddr {
    let len = u32::from(len);
    match address {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(32 - len).unwrap_or(0);
            IpAddr::V4((address.to_bits() & mask).into())
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(128 - len).unwrap_or(0);
            IpAddr::V6((address.to_bits() & mask).into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_by_row() {
        for (text, wanted) in [
            ("10.0.0.0/8", Ok("10.0.0.0/8")),
            ("10.1.2.3", Ok("10.1.2.3/32")),
            ("0.0.0.0/0", Ok("0.0.0.0/0")),
            ("fd00::/64", Ok("fd00::/64")),
            ("fd00::1", Ok("fd00::1/128")),
            ("::/0", Ok("::/0")),
            ("10.0.0.1/8", Err("wanted 10.0.0.0/8")),
            ("fd00::1/64", Err("wanted fd00::/64")),
            ("10.0.0.0/33", Err("no prefix")),
            ("fd00::/129", Err("no prefix")),
            ("10.0.0.0/", Err("no prefix")),
            ("backend", Err("no prefix")),
        ] {
            let parsed = text.parse::<AddressPrefix>();
            match wanted {
                Ok(wanted) => {
                    assert_eq!(parsed.map(|prefix| prefix.to_string()), Ok(wanted.into()))
                }
                Err(word) => assert!(parsed.as_ref().unwrap_err().contains(word), "{parsed:?}"),
            }
        }
    }
}
