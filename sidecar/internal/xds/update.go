package xds

import (
	"fmt"
	"time"

	"github.com/outrigger-mesh/outrigger/internal/ads"
)

// update takes one response: each resource for itself, so that a bad one does
// not hold back the others, and only then what follows from all of them.
func (g *graph) update(u ads.Update, now time.Time) []ads.Rejection {
	var rejections []ads.Rejection
	touched := map[*listener]struct{}{}
	for _, r := range u.Added {
		if err := g.take(u.Type, r, touched); err != nil {
			rejections = append(rejections, ads.Rejection{Name: r.Name, Err: err})
		}
	}
	for _, name := range u.Removed {
		g.lose(u.Type, name, touched)
	}
	for _, l := range inOrder(touched) {
		g.advance(l, now)
	}
	return rejections
}

// take decodes a resource and notes what it says. One that nothing names any
// more, because of another resource of the same response, is left alone.
func (g *graph) take(typeURL string, r ads.Resource, touched map[*listener]struct{}) error {
	switch typeURL {
	case ads.ListenerType:
		return g.takeListener(r, touched)
	case ads.RouteType:
		return g.takeRoutes(r, touched)
	case ads.ClusterType:
		return g.takeCluster(r, touched)
	case ads.EndpointType:
		return g.takeAssignment(r, touched)
	}
	return fmt.Errorf("type %s is not supported", typeURL)
}

func (g *graph) takeListener(r ads.Resource, touched map[*listener]struct{}) error {
	d, err := decodeListener(r.Name, r.Body)
	if err != nil {
		return err
	}
	l := g.listeners[r.Name]
	if l == nil {
		return nil
	}
	if fp := printOf(r.Body); l.inline == nil || d.inline == nil || l.print != fp {
		l.inline, l.print = d.inline, fp
	}
	l.phase = present
	g.setRDS(l, d.rds)
	touched[l] = struct{}{}
	return nil
}

func (g *graph) takeRoutes(r ads.Resource, touched map[*listener]struct{}) error {
	fp := printOf(r.Body)
	n := g.routes[r.Name]
	if n != nil && n.phase == present && n.print == fp {
		return nil
	}
	cfg, err := decodeRoutes(r.Name, r.Body)
	if err != nil || n == nil {
		return err
	}
	n.phase, n.cfg, n.print = present, cfg, fp
	touch(touched, n.users)
	return nil
}

func (g *graph) takeCluster(r ads.Resource, touched map[*listener]struct{}) error {
	d, err := decodeCluster(r.Name, r.Body)
	if err != nil {
		return err
	}
	c := g.clusters[r.Name]
	if c == nil {
		return nil
	}
	c.phase, c.cfg = present, d.cfg
	g.setEDS(c, d.eds)
	g.show(c)
	touch(touched, c.users)
	return nil
}

func (g *graph) takeAssignment(r ads.Resource, touched map[*listener]struct{}) error {
	eps, err := decodeEndpoints(r.Name, r.Body)
	if err != nil {
		return err
	}
	if a := g.assignments[r.Name]; a != nil {
		a.phase, a.eps = present, eps
		g.showUsers(a, touched)
	}
	return nil
}

// lose notes that the server does not have a resource, or has it no more.
func (g *graph) lose(typeURL, name string, touched map[*listener]struct{}) {
	switch typeURL {
	case ads.ListenerType:
		if l := g.listeners[name]; l != nil {
			l.phase, l.inline = absent, nil
			g.setRDS(l, "")
			touched[l] = struct{}{}
		}
	case ads.RouteType:
		if n := g.routes[name]; n != nil {
			n.phase, n.cfg = absent, nil
			touch(touched, n.users)
		}
	case ads.ClusterType:
		if c := g.clusters[name]; c != nil {
			c.phase = absent
			g.setEDS(c, "")
			g.show(c)
			touch(touched, c.users)
		}
	case ads.EndpointType:
		if a := g.assignments[name]; a != nil {
			a.phase, a.eps = absent, nil
			g.showUsers(a, touched)
		}
	}
}

// showUsers gives new endpoints to the sink at once: nothing waits for them
// but routes that were not given yet.
func (g *graph) showUsers(a *assignment, touched map[*listener]struct{}) {
	for c := range a.users {
		g.show(c)
		for l := range c.users {
			if _, ok := g.waiting[l]; ok {
				touched[l] = struct{}{}
			}
		}
	}
}

func touch(touched, users map[*listener]struct{}) {
	for l := range users {
		touched[l] = struct{}{}
	}
}
