package server

import (
	"net/http"
	"sync/atomic"

	"github.com/outrigger-mesh/outrigger/middleware"
	"github.com/outrigger-mesh/outrigger/sidecar/internal/route"
)

// gateway is the dispatcher of the entry gateway: one table, from the control
// plane.
type gateway struct {
	name   string
	chains *middleware.Chains
	table  atomic.Pointer[route.Table]
}

// Chain is proxy.Dispatcher's.
func (g *gateway) Chain() middleware.Handler { return g.chains.Request }

// Match is proxy.Dispatcher's.
func (g *gateway) Match(x *middleware.Exchange) *middleware.Target {
	t := g.table.Load()
	if t == nil {
		return route.Refusal(&middleware.Route{Listener: middleware.Gateway}, http.StatusServiceUnavailable, middleware.ReasonDiscovery,
			"this gateway has no routes yet: is there an HTTPRoute whose parent is the gateway, and is the control plane running?")
	}
	var host [128]byte
	return t.Match(route.Host(host[:0], x.Request.Authority), &x.Request)
}

// inbound is the dispatcher of one of the app's ports: everything goes to the
// app.
type inbound struct {
	chains *middleware.Chains
	target *middleware.Target
}

// Chain is proxy.Dispatcher's.
func (i *inbound) Chain() middleware.Handler { return i.chains.Request }

// Match is proxy.Dispatcher's.
func (i *inbound) Match(*middleware.Exchange) *middleware.Target { return i.target }
