// Package sidecar is the source of instances that sidecars register over the
// registration stream (outrigger.registration.v1).
//
// The stream is the lease. A node's instances stay while its stream stands and
// for one TTL after it broke; after the control plane's own restart what was
// known stays for one TTL and a grace, so that endpoints never shrink because
// sidecars have not reconnected yet. A change is durable before it is
// accepted; that a stream stands is never written down.
//
// A node's processes are told apart by their epoch. A later process takes the
// node over, an earlier one is turned away; what an earlier process registered
// stays on its lease until the later one has said what holds now.
package sidecar

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/outrigger-mesh/outrigger/controlplane/internal/source"
	"github.com/outrigger-mesh/outrigger/controlplane/internal/store"
	pb "github.com/outrigger-mesh/outrigger/internal/registration/v1"
)

// Name is the source's name in the mesh.
const Name = "sidecar"

// Options is what a Source needs.
type Options struct {
	Logger *slog.Logger
	Store  store.Store
	Limits Limits
	// Grace is how much longer than its TTL a lease lasts that was read from
	// the store.
	Grace   time.Duration
	Metrics prometheus.Registerer
}

// Source is the server of the registration stream. Streams wait until Run has
// read the store.
type Source struct {
	pb.UnimplementedRegistrationServer

	log     *slog.Logger
	store   store.Store
	limits  Limits
	grace   time.Duration
	metrics *metrics

	ready    chan struct{} // closed once Run has read the store
	out      chan<- source.Update
	stopped  chan struct{} // closed when Run returns: nobody reads out any more
	closing  chan struct{}
	closeNow func()

	mu     sync.Mutex
	leases map[store.NodeKey]*lease

	expiry *expiry
}

var (
	_ source.Source         = (*Source)(nil)
	_ pb.RegistrationServer = (*Source)(nil)
)

// New makes a Source. Register it as the server of the stream, and Run it.
func New(o Options) *Source {
	s := &Source{
		log:     o.Logger.With("component", "registration"),
		store:   o.Store,
		limits:  o.Limits,
		grace:   o.Grace,
		ready:   make(chan struct{}),
		stopped: make(chan struct{}),
		closing: make(chan struct{}),
		leases:  map[store.NodeKey]*lease{},
		expiry:  newExpiry(),
	}
	s.closeNow = sync.OnceFunc(func() { close(s.closing) })
	s.metrics = newMetrics(o.Metrics, s)
	return s
}

// CloseStreams ends all streams and refuses new ones, so that the gRPC server
// can stop. The leases go on.
func (s *Source) CloseStreams() { s.closeNow() }

// Run reads what is known from the store, sends it, and then ends leases as
// they run out, until ctx ends. It may be called once.
func (s *Source) Run(ctx context.Context, out chan<- source.Update) error {
	defer close(s.stopped)
	nodes, err := s.store.Nodes(ctx)
	if err != nil {
		return fmt.Errorf("read the registered nodes: %w", err)
	}
	s.out = out
	now := time.Now()
	for _, n := range nodes {
		l := newLease(n)
		l.expires = now.Add(n.TTL + s.grace)
		s.leases[n.NodeKey] = l
		s.expiry.push(n.NodeKey, l.expires)
		if !source.Send(ctx, out, source.Update{Source: Name, Key: n.String(), Content: l.content()}) {
			return nil
		}
	}
	if len(nodes) > 0 {
		s.log.Info("known nodes are kept until they reconnect", "nodes", len(nodes), "grace", s.grace)
	}
	if !source.Send(ctx, out, source.Update{Source: Name, Synced: true}) {
		return nil
	}
	close(s.ready)
	s.expiry.run(ctx, func(key store.NodeKey) { s.expire(ctx, key) })
	return nil
}

// lookup returns the node's lease, made if need be. It returns nil where that
// would be one node too many.
func (s *Source) lookup(key store.NodeKey) *lease {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.leases[key]
	if l == nil && len(s.leases) < s.limits.Nodes {
		l = newLease(store.Node{NodeKey: key})
		s.leases[key] = l
	}
	return l
}

// retryExpiry is how long a lease is kept on whose end the store failed.
const retryExpiry = time.Second

// expire ends the node's lease if it has run out: its instances are forgotten.
func (s *Source) expire(ctx context.Context, key store.NodeKey) {
	s.mu.Lock()
	l := s.leases[key]
	s.mu.Unlock()
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.gone || l.expires.IsZero() || time.Now().Before(l.expires) {
		return // renewed meanwhile
	}
	if err := s.store.DeleteNode(ctx, key); err != nil {
		if ctx.Err() == nil {
			s.log.Error("a lease that ran out is kept: the store failed", "node", key.String(), "error", err)
			l.expires = time.Now().Add(retryExpiry)
			s.expiry.push(key, l.expires)
		}
		return
	}
	if len(l.node.Instances) > 0 {
		s.log.Info("lease ran out", "node", key.String(), "instances", len(l.node.Instances), "ttl", l.node.TTL)
		s.metrics.expired.Inc()
		if !s.send(source.Update{Source: Name, Key: key.String()}) {
			return
		}
	}
	l.node.Instances = nil
	l.expires = time.Time{}
	if l.stream != nil {
		return // its process has yet to say what it has
	}
	l.gone = true
	s.mu.Lock()
	delete(s.leases, key)
	s.mu.Unlock()
}

// send tells the mesh. It waits for the mesh, whatever becomes of the stream
// that brought the news: what is stored and what is served must not differ.
func (s *Source) send(u source.Update) bool {
	select {
	case s.out <- u:
		return true
	case <-s.stopped:
		return false
	}
}

// counts are the known nodes and those of them with a stream, for metrics.
func (s *Source) counts() (nodes, streams int) {
	s.mu.Lock()
	all := make([]*lease, 0, len(s.leases))
	for _, l := range s.leases {
		all = append(all, l)
	}
	s.mu.Unlock()
	for _, l := range all {
		if l.standing.Load() {
			streams++
		}
	}
	return len(all), streams
}
