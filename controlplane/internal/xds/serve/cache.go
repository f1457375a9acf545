// Package serve serves xDS resources over aggregated delta streams. The
// protocol's framing is go-control-plane's delta server; what is sent to whom
// and when is decided here, behind its cache interface, by one session for each
// stream.
//
// What holds:
//
//   - A resource's version is a hash of its content. It is marshalled once, and
//     all streams share the bytes. What did not change is not sent.
//   - Where the endpoints of an assignment span zones, what is sent depends on
//     where the client is: one form a place, marshalled once, shared by all
//     clients there.
//   - A change wakes only the streams that subscribed to one of its names, or
//     to all of the type. No lock of the cache is held while anything is sent.
//   - A stream has one unanswered response of a type at a time. What changes
//     meanwhile is sent with the next one, so a slow client costs nothing but
//     what it misses: the states in between.
//   - A name that does not exist is answered at once, in removed_resources, and
//     the subscription is remembered. A name that is subscribed to again is sent
//     again. initial_resource_versions is honoured.
//   - A rejected (NACKed) version is not sent again; the next one is.
//   - Make before break, on each stream: clusters, endpoints, listeners, routes,
//     and only then the clusters and endpoints that are gone. What was added to
//     clusters or endpoints is acknowledged or on its way before the listeners
//     and routes that may name it are sent.
//   - After a cluster was sent its endpoints follow, changed or not.
package serve

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"sync"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/outrigger-mesh/outrigger/controlplane/internal/xds/translate"
	"github.com/outrigger-mesh/outrigger/registry"
)

// Cache holds the resources and who subscribed to them.
type Cache struct {
	log     *slog.Logger
	metrics *metrics
	locate  func(Client) Place

	mu       sync.RWMutex
	types    map[string]*collection // by type URL
	sessions map[*session]struct{}
}

// collection is the resources of one type. Entries are immutable.
type collection struct {
	resources map[string]*resource
	byName    map[string]map[*session]struct{}
	wildcard  map[*session]struct{}
}

// resource is one resource as it is sent to everybody, or to everybody in one
// place.
type resource struct {
	wire *discoveryv3.Resource
	size int // of wire, in bytes

	zones *translate.Zones // nil where one form is for everybody
	mu    sync.Mutex
	near  map[registry.Locality]*resource // by place, those that were asked for
}

