package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/outrigger-mesh/outrigger/middleware"
	"github.com/outrigger-mesh/outrigger/registry"
	"github.com/outrigger-mesh/outrigger/sidecar/internal/route"
	"github.com/outrigger-mesh/outrigger/sidecar/internal/upstream"
)

// Bounds of the directory.
const (
	// discoveryWait is how long the first request to a service waits for the
	// control plane to say what it is.
	discoveryWait = 3 * time.Second
	maxServices   = 4096
	maxAliases    = 4 * maxServices
)

// directory is the outbound listener's dispatcher: the services that the app
// calls, by the names that it calls them. A service is looked up at its first
// request: what is called is known, and nothing else.
//
// The hot path reads one pointer to a map that does not change, and the
// service's own pointer to its table.
type directory struct {
	namespace string
	chains    chainsFunc
	clusters  *upstream.Set
	log       *slog.Logger
	subscribe func(listener string) // nil: there is no control plane
	connected func() bool
	foreign   atomic.Pointer[passthrough] // nil: what is no service is refused

	aliases atomic.Pointer[map[string]*service]

	mu       sync.Mutex // held to change what follows, and aliases
	services map[string]*service
}

// service is one service and port, whether the control plane knows it or not.
type service struct {
	name   string // name.namespace:port
	static bool
	of     *upstream.Cluster           // where static
	table  atomic.Pointer[route.Table] // nil while it is not known, or does not exist
	told   chan struct{}               // closed once the control plane has said something of it
	once   sync.Once

	config  *route.Config // what table was compiled of; guarded by directory.mu
	cluster func(string) middleware.Picker
}

func newDirectory(namespace string, chains chainsFunc, clusters *upstream.Set, log *slog.Logger) *directory {
	d := &directory{
		namespace: namespace, chains: chains, clusters: clusters, log: log,
		services: map[string]*service{},
	}
	d.aliases.Store(&map[string]*service{})
	return d
}

// Match is proxy.Dispatcher's.
func (d *directory) Match(x *middleware.Exchange) *middleware.Target {
	var buf [128]byte
	key := lower(buf[:0], x.Request.Authority)
	s := (*d.aliases.Load())[string(key)]
	if s == nil {
		if s = d.lookup(string(key)); s == nil {
			return d.unknown(x, string(key))
		}
	}
	table := s.table.Load()
	if table == nil {
		if table = d.wait(x, s); table == nil {
			return d.missing(x, s, string(key))
		}
	}
	var host [128]byte
	return table.Match(route.Host(host[:0], x.Request.Authority), &x.Request)
}

func lower(buf, b []byte) []byte {
	for _, c := range b {
		if c >= 'A' && c <= 'Z' {
			c |= 0x20
		}
		buf = append(buf, c)
	}
	return buf
}

