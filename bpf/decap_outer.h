/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * The outer header up to the tunnel's: is the frame one that we take? Nothing is changed here.
 */
#ifndef GUIDEWAY_DECAP_OUTER_H
#define GUIDEWAY_DECAP_OUTER_H

#include "decap_frame.h"

enum { HOP_BY_HOP = 0, FRAGMENT = 44, DESTINATION_OPTIONS = 60 };

struct extension {
	__u8 next;
	__u8 len;		/* in 8 bytes, without the first 8 */
	__u8 rest[6];
};

/* A tunnel's, to us, whole, and from where it may come? A fragment's UDP port may be elsewhere. */
static always_inline int check_outer(struct frame *frame)
{
	struct udphdr *udp;

	switch (frame->protocol) {
	case IPPROTO_IPIP:
	case IPPROTO_IPV6:
	case IPPROTO_GRE:
		break;
	case IPPROTO_UDP:
		if (frame->fragment)
			break;
		udp = peek(frame, sizeof(*udp));
		if (!udp || udp->dest != frame->config->gue_port)
			return DECAP_PASSED;
		break;
	default:
		return DECAP_PASSED;
	}
	if (!is(&frame->destination, DECAP_LOCAL))
		return DECAP_PASSED_NOT_LOCAL;
	if (frame->config->sources_listed && !bpf_map_lookup_elem(&decap_sources, &frame->source))
		return DECAP_PASSED_SOURCE;
	if (frame->fragment)
		return DECAP_PASSED_FRAGMENT;
	return GO_ON;
}

/* RFC 1071: a header with its own checksum adds up to all ones. */
static always_inline int adds_up(const struct frame *frame, __u32 at, __u32 len)
{
	void *end = (void *)(long)frame->ctx->data_end;
	__be16 *word = (void *)(long)frame->ctx->data + at;
	__u32 sum = 0;

	for (__u32 i = 0; i < 30; i++) {
		if (i * 2 >= len)
			break;
		/* Else clang moves its steps to `end`, which the verifier refuses. */
		asm volatile("" : "+r"(word));
		if ((void *)(word + 1) > end)
			return 0;
		sum += *word++;
	}
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return sum == 0xffff;
}

static always_inline int read_ipv4(struct frame *frame)
{
	void *data = (void *)(long)frame->ctx->data;
	void *end = (void *)(long)frame->ctx->data_end;
	struct iphdr *ip = data + sizeof(struct ethhdr);
	__u32 header, total;
	int counter;

	if ((void *)(ip + 1) > end || ip->version != 4 || ip->ihl < 5)
		return DECAP_PASSED;
	header = ip->ihl * 4;
	total = net16(ip->tot_len);
	frame->at = sizeof(struct ethhdr) + header;
	frame->left = total > header ? total - header : 0;
	frame->protocol = ip->protocol;
	frame->ecn = ip->tos & CE;
	frame->fragment = !!(ip->frag_off & net16(0x3fff));
	set_ipv4(&frame->destination, ip->daddr);
	set_ipv4(&frame->source.address, ip->saddr);
	counter = check_outer(frame);
	if (counter != GO_ON)
		return counter;
	if (total < header || (void *)ip + total > end)
		return DECAP_PASSED_MALFORMED;
	if (!adds_up(frame, sizeof(struct ethhdr), header))
		return DECAP_PASSED_MALFORMED;
	return GO_ON;
}

/*
 * Up to the tunnel header. Options are passed over unread: the one that tunnels have is the limit
 * of nested encapsulations (RFC 2473 section 5.1), which is for those that encapsulate again.
 */
static always_inline int skip_extensions(struct frame *frame)
{
	struct extension *extension;
	__u32 len;

	for (int i = 0; i < DECAP_EXTENSIONS; i++) {
		if (frame->protocol == FRAGMENT) {
			extension = peek(frame, sizeof(*extension));
			if (!extension)
				return DECAP_PASSED;
			frame->protocol = extension->next;
			frame->fragment = 1;
			return GO_ON;
		}
		if (frame->protocol != HOP_BY_HOP && frame->protocol != DESTINATION_OPTIONS)
			return GO_ON;
		extension = peek(frame, sizeof(*extension));
		if (!extension)
			return DECAP_PASSED;
		len = 8 + extension->len * 8;
		if (frame->left < len)
			return DECAP_PASSED;
		frame->protocol = extension->next;
		skip(frame, len);
	}
	switch (frame->protocol) {
	case HOP_BY_HOP:
	case DESTINATION_OPTIONS:
	case FRAGMENT:
		return DECAP_PASSED_EXTENSIONS;
	default:
		return GO_ON;
	}
}

static always_inline int read_ipv6(struct frame *frame)
{
	void *data = (void *)(long)frame->ctx->data;
	void *end = (void *)(long)frame->ctx->data_end;
	struct ipv6hdr *ip = data + sizeof(struct ethhdr);
	__u32 payload;
	int counter;

	if ((void *)(ip + 1) > end || ip->version != 6)
		return DECAP_PASSED;
	payload = net16(ip->payload_len);
	frame->at = sizeof(struct ethhdr) + sizeof(*ip);
	frame->left = payload;
	frame->protocol = ip->nexthdr;
	frame->ecn = (ip->flow_lbl[0] >> 4) & CE;
	set_ipv6(&frame->destination, &ip->daddr);
	set_ipv6(&frame->source.address, &ip->saddr);
	counter = skip_extensions(frame);
	if (counter != GO_ON)
		return counter;
	counter = check_outer(frame);
	if (counter != GO_ON)
		return counter;
	if ((void *)(ip + 1) + payload > end)
		return DECAP_PASSED_MALFORMED;
	return GO_ON;
}

#endif
