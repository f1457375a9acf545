package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	microregistry "go-micro.dev/v4/registry"

	"github.com/outrigger-mesh/outrigger/registry/mesh"
	"github.com/outrigger-mesh/outrigger/sidecar/internal/registrar"
)

// membership is the app's place in the mesh. A registrar watches the app and
// says what it wants of the registry; membership stands between the two, so
// that the registration outlives the registrar (health checks that were
// configured anew) and the process (an upgrade), and can change in place.
//
// While the place is another process's, what the registrar wants is noted and
// nothing is sent.
type membership struct {
	log     *slog.Logger
	metrics prometheus.Registerer
	ttl     time.Duration
	renew   time.Duration         // see registrar.Options.RenewEvery
	connect func() *mesh.Registry // nil: the registry is not the control plane

	// turn is held for a call to the registry and around what belongs to it.
	turn     chan struct{}
	registry microregistry.Registry // nil: nothing is registered
	control  *mesh.Registry         // registry, where it is the control plane
	ours     bool                   // the place is this process's
	wanted   bool                   // by the registrar
	service  *microregistry.Service // what is to be registered
	standing *microregistry.Service // what the registry may know
	words    int                    // counts what registrars have said

	mu       sync.Mutex
	current  *registrar.Registrar
	stop     context.CancelFunc // of current
	watching sync.WaitGroup
	scope    *scope
}

func newMembership(log *slog.Logger, metrics prometheus.Registerer) *membership {
	return &membership{log: log, metrics: metrics, turn: make(chan struct{}, 1), ours: true}
}

// use says where the app is registered. It is called before anything else.
func (m *membership) use(r microregistry.Registry, connect func() *mesh.Registry) {
	m.registry, m.connect = r, connect
	if connect != nil {
		m.control = connect()
		m.registry = m.control
	}
}

func (m *membership) lock(ctx context.Context) error {
	select {
	case m.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("an earlier call to the registry has not returned: %w", ctx.Err())
	}
}

func (m *membership) unlock() { <-m.turn }

// watch has a registrar with these settings watch the app, in place of the one
// that did. What is registered stays until the new one has had the time to say
// that the app is not healthy.
func (m *membership) watch(o registrar.Options) {
	m.unwatch()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.scope = &scope{under: m.metrics}
	o.Metrics, o.TTL, o.RenewEvery = m.scope, m.ttl, m.renew
	o.Service = func() (*microregistry.Service, error) {
		if err := m.lock(context.Background()); err != nil {
			return nil, err
		}
		defer m.unlock()
		return m.service, nil
	}
	ctx, cancel := context.WithCancel(context.Background())
	if m.registry != nil {
		o.Registry = &asked{m.registry, m, ctx}
	}
	m.current, m.stop = registrar.New(o), cancel
	m.watching.Go(func() { _ = m.current.Run(ctx) })
	if m.registry == nil {
		return
	}
	verdict := time.Duration(max(o.UnhealthyAfter, o.HealthyAfter)) * (o.Interval + o.Interval/10 + o.Timeout)
	_ = m.lock(ctx)
	words := m.words
	m.unlock()
	m.watching.Go(func() { m.expect(ctx, words, verdict) })
}

// expect takes back a registration that a registrar has inherited, and has said
// nothing of within the time that its checks need.
func (m *membership) expect(ctx context.Context, words int, within time.Duration) {
	timer := time.NewTimer(within)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return
	case <-timer.C:
	}
	if m.lock(ctx) != nil {
		return
	}
	defer m.unlock()
	if m.words != words || m.standing == nil || !m.ours {
		return
	}
	m.wanted = false
	m.log.Warn("the app is not healthy by its new health check", "deregistered", m.standing.Name)
	if err := m.retract(ctx, m.standing); err != nil {
		m.log.Warn("not deregistered", "error", err)
	}
}

// unwatch ends the registrar. Nothing is deregistered by it.
func (m *membership) unwatch() {
	m.mu.Lock()
	stop, scope := m.stop, m.scope
	m.stop, m.scope = nil, nil
	m.mu.Unlock()
	if stop == nil {
		return
	}
	stop()
	m.watching.Wait()
	scope.close()
}

// update changes what is registered, in place: there is no moment without a
// registration.
func (m *membership) update(ctx context.Context, service *microregistry.Service) error {
	if err := m.lock(ctx); err != nil {
		return err
	}
	defer m.unlock()
	m.service = service
	if m.registry == nil || !m.ours || m.standing == nil {
		return nil
	}
	old := m.standing
	if err := m.register(ctx); err != nil && !errors.Is(err, mesh.ErrPending) {
		return err
	}
	gone := *old
	gone.Nodes = slices.DeleteFunc(slices.Clone(old.Nodes), func(n *microregistry.Node) bool {
		return slices.ContainsFunc(service.Nodes, func(o *microregistry.Node) bool { return o.Id == n.Id })
	})
	if len(gone.Nodes) == 0 {
		return nil
	}
	return m.registry.Deregister(&gone, microregistry.DeregisterContext(ctx))
}

