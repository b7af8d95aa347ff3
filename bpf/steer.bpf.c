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

#include "steer_maps.h"
#include "steer_headers.h"
#include "steer_take.h"
#include "steer_walk.h"
#include "steer_shared.h"
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
