package proxy

import (
	"bytes"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/outrigger-mesh/outrigger/internal/conf"
	"github.com/outrigger-mesh/outrigger/middleware"
	"github.com/outrigger-mesh/outrigger/middleware/builtin"
	"github.com/outrigger-mesh/outrigger/sidecar/internal/upstream"
)

// answering is a server that answers every request with the same bytes and
// allocates nothing meanwhile. A request ends with the end of its head, or of
// body bytes behind it.
func answering(t testing.TB, body int, answer []byte) string {
	ln := listen(t)
	t.Cleanup(func() { _ = ln.Close() })
	go func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			go answerAll(nc, body, answer)
		}
	}()
	return ln.Addr().String()
}

func answerAll(nc net.Conn, body int, answer []byte) {
	defer func() { _ = nc.Close() }()
	buf := make([]byte, 256<<10)
	for n := 0; ; {
		m, err := nc.Read(buf[n:])
		if err != nil {
			return
		}
		n += m
		end := bytes.Index(buf[:n], []byte("\r\n\r\n"))
		if end < 0 || n < end+4+body {
			continue
		}
		n = 0
		if _, err := nc.Write(answer); err != nil {
			return
		}
	}
}

// hop is a client's connection through a proxy to a server.
type hop struct {
	nc      net.Conn
	request []byte
	buf     []byte
	end     []byte // of the response
}

func newHop(t testing.TB, request, answer string, target func(*middleware.Target)) *hop {
	_, body, _ := strings.Cut(request, "\r\n\r\n")
	c := upstream.NewApp(upstream.Config{Name: "app"}, answering(t, len(body), []byte(answer)))
	t.Cleanup(c.Close)
	d := to(c)
	if target != nil {
		target(d.any)
	}
	nc, err := new(net.Dialer).DialContext(t.Context(), "tcp", serve(t, Options{Listener: "inbound", Dispatcher: d}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = nc.Close() })
	return &hop{nc, []byte(request), make([]byte, 128<<10), []byte(answer[len(answer)-8:])}
}

// once is one request and its response.
func (h *hop) once(t testing.TB) {
	if _, err := h.nc.Write(h.request); err != nil {
		t.Fatal(err)
	}
	for n := 0; ; {
		m, err := h.nc.Read(h.buf[n:])
		if err != nil {
			t.Fatal(err)
		}
		if n += m; bytes.HasSuffix(h.buf[:n], h.end) {
			return
		}
	}
}

var (
	small   = "HTTP/1.1 200 OK\r\nDate: x\r\nContent-Type: text/plain\r\nContent-Length: 1024\r\n\r\n" + strings.Repeat("x", 1024)
	large   = "HTTP/1.1 200 OK\r\nContent-Length: 65536\r\n\r\n" + strings.Repeat("x", 65536)
	chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n6\r\nsecond\r\n0\r\n\r\n"
	get     = "GET /some/path?q=1 HTTP/1.1\r\nHost: app\r\nUser-Agent: bench\r\nAccept: */*\r\nX-Request-Id: 1\r\n\r\n"
	post    = "POST /some/path HTTP/1.1\r\nHost: app\r\nContent-Length: 1024\r\n\r\n" + strings.Repeat("y", 1024)
)

// theDefaultChain is what a company is likely to run.
const theDefaultChain = `
- accesslog: {file: %s}
- metrics
- tracing: {sampler: {ratio: 0}}
- ratelimit: {rate: 1000000/s, burst: 1000000}
- breaker
- retry
- timeout: {request: 30s}
`

func defaultChain(t testing.TB) func(*middleware.Target) {
	list := strings.Replace(theDefaultChain, "%s", strconv.Quote(filepath.Join(t.TempDir(), "access.log")), 1)
	n, err := conf.Parse("chain", []byte(list))
	if err != nil {
		t.Fatal(err)
	}
	l, err := middleware.ParseList(n, builtin.Kinds())
	if err != nil {
		t.Fatal(err)
	}
	g := middleware.NewStates().NewGeneration()
	t.Cleanup(func() {
		if err := g.Close(); err != nil {
			t.Error(err)
		}
	})
	chains, err := l.Build(middleware.Env{Direction: middleware.Inbound, Metrics: prometheus.NewRegistry()}.In(g))
	if err != nil {
		t.Fatal(err)
	}
	return func(t *middleware.Target) { t.Use(chains) }
}

func TestARequestAllocatesNothing(t *testing.T) {
	if underRace {
		t.Skip("make test runs it once more without the race detector")
	}
	for _, tt := range []struct {
		name            string
		request, answer string
		chain           bool
	}{
		{"GET", get, small, false},
		{"GET of 64 KiB", get, large, false},
		{"GET in chunks", get, chunked, false},
		{"POST", post, small, false},
		{"GET with the default chain", get, small, true},
		{"POST with the default chain", post, small, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var target func(*middleware.Target)
			if tt.chain {
				target = defaultChain(t)
			}
			h := newHop(t, tt.request, tt.answer, target)
			for range 10 {
				h.once(t)
			}
			// What is pooled may be collected in between, and a timer may fire:
			// that is no allocation for each request.
			if n := testing.AllocsPerRun(1000, func() { h.once(t) }); n >= 1 {
				t.Errorf("%v allocations a request", n)
			}
		})
	}
}

// BenchmarkHop is a request through the proxy over loopback: what it allocates,
// and where its time goes (-cpuprofile). For a comparison with other proxies see
// the folder bench.
func BenchmarkHop(b *testing.B) {
	for _, bb := range []struct {
		name            string
		request, answer string
		chain           bool
	}{
		{"GET", get, small, false},
		{"GET-64KiB", get, large, false},
		{"POST", post, small, false},
		{"GET-default-chain", get, small, true},
	} {
		b.Run(bb.name, func(b *testing.B) {
			var target func(*middleware.Target)
			if bb.chain {
				target = defaultChain(b)
			}
			h := newHop(b, bb.request, bb.answer, target)
			b.ReportAllocs()
			for b.Loop() {
				h.once(b)
			}
		})
	}
}
