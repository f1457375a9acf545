package proxy

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/outrigger-mesh/outrigger/registry"
	"github.com/outrigger-mesh/outrigger/sidecar/internal/upstream"
)

// frames2 is a client of HTTP/2 that writes frames.
type frames2 struct {
	*http2.Framer
	nc   net.Conn
	t    *testing.T
	b    bytes.Buffer
	enc  *hpack.Encoder
	next uint32
}

func dial2(t *testing.T, address string) *frames2 {
	t.Helper()
	nc, err := new(net.Dialer).DialContext(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = nc.Close() })
	_ = nc.SetDeadline(time.Now().Add(15 * time.Second))
	c := &frames2{Framer: http2.NewFramer(nc, nc), nc: nc, t: t, next: 1}
	c.enc = hpack.NewEncoder(&c.b)
	c.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	if _, err := io.WriteString(nc, http2.ClientPreface); err != nil {
		t.Fatal(err)
	}
	_ = c.WriteSettings()
	return c
}

// open writes a request's head.
func (c *frames2) open(end bool, fields ...string) uint32 {
	c.b.Reset()
	for i := 0; i < len(fields); i += 2 {
		_ = c.enc.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]})
	}
	id := c.next
	c.next += 2
	first, rest := c.b.Bytes(), []byte(nil)
	if len(first) > 16<<10 {
		first, rest = first[:16<<10], first[16<<10:]
	}
	if err := c.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: first, EndHeaders: len(rest) == 0, EndStream: end}); err != nil {
		c.t.Fatal(err)
	}
	for len(rest) > 0 {
		n := min(len(rest), 16<<10)
		_ = c.WriteContinuation(id, n == len(rest), rest[:n])
		rest = rest[n:]
	}
	return id
}

func headOf(method, path string, more ...string) []string {
	return append([]string{":method", method, ":scheme", "http", ":authority", "a", ":path", path}, more...)
}

// await reads up to a frame of a stream that f wants.
func (c *frames2) await(f func(http2.Frame) bool) http2.Frame {
	c.t.Helper()
	for {
		frame, err := c.ReadFrame()
		if err != nil {
			c.t.Fatalf("waiting for a frame: %v", err)
		}
		if f(frame) {
			return frame
		}
	}
}

func (c *frames2) head(id uint32) *http2.MetaHeadersFrame {
	c.t.Helper()
	return c.await(func(f http2.Frame) bool {
		_, ok := f.(*http2.MetaHeadersFrame)
		return ok && f.Header().StreamID == id
	}).(*http2.MetaHeadersFrame)
}

func TestContinueAndInterimResponsesOverHTTP2(t *testing.T) {
	address := serve(t, Options{Listener: "inbound", Dispatcher: to(app(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Link", "</a>")
		w.WriteHeader(http.StatusEarlyHints)
		n, _ := io.Copy(io.Discard, r.Body)
		_, _ = fmt.Fprint(w, n)
	}))})
	c := dial2(t, address)
	id := c.open(false, headOf("POST", "/", "expect", "100-continue", "content-length", "5")...)
	if got := c.head(id).PseudoValue("status"); got != "100" {
		t.Fatalf("first %s", got)
	}
	_ = c.WriteData(id, true, []byte("hello"))
	early := c.head(id)
	if early.PseudoValue("status") != "103" || early.RegularFields()[0].Value != "</a>" {
		t.Errorf("then %v", early.Fields)
	}
	if got := c.head(id).PseudoValue("status"); got != "200" {
		t.Errorf("last %s", got)
	}
}

func TestAResetCancelsTheRequest(t *testing.T) {
	began, gone := make(chan struct{}), make(chan struct{})
	address := serve(t, Options{Listener: "inbound", Dispatcher: to(app(t, func(_ http.ResponseWriter, r *http.Request) {
		close(began)
		<-r.Context().Done()
		close(gone)
	}))})
	c := dial2(t, address)
	id := c.open(true, headOf("GET", "/")...)
	<-began
	_ = c.WriteRSTStream(id, http2.ErrCodeCancel)
	select {
	case <-gone:
	case <-time.After(5 * time.Second):
		t.Error("the app still works for it")
	}
	if got := c.head(c.open(true, ":method", "CONNECT", ":authority", "a:1")).PseudoValue("status"); got != "501" {
		t.Errorf("CONNECT: %s", got)
	}
}

