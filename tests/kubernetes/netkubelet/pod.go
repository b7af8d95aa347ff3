package main

import (
	"context"
	"log"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

type container struct {
	v1.Container
	init    bool // runs to its end before the others
	proc    *os.Process
	state   v1.ContainerState
	last    v1.ContainerState
	count   int32 // of restarts
	started bool
	ready   bool
}

type pod struct {
	k     *kubelet
	obj   *v1.Pod // as first seen; the parts used never change
	dir   string
	netns string // "" with hostNetwork
	num   int    // host number in the pod CIDRs
	ips   []netip.Addr

	root     context.Context // ends with the kubelet
	ctx      context.Context // ends when the pod shall stop
	stop     func()
	killCtx  context.Context // ends when its grace period is over
	kill     func()
	deadline time.Time

	mu          sync.Mutex // guards what follows and the containers' state
	all         []*container
	up          bool // has its network
	initialized bool
	ended       bool // no process is left and none will start

	pub  sync.Mutex   // one status update at a time
	base v1.PodStatus // the status the API has
}

func newPod(root context.Context, k *kubelet, obj *v1.Pod) *pod {
	p := &pod{k: k, obj: obj, root: root, base: obj.Status, dir: filepath.Join(k.dir, obj.Namespace+"_"+obj.Name+"_"+string(obj.UID))}
	p.ctx, p.stop = context.WithCancel(context.Background())
	p.killCtx, p.kill = context.WithCancel(context.Background())
	for _, c := range obj.Spec.InitContainers {
		p.all = append(p.all, &container{Container: c, init: c.RestartPolicy == nil})
	}
	for _, c := range obj.Spec.Containers {
		p.all = append(p.all, &container{Container: c})
	}
	for _, c := range p.all {
		c.state.Waiting = &v1.ContainerStateWaiting{Reason: "ContainerCreating"}
		for _, old := range slices.Concat(obj.Status.InitContainerStatuses, obj.Status.ContainerStatuses) {
			if old.Name == c.Name && (old.ContainerID != "" || old.RestartCount > 0) { // the node was restarted
				c.count, c.last = old.RestartCount+1, old.State
			}
		}
	}
	return p
}

// terminate lets the pod stop within grace; a later call can only shorten it.
func (p *pod) terminate(grace time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if d := time.Now().Add(grace); p.deadline.IsZero() || d.Before(p.deadline) {
		p.deadline = d
		time.AfterFunc(grace, p.kill)
	}
	p.stop()
}

// run is the pod's life. The end of the kubelet is like a power cut: everything
// is killed and the API is left as it is.
func (p *pod) run() {
	context.AfterFunc(p.root, func() { p.stop(); p.kill() })
	if p.obj.DeletionTimestamp == nil {
		must(os.MkdirAll(p.dir, 0o755))
		for err := p.setupNet(); err != nil; err = p.setupNet() {
			log.Printf("%s: %v", p.obj.Name, err)
			p.teardownNet()
			if p.ips = nil; !sleep(p.ctx, 2*time.Second) {
				break
			}
		}
		p.set(func() { p.up = len(p.ips) > 0 })
		p.work()
	}
	p.teardownNet()
	p.set(func() { p.ended = true })
	<-p.ctx.Done() // deleted, perhaps long after its end
	zero := int64(0)
	for p.root.Err() == nil {
		err := p.k.client.CoreV1().Pods(p.obj.Namespace).Delete(p.root, p.obj.Name,
			metav1.DeleteOptions{GracePeriodSeconds: &zero, Preconditions: metav1.NewUIDPreconditions(string(p.obj.UID))})
		if err == nil || errors.IsNotFound(err) || errors.IsConflict(err) {
			return
		}
		sleep(p.root, time.Second)
	}
}

// work runs the init containers and then the others until all have ended;
// sidecars (init containers that always restart) end last.
func (p *pod) work() {
	sideCtx, stopSide := context.WithCancel(context.Background())
	var main, side sync.WaitGroup
	for i, c := range p.all {
		switch {
		case p.ctx.Err() != nil:
		case i >= len(p.obj.Spec.InitContainers):
			if !p.initialized {
				p.set(func() { p.initialized = true })
			}
			main.Go(func() { p.supervise(p.ctx, c) })
			continue
		case !c.init:
			side.Go(func() { p.supervise(sideCtx, c) })
			continue
		case p.supervise(p.ctx, c):
			continue
		}
		break // an init container failed, or the pod was deleted
	}
	main.Wait()
	stopSide()
	side.Wait()
}

// supervise runs a container as often as its restart policy says, until ctx
// ends. It returns whether the last run succeeded.
func (p *pod) supervise(ctx context.Context, c *container) bool {
	ok := false
	for n := 0; sleep(ctx, backoff(n)); n++ {
		if n > 0 {
			p.mu.Lock()
			c.count++
			p.mu.Unlock()
		}
		ok = p.once(ctx, c) == 0
		policy, sidecar := p.obj.Spec.RestartPolicy, c.RestartPolicy != nil
		again := sidecar || policy == v1.RestartPolicyAlways && !(c.init && ok) || policy == v1.RestartPolicyOnFailure && !ok
		if !again || ctx.Err() != nil {
			break
		}
		p.set(func() {
			c.last = c.state
			c.state = v1.ContainerState{Waiting: &v1.ContainerStateWaiting{Reason: "CrashLoopBackOff"}}
		})
	}
	return ok
}

// backoff is the wait before start n of a container: none before the first two,
// then 10 s, doubled up to 5 min.
func backoff(n int) time.Duration {
	if n < 2 {
		return 0
	}
	return min(10*time.Second<<min(n-2, 10), 5*time.Minute)
}

// once runs a container's process to its end, which comes by itself, with ctx,
// or as a probe gave up.
func (p *pod) once(ctx context.Context, c *container) (code int32) {
	start, reason := metav1.Now(), "StartError"
	cmd, err := p.command(c)
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		log.Printf("%s/%s: %v", p.obj.Name, c.Name, err)
		code = 128
	} else {
		ended, unwell := make(chan int32, 1), make(chan struct{})
		go func() { cmd.Wait(); ended <- exitCode(cmd.ProcessState) }()
		p.set(func() {
			c.proc = cmd.Process
			c.state = v1.ContainerState{Running: &v1.ContainerStateRunning{StartedAt: start}}
			c.started, c.ready = c.StartupProbe == nil, c.ReadinessProbe == nil && c.StartupProbe == nil
		})
		probes, stopProbes := context.WithCancel(context.Background())
		p.startProbes(probes, c, sync.OnceFunc(func() { close(unwell) }))
		select {
		case code = <-ended:
		case <-unwell:
			code = p.end(c, ended)
		case <-ctx.Done():
			code = p.end(c, ended)
		}
		stopProbes()
		if reason = "Completed"; code != 0 {
			reason = "Error"
		}
	}
	p.set(func() {
		c.proc, c.started, c.ready = nil, false, false
		c.state = v1.ContainerState{Terminated: &v1.ContainerStateTerminated{ExitCode: code, Reason: reason,
			StartedAt: start, FinishedAt: metav1.Now(), ContainerID: c.id(p)}}
	})
	return code
}

// end stops a process: preStop, SIGTERM, and SIGKILL when the grace period is over.
func (p *pod) end(c *container, ended chan int32) int32 {
	ctx, cancel := context.WithCancel(p.killCtx)
	if p.ctx.Err() == nil { // not the pod's end, but this container's
		ctx, cancel = context.WithTimeout(p.killCtx, time.Duration(deref(p.obj.Spec.TerminationGracePeriodSeconds, 30))*time.Second)
	}
	defer cancel()
	if c.Lifecycle != nil && c.Lifecycle.PreStop != nil {
		h := c.Lifecycle.PreStop
		if err := p.action(ctx, c, h.Exec, h.HTTPGet, h.TCPSocket, h.Sleep); err != nil {
			log.Printf("%s/%s: preStop: %v", p.obj.Name, c.Name, err)
		}
	}
	c.proc.Signal(syscall.SIGTERM)
	select {
	case code := <-ended:
		return code
	case <-ctx.Done():
	}
	c.proc.Kill()
	return <-ended
}

func exitCode(s *os.ProcessState) int32 {
	if w := s.Sys().(syscall.WaitStatus); w.Signaled() {
		return 128 + int32(w.Signal())
	}
	return int32(s.ExitCode())
}
