/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Where the upper layer of an IPv6 packet begins. */
#ifndef GUIDEWAY_STEER_WALK_H
#define GUIDEWAY_STEER_WALK_H

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

#endif
