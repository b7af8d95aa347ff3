//! Addresses that are none, and those of either family that are fine.

use super::mistakes::{shown, small_with};
use super::*;

/// Description, what stands in the small file, what stands there instead, the whole answer.
const MISTAKES: [(&str, &str, &str, &str); 5] = [
    (
        "an address with a port",
        "10.2.0.11",
        "10.2.0.11:80",
        "f:12:30: services[0].backends[0].address: `10.2.0.11:80` is not an IP address; wanted an \
         IPv4 or IPv6 address such as 10.1.0.10 or 2001:db8::10
  12 |       - { name: b1, address: 10.2.0.11:80 }
     |                              ^^^^^^^^^^^^
     = hint: the port has a key of its own",
    ),
    (
        "an IPv4-mapped address",
        "10.1.0.100",
        "::ffff:10.1.0.100",
        "f:8:14: services[0].address: `::ffff:10.1.0.100` is an IPv4-mapped address; wanted an IPv4 \
         or IPv6 address such as 10.1.0.10 or 2001:db8::10
   8 |     address: ::ffff:10.1.0.100
     |              ^^^^^^^^^^^^^^^^^
     = hint: no packet may carry it; the IPv4 address is 10.1.0.100",
    ),
    (
        "an address with a zone",
        "10.1.0.100",
        "fe80::1%eth1",
        "f:8:14: services[0].address: `fe80::1%eth1` is not an IP address; wanted an IPv4 or IPv6 \
         address such as 10.1.0.10 or 2001:db8::10
   8 |     address: fe80::1%eth1
     |              ^^^^^^^^^^^^
     = hint: an address that needs no zone",
    ),
    (
        "a link-local address",
        "10.1.0.100",
        "fe80::1",
        "f:7:5: services[0].mode: nat needs an IPv6 address to translate to, and there is none in \
         `snat`; wanted an entry with an IPv6 one in `snat`, or `mode: l2dsr`
   7 |   - name: web
     |     ^
f:8:14: services[0].address: fe80::1 is a link-local address, of which every link has its \
         own; wanted a global or unique local IPv6 address
   8 |     address: fe80::1
     |              ^^^^^^^
f:12:30: services[0].backends[0].address: 10.2.0.11 is IPv4, and the VIP fe80::1 is IPv6: nat \
         makes no IPv4 packets of IPv6 ones; wanted the backend's IPv6 address, or a tunnel \
         (`mode: ipip`, `gre` or `gue`)
  12 |       - { name: b1, address: 10.2.0.11 }
     |                              ^^^^^^^^^",
    ),
    (
        "an address in brackets",
        "10.1.0.100",
        "'[2001:db8::1]'",
        "f:8:14: services[0].address: `[2001:db8::1]` is not an IP address; wanted an IPv4 or IPv6 \
         address such as 10.1.0.10 or 2001:db8::10
   8 |     address: '[2001:db8::1]'
     |              ^^^^^^^^^^^^^^^
     = hint: without the brackets",
    ),
];

#[test]
fn each_address_that_is_none() {
    for (description, from, to, wanted) in MISTAKES {
        assert_eq!(shown(&small_with(from, to)), wanted, "{description}");
    }
}

#[test]
fn ipv6_addresses_as_people_write_them() {
    let rows = [
        ("2001:db8::100", "2001:db8::100"),
        ("2001:DB8:0:0::100", "2001:db8::100"),
        ("\"2001:db8::\"", "2001:db8::"),
        ("'fd00::1'", "fd00::1"),
    ];
    for (text, wanted) in rows {
        let file = small_with("10.1.0.100", text)
            .replace("10.1.0.10\n", "2001:db8::10\n")
            .replace("10.2.0.11", "2001:db8::11");
        let desired = parse("f", &file).unwrap().desired;
        assert_eq!(desired.services[0].address.to_string(), wanted, "{text}");
        assert_eq!(desired.services[0].backends[0].address.to_string(), "2001:db8::11");
        assert_eq!(desired.snat[0].address.to_string(), "2001:db8::10");
    }
}
