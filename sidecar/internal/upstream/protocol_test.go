package upstream

import (
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/outrigger-mesh/outrigger/middleware"
	"github.com/outrigger-mesh/outrigger/registry"
	"github.com/outrigger-mesh/outrigger/sidecar/internal/secure"
)

// bilingual is a server of HTTP/1.1 and of HTTP/2 by prior knowledge.
func bilingual(t *testing.T, h http.HandlerFunc) string {
	s := httptest.NewUnstartedServer(h)
	s.Config.Protocols = new(http.Protocols)
	s.Config.Protocols.SetHTTP1(true)
	s.Config.Protocols.SetUnencryptedHTTP2(true)
	s.Start()
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

func TestAnUndeclaredEndpointIsSpokenToAsTheClientSpeaks(t *testing.T) {
	c := cluster2(t, registry.ProtocolUndeclared, nil, bilingual(t, echo))
	for range 3 {
		for x, want := range map[*middleware.Exchange]string{
			request(c):  "HTTP/1.1 GET 0",
			request2(c): "HTTP/2.0 GET 0",
			withBody(request(c), ready{bytes.NewReader([]byte("x"))}, 1):  "HTTP/1.1 POST 1",
			withBody(request2(c), ready{bytes.NewReader([]byte("x"))}, 1): "HTTP/2.0 POST 1",
		} {
			if a := fetch(x); a.status != 200 || !strings.EqualFold(a.header["X-Proto"]+a.header["x-proto"], want) {
				t.Errorf("%+v, want %s", a, want)
			}
		}
	}
	empty2(t, c)
}

// elders are servers that do not speak HTTP/2, by what they make of its preface.
func elders(t *testing.T, conns *atomic.Int64) map[string]string {
	serve := func(nc net.Conn, head []byte) {
		defer nc.Close()
		for !bytes.Contains(head, []byte("\r\n\r\n")) {
			b := make([]byte, 1024)
			n, err := nc.Read(b)
			if err != nil {
				return
			}
			head = append(head, b[:n]...)
		}
		_, _ = nc.Write([]byte("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello"))
	}
	// other serves a connection, and what begins as HTTP/2 as f says.
	other := func(f func(net.Conn)) string {
		return raw(t, func(nc *net.TCPConn) {
			conns.Add(1)
			go func() {
				b := make([]byte, 3)
				if _, err := io.ReadFull(nc, b); err != nil {
					_ = nc.Close()
				} else if string(b) != "PRI" {
					serve(nc, b)
				} else {
					f(nc)
					_ = nc.Close()
				}
			}()
		})
	}
	gone := make(chan struct{})
	t.Cleanup(func() { close(gone) })
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("hello")) }))
	s.Config.ConnState = func(_ net.Conn, st http.ConnState) {
		if st == http.StateNew {
			conns.Add(1)
		}
	}
	s.Start()
	t.Cleanup(s.Close)
	return map[string]string{
		"says so in HTTP":  other(func(nc net.Conn) { _, _ = nc.Write([]byte("HTTP/1.1 505 HTTP Version Not Supported\r\n\r\n")) }),
		"says so in words": other(func(nc net.Conn) { _, _ = nc.Write([]byte("?\r\n")) }),
		"closes":           other(func(net.Conn) {}),
		"resets":           other(func(nc net.Conn) { _ = nc.(*net.TCPConn).SetLinger(0) }),
		"says nothing":     other(func(nc net.Conn) { _, _ = io.Copy(io.Discard, nc); <-gone }),
		"net/http":         s.Listener.Addr().String(),
	}
}

