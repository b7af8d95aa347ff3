// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * Takes the outer headers off packets that a load balancer has encapsulated, and gives the inner
 * packet to the kernel, as if it had come without them: for backends whose kernel lacks the tunnel.
 *
 * IPv4 or IPv6 in either (RFC 2003, 2473, 4213), GRE (RFC 2784, 2890) and GUE (draft-ietf-intarea-
 * gue, versions 0 and 1). A frame is taken only if its outer destination is ours, and its inner
 * destination too: whoever passes on anything else is an open relay. What is not a tunnel's, or of
 * a kind not known here, goes on to the kernel untouched.
 *
 * Not checked, since it would need all bytes of the packet: the UDP checksum of GUE and the
 * checksum of GRE. The inner packet's own checksums are the kernel's business.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/udp.h>

#include "decap_frame.h"
#include "decap_outer.h"

static long (*bpf_xdp_adjust_head)(struct xdp_md *ctx, int delta) = (void *)BPF_FUNC_xdp_adjust_head;

/* RFC 2784 section 2, RFC 2890: C, K and S each bring 4 bytes; of the rest only 0 is known. */
enum {
	GRE_CHECKSUM = 0x8000,
	GRE_KEY = 0x2000,
	GRE_SEQUENCE = 0x1000,
	GRE_NOT_KNOWN = 0x4000 | 0x0800 | 0x0400 | 0x0007,
};

/* draft-ietf-intarea-gue section 3: version (2 bits) and control (1), then the length in words. */
enum { GUE_LENGTH = 0x1f };

struct gre {
	__be16 flags;
	__be16 protocol;
};

struct gue {
	__u8 first;
	__u8 protocol;
	__be16 flags;
};

static always_inline int skip_gre(struct frame *frame, __u8 *family)
{
	struct gre *gre = peek(frame, sizeof(*gre));
	__u32 len = sizeof(*gre);
	__u16 flags;

	if (!gre)
		return DECAP_PASSED_MALFORMED;
	flags = net16(gre->flags);
	if (flags & GRE_NOT_KNOWN)
		return DECAP_PASSED_GRE;
	switch (gre->protocol) {
	case net16(ETH_P_IP):
		*family = 4;
		break;
	case net16(ETH_P_IPV6):
		*family = 6;
		break;
	default:
		return DECAP_PASSED_GRE;
	}
	len += (flags & GRE_CHECKSUM ? 4 : 0) + (flags & GRE_KEY ? 4 : 0) +
	       (flags & GRE_SEQUENCE ? 4 : 0);
	if (frame->left < len)
		return DECAP_PASSED_MALFORMED;
	skip(frame, len);
	return GO_ON;
}

/* Version 1 has no header of its own: its first bits are those of the inner IP version. */
static always_inline int skip_gue(struct frame *frame, __u8 *family)
{
	struct udphdr *udp = peek(frame, sizeof(*udp));
	struct gue *gue;
	__u32 len;

	if (!udp)
		return DECAP_PASSED_MALFORMED;
	len = net16(udp->len);
	if (len < sizeof(*udp) || len > frame->left)
		return DECAP_PASSED_MALFORMED;
	frame->left = len;
	skip(frame, sizeof(*udp));
	gue = peek(frame, sizeof(*gue));
	if (!gue)
		return DECAP_PASSED_MALFORMED;
	*family = gue->first >> 4;
	if (*family == 4 || *family == 6)
		return GO_ON;
	if (gue->first & ~GUE_LENGTH)
		return DECAP_PASSED_GUE;
	len = sizeof(*gue) + (gue->first & GUE_LENGTH) * 4;
	if (gue->protocol == IPPROTO_IPIP)
		*family = 4;
	else if (gue->protocol == IPPROTO_IPV6)
		*family = 6;
	else
		return DECAP_PASSED_GUE;
	if (frame->left < len)
		return DECAP_PASSED_MALFORMED;
	skip(frame, len);
	return GO_ON;
}

/* RFC 6040 section 4.2; -1: drop. */
static always_inline int combine_ecn(__u8 outer, __u8 inner)
{
	if (inner == NOT_ECT)
		return outer == CE ? -1 : NOT_ECT;
	if (outer == CE || (outer == ECT_1 && inner == ECT_0))
		return outer;
	return inner;
}

/* RFC 1624 equation 3. */
static always_inline void set_ipv4_ecn(struct iphdr *ip, __u8 ecn)
{
	__u8 tos = (ip->tos & ~CE) | ecn;
	__u32 sum = (__u16)~net16(ip->check);

	sum += (__u16)~ip->tos + tos;
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	ip->check = net16((__u16)~sum);
	ip->tos = tos;
}

