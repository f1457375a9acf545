package mesh

import (
	"cmp"
	"log/slog"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/outrigger-mesh/outrigger/controlplane/internal/object"
	"github.com/outrigger-mesh/outrigger/controlplane/internal/source"
	"github.com/outrigger-mesh/outrigger/registry"
)

// maxRemembered bounds the implied ports that are remembered after their last
// instance went. Past it the service is unknown again at once.
const maxRemembered = 10_000

// owner is who said something: one key of one source.
type owner struct {
	rank   int
	source string
	key    string
}

func (o owner) compare(p owner) int {
	return cmp.Or(cmp.Compare(o.rank, p.rank), strings.Compare(o.key, p.key))
}

// claim is one owner's word on one instance.
type claim struct {
	owner owner
	inst  source.Instance
}

// entry is everything that is said of one service.
type entry struct {
	declared  map[owner]*object.MeshService
	instances map[registry.InstanceKey][]claim
	// remembered are ports that instances implied: they stay known, without
	// endpoints, so that a caller is told 503 and not 404 while all instances
	// are away.
	remembered map[uint16]registry.Port
	warned     map[string]struct{} // what was logged of it already
}

func (e *entry) empty() bool {
	return len(e.declared) == 0 && len(e.instances) == 0 && len(e.remembered) == 0
}

// state is the unpublished side of the model, indexed for small updates.
type state struct {
	log         *slog.Logger
	rank        map[string]int
	contents    map[owner]source.Content
	services    map[registry.ServiceName]*entry
	remembered  int
	dirty       map[registry.ServiceName]struct{}
	dirtyRoutes bool

	hosts      *Hosts
	dirtyHosts bool
	// onHost are the services with an instance that says to be on a host, once
	// for each instance that does.
	onHost multi[hostUse, registry.ServiceName]
	// shared are the objects that several sources have; it is copied into a
	// snapshot when it has changed.
	shared      map[object.ID]Holder
	dirtyShared bool
}

// hostUse is what an instance says of its host: a name in lower case, or an
// address in a network.
type hostUse struct {
	name    string
	address hostAddress
}

func newState(log *slog.Logger, rank map[string]int, hosts *Hosts) *state {
	return &state{
		log:      log,
		rank:     rank,
		contents: map[owner]source.Content{},
		services: map[registry.ServiceName]*entry{},
		dirty:    map[registry.ServiceName]struct{}{},
		hosts:    hosts,
		onHost:   newMulti[hostUse, registry.ServiceName](),
		shared:   map[object.ID]Holder{},
	}
}

// apply replaces what the update's owner said before. It returns by how many
// the keys that something is said of have grown.
func (s *state) apply(u source.Update) int {
	o := owner{rank: s.rank[u.Source], source: u.Source, key: u.Key}
	before := len(s.contents)
	old := s.contents[o]
	for _, ms := range old.Services {
		delete(s.entry(ms.ServiceName()).declared, o)
	}
	for _, i := range instancesOf(old) {
		s.retract(o, i.InstanceKey)
		for _, use := range hostUses(i) {
			s.onHost.remove(use, i.Service)
		}
	}
	for _, ms := range u.Content.Services {
		s.entry(ms.ServiceName()).declared[o] = ms
	}
	for _, i := range instancesOf(u.Content) {
		e := s.entry(i.Service)
		e.instances[i.InstanceKey] = append(e.instances[i.InstanceKey], claim{owner: o, inst: i})
		for _, use := range hostUses(i) {
			s.onHost.add(use, i.Service)
		}
	}
	s.applyHosts(o, old.Hosts, u.Content.Hosts)
	if len(old.Routes) > 0 || len(u.Content.Routes) > 0 {
		s.dirtyRoutes = true
	}
	if u.Content.Empty() {
		delete(s.contents, o)
	} else {
		s.contents[o] = u.Content
	}
	return len(s.contents) - before
}

// hostUses is what the instance says of its host.
func hostUses(i source.Instance) []hostUse {
	uses := make([]hostUse, 0, 2)
	if i.Host != "" {
		uses = append(uses, hostUse{name: strings.ToLower(i.Host)})
	}
	if ip, ok := ipOf(i.Address); ok {
		uses = append(uses, hostUse{address: hostAddress{i.Network, ip}})
	}
	return uses
}

// applyHosts replaces what an owner said of hosts, and marks the services with
// instances on those that differ now.
func (s *state) applyHosts(o owner, old, next []*object.Host) {
	said := make(map[string]struct{}, len(next))
	for _, h := range next {
		said[h.Name] = struct{}{}
		s.applyHost(s.hosts.claim(h.Name, o.rank, o.source, h))
	}
	for _, h := range old {
		if _, ok := said[h.Name]; !ok {
			s.applyHost(s.hosts.claim(h.Name, o.rank, o.source, nil))
		}
	}
}

func (s *state) applyHost(was, now *object.Host) {
	if was == now {
		return
	}
	s.dirtyHosts = true
	mark := func(name registry.ServiceName) { s.dirty[name] = struct{}{} }
	for _, h := range []*object.Host{was, now} {
		if h == nil {
			continue
		}
		for _, name := range hostNames(h) {
			s.onHost.each(hostUse{name: name.text}, mark)
		}
		for _, a := range h.Spec.Addresses {
			if ip, ok := ipOf(a); ok {
				s.onHost.each(hostUse{address: hostAddress{h.Spec.Network, ip}}, mark)
			}
		}
	}
}

