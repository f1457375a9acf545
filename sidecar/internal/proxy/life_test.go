package proxy

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/middleware"
	"github.com/outrigger-mesh/outrigger/registry"
	"github.com/outrigger-mesh/outrigger/sidecar/internal/upstream"
)

// rawApp is an app that speaks bytes.
func rawApp(t *testing.T, f func(net.Conn, *bufio.Reader)) *upstream.Cluster {
	t.Helper()
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
				f(nc, bufio.NewReader(nc))
			}()
		}
	}()
	c := upstream.NewApp(upstream.Config{Name: "app", Protocol: registry.ProtocolHTTP}, ln.Addr().String())
	t.Cleanup(c.Close)
	return c
}

func TestABrokenUploadEndsAResponseThatHasBegun(t *testing.T) {
	c := rawApp(t, func(nc net.Conn, br *bufio.Reader) {
		r, err := http.ReadRequest(br)
		if err != nil {
			return
		}
		_, _ = io.WriteString(nc, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
		_, _ = nc.Write(bytes.Repeat([]byte("x"), 12<<20))
		_, _ = io.ReadAll(r.Body)
		_, _ = br.ReadByte()
	})
	conn := dial(t, serve(t, Options{Listener: "inbound", Dispatcher: to(c)}))
	conn.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
	if _, err := conn.r.Peek(1); err != nil { // the response has begun
		t.Fatal(err)
	}
	conn.send("ZZ\r\n")
	_ = conn.SetDeadline(time.Now().Add(3 * time.Second))
	if _, err := io.Copy(io.Discard, conn.r); err == nil || isTimeout(err) {
		t.Errorf("not broken off: %v", err)
	}
}

func TestShutdownServesRequestsThatHaveArrived(t *testing.T) {
	lost := 0
	cl := app(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "ok") })
	for range 20 {
		s := New(Options{Listener: "inbound", Dispatcher: to(cl)})
		ln := listen(t)
		served := make(chan error, 1)
		go func() { served <- s.Serve(ln) }()
		conn := dial(t, ln.Addr().String())
		for s.Connections() == 0 {
			time.Sleep(100 * time.Microsecond)
		}
		conn.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		_ = s.Shutdown(ctx)
		cancel()
		if resp, err := http.ReadResponse(conn.r, nil); err != nil {
			lost++
		} else {
			_ = resp.Body.Close()
		}
		<-served
	}
	if lost > 0 {
		t.Errorf("requests lost that were sent before Shutdown: %d of 20", lost)
	}
}

// TestARequestWithABodyIsNotSentAgainWithoutIt: the app closes the kept
// connection without reading the second request.
func TestARequestWithABodyIsNotSentAgainWithoutIt(t *testing.T) {
	var broken atomic.Int32
	c := rawApp(t, func(nc net.Conn, br *bufio.Reader) {
		for {
			r, err := http.ReadRequest(br)
			if err != nil {
				return
			}
			_ = nc.SetReadDeadline(time.Now().Add(2 * time.Second))
			body, err := io.ReadAll(r.Body)
			if err != nil || string(body) != "hello" {
				broken.Add(1)
				return
			}
			if strings.HasSuffix(r.URL.Path, "close") {
				return
			}
			_, _ = io.WriteString(nc, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
		}
	})
	conn := dial(t, serve(t, Options{Listener: "inbound", Dispatcher: to(c)}))
	for path, want := range map[string]int{"/": 200, "/close": 502} {
		conn.send("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello")
		conn.response("GET")
		conn.send(fmt.Sprintf("GET %s HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello", path))
		if resp, body := conn.response("GET"); resp.StatusCode != want {
			t.Errorf("%s: %d %s, want %d", path, resp.StatusCode, body, want)
		}
	}
	if n := broken.Load(); n > 0 {
		t.Errorf("%d requests came without their body", n)
	}
}

// TestAnAppThatDoesNotReadEndsTheRequestInTime: nothing moves in the request's
// body.
func TestAnAppThatDoesNotReadEndsTheRequestInTime(t *testing.T) {
	stuck := make(chan struct{})
	c := rawApp(t, func(net.Conn, *bufio.Reader) { <-stuck })
	t.Cleanup(func() { close(stuck) })
	d := to(c)
	d.any.Chain = middleware.Chain(middleware.Router, middleware.Func(func(x *middleware.Exchange, next middleware.Handler) error {
		x.SetIdle(100 * time.Millisecond)
		return next.Serve(x)
	}))
	conn := dial(t, serve(t, Options{Listener: "inbound", Dispatcher: d}))
	conn.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 50000000\r\n\r\n")
	go func() { _, _ = conn.Write(make([]byte, 50_000_000)) }()
	if resp, body := conn.response("POST"); resp.StatusCode != 504 || !strings.Contains(body, string(middleware.ReasonIdleTimeout)) {
		t.Errorf("%d %s, want 504", resp.StatusCode, body)
	}
}
