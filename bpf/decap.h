/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * What the decap program and user space (src/io/afxdp/decap/layout.rs) have in common. A test in
 * layout.rs reads this file and compares every number and name.
 *
 * Addresses in keys are in network order, as they stand in packets.
 */
#ifndef GUIDEWAY_DECAP_H
#define GUIDEWAY_DECAP_H

#define DECAP_ADDRESSES 65536	/* entries of the address map */
#define DECAP_SOURCES 4096	/* entries of the source trie */
#define DECAP_EXTENSIONS 4	/* IPv6 extension headers before the tunnel header */

/* What an address may be; values of the address map have one bit or both. */
#define DECAP_LOCAL 1		/* an outer destination */
#define DECAP_INNER 2		/* an inner destination */

/* One counter a frame: their sum is the number of frames the program saw. */
enum decap_counter {
	DECAP_DECAPSULATED_IPIP,	/* to the kernel, without an IPv4 or IPv6 header before it */
	DECAP_DECAPSULATED_GRE,		/* to the kernel, without IP and GRE */
	DECAP_DECAPSULATED_GUE,		/* to the kernel, without IP, UDP and GUE */
	DECAP_PASSED,			/* untouched to the kernel: not a tunnel's */
	DECAP_PASSED_VLAN,		/* untouched: VLAN-tagged, whatever is in it */
	DECAP_PASSED_NOT_LOCAL,		/* untouched: a tunnel's, to an outer address not ours */
	DECAP_PASSED_SOURCE,		/* untouched: from an outer source that is not listed */
	DECAP_PASSED_FRAGMENT,		/* untouched: an outer fragment that is or may be a tunnel's */
	DECAP_PASSED_EXTENSIONS,	/* untouched: more IPv6 extension headers than are looked at */
	DECAP_PASSED_GRE,		/* untouched: GRE of a kind that is not taken off */
	DECAP_PASSED_GUE,		/* untouched: GUE of a kind that is not taken off */
	DECAP_PASSED_MALFORMED,		/* untouched: wrong outer lengths or checksum */
	DECAP_DROPPED_DESTINATION,	/* the inner destination is not ours: this is no relay */
	DECAP_DROPPED_ECN,		/* congestion that the inner packet cannot tell of */
	DECAP_DROPPED_INNER,		/* the inner packet is none, or longer than the outer one */
	DECAP_COUNTERS,
};

struct decap_config {
	__be16 gue_port;
	__u8 sources_listed;	/* 1: only sources in the trie are taken; 0: any */
	__u8 reserved;
};

struct decap_address {
	__u8 family;		/* 4 or 6 */
	__u8 reserved[3];
	__u8 address[16];	/* the first 4 for IPv4 */
};

struct decap_source {
	__u32 prefix_len;	/* bits of all that follows: 32 more than the prefix's */
	struct decap_address address;
};

#endif
