/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* What the veth benchmark writes into its generator (benches/veth/generator.rs writes the same). */
#ifndef GUIDEWAY_BENCH_H
#define GUIDEWAY_BENCH_H

#include <linux/types.h>

#define BENCH_FRAME 64
#define BENCH_PORTS 1024
/* Of the frames that arrive, so many are kept, and so much of each. */
#define BENCH_KEPT 64
#define BENCH_KEPT_BYTES 128

struct bench_kept {
	/* Bytes of the frame in `bytes`; 0 where there is none. */
	__u32 length;
	__u8 bytes[BENCH_KEPT_BYTES];
};

struct bench_config {
	/* Headers and payload, with source address, source port and checksums 0. */
	__u8 frame[BENCH_FRAME];
	/* Sums of the 16-bit words that the checksums cover, in host order. */
	__u32 ip_sum;
	__u32 transport_sum;
	/* First source address, in host order; flow f has address + f / BENCH_PORTS. */
	__u32 source;
	/* Flows of one run, less one: a power of two less one. */
	__u32 mask;
	/* Flow of the first frame, and from one frame's flow to the next one's. */
	__u32 first;
	__u32 step;
	/* Where the transport checksum is. */
	__u32 checksum_at;
	/* Frames are dropped at once from now on, so that a run ends. */
	__u32 stop;
};

#endif
