package node

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	microregistry "go-micro.dev/v4/registry"

	"github.com/outrigger-mesh/outrigger/internal/ads"
	"github.com/outrigger-mesh/outrigger/internal/run"
	"github.com/outrigger-mesh/outrigger/middleware"
	"github.com/outrigger-mesh/outrigger/registry/mesh"
	"github.com/outrigger-mesh/outrigger/sidecar/internal/config"
	"github.com/outrigger-mesh/outrigger/sidecar/internal/handover"
	"github.com/outrigger-mesh/outrigger/sidecar/internal/proxy"
	"github.com/outrigger-mesh/outrigger/sidecar/internal/systemd"
	"github.com/outrigger-mesh/outrigger/sidecar/internal/tcp"
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

	// Load reads the configuration again; nil: it stays as it is. It is called
	// when its file has changed, and at each Reload.
	Load   func() (*config.Config, error)
	Reload <-chan os.Signal
	// Args is the command line of a process that takes over, without the
	// program's name.
	Args []string
	// Sockets are listening sockets that were bound by somebody else.
	Sockets []Socket
	// Predecessor is the process that this one takes the place of; nil: none.
	Predecessor *handover.Predecessor
	// Notify tells the service manager how this process is; nil: there is none.
	Notify func(state string) error
}

// Node is one sidecar or gateway.
type Node struct {
	o         Options
	namespace string
	metrics   *prometheus.Registry
	states    *middleware.States

	config      atomic.Pointer[config.Config] // in force
	program     atomic.Pointer[program]
	generations generations
	// changing is held by who changes what is in force: a reload, or an
	// upgrade, which there must be no reload in the middle of.
	changing    sync.Mutex
	reload      *reloader
	reloadProxy *reloader // of the middleware

	clusters  *upstream.Set
	directory *directory
	gateway   *gateway
	xds       *xds.Client // nil without discovery.xds
	tls       *security
	apps      map[string]*appPort // by the port's name
	member    *membership

	doors         *doors
	engineMetrics *proxy.Metrics
	tcpMetrics    *tcp.Metrics
	draining      atomic.Bool
	serving       atomic.Bool
	opened        chan struct{}     // closed when the doors are open
	upgrades      *net.UnixListener // nil without upgrade.socket
	handed        chan struct{}     // closed when another process has taken over
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
	if p := o.Predecessor; p != nil {
		if err := p.Check(c.Identity()); err != nil {
			return nil, err
		}
	}
	s := &Node{
		o: o, namespace: c.Node.Namespace,
		metrics:  prometheus.NewRegistry(),
		states:   middleware.NewStates(),
		clusters: upstream.NewSet(),
		apps:     map[string]*appPort{},
		doors:    newDoors(),
		opened:   make(chan struct{}),
		handed:   make(chan struct{}),
	}
	s.config.Store(c)
	s.metrics.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	s.engineMetrics, s.tcpMetrics = proxy.NewMetrics(s.metrics), tcp.NewMetrics(s.metrics)
	s.tls = newSecurity(s.component("tls"), s.metrics)
	plan, err := s.tls.prepare(c)
	if err != nil {
		return nil, err
	}
	s.tls.commit(plan)
	s.generations.open = map[*middleware.Generation]struct{}{}
	s.directory = newDirectory(c.Node.Namespace, s.chains(middleware.Outbound), s.clusters, s.component("outbound"))
	s.gateway = &gateway{chains: s.chains(middleware.Gateway), cluster: s.cluster}
	s.member = newMembership(s.component("registry"), s.metrics)
	s.useRegistry(c)
	if c.Discovery.XDS != nil {
		s.useControlPlane(c)
	}
	s.setGateway(c)
	s.setForeign(c)
	_ = s.setPorts(c)
	s.watchFiles(c)
	lists, err := s.buildProgram(c)
	if err == nil {
		err = errors.Join(s.putProgram(lists), s.equipClusters(c.Node), s.setUpstreams(nil, c))
	}
	if err != nil {
		return nil, errors.Join(err, s.member.close(), s.generations.closeAll())
	}
	return s, nil
}

// chains gives the chains in force of a direction.
func (s *Node) chains(direction string) chainsFunc {
	return func(service string) *middleware.Chains {
		return s.program.Load().find(direction, service, s.namespace)
	}
}

func (s *Node) cluster(name string) middleware.Picker { return s.clusters.Ensure(name) }

func (s *Node) component(name string) *slog.Logger { return s.o.Logger.With("component", name) }

func dialOptions(x *config.XDS) ads.DialOptions {
	return ads.DialOptions{Server: x.Server, CAFile: x.CAFile, TokenFile: x.TokenFile, Plaintext: x.Plaintext}
}

func (s *Node) useControlPlane(c *config.Config) {
	n := c.Node
	s.xds = xds.New(xds.Options{
		Dial: dialOptions(c.Discovery.XDS),
		Node: ads.Node{
			ID: n.ID, Cluster: n.Namespace, Locality: n.Locality(), Agent: "outrigger-sidecar", Version: s.o.Version,
			Metadata: map[string]string{"network": n.Network, "host": n.Host},
		},
		Logger:     s.o.Logger,
		Registerer: s.metrics,
	}, &sink{clusters: s.clusters, directory: s.directory, gateway: s.gateway, log: s.component("xds")})
	s.directory.subscribe = s.xds.Subscribe
	s.directory.connected = func() bool { return s.xds.Status().Stream.Connected }
	s.gateway.connected = s.directory.connected
}

