package node

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/outrigger-mesh/outrigger/middleware"
	"github.com/outrigger-mesh/outrigger/registry"
	"github.com/outrigger-mesh/outrigger/sidecar/internal/admin"
	"github.com/outrigger-mesh/outrigger/sidecar/internal/config"
	"github.com/outrigger-mesh/outrigger/sidecar/internal/proxy"
	"github.com/outrigger-mesh/outrigger/sidecar/internal/tcp"
	"github.com/outrigger-mesh/outrigger/sidecar/internal/upstream"
)

// appPort is the way to one of the app's ports.
type appPort struct {
	address atomic.Pointer[string]
	http    *inbound // nil for a tcp port
}

func (p *appPort) target() string { return *p.address.Load() }

// setPorts makes the ways to the app's ports those of a configuration, and
// returns the names of those that are not needed any more.
func (s *Node) setPorts(c *config.Config) (gone []string) {
	kept := map[string]bool{}
	for _, p := range c.Ports() {
		kept[p.Name] = true
		a := s.apps[p.Name]
		if a == nil {
			a = &appPort{}
			s.apps[p.Name] = a
		}
		before := a.address.Swap(&p.Address)
		if p.Protocol == registry.ProtocolTCP {
			continue
		}
		if a.http == nil {
			a.http = s.inbound(c, p)
			continue
		}
		a.http.cluster.Configure(s.appConfig(c, p))
		if *before != p.Address {
			a.http.cluster.SetEndpoints([]upstream.EndpointConfig{{Address: p.Address}})
		}
	}
	for name := range s.apps {
		if !kept[name] {
			gone = append(gone, name)
			delete(s.apps, name)
		}
	}
	return gone
}

// inbound is the dispatcher of one of the app's http ports.
func (s *Node) inbound(c *config.Config, p config.Port) *inbound {
	name := fmt.Sprintf("%s.%s/%s", c.App.Name, c.Node.Namespace, p.Name)
	cluster := upstream.NewApp(s.appConfig(c, p), p.Address)
	s.clusters.Add(cluster)
	return &inbound{
		service: name, chains: s.chains(middleware.Inbound), cluster: cluster,
		route: &middleware.Route{Listener: middleware.Inbound, Service: name, Name: p.Name},
	}
}

func appCluster(port string) string { return "app/" + port }

// appConfig is the cluster of one of the app's ports.
func (s *Node) appConfig(c *config.Config, p config.Port) upstream.Config {
	return upstream.Config{Name: appCluster(p.Name), Protocol: p.Protocol, TLS: s.tls.client(c, p.TLS)}
}

// server makes what serves a listener.
func (s *Node) server(w wish) server {
	switch w.role {
	case roleAdmin:
		return newAdminServer(s.adminHandler(), s)
	case roleMetrics:
		mux := http.NewServeMux()
		mux.Handle("GET /metrics", promhttp.HandlerFor(s.metrics, promhttp.HandlerOpts{MaxRequestsInFlight: 4}))
		return newAdminServer(mux, s)
	case roleOutbound:
		return s.proxy(middleware.Outbound, s.directory)
	case roleGateway:
		return s.proxy(middleware.Gateway, s.gateway)
	case roleInbound:
	}
	a, l := s.apps[w.port], s.config.Load().Limits
	if w.protocol != registry.ProtocolTCP {
		return s.proxy(middleware.Inbound, a.http)
	}
	return tcp.New(tcp.Options{
		Port: w.port, Target: a.target, Logger: s.component("tcp"), Metrics: s.tcpMetrics,
		ConnectTimeout: l.TCP.ConnectTimeout, IdleTimeout: l.TCP.IdleTimeout, MaxConns: l.TCP.Connections,
	})
}

func (s *Node) proxy(listener string, d proxy.Dispatcher) *proxy.Server {
	l := s.config.Load().Limits
	return proxy.New(proxy.Options{
		Listener: listener, Dispatcher: d, Metrics: s.engineMetrics, Logger: s.component(listener),
		TellUnsent:  listener == middleware.Inbound,
		Forwarded:   listener == middleware.Gateway,
		Tunnels:     listener == middleware.Outbound,
		TLS:         s.tls.listeners[listener],
		HeadTimeout: l.HeadTimeout, KeepAlive: l.KeepAliveTimeout, BodyIdle: l.BodyIdleTimeout, MaxConns: l.Connections, Streams: l.Streams,
	})
}

// adminServer is the admin port's server in the form of the others.
type adminServer struct {
	handler http.Handler
	s       *Node
	ctx     context.Context
	cancel  context.CancelFunc
	wg      sync.WaitGroup
}

func newAdminServer(handler http.Handler, s *Node) *adminServer {
	a := &adminServer{handler: handler, s: s}
	a.ctx, a.cancel = context.WithCancel(context.Background())
	return a
}

// Serve is server's.
func (a *adminServer) Serve(ln net.Listener) error {
	a.wg.Add(1)
	defer a.wg.Done()
	return admin.NewServer(ln, a.handler, a.s.component("admin")).Run(a.ctx)
}

// Drain is server's: who looks at a sidecar that ends is welcome.
func (a *adminServer) Drain() {}

// Connections is server's: those to the admin port do not count.
func (a *adminServer) Connections() int { return 0 }

// Shutdown is server's. Requests have a moment, whatever ctx says.
func (a *adminServer) Shutdown(context.Context) error {
	a.cancel()
	a.wg.Wait()
	return nil
}
