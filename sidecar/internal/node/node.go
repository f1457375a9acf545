package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	microregistry "go-micro.dev/v4/registry"

	"github.com/outrigger-mesh/outrigger/internal/ads"
	"github.com/outrigger-mesh/outrigger/internal/run"
	"github.com/outrigger-mesh/outrigger/middleware"
	"github.com/outrigger-mesh/outrigger/registry/mesh"
	"github.com/outrigger-mesh/outrigger/sidecar/internal/config"
	"github.com/outrigger-mesh/outrigger/sidecar/internal/proxy"
	"github.com/outrigger-mesh/outrigger/sidecar/internal/registrar"
	"github.com/outrigger-mesh/outrigger/sidecar/internal/upstream"
	"github.com/outrigger-mesh/outrigger/sidecar/internal/xds"
)

// Options of a Node.
type Options struct {
	Kinds   []middleware.Kind
	Logger  *slog.Logger
	Level   *slog.LevelVar // what the admin port may change; nil: nothing
	Version string
	// Registry is where the app is registered; nil: where the configuration
	// says.
	Registry microregistry.Registry
	// Serving, if set, is called once everything listens, with the addresses
	// by their configuration keys.
	Serving func(addresses map[string]string)
}

// Node is one sidecar or gateway.
type Node struct {
	config  *config.Config
	o       Options
	metrics *prometheus.Registry
	states  *middleware.States

	program     atomic.Pointer[program]
	generations generations
	reload      *reloader

	clusters  *upstream.Set
	directory *directory
	gateway   *gateway    // nil without listen.gateway
	xds       *xds.Client // nil without discovery.xds
	registry  *mesh.Registry
	registrar *registrar.Registrar // nil without an app

	listeners    listeners
	inboundPorts []*inbound
	proxies      []*proxy.Server
	draining     atomic.Bool
	serving      atomic.Bool
}

// Check finds every mistake of a configuration that can be found without
// starting anything.
func Check(c *config.Config, kinds []middleware.Kind) error {
	lists, err := parseMiddleware(c, kinds)
	if err != nil {
		return err
	}
	if err := checkServices(lists); err != nil {
		return err
	}
	g := middleware.NewStates().NewGeneration()
	_, err = newProgram(lists, middleware.Env{Logger: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry()}, g)
	return errors.Join(err, g.Close())
}

// New puts a node together. Nothing listens or connects before Run.
func New(c *config.Config, o Options) (*Node, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Node{
		config: c, o: o,
		metrics:   prometheus.NewRegistry(),
		states:    middleware.NewStates(),
		clusters:  upstream.NewSet(),
		listeners: listeners{},
	}
	s.metrics.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	s.generations.open = map[*middleware.Generation]struct{}{}
	s.directory = newDirectory(c.Node.Namespace, s.chains(middleware.Outbound), s.clusters, s.component("outbound"))
	if c.Listen.Gateway != "" {
		s.gateway = &gateway{name: c.GatewayListener(), chains: s.chains(middleware.Gateway), cluster: s.cluster}
	}
	if c.Discovery.XDS != nil {
		s.useControlPlane()
	}
	if c.Outbound.Unknown == config.UnknownPassthrough {
		s.directory.foreign = newPassthrough(s.chains(middleware.Outbound), s.clusters, s.own)
	}
	for _, p := range c.Ports() {
		s.inboundPorts = append(s.inboundPorts, s.inbound(p))
	}
	path, _ := c.MiddlewareFile()
	s.reload = &reloader{path: path, load: s.loadProgram, metrics: newReloadMetrics(s.metrics), status: ReloadStatus{File: path, Loaded: time.Now()}}
	if path != "" {
		s.reload.changed() // what is there now is what is loaded now
	}
	if err := errors.Join(s.loadProgram(), s.addUpstreams()); err != nil {
		return nil, errors.Join(err, s.generations.closeAll())
	}
	return s, nil
}

// chains gives the chains in force of a direction.
func (s *Node) chains(direction string) chainsFunc {
	return func(service string) *middleware.Chains {
		return s.program.Load().find(direction, service, s.config.Node.Namespace)
	}
}

func (s *Node) cluster(name string) middleware.Picker { return s.clusters.Ensure(name) }

func (s *Node) component(name string) *slog.Logger { return s.o.Logger.With("component", name) }

// addUpstreams makes the services of the configuration file.
func (s *Node) addUpstreams() error {
	var errs []error
	for written, u := range s.config.Upstreams {
		name, port, err := s.config.UpstreamKey(written)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		c := upstream.NewCluster(upstream.Config{
			Name: "static/" + name.PortName(port), Protocol: u.Protocol, ConnectTimeout: u.ConnectTimeout,
		})
		var endpoints []upstream.EndpointConfig
		for _, e := range u.Endpoints {
			endpoints = append(endpoints, upstream.EndpointConfig{Address: e.Address, Weight: e.Weight, Locality: e.Locality()})
		}
		c.SetEndpoints(endpoints)
		s.clusters.Add(c)
		errs = append(errs, s.directory.addStatic(name, port, c))
	}
	return errors.Join(errs...)
}

