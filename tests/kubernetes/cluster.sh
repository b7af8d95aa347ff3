#!/usr/bin/env bash
# A Kubernetes cluster whose machines are network namespaces: a real control plane, nodes whose pods
# are processes, a client, and a machine in front for a balancer. docs/kubernetes-tests.md has a drawing.
# Usage: cluster.sh up                    starts it, anew if it is there
#        cluster.sh run COMMAND...        runs a command at the client's, with KUBECONFIG and kubectl
#        cluster.sh in NAME COMMAND...    the same in another namespace: cp, n1, n2, …, cl, lb
#        cluster.sh start-node N          starts node N again, whose netkubelet was killed
#        cluster.sh down                  ends and removes all of it
#
# Settings are variables of the environment:
#   RUN_DIR    state and logs; "up" empties it. Required
#   PREFIX     of the namespaces' names. Default guideway-kube-, which scripts/clean-namespaces knows
#   PROGRAMS   folder of the programs. Default: what scripts/kubernetes-programs built
#   NODES      how many nodes, 1 to 9. Default 3
#   FAMILIES   "4" or "4 6". Default 4
#   NUMBER     0 to 3: chooses the addresses, so that clusters can be joined. Default 0
#   JOIN       PREFIX of a running cluster whose NUMBER is 0: this one has no client and no machine in
#              front of its own, but a link to each of that one's
#   GRACE      seconds for which a node's heartbeats, which come every 10, may be missing. Default 40
#   BALANCER   a line of shell, started at the client's; for tests of the tests. Default: none
set -euo pipefail
: "${RUN_DIR:?a folder for state and logs}"
here=$(cd "$(dirname "$0")" && pwd)
P=${PREFIX:-guideway-kube-} NODES=${NODES:-3} FAMILIES=${FAMILIES:-4} NUMBER=${NUMBER:-0}
FRONT=${JOIN:-$P} GRACE=${GRACE:-40}
KUBECONFIG=$RUN_DIR/kubeconfig

# Cluster NUMBER is on 10.210+NUMBER.0.0/24: control plane .1, machine in front .2, node i .1i.
# Node i's pods are 10.244.i+10*NUMBER.0/24, so that one table of routes can know all clusters'.
net4=10.$((210 + NUMBER)).0 net6=fd00:$((210 + NUMBER)):
pods4() { echo "10.244.$((NUMBER * 10 + $1)).0/24"; }
pods6() { echo "fd00:244:0:$((NUMBER * 10 + $1))::/64"; }
# The client is on another network of the same wire, as some tests look whether its address arrives.
client4=198.51.$((100 + NUMBER)) client6=2001:db8:$((51 + NUMBER)):
services4=10.$((96 + NUMBER)).0.0/16 services6=fd00:$((96 + NUMBER))::/112
vips4=203.0.113.0/24 vips6=2001:db8:113::/64
api=https://$net4.1:6443

nodes() { seq "$NODES"; }
both() { case "$FAMILIES" in *6*) echo "$1,$2" ;; *) echo "$1" ;; esac; }
# By nsenter: `ip netns exec` would hide namespaces that are made later, and pinned bpf objects.
in_ns() { local name=$1; shift; nsenter --net="/run/netns/$name" -- "$@"; }
full() { case $1 in cl | lb) echo "$FRONT$1" ;; *) echo "$P$1" ;; esac; }

start() { # NAME NAMESPACE COMMAND...
    local name=$1 namespace=$2
    shift 2
    nsenter --net="/run/netns/$(full "$namespace")" -- setsid "$@" >"$RUN_DIR/$name.log" 2>&1 </dev/null &
    echo $! >"$RUN_DIR/$name.pid"
}

wait_for() { # WHAT LOG COMMAND...
    local what=$1 log=$2
    shift 2
    for _ in $(seq 300); do
        "$@" >/dev/null 2>&1 && return
        sleep 0.2
    done
    echo "cluster.sh: waited a minute in vain for $what; the end of $log.log:" >&2
    tail -n 20 "$RUN_DIR/$log.log" >&2
    exit 1
}

