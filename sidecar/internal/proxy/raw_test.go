package proxy

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/middleware"
	"github.com/outrigger-mesh/outrigger/registry"
	"github.com/outrigger-mesh/outrigger/sidecar/internal/upstream"
)

// to is a dispatcher with one cluster and no middleware.
func to(c *upstream.Cluster) *dispatcher {
	return &dispatcher{any: &middleware.Target{
		Route: &middleware.Route{Listener: "inbound", Service: "app"},
		Pick:  func(*middleware.Exchange) (middleware.Picker, error) { return c, nil },
		Try:   middleware.Transport,
	}}
}

func app(t testing.TB, h http.HandlerFunc) *upstream.Cluster {
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	c := upstream.NewApp(upstream.Config{Name: "app", Protocol: registry.ProtocolHTTP}, srv.Listener.Addr().String())
	t.Cleanup(c.Close)
	return c
}

// rawConn is a client that writes bytes.
type rawConn struct {
	net.Conn
	t testing.TB
	r *bufio.Reader
}

func dial(t testing.TB, address string) *rawConn {
	t.Helper()
	nc, err := new(net.Dialer).DialContext(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = nc.Close() })
	_ = nc.SetDeadline(time.Now().Add(10 * time.Second))
	return &rawConn{nc, t, bufio.NewReader(nc)}
}

func (c *rawConn) send(s string) {
	c.t.Helper()
	if _, err := io.WriteString(c, s); err != nil {
		c.t.Fatal(err)
	}
}

// answer is the head of a response.
type answer struct {
	StatusCode       int
	Header           http.Header
	TransferEncoding []string
	Close            bool
}