// register sends what is to be registered. The turn is held.
func (m *membership) register(ctx context.Context) error {
	m.standing = m.service
	return m.registry.Register(m.service, microregistry.RegisterTTL(m.ttl), microregistry.RegisterContext(ctx))
}

// retract takes it back. The turn is held.
func (m *membership) retract(ctx context.Context, service *microregistry.Service) error {
	err := m.registry.Deregister(service, microregistry.DeregisterContext(ctx))
	if err == nil {
		m.standing = nil
	}
	return err
}

// release leaves the place to another process: from here on nothing is sent.
func (m *membership) release(ctx context.Context) error {
	if err := m.lock(ctx); err != nil {
		return err
	}
	defer m.unlock()
	m.ours = false
	return nil
}

// registered reports whether the registry may know the app.
func (m *membership) registered() bool {
	_ = m.lock(context.Background()) // it does not end
	defer m.unlock()
	return m.registry != nil && m.standing != nil
}

// take makes the place this process's, and registers the app if it is healthy.
// A process that takes its place back speaks to the control plane as a new one,
// or that would hold the other one for the later.
func (m *membership) take(ctx context.Context, back bool) error {
	if err := m.lock(ctx); err != nil {
		return err
	}
	defer m.unlock()
	m.ours = true
	if m.registry == nil {
		return nil
	}
	if back && m.connect != nil {
		if err := m.control.Close(); err != nil {
			m.log.Warn("registration stream not closed in order", "error", err)
		}
		m.control = m.connect()
		m.registry = m.control
	}
	if !m.wanted {
		return nil
	}
	return m.register(ctx)
}

// leave deregisters the app for good. It may be called more than once.
func (m *membership) leave(ctx context.Context) error {
	m.mu.Lock()
	current := m.current
	m.mu.Unlock()
	if current == nil {
		return nil
	}
	err := current.Deregister(ctx)
	if m.registry == nil {
		return err
	}
	if locked := m.lock(ctx); locked != nil {
		return errors.Join(err, locked)
	}
	defer m.unlock()
	m.wanted = false
	if m.standing == nil || !m.ours {
		return err
	}
	return m.retract(ctx, m.standing) // of an earlier registrar
}

// close ends what speaks to the registry. What is registered ends with its time.
func (m *membership) close() error {
	m.unwatch()
	if m.control == nil {
		return nil
	}
	return m.control.Close()
}

// healthy reports whether the app is.
func (m *membership) healthy() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.current != nil && m.current.Healthy()
}

// status is what the registrar says, with what is registered now.
func (m *membership) status() any {
	m.mu.Lock()
	current := m.current
	m.mu.Unlock()
	if current == nil {
		return nil
	}
	s := current.Status()
	if m.lock(context.Background()) != nil {
		return s
	}
	defer m.unlock()
	if m.standing == nil || len(s.Nodes) == 0 {
		return s
	}
	s.Nodes = nil
	for _, n := range m.standing.Nodes {
		s.Nodes = append(s.Nodes, registrar.Node{ID: n.Id, Address: n.Address})
	}
	return s
}

// asked is the registry as a registrar sees it.
type asked struct {
	microregistry.Registry
	m   *membership
	ctx context.Context // of the registrar: what it says after its end does not count
}

// Register is microregistry.Registry's.
func (a *asked) Register(_ *microregistry.Service, opts ...microregistry.RegisterOption) error {
	var o microregistry.RegisterOptions
	for _, opt := range opts {
		opt(&o)
	}
	return a.say(o.Context, true)
}

// Deregister is microregistry.Registry's.
func (a *asked) Deregister(_ *microregistry.Service, opts ...microregistry.DeregisterOption) error {
	var o microregistry.DeregisterOptions
	for _, opt := range opts {
		opt(&o)
	}
	return a.say(o.Context, false)
}

// say takes down what the registrar wants, and does it where the registration is
// this process's.
func (a *asked) say(ctx context.Context, wanted bool) error {
	m := a.m
	if err := m.lock(ctx); err != nil {
		return err
	}
	defer m.unlock()
	if a.ctx.Err() != nil {
		return a.ctx.Err()
	}
	m.wanted = wanted
	m.words++
	switch {
	case !m.ours:
		return nil
	case wanted:
		return m.register(ctx)
	case m.standing == nil:
		return nil
	}
	return m.retract(ctx, m.standing)
}

// scope registers metrics that go when what they are of is replaced.
type scope struct {
	under prometheus.Registerer

	mu   sync.Mutex
	mine []prometheus.Collector
}

var _ prometheus.Registerer = (*scope)(nil)

// Register is prometheus.Registerer's.
func (s *scope) Register(c prometheus.Collector) error {
	if err := s.under.Register(c); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mine = append(s.mine, c)
	return nil
}

// MustRegister is prometheus.Registerer's.
func (s *scope) MustRegister(all ...prometheus.Collector) {
	for _, c := range all {
		if err := s.Register(c); err != nil {
			panic(err)
		}
	}
}

// Unregister is prometheus.Registerer's.
func (s *scope) Unregister(c prometheus.Collector) bool { return s.under.Unregister(c) }

func (s *scope) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.mine {
		s.under.Unregister(c)
	}
	s.mine = nil
}
