#!/bin/sh
# A Debian machine of its own for a test: this one's files with everything that is changed kept in
# memory, and systemd as its process 1. Run in the network namespace that the machine is to have.
# Usage: machine.sh NAME DIRECTORY      (of its cgroup; an empty one for its files)
set -eu

# A cgroup of its own in each hierarchy that is used; seen from inside it is the root.
enter_cgroup() {
    for hierarchy in /sys/fs/cgroup /sys/fs/cgroup/systemd /sys/fs/cgroup/unified \
        /sys/fs/cgroup/pids /sys/fs/cgroup/devices /sys/fs/cgroup/freezer; do
        [ -e "$hierarchy/cgroup.procs" ] || continue
        mkdir -p "$hierarchy/$1"
        echo $$ >"$hierarchy/$1/cgroup.procs"
    done
}

# The files: what is written goes into a tmpfs.
mount_files() {
    mount -t tmpfs -o mode=755 tmpfs "$directory"
    mkdir "$directory/upper" "$directory/work" "$root"
    mount -t overlay -o "lowerdir=/,upperdir=$directory/upper,workdir=$directory/work" overlay "$root"
    mount -t proc proc "$root/proc"
    mount -t sysfs sysfs "$root/sys"
    mount -t bpf bpf "$root/sys/fs/bpf"
    for place in run tmp dev; do
        mount -t tmpfs -o mode=755 tmpfs "$root/$place"
    done
    chmod 1777 "$root/tmp"
    for device in null:3 zero:5 full:7 random:8 urandom:9; do
        mknod -m 666 "$root/dev/${device%:*}" c 1 "${device#*:}"
    done
    ln -s pts/ptmx "$root/dev/ptmx"
}

# Nothing of this machine's services starts, nor anything that would set up hardware or sysctls. The
# journal is there.
keep_quiet() {
    units=$root/usr/lib/systemd/system
    rm -rf "$units"/*.target.wants "$root"/etc/systemd/system/*.wants
    rm -rf "$root"/usr/lib/systemd/system-generators "$root"/etc/systemd/system-generators
    mkdir "$units/sysinit.target.wants" "$units/sockets.target.wants"
    ln -s ../systemd-journald.service "$units/sysinit.target.wants/"
    ln -s ../systemd-journald.socket "$units/sockets.target.wants/"
    printf '[Journal]\nReadKMsg=no\nAudit=\nStorage=volatile\n' >"$root/etc/systemd/journald.conf"
    rm -rf "$root/var/log/journal" "$root/usr/sbin/policy-rc.d"
    rm -f "$root/etc/machine-id"
    echo 0123456789abcdef0123456789abcdef >"$root/etc/machine-id"
}

case $1 in
    --inside)
        directory=$2 root=$2/root
        mount --make-rprivate /
        mount_files
        keep_quiet
        exec env -i container=guideway-test PATH=/usr/sbin:/usr/bin:/sbin:/bin \
            chroot "$root" /lib/systemd/systemd --unit=multi-user.target \
            --log-target=journal --log-level=info --show-status=no
        ;;
    *)
        enter_cgroup "$1"
        exec unshare --pid --mount --uts --ipc --cgroup --fork --kill-child "$0" --inside "$2"
        ;;
esac
