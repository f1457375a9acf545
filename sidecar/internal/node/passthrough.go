package node

import (
	"net"
	"net/netip"
	"strings"
	"sync"

	"github.com/outrigger-mesh/outrigger/middleware"
	"github.com/outrigger-mesh/outrigger/sidecar/internal/upstream"
)

// maxForeign bounds the hosts outside the mesh that connections are kept for.
const maxForeign = 1024

// passthrough sends requests for hosts that are no service of the mesh where
// they ask to go.
type passthrough struct {
	chains   chainsFunc
	clusters *upstream.Set
	own      func(netip.AddrPort) bool // our own addresses, which would be a loop

	mu      sync.Mutex
	targets map[string]*middleware.Target
}

func newPassthrough(chains chainsFunc, clusters *upstream.Set, own func(netip.AddrPort) bool) *passthrough {
	return &passthrough{chains: chains, clusters: clusters, own: own, targets: map[string]*middleware.Target{}}
}

func (p *passthrough) target(_ *middleware.Exchange, authority string) *middleware.Target {
	p.mu.Lock()
	defer p.mu.Unlock()
	if t := p.targets[authority]; t != nil {
		return t
	}
	if len(p.targets) >= maxForeign {
		for old := range p.targets { // any: its connections close as they become free
			delete(p.targets, old)
			p.clusters.Remove(foreignCluster(old))
			break
		}
	}
	address := authority
	if _, _, err := net.SplitHostPort(authority); err != nil {
		address = net.JoinHostPort(strings.Trim(authority, "[]"), "80")
	}
	c := p.clusters.Put(upstream.Config{Name: foreignCluster(authority)})
	c.Refuse(p.own)
	c.SetEndpoints([]upstream.EndpointConfig{{Address: address}})
	t := &middleware.Target{
		// Not the authority: its values have no bound, and this is a label.
		Route: &middleware.Route{Listener: middleware.Outbound, Service: "passthrough", Name: "passthrough"},
		Pick:  func(*middleware.Exchange) (middleware.Picker, error) { return c, nil },
	}
	t.Use(p.chains(""))
	p.targets[authority] = t
	return t
}

// rebuild has the targets made anew, with the chains in force. Connections stay.
func (p *passthrough) rebuild() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for authority, old := range p.targets {
		t := *old
		t.Use(p.chains(""))
		p.targets[authority] = &t
	}
}

// close gives all hosts up. Requests that are under way end as they would.
func (p *passthrough) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for authority := range p.targets {
		p.clusters.Remove(foreignCluster(authority))
	}
	clear(p.targets)
}

func foreignCluster(authority string) string { return "passthrough/" + authority }
