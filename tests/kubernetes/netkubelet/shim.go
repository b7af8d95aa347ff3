package main

import (
	"os"
	"os/exec"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// enterNetns moves the calling thread.
func enterNetns(name string) {
	runtime.LockOSThread()
	fd, err := unix.Open("/run/netns/"+name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	must(err)
	must(unix.Setns(fd, unix.CLONE_NEWNET))
}

// shim runs as the first process of a container, in new UTS, mount, PID and
// IPC namespaces: NETNS HOSTNAME RESOLVCONF WORKDIR ARGV...; "" leaves a thing as it is.
func shim(a []string) {
	if a[0] != "" {
		enterNetns(a[0])
	}
	must(unix.Sethostname([]byte(a[1])))
	must(unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""))
	if a[2] != "" {
		must(unix.Mount(a[2], "/etc/resolv.conf", "", unix.MS_BIND, ""))
	}
	prog, err := exec.LookPath(a[4])
	must(err)
	must(unix.Mount("proc", "/proc", "proc", 0, ""))
	if a[3] != "" {
		must(os.Chdir(a[3]))
	}
	must(syscall.Exec(prog, a[4:], os.Environ()))
}
