package tcp

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.uber.org/goleak"
)

// lines is a log that a test can read.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

// ended waits for the lines of n connections.
func (l *lines) ended(t *testing.T, n int) []map[string]any {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(2 * time.Millisecond) {
		l.mu.Lock()
		text := l.b.String()
		l.mu.Unlock()
		var found []map[string]any
		for d := json.NewDecoder(bytes.NewReader([]byte(text))); ; {
			var m map[string]any
			if d.Decode(&m) != nil {
				break
			}
			if m["msg"] == "connection ended" {
				found = append(found, m)
			}
		}
		if len(found) >= n {
			return found
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d connections have ended, want %d; the log:\n%s", len(found), n, text)
		}
	}
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	return ln
}

// app runs handle on each connection.
func app(t *testing.T, handle func(*net.TCPConn)) string {
	t.Helper()
	ln := listen(t)
	var group sync.WaitGroup
	group.Go(func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			group.Go(func() {
				defer nc.Close()
				handle(nc.(*net.TCPConn))
			})
		}
	})
	t.Cleanup(func() {
		ln.Close()
		group.Wait()
	})
	return ln.Addr().String()
}

type fixture struct {
	*Server
	address string
	log     *lines
	metrics *prometheus.Registry
	served  chan error
}

// counts checks that the metrics hold these lines.
func (f *fixture) counts(t *testing.T, want ...string) {
	t.Helper()
	w := httptest.NewRecorder()
	promhttp.HandlerFor(f.metrics, promhttp.HandlerOpts{}).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", http.NoBody))
	for _, line := range want {
		if !strings.Contains(w.Body.String(), "\n"+line+"\n") {
			t.Errorf("the metrics are without %s:\n%s", line, w.Body.String())
		}
	}
}

func serve(t *testing.T, target string, change func(*Options)) *fixture {
	t.Helper()
	f := &fixture{log: &lines{}, metrics: prometheus.NewRegistry(), served: make(chan error, 1)}
	o := Options{
		Port: "redis", Target: func() string { return target },
		Logger: slog.New(slog.NewJSONHandler(f.log, nil)), Metrics: NewMetrics(f.metrics),
	}
	if change != nil {
		change(&o)
	}
	f.Server = New(o)
	ln := listen(t)
	f.address = ln.Addr().String()
	go func() { f.served <- f.Serve(ln) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
		cancel()
		_ = f.Shutdown(ctx)
	})
	return f
}