// share notes whose word holds on an object that several owners have.
func (s *state) share(id object.ID, holder Holder, owners int) {
	was, shared := s.shared[id]
	switch {
	case owners > 1 && (!shared || was != holder):
		s.shared[id] = holder
	case owners <= 1 && shared:
		delete(s.shared, id)
	default:
		return
	}
	s.dirtyShared = true
}

// entry returns the service's entry, made if need be, and marks it dirty.
func (s *state) entry(name registry.ServiceName) *entry {
	s.dirty[name] = struct{}{}
	e := s.services[name]
	if e == nil {
		e = &entry{
			declared:   map[owner]*object.MeshService{},
			instances:  map[registry.InstanceKey][]claim{},
			remembered: map[uint16]registry.Port{},
			warned:     map[string]struct{}{},
		}
		s.services[name] = e
	}
	return e
}

func (s *state) retract(o owner, key registry.InstanceKey) {
	e := s.entry(key.Service)
	claims := slices.DeleteFunc(e.instances[key], func(c claim) bool { return c.owner == o })
	if len(claims) == 0 {
		delete(e.instances, key)
		return
	}
	e.instances[key] = claims
}

// staticEpoch is before that of any process: who registers an address has it,
// not who declared it.
const staticEpoch = -1

// instancesOf are the instances of a content, those of the static endpoints
// of its services too. A static endpoint has no node: its address stands for
// one, behind a prefix that no node id may have.
func instancesOf(c source.Content) []source.Instance {
	all := slices.Clone(c.Instances)
	for _, ms := range c.Services {
		for _, ep := range ms.Endpoints {
			i := slices.IndexFunc(ms.Ports, func(p registry.Port) bool { return p.Name == ep.PortName })
			if i < 0 {
				continue // the object's validation does not let this through
			}
			all = append(all, source.Instance{Epoch: staticEpoch, Instance: registry.Instance{
				InstanceKey: registry.InstanceKey{
					Network: registry.DefaultNetwork, Node: "static:" + ep.Address,
					Service: ms.ServiceName(), PortName: ep.PortName,
				},
				Address: ep.Address, PortNumber: ms.Ports[i].Number, Protocol: ms.Ports[i].Protocol,
				Weight: ep.Weight, Locality: ep.Locality, Status: registry.StatusUp,
			}})
		}
	}
	return all
}

// change builds the next snapshot. It reports false, and leaves old as it is,
// where nothing differs.
func (s *state) change(old *Snapshot) (Change, bool) {
	next := &Snapshot{Services: old.Services, Routes: old.Routes, Shared: old.Shared}
	c := Change{Old: old, New: next, Hosts: s.dirtyHosts}
	s.dirtyHosts = false
	for name := range s.dirty {
		svc := s.build(name)
		if was := old.Services[name]; svc == nil && was == nil || svc != nil && was != nil && reflect.DeepEqual(svc, was) {
			continue
		}
		if len(c.Services) == 0 {
			next.Services = maps.Clone(old.Services)
		}
		c.Services = append(c.Services, name)
		if svc == nil {
			delete(next.Services, name)
		} else {
			next.Services[name] = svc
		}
	}
	slices.SortFunc(c.Services, func(a, b registry.ServiceName) int {
		return cmp.Or(strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Name, b.Name))
	})
	clear(s.dirty)
	if s.dirtyRoutes {
		next.Routes, c.Routes = s.routes(), true
		s.dirtyRoutes = false
	}
	if s.dirtyShared {
		next.Shared = maps.Clone(s.shared)
	}
	changed := s.dirtyShared || c.Routes || c.Hosts || len(c.Services) > 0
	s.dirtyShared = false
	return c, changed
}

// routes are all routes, once each: of two with the same identity the one of
// the source that comes first holds.
func (s *state) routes() []*object.HTTPRoute {
	type said struct {
		owner owner
		route *object.HTTPRoute
	}
	first := map[object.ID]said{}
	owners := map[object.ID]int{}
	for id := range s.shared {
		if id.Kind == object.KindHTTPRoute {
			owners[id] = 0 // perhaps nobody's any more
		}
	}
	for o, content := range s.contents {
		for _, r := range content.Routes {
			owners[r.ID]++
			if was, ok := first[r.ID]; !ok || o.compare(was.owner) < 0 {
				first[r.ID] = said{owner: o, route: r}
			}
		}
	}
	for id, n := range owners {
		f := first[id]
		holder := Holder{Source: f.owner.source}
		if f.route != nil {
			holder.Pos = f.route.Pos
		}
		s.share(id, holder, n)
	}
	all := make([]*object.HTTPRoute, 0, len(first))
	for _, f := range first {
		all = append(all, f.route)
	}
	slices.SortFunc(all, func(a, b *object.HTTPRoute) int {
		// A route of unknown age counts as the youngest.
		if !a.Created.Equal(b.Created) {
			switch {
			case a.Created.IsZero():
				return 1
			case b.Created.IsZero():
				return -1
			}
			return a.Created.Compare(b.Created)
		}
		return cmp.Or(strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Name, b.Name))
	})
	return all
}