# Plugs a new interface of a namespace into the switch.
#
# Neither end gives checksums to the device (tx off, which turns segmentation offload off too): what
# crosses AF_XDP in the machine in front has to have its checksums already.
plug() { # NAMESPACE INTERFACE PORT V4 V6
    local namespace=$1 interface=$2 port=$3
    ip link add "$interface" netns "$namespace" type veth peer name "$port" netns "${P}sw"
    in_ns "${P}sw" ethtool -K "$port" tx off >/dev/null
    in_ns "$namespace" ethtool -K "$interface" tx off >/dev/null
    ip -n "${P}sw" link set "$port" master br0 up
    ip -n "$namespace" link set "$interface" up
    ip -n "$namespace" address add "$4" dev "$interface"
    ip -n "$namespace" address add "$5" dev "$interface" nodad
    in_ns "$namespace" sysctl -qw "net.ipv4.conf.$interface.rp_filter=0"
}

add() { # NAMESPACE
    ip netns add "$1"
    ip -n "$1" link set lo up
    in_ns "$1" sysctl -qw net.ipv4.conf.all.rp_filter=0
}

# The client's own link to the machine in front, by which it reaches the VIPs. What the machine does
# not take for a VIP, its kernel forwards.
front_network() {
    local lb=${P}lb cl=${P}cl
    add "$lb"
    add "$cl"
    ip link add e1 netns "$lb" type veth peer name e1 netns "$cl"
    local namespace
    for namespace in "$lb" "$cl"; do
        in_ns "$namespace" ethtool -K e1 tx off >/dev/null
        ip -n "$namespace" link set e1 up
        in_ns "$namespace" sysctl -qw net.ipv4.conf.e1.rp_filter=0
    done
    ip -n "$lb" address add "$client4.1/24" dev e1
    ip -n "$lb" address add "$client6:1/64" dev e1 nodad
    in_ns "$lb" sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 net.ipv4.conf.all.send_redirects=0
    plug "$cl" e0 cl "$client4.2/24" "$client6:2/64"
    # A neighbour solicitation is answered by the interface that has the address only; ARP, by any.
    ip -n "$cl" address add "$client6:2/128" dev e1 nodad
    # The router of that wire is at its other link.
    ip -n "$cl" route add "$client4.1/32" dev e1
    ip -n "$cl" route add "$client6:1/128" dev e1
    ip -n "$cl" route add "$vips4" via "$client4.1" dev e1 onlink src "$client4.2"
    ip -n "$cl" route add "$vips6" via "$client6:1" dev e1 onlink src "$client6:2"
    # Connections of one client go to several nodes, where a route has several.
    in_ns "$cl" sysctl -qw net.ipv4.fib_multipath_hash_policy=1
    plug "$lb" e0 lb "$net4.2/24" "$net6:2/64"
}

up_network() {
    add "${P}sw"
    # A MAC of its own: it would change with the ports, and neighbours would know an old one.
    ip -n "${P}sw" link add br0 address 02:6e:6b:00:00:02 type bridge mcast_snooping 0
    ip -n "${P}sw" link set br0 up
    local i namespace
    for i in cp $(nodes | sed 's/^/n/'); do add "$P$i"; done
    plug "${P}cp" e0 cp "$net4.1/24" "$net6:1/64"
    for i in $(nodes); do plug "${P}n$i" e0 "n$i" "$net4.1$i/24" "$net6:1$i/64"; done
    if [ "$FRONT" = "$P" ]; then
        front_network
    else
        plug "${FRONT}cl" "c$NUMBER" cl "$client4.2/24" "$client6:2/64"
        ip -n "${FRONT}cl" address add 2001:db8:51::2/128 dev "c$NUMBER" nodad
        plug "${FRONT}lb" "c$NUMBER" lb "$net4.2/24" "$net6:2/64"
    fi
    up_routes
}

# The client's interface on this cluster's wire, and the one of the machine in front.
leg() { if [ "$FRONT" = "$P" ]; then echo e0; else echo "c$NUMBER"; fi; }

up_routes() {
    local namespace name device i
    for name in cp $(nodes | sed 's/^/n/'); do
        namespace=$P$name
        # Every cluster's client is on the wire: the same one, where clusters are joined.
        ip -n "$namespace" route add 198.51.100.0/22 dev e0
        ip -n "$namespace" route add 2001:db8:50::/46 dev e0
        [ "$name" != cp ] || continue
        # What nobody routes further goes to the control plane's namespace, which drops it.
        ip -n "$namespace" route add default via "$net4.1"
        ip -n "$namespace" -6 route add default via "$net6:1" dev e0 onlink
    done
    ip -n "$FRONT"cl route replace "$net4.0/24" dev "$(leg)" src "$client4.2"
    ip -n "$FRONT"cl route replace "$net6:/64" dev "$(leg)" src "$client6:2"
    if [ "$FRONT" = "$P" ]; then
        ip -n "${P}cl" route add default via "$net4.1" dev e0 onlink
        ip -n "${P}cl" -6 route add default via "$net6:1" dev e0 onlink
    fi
    for name in cp cl lb $(nodes | sed 's/^/n/'); do
        device=e0
        case $name in cl | lb) device=$(leg) ;; esac
        for i in $(nodes); do
            [ "$name" != "n$i" ] || continue
            ip -n "$(full "$name")" route add "$(pods4 "$i")" via "$net4.1$i" dev "$device" onlink
            ip -n "$(full "$name")" -6 route add "$(pods6 "$i")" via "$net6:1$i" dev "$device" onlink
        done
    done
}

