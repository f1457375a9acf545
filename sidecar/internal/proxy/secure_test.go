package proxy

import (
	"bufio"
	"context"
	"crypto/tls"
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

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/net/http2"

	"github.com/outrigger-mesh/outrigger/middleware"
	"github.com/outrigger-mesh/outrigger/middleware/middlewaretest"
	"github.com/outrigger-mesh/outrigger/sidecar/internal/secure"
	"github.com/outrigger-mesh/outrigger/sidecar/internal/secure/securetest"
	"github.com/outrigger-mesh/outrigger/sidecar/internal/upstream"
)

// world is an authority, and what it has issued.
type world struct {
	ca     *securetest.CA
	server *secure.KeyPair
	roots  secure.Source[secure.Bundle]
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{ca: securetest.NewCA(t, "mesh")}
	p := w.ca.Issue(t, securetest.Leaf{Hosts: []string{"127.0.0.1", "server"}})
	var err error
	if w.server, err = secure.ParseKeyPair(p.Cert, p.Key, time.Now()); err != nil {
		t.Fatal(err)
	}
	b, err := secure.ParseBundle(w.ca.PEM, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	w.roots = secure.Fixed(b)
	return w
}

// listener is TLS with the world's certificate.
func (w *world) listener(mode secure.Mode) *secure.Listener {
	l := secure.NewListener("test", nil)
	l.Set(secure.ServerOptions{Mode: mode, Certificates: []secure.Source[secure.KeyPair]{secure.Fixed(w.server)}, Clients: w.roots})
	return l
}

// dial is a client's connection with TLS. The identity may be empty.
func (w *world) dial(t testing.TB, address, identity string) *tls.Conn {
	t.Helper()
	c := &tls.Config{ServerName: "server", RootCAs: w.ca.Pool, MinVersion: tls.VersionTLS12}
	if identity != "" {
		c.Certificates = []tls.Certificate{w.ca.Issue(t, securetest.Leaf{URIs: []string{identity}}).TLS}
	}
	nc, err := (&tls.Dialer{Config: c}).DialContext(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = nc.Close() })
	return nc.(*tls.Conn)
}

// secureEngine is an engine with TLS to its client, and with TLS to the
// endpoints.
type secureEngine struct {
	name   string
	client func(t testing.TB, dial func(context.Context) (net.Conn, error)) http.RoundTripper
	alpn   string
}

func (e secureEngine) Name() string { return e.name }

func (e secureEngine) Start(t testing.TB, s middlewaretest.Setup) http.RoundTripper {
	w := newWorld(t)
	over := endpoints{upstream.Config{TLS: secure.NewClient(secure.ClientOptions{Roots: w.roots})}, w.start}
	address := serveSetup(t, s, over, Options{TLS: w.listener(secure.Strict)})
	config := &tls.Config{ServerName: "server", RootCAs: w.ca.Pool, NextProtos: []string{e.alpn}, MinVersion: tls.VersionTLS12}
	return e.client(t, func(ctx context.Context) (net.Conn, error) {
		return (&tls.Dialer{Config: config}).DialContext(ctx, "tcp", address)
	})
}

// start serves a handler over TLS.
func (w *world) start(t testing.TB, h http.Handler) string {
	srv := httptest.NewUnstartedServer(h)
	srv.EnableHTTP2 = true
	srv.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError) // handshakes that a hedge gave up
	srv.TLS = &tls.Config{Certificates: []tls.Certificate{w.server.Certificate}, MinVersion: tls.VersionTLS12}
	srv.StartTLS()
	t.Cleanup(srv.Close)
	return srv.Listener.Addr().String()
}

func TestEnginesKeepWhatMiddlewareIsPromisedOverTLS(t *testing.T) {
	t.Run("HTTP/1.1", func(t *testing.T) {
		middlewaretest.Run(t, secureEngine{"http1", func(t testing.TB, dial func(context.Context) (net.Conn, error)) http.RoundTripper {
			tr := &http.Transport{
				DialContext:        func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) },
				DisableCompression: true, MaxIdleConnsPerHost: 64,
			}
			t.Cleanup(tr.CloseIdleConnections)
			return tr
		}, secure.ProtoHTTP1})
	})
	t.Run("HTTP/2", func(t *testing.T) {
		middlewaretest.Run(t, secureEngine{"http2", func(t testing.TB, dial func(context.Context) (net.Conn, error)) http.RoundTripper {
			tr := &http2.Transport{
				AllowHTTP:          true,
				DialTLSContext:     func(ctx context.Context, _, _ string, _ *tls.Config) (net.Conn, error) { return dial(ctx) },
				DisableCompression: true,
			}
			t.Cleanup(tr.CloseIdleConnections)
			return tr
		}, secure.ProtoHTTP2})
	})
}