func TestTooLargeHeadsAreAnswered(t *testing.T) {
	reached := false
	address := serve(t, Options{Listener: "inbound", Dispatcher: to(app(t, func(http.ResponseWriter, *http.Request) { reached = true }))})
	c := dial2(t, address)
	fields := headOf("GET", "/")
	for i := range 150 {
		fields = append(fields, fmt.Sprintf("x-%d", i), "v")
	}
	if got := c.head(c.open(true, fields...)).PseudoValue("status"); got != "431" || reached {
		t.Errorf("%s, reached %t", got, reached)
	}
	for _, want := range []struct{ path, expect, status string }{{"/", "100-CONTINUE", "200"}, {"/", "wonders", "417"}} {
		if got := c.head(c.open(true, headOf("GET", want.path, "expect", want.expect)...)).PseudoValue("status"); got != want.status {
			t.Errorf("%+v: %s", want, got)
		}
	}
	if got := c.head(c.open(true, headOf("GET", "/", "x-large", strings.Repeat("v", 70_000))...)).PseudoValue("status"); got != "431" {
		t.Errorf("a large field: %s", got)
	}
}

func TestTrailersCrossFromHTTP2ToHTTP1AndBack(t *testing.T) {
	address := serve(t, Options{Listener: "inbound", Dispatcher: to(app(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("Trailer", "X-Sum")
		_, _ = w.Write(body)
		w.Header().Set("X-Sum", r.Trailer.Get("X-In")+r.Header.Get("Te")+r.Header.Get("Cookie"))
	}))})
	c := dial2(t, address)
	id := c.open(false, headOf("POST", "/", "te", "trailers", "trailer", "x-in", "cookie", "a=1", "cookie", "b=2")...)
	_ = c.WriteData(id, false, []byte("data"))
	c.b.Reset()
	_ = c.enc.WriteField(hpack.HeaderField{Name: "x-in", Value: "sent"})
	_ = c.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: c.b.Bytes(), EndHeaders: true, EndStream: true})
	if got := c.head(id).PseudoValue("status"); got != "200" {
		t.Fatal(got)
	}
	trailer := c.head(id)
	if len(trailer.Fields) != 1 || trailer.Fields[0].Name != "x-sum" || trailer.Fields[0].Value != "senttrailersa=1; b=2" || !trailer.StreamEnded() {
		t.Errorf("%v", trailer.Fields)
	}
}

// A response of HTTP/2 may have a content-length, and trailers all the same.
func TestTrailersBehindABodyOfKnownLength(t *testing.T) {
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/grpc")
		w.Header().Set("Content-Length", "4")
		_, _ = io.WriteString(w, "data")
		w.Header().Set(http.TrailerPrefix+"Grpc-Status", "7")
	}))
	srv.Config.Protocols = &http.Protocols{}
	srv.Config.Protocols.SetUnencryptedHTTP2(true)
	srv.Start()
	t.Cleanup(srv.Close)
	c := upstream.NewApp(upstream.Config{Name: "app", Protocol: registry.ProtocolHTTP2}, srv.Listener.Addr().String())
	t.Cleanup(c.Close)
	address := serve(t, Options{Listener: "inbound", Dispatcher: to(c)})
	for name, rt := range map[string]http.RoundTripper{"HTTP/2": client2(t, address), "HTTP/1.1": client(t, address)} {
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://x/p.S/M", strings.NewReader("x"))
		req.Header.Set("Content-Type", "application/grpc")
		req.Header.Set("TE", "trailers")
		res, err := rt.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(res.Body)
		_ = res.Body.Close()
		if string(body) != "data" || err != nil || res.Trailer.Get("Grpc-Status") != "7" {
			t.Errorf("%s: %q, %v, %v", name, body, err, res.Trailer)
		}
	}
}

