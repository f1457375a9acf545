package xds

import (
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/outrigger-mesh/outrigger/sidecar/internal/route"
	"github.com/outrigger-mesh/outrigger/sidecar/internal/upstream"
)

// wait notes what a listener waits for, from now if it did not yet.
func (g *graph) wait(l *listener, s stage, now time.Time) {
	if l.since.IsZero() || l.stage != s {
		l.stage, l.since = s, now
	}
	g.waiting[l] = struct{}{}
}

func (g *graph) settled(l *listener) {
	l.since = time.Time{}
	delete(g.waiting, l)
}

// resolve returns the routes that a listener is to have, nil if there are to
// be none, and whether that is known.
func (g *graph) resolve(l *listener) (cfg *route.Config, known bool) {
	switch {
	case l.phase == unknown:
		return nil, false
	case l.phase == absent:
		return nil, true
	case l.inline != nil:
		return l.inline, true
	}
	r := g.routes[l.rds]
	return r.cfg, r.phase != unknown
}

// advance gives the sink a listener's routes if they are new and complete, or
// have waited long enough.
func (g *graph) advance(l *listener, now time.Time) {
	cfg, known := g.resolve(l)
	if !known {
		g.wait(l, resolving, now)
		if l.told || !g.overdue(l, now, g.limits.resolve) {
			return
		}
		// A server may leave out to say that it does not have something.
	}
	if l.told && cfg == l.given {
		g.hold(l, cfg)
		g.settled(l)
		return
	}
	g.hold(l, cfg, l.given)
	names := sorted(clustersOf(cfg))
	if slices.ContainsFunc(names, func(n string) bool { return !g.ready(g.clusters[n]) }) {
		g.wait(l, warming, now)
		// Without routes, an answer is owed; with routes, those before are the
		// better ones as long as the control plane cannot say more.
		if now.Sub(l.since) < g.limits.warm || l.told && !g.overdue(l, now, g.limits.warm) {
			return
		}
	}
	for _, n := range names {
		g.complete(g.clusters[n])
	}
	l.told, l.given = true, cfg
	g.settled(l)
	g.sink.SetRoutes(l.name, cfg)
	g.hold(l, cfg)
}

// overdue reports whether a listener has waited so long while the control
// plane could have answered.
func (g *graph) overdue(l *listener, now time.Time, limit time.Duration) bool {
	connected, since := g.subs.Connected()
	if l.since.After(since) {
		since = l.since
	}
	return connected && now.Sub(since) >= limit
}

// ready reports whether all is known of a cluster.
func (g *graph) ready(c *cluster) bool {
	return c.phase == absent || c.phase == present && g.assignments[c.eds].phase != unknown
}

// show gives the sink what is known of a cluster and new.
func (g *graph) show(c *cluster) {
	switch c.phase {
	case unknown:
	case absent:
		// Not shown at all until routes that name it are given.
		if c.shown {
			g.showEndpoints(c, nil)
		}
	case present:
		if !c.shown || !reflect.DeepEqual(c.shownCfg, c.cfg) {
			c.shown, c.shownCfg = true, c.cfg
			g.sink.SetCluster(c.cfg)
		}
		if a := g.assignments[c.eds]; a.phase != unknown {
			g.showEndpoints(c, a.eps)
		}
	}
}

func (g *graph) showEndpoints(c *cluster, eps []upstream.EndpointConfig) {
	if c.shownSome && slices.Equal(c.shownEps, eps) {
		return
	}
	c.shownSome, c.shownEps = true, eps
	g.sink.SetEndpoints(c.name, eps)
}

// complete makes the sink know a cluster that routes are about to name: one
// that is not there, or not yet, is a cluster without endpoints.
func (g *graph) complete(c *cluster) {
	if !c.shown {
		c.shown, c.shownCfg = true, upstream.Config{Name: c.name}
		g.sink.SetCluster(c.shownCfg)
	}
	if !c.shownSome {
		g.showEndpoints(c, nil)
	}
}

// tick gives up waiting where it was long enough.
func (g *graph) tick(now time.Time) {
	for _, l := range inOrder(g.waiting) {
		g.advance(l, now)
	}
}

// inOrder makes what follows from one event the same each time.
func inOrder(set map[*listener]struct{}) []*listener {
	out := make([]*listener, 0, len(set))
	for l := range set {
		out = append(out, l)
	}
	slices.SortFunc(out, func(a, b *listener) int { return strings.Compare(a.name, b.name) })
	return out
}

func sorted(set map[string]struct{}) []string {
	out := make([]string, 0, len(set))
	for n := range set {
		out = append(out, n)
	}
	slices.Sort(out)
	return out
}