// introduced is a dispatcher that notes who the request is from.
type introduced struct {
	Dispatcher
	said chan string
}

func (i introduced) Match(x *middleware.Exchange) *middleware.Target {
	i.said <- string(x.Request.Scheme) + " " + x.Request.Peer.Identity
	return i.Dispatcher.Match(x)
}

// Streams serve one connection after the other: what one client is must not be
// what the next one is taken for.
func TestRequestsSayWhoTheyAreFrom(t *testing.T) {
	w := newWorld(t)
	cluster := app(t, func(rw http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprint(rw, r.Header.Get("X-Forwarded-Proto"))
	})
	i := introduced{to(cluster), make(chan string, 1)}
	address := serve(t, Options{Listener: "gateway", Dispatcher: i, Forwarded: true, TLS: w.listener(secure.Permissive)})
	for range 3 {
		for _, c := range []struct {
			conn        func() net.Conn
			said, proto string
		}{
			{func() net.Conn { return w.dial(t, address, "spiffe://mesh/orders") }, "https spiffe://mesh/orders", "https"},
			{func() net.Conn { return w.dial(t, address, "spiffe://mesh/users") }, "https spiffe://mesh/users", "https"},
			{func() net.Conn { return w.dial(t, address, "") }, "https ", "https"},
			{func() net.Conn { return dial(t, address).Conn }, "http ", "http"},
		} {
			nc := c.conn()
			if _, err := io.WriteString(nc, "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-Proto: forged\r\nConnection: close\r\n\r\n"); err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(nc)
			if err != nil || !strings.HasSuffix(string(got), "\r\n\r\n"+c.proto) {
				t.Errorf("%v %q", err, got)
			}
			if said := <-i.said; said != c.said {
				t.Errorf("%q, expected %q", said, c.said)
			}
		}
	}
}

func TestTheFirstByteDecides(t *testing.T) {
	w := newWorld(t)
	cluster := app(t, func(rw http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(rw, "served") })
	hello := "\x16\x03\x01\x00\x05hello"
	get := "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
	for name, c := range map[string]struct {
		mode   secure.Mode
		say    string
		want   string // in what comes back; empty: nothing does
		reason string // counted
	}{
		"plain to strict":       {secure.Strict, get, "this port speaks TLS", "tls_required"},
		"a part of a request":   {secure.Strict, "G", "this port speaks TLS", "tls_required"},
		"plain to permissive":   {secure.Permissive, get, "served", ""},
		"TLS to none":           {secure.Off, hello, "", "tls_unexpected"},
		"plain to none":         {secure.Off, get, "served", ""},
		"half TLS to strict":    {secure.Strict, "\x16GET / HTTP/1.1\r\n\r\n", "", ""},
		"broken TLS permissive": {secure.Permissive, hello, "\x15\x03", ""},
	} {
		t.Run(name, func(t *testing.T) {
			metrics := prometheus.NewRegistry()
			address := serve(t, Options{Listener: "inbound", Dispatcher: to(cluster), TLS: w.listener(c.mode), Metrics: NewMetrics(metrics)})
			nc := dial(t, address)
			nc.send(c.say)
			_ = nc.SetReadDeadline(time.Now().Add(10 * time.Second))
			got, err := io.ReadAll(nc.r)
			if err != nil && c.want != "" || !strings.Contains(string(got), c.want) || (len(got) == 0) != (c.want == "") {
				t.Errorf("%v %q, expected %q", err, got, c.want)
			}
			if c.reason == "tls_required" && !strings.HasPrefix(string(got), "HTTP/1.1 400 ") {
				t.Errorf("%q", got)
			}
			if n := malformed(t, metrics, c.reason); c.reason != "" && n != 1 {
				t.Errorf("counted %v times", n)
			}
		})
	}
}

func malformed(t *testing.T, r *prometheus.Registry, reason string) float64 {
	t.Helper()
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if f.GetName() == "outrigger_malformed_requests_total" && l.GetName() == "reason" && l.GetValue() == reason {
					return m.GetCounter().GetValue()
				}
			}
		}
	}
	return 0
}

