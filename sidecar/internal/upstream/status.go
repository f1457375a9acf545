package upstream

import (
	"cmp"
	"time"

	"github.com/outrigger-mesh/outrigger/internal/balance"
	"github.com/outrigger-mesh/outrigger/registry"
)

// Status is a cluster in a dump for people.
type Status struct {
	Name      string           `json:"name"`
	Levels    []balance.Level  `json:"levels,omitempty"` // priorities, and how requests are shared out among them
	Pool      PoolStatus       `json:"pool"`
	Endpoints []EndpointStatus `json:"endpoints"`
}

// PoolStatus is a cluster's connections and requests, with their limits.
type PoolStatus struct {
	Connections    int64             `json:"connections"`
	MaxConnections int               `json:"maxConnections"`
	Requests       int64             `json:"requests"`
	MaxRequests    int               `json:"maxRequests"`
	Pending        int64             `json:"pending"`
	MaxPending     int               `json:"maxPending"`
	Refused        map[string]uint64 `json:"refused,omitempty"` // by limit
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
	HTTP2    *HTTP2Status    `json:"http2,omitempty"`   // nil: it has no HTTP/2 connection
	Ejected  *EjectedStatus  `json:"ejected,omitempty"` // nil: it is not
	Check    *CheckStatus    `json:"check,omitempty"`   // nil: it was not checked
}

// HTTP2Status is the HTTP/2 connections to an endpoint.
type HTTP2Status struct {
	Connections int `json:"connections"` // that take requests
	Streams     int `json:"streams"`     // requests that share them
}

// EjectedStatus is why an endpoint gets no requests, and until when.
type EjectedStatus struct {
	Cause     string    `json:"cause"` // the key under outlier
	Why       string    `json:"why"`
	Until     time.Time `json:"until"`
	Ejections int       `json:"ejections"` // in close succession: each is longer
}

// CheckStatus is what health checks have found.
type CheckStatus struct {
	Healthy bool      `json:"healthy"`
	At      time.Time `json:"at"`
	Error   string    `json:"error,omitempty"` // of the last check
}

// Status is the cluster as it is now, with the endpoints that are down.
func (c *Cluster) Status() Status {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := Status{
		Name: c.name, Levels: balance.Levels(c.snapshot.Load().balancer), Pool: c.limits.status(), Endpoints: []EndpointStatus{},
	}
	for _, g := range c.given {
		e := EndpointStatus{
			Address: g.Address, Region: g.Locality.Region, Zone: g.Locality.Zone,
			Priority: g.Priority, Weight: max(g.Weight, 1), Status: cmp.Or(g.Status, registry.StatusUp), // static endpoints have none
		}
		if h := c.hosts[g.Address]; h != nil {
			e.Active, e.Attempts, e.Failures = h.stats.Active.Load(), h.stats.Attempts.Load(), h.stats.Failures.Load()
			e.Idle = h.idleCount()
			if n, streams := h.muxes.counts(); n > 0 {
				e.HTTP2 = &HTTP2Status{Connections: n, Streams: streams}
			}
			c.healthStatus(h, &e)
		}
		s.Endpoints = append(s.Endpoints, e)
	}
	return s
}

// healthStatus adds what is known of an endpoint's health. mu is held.
func (c *Cluster) healthStatus(h *host, e *EndpointStatus) {
	if s := &h.state; s.ejected {
		e.Ejected = &EjectedStatus{
			Cause: causeNames[s.cause], Why: why(s.cause, &c.settings.Outlier), Until: s.until, Ejections: s.ejections,
		}
	}
	if k := &h.state.check; k.checked {
		e.Check = &CheckStatus{Healthy: !k.failed, At: k.at}
		if k.err != nil {
			e.Check.Error = k.err.Error()
		}
	}
}

func (l *limits) status() PoolStatus {
	p := l.pool.Load()
	s := PoolStatus{
		Connections: l.openSize.Load(), MaxConnections: p.MaxConnections,
		Requests: l.active.Load(), MaxRequests: p.MaxRequests,
		Pending: l.queueSize.Load(), MaxPending: p.MaxPending,
	}
	for kind, name := range limitNames {
		if n := l.refusals[kind].Load(); n > 0 {
			if s.Refused == nil {
				s.Refused = map[string]uint64{}
			}
			s.Refused[name] = n
		}
	}
	return s
}
