package upstream

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/outrigger-mesh/outrigger/middleware"
	"github.com/outrigger-mesh/outrigger/registry"
	"github.com/outrigger-mesh/outrigger/sidecar/internal/secure"
	"github.com/outrigger-mesh/outrigger/sidecar/internal/secure/securetest"
)

// authority is who has issued the servers' certificates.
type authority struct {
	*securetest.CA
	roots secure.Source[secure.Bundle]
}

func newAuthority(t *testing.T) authority {
	t.Helper()
	a := authority{CA: securetest.NewCA(t, "servers")}
	b, err := secure.ParseBundle(a.PEM, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	a.roots = secure.Fixed(b)
	return a
}

func (a authority) client() *secure.Client {
	return secure.NewClient(secure.ClientOptions{Roots: a.roots})
}

// serverTLS is a server of HTTP/1.1, and of HTTP/2 where both is set. It says
// the version that it was asked in.
func (a authority) server(t *testing.T, both bool) (address string, conns *atomic.Int64) {
	t.Helper()
	conns = &atomic.Int64{}
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.Proto)
	}))
	s.EnableHTTP2 = both
	s.TLS = &tls.Config{Certificates: []tls.Certificate{a.Issue(t, securetest.Leaf{Hosts: []string{"127.0.0.1"}}).TLS}, MinVersion: tls.VersionTLS12}
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError) // that clients do not trust it is what tests are about
	s.Config.ConnState = func(_ net.Conn, st http.ConnState) {
		if st == http.StateNew {
			conns.Add(1)
		}
	}
	s.StartTLS()
	t.Cleanup(s.Close)
	return s.Listener.Addr().String(), conns
}

func clusterTLS(t *testing.T, p registry.Protocol, client *secure.Client, addresses ...string) *Cluster {
	t.Helper()
	s := DefaultSettings()
	s.Outlier.Off = true
	c := NewCluster(Config{Name: "svc", Protocol: p, TLS: client, Settings: &s})
	c.SetEndpoints(endpoints(addresses...))
	t.Cleanup(c.Close)
	return c
}

func TestProtocolOverTLS(t *testing.T) {
	a := newAuthority(t)
	both, bothConns := a.server(t, true)
	old, oldConns := a.server(t, false)
	for _, tt := range []struct {
		declared registry.Protocol
		request  func(*Cluster) *middleware.Exchange
		address  string
		want     string // empty: no connection
	}{
		{registry.ProtocolHTTP, func(c *Cluster) *middleware.Exchange { return request(c) }, both, "HTTP/1.1"},
		{registry.ProtocolHTTP, request2, both, "HTTP/1.1"},
		{registry.ProtocolHTTP2, func(c *Cluster) *middleware.Exchange { return request(c) }, both, "HTTP/2.0"},
		{registry.ProtocolHTTP2, request2, both, "HTTP/2.0"},
		{registry.ProtocolHTTP2, request2, old, ""},
		{registry.ProtocolUndeclared, func(c *Cluster) *middleware.Exchange { return request(c) }, both, "HTTP/1.1"},
		{registry.ProtocolUndeclared, request2, both, "HTTP/2.0"},
		{registry.ProtocolUndeclared, request2, old, "HTTP/1.1"},
	} {
		c := clusterTLS(t, tt.declared, a.client(), tt.address)
		before := bothConns.Load() + oldConns.Load()
		var r response
		const requests = 5
		for range requests {
			if r = fetch(tt.request(c)); tt.want == "" {
				if r.reason != middleware.ReasonConnectFailed || !r.unsent || !strings.Contains(r.message, "the server agrees to no protocol that was offered (ALPN h2)") {
					t.Errorf("%s: %+v", tt.declared, r)
				}
				continue
			}
			if r.status != http.StatusOK || r.body != tt.want {
				t.Errorf("%s: %d %q %s, expected %s", tt.declared, r.status, r.body, r.message, tt.want)
			}
		}
		if n := bothConns.Load() + oldConns.Load() - before; tt.want != "" && n > 2 {
			t.Errorf("%s: %d connections for %d requests, one after the other", tt.declared, n, requests)
		}
	}
}

func TestACertificateThatIsNotAcceptedIsAFailureToConnect(t *testing.T) {
	a, strangers := newAuthority(t), newAuthority(t)
	address, _ := a.server(t, true)
	for _, p := range []registry.Protocol{registry.ProtocolHTTP, registry.ProtocolHTTP2, registry.ProtocolUndeclared} {
		c := clusterTLS(t, p, strangers.client(), address)
		r := fetch(request2(c))
		if r.status != http.StatusServiceUnavailable || r.reason != middleware.ReasonConnectFailed || !r.unsent {
			t.Errorf("%s: %+v", p, r)
		}
		for _, part := range []string{"certificate not accepted", address, "unknown authority"} {
			if !strings.Contains(r.body, part) {
				t.Errorf("%s: %q is not in %s", p, part, r.body)
			}
		}
	}
}