static always_inline int enter_ipv4(struct frame *frame)
{
	struct iphdr *ip = peek(frame, sizeof(*ip));
	struct decap_address destination = {};
	__u32 total;
	int ecn;

	if (!ip || ip->version != 4 || ip->ihl < 5)
		return DECAP_DROPPED_INNER;
	total = net16(ip->tot_len);
	if (total < ip->ihl * 4 || total > frame->left)
		return DECAP_DROPPED_INNER;
	set_ipv4(&destination, ip->daddr);
	if (!is(&destination, DECAP_INNER))
		return DECAP_DROPPED_DESTINATION;
	ecn = combine_ecn(frame->ecn, ip->tos & CE);
	if (ecn < 0)
		return DECAP_DROPPED_ECN;
	if (ecn != (ip->tos & CE))
		set_ipv4_ecn(ip, ecn);
	return GO_ON;
}

static always_inline int enter_ipv6(struct frame *frame)
{
	struct ipv6hdr *ip = peek(frame, sizeof(*ip));
	struct decap_address destination = {};
	int ecn;

	if (!ip || ip->version != 6)
		return DECAP_DROPPED_INNER;
	if (sizeof(*ip) + net16(ip->payload_len) > frame->left)
		return DECAP_DROPPED_INNER;
	set_ipv6(&destination, &ip->daddr);
	if (!is(&destination, DECAP_INNER))
		return DECAP_DROPPED_DESTINATION;
	ecn = combine_ecn(frame->ecn, (ip->flow_lbl[0] >> 4) & CE);
	if (ecn < 0)
		return DECAP_DROPPED_ECN;
	ip->flow_lbl[0] = (ip->flow_lbl[0] & ~(CE << 4)) | (ecn << 4);
	/* With 255 neighbour discovery would take it for its link's own (RFC 4861 section 11.2). */
	if (ip->hop_limit == 255)
		ip->hop_limit = 254;
	return GO_ON;
}

/* Moves the Ethernet header up to the inner packet. */
static always_inline int strip(struct frame *frame, __u8 family)
{
	struct ethhdr *ethernet = (void *)(long)frame->ctx->data;
	struct ethhdr kept;

	if ((void *)(ethernet + 1) > (void *)(long)frame->ctx->data_end)
		return DECAP_DROPPED_INNER;
	kept = *ethernet;
	if (bpf_xdp_adjust_head(frame->ctx, frame->at - sizeof(kept)))
		return DECAP_DROPPED_INNER;
	ethernet = (void *)(long)frame->ctx->data;
	if ((void *)(ethernet + 1) > (void *)(long)frame->ctx->data_end)
		return DECAP_DROPPED_INNER;
	*ethernet = kept;
	ethernet->h_proto = family == 4 ? net16(ETH_P_IP) : net16(ETH_P_IPV6);
	return GO_ON;
}

/* From the tunnel header on; gives the counter. */
static always_inline int take_off(struct frame *frame)
{
	int done = DECAP_DECAPSULATED_IPIP;
	int counter = GO_ON;
	__u8 family = 4;

	switch (frame->protocol) {
	case IPPROTO_GRE:
		done = DECAP_DECAPSULATED_GRE;
		counter = skip_gre(frame, &family);
		break;
	case IPPROTO_UDP:
		done = DECAP_DECAPSULATED_GUE;
		counter = skip_gue(frame, &family);
		break;
	case IPPROTO_IPV6:
		family = 6;
		break;
	}
	if (counter != GO_ON)
		return counter;
	counter = family == 4 ? enter_ipv4(frame) : enter_ipv6(frame);
	if (counter != GO_ON)
		return counter;
	counter = strip(frame, family);
	return counter == GO_ON ? done : counter;
}

static always_inline int decapsulate(struct xdp_md *ctx)
{
	void *end = (void *)(long)ctx->data_end;
	struct ethhdr *ethernet = (void *)(long)ctx->data;
	struct frame frame = { .ctx = ctx, .source.prefix_len = 8 * sizeof(struct decap_address) };
	__u32 zero = 0;
	int counter;

	frame.config = bpf_map_lookup_elem(&decap_config, &zero);
	if (!frame.config || (void *)(ethernet + 1) > end)
		return DECAP_PASSED;
	switch (ethernet->h_proto) {
	case net16(ETH_P_IP):
		counter = read_ipv4(&frame);
		break;
	case net16(ETH_P_IPV6):
		counter = read_ipv6(&frame);
		break;
	case net16(ETH_P_8021Q):
	case net16(ETH_P_8021AD):
		return DECAP_PASSED_VLAN;
	default:
		return DECAP_PASSED;
	}
	return counter == GO_ON ? take_off(&frame) : counter;
}

SEC("xdp") int decap(struct xdp_md *ctx)
{
	int counter = decapsulate(ctx);

	count(counter);
	return counter >= DECAP_DROPPED_DESTINATION ? XDP_DROP : XDP_PASS;
}

/* The verifier compares this text with its list of GPL-compatible licences. */
char decap_license[] SEC("license") = "Dual MIT/GPL";
