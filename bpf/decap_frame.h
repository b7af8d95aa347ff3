/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* The decap program's maps, and a frame on its way through it. */
#ifndef GUIDEWAY_DECAP_FRAME_H
#define GUIDEWAY_DECAP_FRAME_H

#include "decap.h"
#include "program.h"

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

#endif
