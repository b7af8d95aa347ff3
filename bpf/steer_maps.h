/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* What user space tells steer.bpf.c, and what it tells back. Layouts are in steer.h. */
#ifndef GUIDEWAY_STEER_MAPS_H
#define GUIDEWAY_STEER_MAPS_H

struct {
	map_number(type, BPF_MAP_TYPE_XSKMAP);
	map_number(max_entries, STEER_QUEUES);
	map_type(key, __u32);
	map_type(value, __u32);
} steer_sockets SEC(".maps");

struct {
	map_number(type, BPF_MAP_TYPE_ARRAY);
	map_number(max_entries, 1);
	map_type(key, __u32);
	map_type(value, struct steer_config);
} steer_config SEC(".maps");

struct {
	map_number(type, BPF_MAP_TYPE_HASH);
	map_number(map_flags, BPF_F_NO_PREALLOC);
	map_number(max_entries, STEER_ADDRESSES);
	map_type(key, struct steer_ip);
	map_type(value, struct steer_address);
} steer_addresses SEC(".maps");

struct {
	map_number(type, BPF_MAP_TYPE_HASH);
	map_number(map_flags, BPF_F_NO_PREALLOC);
	map_number(max_entries, STEER_PORTS);
	map_type(key, struct steer_port);
	map_type(value, __u8);
} steer_ports SEC(".maps");

struct {
	map_number(type, BPF_MAP_TYPE_HASH);
	map_number(map_flags, BPF_F_NO_PREALLOC);
	map_number(max_entries, STEER_BACKENDS);
	map_type(key, struct steer_port);
	map_type(value, struct steer_range);
} steer_backends SEC(".maps");

struct {
	map_number(type, BPF_MAP_TYPE_HASH);
	map_number(map_flags, BPF_F_NO_PREALLOC);
	map_number(max_entries, STEER_OWN);
	map_type(key, struct steer_ip);
	map_type(value, __u8);
} steer_own SEC(".maps");

struct {
	map_number(type, BPF_MAP_TYPE_LRU_HASH);
	map_number(max_entries, STEER_FRAGMENTS);
	map_type(key, struct steer_datagram);
	map_type(value, __u8);
} steer_fragments SEC(".maps");

struct {
	map_number(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	map_number(max_entries, STEER_COUNTERS);
	map_type(key, __u32);
	map_type(value, __u64);
} steer_counters SEC(".maps");

#endif
