/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * What is ours though it is for nobody of ours: packets of DNAT backends to clients, ICMP errors
 * about packets to those backends, and ICMP errors about tunnels' packets. Part of steer.bpf.c,
 * whose maps and helpers it uses.
 */
#ifndef GUIDEWAY_STEER_BACK_H
#define GUIDEWAY_STEER_BACK_H

/* Can no single host have this IPv4 address: 0/8, 127/8, multicast, reserved? */
static always_inline int is_no_host(__be32 address)
{
	__u8 first = *(__u8 *)&address;

	return first == 0 || first == 127 || first >= 224;
}

/* The same of an IPv6 address: ::/80, multicast (src/wire/address.rs). */
static always_inline int is_no_host_ipv6(const struct steer_ip *ip)
{
	return (ip->word[0] == 0 && ip->word[1] == 0 && !(ip->word[2] & net32(0xffff0000))) ||
	       *(const __u8 *)ip == 0xff;
}

static always_inline int is_tunnel_source(const struct steer_config *config,
					  const struct steer_ip *address)
{
	for (__u32 i = 0; i < STEER_SOURCES; i++) {
		const struct steer_network *source = &config->source[i];
		int differs = 0;

		if (i >= config->sources)
			break;
		for (int word = 0; word < 4; word++)
			differs |= (address->word[word] & source->mask.word[word]) !=
				   source->network.word[word];
		if (!differs)
			return 1;
	}
	return 0;
}

/* Protocols of outer headers: IPv4 and IPv6 in IP, GRE, GUE's UDP. */
static always_inline int is_tunnel(__u8 protocol)
{
	return protocol == IPPROTO_IPIP || protocol == IPPROTO_IPV6 || protocol == IPPROTO_GRE ||
	       protocol == IPPROTO_UDP;
}

/*
 * A socket stands by its port with that port as its range; a backend of several ports by port 0, which
 * no socket has.
 */
static always_inline int is_backend(const struct steer_ip *address, __u8 protocol, __be16 port)
{
	struct steer_port key = { .address = *address, .port = port, .protocol = protocol };
	const struct steer_range *range = bpf_map_lookup_elem(&steer_backends, &key);
	__u16 number = net16(port);

	if (!range) {
		key.port = 0;
		range = bpf_map_lookup_elem(&steer_backends, &key);
	}
	return range && range->low <= number && number <= range->high;
}

static always_inline int is_own(const struct steer_ip *address)
{
	return bpf_map_lookup_elem(&steer_own, address) != 0;
}

/*
 * A first fragment that is ours makes the later ones ours, too, where they come behind it. Those that
 * overtake it, or whose datagram was forgotten, go to the kernel.
 */
static always_inline void remember(const struct steer_datagram *datagram)
{
	__u8 one = 1;

	bpf_map_update_elem(&steer_fragments, datagram, &one, BPF_ANY);
}

static always_inline int is_remembered(const struct steer_datagram *datagram)
{
	return bpf_map_lookup_elem(&steer_fragments, datagram) != 0;
}

static always_inline int steer_back_error_ipv4(struct xdp_md *ctx,
					       const struct steer_config *config,
					       struct iphdr *ip, void *body, void *end)
{
	struct icmp_error *icmp = body;
	struct iphdr *quoted = (void *)(icmp + 1);
	struct steer_ip receiver = mapped(ip->daddr), target;
	struct ports *ports;
	__u32 len;

	if ((void *)(quoted + 1) > end)
		return pass(STEER_PASSED);
	if (icmp->type != ICMP_UNREACHABLE && icmp->type != ICMP_TIME_EXCEEDED &&
	    icmp->type != ICMP_PARAMETER_PROBLEM)
		return pass(STEER_PASSED);
	len = quoted->ihl * 4;
	if (quoted->version != 4 || len < sizeof(*quoted) || quoted->frag_off & net16(0x1fff))
		return pass(STEER_PASSED);
	if (is_tunnel_source(config, &receiver)) {
		if (is_tunnel(quoted->protocol) && quoted->saddr == ip->daddr)
			return take(ctx, config, STEER_STEERED_ICMP_ERROR);
		return pass(STEER_PASSED);
	}
	ports = (void *)quoted + len;
	if (!config->dnat || (void *)(ports + 1) > end)
		return pass(STEER_PASSED);
	target = mapped(quoted->daddr);
	if (is_backend(&target, quoted->protocol, ports->destination) && !is_own(&receiver) &&
	    !is_no_host(ip->daddr))
		return take(ctx, config, STEER_STEERED_ICMP_ERROR);
	return pass(STEER_PASSED);
}

static always_inline int steer_back_ipv4(struct xdp_md *ctx, const struct steer_config *config,
					 struct iphdr *ip, void *end)
{
	struct steer_datagram datagram = { .identification = ip->id, .protocol = ip->protocol };
	struct steer_ip source = mapped(ip->saddr), receiver = mapped(ip->daddr);
	struct ports *ports;
	__u32 len;

