package main

import (
	"encoding/json"
	"log"
	"slices"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
)

// set changes the pod's state and tells the API.
func (p *pod) set(f func()) {
	p.mu.Lock()
	f()
	p.mu.Unlock()
	p.publish()
}

func (p *pod) publish() {
	p.pub.Lock()
	defer p.pub.Unlock()
	p.mu.Lock()
	status := p.status()
	p.mu.Unlock()
	from, _ := json.Marshal(v1.Pod{Status: p.base})
	to, _ := json.Marshal(v1.Pod{ObjectMeta: metav1.ObjectMeta{UID: p.obj.UID}, Status: status})
	patch, err := strategicpatch.CreateTwoWayMergePatch(from, to, v1.Pod{})
	must(err)
	for p.root.Err() == nil {
		obj, err := p.k.client.CoreV1().Pods(p.obj.Namespace).Patch(p.root, p.obj.Name,
			types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status")
		if err == nil {
			p.base = obj.Status
			return
		}
		if errors.IsNotFound(err) || errors.IsConflict(err) {
			return // the pod is gone, or another one has its name
		}
		log.Printf("%s: status: %v", p.obj.Name, err)
		if !sleep(p.killCtx, time.Second) {
			return
		}
	}
}

// repair sets the status again where another one changed it: the node lifecycle
// controller makes pods not ready when the node's heartbeats stop.
func (p *pod) repair(now v1.PodStatus) {
	p.pub.Lock()
	changed := isReady(now) != isReady(p.base)
	if changed {
		p.base = now
	}
	p.pub.Unlock()
	if changed {
		p.publish()
	}
}

func isReady(s v1.PodStatus) bool {
	return slices.ContainsFunc(s.Conditions, func(c v1.PodCondition) bool {
		return c.Type == v1.PodReady && c.Status == v1.ConditionTrue
	})
}

// status is what the API shall have; p.mu is held.
func (p *pod) status() v1.PodStatus {
	s := *p.base.DeepCopy()
	s.ObservedGeneration = p.obj.Generation
	s.HostIP, s.HostIPs, s.InitContainerStatuses, s.ContainerStatuses = p.k.ips[0].String(), nil, nil, nil
	for _, ip := range p.k.ips {
		s.HostIPs = append(s.HostIPs, v1.HostIP{IP: ip.String()})
	}
	if s.StartTime == nil {
		now := metav1.Now()
		s.StartTime = &now
	}
	if p.up && len(p.ips) > 0 {
		s.PodIP, s.PodIPs = p.ips[0].String(), nil
		for _, ip := range p.ips {
			s.PodIPs = append(s.PodIPs, v1.PodIP{IP: ip.String()})
		}
	}
	ready, ran, failed := true, false, false
	for i, c := range p.all {
		started := c.started
		cs := v1.ContainerStatus{Name: c.Name, Image: c.Image, ImageID: c.Image, State: c.state, LastTerminationState: c.last,
			RestartCount: c.count, Ready: c.ready, Started: &started}
		if c.state.Waiting == nil {
			cs.ContainerID = c.id(p)
		}
		if t := c.state.Terminated; t != nil && t.ExitCode != 0 && c.RestartPolicy == nil {
			failed = true
		}
		if i < len(p.obj.Spec.InitContainers) {
			cs.Ready = c.ready || c.init && c.state.Terminated != nil && c.state.Terminated.ExitCode == 0
			s.InitContainerStatuses = append(s.InitContainerStatuses, cs)
			continue
		}
		s.ContainerStatuses = append(s.ContainerStatuses, cs)
		ready = ready && c.ready
		ran = ran || c.state.Waiting == nil || c.count > 0
	}
	switch {
	case p.ended && failed:
		s.Phase = v1.PodFailed
	case p.ended:
		s.Phase = v1.PodSucceeded
	case ran:
		s.Phase = v1.PodRunning
	default:
		s.Phase = v1.PodPending
	}
	condition(&s, v1.PodReadyToStartContainers, p.up && !p.ended, "", p.obj.Generation)
	condition(&s, v1.PodInitialized, p.initialized, "ContainersNotInitialized", p.obj.Generation)
	condition(&s, v1.ContainersReady, ready && ran, "ContainersNotReady", p.obj.Generation)
	condition(&s, v1.PodReady, ready && ran, "ContainersNotReady", p.obj.Generation)
	return s
}

func condition(s *v1.PodStatus, t v1.PodConditionType, is bool, reason string, gen int64) {
	c := v1.PodCondition{Type: t, Status: v1.ConditionTrue, LastTransitionTime: metav1.Now(), ObservedGeneration: gen}
	if !is {
		c.Status, c.Reason = v1.ConditionFalse, reason
	}
	for i := range s.Conditions {
		if old := &s.Conditions[i]; old.Type == t {
			if old.Status == c.Status {
				c.LastTransitionTime = old.LastTransitionTime
			}
			*old = c
			return
		}
	}
	s.Conditions = append(s.Conditions, c)
}
