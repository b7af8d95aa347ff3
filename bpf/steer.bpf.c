// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * Takes VIP and NAT return traffic off the interface into AF_XDP sockets; all else goes on to the
 * kernel as if this program were not there.
 *
 * An AF_XDP socket cannot give a frame back to the kernel, so every decision that a frame is ours
 * is made here, and is made by what stands in the first bytes alone. This program keeps no state but
 * which datagrams of DNAT backends are in fragments: the later ones have no ports (steer_back.h).
 * It needs no header beyond those of the kernel.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>

#include "program.h"
#include "steer.h"

static long (*bpf_redirect_map)(void *map, __u64 key, __u64 flags) = (void *)BPF_FUNC_redirect_map;
static long (*bpf_map_update_elem)(void *map, const void *key, const void *value, __u64 flags) =
	(void *)BPF_FUNC_map_update_elem;
static long (*bpf_xdp_adjust_head)(struct xdp_md *ctx, int delta) = (void *)BPF_FUNC_xdp_adjust_head;

struct {
	map_number(type, BPF_MAP_TYPE_XSKMAP);
	map_number(max_entries, STEER_QUEUES);
	map_type(key, __u32);
	map_type(value, __u32);
} steer_sockets SEC(".maps");

struct {
	map_number(type, BPF_MAP_TYPE_ARRAY);
	map_number(max_entries, 1);
	map_type(key, __u32);
	map_type(value, struct steer_config);
} steer_config SEC(".maps");

struct {
	map_number(type, BPF_MAP_TYPE_HASH);
	map_number(map_flags, BPF_F_NO_PREALLOC);
	map_number(max_entries, STEER_ADDRESSES);
	map_type(key, struct steer_ip);
	map_type(value, struct steer_address);
} steer_addresses SEC(".maps");

struct {
	map_number(type, BPF_MAP_TYPE_HASH);
	map_number(map_flags, BPF_F_NO_PREALLOC);
	map_number(max_entries, STEER_PORTS);
	map_type(key, struct steer_port);
	map_type(value, __u8);
} steer_ports SEC(".maps");

struct {
	map_number(type, BPF_MAP_TYPE_HASH);
	map_number(map_flags, BPF_F_NO_PREALLOC);
	map_number(max_entries, STEER_BACKENDS);
	map_type(key, struct steer_port);
	map_type(value, struct steer_range);
} steer_backends SEC(".maps");

struct {
	map_number(type, BPF_MAP_TYPE_HASH);
	map_number(map_flags, BPF_F_NO_PREALLOC);
	map_number(max_entries, STEER_OWN);
	map_type(key, struct steer_ip);
	map_type(value, __u8);
} steer_own SEC(".maps");

struct {
	map_number(type, BPF_MAP_TYPE_LRU_HASH);
	map_number(max_entries, STEER_FRAGMENTS);
	map_type(key, struct steer_datagram);
	map_type(value, __u8);
} steer_fragments SEC(".maps");

