package main

import (
	"fmt"
	"log"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
)

func (c *container) id(p *pod) string {
	return fmt.Sprintf("netns://%s-%s-%d", p.obj.UID, c.Name, c.count)
}

// logFile names the output of a container's current or last run.
func (p *pod) logFile(c *container) string {
	return filepath.Join(p.dir, fmt.Sprintf("%s.%d.log", c.Name, c.count))
}

// command is the container's process: this program as shim, which becomes the
// program that the image stands for.
func (p *pod) command(c *container) (*exec.Cmd, error) {
	env := p.env(c)
	argv, err := p.argv(c, env)
	if err != nil {
		return nil, err
	}
	out, err := os.Create(p.logFile(c))
	if err != nil {
		return nil, err
	}
	resolv := ""
	if p.k.domain != "" && !p.obj.Spec.HostNetwork {
		resolv = filepath.Join(p.dir, "resolv.conf")
		d := p.k.domain
		os.WriteFile(resolv, fmt.Appendf(nil, "nameserver %s\nsearch %s.svc.%s svc.%s %s\noptions ndots:5\n",
			host(p.k.cidrs[0], 1), p.obj.Namespace, d, d, d), 0o644)
	}
	cmd := exec.Command("/proc/self/exe", append([]string{"shim", p.netns, p.hostname(), resolv, c.WorkingDir}, argv...)...)
	cmd.Env, cmd.Stdout, cmd.Stderr = env, out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL,
		Cloneflags: syscall.CLONE_NEWUTS | syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWIPC}
	return cmd, nil
}

func (p *pod) hostname() string {
	switch {
	case p.obj.Spec.HostNetwork:
		return p.k.node
	case p.obj.Spec.Hostname != "":
		return p.obj.Spec.Hostname
	}
	return p.obj.Name
}

var variable = regexp.MustCompile(`\$\([A-Za-z_][A-Za-z0-9_.-]*\)`)

// expand replaces $(NAME) by the last NAME= of env; unknown names stay.
func expand(s string, env []string) string {
	return variable.ReplaceAllStringFunc(s, func(m string) string {
		for i := len(env) - 1; i >= 0; i-- {
			if val, ok := strings.CutPrefix(env[i], m[2:len(m)-1]+"="); ok {
				return val
			}
		}
		return m
	})
}

func (p *pod) env(c *container) []string {
	o := p.obj
	fields := map[string]string{"metadata.name": o.Name, "metadata.namespace": o.Namespace, "metadata.uid": string(o.UID),
		"spec.nodeName": p.k.node, "spec.serviceAccountName": o.Spec.ServiceAccountName,
		"status.podIP": p.ips[0].String(), "status.podIPs": join(p.ips), "status.hostIP": p.k.ips[0].String(), "status.hostIPs": join(p.k.ips)}
	for name, val := range o.Labels {
		fields["metadata.labels['"+name+"']"] = val
	}
	for name, val := range o.Annotations {
		fields["metadata.annotations['"+name+"']"] = val
	}
	env := []string{"PATH=" + os.Getenv("PATH"), "HOME=/", "HOSTNAME=" + p.hostname()}
	for _, e := range c.Env {
		val := expand(e.Value, env)
		if e.ValueFrom != nil && e.ValueFrom.FieldRef != nil {
			val = fields[e.ValueFrom.FieldRef.FieldPath]
		} else if e.ValueFrom != nil {
			log.Printf("%s/%s: $%s: only fieldRef is known", o.Name, c.Name, e.Name)
		}
		env = append(env, e.Name+"="+val)
	}
	return env
}

func join(ips []netip.Addr) string {
	var s []string
	for _, ip := range ips {
		s = append(s, ip.String())
	}
	return strings.Join(s, ",")
}

// argv maps the image to a local program, and makes the command line.
func (p *pod) argv(c *container, env []string) ([]string, error) {
	var command, args []string
	for _, s := range c.Command {
		command = append(command, expand(s, env))
	}
	for _, s := range c.Args {
		args = append(args, expand(s, env))
	}
	prog := ""
	for _, rule := range p.k.images {
		if part, path, _ := strings.Cut(rule, "="); prog == "" && strings.Contains(c.Image, part) {
			prog = path
		}
	}
	base := filepath.Base(prog)
	switch {
	case len(command) > 0 && prog != "" && filepath.Base(command[0]) == base:
		return append(append([]string{prog}, command[1:]...), args...), nil
	case len(command) > 0: // another program, such as a shell
		return append(command, args...), nil
	case prog == "" && len(args) > 0:
		return args, nil
	case prog == "":
		return []string{"sh", "-c", "trap 'exit 0' TERM; sleep infinity & wait"}, nil
	case base == "agnhost" && len(args) == 0:
		return []string{prog, "pause"}, nil
	case base == "nginx" && len(args) == 0:
		listen := ""
		for _, port := range c.Ports {
			listen += fmt.Sprintf("listen %d; listen [::]:%d; ", port.ContainerPort, port.ContainerPort)
		}
		if listen == "" {
			listen = "listen 80; listen [::]:80; "
		}
		conf := filepath.Join(p.dir, c.Name+".conf")
		return []string{prog, "-c", conf}, os.WriteFile(conf, fmt.Appendf(nil, "daemon off; user root; pid %s.pid; error_log stderr;\n"+
			"events {}\nhttp { access_log /dev/stdout; server { %slocation / { return 200 '%s\\n'; } } }\n", conf, listen, p.hostname()), 0o644)
	}
	return append([]string{prog}, args...), nil
}
