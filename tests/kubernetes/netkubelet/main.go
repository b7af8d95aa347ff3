// netkubelet plays the kubelet of one node whose network is a network
// namespace: pods bound to the node become processes of local programs in
// network namespaces of their own. There is no container runtime, no image and
// no file system isolation: it is for tests of networking, not for workloads.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"net/netip"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
)

const kubeletPort = 10250

type kubelet struct {
	node, prefix, dir, domain string
	ips                       []netip.Addr   // of the node
	cidrs                     []netip.Prefix // of its pods
	images                    listFlag       // "part of the image's name=program"
	client                    kubernetes.Interface

	mu    sync.Mutex
	pods  map[types.UID]*pod
	used  map[int]bool // host numbers taken in the pod CIDRs
	next  int
	alive sync.WaitGroup
}

type listFlag []string

func (l *listFlag) String() string     { return strings.Join(*l, ",") }
func (l *listFlag) Set(s string) error { *l = append(*l, s); return nil }

func main() {
	if len(os.Args) > 1 && os.Args[1] == "shim" {
		shim(os.Args[2:])
	}
	k := &kubelet{pods: map[types.UID]*pod{}, used: map[int]bool{}}
	flag.StringVar(&k.node, "node", "", "name of the node")
	flag.StringVar(&k.prefix, "netns-prefix", "", "put before the names of the pods' network namespaces")
	flag.StringVar(&k.dir, "dir", "", "folder for logs and generated files")
	flag.StringVar(&k.domain, "dns", "", "serve names of Services under this domain (cluster.local) to the pods; empty: no DNS")
	flag.Var(&k.images, "image", "PART=PROGRAM: images whose name contains PART are this program (repeatable, first match wins)")
	netns := flag.String("netns", "", "the node's network namespace (empty: the one it is started in)")
	kubeconfig := flag.String("kubeconfig", "", "credentials")
	nodeIPs := flag.String("node-ip", "", "InternalIPs, comma separated")
	podCIDRs := flag.String("pod-cidr", "", "pod CIDRs, one per family, comma separated")
	labels := flag.String("labels", "", "more labels of the Node, k=v comma separated")
	flag.Parse()
	if *netns != "" && os.Getenv("NETKUBELET_NETNS") != *netns {
		enterNetns(*netns)
		os.Setenv("NETKUBELET_NETNS", *netns)
		must(syscall.Exec("/proc/self/exe", os.Args, os.Environ())) // now every thread is in it
	}
	for _, s := range strings.Split(*nodeIPs, ",") {
		k.ips = append(k.ips, netip.MustParseAddr(s))
	}
	for _, s := range strings.Split(*podCIDRs, ",") {
		k.cidrs = append(k.cidrs, netip.MustParsePrefix(s).Masked())
	}
	must(os.MkdirAll(k.dir, 0o755))
	cfg, err := clientcmd.BuildConfigFromFlags("", *kubeconfig)
	must(err)
	cfg.QPS, cfg.Burst = 200, 400
	k.client = kubernetes.NewForConfigOrDie(cfg)

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	must(k.setupNode())
	go k.serve()
	if k.domain != "" {
		k.serveDNS()
	}
	must(k.register(ctx, *labels))
	go k.heartbeat(ctx)

	f := informers.NewSharedInformerFactoryWithOptions(k.client, 0, informers.WithTweakListOptions(
		func(o *metav1.ListOptions) { o.FieldSelector = "spec.nodeName=" + k.node }))
	f.Core().V1().Pods().Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(o any) { k.update(ctx, o.(*v1.Pod)) },
		UpdateFunc: func(_, o any) { k.update(ctx, o.(*v1.Pod)) },
		DeleteFunc: func(o any) {
			if d, ok := o.(cache.DeletedFinalStateUnknown); ok {
				o = d.Obj
			}
			k.gone(o.(*v1.Pod))
		},
	})
	f.Start(ctx.Done())
	log.Printf("node %s is up", k.node)
	<-ctx.Done()
	k.alive.Wait() // every pod kills its processes and removes its namespace
	k.teardownNode()
}

// update starts a pod seen for the first time and hands later versions to it.
func (k *kubelet) update(ctx context.Context, obj *v1.Pod) {
	k.mu.Lock()
	defer k.mu.Unlock()
	p := k.pods[obj.UID]
	if p == nil {
		over := obj.Status.Phase == v1.PodSucceeded || obj.Status.Phase == v1.PodFailed
		if over && obj.DeletionTimestamp == nil || ctx.Err() != nil {
			return
		}
		p = newPod(ctx, k, obj)
		k.pods[obj.UID] = p
		k.alive.Go(p.run)
	} else {
		go p.repair(obj.Status)
	}
	if obj.DeletionTimestamp != nil {
		p.terminate(time.Duration(deref(obj.DeletionGracePeriodSeconds, 0)) * time.Second)
	}
}

// gone handles a pod that left the API (force deletion, or our own delete).
func (k *kubelet) gone(obj *v1.Pod) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if p := k.pods[obj.UID]; p != nil {
		p.terminate(0)
		delete(k.pods, obj.UID)
	}
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "netkubelet:", err)
		os.Exit(128)
	}
}

func deref[T any](p *T, def T) T {
	if p == nil {
		return def
	}
	return *p
}

// sleep returns false when ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}