// from is the form of the resource for a client in a locality. It is made when
// the first client of its place asks for it.
func (r *resource) from(client registry.Locality) (*resource, error) {
	if r == nil || r.zones == nil {
		return r, nil
	}
	place := r.zones.Place(client)
	if place == (registry.Locality{}) {
		return r, nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if made := r.near[place]; made != nil {
		return made, nil
	}
	ref := translate.Ref{Type: r.wire.GetResource().GetTypeUrl(), Name: r.wire.GetName()}
	made, err := marshal(translate.Resource{Ref: ref, Message: r.zones.Near(place)})
	if err != nil {
		return r, err
	}
	if r.near == nil {
		r.near = map[registry.Locality]*resource{}
	}
	r.near[place] = made
	return made, nil
}

func (r *resource) version() string { return r.wire.GetVersion() }

// Options is what a Cache needs.
type Options struct {
	Logger  *slog.Logger
	Metrics prometheus.Registerer
	// Locate says where a client is; nil: where it says to be. It is asked when
	// a stream opens and at each Relocate.
	Locate func(Client) Place
}

// NewCache makes an empty cache.
func NewCache(o Options) *Cache {
	if o.Locate == nil {
		o.Locate = func(c Client) Place { return Place{Locality: c.Locality, Source: FromNode} }
	}
	c := &Cache{
		log:      o.Logger.With("component", "xds"),
		locate:   o.Locate,
		types:    map[string]*collection{},
		sessions: map[*session]struct{}{},
	}
	for _, t := range served {
		c.types[t] = &collection{
			resources: map[string]*resource{},
			byName:    map[string]map[*session]struct{}{},
			wildcard:  map[*session]struct{}{},
		}
	}
	c.metrics = newMetrics(o.Metrics, c)
	return c
}

// Update changes the resources and tells the streams. It returns once every
// stream that may be told has been. Calls must not overlap. An error names a
// resource that was left as it was; the others are changed all the same.
func (c *Cache) Update(changes translate.Changes) error {
	fresh := make(map[translate.Ref]*resource, len(changes.Set))
	var firstErr error
	for _, r := range changes.Set {
		wire, err := marshal(r)
		if err != nil {
			if firstErr == nil {
				firstErr = err
			}
			continue
		}
		fresh[r.Ref] = wire
	}
	woken := map[*session]map[string][]string{}
	c.mu.Lock()
	for ref, r := range fresh {
		col := c.types[ref.Type]
		if was := col.resources[ref.Name]; was != nil && was.version() == r.version() {
			continue
		}
		col.resources[ref.Name] = r
		col.wake(woken, ref)
	}
	for _, ref := range changes.Remove {
		col := c.types[ref.Type]
		if _, ok := col.resources[ref.Name]; !ok {
			continue
		}
		delete(col.resources, ref.Name)
		col.wake(woken, ref)
	}
	c.mu.Unlock()
	for s, names := range woken {
		s.changed(names)
	}
	return firstErr
}

// wake notes for each session that is concerned that the name has changed.
func (col *collection) wake(woken map[*session]map[string][]string, ref translate.Ref) {
	note := func(s *session) {
		if woken[s] == nil {
			woken[s] = map[string][]string{}
		}
		woken[s][ref.Type] = append(woken[s][ref.Type], ref.Name)
	}
	for s := range col.byName[ref.Name] {
		note(s)
	}
	for s := range col.wildcard {
		if _, both := col.byName[ref.Name][s]; !both {
			note(s)
		}
	}
}

// marshal makes of a resource what goes over the wire.
func marshal(r translate.Resource) (*resource, error) {
	packed := &anypb.Any{}
	if err := anypb.MarshalFrom(packed, r.Message, proto.MarshalOptions{Deterministic: true}); err != nil {
		return nil, fmt.Errorf("marshal %s %s: %w", r.Type, r.Name, err)
	}
	sum := sha256.Sum256(packed.GetValue())
	wire := &discoveryv3.Resource{Name: r.Name, Version: hex.EncodeToString(sum[:8]), Resource: packed}
	return &resource{wire: wire, size: proto.Size(wire), zones: r.Zones}, nil
}

// lookup returns the resource in the form for everybody, or nil.
func (c *Cache) lookup(typeURL, name string) *resource {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.types[typeURL].resources[name]
}

// names are the names of all resources of a type, in no order.
func (c *Cache) names(typeURL string) []string {
	c.mu.RLock()
	defer c.mu.RUnlock()
	all := make([]string, 0, len(c.types[typeURL].resources))
	for name := range c.types[typeURL].resources {
		all = append(all, name)
	}
	return all
}

// subscribe and unsubscribe keep the index of who is to be woken.
func (c *Cache) subscribe(s *session, typeURL string, add, drop []string, wildcard bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	col := c.types[typeURL]
	for _, name := range add {
		if col.byName[name] == nil {
			col.byName[name] = map[*session]struct{}{}
		}
		col.byName[name][s] = struct{}{}
	}
	for _, name := range drop {
		col.unsubscribe(s, name)
	}
	if wildcard {
		col.wildcard[s] = struct{}{}
	} else {
		delete(col.wildcard, s)
	}
}

func (col *collection) unsubscribe(s *session, name string) {
	delete(col.byName[name], s)
	if len(col.byName[name]) == 0 {
		delete(col.byName, name)
	}
}

// open registers a session, close forgets it and all its subscriptions.
func (c *Cache) open(s *session) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sessions[s] = struct{}{}
}

func (c *Cache) close(s *session, subscribed map[string][]string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.sessions, s)
	for typeURL, names := range subscribed {
		col := c.types[typeURL]
		delete(col.wildcard, s)
		for _, name := range names {
			col.unsubscribe(s, name)
		}
	}
}