// response reads a response to a request of the method, and its body.
func (c *rawConn) response(method string) (answer, string) {
	c.t.Helper()
	resp, err := http.ReadResponse(c.r, &http.Request{Method: method})
	if err != nil {
		c.t.Fatalf("read response: %v", err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Fatalf("read body: %v", err)
	}
	return answer{resp.StatusCode, resp.Header, resp.TransferEncoding, resp.Close}, string(body)
}

func (c *rawConn) wantClosed() {
	c.t.Helper()
	if b, err := c.r.ReadByte(); err != io.EOF {
		c.t.Errorf("got byte %q, error %v; want the connection closed", b, err)
	}
}

func echo(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	w.Header().Set("X-Method", r.Method)
	_, _ = fmt.Fprintf(w, "%s %s", r.URL, body)
}

func TestMalformedRequestsGet400AsJSONAndTheConnectionIsClosed(t *testing.T) {
	var reached atomic.Int32
	address := serve(t, Options{Listener: "inbound", Dispatcher: to(app(t, func(http.ResponseWriter, *http.Request) { reached.Add(1) }))})
	cases := []struct {
		name, in string
		status   int
		reason   middleware.Reason
	}{
		{"bare LF", "GET / HTTP/1.1\nHost: a\n\n", 400, middleware.ReasonBadRequest},
		{"length and coding", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, middleware.ReasonBadRequest},
		{"two hosts", "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400, middleware.ReasonBadRequest},
		{"chunk extension", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;x\r\nabc\r\n0\r\n\r\n", 400, middleware.ReasonClientBody},
		{"large head", "GET / HTTP/1.1\r\nHost: a\r\nX: " + strings.Repeat("x", 70_000) + "\r\n\r\n", 431, middleware.ReasonHeadTooLarge},
		{"CONNECT", "CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n", 501, middleware.ReasonMethodRefused},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			conn := dial(t, address)
			conn.send(c.in)
			resp, body := conn.response("GET")
			var got struct {
				Error, Reason string
				RequestID     string `json:"request_id"`
			}
			if err := json.Unmarshal([]byte(body), &got); err != nil {
				t.Fatalf("body %q: %v", body, err)
			}
			if resp.StatusCode != c.status || got.Reason != string(c.reason) || got.Error == "" || len(got.RequestID) != 36 {
				t.Errorf("got %d %+v, want %d %s", resp.StatusCode, got, c.status, c.reason)
			}
			if c.reason != middleware.ReasonMethodRefused {
				conn.wantClosed()
			}
		})
	}
	if n := reached.Load(); n > 1 { // a body is found malformed when it is read
		t.Errorf("the app was reached %d times", n)
	}
}

func TestPipelinedRequestsAreAnsweredInOrder(t *testing.T) {
	conn := dial(t, serve(t, Options{Listener: "inbound", Dispatcher: to(app(t, echo))}))
	conn.send("POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc" +
		"POST /2 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\ndef\r\n0\r\n\r\n" +
		"HEAD /3 HTTP/1.1\r\nHost: a\r\n\r\n" +
		"GET http://a/4 HTTP/1.1\r\nHost: b\r\nConnection: close\r\n\r\n")
	for i, want := range []string{"/1 abc", "/2 def", "", "/4 "} {
		method := "GET"
		if i == 2 {
			method = "HEAD"
		}
		resp, body := conn.response(method)
		if body != want || resp.StatusCode != 200 {
			t.Errorf("response %d: %d %q, want %q", i+1, resp.StatusCode, body, want)
		}
	}
	conn.wantClosed()
}

func TestExpectContinueIsAnsweredWhenTheBodyIsWanted(t *testing.T) {
	conn := dial(t, serve(t, Options{Listener: "inbound", Dispatcher: to(app(t, echo))}))
	conn.send("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n")
	interim, _ := conn.response("POST")
	if interim.StatusCode != 100 {
		t.Fatalf("got %d, want 100", interim.StatusCode)
	}
	conn.send("abc")
	if _, body := conn.response("POST"); body != "/ abc" {
		t.Errorf("got %q", body)
	}
}

func TestOldClientsGetNoChunksAndNoKeepAliveUnlessTheyAsk(t *testing.T) {
	address := serve(t, Options{Listener: "inbound", Dispatcher: to(app(t, func(w http.ResponseWriter, _ *http.Request) {
		w.(http.Flusher).Flush()
		_, _ = io.WriteString(w, "streamed")
	}))})
	conn := dial(t, address)
	conn.send("GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n")
	resp, body := conn.response("GET")
	if body != "streamed" || len(resp.TransferEncoding) > 0 {
		t.Errorf("got %q, %v", body, resp.TransferEncoding)
	}
	conn.wantClosed()
}

func TestUpgradeIsAPipeWithBytesAlreadyBuffered(t *testing.T) {
	address := serve(t, Options{Listener: "inbound", Dispatcher: to(app(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") != "echo" || r.Header.Get("Connection") != "Upgrade" {
			http.Error(w, "no upgrade", http.StatusBadRequest)
			return
		}
		nc, rw, err := w.(http.Hijacker).Hijack()
		if err != nil {
			return
		}
		defer func() { _ = nc.Close() }()
		// The first bytes of the new protocol come in one piece with the head.
		_, _ = rw.WriteString("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nhello ")
		_ = rw.Flush()
		_, _ = io.Copy(nc, rw)
	}))})
	conn := dial(t, address)
	conn.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nfirst ")
	resp, err := http.ReadResponse(conn.r, nil)
	if err != nil || resp.StatusCode != 101 || resp.Header.Get("Upgrade") != "echo" {
		t.Fatalf("got %v, %v", resp, err)
	}
	defer func() { _ = resp.Body.Close() }()
	conn.send("second")
	if half, ok := conn.Conn.(*net.TCPConn); ok {
		_ = half.CloseWrite()
	}
	got, err := io.ReadAll(conn.r)
	if string(got) != "hello first second" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestH2CUpgradeIsServedWithoutIt(t *testing.T) {
	conn := dial(t, serve(t, Options{Listener: "inbound", Dispatcher: to(app(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprintf(w, "%q %q", r.Header.Get("Upgrade"), r.Header.Get("Http2-Settings"))
	}))}))
	conn.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n")
	if resp, body := conn.response("GET"); resp.StatusCode != 200 || body != `"" ""` {
		t.Errorf("got %d %s", resp.StatusCode, body)
	}
}