func TestAnUndeclaredEndpointThatDoesNotSpeakHTTP2(t *testing.T) {
	var conns atomic.Int64
	for name, address := range elders(t, &conns) {
		t.Run(name, func(t *testing.T) {
			c := cluster2(t, registry.ProtocolUndeclared, func(s *Settings) { s.Pool.MaxIdlePerEndpoint = 0 }, address)
			c.Configure(Config{Name: "svc", ConnectTimeout: 100 * time.Millisecond, Settings: c.settings})
			conns.Store(0)
			b := newBackground(t)
			for range 5 { // in one burst
				b.start(request2(c))
			}
			for range 5 {
				if r := <-b.results; r.status != 200 {
					t.Errorf("%+v", r)
				}
			}
			for _, body := range []io.Reader{ready{bytes.NewReader([]byte("x"))}, strings.NewReader("x")} {
				if a := fetch(withBody(request2(c), body, 1)); a.status != 200 || a.body != "hello" {
					t.Errorf("%+v", a)
				}
			}
			if n := conns.Load(); n != 8 {
				t.Errorf("%d connections, want 8: one to ask for HTTP/2, and one for each request", n)
			}
			// After some time it is asked again.
			h := c.hostOf(address)
			if until := time.Unix(0, h.spoken.onlyHTTP1.Load()); time.Until(until) > onlyHTTP1For || time.Until(until) < onlyHTTP1For/2 {
				t.Errorf("it is taken for a server of HTTP/1.1 until %s", until)
			}
			h.spoken.onlyHTTP1.Store(time.Now().UnixNano())
			finish(request2(c))
			if n := conns.Load(); n != 9 {
				t.Errorf("%d connections, want 9: it speaks HTTP/1.1, and that does", n)
			}
			call := request2(c)
			call.Request.Method = []byte("POST")
			call.Request.Header.Set("content-type", "application/grpc")
			finish(call)
			if n := conns.Load(); n != 11 {
				t.Errorf("%d connections, want 11: for a gRPC call it is asked again", n)
			}
			h.spoken.onlyHTTP1.Store(time.Now().Add(-plainHTTP1For).UnixNano())
			finish(request2(c))
			if n := conns.Load(); n != 13 {
				t.Errorf("%d connections, want 13: it may be another server by now", n)
			}
			empty2(t, c)
		})
	}
}

// TestAnEndpointThatHasSpokenHTTP2IsNotTakenForAnother: that it closes a
// connection does not say that it has forgotten how to speak HTTP/2.
func TestAnEndpointThatHasSpokenHTTP2IsNotTakenForAnother(t *testing.T) {
	var ill atomic.Bool
	var old atomic.Int64
	s := newServer2(t, &http2.Server{}, always(200))
	front := raw(t, func(nc *net.TCPConn) {
		if ill.Load() {
			_ = nc.Close()
			return
		}
		go func() {
			defer nc.Close()
			up, err := net.Dial("tcp", s.address)
			if err != nil {
				return
			}
			defer up.Close()
			go func() { _, _ = io.Copy(up, nc); _ = up.Close() }()
			b := make([]byte, 4096)
			for {
				n, err := up.Read(b)
				if bytes.HasPrefix(b[:n], []byte("HTTP/1")) {
					old.Add(1)
				}
				if _, werr := nc.Write(b[:n]); err != nil || werr != nil {
					return
				}
			}
		}()
	})
	c := cluster2(t, registry.ProtocolUndeclared, func(s *Settings) { s.Pool.MaxRequestsPerConnection = 1 }, front)
	if r := finish(request2(c)); r.status != 200 {
		t.Fatalf("%+v", r)
	}
	ill.Store(true)
	if r := finish(request2(c)); r.status != 503 || r.reason != middleware.ReasonConnectFailed || !r.unsent {
		t.Errorf("%+v, want that it may be tried elsewhere", r)
	}
	ill.Store(false)
	if r := finish(request2(c)); r.status != 200 || old.Load() != 0 {
		t.Errorf("%+v; it was asked %d times over HTTP/1.1", r, old.Load())
	}
	empty2(t, c)
}

func TestUpgradeToAnEndpointOfHTTP2(t *testing.T) {
	seen := make(chan string, 10)
	address := bilingual(t, func(w http.ResponseWriter, r *http.Request) {
		seen <- r.Proto + " " + r.Header.Get("Upgrade")
		w.WriteHeader(http.StatusUpgradeRequired)
	})
	for p, want := range map[registry.Protocol]int{
		registry.ProtocolHTTP2: 501, registry.ProtocolGRPC: 501, registry.ProtocolUndeclared: 426, registry.ProtocolHTTP: 426,
	} {
		c := cluster2(t, p, nil, address)
		x := request(c)
		x.Request.Upgrade = []byte("websocket")
		r := fetch(x)
		if r.status != want || want == 501 && (r.reason != middleware.ReasonUpgradeRefused || !strings.Contains(r.message, "declare a port of its own for websocket")) {
			t.Errorf("%q: %+v, want %d", p, r, want)
		}
	}
	for range 2 {
		if got := <-seen; got != "HTTP/1.1 websocket" {
			t.Errorf("the endpoint saw %q", got)
		}
	}
	if len(seen) != 0 {
		t.Errorf("the endpoint saw %q too", <-seen)
	}
}