// What a client sends behind its handshake, in the same packets, belongs to its
// requests; several are answered in their order.
func TestPipelinedRequestsOverTLS(t *testing.T) {
	w := newWorld(t)
	address := serve(t, Options{Listener: "inbound", Dispatcher: to(app(t, echo)), TLS: w.listener(secure.Strict)})
	nc := w.dial(t, address, "")
	var all strings.Builder
	for i := range 50 {
		body := strings.Repeat("x", i*100)
		fmt.Fprintf(&all, "POST /%d HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s", i, len(body), body)
	}
	all.WriteString("GET /last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
	go func() { _, _ = io.WriteString(nc, all.String()) }()
	got, err := io.ReadAll(nc)
	if n := strings.Count(string(got), "HTTP/1.1 200 OK"); err != nil || n != 51 {
		t.Errorf("%d answers, %v", n, err)
	}
}

// A client that goes away ends its request's work; one whose next request is
// there already does not, and that request is not lost by looking.
func TestAClientThatLeavesOverTLS(t *testing.T) {
	w := newWorld(t)
	canceled, served := make(chan struct{}, 8), atomic.Int64{}
	address := serve(t, Options{Listener: "inbound", TLS: w.listener(secure.Strict), Dispatcher: to(app(t, func(rw http.ResponseWriter, r *http.Request) {
		served.Add(1)
		if r.URL.Path == "/next" {
			_, _ = io.WriteString(rw, "next")
			return
		}
		limit := 20 * watchAfter
		if r.URL.Path == "/forever" {
			limit = time.Minute
		}
		select {
		case <-time.After(limit):
			_, _ = io.WriteString(rw, "slow")
		case <-r.Context().Done():
			canceled <- struct{}{}
		}
	}))})
	for name, leave := range map[string]func(*tls.Conn) error{
		"said":     (*tls.Conn).Close,
		"not said": func(c *tls.Conn) error { return c.NetConn().Close() },
	} {
		nc := w.dial(t, address, "")
		before := served.Load()
		if _, err := io.WriteString(nc, "GET /forever HTTP/1.1\r\nHost: a\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		for end := time.Now().Add(10 * time.Second); served.Load() == before; {
			if time.Now().After(end) {
				t.Fatal("the request never arrives")
			}
		}
		if err := leave(nc); err != nil {
			t.Fatal(err)
		}
		select {
		case <-canceled:
		case <-time.After(10 * time.Second):
			t.Fatalf("%s: the work goes on", name)
		}
	}
	nc := w.dial(t, address, "")
	if _, err := io.WriteString(nc, "GET /slow HTTP/1.1\r\nHost: a\r\n\r\nGET /next HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(nc)
	if err != nil || strings.Count(string(got), "HTTP/1.1 200 OK") != 2 || !strings.HasSuffix(string(got), "next") {
		t.Errorf("%v %q", err, got)
	}
}

// A response that breaks off must not look whole: the end of the connection is
// not announced.
func TestABrokenResponseOverTLSDoesNotSayThatItEnds(t *testing.T) {
	w := newWorld(t)
	address := serve(t, Options{Listener: "inbound", TLS: w.listener(secure.Strict), Dispatcher: to(app(t, func(rw http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(rw, "half")
		rw.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}))})
	nc := w.dial(t, address, "")
	if _, err := io.WriteString(nc, "GET / HTTP/1.0\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	// crypto/tls takes the end of the socket for an end; a reset it does not.
	if got, err := io.ReadAll(nc); err == nil {
		t.Errorf("it looks whole: %q", got)
	}
}

// An upgraded connection is a pipe over TLS too.
func TestUpgradeOverTLS(t *testing.T) {
	w := newWorld(t)
	cluster := rawApp(t, func(nc net.Conn, r *bufio.Reader) {
		for line := ""; line != "\r\n"; {
			var err error
			if line, err = r.ReadString('\n'); err != nil {
				return
			}
		}
		_, _ = io.WriteString(nc, "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n")
		_, _ = io.Copy(nc, r)
	})
	address := serve(t, Options{Listener: "inbound", Dispatcher: to(cluster), TLS: w.listener(secure.Strict)})
	nc := w.dial(t, address, "")
	if _, err := io.WriteString(nc, "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\nhello "); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(nc, "world"); err != nil {
		t.Fatal(err)
	}
	if err := nc.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(nc)
	if err != nil || !strings.HasSuffix(string(got), "\r\n\r\nhello world") {
		t.Errorf("%v %q", err, got)
	}
}

// A shutdown ends handshakes that are under way, and connections that wait.
func TestShutdownOverTLS(t *testing.T) {
	w := newWorld(t)
	s := New(Options{Listener: "inbound", Dispatcher: to(app(t, echo)), TLS: w.listener(secure.Strict)})
	ln := listen(t)
	done := make(chan error, 1)
	go func() { done <- s.Serve(ln) }()
	address := ln.Addr().String()
	idle := w.dial(t, address, "")
	if _, err := io.WriteString(idle, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if _, err := idle.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	half := dial(t, address)
	half.send("\x16\x03\x01\x02\x00\x01")
	fresh := w.dial(t, address, "")
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if err := s.Shutdown(ctx); err != nil {
		t.Error(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	if _, err := io.Copy(io.Discard, idle); err != nil { // with a goodbye
		t.Errorf("the idle one: %v", err)
	}
	_ = fresh.SetReadDeadline(time.Now().Add(5 * time.Second))
	if _, err := io.Copy(io.Discard, fresh); err != nil {
		t.Errorf("the new one: %v", err)
	}
}