func TestABrokenResponseIsReset(t *testing.T) {
	address := serve(t, Options{Listener: "inbound", Dispatcher: to(rawApp(t, func(nc net.Conn, br *bufio.Reader) {
		if _, err := http.ReadRequest(br); err == nil {
			_, _ = io.WriteString(nc, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nnot so much")
		}
	}))})
	c := dial2(t, address)
	id := c.open(true, headOf("GET", "/")...)
	reset := c.await(func(f http2.Frame) bool { _, ok := f.(*http2.RSTStreamFrame); return ok }).(*http2.RSTStreamFrame)
	if reset.StreamID != id || reset.ErrCode != http2.ErrCodeInternal {
		t.Errorf("%v", reset)
	}
}

func TestABrokenGRPCResponseEndsInTrailers(t *testing.T) {
	address := serve(t, Options{Listener: "inbound", Dispatcher: to(rawApp(t, func(nc net.Conn, br *bufio.Reader) {
		if _, err := http.ReadRequest(br); err == nil {
			_, _ = io.WriteString(nc, "HTTP/1.1 200 OK\r\nContent-Type: application/grpc\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
		}
	}))})
	c := dial2(t, address)
	id := c.open(true, headOf("POST", "/p.S/M", "content-type", "application/grpc", "te", "trailers")...)
	if got := c.head(id).PseudoValue("status"); got != "200" {
		t.Fatal(got)
	}
	if got := c.head(id).Fields[0]; got.Name != "grpc-status" || got.Value != "14" {
		t.Errorf("%v", got)
	}
}

func TestUnreadBodiesEndWithoutAnError(t *testing.T) {
	address := serve(t, Options{Listener: "inbound", Dispatcher: to(upstream.NewCluster(upstream.Config{Name: "nothing"}))})
	c := dial2(t, address)
	id := c.open(false, headOf("POST", "/")...)
	if got := c.head(id).PseudoValue("status"); got != "503" {
		t.Fatal(got)
	}
	reset := c.await(func(f http2.Frame) bool { _, ok := f.(*http2.RSTStreamFrame); return ok }).(*http2.RSTStreamFrame)
	if reset.ErrCode != http2.ErrCodeNo { // RFC 9113, section 8.1
		t.Errorf("%v", reset)
	}
}

func TestShutdownFinishesStreamsAndTakesNoMore(t *testing.T) {
	began, release := make(chan struct{}), make(chan struct{})
	s := New(Options{Listener: "inbound", Dispatcher: to(app(t, func(w http.ResponseWriter, _ *http.Request) {
		close(began)
		<-release
		_, _ = io.WriteString(w, "done")
	}))})
	ln := listen(t)
	served := make(chan error, 1)
	go func() { served <- s.Serve(ln) }()
	c := dial2(t, ln.Addr().String())
	id := c.open(true, headOf("GET", "/")...)
	<-began
	down := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		down <- s.Shutdown(ctx)
	}()
	away := c.await(func(f http2.Frame) bool { _, ok := f.(*http2.GoAwayFrame); return ok }).(*http2.GoAwayFrame)
	if away.LastStreamID != 1<<31-1 || away.ErrCode != http2.ErrCodeNo {
		t.Errorf("%v", away)
	}
	ping := c.await(func(f http2.Frame) bool { p, ok := f.(*http2.PingFrame); return ok && !p.IsAck() }).(*http2.PingFrame)
	_ = c.WritePing(true, ping.Data)
	away = c.await(func(f http2.Frame) bool { _, ok := f.(*http2.GoAwayFrame); return ok }).(*http2.GoAwayFrame)
	if away.LastStreamID != id {
		t.Errorf("%v", away)
	}
	close(release)
	if got := c.head(id).PseudoValue("status"); got != "200" {
		t.Error(got)
	}
	for {
		if _, err := c.ReadFrame(); err != nil {
			if !errors.Is(err, io.EOF) {
				t.Error(err)
			}
			break
		}
	}
	if err := <-down; err != nil {
		t.Error(err)
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
}

func TestLocalRepliesOverHTTP2(t *testing.T) {
	address := serve(t, Options{Listener: "inbound", Dispatcher: to(upstream.NewCluster(upstream.Config{Name: "nothing"}))})
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://x/", strings.NewReader(""))
	res, err := client2(t, address).RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	var body struct{ Reason string }
	if err := json.NewDecoder(res.Body).Decode(&body); err != nil || body.Reason != "no_endpoint" || res.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("%d, %+v, %v", res.StatusCode, body, err)
	}
}
