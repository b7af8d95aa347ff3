package main

import (
	"context"
	"log"
	"runtime"
	"strings"
	"time"

	coordv1 "k8s.io/api/coordination/v1"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// register makes the Node, or takes the one that is there.
func (k *kubelet) register(ctx context.Context, labels string) error {
	n := &v1.Node{ObjectMeta: metav1.ObjectMeta{Name: k.node, Labels: map[string]string{
		"kubernetes.io/hostname": k.node, "kubernetes.io/os": "linux", "kubernetes.io/arch": runtime.GOARCH}}}
	for _, kv := range strings.Split(labels, ",") {
		if key, val, ok := strings.Cut(kv, "="); ok {
			n.Labels[key] = val
		}
	}
	for _, c := range k.cidrs {
		n.Spec.PodCIDRs = append(n.Spec.PodCIDRs, c.String())
	}
	n.Spec.PodCIDR = n.Spec.PodCIDRs[0]
	if _, err := k.client.CoreV1().Nodes().Create(ctx, n, metav1.CreateOptions{}); err != nil && !errors.IsAlreadyExists(err) {
		return err
	}
	return k.nodeStatus(ctx, true)
}

// nodeStatus writes the Node's status; if not new, only where the API has the
// node as not ready (heartbeats had stopped).
func (k *kubelet) nodeStatus(ctx context.Context, new bool) error {
	n, err := k.client.CoreV1().Nodes().Get(ctx, k.node, metav1.GetOptions{})
	if err != nil {
		return err
	}
	for _, c := range n.Status.Conditions {
		if c.Type == v1.NodeReady && c.Status == v1.ConditionTrue && !new {
			return nil
		}
	}
	now := metav1.Now()
	s := &n.Status
	s.Capacity = v1.ResourceList{v1.ResourceCPU: resource.MustParse("16"), v1.ResourceMemory: resource.MustParse("64Gi"),
		v1.ResourceEphemeralStorage: resource.MustParse("100Gi"), v1.ResourcePods: resource.MustParse("110")}
	s.Allocatable = s.Capacity
	s.Addresses = []v1.NodeAddress{{Type: v1.NodeHostName, Address: k.node}}
	for _, ip := range k.ips {
		s.Addresses = append(s.Addresses, v1.NodeAddress{Type: v1.NodeInternalIP, Address: ip.String()})
	}
	s.DaemonEndpoints.KubeletEndpoint.Port = kubeletPort
	s.NodeInfo.OperatingSystem, s.NodeInfo.Architecture = "linux", runtime.GOARCH
	s.NodeInfo.KubeletVersion, s.NodeInfo.ContainerRuntimeVersion = "v1.36.0-netkubelet", "netns://1"
	s.Conditions = nil
	for _, t := range []v1.NodeConditionType{v1.NodeMemoryPressure, v1.NodeDiskPressure, v1.NodePIDPressure, v1.NodeReady} {
		c := v1.NodeCondition{Type: t, Status: v1.ConditionFalse, LastHeartbeatTime: now, LastTransitionTime: now, Reason: "NetKubelet"}
		if t == v1.NodeReady {
			c.Status = v1.ConditionTrue
		}
		s.Conditions = append(s.Conditions, c)
	}
	_, err = k.client.CoreV1().Nodes().UpdateStatus(ctx, n, metav1.UpdateOptions{})
	return err
}

func (k *kubelet) heartbeat(ctx context.Context) {
	leases := k.client.CoordinationV1().Leases("kube-node-lease")
	for ; ctx.Err() == nil; sleep(ctx, 10*time.Second) {
		now, secs := metav1.NowMicro(), int32(40)
		l, err := leases.Get(ctx, k.node, metav1.GetOptions{})
		if errors.IsNotFound(err) {
			l = &coordv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: k.node}}
		} else if err != nil {
			continue
		}
		l.Spec.HolderIdentity, l.Spec.LeaseDurationSeconds, l.Spec.RenewTime = &k.node, &secs, &now
		if l.ResourceVersion == "" {
			_, err = leases.Create(ctx, l, metav1.CreateOptions{})
		} else {
			_, err = leases.Update(ctx, l, metav1.UpdateOptions{})
		}
		if err == nil {
			err = k.nodeStatus(ctx, false)
		}
		if err != nil && ctx.Err() == nil {
			log.Printf("heartbeat: %v", err)
		}
	}
}