	if (!config->dnat && !config->sources)
		return pass(STEER_PASSED);
	datagram.source = source;
	datagram.destination = receiver;
	if (ip->frag_off & net16(0x1fff)) {
		if (config->dnat && is_remembered(&datagram))
			return take(ctx, config, STEER_STEERED_RETURN);
		return pass(STEER_PASSED);
	}
	len = ip->ihl * 4;
	ports = (void *)ip + len;
	if (len < sizeof(*ip) || (void *)(ports + 1) > end)
		return pass(STEER_PASSED);
	/* The rest of a fragmented error would miss its beginning here. */
	if (ip->protocol == IPPROTO_ICMP && !(ip->frag_off & net16(0x2000)))
		return steer_back_error_ipv4(ctx, config, ip, ports, end);
	if (!config->dnat)
		return pass(STEER_PASSED);
	if (!is_backend(&source, ip->protocol, ports->source) || is_own(&receiver) ||
	    is_no_host(ip->daddr))
		return pass(STEER_PASSED);
	if (ip->frag_off & net16(0x2000))
		remember(&datagram);
	return take(ctx, config, STEER_STEERED_RETURN);
}

static always_inline int steer_back_error_ipv6(struct xdp_md *ctx,
					       const struct steer_config *config,
					       const struct steer_ip *receiver, __u32 offset)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct icmp_error *icmp = data + offset;
	struct ipv6hdr *quoted = (void *)(icmp + 1);
	struct steer_ip target;
	struct ports *ports;
	__u32 walked;

	if ((void *)(quoted + 1) > end)
		return pass(STEER_PASSED);
	if (icmp->type < ICMPV6_UNREACHABLE || icmp->type > ICMPV6_PARAMETER_PROBLEM ||
	    quoted->version != 6)
		return pass(STEER_PASSED);
	if (is_tunnel_source(config, receiver)) {
		if (is_tunnel(quoted->nexthdr) && is_same((void *)&quoted->saddr, receiver))
			return take(ctx, config, STEER_STEERED_ICMP_ERROR);
		return pass(STEER_PASSED);
	}
	if (!config->dnat)
		return pass(STEER_PASSED);
	__builtin_memcpy(&target, &quoted->daddr, sizeof(target));
	walked = walk(ctx, offset + sizeof(*icmp));
	if (walked & (WALKED_LOST | WALKED_LATER))
		return pass(STEER_PASSED);
	ports = data + (walked & WALKED_OFFSET);
	if ((void *)(ports + 1) > end)
		return pass(STEER_PASSED);
	if (is_backend(&target, WALKED_PROTOCOL(walked), ports->destination) && !is_own(receiver) &&
	    !is_no_host_ipv6(receiver))
		return take(ctx, config, STEER_STEERED_ICMP_ERROR);
	return pass(STEER_PASSED);
}

static always_inline int steer_back_ipv6(struct xdp_md *ctx, const struct steer_config *config,
					 __u32 at)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct ipv6hdr *ip = data + (at & (WALKED_OFFSET >> 1));
	struct steer_datagram datagram = { .protocol = 0 };
	struct extension *fragment;
	struct steer_ip source, receiver;
	struct ports *ports;
	__u32 walked, offset;

	if ((!config->dnat && !config->sources) || (void *)(ip + 1) > end)
		return pass(STEER_PASSED);
	__builtin_memcpy(&source, &ip->saddr, sizeof(source));
	__builtin_memcpy(&receiver, &ip->daddr, sizeof(receiver));
	datagram.source = source;
	datagram.destination = receiver;
	walked = walk(ctx, at);
	if (walked & WALKED_LOST)
		return pass(STEER_PASSED);
	offset = walked & WALKED_OFFSET;
	if (walked & WALKED_LATER) {
		fragment = data + offset;
		if (!config->dnat || (void *)(fragment + 1) > end)
			return pass(STEER_PASSED);
		datagram.identification = fragment->rest;
		if (is_remembered(&datagram))
			return take(ctx, config, STEER_STEERED_RETURN);
		return pass(STEER_PASSED);
	}
	if (WALKED_PROTOCOL(walked) == IPPROTO_ICMPV6) {
		if (walked & WALKED_FRAGMENT)
			return pass(STEER_PASSED);
		return steer_back_error_ipv6(ctx, config, &receiver, offset);
	}
	ports = data + offset;
	if (!config->dnat || (void *)(ports + 1) > end)
		return pass(STEER_PASSED);
	if (!is_backend(&source, WALKED_PROTOCOL(walked), ports->source) || is_own(&receiver) ||
	    is_no_host_ipv6(&receiver))
		return pass(STEER_PASSED);
	if (walked & WALKED_FRAGMENT) {
		/* Senders put the fragment header last (RFC 8200 section 4.1 for what may follow it). */
		offset = (offset - sizeof(*fragment)) & WALKED_OFFSET;
		fragment = data + offset;
		if ((void *)(fragment + 1) <= end) {
			datagram.identification = fragment->rest;
			remember(&datagram);
		}
	}
	return take(ctx, config, STEER_STEERED_RETURN);
}

#endif