up_certificates() (
    mkdir -p "$RUN_DIR/pki"
    cd "$RUN_DIR/pki"
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ca.key -subj /CN=ca -days 30 -out ca.crt
    openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout api.key -subj /CN=apiserver -out api.csr
    printf 'subjectAltName=IP:%s,IP:127.0.0.1,IP:%s,DNS:localhost,DNS:kubernetes.default.svc' "$net4.1" "${services4%0/16}1" >names
    openssl x509 -req -in api.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 30 -extfile names -out api.crt
    openssl genrsa -out sa.key 2048
    openssl rsa -in sa.key -pubout -out sa.pub
    echo 'admintoken,admin,1,"system:masters"' >tokens.csv
) >"$RUN_DIR/openssl.log" 2>&1

write_kubeconfig() {
    cat >"$KUBECONFIG" <<Y
apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: "$api", certificate-authority: $RUN_DIR/pki/ca.crt}}]
users: [{name: u, user: {token: admintoken}}]
contexts: [{name: c, context: {cluster: c, user: u}}]
current-context: c
Y
}

# Pods see this machine's programs, but first these: the images' wget tries once.
write_pods_programs() {
    mkdir -p "$RUN_DIR/bin"
    ln -s "$PROGRAMS/agnhost" "$RUN_DIR/bin/agnhost"
    printf '#!/bin/sh\nexec %s --tries=1 "$@"\n' "$(command -v wget)" >"$RUN_DIR/bin/wget"
    chmod +x "$RUN_DIR/bin/wget"
}

up_control_plane() {
    local pki=$RUN_DIR/pki
    start etcd cp "$PROGRAMS/etcd" --data-dir "$RUN_DIR/etcd" --unsafe-no-fsync --log-level warn \
        --listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379 \
        --listen-peer-urls http://127.0.0.1:2380
    # netkubelet makes its own certificate: the API server is given no authority for kubelets.
    start apiserver cp "$PROGRAMS/kube-apiserver" --etcd-servers=http://127.0.0.1:2379 \
        --bind-address="$net4.1" --advertise-address="$net4.1" --secure-port=6443 \
        --tls-cert-file="$pki/api.crt" --tls-private-key-file="$pki/api.key" --client-ca-file="$pki/ca.crt" \
        --token-auth-file="$pki/tokens.csv" --service-account-issuer=https://kubernetes.default.svc \
        --service-account-key-file="$pki/sa.pub" --service-account-signing-key-file="$pki/sa.key" \
        --service-cluster-ip-range="$(both $services4 $services6)" --authorization-mode=RBAC \
        --endpoint-reconciler-type=none --disable-admission-plugins=ServiceAccount --allow-privileged=true \
        --kubelet-preferred-address-types=InternalIP
    wait_for "the API server" apiserver in_ns "${P}cp" curl -skf "$api/readyz"
    start controller-manager cp "$PROGRAMS/kube-controller-manager" --kubeconfig="$KUBECONFIG" \
        --bind-address=127.0.0.1 --leader-elect=false --use-service-account-credentials=false \
        --service-account-private-key-file="$pki/sa.key" --root-ca-file="$pki/ca.crt" \
        --node-monitor-grace-period="${GRACE}s"
    start scheduler cp "$PROGRAMS/kube-scheduler" --kubeconfig="$KUBECONFIG" --leader-elect=false \
        --bind-address=127.0.0.1
}