func TestOnlyRepliesThatReachedNoAppAreMarkedUnsent(t *testing.T) {
	dead := listen(t)
	_ = dead.Close()
	cases := []struct {
		name    string
		cluster *upstream.Cluster
		status  int
		marked  bool
	}{
		{"app away", upstream.NewApp(upstream.Config{Name: "app"}, dead.Addr().String()), 503, true},
		{"app breaks off", app(t, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }), 502, false},
		{"app's own answer, with a forged mark", app(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set(upstream.HeaderUnsent, "1")
			w.WriteHeader(http.StatusServiceUnavailable)
		}), 503, false},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			conn := dial(t, serve(t, Options{Listener: "inbound", Dispatcher: to(c.cluster), TellUnsent: true}))
			conn.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx")
			resp, _ := conn.response("POST")
			if marked := resp.Header.Get(upstream.HeaderUnsent) != ""; resp.StatusCode != c.status || marked != c.marked {
				t.Errorf("got %d, marked %v; want %d, %v", resp.StatusCode, marked, c.status, c.marked)
			}
		})
	}
}

func TestTheMarkReachesThePolicyAndNotTheClient(t *testing.T) {
	dead := listen(t)
	_ = dead.Close()
	inner := serve(t, Options{Listener: "inbound", Dispatcher: to(upstream.NewApp(upstream.Config{Name: "app"}, dead.Addr().String())), TellUnsent: true})
	c := upstream.NewCluster(upstream.Config{Name: "users.default:80"})
	c.SetEndpoints([]upstream.EndpointConfig{{Address: inner, Status: registry.StatusUp}})
	t.Cleanup(c.Close)
	d := to(c)
	var unsent atomic.Bool
	d.any.Policy = policyFunc(func(as []*middleware.Attempt) bool {
		if last := as[len(as)-1]; !last.Running() {
			unsent.Store(last.Unsent())
		}
		return false
	})
	conn := dial(t, serve(t, Options{Listener: "outbound", Dispatcher: d}))
	conn.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
	resp, _ := conn.response("POST")
	if resp.StatusCode != 503 || resp.Header.Get(upstream.HeaderUnsent) != "" || !unsent.Load() {
		t.Errorf("got %d, %v, unsent %v", resp.StatusCode, resp.Header, unsent.Load())
	}
}

type policyFunc func([]*middleware.Attempt) bool

func (f policyFunc) Next(_ *middleware.Exchange, as []*middleware.Attempt) (bool, time.Duration) {
	return f(as), 0
}

// TestAClosedKeepAliveConnectionCostsNoRequest: the app closes each connection
// after one request without saying so.
func TestAClosedKeepAliveConnectionCostsNoRequest(t *testing.T) {
	ln := listen(t)
	t.Cleanup(func() { _ = ln.Close() })
	go func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = nc.Close() }()
				if r, err := http.ReadRequest(bufio.NewReader(nc)); err == nil {
					_, _ = io.Copy(io.Discard, r.Body)
					_, _ = io.WriteString(nc, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
				}
			}()
		}
	}()
	c := upstream.NewApp(upstream.Config{Name: "app"}, ln.Addr().String())
	t.Cleanup(c.Close)
	conn := dial(t, serve(t, Options{Listener: "inbound", Dispatcher: to(c)}))
	for i := range 200 {
		conn.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		if resp, _ := conn.response("GET"); resp.StatusCode != 200 {
			t.Fatalf("request %d: %d", i, resp.StatusCode)
		}
	}
}

