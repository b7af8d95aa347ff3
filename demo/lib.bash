# Output, network and clean-up of the demo. Sourced by demo/run.

client=guideway-client
balancer=guideway-lb
switch=guideway-switch
backends=(guideway-b1 guideway-b2 guideway-b3 guideway-b4)
vip=10.1.0.100
own_address=10.1.0.1

if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then
    bold=$'\e[1m' green=$'\e[32m' red=$'\e[31m' grey=$'\e[90m' plain=$'\e[0m'
else
    bold='' green='' red='' grey='' plain=''
fi

step_number=0
step() { step_number=$((step_number + 1)); printf '\n%s%d. %s%s\n' "$bold" "$step_number" "$*" "$plain"; }
tell() { printf '   %s\n' "$*"; }
good() { printf '   %s✓%s %s\n' "$green" "$plain" "$*"; }
fail() {
    printf '   %s✗ %s%s\n' "$red" "$*" "$plain" >&2
    exit 1
}

# table FORMAT HEADER... : reads rows of tab-separated cells and aligns them.
table() {
    local format=$1
    shift
    # shellcheck disable=SC2059
    printf "   $grey$format$plain\n" "$@"
    local row
    while IFS= read -r row; do
        local cells
        IFS=$'\t' read -ra cells <<<"$row"
        # shellcheck disable=SC2059
        printf "   $format\n" "${cells[@]}"
    done
}

# in_ns NAMESPACE COMMAND... : by nsenter, since `ip netns exec` would hide pinned bpf objects.
in_ns() {
    local namespace=$1
    shift
    nsenter --net="/run/netns/$namespace" -- "$@"
}

seconds_since() { awk -v a="$1" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.1f", b - a }'; }

see_it_runs() { kill -0 "$guideway_pid" 2>/dev/null || fail "Guideway ended"; }

# wait_until SECONDS WHAT COMMAND... : asks until the command succeeds.
wait_until() {
    local end=$((SECONDS + $1)) what=$2
    shift 2
    until "$@"; do
        [ "$SECONDS" -lt "$end" ] || fail "waited in vain for: $what"
        [ -z "$guideway_pid" ] || see_it_runs
        sleep 0.1
    done
}

# in_background NAMESPACE COMMAND... : like in_ns, not waited for; its number is in $!. Dies with the demo.
background=()
in_background() {
    nsenter --net="/run/netns/$1" -- "${@:2}" 3>&- &
    background+=($!)
}

make_namespace() {
    ip netns add "$1"
    ip -n "$1" link set lo up
    in_ns "$1" sysctl -qw net.ipv6.conf.all.disable_ipv6=1
}

# make_link NAMESPACE INTERFACE NAMESPACE INTERFACE : a veth pair, both ends up. Checksums are made
# by the sender, since an unfinished one does not cross AF_XDP.
make_link() {
    ip link add "$2" netns "$1" type veth peer name "$4" netns "$3"
    local end
    for end in "$1 $2" "$3 $4"; do
        set -- $end
        in_ns "$1" ethtool -K "$2" tx off >/dev/null
        ip -n "$1" link set "$2" up
    done
}

make_network() {
    local namespace number
    for namespace in "$client" "$balancer" "$switch" "${backends[@]}"; do
        make_namespace "$namespace"
    done
    make_link "$client" eth0 "$balancer" eth1
    ip -n "$client" address add 10.1.0.50/24 dev eth0
    ip -n "$balancer" address add $own_address/24 dev eth1
    ip -n "$switch" link add br0 type bridge
    ip -n "$switch" link set br0 up
    make_link "$balancer" eth2 "$switch" lb
    ip -n "$switch" link set lb master br0
    ip -n "$balancer" address add 10.2.0.1/24 dev eth2
    for number in 1 2 3 4; do
        make_link "guideway-b$number" eth0 "$switch" "b$number"
        ip -n "$switch" link set "b$number" master br0
        ip -n "guideway-b$number" address add "10.2.0.1$number/24" dev eth0
    done
}

# start_nginx NAMESPACE NAME LISTEN [SECONDS] : answers its name; /file is the long download. Closes
# after each answer, or after that many seconds of silence.
start_nginx() {
    local place=$work/nginx-$2
    mkdir -p "$place"
    cat >"$place/nginx.conf" <<NGINX
user root; worker_processes 1; daemon off; pid $place/pid;
events { worker_connections 1024; }
http {
    access_log off; keepalive_timeout ${4:-0}; keepalive_requests 10000000;
    client_body_temp_path $place/body; proxy_temp_path $place/proxy; fastcgi_temp_path $place/fcgi;
    uwsgi_temp_path $place/uwsgi; scgi_temp_path $place/scgi;
    server {
        listen $3 backlog=4096;
        add_header X-Backend $2;
        location / { return 200 '$2\n'; }
        location = /file { alias $work/file; }
    }
}
NGINX
    in_background "$1" nginx -e "$place/error.log" -c "$place/nginx.conf" >"$place/log" 2>&1
}

# remove_work DIRECTORY : the files of a demo, and the bpf file system in it.
remove_work() {
    umount "$1/bpf" 2>/dev/null || true
    rm -rf --one-file-system "$1" || true
}

remove_everything() {
    local namespace process
    for process in "${background[@]}"; do
        kill "$process" 2>/dev/null || true
    done
    for namespace in "$client" "$balancer" "$switch" "${backends[@]}"; do
        [ -e "/run/netns/$namespace" ] || continue
        for process in $(ip netns pids "$namespace"); do
            kill "$process" 2>/dev/null || true
        done
        # A server that ends slowly keeps its namespace alive, not its name.
        ip netns delete "$namespace" || true
    done
    wait 2>/dev/null || true
    [ -z "${work:-}" ] || remove_work "$work"
}