// A server that says nothing in the handshake holds a request no longer than one
// that does not answer the connection.
func TestTheHandshakeIsPartOfTheConnectTimeout(t *testing.T) {
	a := newAuthority(t)
	address := raw(t, func(c *net.TCPConn) { _, _ = io.Copy(io.Discard, c) })
	for _, p := range []registry.Protocol{registry.ProtocolHTTP, registry.ProtocolHTTP2} {
		s := DefaultSettings()
		c := NewCluster(Config{Name: "svc", Protocol: p, TLS: a.client(), Settings: &s, ConnectTimeout: 50 * time.Millisecond})
		c.SetEndpoints(endpoints(address))
		begin := time.Now()
		if r := fetch(request(c)); r.reason != middleware.ReasonConnectFailed || time.Since(begin) > 5*time.Second {
			t.Errorf("%s: %+v after %v", p, r, time.Since(begin))
		}
		c.Close()
	}
	// Who gives up meanwhile is not kept waiting either.
	c := clusterTLS(t, registry.ProtocolHTTP, a.client(), address)
	x := request(c)
	stop := time.AfterFunc(20*time.Millisecond, func() { x.Cancel(middleware.ErrClientGone) })
	defer stop.Stop()
	begin := time.Now()
	finish(x)
	if took := time.Since(begin); took > DefaultConnectTimeout/2 {
		t.Errorf("a canceled request ended after %v", took)
	}
}

// Connections of other TLS, or of none, are not used any more.
func TestChangedTLSMakesNewConnections(t *testing.T) {
	a, strangers := newAuthority(t), newAuthority(t)
	address, conns := a.server(t, true)
	for _, p := range []registry.Protocol{registry.ProtocolHTTP, registry.ProtocolHTTP2} {
		c := clusterTLS(t, p, a.client(), address)
		before := conns.Load()
		for range 3 {
			if r := fetch(request(c)); r.status != http.StatusOK {
				t.Fatalf("%+v", r)
			}
		}
		if n := conns.Load() - before; n != 1 {
			t.Fatalf("%d connections", n)
		}
		config := c.config
		c.Configure(config) // nothing has changed
		if r := fetch(request(c)); r.status != http.StatusOK || conns.Load()-before != 1 {
			t.Errorf("%+v, %d connections", r, conns.Load()-before)
		}
		config.TLS = strangers.client()
		c.Configure(config)
		if r := fetch(request(c)); r.reason != middleware.ReasonConnectFailed {
			t.Errorf("an old connection was used: %+v", r)
		}
		config.TLS = a.client()
		c.Configure(config)
		if r := fetch(request(c)); r.status != http.StatusOK {
			t.Errorf("%+v", r)
		}
		config.TLS = nil
		c.Configure(config)
		if r := fetch(request(c)); r.status == http.StatusOK {
			t.Errorf("plain text: %+v", r)
		}
	}
}

func TestChecksOverTLS(t *testing.T) {
	a, strangers := newAuthority(t), newAuthority(t)
	address, _ := a.server(t, true)
	grpcServer := func(t *testing.T) string {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		pair := a.Issue(t, securetest.Leaf{Hosts: []string{"127.0.0.1"}})
		srv, h := grpc.NewServer(grpc.Creds(credentials.NewServerTLSFromCert(&pair.TLS))), health.NewServer()
		h.SetServingStatus("users", healthpb.HealthCheckResponse_SERVING)
		healthpb.RegisterHealthServer(srv, h)
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			_ = srv.Serve(ln)
		}()
		t.Cleanup(func() {
			srv.Stop()
			<-ended
		})
		return ln.Addr().String()
	}(t)
	http2 := func(h *Health) {
		overHTTP("/")(h)
		h.HTTP.Protocol = registry.ProtocolHTTP2
	}
	for name, tt := range map[string]struct {
		kind    func(*Health)
		address string
	}{
		"tcp":    {func(h *Health) { h.TCP = &TCPCheck{} }, address},
		"http":   {overHTTP("/"), address},
		"http/2": {http2, address},
		"grpc":   {func(h *Health) { h.GRPC = &GRPCCheck{Service: "users"} }, grpcServer},
	} {
		for who, client := range map[string]*secure.Client{"trusted": a.client(), "not trusted": strangers.client()} {
			t.Run(fmt.Sprintf("%s, %s", name, who), func(t *testing.T) {
				s := DefaultSettings()
				checkEvery(10*time.Millisecond, tt.kind)(&s)
				c := NewCluster(Config{Name: "svc", TLS: client, Settings: &s})
				c.SetEndpoints(endpoints(tt.address))
				running(t, c)
				until(t, "it was checked", func() bool { return endpointStatus(c, tt.address).Check != nil })
				if got := endpointStatus(c, tt.address).Check; got.Healthy != (who == "trusted") {
					t.Errorf("check %+v", got)
				}
				c.Close()
			})
		}
	}
}

// Who calls from outside the mesh learns no addresses and names of instances.
func TestAGatewaysClientsAreNotToldOfInstances(t *testing.T) {
	a, strangers := newAuthority(t), newAuthority(t)
	address, _ := a.server(t, true)
	c := clusterTLS(t, registry.ProtocolHTTP, strangers.client(), address)
	for listener, told := range map[string]bool{middleware.Outbound: true, middleware.Gateway: false} {
		err := c.hostOf(address).connectFailed(attemptOf(t, c, listener), &secure.HandshakeError{Address: address, Err: errors.New("its certificate")})
		if got := strings.Contains(err.(*middleware.Reject).Message, address); got != told { //nolint:errorlint // it is one
			t.Errorf("%s: %v", listener, err)
		}
	}
}

// attemptOf is an attempt of a request that came to a listener.
func attemptOf(t *testing.T, c *Cluster, listener string) (got *middleware.Attempt) {
	t.Helper()
	x := middleware.NewExchange(wire{})
	x.SetTarget(&middleware.Target{
		Route: &middleware.Route{Listener: listener},
		Pick:  func(*middleware.Exchange) (middleware.Picker, error) { return c, nil },
		Try: middleware.TryHandlerFunc(func(a *middleware.Attempt) error {
			got = a
			return errors.New("not sent")
		}),
	})
	x.Serve(middleware.Router)
	return got
}