func dial(t *testing.T, address string) *net.TCPConn {
	t.Helper()
	nc, err := new(net.Dialer).DialContext(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	if err := nc.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return nc.(*net.TCPConn)
}

func echo(c *net.TCPConn) {
	_, _ = io.Copy(c, c)
	_ = c.CloseWrite()
}

func TestBytesArriveWholeInBothDirectionsAtOnce(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	t.Run("", func(t *testing.T) { // its clean-up comes before the look at goroutines
		f := serve(t, app(t, echo), nil)
		c := dial(t, f.address)
		const size = 9<<20 + 17 // some pieces
		sent, source := sha256.New(), rand.NewChaCha8([32]byte{1})
		var sending sync.WaitGroup
		sending.Go(func() {
			if _, err := io.Copy(c, io.TeeReader(io.LimitReader(source, size), sent)); err != nil {
				t.Error(err)
			}
			if err := c.CloseWrite(); err != nil {
				t.Error(err)
			}
		})
		got := sha256.New()
		n, err := io.Copy(got, c)
		sending.Wait()
		if err != nil || n != size || !bytes.Equal(got.Sum(nil), sent.Sum(nil)) {
			t.Errorf("%d of %d bytes came back, %v; the same: %v", n, size, err, bytes.Equal(got.Sum(nil), sent.Sum(nil)))
		}
		line := f.log.ended(t, 1)[0]
		if line["reason"] != "client_closed" || line["bytes_in"] != float64(size) || line["bytes_out"] != float64(size) || line["port"] != "redis" {
			t.Errorf("the line is %v", line)
		}
		f.counts(t,
			`outrigger_tcp_bytes_total{direction="in",port="redis"} 9.437201e+06`,
			`outrigger_tcp_bytes_total{direction="out",port="redis"} 9.437201e+06`,
			`outrigger_tcp_connections_total{port="redis",reason="client_closed"} 1`,
			`outrigger_tcp_connection_duration_seconds_count{port="redis"} 1`,
		)
	})
}

func TestTheEndOfOneDirectionLeavesTheOther(t *testing.T) {
	f := serve(t, app(t, func(c *net.TCPConn) {
		// The app ends first, and then still reads.
		_, _ = c.Write([]byte("hello"))
		_ = c.CloseWrite()
		all, _ := io.ReadAll(c)
		if string(all) != "a late word" {
			t.Errorf("the app got %q", all)
		}
	}), nil)
	c := dial(t, f.address)
	if all, err := io.ReadAll(c); err != nil || string(all) != "hello" {
		t.Fatalf("got %q, %v", all, err)
	}
	if _, err := c.Write([]byte("a late word")); err != nil {
		t.Fatal(err)
	}
	_ = c.CloseWrite()
	if line := f.log.ended(t, 1)[0]; line["reason"] != "app_closed" || line["bytes_in"] != 11.0 || line["bytes_out"] != 5.0 {
		t.Errorf("the line is %v", line)
	}
}

func TestAResetIsPassedOnAsOne(t *testing.T) {
	t.Run("of the app", func(t *testing.T) {
		f := serve(t, app(t, func(c *net.TCPConn) {
			_, _ = c.Read(make([]byte, 1))
			_ = c.SetLinger(0)
		}), nil)
		c := dial(t, f.address)
		if _, err := c.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("the client saw %v, want a reset", err)
		}
		if line := f.log.ended(t, 1)[0]; line["reason"] != "app_reset" {
			t.Errorf("the line is %v", line)
		}
	})
	t.Run("of the client", func(t *testing.T) {
		seen := make(chan error, 1)
		f := serve(t, app(t, func(c *net.TCPConn) {
			_, _ = c.Write([]byte("x"))
			_, err := c.Read(make([]byte, 1))
			seen <- err
		}), nil)
		c := dial(t, f.address)
		if _, err := c.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		_ = c.SetLinger(0)
		_ = c.Close()
		if err := <-seen; !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("the app saw %v, want a reset", err)
		}
		if line := f.log.ended(t, 1)[0]; line["reason"] != "client_reset" {
			t.Errorf("the line is %v", line)
		}
	})
}

func TestAConnectionOnWhichNothingMovesIsClosed(t *testing.T) {
	f := serve(t, app(t, echo), func(o *Options) { o.IdleTimeout = 40 * time.Millisecond })
	c := dial(t, f.address)
	if _, err := c.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the client saw %v, want the end of the connection", err)
	}
	if line := f.log.ended(t, 1)[0]; line["reason"] != "idle_timeout" {
		t.Errorf("the line is %v", line)
	}
}

func TestOneDirectionThatTricklesKeepsTheOtherOpen(t *testing.T) {
	const times = 60
	f := serve(t, app(t, func(c *net.TCPConn) {
		for range times {
			if _, err := c.Write([]byte("x")); err != nil {
				t.Error(err)
			}
			time.Sleep(20 * time.Millisecond) // a twentieth of the limit, and three times as long in all
		}
		_ = c.CloseWrite()
		_, _ = io.Copy(io.Discard, c)
	}), func(o *Options) { o.IdleTimeout = 400 * time.Millisecond })
	c := dial(t, f.address)
	if all, err := io.ReadAll(c); err != nil || len(all) != times {
		t.Errorf("%d bytes, %v; want %d", len(all), err, times)
	}
	if _, err := c.Write([]byte("y")); err != nil {
		t.Errorf("the way to the app was closed: %v", err)
	}
	_ = c.CloseWrite()
	if line := f.log.ended(t, 1)[0]; line["reason"] != "app_closed" || line["bytes_in"] != 1.0 {
		t.Errorf("the line is %v", line)
	}
}

func TestAnAppThatIsAwayIsSaidInTheLog(t *testing.T) {
	dead := listen(t)
	dead.Close()
	f := serve(t, dead.Addr().String(), nil)
	c := dial(t, f.address)
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Error("bytes of an app that is away")
	}
	if line := f.log.ended(t, 1)[0]; line["reason"] != "connect_failed" || line["error"] == "" {
		t.Errorf("the line is %v", line)
	}
}

