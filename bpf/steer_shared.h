/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * What is ours of an address that is the machine's, too: packets to services and SNAT ports, and ICMP
 * errors about our own packets. Part of steer.bpf.c, whose maps and helpers it uses.
 */
#ifndef GUIDEWAY_STEER_SHARED_H
#define GUIDEWAY_STEER_SHARED_H

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

#endif
