#!/usr/bin/env bash
# What `workers.idle` costs those who share the workers' cores: requests a second through the VIP by
# NAT, with wrk, nginx, two workers and the kernel's part all on two cores, for each policy in turn.
# Run by hand, as root, after `make build`: benches/idle.sh. Takes a minute, and stays
# in network namespaces of its own. docs/performance.md has what it printed.
set -euo pipefail
cd "$(dirname "$0")/.."
source demo/lib.bash

rounds=${ROUNDS:-3}
seconds=${SECONDS_EACH:-5}
policies=(sleep busy auto)
guideway=$(realpath -m "${CARGO_TARGET_DIR:-target}")/release/guideway
guideway_pid=''
# Names that the demo does not have, for what lib.bash removes.
client=guideway-idle-client
balancer=guideway-idle-lb
switch=guideway-idle-none
backends=(guideway-idle-b1)

[ "$(id -u)" -eq 0 ] || fail "network namespaces and AF_XDP need root: run it as root"
[ -x "$guideway" ] || fail "$guideway is not built: make build"
remove_everything
work=$(mktemp -d /tmp/guideway-idle.XXXXXX)
finish() {
    local code=$?
    trap - EXIT
    trap '' INT TERM HUP
    set +e
    remove_everything
    exit "$code"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# The first two cores this script may use; everything it starts inherits them.
use_two_cores() {
    local range number found=()
    for range in $(taskset -cp $$ | sed 's/.*: //; s/,/ /g'); do
        for number in $(seq "${range%-*}" "${range#*-}"); do found+=("$number"); done
    done
    [ ${#found[@]} -ge 2 ] || fail "this takes two cores"
    cores="${found[0]},${found[1]}"
    taskset -cp "$cores" $$ >/dev/null
}

# The balancer's links have two queues, one for each worker.
make_two_arms() {
    local namespace interface peer queues='numtxqueues 2 numrxqueues 2'
    for namespace in "$client" "$balancer" "${backends[@]}"; do make_namespace "$namespace"; done
    for interface in "eth1 $client" "eth2 ${backends[0]}"; do
        read -r interface peer <<<"$interface"
        ip link add "$interface" netns "$balancer" $queues type veth peer name eth0 netns "$peer"
        in_ns "$peer" ethtool -K eth0 tx off >/dev/null
        in_ns "$balancer" ethtool -K "$interface" tx off >/dev/null
        ip -n "$peer" link set eth0 up
        ip -n "$balancer" link set "$interface" up
    done
    ip -n "$client" address add 10.1.0.50/24 dev eth0
    ip -n "$balancer" address add $own_address/24 dev eth1
    ip -n "$balancer" address add 10.2.0.1/24 dev eth2
    ip -n "${backends[0]}" address add 10.2.0.11/24 dev eth0
}

# write_configuration POLICY
write_configuration() {
    cat >"$work/guideway.yaml" <<YAML
version: 1
workers: { count: 2, cores: [$cores], idle: $1 }
interfaces: [ { name: eth1 }, { name: eth2 } ]
snat: [ { address: 10.2.0.10, ports: 1024-65535, interface: eth2 } ]
limits: { flows_per_worker: 262144 }
admin: { socket: $work/admin.sock }
state_dir: $work/state
bpf_dir: $work/bpf
services:
  - { name: web, address: $vip, port: 80, backends: [ { name: b1, address: 10.2.0.11 } ] }
YAML
}

answers() { in_ns "$client" curl -sf -m 1 -o /dev/null "http://$vip/"; }

# measure POLICY : starts Guideway with it, loads it, stops it; adds a line to $work/results.
measure() {
    local told rate
    write_configuration "$1"
    in_background "$balancer" "$guideway" run --config "$work/guideway.yaml" >"$work/log" 2>&1
    guideway_pid=$!
    wait_until 15 "an answer with idle: $1" answers
    told=$(in_ns "$client" wrk -t 1 -c 32 -d "${seconds}s" --timeout 3s "http://$vip/")
    rate=$(awk '$1 == "Requests/sec:" { print $2 }' <<<"$told")
    grep -q 'Non-2xx\|Socket errors' <<<"$told" && tell "$(grep 'Non-2xx\|Socket errors' <<<"$told")"
    kill "$guideway_pid"
    wait "$guideway_pid" || true
    guideway_pid=''
    printf '%s\t%s\n' "$1" "$rate" >>"$work/results"
    tell "$(printf '%-6s %8.0f requests/s' "$1" "$rate")"
}

# The middle of a policy's runs, and what that is of sleep's.
show_ratios() {
    local policy
    declare -A middle
    for policy in "${policies[@]}"; do
        middle[$policy]=$(awk -v p="$policy" '$1 == p { print $2 }' "$work/results" | sort -n |
            awk '{ all[NR] = $1 } END { print all[int((NR + 1) / 2)] }')
    done
    for policy in "${policies[@]}"; do
        awk -v p="$policy" -v one="${middle[$policy]}" -v sleep="${middle[sleep]}" \
            'BEGIN { printf "%s\t%.0f\t%.2f\n", p, one, one / sleep }'
    done | table '%-6s %12s %14s' idle requests/s "of sleep's"
}

use_two_cores
mkdir "$work/bpf" "$work/state"
mount -t bpf bpf "$work/bpf"
make_two_arms
# Connections are kept: their number would otherwise be what is measured, since each new Guideway gives
# out SNAT ports that the backend still has in TIME_WAIT from the run before.
start_nginx "${backends[0]}" b1 80 60
: >"$work/file"
step "idle: ${policies[*]}; $rounds rounds of $seconds s each; cores $cores, isolated: $(
    cat /sys/devices/system/cpu/isolated | grep . || echo none)"
for ((round = 0; round < rounds; round++)); do
    for policy in "${policies[@]}"; do measure "$policy"; done
done
step "The middle run of each"
show_ratios
tell "load of the machine (all it runs, over the last minute): $(cut -d ' ' -f 1 /proc/loadavg)"
