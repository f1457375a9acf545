package node

import (
	"net/http"
	"sync"
	"sync/atomic"

	"github.com/outrigger-mesh/outrigger/middleware"
	"github.com/outrigger-mesh/outrigger/sidecar/internal/route"
	"github.com/outrigger-mesh/outrigger/sidecar/internal/upstream"
)

// chainsFunc is the chains in force for a service; for the direction itself
// where the name is empty.
type chainsFunc func(service string) *middleware.Chains

// gateway is the dispatcher of the entry gateway: one table, from the control
// plane.
type gateway struct {
	chains  chainsFunc
	cluster func(name string) middleware.Picker
	// connected reports whether the control plane is there.
	connected func() bool

	table atomic.Pointer[route.Table]

	name atomic.Pointer[string] // over xDS; nil while there is no such listener

	mu     sync.Mutex // held to change what follows, and table
	config *route.Config
}

// listener is the gateway's name over xDS; empty where it is off.
func (g *gateway) listener() string {
	if name := g.name.Load(); name != nil {
		return *name
	}
	return ""
}

// Match is proxy.Dispatcher's.
func (g *gateway) Match(x *middleware.Exchange) *middleware.Target {
	t := g.table.Load()
	if t == nil {
		refusal := route.Refusal(&middleware.Route{Listener: middleware.Gateway}, http.StatusServiceUnavailable, middleware.ReasonDiscovery,
			g.without())
		refusal.Use(g.chains(""))
		return refusal
	}
	var host [128]byte
	return t.Match(route.Host(host[:0], x.Request.Authority), &x.Request)
}

// without says why there are no routes.
func (g *gateway) without() string {
	if g.connected != nil && g.connected() {
		return "there are no routes for " + g.listener() + ": no HTTPRoute has this gateway as a parent (see gateway.name in sidecar.yaml)"
	}
	return "there are no routes for " + g.listener() + " yet, and the control plane cannot be reached: is it running at discovery.xds.server?"
}

// setRoutes takes what the control plane says; nil: there is no such gateway.
func (g *gateway) setRoutes(c *route.Config) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.config = c
	return g.compile()
}

func (g *gateway) rebuild() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.compile()
}

func (g *gateway) compile() error {
	if g.config == nil {
		g.table.Store(nil)
		return nil
	}
	table, err := route.Compile(g.config, route.Builder{Listener: middleware.Gateway, Cluster: g.cluster, Chains: g.chains})
	if err != nil {
		return err
	}
	g.table.Store(table)
	return nil
}

// inbound is the dispatcher of one of the app's ports: everything goes to the
// app.
type inbound struct {
	service string
	route   *middleware.Route
	chains  chainsFunc
	cluster *upstream.Cluster
	target  atomic.Pointer[middleware.Target]
}

// Match is proxy.Dispatcher's.
func (i *inbound) Match(*middleware.Exchange) *middleware.Target { return i.target.Load() }

func (i *inbound) rebuild() {
	t := &middleware.Target{
		Route: i.route,
		Pick:  func(*middleware.Exchange) (middleware.Picker, error) { return i.cluster, nil },
	}
	t.Use(i.chains(i.service))
	i.target.Store(t)
}
