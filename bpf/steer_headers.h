/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Headers as they are on the wire, where the kernel's own cannot be had; and addresses as keys. */
#ifndef GUIDEWAY_STEER_HEADERS_H
#define GUIDEWAY_STEER_HEADERS_H

/* The kernel's ARP and ICMP headers pull in the C library's, which a BPF target has not. */
enum { ARP_ETHERNET = 1, ARP_REQUEST = 1, ARP_REPLY = 2 };
enum { ICMP_UNREACHABLE = 3, ICMP_TIME_EXCEEDED = 11, ICMP_PARAMETER_PROBLEM = 12 };
/* Error messages are those below 128 (RFC 4443 section 2.1); others than these four are reserved. */
enum { ICMPV6_UNREACHABLE = 1, ICMPV6_PARAMETER_PROBLEM = 4, ICMPV6_SOLICITATION = 135 };

/* What follows the MACs, or a tag before this one (IEEE 802.1Q). */
struct vlan_tag {
	__be16 control;
	__be16 protocol;
};

/* Ethernet ARP for IPv4 (RFC 826). */
struct arp_ipv4 {
	__be16 hardware;
	__be16 protocol;
	__u8 hardware_len;
	__u8 protocol_len;
	__be16 operation;
	__u8 sender_mac[6];
	__u8 sender[4];
	__u8 target_mac[6];
	__u8 target[4];
} __attribute__((packed));

struct icmp_error {
	__u8 type;
	__u8 code;
	__u16 checksum;
	__u32 rest;
};

/* A neighbour solicitation (RFC 4861 section 4.3) up to its options. */
struct solicitation {
	__u8 type;
	__u8 code;
	__u16 checksum;
	__u32 reserved;
	struct steer_ip target;
};

/* What IPv6 extension headers have in common, and what a fragment header has (RFC 8200). */
struct extension {
	__u8 next;
	__u8 len;
	__be16 offset;	/* of a routing header: type, segments left */
	__be32 rest;
};

struct ports {
	__be16 source;
	__be16 destination;
};

/* The key of an IPv4 address. */
static always_inline struct steer_ip mapped(__be32 address)
{
	struct steer_ip ip = { .word = { 0, 0, net32(0xffff), address } };

	return ip;
}

/* No packet on a wire has such an address, and in the tables they stand for IPv4 ones. */
static always_inline int is_mapped(const struct steer_ip *ip)
{
	return ip->word[0] == 0 && ip->word[1] == 0 && ip->word[2] == net32(0xffff);
}

static always_inline int is_same(const struct steer_ip *a, const struct steer_ip *b)
{
	return a->word[0] == b->word[0] && a->word[1] == b->word[1] && a->word[2] == b->word[2] &&
	       a->word[3] == b->word[3];
}

#endif
