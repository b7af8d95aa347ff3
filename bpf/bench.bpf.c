// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * The veth benchmark's ends: a generator that is run by BPF_PROG_TEST_RUN with live frames, a sink
 * that counts and drops, and what puts frames into the bare forwarder's sockets.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/pkt_cls.h>

#include "bench.h"
#include "program.h"

static long (*bpf_skb_load_bytes)(const void *buffer, __u32 offset, void *to,
				  __u32 length) = (void *)BPF_FUNC_skb_load_bytes;
static long (*bpf_xdp_load_bytes)(void *frame, __u32 offset, void *to,
				  __u32 length) = (void *)BPF_FUNC_xdp_load_bytes;
static long (*bpf_redirect_map)(void *map, __u64 key, __u64 flags) = (void *)BPF_FUNC_redirect_map;

struct {
	map_number(type, BPF_MAP_TYPE_ARRAY);
	map_number(max_entries, 1);
	map_type(key, __u32);
	map_type(value, struct bench_config);
} bench_config SEC(".maps");

/* Frames generated, frames that came to the sink. */
enum { GENERATED, ARRIVED, COUNTERS };

struct {
	map_number(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	map_number(max_entries, COUNTERS);
	map_type(key, __u32);
	map_type(value, __u64);
} bench_counters SEC(".maps");

struct {
	map_number(type, BPF_MAP_TYPE_ARRAY);
	map_number(max_entries, BENCH_KEPT);
	map_type(key, __u32);
	map_type(value, struct bench_kept);
} bench_kept SEC(".maps");

struct {
	map_number(type, BPF_MAP_TYPE_XSKMAP);
	map_number(max_entries, 64);
	map_type(key, __u32);
	map_type(value, __u32);
} bench_sockets SEC(".maps");

static always_inline __u16 checksum(__u32 sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return net16((__u16)~sum);
}

/* Writes all of the frame: whoever had its memory before may have changed it. */
SEC("xdp") int generate(struct xdp_md *ctx)
{
	__u8 *frame = (void *)(long)ctx->data;
	__u32 zero = 0, generated = GENERATED, flow, address, sum;
	struct bench_config *config = bpf_map_lookup_elem(&bench_config, &zero);
	__u64 *count = bpf_map_lookup_elem(&bench_counters, &generated);
	__u16 port;

	if (!config || !count || frame + BENCH_FRAME > (__u8 *)(long)ctx->data_end)
		return XDP_ABORTED;
	if (config->stop)
		return XDP_DROP;
	flow = (config->first + (__u32)*count * config->step) & config->mask;
	*count += 1;
	address = config->source + flow / BENCH_PORTS;
	port = 1024 + flow % BENCH_PORTS;
	sum = (address >> 16) + (address & 0xffff);

	__builtin_memcpy(frame, config->frame, BENCH_FRAME);
	*(__be16 *)(frame + 24) = checksum(config->ip_sum + sum);
	*(__be32 *)(frame + 26) = net32(address);
	*(__be16 *)(frame + 34) = net16(port);
	sum = checksum(config->transport_sum + sum + port);
	if (config->checksum_at == 40)
		*(__be16 *)(frame + 40) = sum;
	else
		*(__be16 *)(frame + 50) = sum;
	return XDP_TX;
}

/* Counts a frame. Every 1,024th is to be kept, in the place that this gives. */
static always_inline struct bench_kept *arrived(void)
{
	__u32 number = ARRIVED, place;
	__u64 *count = bpf_map_lookup_elem(&bench_counters, &number);

	if (!count)
		return 0;
	*count += 1;
	if (*count % 1024)
		return 0;
	place = *count / 1024 % BENCH_KEPT;
	return bpf_map_lookup_elem(&bench_kept, &place);
}

SEC("xdp") int sink(struct xdp_md *ctx)
{
	__u64 length = ctx->data_end - ctx->data;
	struct bench_kept *kept = arrived();

	if (kept && length > 0 && length <= BENCH_KEPT_BYTES) {
		kept->length = length;
		bpf_xdp_load_bytes(ctx, 0, kept->bytes, length);
	}
	return XDP_DROP;
}

SEC("classifier") int sink_tc(struct __sk_buff *buffer)
{
	__u64 length = buffer->len;
	struct bench_kept *kept = arrived();

	if (kept && length > 0 && length <= BENCH_KEPT_BYTES) {
		kept->length = length;
		bpf_skb_load_bytes(buffer, 0, kept->bytes, length);
	}
	return TC_ACT_SHOT;
}

/* On an end that has to take frames from the peer's XDP_TX. */
SEC("xdp") int pass(struct xdp_md *ctx)
{
	(void)ctx;
	return XDP_PASS;
}

SEC("xdp") int bare(struct xdp_md *ctx)
{
	return bpf_redirect_map(&bench_sockets, ctx->rx_queue_index, XDP_PASS);
}

/* The verifier compares this text with its list of GPL-compatible licences. */
char bench_license[] SEC("license") = "Dual MIT/GPL";
