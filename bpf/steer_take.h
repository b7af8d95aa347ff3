/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * What becomes of a frame: the kernel's, counted, or a worker's. Part of steer.bpf.c, whose maps and
 * helpers it uses.
 */
#ifndef GUIDEWAY_STEER_TAKE_H
#define GUIDEWAY_STEER_TAKE_H

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

#endif