// TestTranslation: what one version says is what the other one understands.
func TestTranslation(t *testing.T) {
	trailers := func(x *middleware.Exchange) *middleware.Exchange {
		x.Request.Header.Add("te", "trailers")
		x.Request.Header.Add("trailer", "x-sum")
		x.Request.Trailer.Add("x-sum", "7")
		return x
	}
	for name, tt := range map[string]struct {
		protocol registry.Protocol
		in       func(*Cluster) *middleware.Exchange
		proto    string
		trailer  string
	}{
		"HTTP/2 to HTTP/1.1": {registry.ProtocolHTTP, func(c *Cluster) *middleware.Exchange {
			return withBody(request2(c), strings.NewReader("hello"), 5)
		}, "HTTP/1.1 POST 5", ""},
		"HTTP/2 to HTTP/1.1, trailers": {registry.ProtocolHTTP, func(c *Cluster) *middleware.Exchange {
			return trailers(withBody(request2(c), strings.NewReader("hello"), -1))
		}, "HTTP/1.1 POST -1", "7"},
		"HTTP/2 to HTTP/1.1, ready": {registry.ProtocolHTTP, func(c *Cluster) *middleware.Exchange {
			return withBody(request2(c), ready{bytes.NewReader([]byte("hello"))}, -1)
		}, "HTTP/1.1 POST -1", ""},
		"HTTP/1.1 to HTTP/2": {registry.ProtocolHTTP2, func(c *Cluster) *middleware.Exchange {
			return withBody(request(c), strings.NewReader("hello"), 5)
		}, "HTTP/2.0 POST 5", ""},
		"HTTP/1.1 to HTTP/2, trailers": {registry.ProtocolHTTP2, func(c *Cluster) *middleware.Exchange {
			return trailers(withBody(request(c), strings.NewReader("hello"), -1))
		}, "HTTP/2.0 POST -1", "7"},
		"HTTP/2 to HTTP/2, ready with trailers": {registry.ProtocolGRPC, func(c *Cluster) *middleware.Exchange {
			return trailers(withBody(request2(c), ready{bytes.NewReader([]byte("hello"))}, -1))
		}, "HTTP/2.0 POST -1", "7"},
	} {
		t.Run(name, func(t *testing.T) {
			c := cluster2(t, tt.protocol, nil, bilingual(t, echo))
			a := fetch(tt.in(c))
			get := func(m map[string]string, name string) string { return m[name] + m[http.CanonicalHeaderKey(name)] }
			if a.status != 200 || a.body != "hello" || get(a.header, "x-proto") != tt.proto ||
				get(a.header, "x-trailer") != tt.trailer || get(a.trailer, "x-end") != "yes" {
				t.Errorf("%+v", a)
			}
			empty2(t, c)
		})
	}
}

func TestAnUndeclaredEndpointWithTLSSaysWhatItSpeaks(t *testing.T) {
	for name, tt := range map[string]struct {
		http2 bool
		want  string
	}{"h2": {true, "HTTP/2.0 GET 0"}, "http/1.1": {false, "HTTP/1.1 GET 0"}} {
		t.Run(name, func(t *testing.T) {
			var conns atomic.Int64
			s := httptest.NewUnstartedServer(http.HandlerFunc(echo))
			s.EnableHTTP2 = tt.http2
			s.Config.ConnState = func(_ net.Conn, st http.ConnState) {
				if st == http.StateNew {
					conns.Add(1)
				}
			}
			s.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
			s.StartTLS()
			t.Cleanup(s.Close)
			set := DefaultSettings()
			c := NewCluster(Config{
				Name: "svc", Settings: &set, TLS: secure.NewClient(secure.ClientOptions{InsecureSkipVerify: true}),
			})
			c.SetEndpoints(endpoints(s.Listener.Addr().String()))
			t.Cleanup(c.Close)
			for range 3 {
				if a := fetch(request2(c)); a.status != 200 || a.header["x-proto"]+a.header["X-Proto"] != tt.want {
					t.Errorf("%+v, want %s", a, tt.want)
				}
			}
			if n := conns.Load(); n != 1 {
				t.Errorf("%d connections, want 1", n)
			}
			if a := fetch(request(c)); a.status != 200 || a.header["X-Proto"] != "HTTP/1.1 GET 0" {
				t.Errorf("%+v, want HTTP/1.1", a)
			}
			empty2(t, c)
		})
	}
}

// TestACallOfGRPCGoesOutOverHTTP2HoweverItCame: by gRPC-Web, say, to a server of
// which nothing is declared.
func TestACallOfGRPCGoesOutOverHTTP2HoweverItCame(t *testing.T) {
	s := newServer2(t, &http2.Server{}, func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.Proto) })
	c := cluster2(t, registry.ProtocolUndeclared, nil, s.address)
	x := request(c)
	x.Request.Method = []byte("POST")
	x.Request.Header.Set("content-type", "application/grpc")
	if a := fetch(x); a.status != 200 || a.body != "HTTP/2.0" {
		t.Errorf("%+v", a)
	}
}
