/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* What every XDP program here needs, in the place of libbpf's headers. */
#ifndef GUIDEWAY_PROGRAM_H
#define GUIDEWAY_PROGRAM_H

#define SEC(name) __attribute__((section(name), used))
#define always_inline inline __attribute__((always_inline))

/* BTF-defined maps: the loader reads these types, nothing reads the values. */
#define map_number(name, value) int (*name)[value]
#define map_type(name, value) typeof(value) *name

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define net16(value) __builtin_bswap16(value)
#define net32(value) __builtin_bswap32(value)
#else
#define net16(value) (value)
#define net32(value) (value)
#endif

/* Helpers are called by number (include/uapi/linux/bpf.h). */
static void *(*bpf_map_lookup_elem)(void *map, const void *key) = (void *)BPF_FUNC_map_lookup_elem;

#endif
