package xds

import (
	"crypto/sha256"
	"time"

	"google.golang.org/protobuf/types/known/anypb"

	"github.com/outrigger-mesh/outrigger/internal/ads"
	"github.com/outrigger-mesh/outrigger/sidecar/internal/route"
	"github.com/outrigger-mesh/outrigger/sidecar/internal/upstream"
)

// phase is what is known of a resource.
type phase uint8

const (
	unknown phase = iota // the server has not said anything yet
	absent               // the server does not have it
	present
)

func (p phase) String() string { return [...]string{"unknown", "absent", "present"}[p] }

// subscriber is what the graph needs of the stream.
type subscriber interface {
	Subscribe(typeURL string, names ...string)
	Unsubscribe(typeURL string, names ...string)
	Connected() (bool, time.Time)
}

// graph is what is subscribed to, what is known of it, and what was given to
// the sink: listeners name route configurations, those name clusters, those
// name assignments of endpoints. It is used by one goroutine at a time.
type graph struct {
	sink   Sink
	subs   subscriber
	limits limits

	listeners   map[string]*listener
	routes      map[string]*routes
	clusters    map[string]*cluster
	assignments map[string]*assignment
	waiting     map[*listener]struct{} // those whose since is set
}

// limits bound how long and for how much the graph waits.
type limits struct {
	warm      time.Duration // for the clusters of known routes
	resolve   time.Duration // for a listener and its routes, while connected
	listeners int
}

// stage is what a listener waits for.
type stage uint8

const (
	resolving stage = iota // to know its routes
	warming                // to know the clusters of its routes
)

type listener struct {
	name   string
	phase  phase
	rds    string // names its routes, if they are not inline
	inline *route.Config
	print  fingerprint // of inline

	used  time.Time // when last asked for
	stage stage
	since time.Time // when the stage began; zero if it waits for nothing
	told  bool      // the sink was given routes, or that there are none
	given *route.Config
	holds map[string]struct{} // the clusters of what is given and what is to be
}

type routes struct {
	phase phase
	cfg   *route.Config
	print fingerprint
	users map[*listener]struct{}
}

type cluster struct {
	name  string
	phase phase
	cfg   upstream.Config
	eds   string // the name of its assignment; empty while not present
	users map[*listener]struct{}

	shown     bool // the sink has it
	shownCfg  upstream.Config
	shownEps  []upstream.EndpointConfig
	shownSome bool // the sink was given its endpoints
}

type assignment struct {
	phase phase
	eps   []upstream.EndpointConfig
	users map[*cluster]struct{}
}

// fingerprint tells whether a resource that comes again is another one: a
// restarted control plane may send the same under a new version.
type fingerprint [sha256.Size]byte

func printOf(body *anypb.Any) fingerprint { return sha256.Sum256(body.GetValue()) }

func newGraph(sink Sink, subs subscriber, l limits) *graph {
	return &graph{
		sink: sink, subs: subs, limits: l,
		listeners:   map[string]*listener{},
		routes:      map[string]*routes{},
		clusters:    map[string]*cluster{},
		assignments: map[string]*assignment{},
		waiting:     map[*listener]struct{}{},
	}
}

// subscribe asks for a listener. It reports whether there was room for it; an
// app that asks for ever new names gets those forgotten that do not exist.
func (g *graph) subscribe(name string, now time.Time) bool {
	if l := g.listeners[name]; l != nil {
		l.used = now
		return true
	}
	if len(g.listeners) >= g.limits.listeners && !g.evict() {
		return false
	}
	l := &listener{name: name, used: now, holds: map[string]struct{}{}}
	g.listeners[name] = l
	g.wait(l, resolving, now)
	g.subs.Subscribe(ads.ListenerType, name)
	return true
}

// evict forgets the listener without routes that was asked for longest ago.
func (g *graph) evict() bool {
	var oldest *listener
	for _, l := range g.listeners {
		if l.told && l.given == nil && (oldest == nil || l.used.Before(oldest.used)) {
			oldest = l
		}
	}
	if oldest == nil {
		return false
	}
	g.setRDS(oldest, "")
	g.hold(oldest)
	g.settled(oldest)
	delete(g.listeners, oldest.name)
	g.subs.Unsubscribe(ads.ListenerType, oldest.name)
	return true
}

// setRDS says which route configuration a listener names; none if empty.
func (g *graph) setRDS(l *listener, name string) {
	if l.rds == name {
		return
	}
	old := l.rds
	l.rds = name
	if name != "" {
		r := g.routes[name]
		if r == nil {
			r = &routes{users: map[*listener]struct{}{}}
			g.routes[name] = r
			g.subs.Subscribe(ads.RouteType, name)
		}
		r.users[l] = struct{}{}
	}
	if r := g.routes[old]; r != nil {
		if delete(r.users, l); len(r.users) == 0 {
			delete(g.routes, old)
			g.subs.Unsubscribe(ads.RouteType, old)
		}
	}
}

// hold makes the clusters of cfgs those that the listener needs, and lets go
// of others.
func (g *graph) hold(l *listener, cfgs ...*route.Config) {
	need := map[string]struct{}{}
	for _, cfg := range cfgs {
		for name := range clustersOf(cfg) {
			need[name] = struct{}{}
		}
	}
	for name := range need {
		c := g.clusters[name]
		if c == nil {
			c = &cluster{name: name, users: map[*listener]struct{}{}}
			g.clusters[name] = c
			g.subs.Subscribe(ads.ClusterType, name)
		}
		c.users[l] = struct{}{}
	}
	for name := range l.holds {
		if _, ok := need[name]; ok {
			continue
		}
		c := g.clusters[name]
		if delete(c.users, l); len(c.users) == 0 {
			g.drop(c)
		}
	}
	l.holds = need
}

// drop forgets a cluster that nothing names any more.
func (g *graph) drop(c *cluster) {
	delete(g.clusters, c.name)
	g.subs.Unsubscribe(ads.ClusterType, c.name)
	g.setEDS(c, "")
	if c.shown {
		g.sink.RemoveCluster(c.name)
	}
}

// setEDS says which assignment a cluster names; none if empty.
func (g *graph) setEDS(c *cluster, name string) {
	if c.eds == name {
		return
	}
	old := c.eds
	c.eds = name
	if name != "" {
		a := g.assignments[name]
		if a == nil {
			a = &assignment{users: map[*cluster]struct{}{}}
			g.assignments[name] = a
			g.subs.Subscribe(ads.EndpointType, name)
		}
		a.users[c] = struct{}{}
	}
	if a := g.assignments[old]; a != nil {
		if delete(a.users, c); len(a.users) == 0 {
			delete(g.assignments, old)
			g.subs.Unsubscribe(ads.EndpointType, old)
		}
	}
}

// clustersOf are the names of the clusters that the routes of cfg name.
func clustersOf(cfg *route.Config) map[string]struct{} {
	out := map[string]struct{}{}
	if cfg == nil {
		return out
	}
	for i := range cfg.VirtualHosts {
		for j := range cfg.VirtualHosts[i].Routes {
			for _, c := range cfg.VirtualHosts[i].Routes[j].Clusters {
				out[c.Name] = struct{}{}
			}
		}
	}
	return out
}