struct {
	map_number(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	map_number(max_entries, STEER_COUNTERS);
	map_type(key, __u32);
	map_type(value, __u64);
} steer_counters SEC(".maps");

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

static always_inline void count(__u32 counter)
{
	__u64 *value = bpf_map_lookup_elem(&steer_counters, &counter);

	if (value)
		*value += 1;
}

static always_inline int pass(__u32 counter)
{
	count(counter);
	return XDP_PASS;
}

/*
 * The frame is ours. A queue without a socket is looked up first, to be counted: the kernel must
 * not see the frame, it would answer a live connection with a reset.
 */
static always_inline int take(struct xdp_md *ctx, const struct steer_config *config, __u32 counter)
{
	__u32 queue = ctx->rx_queue_index;

	if (!bpf_map_lookup_elem(&steer_sockets, &queue)) {
		count(STEER_NO_WORKER);
		return config->on_no_worker == XDP_PASS ? XDP_PASS : XDP_DROP;
	}
	count(counter);
	return bpf_redirect_map(&steer_sockets, queue, XDP_DROP);
}

/*
 * As take, with room in front of the frame for a tunnel's header. Not seen by user space otherwise,
 * the room is told by a tag at its beginning. Without memory for it the frame goes without.
 */
static always_inline int take_with_room(struct xdp_md *ctx, const struct steer_config *config,
					__u32 counter, __u32 room)
{
	__u32 queue = ctx->rx_queue_index;

	if (room >= sizeof(struct steer_tag) && bpf_map_lookup_elem(&steer_sockets, &queue) &&
	    !bpf_xdp_adjust_head(ctx, -(int)room)) {
		struct steer_tag *tag = (void *)(long)ctx->data;

		if ((void *)(tag + 1) > (void *)(long)ctx->data_end)
			return XDP_DROP;
		__builtin_memset(tag->no_station, 0, sizeof(tag->no_station));
		tag->room = net16((__u16)room);
	}
	return take(ctx, config, counter);
}

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

/* Is protocol and port of a shared address ours, as a service or as a SNAT port? */
static always_inline int is_ours(const struct steer_address *shared, const struct steer_ip *address,
				 __u8 protocol, __be16 port)
{
	struct steer_port key = { .address = *address, .port = port, .protocol = protocol };
	__u16 number = net16(port);

	if (protocol != IPPROTO_TCP && protocol != IPPROTO_UDP && protocol != IPPROTO_SCTP)
		return 0;
	if (bpf_map_lookup_elem(&steer_ports, &key))
		return 1;
	/* Nothing of SCTP is translated: it has no SNAT ports. */
	if (protocol == IPPROTO_SCTP)
		return 0;
	for (int i = 0; i < STEER_RANGES; i++) {
		if (i >= shared->ranges)
			break;
		if (number >= shared->range[i].low && number <= shared->range[i].high)
			return 1;
	}
	return 0;
}

/*
 * ICMP messages that report on a packet we sent, told by the quoted packet (RFC 792): its source is
 * one of ours. Redirects (type 5) and source quench (type 4, RFC 6633) stay with the kernel, which
 * is the one that keeps routes.
 */
static always_inline int is_error_of_ours(void *data, void *end, __be32 destination,
					  const struct steer_address *shared)
{
	struct icmp_error *icmp = data;
	struct iphdr *quoted = (void *)(icmp + 1);
	struct steer_ip address = mapped(destination);
	struct ports *ports;
	__u32 len;

	if ((void *)(quoted + 1) > end)
		return 0;
	if (icmp->type != ICMP_UNREACHABLE && icmp->type != ICMP_TIME_EXCEEDED &&
	    icmp->type != ICMP_PARAMETER_PROBLEM)
		return 0;
	len = quoted->ihl * 4;
	if (quoted->version != 4 || len < sizeof(*quoted) || quoted->saddr != destination)
		return 0;
	/* A quoted fragment that is not the first has no ports. */
	if (quoted->frag_off & net16(0x1fff))
		return 0;
	ports = (void *)quoted + len;
	if ((void *)(ports + 1) > end)
		return 0;
	return is_ours(shared, &address, quoted->protocol, ports->source);
}

static always_inline int steer_shared_ipv4(struct xdp_md *ctx, const struct steer_config *config,
					   const struct steer_address *shared, struct iphdr *ip,
					   void *end)
{
	struct steer_ip address = mapped(ip->daddr);
	__u32 len = ip->ihl * 4;
	void *body = (void *)ip + len;
	struct ports *ports = body;

	if (len < sizeof(*ip))
		return pass(STEER_PASSED);
	if (ip->frag_off & net16(0x1fff))
		return pass(STEER_PASSED_SHARED_FRAGMENT);
	if (ip->protocol == IPPROTO_ICMP) {
		/* The rest of a fragmented error would miss its beginning here. */
		if (ip->frag_off & net16(0x2000))
			return pass(STEER_PASSED_SHARED_FRAGMENT);
		if (is_error_of_ours(body, end, ip->daddr, shared))
			return take(ctx, config, STEER_STEERED_ICMP_ERROR);
		return pass(STEER_PASSED);
	}
	if ((void *)(ports + 1) > end)
		return pass(STEER_PASSED);
	if (is_ours(shared, &address, ip->protocol, ports->destination))
		return take_with_room(ctx, config, STEER_STEERED, shared->room);
	return pass(STEER_PASSED);
}

/* What `walk` tells: where the upper layer is, from the frame's first byte, its protocol, and: */
/* Of what is not the first fragment, the offset is that of the fragment header. */
#define WALKED_OFFSET 0x7fff
#define WALKED_PROTOCOL(walked) ((__u8)((walked) >> 16))
#define WALKED_FRAGMENT 0x1000000	/* a fragment, first or later */
#define WALKED_LATER 0x2000000		/* not the first one: its upper layer's header is elsewhere */
#define WALKED_LOST 0x4000000		/* cut, source routed (RFC 5095), or too long a chain */

/*
 * Goes over the extension headers of the IPv6 packet at `offset`: those that workers go over, too
 * (src/wire/parse/ipv6.rs). Not inlined and not static, so that the verifier looks at it once, and
 * not once for every way that leads here.
 */
__attribute__((noinline)) __u32 walk(struct xdp_md *ctx, __u32 offset)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	__u32 flags = 0;
	struct ipv6hdr *ip;
	__u8 protocol;

