package upstream

import (
	"fmt"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"

	"github.com/outrigger-mesh/outrigger/internal/balance"
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

	mu       sync.Mutex // held by who changes it
	config   Config
	given    []EndpointConfig
	hosts    map[string]*host
	snapshot atomic.Pointer[snapshot]
}

// snapshot is what requests see; it does not change.
type snapshot struct {
	balancer  balance.Balancer
	endpoints []*middleware.Endpoint
}

// NewCluster makes a cluster without endpoints.
func NewCluster(c Config) *Cluster {
	cl := &Cluster{name: c.Name, config: c, hosts: map[string]*host{}}
	cl.snapshot.Store(&snapshot{balancer: balance.RoundRobin(nil)})
	return cl
}

// NewAppCluster makes the cluster of the app beside this sidecar.
func NewAppCluster(name, address string) *Cluster {
	cl := NewCluster(Config{Name: name})
	cl.app = true
	cl.SetEndpoints([]EndpointConfig{{Address: address}})
	return cl
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

// Configure changes the cluster's settings. Connections that are open stay.
func (c *Cluster) Configure(config Config) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.config = config
	for _, h := range c.hosts {
		h.connectTimeout.Store(int64(connectTimeout(config)))
	}
}

// SetEndpoints replaces the endpoints. Statistics and connections of those that
// stay are kept; those that go get no new request, and their connections close
// as they become free.
func (c *Cluster) SetEndpoints(given []EndpointConfig) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.given = given
	hosts := make(map[string]*host, len(given))
	s := &snapshot{}
	for _, g := range given {
		if _, twice := hosts[g.Address]; twice || g.Status == registry.StatusDown {
			continue
		}
		h := c.hosts[g.Address]
		if h == nil {
			h = newHost(c.name, g.Address, c.app)
			h.refuse = c.refuse
			h.connectTimeout.Store(int64(connectTimeout(c.config)))
		}
		hosts[g.Address] = h
		s.endpoints = append(s.endpoints, &middleware.Endpoint{
			Key: g.Address, Address: g.Address,
			Region: g.Locality.Region, Zone: g.Locality.Zone,
			Weight: max(g.Weight, 1), Priority: g.Priority,
			Draining:  g.Status == registry.StatusDraining,
			Stats:     &h.stats,
			Transport: h,
		})
	}
	s.balancer = balance.RoundRobin(s.endpoints)
	old := c.hosts
	c.hosts = hosts
	c.snapshot.Store(s)
	for address, h := range old {
		if hosts[address] != h {
			h.close()
		}
	}
}

// Close gives all endpoints up.
func (c *Cluster) Close() { c.SetEndpoints(nil) }

// reap closes connections that were unused for too long.
func (c *Cluster) reap() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, h := range c.hosts {
		h.reap()
	}
}

// Status is a cluster in a dump for people.
type Status struct {
	Name      string           `json:"name"`
	Endpoints []EndpointStatus `json:"endpoints"`
}

// EndpointStatus is an endpoint in a dump for people.
type EndpointStatus struct {
	Address  string          `json:"address"`
	Region   string          `json:"region,omitempty"`
	Zone     string          `json:"zone,omitempty"`
	Priority uint32          `json:"priority"`
	Weight   uint32          `json:"weight"`
	Status   registry.Status `json:"status"`
	Active   int64           `json:"active"`
	Attempts uint64          `json:"attempts"`
	Failures uint64          `json:"failures"`
	Idle     int             `json:"idleConnections"`
}

// Status is the cluster as it is now, with the endpoints that are down.
func (c *Cluster) Status() Status {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := Status{Name: c.name, Endpoints: []EndpointStatus{}}
	for _, g := range c.given {
		e := EndpointStatus{
			Address: g.Address, Region: g.Locality.Region, Zone: g.Locality.Zone,
			Priority: g.Priority, Weight: max(g.Weight, 1), Status: registry.MostRestrictive(g.Status, registry.StatusUp),
		}
		if h := c.hosts[g.Address]; h != nil {
			e.Active, e.Attempts, e.Failures = h.stats.Active.Load(), h.stats.Attempts.Load(), h.stats.Failures.Load()
			e.Idle = h.idleCount()
		}
		s.Endpoints = append(s.Endpoints, e)
	}
	return s
}
