package upstream

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/middleware"
)

// gate is a server whose requests wait until they are let through.
type gate struct {
	address string
	let     chan struct{}
	inside  atomic.Int64
	most    atomic.Int64
	served  atomic.Int64
}

func newGate(t *testing.T) *gate {
	g := &gate{let: make(chan struct{})}
	g.address = server(t, g.serve)
	return g
}

func (g *gate) serve(_ http.ResponseWriter, r *http.Request) {
	n := g.inside.Add(1)
	for m := g.most.Load(); n > m && !g.most.CompareAndSwap(m, n); m = g.most.Load() {
	}
	select {
	case <-g.let:
	case <-r.Context().Done():
	}
	g.inside.Add(-1)
	g.served.Add(1)
}

// background serves exchanges beside the test.
type background struct {
	wg      sync.WaitGroup
	results chan result
}

func (b *background) start(x *middleware.Exchange) {
	b.wg.Go(func() { b.results <- finish(x) })
}

func newBackground(t *testing.T) *background {
	b := &background{results: make(chan result, 1000)}
	t.Cleanup(b.wg.Wait)
	return b
}

// empty fails unless nothing is counted any more but unused connections.
func empty(t *testing.T, c *Cluster) {
	t.Helper()
	until(t, "nothing is in use", func() bool {
		p := c.Status().Pool
		return p.Requests == 0 && p.Pending == 0
	})
	idle := 0
	for _, e := range c.Status().Endpoints {
		idle += e.Idle
	}
	if p := c.Status().Pool; p.Connections != int64(idle) || c.limits.waiting.Load() != 0 {
		t.Errorf("%d connections count, %d are unused; %d requests wait", p.Connections, idle, c.limits.waiting.Load())
	}
}

