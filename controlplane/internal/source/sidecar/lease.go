package sidecar

import (
	"container/heap"
	"context"
	"reflect"
	"sync"
	"sync/atomic"
	"time"

	"github.com/outrigger-mesh/outrigger/controlplane/internal/source"
	"github.com/outrigger-mesh/outrigger/controlplane/internal/store"
	"github.com/outrigger-mesh/outrigger/registry"
)

// lease is one node's. Its lock also orders what is written and sent of the
// node, so it may be held for as long as a write to the store takes.
type lease struct {
	standing atomic.Bool // stream != nil, readable without the lock

	mu      sync.Mutex
	node    store.Node // as stored
	stream  *stream    // nil where none stands
	expires time.Time  // zero while a stream holds the lease
	gone    bool       // no longer in Source.leases: look it up again
}

// stream is one registration stream of a node.
type stream struct {
	epoch    int64
	replaced chan struct{} // closed when a newer stream has the node
}

func newLease(n store.Node) *lease { return &lease{node: n} }

// content is what the mesh is told of the node.
func (l *lease) content() source.Content {
	var c source.Content
	for _, i := range l.node.Instances {
		c.Instances = append(c.Instances, source.Instance{Instance: i, Epoch: l.node.Epoch})
	}
	return c
}

// newestEpoch is the newest epoch that is known of the node.
func (l *lease) newestEpoch() int64 {
	if l.stream != nil {
		return max(l.stream.epoch, l.node.Epoch)
	}
	return l.node.Epoch
}

// attach makes st the node's stream. The lease of what the same process
// registered before is held from now on; that of an earlier process ends one
// TTL from now at the latest, unless st says before what holds (see renew).
func (l *lease) attach(st *stream, now time.Time) {
	if l.stream != nil {
		close(l.stream.replaced)
	}
	l.stream = st
	l.standing.Store(true)
	switch {
	case st.epoch == l.node.Epoch:
		l.expires = time.Time{}
	case l.expires.IsZero():
		l.expires = now.Add(l.ttl())
	}
}

// ttl is the node's. A node that has registered nothing has none; what ends
// with its lease is the memory of its epoch.
func (l *lease) ttl() time.Duration {
	if l.node.TTL == 0 {
		return DefaultTTL
	}
	return l.node.TTL
}

// renew notes what the standing stream registered. The lease holds for as long
// as the stream stands.
func (l *lease) renew(n store.Node) {
	l.node = n
	l.expires = time.Time{}
}

// detach starts the lease's end if st is still the node's stream. It reports
// when the lease will run out, zero if it is another stream's matter.
func (l *lease) detach(st *stream, now time.Time) time.Time {
	if l.stream != st {
		return time.Time{}
	}
	l.stream = nil
	l.standing.Store(false)
	if l.expires.IsZero() {
		l.expires = now.Add(l.ttl())
	}
	return l.expires
}

// same reports whether two nodes register the same.
func same(a, b store.Node) bool {
	return a.TTL == b.TTL && a.Epoch == b.Epoch && a.Agent == b.Agent && sameInstances(a.Instances, b.Instances)
}

func sameInstances(a, b []registry.Instance) bool {
	return len(a) == len(b) && (len(a) == 0 || reflect.DeepEqual(a, b))
}

// expiry calls back when leases may have run out. Entries are never taken
// back: who is called checks whether the lease was renewed meanwhile.
type expiry struct {
	mu   sync.Mutex
	due  dueHeap
	wake chan struct{}
}

type due struct {
	key store.NodeKey
	at  time.Time
}

func newExpiry() *expiry { return &expiry{wake: make(chan struct{}, 1)} }

// push notes that the lease of key may run out at that time.
func (e *expiry) push(key store.NodeKey, at time.Time) {
	e.mu.Lock()
	heap.Push(&e.due, due{key: key, at: at})
	first := e.due[0].key == key
	e.mu.Unlock()
	if first {
		select {
		case e.wake <- struct{}{}:
		default:
		}
	}
}

// pop returns a key whose time has come, or how long it is until there is one.
func (e *expiry) pop(now time.Time) (key store.NodeKey, wait time.Duration, ok bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case len(e.due) == 0:
		return key, time.Hour, false
	case e.due[0].at.After(now):
		return key, e.due[0].at.Sub(now), false
	}
	return heap.Pop(&e.due).(due).key, 0, true
}

// run calls expired for each key whose time has come, until ctx ends.
func (e *expiry) run(ctx context.Context, expired func(store.NodeKey)) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for ctx.Err() == nil {
		key, wait, ok := e.pop(time.Now())
		if ok {
			expired(key)
			continue
		}
		timer.Reset(wait)
		select {
		case <-ctx.Done():
		case <-e.wake:
		case <-timer.C:
		}
	}
}

type dueHeap []due

func (h dueHeap) Len() int           { return len(h) }
func (h dueHeap) Less(i, j int) bool { return h[i].at.Before(h[j].at) }
func (h dueHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *dueHeap) Push(x any)        { *h = append(*h, x.(due)) }
func (h *dueHeap) Pop() any {
	old := *h
	last := old[len(old)-1]
	*h = old[:len(old)-1]
	return last
}
