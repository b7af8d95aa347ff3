// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * Takes VIP and NAT return traffic off the interface into AF_XDP sockets; all else goes on to the
 * kernel as if this program were not there.
 *
 * An AF_XDP socket cannot give a frame back to the kernel, so every decision that a frame is ours
 * is made here, and is made by what stands in the first bytes alone: this program keeps no state.
 * It needs no header beyond those of the kernel.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>

#include "program.h"
#include "steer.h"

static long (*bpf_redirect_map)(void *map, __u64 key, __u64 flags) = (void *)BPF_FUNC_redirect_map;

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
	map_type(key, __be32);
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
	map_number(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	map_number(max_entries, STEER_COUNTERS);
	map_type(key, __u32);
	map_type(value, __u64);
} steer_counters SEC(".maps");

/* The kernel's ARP and ICMP headers pull in the C library's, which a BPF target has not. */
enum { ARP_ETHERNET = 1, ARP_REQUEST = 1, ARP_REPLY = 2 };
enum { ICMP_UNREACHABLE = 3, ICMP_TIME_EXCEEDED = 11, ICMP_PARAMETER_PROBLEM = 12 };

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

/* Is protocol and port of a shared address ours, as a service or as a SNAT port? */
static always_inline int is_ours(const struct steer_address *shared, __be32 address, __u8 protocol,
				 __be16 port)
{
	struct steer_port key = { .address = address, .port = port, .protocol = protocol };
	__u16 number = net16(port);

	if (protocol != IPPROTO_TCP && protocol != IPPROTO_UDP)
		return 0;
	if (bpf_map_lookup_elem(&steer_ports, &key))
		return 1;
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
	return is_ours(shared, destination, quoted->protocol, ports->source);
}

static always_inline int steer_shared(struct xdp_md *ctx, const struct steer_config *config,
				      const struct steer_address *shared, struct iphdr *ip, void *end)
{
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
	if (is_ours(shared, ip->daddr, ip->protocol, ports->destination))
		return take(ctx, config, STEER_STEERED);
	return pass(STEER_PASSED);
}

static always_inline int steer_ipv4(struct xdp_md *ctx, const struct steer_config *config,
				    struct iphdr *ip, void *end)
{
	struct steer_address *address;
	__be32 destination;

	if ((void *)(ip + 1) > end || ip->version != 4)
		return pass(STEER_PASSED);
	destination = ip->daddr;
	address = bpf_map_lookup_elem(&steer_addresses, &destination);
	if (!address)
		return pass(STEER_PASSED);
	if (address->whole)
		return take(ctx, config, STEER_STEERED);
	return steer_shared(ctx, config, address, ip, end);
}

/* Whoever asks for, or answers to, an address that is ours alone speaks to a worker (RFC 826). */
static always_inline int steer_arp(struct xdp_md *ctx, const struct steer_config *config,
				   struct arp_ipv4 *arp, void *end)
{
	struct steer_address *address;
	__be32 target;

	if ((void *)(arp + 1) > end)
		return pass(STEER_PASSED);
	if (arp->hardware != net16(ARP_ETHERNET) || arp->protocol != net16(ETH_P_IP) ||
	    arp->hardware_len != 6 || arp->protocol_len != 4)
		return pass(STEER_PASSED);
	if (arp->operation != net16(ARP_REQUEST) && arp->operation != net16(ARP_REPLY))
		return pass(STEER_PASSED);
	__builtin_memcpy(&target, arp->target, sizeof(target));
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

SEC("xdp") int steer(struct xdp_md *ctx)
{
	void *end = (void *)(long)ctx->data_end;
	struct ethhdr *ethernet = (void *)(long)ctx->data;
	struct steer_config *config;
	__u32 zero = 0;

	config = bpf_map_lookup_elem(&steer_config, &zero);
	if (!config || (void *)(ethernet + 1) > end)
		return pass(STEER_PASSED);
	if (!is_for_us(ethernet->h_dest, config->mac))
		return pass(STEER_PASSED_OTHER_MAC);

	switch (ethernet->h_proto) {
	case net16(ETH_P_IP):
		return steer_ipv4(ctx, config, (void *)(ethernet + 1), end);
	case net16(ETH_P_ARP):
		return steer_arp(ctx, config, (void *)(ethernet + 1), end);
	case net16(ETH_P_8021Q):
	case net16(ETH_P_8021AD):
		return pass(STEER_PASSED_VLAN);
	default:
		return pass(STEER_PASSED);
	}
}

/* The verifier compares this text with its list of GPL-compatible licences. */
char steer_license[] SEC("license") = "Dual MIT/GPL";
