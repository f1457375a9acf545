package upstream

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"reflect"
	"sync"
	"sync/atomic"
	"time"

	"github.com/outrigger-mesh/outrigger/middleware"
	"github.com/outrigger-mesh/outrigger/registry"
)

// Cluster is a set of endpoints that answer the same requests.
type Cluster struct {
	name string
	// App says that the endpoints are the app beside this sidecar, not another
	// sidecar.
	app    bool
	refuse func(netip.AddrPort) bool

	limits   limits
	rules    atomic.Pointer[Outlier]
	snapshot atomic.Pointer[snapshot]
	counts   clusterCounts

	mu       sync.Mutex // held by who changes what follows
	env      *env
	config   Config
	settings *Settings
	given    []EndpointConfig
	hosts    map[string]*host // by address; what is down is left out
	ejected  int              // of hosts
	members  int              // that ejected is a share of

	nextSweep  time.Time // of the rates
	overflowed time.Time // when it was logged last that no more are ejected
	rebuilds   rebuilds

	running context.Context // of the health checks; nil before start
	checker *checker        // nil: endpoints are not checked
	closed  bool

	ticks uint // of Set.Run's goroutine
}

// reapEvery is after how many ticks connections are looked through. One that
// was unused for too long is not used again even before.
const reapEvery = 5

// clusterCounts is for metrics.
type clusterCounts struct {
	ejections [causes]atomic.Uint64
	overflows atomic.Uint64 // ejections that the maximum share has prevented
	checks    [2]atomic.Uint64
	troubles  troubles
}

// NewCluster makes a cluster without endpoints.
func NewCluster(c Config) *Cluster { return newCluster(c, false) }

// NewApp makes the cluster of the app beside this sidecar.
func NewApp(c Config, address string) *Cluster {
	cl := newCluster(c, true)
	cl.SetEndpoints([]EndpointConfig{{Address: address}})
	return cl
}

func newCluster(c Config, app bool) *Cluster {
	cl := &Cluster{name: c.Name, app: app, config: c, hosts: map[string]*host{}, env: newEnv(Options{})}
	cl.limits.cluster = c.Name
	cl.limits.hosts.Store(&[]*host{})
	cl.use(settingsOf(&c, app))
	cl.rebuildNow()
	return cl
}

// use puts settings in force. mu is held, or the cluster is new.
func (c *Cluster) use(s *Settings) {
	c.settings = s
	pool, outlier := s.Pool, s.Outlier
	c.limits.pool.Store(&pool)
	c.rules.Store(&outlier)
}

// Refuse says which addresses the names of its endpoints must not lead to:
// requests to them are answered 508. It is to be called before SetEndpoints.
func (c *Cluster) Refuse(f func(netip.AddrPort) bool) { c.refuse = f }

// Name is the cluster's xDS name.
func (c *Cluster) Name() string { return c.name }

// Pick chooses the endpoint of an attempt.
func (c *Cluster) Pick(a *middleware.Attempt) (*middleware.Endpoint, error) {
	e, err := c.snapshot.Load().balancer.Pick(a)
	if err != nil {
		return nil, &middleware.Reject{
			Status:  http.StatusServiceUnavailable,
			Reason:  middleware.ReasonNoEndpoint,
			Message: fmt.Sprintf("service %s has no healthy instance: is one running and registered?", c.name),
			Err:     err,
		}
	}
	return e, nil
}

// Configure changes the cluster's settings. Connections that are open stay, and
// what is known of the endpoints' health.
func (c *Cluster) Configure(config Config) {
	c.mu.Lock()
	redeclared := config.Protocol != c.config.Protocol
	resecured := config.TLS != c.config.TLS
	c.config = config
	for _, h := range c.hosts {
		h.connectTimeout.Store(int64(connectTimeout(config)))
		h.spoken.declare(config.Protocol)
	}
	if resecured {
		c.renew()
	}
	s := settingsOf(&config, c.app)
	if reflect.DeepEqual(s, c.settings) && !redeclared {
		c.mu.Unlock()
		return
	}
	checks := !reflect.DeepEqual(s.Health, c.settings.Health) || redeclared && s.Health != nil
	c.use(s)
	c.keepShare(time.Now())
	var old *checker
	if checks {
		old = c.checker
		c.restartChecks()
	}
	c.rebuildNow()
	c.mu.Unlock()
	if old != nil {
		old.stop()
	}
	c.limits.resize()
}

// SetEndpoints replaces the endpoints. Statistics, health and connections of
// those that stay are kept; those that go get no new request, and their
// connections close as they become free.
func (c *Cluster) SetEndpoints(given []EndpointConfig) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.setEndpoints(given)
}

// setEndpoints is SetEndpoints. mu is held.
func (c *Cluster) setEndpoints(given []EndpointConfig) {
	c.given = nil
	now := time.Now()
	hosts := make(map[string]*host, len(given))
	list := make([]*host, 0, len(given))
	for _, g := range given {
		c.given = append(c.given, g)
		if _, twice := hosts[g.Address]; twice || g.Status == registry.StatusDown {
			continue
		}
		h := c.hosts[g.Address]
		if h == nil {
			h = newHost(c, g.Address)
			h.state.since = now
		}
		hosts[g.Address] = h
		list = append(list, h)
	}
	old := c.hosts
	c.hosts = hosts
	c.limits.hosts.Store(&list)
	c.recount()
	c.keepShare(now)
	c.rebuildNow()
	if c.checker != nil {
		c.checker.wake()
	}
	for address, h := range old {
		if hosts[address] != h {
			h.close()
		}
	}
}

// start has the cluster's health checks run until ctx ends or the cluster is
// closed.
func (c *Cluster) start(ctx context.Context) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || c.running != nil {
		return
	}
	c.running = ctx
	c.restartChecks()
}

// restartChecks begins the checks of the settings in force; the caller stops the
// old ones. What they found does not hold any more. mu is held.
func (c *Cluster) restartChecks() {
	c.checker = nil
	for _, h := range c.hosts {
		h.state.check = checkState{}
	}
	if c.settings.Health == nil || c.running == nil || c.closed {
		return
	}
	c.checker = newChecker(c, c.settings.Health)
	c.checker.start(c.running)
}

// Close ends the health checks and closes what is unused. Requests that have
// found the cluster before still find its endpoints.
func (c *Cluster) Close() {
	c.mu.Lock()
	c.closed = true
	old := c.checker
	c.checker = nil
	c.mu.Unlock()
	if old != nil {
		old.stop()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, h := range c.hosts {
		h.close()
	}
	c.rebuilds.stop()
}

// attach gives the cluster what its set has.
func (c *Cluster) attach(e *env) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.env = e
	c.rebuildNow()
}

// tick is what has to be done every now and then.
func (c *Cluster) tick(now time.Time) {
	if c.ticks++; c.ticks%reapEvery == 0 {
		c.reap(now)
	}
	c.sweep(now)
}

// reap closes connections that were unused for too long.
func (c *Cluster) reap(now time.Time) {
	for _, h := range *c.limits.hosts.Load() {
		h.reap(now)
	}
}