// lookup finds the service that an authority names, or makes it, so that it is
// asked for; nil where the authority cannot be a service's name.
func (d *directory) lookup(authority string) *service {
	name, port, ok := d.parse(authority)
	if !ok {
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	key := name.PortName(port)
	s := d.services[key]
	if s == nil {
		if d.subscribe == nil || len(d.services) >= maxServices && !d.forgetOne() {
			return nil
		}
		s = &service{name: key, told: make(chan struct{})}
		d.services[key] = s
	}
	d.alias(authority, s)
	return s
}

// parse reads name, name.namespace and either with a port, as an app writes
// them.
func (d *directory) parse(authority string) (registry.ServiceName, uint16, bool) {
	host, portText, withPort := strings.Cut(authority, ":")
	port := uint64(registry.DefaultPort)
	if withPort {
		var err error
		if port, err = strconv.ParseUint(portText, 10, 16); err != nil || port == 0 {
			return registry.ServiceName{}, 0, false
		}
	}
	name, namespace, withNamespace := strings.Cut(strings.TrimSuffix(host, "."), ".")
	if !withNamespace {
		namespace = d.namespace
	}
	if registry.CheckName(name) != nil || registry.CheckName(namespace) != nil {
		return registry.ServiceName{}, 0, false
	}
	return registry.ServiceName{Namespace: namespace, Name: name}, uint16(port), true
}

// alias makes the authority known to the hot path. d.mu is held.
func (d *directory) alias(authority string, s *service) {
	old := *d.aliases.Load()
	if old[authority] == s || len(old) >= maxAliases {
		return
	}
	next := make(map[string]*service, len(old)+1)
	maps.Copy(next, old)
	next[authority] = s
	d.aliases.Store(&next)
}

// forgetOne makes room by forgetting a service that does not exist, with its
// aliases. d.mu is held.
func (d *directory) forgetOne() bool {
	for key, s := range d.services {
		if s.static || s.table.Load() != nil {
			continue
		}
		delete(d.services, key)
		next := map[string]*service{}
		for k, v := range *d.aliases.Load() {
			if v != s {
				next[k] = v
			}
		}
		d.aliases.Store(&next)
		return true
	}
	return false
}

// compile makes the service's table of its routes. d.mu is held.
func (d *directory) compile(s *service) error {
	if s.config == nil {
		s.table.Store(nil)
		return nil
	}
	table, err := route.Compile(s.config, route.Builder{
		Listener: middleware.Outbound, Service: s.name, Cluster: s.cluster, Chains: d.chains,
	})
	if err != nil {
		return err
	}
	s.table.Store(table)
	return nil
}

// rebuild makes every table anew, with the chains in force.
func (d *directory) rebuild() error {
	if f := d.foreign.Load(); f != nil {
		f.rebuild()
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	var errs []error
	for _, s := range d.services {
		errs = append(errs, d.compile(s))
	}
	return errors.Join(errs...)
}

// setRoutes takes what the control plane says of a service; nil: there is none.
func (d *directory) setRoutes(name string, c *route.Config, cluster func(string) middleware.Picker) {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := d.services[name]
	if s == nil || s.static {
		return
	}
	s.config, s.cluster = c, cluster
	if err := d.compile(s); err != nil { // the xds room has validated it: a defect
		d.log.Error("routes not taken, the last ones stay", "service", name, "error", err)
		return
	}
	s.once.Do(func() { close(s.told) })
}

// wait asks for the service and waits until the control plane has spoken.
func (d *directory) wait(x *middleware.Exchange, s *service) *route.Table {
	if s.static || d.subscribe == nil {
		return s.table.Load()
	}
	d.subscribe(s.name)
	select {
	case <-s.told: // it had said before that there is none
		return s.table.Load()
	default:
	}
	timer := time.NewTimer(discoveryWait)
	defer timer.Stop()
	select {
	case <-s.told:
	case <-timer.C:
	case <-x.Context().Done():
	}
	return s.table.Load()
}

// known are the services that the control plane has described.
func (d *directory) known() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	var names []string
	for key, s := range d.services {
		if !s.static && s.table.Load() != nil {
			names = append(names, key)
		}
	}
	slices.Sort(names)
	return names
}

// warm asks for services before the app does, and waits until the control plane
// has said something of each. waiting is told which one it is.
func (d *directory) warm(ctx context.Context, names []string, waiting func(name string)) error {
	asked := make([]*service, 0, len(names))
	for _, name := range names {
		if s := d.lookup(name); s != nil && !s.static {
			d.subscribe(s.name)
			asked = append(asked, s)
		}
	}
	for _, s := range asked {
		select {
		case <-s.told:
			continue
		default:
			waiting(s.name)
		}
		select {
		case <-s.told:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// missing is the target for a service that has no table.
func (d *directory) missing(x *middleware.Exchange, s *service, authority string) *middleware.Target {
	select {
	case <-s.told:
		return d.unknown(x, authority)
	default:
	}
	message := fmt.Sprintf("the control plane has not said within %s what %s is", discoveryWait, s.name)
	if d.connected != nil && !d.connected() {
		message = fmt.Sprintf("%s is not known yet, and the control plane cannot be reached: is it running at discovery.xds.server?", s.name)
	}
	return d.refuse(http.StatusServiceUnavailable, middleware.ReasonDiscovery, message)
}

// unknown is the target for what is no service of the mesh.
func (d *directory) unknown(x *middleware.Exchange, authority string) *middleware.Target {
	foreign := d.foreign.Load()
	switch {
	case authority == "":
		return d.refuse(http.StatusBadRequest, middleware.ReasonUnknownHost, "the request names no host: send the service's name as Host")
	case foreign != nil:
		return foreign.target(x, authority)
	}
	hint := "name it under upstreams in sidecar.yaml, or set discovery.xds to ask a control plane"
	if d.subscribe != nil {
		hint = "register an instance of it, declare it as a MeshService, or set outbound.unknown to passthrough for hosts outside the mesh"
	}
	return d.refuse(http.StatusNotFound, middleware.ReasonUnknownHost, fmt.Sprintf("%q is no service of the mesh: %s", authority, hint))
}

func (d *directory) refuse(status int, reason middleware.Reason, message string) *middleware.Target {
	t := route.Refusal(&middleware.Route{Listener: middleware.Outbound}, status, reason, message)
	t.Use(d.chains(""))
	return t
}

// ServiceStatus is a service in the admin's dump.
type ServiceStatus struct {
	Name   string `json:"name"`
	Source string `json:"source"` // static or xds
	State  string `json:"state"`  // known, absent or pending
}

func (d *directory) status() any {
	d.mu.Lock()
	defer d.mu.Unlock()
	list := []ServiceStatus{}
	for _, s := range d.services {
		st := ServiceStatus{Name: s.name, Source: "xds", State: "known"}
		if s.static {
			st.Source = "static"
		}
		if s.table.Load() == nil {
			st.State = "pending"
			select {
			case <-s.told:
				st.State = "absent"
			default:
			}
		}
		list = append(list, st)
	}
	return sorted(list, func(s ServiceStatus) string { return s.Name })
}
