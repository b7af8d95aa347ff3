/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * What the steer program and user space (src/io/afxdp/layout.rs) have in common. A test in
 * layout.rs reads this file and compares every number and name.
 *
 * Addresses and ports in keys are in network order, as they stand in packets; ports of ranges are
 * in host order, since they are compared by size.
 */
#ifndef GUIDEWAY_STEER_H
#define GUIDEWAY_STEER_H

#define STEER_QUEUES 64		/* entries of the XSKMAP */
#define STEER_ADDRESSES 65536	/* entries of the address map */
#define STEER_PORTS 262144	/* entries of the port map */
#define STEER_RANGES 8		/* port ranges of one shared address */
#define STEER_TAGS 2		/* VLAN tags that are looked behind */
#define STEER_BACKENDS 262144	/* entries of the map of DNAT backends' sockets */
#define STEER_FRAGMENTS 16384	/* datagrams of DNAT backends whose later fragments are ours */
#define STEER_OWN 4096		/* entries of the map of the machine's own addresses */
#define STEER_SOURCES 2		/* networks of tunnels' outer sources */
#define STEER_TAG 8		/* bytes that say how much room is in front of a frame */
#define STEER_EXTENSIONS 7	/* IPv6 extension headers that are walked over */

/* One counter a frame: their sum is the number of frames the program saw. */
enum steer_counter {
	STEER_STEERED,			/* IPv4 or IPv6 to a socket */
	STEER_STEERED_ARP,		/* ARP or NDP for one of our addresses, to a socket */
	STEER_STEERED_ICMP_ERROR,	/* by the quoted packet, to a socket */
	STEER_STEERED_RETURN,		/* from a DNAT backend, to a socket */
	STEER_NO_WORKER,		/* ours, but its queue has no socket */
	STEER_PASSED,			/* to the kernel: not ours */
	STEER_PASSED_OTHER_MAC,		/* to the kernel: neither this interface's MAC nor a group's */
	STEER_PASSED_SHARED_FRAGMENT,	/* to the kernel: a fragment without ports to a shared address */
	STEER_PASSED_VLAN,		/* to the kernel: more than two VLAN tags, whatever is in it */
	STEER_COUNTERS,
};

/* An IPv4 address stands as its IPv4-mapped one (RFC 4291 section 2.5.5.2). */
struct steer_ip {
	__be32 word[4];
};

/* A network: what is left of an address by the mask. */
struct steer_network {
	struct steer_ip mask;
	struct steer_ip network;
};

struct steer_config {
	__u8 mac[6];
	__u8 on_no_worker;	/* XDP_DROP or XDP_PASS */
	__u8 dnat;		/* 1: there are DNAT backends */
	__u32 sources;		/* how many of `source` hold */
	struct steer_network source[STEER_SOURCES];
};

/*
 * What stands in the room in front of a frame. No frame that is taken begins in this way: it would
 * be for the station 00:00:00:00:00:00.
 */
struct steer_tag {
	__u8 no_station[6];
	__be16 room;		/* bytes before the frame, this tag included */
};

struct steer_range {
	__u16 low;
	__u16 high;		/* inclusive */
};

struct steer_address {
	__u16 whole;		/* 1: everything to this address is ours; 0: shared with the machine */
	__u16 ranges;		/* how many of `range` hold */
	__u16 room;		/* bytes of room its frames are given in front, 0 or at least STEER_TAG */
	__u16 reserved;
	struct steer_range range[STEER_RANGES];
};

/* A datagram in fragments (RFC 791 section 3.2, RFC 8200 section 4.5). */
struct steer_datagram {
	struct steer_ip source;
	struct steer_ip destination;
	__be32 identification;
	__u32 protocol;		/* of IPv4; of IPv6 0, since later fragments need not say it */
};

struct steer_port {
	struct steer_ip address;
	__be16 port;
	__u8 protocol;
	__u8 reserved;
};

#endif