start_kubelet() { # NUMBER
    start "kubelet-n$1" "n$1" env PATH="$RUN_DIR/bin:$PATH" "$PROGRAMS/netkubelet" --node "n$1" \
        --netns-prefix "$P" --kubeconfig "$KUBECONFIG" --dir "$RUN_DIR/n$1" --dns cluster.local \
        --node-ip "$(both "$net4.1$1" "$net6:1$1")" --pod-cidr "$(both "$(pods4 "$1")" "$(pods6 "$1")")" \
        --labels "topology.kubernetes.io/zone=z$1" --image "agnhost=$PROGRAMS/agnhost" \
        --image "pause=$PROGRAMS/agnhost" --image nginx=nginx
}

start_proxy() { # NUMBER
    start "proxy-n$1" "n$1" "$PROGRAMS/kube-proxy" --kubeconfig="$KUBECONFIG" --proxy-mode=nftables \
        --hostname-override="n$1" --cluster-cidr="$(both 10.244.0.0/16 fd00:244::/32)" \
        --nodeport-addresses=primary --conntrack-max-per-core=0 --conntrack-tcp-timeout-established=0 \
        --conntrack-tcp-timeout-close-wait=0
}

kubectl() { in_ns "$(full cl)" "$PROGRAMS/kubectl" --kubeconfig "$KUBECONFIG" "$@"; }
# A node is new with a taint, and takes pods once the controllers have removed that.
is_ready() {
    [ "$(kubectl get node "n$1" -o jsonpath='{.status.conditions[?(@.type=="Ready")].status}{.spec.taints}')" = True ]
}

up() {
    down
    rm -rf "$RUN_DIR"
    mkdir -p "$RUN_DIR"
    up_network
    up_certificates
    write_kubeconfig
    write_pods_programs
    up_control_plane
    local i
    for i in $(nodes); do
        start_kubelet "$i"
        start_proxy "$i"
    done
    [ -z "${BALANCER:-}" ] || start balancer cl env KUBECONFIG="$KUBECONFIG" PATH="$PROGRAMS:$PATH" sh -c "exec $BALANCER"
    for i in $(nodes); do wait_for "node n$i" "kubelet-n$i" is_ready "$i"; done
}

# Signals the process of a file, if it is still one of this cluster's.
signal() { # SIGNAL FILE
    [ -e "$2" ] && grep -qF "$RUN_DIR" "/proc/$(cat "$2")/environ" "/proc/$(cat "$2")/cmdline" 2>/dev/null &&
        kill "-$1" "$(cat "$2")" 2>/dev/null
}

# Waits at most ten seconds for the end of a process that was signalled.
wait_for_end() { # FILE
    for _ in $(seq 100); do
        signal 0 "$1" || return 0
        sleep 0.1
    done
}

# The kubelets first and by SIGTERM, as they clean up; then all that is left.
down() {
    local file name process
    for file in "$RUN_DIR"/kubelet-*.pid; do signal TERM "$file" || true; done
    for file in "$RUN_DIR"/kubelet-*.pid; do wait_for_end "$file"; done
    for file in "$RUN_DIR"/*.pid; do
        signal KILL "$file" || true
        rm -f "$file"
    done
    if [ "$FRONT" != "$P" ]; then
        for name in cl lb; do ip -n "$FRONT$name" link delete "c$NUMBER" 2>/dev/null || true; done
    fi
    # What a killed kubelet left too: pods' namespaces, and processes in them.
    for name in $(find /run/netns -maxdepth 1 -printf '%f\n' 2>/dev/null | grep -E "^$P(sw|cp|cl|lb|n[0-9]+)(-|$)"); do
        for process in $(ip netns pids "$name"); do kill -KILL "$process" 2>/dev/null || true; done
        ip netns delete "$name"
    done
}

find_programs() {
    PROGRAMS=${PROGRAMS:-$("$here/../../scripts/kubernetes-programs" --where core)} || {
        echo "cluster.sh: its programs are not built; run scripts/kubernetes-programs core" >&2
        exit 1
    }
}

run_in() { # NAME COMMAND...
    local namespace
    namespace=$(full "$1")
    shift
    exec nsenter --net="/run/netns/$namespace" -- env KUBECONFIG="$KUBECONFIG" PATH="$PROGRAMS:$PATH" "$@"
}

command=${1:-}
shift || true
case $command in
    up) find_programs; up ;;
    run) find_programs; run_in cl "$@" ;;
    in) find_programs; run_in "$@" ;;
    start-node) find_programs; wait_for_end "$RUN_DIR/kubelet-n$1.pid"; start_kubelet "$1" ;;
    down) down ;;
    *) sed -n '/^# Usage/,/^set/{/^#/s/^# \{0,1\}//p}' "$0" >&2; exit 2 ;;
esac
