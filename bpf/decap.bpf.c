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

#include "decap.h"
#include "program.h"

static long (*bpf_xdp_adjust_head)(struct xdp_md *ctx, int delta) = (void *)BPF_FUNC_xdp_adjust_head;

struct {
	map_number(type, BPF_MAP_TYPE_ARRAY);
	map_number(max_entries, 1);
	map_type(key, __u32);
	map_type(value, struct decap_config);
} decap_config SEC(".maps");

struct {
	map_number(type, BPF_MAP_TYPE_HASH);
	map_number(map_flags, BPF_F_NO_PREALLOC);
	map_number(max_entries, DECAP_ADDRESSES);
	map_type(key, struct decap_address);
	map_type(value, __u8);
} decap_addresses SEC(".maps");

struct {
	map_number(type, BPF_MAP_TYPE_LPM_TRIE);
	map_number(map_flags, BPF_F_NO_PREALLOC);
	map_number(max_entries, DECAP_SOURCES);
	map_type(key, struct decap_source);
	map_type(value, __u8);
} decap_sources SEC(".maps");

struct {
	map_number(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	map_number(max_entries, DECAP_COUNTERS);
	map_type(key, __u32);
	map_type(value, __u64);
} decap_counters SEC(".maps");

/* What a step says when the frame goes on to the next one; else it says a counter. */
enum { GO_ON = -1 };

enum { FARTHEST = 0x3fff };

/* RFC 3168 section 5. */
enum { NOT_ECT = 0, ECT_1 = 1, ECT_0 = 2, CE = 3 };

enum { HOP_BY_HOP = 0, FRAGMENT = 44, DESTINATION_OPTIONS = 60 };

/* RFC 2784 section 2, RFC 2890: C, K and S each bring 4 bytes; of the rest only 0 is known. */
enum {
	GRE_CHECKSUM = 0x8000,
	GRE_KEY = 0x2000,
	GRE_SEQUENCE = 0x1000,
	GRE_NOT_KNOWN = 0x4000 | 0x0800 | 0x0400 | 0x0007,
};

/* draft-ietf-intarea-gue section 3: version (2 bits), control (1), length (5). */
enum { GUE_CONTROL = 0x20, GUE_LENGTH = 0x1f };

struct gre {
	__be16 flags;
	__be16 protocol;
};

struct gue {
	__u8 first;
	__u8 protocol;
	__be16 flags;
};

struct extension {
	__u8 next;
	__u8 len;		/* in 8 bytes, without the first 8 */
	__u8 rest[6];
};

/* A frame on its way: what is known of its outer header, and how far it has been read. */
struct frame {
	struct xdp_md *ctx;
	const struct decap_config *config;
	__u32 at;		/* offset of what is read next */
	__u32 left;		/* bytes of the outer packet from there on */
	__u8 protocol;
	__u8 ecn;
	__u8 fragment;
	struct decap_address destination;
	struct decap_source source;
};

static always_inline void count(__u32 counter)
{
	__u64 *value = bpf_map_lookup_elem(&decap_counters, &counter);

	if (value)
		*value += 1;
}

/*
 * The next `len` bytes, if both the frame and the outer packet have so many. All headers together
 * are shorter than FARTHEST, which the verifier may have forgotten by now, and clang not.
 */
static always_inline void *peek(const struct frame *frame, __u32 len)
{
	void *end = (void *)(long)frame->ctx->data_end;
	void *here = (void *)(long)frame->ctx->data;
	__u32 at = frame->at;

	asm volatile("" : "+r"(at));
	here += at & FARTHEST;
	if (frame->left < len || here + len > end)
		return 0;
	return here;
}

static always_inline void skip(struct frame *frame, __u32 len)
{
	frame->at += len;
	frame->left -= len;
}

static always_inline void set_ipv4(struct decap_address *key, __be32 address)
{
	key->family = 4;
	__builtin_memcpy(key->address, &address, sizeof(address));
}

static always_inline void set_ipv6(struct decap_address *key, const struct in6_addr *address)
{
	key->family = 6;
	__builtin_memcpy(key->address, address, sizeof(*address));
}

static always_inline int is(const struct decap_address *address, __u8 wanted)
{
	__u8 *found = bpf_map_lookup_elem(&decap_addresses, address);

	return found && (*found & wanted);
}

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