// useRegistry says where the app is registered.
func (s *Node) useRegistry(c *config.Config) {
	ttl := c.Discovery.Registry.TTL
	s.member.ttl = ttl
	switch {
	case c.App == nil:
	case s.o.Registry != nil:
		s.member.renew = ttl / 3 // a registry of the caller's may forget what is not repeated
		s.member.use(s.o.Registry, nil)
	case c.Discovery.Registry.Kind != "" && c.Discovery.XDS != nil:
		s.member.use(nil, func() *mesh.Registry {
			return mesh.New(mesh.Options{
				Dial: dialOptions(c.Discovery.XDS), Network: c.Node.Network, Node: c.Node.ID, Agent: "outrigger-sidecar/" + s.o.Version,
				TTL: ttl, Logger: s.o.Logger,
			})
		})
	}
}

// setGateway says which gateway listen.gateway is, where it is on.
func (s *Node) setGateway(c *config.Config) {
	if c.Listen.Gateway == "" {
		s.gateway.name.Store(nil)
		return
	}
	name := c.GatewayListener()
	s.gateway.name.Store(&name)
	if s.xds != nil {
		s.xds.Subscribe(name)
	}
}

// setForeign says what is done with hosts that are no service.
func (s *Node) setForeign(c *config.Config) {
	old := s.directory.foreign.Load()
	if on := c.Outbound.Unknown == config.UnknownPassthrough; on == (old != nil) {
		return
	}
	if old != nil {
		s.directory.foreign.Store(nil)
		old.close()
		return
	}
	s.directory.foreign.Store(newPassthrough(s.chains(middleware.Outbound), s.clusters, s.doors.own))
}

// Run binds all listeners, or none and says why, and serves until ctx ends, or
// another process has taken over. Then the app is deregistered (unless the
// other process has it), callers are given time to learn of it, requests in
// flight are finished, and Run returns nil.
func (s *Node) Run(ctx context.Context) error {
	if err := s.bind(); err != nil {
		return errors.Join(err, s.member.close(), s.generations.closeAll())
	}
	// In the order of their dependence: they are stopped in reverse.
	g := &run.Group{}
	g.Add("upstream", s.clusters.Run)
	g.Add("memory", run.KeepSmall)
	g.Add("tls", s.tls.files.Run)
	if s.xds != nil {
		g.Add("xds", s.xds.Run)
	}
	g.Add("registry", func(ctx context.Context) error {
		<-ctx.Done()
		return s.member.close()
	})
	g.Add("listeners", s.serve)
	g.Add("reload", s.runReload)
	if s.upgrades != nil {
		g.Add("upgrade", s.runUpgrade)
	}
	err := g.Run(ctx)
	return errors.Join(err, s.generations.closeAll())
}

// bind binds every listener that is on, or none and says all that is wrong.
func (s *Node) bind() error {
	c, given := s.config.Load(), newSockets(s.o.Sockets)
	err := s.bindUpgrade(given)
	if err != nil {
		given.close()
		return err
	}
	change, err := s.doors.prepare(wishes(c), given)
	if unused := given.close(); len(unused) > 0 {
		s.o.Logger.Warn("sockets were given that no listener of the configuration has", "sockets", unused)
	}
	if err == nil && c.App != nil {
		if s.member.service, err = instances(c, change.bound()); err != nil {
			change.undo()
		}
	}
	if err != nil {
		if s.upgrades != nil {
			s.upgrades.SetUnlinkOnClose(s.o.Predecessor == nil)
			err = errors.Join(err, s.upgrades.Close())
		}
		return err
	}
	s.doors.commit(change)
	return nil
}

// serve opens the doors and keeps them open until ctx ends, one fails, or
// another process has taken over.
func (s *Node) serve(ctx context.Context) error {
	if s.config.Load().App != nil {
		s.member.ours = s.o.Predecessor == nil
		s.member.watch(s.healthOptions(s.config.Load()))
	}
	if s.o.Predecessor != nil {
		if err := s.succeed(ctx); err != nil {
			for _, d := range s.doors.list() {
				d.close()
			}
			return err
		}
	} else {
		s.open()
	}
	var err error
	select {
	case <-ctx.Done():
	case err = <-s.doors.failed:
	case <-s.handed:
		s.retreat()
		return nil
	}
	s.end()
	return err
}

// open has every door served, and says so.
func (s *Node) open() {
	for _, d := range s.doors.list() {
		d.open(s.server(d.wish), s.doors.failed)
	}
	s.serving.Store(true)
	close(s.opened)
	s.announce()
	s.notify(systemd.Ready)
}

// announce says in one line where everything listens.
func (s *Node) announce() {
	args := []any{"version", s.o.Version, "node", s.config.Load().Node.ID}
	addresses := map[string]string{}
	for _, d := range s.doors.list() {
		addresses[d.key] = d.ln.Addr().String()
		args = append(args, d.key, addresses[d.key])
	}
	s.o.Logger.Info("serving", args...)
	if s.o.Serving != nil {
		s.o.Serving(addresses)
	}
}