func TestAnAppThatDoesNotAnswerIsGivenUp(t *testing.T) {
	// A listener whose queue is full: further connections are not answered.
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(fd)
	if err := errors.Join(syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}), syscall.Listen(fd, 0)); err != nil {
		t.Fatal(err)
	}
	name, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	target := (&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: name.(*syscall.SockaddrInet4).Port}).String()
	for range 2 {
		d := net.Dialer{Timeout: 200 * time.Millisecond}
		if nc, err := d.Dial("tcp", target); err == nil {
			t.Cleanup(func() { nc.Close() })
		}
	}
	f := serve(t, target, func(o *Options) { o.ConnectTimeout = 50 * time.Millisecond })
	dial(t, f.address)
	if line := f.log.ended(t, 1)[0]; line["reason"] != "connect_timeout" {
		t.Errorf("the line is %v", line)
	}
}

func TestOneConnectionTooManyIsClosedAndTheOthersStay(t *testing.T) {
	f := serve(t, app(t, echo), func(o *Options) { o.MaxConns = 1 })
	first := dial(t, f.address)
	word := make([]byte, 1)
	ask := func() {
		t.Helper()
		if _, err := first.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(first, word); err != nil {
			t.Fatal(err)
		}
	}
	ask()
	second := dial(t, f.address)
	if _, err := second.Read(word); err == nil {
		t.Error("the second is served")
	}
	if line := f.log.ended(t, 1)[0]; line["reason"] != "overload" {
		t.Errorf("the line is %v", line)
	}
	ask()
	if n := f.Connections(); n != 1 {
		t.Errorf("%d connections are open, want 1", n)
	}
}

func TestShutdownWaitsForConnectionsAndClosesThoseThatStay(t *testing.T) {
	f := serve(t, app(t, echo), nil)
	ends, stays := dial(t, f.address), dial(t, f.address)
	word := make([]byte, 1)
	for _, c := range []*net.TCPConn{ends, stays} {
		if _, err := c.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(c, word); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	down := make(chan error, 1)
	go func() { down <- f.Shutdown(ctx) }()
	if err := <-f.served; err != nil {
		t.Errorf("Serve: %v", err)
	}
	if _, err := new(net.Dialer).DialContext(t.Context(), "tcp", f.address); err == nil {
		t.Error("connections are still taken")
	}
	if _, err := ends.Write([]byte("y")); err != nil { // it goes on until it ends itself
		t.Fatal(err)
	}
	if _, err := io.ReadFull(ends, word); err != nil {
		t.Fatal(err)
	}
	_ = ends.Close()
	if line := f.log.ended(t, 1)[0]; line["reason"] != "client_closed" {
		t.Errorf("the line is %v", line)
	}
	cancel()
	var aborted *AbortedError
	if err := <-down; !errors.As(err, &aborted) || aborted.Connections != 1 {
		t.Errorf("Shutdown: %v, want one connection closed", err)
	}
	if line := f.log.ended(t, 2)[1]; line["reason"] != "drained" {
		t.Errorf("the line is %v", line)
	}
	f.counts(t, `outrigger_tcp_connections{port="redis"} 0`)
}

func BenchmarkPass(b *testing.B) {
	ln, err := new(net.ListenConfig).Listen(b.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	go func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer nc.Close()
				_, _ = io.Copy(nc, nc)
			}()
		}
	}()
	defer ln.Close()
	s := New(Options{Port: "p", Target: func() string { return ln.Addr().String() }})
	front, err := new(net.ListenConfig).Listen(b.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	go func() { _ = s.Serve(front) }()
	for name, address := range map[string]string{"direct": ln.Addr().String(), "passed": front.Addr().String()} {
		b.Run(name, func(b *testing.B) {
			nc, err := new(net.Dialer).DialContext(b.Context(), "tcp", address)
			if err != nil {
				b.Fatal(err)
			}
			defer nc.Close()
			piece := make([]byte, 64<<10)
			b.SetBytes(int64(len(piece)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := nc.Write(piece); err != nil {
					b.Fatal(err)
				}
				if _, err := io.ReadFull(nc, piece); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	ctx, cancel := context.WithCancel(b.Context())
	cancel()
	_ = s.Shutdown(ctx)
}
