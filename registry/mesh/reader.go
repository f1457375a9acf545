package mesh

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/outrigger-mesh/outrigger/internal/ads"
	"github.com/outrigger-mesh/outrigger/registry"
)

// reader follows the names of all services and the endpoints of some. It is
// fed by the goroutine of run; others wait for changes.
type reader struct {
	opts   Options
	client *ads.Client
	ended  chan struct{} // closed when run has ended

	mu      sync.Mutex
	changed chan struct{} // closed at each change, and replaced
	named   bool          // the names of all services are subscribed to
	synced  bool          // and have been answered
	ports   map[string]struct{}
	// services are the port names of each service, sorted.
	services map[registry.ServiceName][]string
	follow   map[registry.ServiceName]struct{} // whose endpoints are wanted, of ports to come too
	watchers int                               // of everything
	ends     map[string]*endpoints             // by port name
	revision uint64
}

// endpoints are those of one port of a service. They are not changed once set.
type endpoints struct {
	known     bool
	revision  uint64 // of the last change
	instances []registry.Instance
	single    bool // asked for by its port, not as part of a service
	watched   int  // watchers of this port
}

func newReader(o Options, log *slog.Logger) *reader {
	r := &reader{
		opts:     o,
		ended:    make(chan struct{}),
		changed:  make(chan struct{}),
		ports:    map[string]struct{}{},
		services: map[registry.ServiceName][]string{},
		follow:   map[registry.ServiceName]struct{}{},
		ends:     map[string]*endpoints{},
	}
	node := ads.Node{ID: o.Node, Agent: o.Agent, Metadata: map[string]string{"network": o.Network}}
	if node.ID == "" {
		node.ID = "registry"
	}
	r.client = ads.New(ads.Options{Dial: o.Dial, Node: node, Backoff: o.Backoff, Logger: log}, ads.HandlerFunc(r.handle))
	return r
}

func (r *reader) run(ctx context.Context) {
	defer close(r.ended)
	_ = r.client.Run(ctx) // it ends with ctx only, and then without an error
}

// handle takes an update of the control plane.
func (r *reader) handle(u ads.Update) []ads.Rejection {
	r.mu.Lock()
	defer r.mu.Unlock()
	var rejections []ads.Rejection
	switch u.Type {
	case ads.ClusterType:
		r.synced = true
		for _, c := range u.Added {
			r.appear(c.Name)
		}
		for _, name := range u.Removed {
			r.vanish(name)
		}
	case ads.EndpointType:
		for _, e := range u.Added {
			instances, err := decode(e.Name, e.Body)
			if err != nil {
				rejections = append(rejections, ads.Rejection{Name: e.Name, Err: err})
				continue
			}
			r.set(e.Name, instances)
		}
		for _, name := range u.Removed {
			r.set(name, nil)
		}
	}
	close(r.changed)
	r.changed = make(chan struct{})
	return rejections
}

// appear notes a service's port; the lock is held. Clusters that are no
// service's have other names.
func (r *reader) appear(port string) {
	name, _, err := registry.ParsePortName(port)
	if _, ok := r.ports[port]; ok || err != nil {
		return
	}
	r.ports[port] = struct{}{}
	ports := append(slices.Clone(r.services[name]), port)
	slices.Sort(ports)
	r.services[name] = ports
	if _, ok := r.follow[name]; ok || r.watchers > 0 {
		r.ask(port)
	}
}

// vanish forgets a service's port; the lock is held.
func (r *reader) vanish(port string) {
	if _, ok := r.ports[port]; !ok {
		return
	}
	delete(r.ports, port)
	name, _, _ := registry.ParsePortName(port) // it parsed when it appeared
	rest := slices.DeleteFunc(slices.Clone(r.services[name]), func(p string) bool { return p == port })
	if r.services[name] = rest; len(rest) == 0 {
		delete(r.services, name)
	}
	if e := r.ends[port]; e != nil && !e.single {
		r.forget(port)
	}
}

// ask subscribes to a port's endpoints; the lock is held.
func (r *reader) ask(port string) *endpoints {
	e := r.ends[port]
	if e == nil {
		e = &endpoints{}
		r.ends[port] = e
		r.client.Subscribe(ads.EndpointType, port)
	}
	return e
}

func (r *reader) forget(port string) {
	delete(r.ends, port)
	r.client.Unsubscribe(ads.EndpointType, port)
}

func (r *reader) set(port string, instances []registry.Instance) {
	e := r.ends[port]
	if e == nil {
		return
	}
	r.revision++
	e.known, e.instances, e.revision = true, instances, r.revision
}

// names subscribes to the names of all services; the lock is held.
func (r *reader) names() {
	if !r.named {
		r.named = true
		r.client.Subscribe(ads.ClusterType, ads.Wildcard)
	}
}

// wait waits until ready, which is called with the lock held, says so.
func (r *reader) wait(ctx context.Context, ready func() bool) error {
	if ctx == nil {
		ctx = context.Background()
	}
	timer := time.NewTimer(r.opts.Timeout)
	defer timer.Stop()
	for {
		r.mu.Lock()
		ok, changed := ready(), r.changed
		r.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		case <-r.ended:
			return ErrClosed
		case <-timer.C:
			if why := r.client.Status().LastError; why != "" {
				return fmt.Errorf("the control plane has not answered: %s", why)
			}
			return errors.New("the control plane has not answered")
		}
	}
}

// lookup returns the instances of a service, or of one port of it. It reports
// whether there is such a service.
func (r *reader) lookup(ctx context.Context, name registry.ServiceName, port uint16) ([]registry.Instance, bool, error) {
	var out []registry.Instance
	found := false
	err := r.wait(ctx, func() bool {
		var ports []string
		if port != 0 {
			ports = []string{name.PortName(port)}
		} else {
			r.names()
			if !r.synced {
				return false
			}
			if ports = r.services[name]; len(ports) == 0 {
				return true
			}
			r.follow[name] = struct{}{}
		}
		known := true
		out = nil
		for _, p := range ports {
			e := r.ask(p)
			e.single = e.single || port != 0
			known = known && e.known
			out = append(out, e.instances...)
		}
		if !known {
			return false
		}
		found = len(out) > 0
		r.release(ports)
		return true
	})
	return out, found, err
}

// release gives up ports that were asked for by themselves and are nobody's.
func (r *reader) release(ports []string) {
	for _, p := range ports {
		e := r.ends[p]
		name, _, _ := registry.ParsePortName(p) // it is made of a name and a port
		_, followed := r.follow[name]
		if _, exists := r.ports[p]; e.single && e.watched == 0 && len(e.instances) == 0 && !exists && !followed {
			r.forget(p)
		}
	}
}

// list returns the names of all services.
func (r *reader) list(ctx context.Context) ([]registry.ServiceName, error) {
	var out []registry.ServiceName
	err := r.wait(ctx, func() bool {
		r.names()
		out = slices.Collect(maps.Keys(r.services))
		return r.synced
	})
	return out, err
}