func TestShutdownFinishesWhatIsInFlightAndClosesWhatIsIdle(t *testing.T) {
	begun, release := make(chan struct{}), make(chan struct{})
	s := New(Options{Listener: "inbound", Dispatcher: to(app(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			close(begun)
			<-release
		}
		_, _ = io.WriteString(w, "whole")
	}))})
	ln := listen(t)
	served := make(chan error, 1)
	go func() { served <- s.Serve(ln) }()
	idle, busy := dial(t, ln.Addr().String()), dial(t, ln.Addr().String())
	idle.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	idle.response("GET")
	busy.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
	<-begun
	s.Drain()
	idle.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	if resp, _ := idle.response("GET"); !resp.Close || resp.StatusCode != 200 {
		t.Errorf("while draining: %d, close %v; want 200 and the word that the connection ends", resp.StatusCode, resp.Close)
	}
	done := make(chan error, 1)
	go func() { done <- s.Shutdown(context.WithoutCancel(t.Context())) }()
	idle.wantClosed()
	if err := <-served; err != nil {
		t.Errorf("serve: %v", err)
	}
	close(release)
	if resp, body := busy.response("GET"); body != "whole" || !resp.Close {
		t.Errorf("in flight: %q, close %v", body, resp.Close)
	}
	if err := <-done; err != nil {
		t.Errorf("shutdown: %v", err)
	}
}

func TestShutdownThatTakesTooLongSaysHowManyWereCutOff(t *testing.T) {
	stuck, begun := make(chan struct{}), make(chan struct{})
	s := New(Options{Listener: "inbound", Dispatcher: to(app(t, func(http.ResponseWriter, *http.Request) {
		close(begun)
		<-stuck
	}))})
	t.Cleanup(func() { close(stuck) }) // before the app is closed
	ln := listen(t)
	go func() { _ = s.Serve(ln) }()
	conn := dial(t, ln.Addr().String())
	conn.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	<-begun
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	err := s.Shutdown(ctx)
	if err == nil || !strings.Contains(err.Error(), "1 connection closed") {
		t.Errorf("got %v", err)
	}
}

func TestConnectionsAboveTheLimitGet503(t *testing.T) {
	address := serve(t, Options{Listener: "inbound", Dispatcher: to(app(t, echo)), MaxConns: 1})
	first := dial(t, address)
	first.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	first.response("GET")
	second := dial(t, address)
	if resp, body := second.response("GET"); resp.StatusCode != 503 || !strings.Contains(body, "overload") {
		t.Errorf("got %d %s", resp.StatusCode, body)
	}
}

func TestASlowHeadIsCutOffAndASilentConnectionToo(t *testing.T) {
	address := serve(t, Options{Listener: "inbound", Dispatcher: to(app(t, echo)), HeadTimeout: 50 * time.Millisecond})
	slow := dial(t, address)
	slow.send("GET / HT")
	if resp, body := slow.response("GET"); resp.StatusCode != 408 || !strings.Contains(body, "head_timeout") {
		t.Errorf("got %d %s", resp.StatusCode, body)
	}
	dial(t, address).wantClosed()
}

func TestForwardedFieldsAreAddedAtTheEdge(t *testing.T) {
	conn := dial(t, serve(t, Options{Listener: "gateway", Forwarded: true, Dispatcher: to(app(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprintf(w, "%s|%s", r.Header.Get("X-Forwarded-For"), r.Header.Get("X-Forwarded-Proto"))
	}))}))
	conn.send("GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 192.0.2.1\r\nX-Forwarded-For: 192.0.2.2\r\n\r\n")
	// Of several lines each counts: the last one is the hop that can be trusted.
	if _, body := conn.response("GET"); body != "192.0.2.1, 192.0.2.2, 127.0.0.1|http" {
		t.Errorf("got %s", body)
	}
}

// Some clients ask for h2c with every request that they make without TLS.
func TestAnOfferOfH2CBesideABodyIsLeftAlone(t *testing.T) {
	address := serve(t, Options{Listener: "inbound", Dispatcher: to(app(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		_, _ = fmt.Fprintf(w, "%s %q %q", body, r.Header["Upgrade"], r.Header["Http2-Settings"])
	}))})
	c := dial(t, address)
	c.send("POST / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\nContent-Length: 3\r\n\r\nabc")
	if got, body := c.response("POST"); got.StatusCode != http.StatusOK || body != `abc [] []` {
		t.Errorf("%d %q", got.StatusCode, body)
	}
}