	offset &= WALKED_OFFSET >> 1;
	ip = data + offset;
	if ((void *)(ip + 1) > end)
		return WALKED_LOST;
	protocol = ip->nexthdr;
	offset += sizeof(*ip);
	for (int i = 0; i <= STEER_EXTENSIONS; i++) {
		struct extension *header = data + offset;

		if (protocol != IPPROTO_HOPOPTS && protocol != IPPROTO_ROUTING &&
		    protocol != IPPROTO_FRAGMENT && protocol != IPPROTO_DSTOPTS)
			return flags | (__u32)protocol << 16 | (offset & WALKED_OFFSET);
		if ((void *)(header + 1) > end)
			break;
		if (protocol == IPPROTO_ROUTING && header->offset & net16(0xff))
			break;
		if (protocol == IPPROTO_FRAGMENT) {
			if (header->offset & net16(0xfff9))
				flags |= WALKED_FRAGMENT;
			if (header->offset & net16(0xfff8))
				return flags | WALKED_LATER | (offset & WALKED_OFFSET);
			offset += sizeof(*header);
		} else {
			offset += (header->len + 1) * 8;
		}
		protocol = header->next;
	}
	return WALKED_LOST;
}

#include "steer_back.h"

static always_inline int steer_ipv4(struct xdp_md *ctx, const struct steer_config *config,
				    struct iphdr *ip, void *end)
{
	struct steer_address *address;
	struct steer_ip destination;

	if ((void *)(ip + 1) > end || ip->version != 4)
		return pass(STEER_PASSED);
	destination = mapped(ip->daddr);
	address = bpf_map_lookup_elem(&steer_addresses, &destination);
	if (!address)
		return steer_back_ipv4(ctx, config, ip, end);
	if (address->whole)
		return take_with_room(ctx, config, STEER_STEERED, address->room);
	return steer_shared_ipv4(ctx, config, address, ip, end);
}

/* As for IPv4: errors are told by the packet they quote (RFC 4443), its source is one of ours. */
static always_inline int is_error_of_ours_ipv6(struct xdp_md *ctx, __u32 offset,
					       const struct steer_ip *destination,
					       const struct steer_address *shared)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct icmp_error *icmp = data + offset;
	struct ipv6hdr *quoted = (void *)(icmp + 1);
	struct ports *ports;
	__u32 walked;

	if ((void *)(quoted + 1) > end)
		return 0;
	if (icmp->type < ICMPV6_UNREACHABLE || icmp->type > ICMPV6_PARAMETER_PROBLEM)
		return 0;
	if (quoted->version != 6 || !is_same((void *)&quoted->saddr, destination))
		return 0;
	walked = walk(ctx, offset + sizeof(*icmp));
	if (walked & (WALKED_LOST | WALKED_LATER))
		return 0;
	ports = data + (walked & WALKED_OFFSET);
	if ((void *)(ports + 1) > end)
		return 0;
	return is_ours(shared, destination, WALKED_PROTOCOL(walked), ports->source);
}

static always_inline int steer_shared_ipv6(struct xdp_md *ctx, const struct steer_config *config,
					   const struct steer_address *shared, __u32 offset,
					   const struct steer_ip *destination)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	__u32 walked = walk(ctx, offset);
	__u8 protocol = WALKED_PROTOCOL(walked);
	struct ports *ports;

	if (walked & WALKED_LOST)
		return pass(STEER_PASSED);
	/* The rest of a fragmented error would miss its beginning here. */
	if (walked & WALKED_LATER || (walked & WALKED_FRAGMENT && protocol == IPPROTO_ICMPV6))
		return pass(STEER_PASSED_SHARED_FRAGMENT);
	offset = walked & WALKED_OFFSET;
	if (protocol == IPPROTO_ICMPV6) {
		if (is_error_of_ours_ipv6(ctx, offset, destination, shared))
			return take(ctx, config, STEER_STEERED_ICMP_ERROR);
		return pass(STEER_PASSED);
	}
	ports = data + offset;
	if ((void *)(ports + 1) > end)
		return pass(STEER_PASSED);
	if (is_ours(shared, destination, protocol, ports->destination))
		return take_with_room(ctx, config, STEER_STEERED, shared->room);
	return pass(STEER_PASSED);
}