func (s *Node) useControlPlane() {
	x, n := s.config.Discovery.XDS, s.config.Node
	dial := ads.DialOptions{Server: x.Server, CAFile: x.CAFile, TokenFile: x.TokenFile, Plaintext: x.Plaintext}
	s.xds = xds.New(xds.Options{
		Dial: dial,
		Node: ads.Node{
			ID: n.ID, Cluster: n.Namespace, Locality: n.Locality(), Agent: "outrigger-sidecar", Version: s.o.Version,
			Metadata: map[string]string{"network": n.Network, "host": n.Host},
		},
		Logger:     s.o.Logger,
		Registerer: s.metrics,
	}, &sink{clusters: s.clusters, directory: s.directory, gateway: s.gateway, log: s.component("xds")})
	s.directory.subscribe = s.xds.Subscribe
	s.directory.connected = func() bool { return s.xds.Status().Stream.Connected }
	if s.gateway != nil {
		s.gateway.connected = s.directory.connected
	}
	if s.config.App == nil || s.config.Discovery.Registry.Kind == "" || s.o.Registry != nil {
		return
	}
	s.registry = mesh.New(mesh.Options{
		Dial: dial, Network: n.Network, Node: n.ID, Agent: "outrigger-sidecar/" + s.o.Version,
		TTL: s.config.Discovery.Registry.TTL, Logger: s.o.Logger,
	})
}

// Run binds all listeners, or none and says why, and serves until ctx ends.
// Then the app is deregistered, callers are given time to learn of it, requests
// in flight are finished, and Run returns nil.
func (s *Node) Run(ctx context.Context) error {
	if err := s.bind(); err != nil {
		s.listeners.close()
		return errors.Join(err, s.generations.closeAll())
	}
	if err := s.makeRegistrar(); err != nil {
		s.listeners.close()
		return errors.Join(err, s.generations.closeAll())
	}
	group := s.parts()
	s.serving.Store(true)
	s.announce()
	err := group.Run(ctx)
	return errors.Join(err, s.generations.closeAll())
}

// bind binds every listener that is on. Errors of all of them are returned.
func (s *Node) bind() error {
	l := s.config.Listen
	errs := []error{
		s.listeners.bind("listen.admin", l.Admin),
		s.listeners.bind("listen.metrics", l.Metrics),
		s.listeners.bind("listen.outbound", l.Outbound),
		s.listeners.bind("listen.gateway", l.Gateway),
	}
	for i, p := range s.config.Ports() {
		errs = append(errs, s.listeners.bind(inboundKey(i), p.Listen))
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return nil
}

func inboundKey(i int) string {
	if i == 0 {
		return "listen.inbound"
	}
	return fmt.Sprintf("app.ports[%d].listen", i)
}

// announce says in one line where everything listens.
func (s *Node) announce() {
	args := []any{"version", s.o.Version, "node", s.config.Node.ID}
	addresses := map[string]string{}
	for _, key := range slices.Sorted(maps.Keys(s.listeners)) {
		addresses[key] = s.listeners[key].Addr().String()
		args = append(args, key, addresses[key])
	}
	s.o.Logger.Info("serving", args...)
	if s.o.Serving != nil {
		s.o.Serving(addresses)
	}
}

// parts are what runs, in the order of their dependence: they are stopped in
// reverse, so that inbound is drained while outbound still works.
func (s *Node) parts() *run.Group {
	g := &run.Group{}
	g.Add("upstream", s.clusters.Run)
	g.Add("middleware", s.runReload)
	g.Add("admin", s.runAdmin)
	if ln := s.listeners["listen.metrics"]; ln != nil {
		g.Add("metrics", s.runMetrics(ln))
	}
	if s.xds != nil {
		if s.gateway != nil {
			s.xds.Subscribe(s.gateway.name)
		}
		g.Add("xds", s.xds.Run)
	}
	if s.registry != nil {
		g.Add("registry", func(ctx context.Context) error {
			<-ctx.Done()
			return s.registry.Close()
		})
	}
	engineMetrics := proxy.NewMetrics(s.metrics)
	if ln := s.listeners["listen.outbound"]; ln != nil {
		g.Add("outbound", s.serve(s.proxy(middleware.Outbound, s.directory, engineMetrics), ln, nil))
	}
	if ln := s.listeners["listen.gateway"]; ln != nil {
		g.Add("gateway", s.serve(s.proxy(middleware.Gateway, s.gateway, engineMetrics), ln, s.leave))
	}
	if s.registrar != nil {
		g.Add("registrar", s.registrar.Run)
	}
	for i, in := range s.inboundPorts {
		g.Add("inbound", s.serve(s.proxy(middleware.Inbound, in, engineMetrics), s.listeners[inboundKey(i)], s.leave))
	}
	return g
}

func (s *Node) proxy(listener string, d proxy.Dispatcher, m *proxy.Metrics) *proxy.Server {
	p := proxy.New(proxy.Options{
		Listener: listener, Dispatcher: d, Metrics: m, Logger: s.component(listener),
		TellUnsent: listener == middleware.Inbound,
		Forwarded:  listener == middleware.Gateway,
	})
	s.proxies = append(s.proxies, p)
	return p
}

// inbound is the way to one of the app's ports.
func (s *Node) inbound(p config.Port) *inbound {
	name := fmt.Sprintf("%s.%s/%s", s.config.App.Name, s.config.Node.Namespace, p.Name)
	c := upstream.NewAppCluster("app/"+p.Name, p.Address)
	s.clusters.Add(c)
	return &inbound{
		service: name, chains: s.chains(middleware.Inbound), cluster: c,
		route: &middleware.Route{Listener: middleware.Inbound, Service: name, Name: p.Name},
	}
}
