package node

import (
	"errors"
	"maps"
	"reflect"

	"github.com/outrigger-mesh/outrigger/middleware"
	"github.com/outrigger-mesh/outrigger/sidecar/internal/config"
	"github.com/outrigger-mesh/outrigger/sidecar/internal/route"
	"github.com/outrigger-mesh/outrigger/sidecar/internal/upstream"
)

// setUpstreams makes the services of a configuration those of the directory.
// What is as in old is not touched; of what has changed, connections to
// endpoints that stay are kept. The names have been validated.
func (s *Node) setUpstreams(old, next *config.Config) error {
	var before map[string]config.Upstream
	if old != nil {
		before = old.Upstreams
	}
	statics := map[string]*upstream.Cluster{}
	var errs []error
	for written, u := range next.Upstreams {
		name, port, err := next.UpstreamKey(written)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		key := name.PortName(port)
		c := s.clusters.Get(staticName(key))
		if was, ok := before[written]; c == nil || !ok || !reflect.DeepEqual(was, u) {
			settings, endpoints := staticCluster(staticName(key), u)
			settings.TLS = s.tls.client(next, u.TLS)
			c = s.clusters.Put(settings)
			c.SetEndpoints(endpoints)
		}
		statics[key] = c
	}
	gone, err := s.directory.setStatics(statics)
	for _, key := range gone {
		s.clusters.Remove(staticName(key))
	}
	return errors.Join(append(errs, err)...)
}

func staticName(key string) string { return "static/" + key }

// setStatics makes the services with these clusters the static ones, and
// returns those that are not any more.
func (d *directory) setStatics(clusters map[string]*upstream.Cluster) (gone []string, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	replaced := map[*service]*service{} // nil: by nothing
	for key, s := range d.services {
		if s.static && clusters[key] == nil {
			gone = append(gone, key)
			replaced[s] = nil
			delete(d.services, key)
		}
	}
	var errs []error
	for key, c := range clusters {
		old := d.services[key]
		if old != nil && old.static && old.of == c {
			continue
		}
		s := newStatic(key, c)
		errs = append(errs, d.compile(s))
		d.services[key] = s
		if old != nil {
			replaced[old] = s
		}
	}
	if len(replaced) > 0 {
		next := maps.Clone(*d.aliases.Load())
		for alias, s := range next {
			switch by, ok := replaced[s]; {
			case !ok:
			case by == nil:
				delete(next, alias)
			default:
				next[alias] = by
			}
		}
		d.aliases.Store(&next)
	}
	return gone, errors.Join(errs...)
}

// newStatic is a service of the configuration file's.
func newStatic(key string, c *upstream.Cluster) *service {
	s := &service{name: key, static: true, of: c, told: make(chan struct{})}
	s.config = &route.Config{Name: key, VirtualHosts: []route.VirtualHost{{
		Name: key, Domains: []string{"*"},
		Routes: []route.Route{{Name: "static", Clusters: []route.WeightedCluster{{Name: c.Name(), Weight: 1}}}},
	}}}
	s.cluster = func(string) middleware.Picker { return c }
	return s
}