/* Whoever asks for an address that is ours alone, mostly by a multicast group, asks a worker. */
static always_inline int is_question_for_ours(struct ipv6hdr *ip, void *end)
{
	struct solicitation *asked = (void *)(ip + 1);
	struct steer_address *address;
	struct steer_ip target;

	if (ip->nexthdr != IPPROTO_ICMPV6 || (void *)(asked + 1) > end)
		return 0;
	if (asked->type != ICMPV6_SOLICITATION || asked->code || is_mapped(&asked->target))
		return 0;
	target = asked->target;
	address = bpf_map_lookup_elem(&steer_addresses, &target);
	return address && address->whole;
}

static always_inline int steer_ipv6(struct xdp_md *ctx, const struct steer_config *config,
				    struct ipv6hdr *ip, void *end)
{
	struct steer_address *address;
	struct steer_ip destination;
	__u32 offset;

	if ((void *)(ip + 1) > end || ip->version != 6)
		return pass(STEER_PASSED);
	if (is_mapped((void *)&ip->saddr) || is_mapped((void *)&ip->daddr))
		return pass(STEER_PASSED);
	if (is_question_for_ours(ip, end))
		return take(ctx, config, STEER_STEERED_ARP);
	__builtin_memcpy(&destination, &ip->daddr, sizeof(destination));
	address = bpf_map_lookup_elem(&steer_addresses, &destination);
	offset = (void *)ip - (void *)(long)ctx->data;
	if (!address)
		return steer_back_ipv6(ctx, config, offset);
	if (address->whole)
		return take_with_room(ctx, config, STEER_STEERED, address->room);
	return steer_shared_ipv6(ctx, config, address, offset, &destination);
}

/* Whoever asks for, or answers to, an address that is ours alone speaks to a worker (RFC 826). */
static always_inline int steer_arp(struct xdp_md *ctx, const struct steer_config *config,
				   struct arp_ipv4 *arp, void *end)
{
	struct steer_address *address;
	struct steer_ip target;
	__be32 asked;

	if ((void *)(arp + 1) > end)
		return pass(STEER_PASSED);
	if (arp->hardware != net16(ARP_ETHERNET) || arp->protocol != net16(ETH_P_IP) ||
	    arp->hardware_len != 6 || arp->protocol_len != 4)
		return pass(STEER_PASSED);
	if (arp->operation != net16(ARP_REQUEST) && arp->operation != net16(ARP_REPLY))
		return pass(STEER_PASSED);
	__builtin_memcpy(&asked, arp->target, sizeof(asked));
	target = mapped(asked);
	address = bpf_map_lookup_elem(&steer_addresses, &target);
	if (!address || !address->whole)
		return pass(STEER_PASSED);
	return take(ctx, config, STEER_STEERED_ARP);
}

static always_inline int is_for_us(const __u8 *mac, const __u8 *own)
{
	if (mac[0] & 1)
		return 1;
	for (int i = 0; i < ETH_ALEN; i++) {
		if (mac[i] != own[i])
			return 0;
	}
	return 1;
}

static always_inline int is_tag(__be16 protocol)
{
	return protocol == net16(ETH_P_8021Q) || protocol == net16(ETH_P_8021AD);
}

SEC("xdp") int steer(struct xdp_md *ctx)
{
	void *end = (void *)(long)ctx->data_end;
	struct ethhdr *ethernet = (void *)(long)ctx->data;
	void *packet = ethernet + 1;
	struct steer_config *config;
	__be16 protocol;
	__u32 zero = 0;

	config = bpf_map_lookup_elem(&steer_config, &zero);
	if (!config || packet > end)
		return pass(STEER_PASSED);
	if (!is_for_us(ethernet->h_dest, config->mac))
		return pass(STEER_PASSED_OTHER_MAC);

	protocol = ethernet->h_proto;
	for (int i = 0; i < STEER_TAGS && is_tag(protocol); i++) {
		struct vlan_tag *tag = packet;

		packet = tag + 1;
		if (packet > end)
			return pass(STEER_PASSED);
		protocol = tag->protocol;
	}
	switch (protocol) {
	case net16(ETH_P_IP):
		return steer_ipv4(ctx, config, packet, end);
	case net16(ETH_P_IPV6):
		return steer_ipv6(ctx, config, packet, end);
	case net16(ETH_P_ARP):
		return steer_arp(ctx, config, packet, end);
	case net16(ETH_P_8021Q):
	case net16(ETH_P_8021AD):
		return pass(STEER_PASSED_VLAN);
	default:
		return pass(STEER_PASSED);
	}
}

/* The verifier compares this text with its list of GPL-compatible licences. */
char steer_license[] SEC("license") = "Dual MIT/GPL";