func TestRequestsWaitInTheirOrderForAConnection(t *testing.T) {
	var mu sync.Mutex
	var order []string
	let := make(chan struct{})
	address := server(t, func(_ http.ResponseWriter, r *http.Request) {
		mu.Lock()
		order = append(order, r.URL.Path)
		mu.Unlock()
		<-let
	})
	c := cluster(t, func(s *Settings) { s.Pool.MaxConnections = 1 }, address)
	b := newBackground(t)
	for i := range 5 {
		x := request(c)
		x.Request.Target = fmt.Appendf(nil, "/%d", i)
		b.start(x)
		until(t, "the request is in or waits", func() bool {
			select {
			case r := <-b.results:
				t.Fatalf("answered %+v", r)
			default:
			}
			mu.Lock()
			defer mu.Unlock()
			return len(order) == 1 && c.Status().Pool.Pending == int64(i)
		})
	}
	close(let)
	for range 5 {
		if r := <-b.results; r.status != 200 {
			t.Errorf("answered %+v", r)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	if got := strings.Join(order, " "); got != "/0 /1 /2 /3 /4" {
		t.Errorf("served in the order %s", got)
	}
	if n := c.limits.opened.Load(); n != 1 {
		t.Errorf("%d connections were made, want one for all", n)
	}
	empty(t, c)
}

func TestWhatIsOverALimitIsRefusedUnsent(t *testing.T) {
	for name, tt := range map[string]struct {
		pool  func(*Pool)
		limit string
		wait  int64 // requests that wait beside the one that is served
	}{
		"maxPending":     {func(p *Pool) { p.MaxPending = 2 }, "maxPending", 2},
		"nothing waits":  {func(p *Pool) { p.MaxPending = 0 }, "maxPending", 0},
		"maxRequests":    {func(p *Pool) { p.MaxRequests, p.MaxConnections = 1, 2 }, "maxRequests", 0},
		"pendingTimeout": {func(p *Pool) { p.PendingTimeout = 10 * time.Millisecond }, "pendingTimeout", 0},
	} {
		t.Run(name, func(t *testing.T) {
			g := newGate(t)
			c := cluster(t, func(s *Settings) {
				s.Pool.MaxConnections = 1
				tt.pool(&s.Pool)
			}, g.address)
			b := newBackground(t)
			for range tt.wait + 1 {
				b.start(request(c))
			}
			until(t, "the queue is full", func() bool { return g.inside.Load() == 1 && c.Status().Pool.Pending == tt.wait })
			r := call(c)
			if r.status != 503 || r.reason != reasonPool || !r.unsent {
				t.Errorf("refused with %+v", r)
			}
			if n := c.Status().Pool.Refused[tt.limit]; n != 1 {
				t.Errorf("%d refusals for %s, status %+v", n, tt.limit, c.Status().Pool)
			}
			close(g.let)
			for range tt.wait + 1 {
				if r := <-b.results; r.status != 200 {
					t.Errorf("answered %+v", r)
				}
			}
			empty(t, c)
		})
	}
}

func TestACanceledRequestLeavesTheQueue(t *testing.T) {
	g := newGate(t)
	c := cluster(t, func(s *Settings) { s.Pool.MaxConnections = 1 }, g.address)
	b := newBackground(t)
	b.start(request(c))
	until(t, "one is in", func() bool { return g.inside.Load() == 1 })
	x := request(c)
	b.start(x)
	until(t, "one waits", func() bool { return c.Status().Pool.Pending == 1 })
	x.Cancel(middleware.ErrClientGone)
	<-b.results
	if n := c.Status().Pool.Pending; n != 0 {
		t.Errorf("%d wait", n)
	}
	close(g.let)
	<-b.results
	if g.served.Load() != 1 {
		t.Errorf("%d requests were served, want one", g.served.Load())
	}
	empty(t, c)
}

func TestAConnectionEndsWithItsRequestsAndItsAge(t *testing.T) {
	var opened atomic.Int64
	s := http.Server{
		Handler: always(200), ReadHeaderTimeout: time.Minute,
		ConnState: func(_ net.Conn, state http.ConnState) {
			if state == http.StateNew {
				opened.Add(1)
			}
		},
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(ln) }()
	defer func() {
		s.Close()
		<-served
	}()
	c := cluster(t, func(s *Settings) { s.Pool.MaxRequestsPerConnection = 3 }, ln.Addr().String())
	for range 9 {
		call(c)
	}
	if opened.Load() != 3 {
		t.Errorf("%d connections for nine requests, want three", opened.Load())
	}

	aged := DefaultSettings()
	aged.Pool.MaxAge = time.Hour
	c.Configure(Config{Name: "svc", Settings: &aged})
	call(c)
	call(c)
	if opened.Load() != 4 {
		t.Fatalf("%d connections, want a fourth that is used again", opened.Load())
	}
	h := c.hostOf(ln.Addr().String())
	expires := trackedOf(h.idle[0]).expires
	if left := time.Until(expires); left > time.Hour || left < 50*time.Minute {
		t.Errorf("expires in %s, want within an hour, at most a tenth earlier", left)
	}
	h.reap(expires.Add(-time.Second))
	if h.idleCount() != 0 { // the idle time-out is shorter
		t.Error("a connection that was unused for too long is kept")
	}
	call(c)
	trackedOf(h.idle[0]).expires = time.Now().Add(-time.Second)
	call(c) // the last one on it
	if h.idleCount() != 0 {
		t.Error("a connection that is too old is kept")
	}
	call(c)
	h.idle[0].idleSince = time.Now().Add(-time.Minute)
	before := opened.Load()
	call(c)
	if opened.Load() != before+1 {
		t.Error("a connection that was unused for too long is used again")
	}
	empty(t, c)
}

func TestAnUnusedConnectionGivesWayToAnotherEndpoint(t *testing.T) {
	one, other := server(t, always(200)), server(t, always(204))
	c := cluster(t, func(s *Settings) { s.Pool.MaxConnections, s.Pool.MaxPending = 1, 0 }, one, other)
	for range 3 {
		if r := finish(requestTo(c, one)); r.status != 200 {
			t.Fatalf("answered %+v", r)
		}
		if r := finish(requestTo(c, other)); r.status != 204 {
			t.Fatalf("answered %+v: what lies unused keeps the other endpoint without a connection", r)
		}
	}
	if n := c.Status().Pool.Connections; n != 1 {
		t.Errorf("%d connections, want one", n)
	}
	empty(t, c)
}

func TestAnEndpointHasALimitOfItsOwn(t *testing.T) {
	g, other := newGate(t), newGate(t)
	c := cluster(t, func(s *Settings) { s.Pool.MaxConnectionsPerEndpoint = 2 }, g.address, other.address)
	b := newBackground(t)
	for range 10 {
		b.start(request(c))
	}
	until(t, "the others wait", func() bool {
		return g.inside.Load() == 2 && other.inside.Load() == 2 && c.Status().Pool.Pending == 6
	})
	close(g.let)
	close(other.let)
	for range 10 {
		if r := <-b.results; r.status != 200 {
			t.Errorf("answered %+v", r)
		}
	}
	if g.most.Load() != 2 || other.most.Load() != 2 {
		t.Errorf("%d and %d requests at a time", g.most.Load(), other.most.Load())
	}
	empty(t, c)
}

func TestAFailedConnectionGivesItsPlaceBack(t *testing.T) {
	c := cluster(t, func(s *Settings) { s.Pool.MaxConnections = 1 }, dead(t))
	for range 3 {
		if r := call(c); r.status != 503 || r.reason != middleware.ReasonConnectFailed {
			t.Errorf("answered %+v", r)
		}
	}
	if n := c.limits.failed.Load(); n != 3 {
		t.Errorf("%d failures are counted", n)
	}
	empty(t, c)
}

func TestLimitsThatGrowLetThoseThatWaitGoOn(t *testing.T) {
	g := newGate(t)
	c := cluster(t, func(s *Settings) { s.Pool.MaxConnections = 1 }, g.address)
	b := newBackground(t)
	for range 3 {
		b.start(request(c))
	}
	until(t, "two wait", func() bool { return c.Status().Pool.Pending == 2 })
	s := DefaultSettings()
	c.Configure(Config{Name: "svc", Settings: &s})
	until(t, "all are in", func() bool { return g.inside.Load() == 3 })
	close(g.let)
	b.wg.Wait()
	empty(t, c)
}

// TestLimitsHoldUnderLoad has many clients, some of which leave, servers that
// close connections as they like, and limits that change.
func TestLimitsHoldUnderLoad(t *testing.T) {
	var open, most atomic.Int64
	handler := func(w http.ResponseWriter, _ *http.Request) {
		if rand.IntN(5) == 0 {
			w.Header().Set("Connection", "close")
		}
		time.Sleep(time.Duration(rand.IntN(300)) * time.Microsecond)
	}
	var addresses []string
	for range 3 {
		s := &http.Server{Handler: http.HandlerFunc(handler), ReadHeaderTimeout: time.Minute}
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		go func() { _ = s.Serve(ln) }()
		t.Cleanup(func() { s.Close() })
		addresses = append(addresses, ln.Addr().String())
	}
	const limit = 5
	c := cluster(t, func(s *Settings) { s.Pool.MaxConnections, s.Pool.MaxConnectionsPerEndpoint = limit, 3 }, addresses...)
	for _, h := range *c.limits.hosts.Load() { // count what is really open
		connect := h.dialer.connect
		h.dialer.connect = func(ctx context.Context, address string) (net.Conn, error) {
			nc, err := connect(ctx, address)
			if err == nil {
				n := open.Add(1)
				for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
				}
				nc = &counted{Conn: nc, open: &open}
			}
			return nc, err
		}
	}
	var clients sync.WaitGroup
	for range 40 {
		clients.Go(func() {
			for range 50 {
				x := request(c)
				if rand.IntN(10) == 0 {
					timer := time.AfterFunc(time.Duration(rand.IntN(500))*time.Microsecond, func() { x.Cancel(middleware.ErrClientGone) })
					finish(x)
					timer.Stop()
					continue
				}
				if r := finish(x); r.status != 200 && r.reason != middleware.ReasonUpstreamReset {
					t.Errorf("answered %+v", r)
				}
			}
		})
	}
	clients.Wait()
	if most.Load() > limit {
		t.Errorf("%d connections at a time, the limit is %d", most.Load(), limit)
	}
	empty(t, c)
}

// counted is a connection that tells when it is closed.
type counted struct {
	net.Conn
	open *atomic.Int64
	once sync.Once
}

func (c *counted) Close() error {
	c.once.Do(func() { c.open.Add(-1) })
	return c.Conn.Close()
}

// attempt runs f in an attempt.
func attempt(c *Cluster, f func(a *middleware.Attempt)) {
	x := middleware.NewExchange(wire{})
	x.SetTarget(&middleware.Target{
		Pick: func(*middleware.Exchange) (middleware.Picker, error) { return c, nil },
		Try: middleware.TryHandlerFunc(func(a *middleware.Attempt) error {
			f(a)
			return nil
		}),
	})
	x.Serve(middleware.Router)
	x.End(nil)
}

func TestTakingAnUnusedConnectionAllocatesNothing(t *testing.T) {
	address := server(t, always(200))
	c := cluster(t, nil, address)
	call(c)
	h := c.hostOf(address)
	attempt(c, func(a *middleware.Attempt) {
		n := testing.AllocsPerRun(1000, func() {
			conn, err := h.get(a, false)
			if err != nil {
				t.Fatal(err)
			}
			h.put(conn)
		})
		if n != 0 {
			t.Errorf("%v allocations, want none", n)
		}
	})
	if n := c.limits.opened.Load(); n != 1 {
		t.Errorf("%d connections were made, want one", n)
	}
	rules := DefaultOutlier()
	rules.SuccessRate.StdevFactor = 1.9
	n := testing.AllocsPerRun(1000, func() {
		h.outlier.record(&rules, outcomeOK)
		h.outlier.record(&rules, outcome5xx)
	})
	if n != 0 {
		t.Errorf("recording: %v allocations, want none", n)
	}
}

// BenchmarkPool is what the limits cost: get and put of an unused connection,
// beside the host's stack alone.
func BenchmarkPool(b *testing.B) {
	address := server(b, always(200))
	c := cluster(b, nil, address)
	call(c)
	h := c.hostOf(address)
	b.Run("limits", func(b *testing.B) {
		attempt(c, func(a *middleware.Attempt) {
			b.ReportAllocs()
			for b.Loop() {
				conn, _ := h.get(a, false)
				h.put(conn)
			}
		})
	})
	b.Run("stack", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			conn := h.pop()
			conn.idleSince = time.Now()
			conn.conn.Release()
			h.mu.Lock()
			h.idle = append(h.idle, conn)
			h.mu.Unlock()
		}
	})
	b.Run("outlier", func(b *testing.B) {
		rules := DefaultOutlier()
		for b.Loop() {
			h.outlier.record(&rules, outcomeOK)
		}
	})
}
