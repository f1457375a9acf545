package proxy

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/outrigger-mesh/outrigger/middleware"
	"github.com/outrigger-mesh/outrigger/middleware/middlewaretest"
	"github.com/outrigger-mesh/outrigger/registry"
	"github.com/outrigger-mesh/outrigger/sidecar/internal/route"
	"github.com/outrigger-mesh/outrigger/sidecar/internal/upstream"
)

func TestHTTP1EngineKeepsWhatMiddlewareIsPromised(t *testing.T) {
	middlewaretest.Run(t, engine{"http1", client})
}

func TestHTTP2EngineKeepsWhatMiddlewareIsPromised(t *testing.T) {
	middlewaretest.Run(t, engine{"http2", client2})
}

// engine is an engine between a client and net/http's servers.
type engine struct {
	name   string
	client func(t testing.TB, address string) http.RoundTripper
}

func (e engine) Name() string { return e.name }

func (e engine) Start(t testing.TB, s middlewaretest.Setup) http.RoundTripper {
	plain := endpoints{upstream.Config{Protocol: registry.ProtocolHTTP}, func(t testing.TB, h http.Handler) string {
		srv := httptest.NewServer(h)
		t.Cleanup(srv.Close)
		return srv.Listener.Addr().String()
	}}
	return e.client(t, serveSetup(t, s, plain, Options{}))
}

// endpoints is how the suite's handlers are served, and spoken to.
type endpoints struct {
	config upstream.Config
	start  func(t testing.TB, h http.Handler) (address string)
}

// serveSetup serves a setup of the suite, and returns the address.
func serveSetup(t testing.TB, s middlewaretest.Setup, e endpoints, o Options) string {
	d := &dispatcher{
		chain:  middleware.Chain(middleware.Router, s.Request...),
		others: map[string]*middleware.Target{},
	}
	try := middleware.TryChain(middleware.Transport, s.Try...)
	target := func(name string, handlers []http.Handler) *middleware.Target {
		p := e.inTurn(t, name, handlers)
		return &middleware.Target{
			Chain:  d.chain,
			Route:  &middleware.Route{Listener: "outbound", Service: name, Name: name},
			Pick:   func(*middleware.Exchange) (middleware.Picker, error) { return p, nil },
			Try:    try,
			Policy: s.Policy,
		}
	}
	d.any = target("backends", s.Backends)
	for host, handlers := range s.Others {
		d.others[host] = target(host, handlers)
	}
	o.Listener, o.Dispatcher = "outbound", d
	return serve(t, o)
}

type dispatcher struct {
	chain  middleware.Handler
	any    *middleware.Target
	others map[string]*middleware.Target
}

func (d *dispatcher) Match(x *middleware.Exchange) *middleware.Target {
	var buf [128]byte
	if t := d.others[string(route.Host(buf[:0], x.Request.Authority))]; t != nil {
		return t
	}
	return d.any
}

// inTurn sends attempt n to endpoint n modulo their number.
type inTurn []*upstream.Cluster

func (p inTurn) Pick(a *middleware.Attempt) (*middleware.Endpoint, error) {
	return p[a.Number%len(p)].Pick(a)
}

// inTurn serves the handlers; nil is an endpoint that refuses connections.
func (e endpoints) inTurn(t testing.TB, name string, handlers []http.Handler) inTurn {
	var p inTurn
	for _, h := range handlers {
		config := e.config
		config.Name = name
		c := upstream.NewCluster(config)
		var address string
		if h == nil {
			ln := listen(t)
			address = ln.Addr().String()
			_ = ln.Close()
		} else {
			address = e.start(t, h)
		}
		c.SetEndpoints([]upstream.EndpointConfig{{Address: address, Status: registry.StatusUp}})
		t.Cleanup(c.Close)
		p = append(p, c)
	}
	return p
}

func listen(t testing.TB) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return ln
}

// serve runs a server until the test ends and returns its address.
func serve(t testing.TB, o Options) string {
	t.Helper()
	s := New(o)
	ln := listen(t)
	done := make(chan error, 1)
	go func() { done <- s.Serve(ln) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 10*time.Second)
		defer cancel()
		if err := s.Shutdown(ctx); err != nil {
			t.Errorf("shutdown: %v", err)
		}
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return ln.Addr().String()
}

// client sends every request to the address, whatever its URL's host.
func client(t testing.TB, address string) http.RoundTripper {
	tr := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "tcp", address)
		},
		DisableCompression:  true,
		MaxIdleConnsPerHost: 64,
	}
	t.Cleanup(tr.CloseIdleConnections)
	return tr
}

// client2 is client over HTTP/2, without TLS.
func client2(t testing.TB, address string) http.RoundTripper {
	tr := &http2.Transport{
		AllowHTTP: true,
		DialTLSContext: func(ctx context.Context, _, _ string, _ *tls.Config) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", address)
		},
		DisableCompression: true,
	}
	t.Cleanup(tr.CloseIdleConnections)
	return tr
}
