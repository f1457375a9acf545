package upstream

import (
	"context"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/outrigger-mesh/outrigger/middleware"
	"github.com/outrigger-mesh/outrigger/registry"
)

// gate2 is a server of HTTP/2 whose requests wait until they are let through.
type gate2 struct {
	*gate
	*server2
}

func newGate2(t *testing.T, streams uint32) gate2 {
	g := &gate{let: make(chan struct{})}
	return gate2{g, newServer2(t, &http2.Server{MaxConcurrentStreams: streams}, g.serve)}
}

func (g gate2) addr() string { return g.server2.address }

func (g gate2) await(t *testing.T, n int) {
	t.Helper()
	until(t, "the requests are there", func() bool { return g.inside.Load() == int64(n) })
}

func shared(connections, streams int) func(*Settings) {
	return func(s *Settings) { s.Pool.HTTP2 = PoolHTTP2{Connections: connections, Streams: streams} }
}

func TestRequestsShareAConnection(t *testing.T) {
	g := newGate2(t, 250)
	c := cluster2(t, registry.ProtocolHTTP2, nil, g.addr())
	b := newBackground(t)
	for range 80 {
		b.start(request2(c))
	}
	g.await(t, 80)
	if n := g.conns.Load(); n != 1 {
		t.Errorf("%d connections, want 1", n)
	}
	if s := endpointStatus(c, g.addr()).HTTP2; s == nil || *s != (HTTP2Status{Connections: 1, Streams: 80}) {
		t.Errorf("status %+v", s)
	}
	close(g.let)
	for range 80 {
		if r := <-b.results; r.status != 200 {
			t.Errorf("%+v", r)
		}
	}
	empty2(t, c)
}

func TestConnectionsAreOpenedWhenAllAreFull(t *testing.T) {
	for name, tt := range map[string]struct {
		settings func(*Settings)
		peer     uint32
	}{
		"by our own number":   {shared(3, 2), 250},
		"by the endpoint's":   {shared(6, 100), 1},
		"in one burst, known": {shared(2, 3), 250},
	} {
		t.Run(name, func(t *testing.T) {
			g := newGate2(t, tt.peer)
			c := cluster2(t, registry.ProtocolHTTP2, tt.settings, g.addr())
			b := newBackground(t)
			defer close(g.let)
			for range 10 {
				b.start(request2(c))
			}
			g.await(t, 6)
			until(t, "the others wait", func() bool { return c.Status().Pool.Pending == 4 })
			for range 10 {
				g.let <- struct{}{}
			}
			for range 10 {
				if r := <-b.results; r.status != 200 {
					t.Errorf("%+v", r)
				}
			}
			if n := g.most.Load(); n != 6 {
				t.Errorf("%d requests at a time, want 6", n)
			}
			if p := c.limits.pool.Load().HTTP2; g.conns.Load() != int64(p.Connections) {
				t.Errorf("%d connections, want %d", g.conns.Load(), p.Connections)
			}
			empty2(t, c)
		})
	}
}

func TestTheLimitsHoldForStreams(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*Pool)
		limit  string
	}{
		"maxRequests":    {func(p *Pool) { p.MaxRequests = 2 }, "maxRequests"},
		"maxPending":     {func(p *Pool) { p.HTTP2, p.MaxPending = PoolHTTP2{1, 2}, 0 }, "maxPending"},
		"pendingTimeout": {func(p *Pool) { p.HTTP2, p.PendingTimeout = PoolHTTP2{1, 2}, 5*time.Millisecond }, "pendingTimeout"},
		"maxConnections": {func(p *Pool) {
			p.HTTP2, p.MaxConnections, p.PendingTimeout = PoolHTTP2{9, 1}, 2, 5*time.Millisecond
		}, "pendingTimeout"},
		"maxConnectionsPerEndpoint": {func(p *Pool) {
			p.HTTP2, p.MaxConnectionsPerEndpoint, p.PendingTimeout = PoolHTTP2{9, 1}, 2, 5*time.Millisecond
		}, "pendingTimeout"},
	} {
		t.Run(name, func(t *testing.T) {
			g := newGate2(t, 250)
			c := cluster2(t, registry.ProtocolHTTP2, func(s *Settings) {
				tt.change(&s.Pool)
				s.Pool.PendingTimeout = max(s.Pool.PendingTimeout, 50*time.Millisecond)
			}, g.addr())
			b := newBackground(t)
			for i := range 2 {
				b.start(request2(c))
				g.await(t, i+1)
			}
			if r := finish(request2(c)); r.status != 503 || r.reason != middleware.ReasonPoolFull || !r.unsent {
				t.Errorf("%+v, want it refused", r)
			}
			if n := c.Status().Pool.Refused[tt.limit]; n != 1 {
				t.Errorf("refused: %v, want one by %s", c.Status().Pool.Refused, tt.limit)
			}
			close(g.let)
			<-b.results
			<-b.results
			empty2(t, c)
		})
	}
}

func TestAnEndpointThatTakesNoStreamsIsWaitedFor(t *testing.T) {
	var conns atomic.Int64
	address := newPeer2(t, func(n int, p *peer2) {
		conns.Store(int64(n + 1))
		_ = p.WriteSettings(http2.Setting{ID: http2.SettingMaxConcurrentStreams, Val: 0})
		p.drain()
	})
	c := cluster2(t, registry.ProtocolUndeclared, func(s *Settings) { s.Pool.PendingTimeout = 100 * time.Millisecond }, address)
	for range 3 {
		if r := finish(request2(c)); r.reason != middleware.ReasonPoolFull || !r.unsent {
			t.Errorf("%+v, want it refused after some time", r)
		}
	}
	c.Close()
	if n := conns.Load(); n != 1 {
		t.Errorf("%d connections, want 1: others are no better", n)
	}
}

func TestAStreamThatBecomesFreeGoesToWhoWaitsWhileTheEndpointChangesItsMind(t *testing.T) {
	address := newPeer2(t, func(_ int, p *peer2) {
		_ = p.WriteSettings(http2.Setting{ID: http2.SettingMaxConcurrentStreams, Val: 0})
		_ = p.WriteSettings(http2.Setting{ID: http2.SettingMaxConcurrentStreams, Val: 1})
		for id := p.head(); id != 0; id = p.head() {
			p.respond(id, true, ":status", "204")
		}
	})
	c := cluster2(t, registry.ProtocolUndeclared, nil, address)
	b := newBackground(t)
	for range 20 {
		b.start(request2(c))
	}
	for range 20 {
		if r := <-b.results; r.status != 204 {
			t.Errorf("%+v", r)
		}
	}
}

func TestRequestsThatAreCanceledLeaveTheQueueOfStreams(t *testing.T) {
	g := newGate2(t, 250)
	c := cluster2(t, registry.ProtocolHTTP2, shared(1, 1), g.addr())
	b := newBackground(t)
	b.start(request2(c))
	g.await(t, 1)
	var waiting []*middleware.Exchange
	for range 5 {
		x := request2(c)
		waiting = append(waiting, x)
		b.start(x)
	}
	until(t, "they wait", func() bool { return c.Status().Pool.Pending == 5 })
	for _, x := range waiting {
		x.Cancel(middleware.ErrClientGone)
	}
	for range 5 {
		if r := <-b.results; r.reason != middleware.ReasonClientGone {
			t.Errorf("%+v", r)
		}
	}
	if p := c.Status().Pool; p.Pending != 0 || p.Requests != 1 {
		t.Errorf("%+v", p)
	}
	close(g.let)
	<-b.results
	empty2(t, c)
}

func TestConnectionsEndByNumberAndAge(t *testing.T) {
	t.Run("requests", func(t *testing.T) {
		s := newServer2(t, &http2.Server{}, always(200))
		c := cluster2(t, registry.ProtocolHTTP2, func(s *Settings) { s.Pool.MaxRequestsPerConnection = 3 }, s.address)
		for range 9 {
			if r := finish(request2(c)); r.status != 200 {
				t.Fatalf("%+v", r)
			}
		}
		if n := s.conns.Load(); n != 3 {
			t.Errorf("%d connections for 9 requests, want 3", n)
		}
		until(t, "they are closed", func() bool { return s.open.Load() == 0 })
		empty2(t, c)
	})
	t.Run("idle", func(t *testing.T) {
		s := newServer2(t, &http2.Server{}, always(200))
		c := cluster2(t, registry.ProtocolHTTP2, func(s *Settings) { s.Pool.IdleTimeout = 10 * time.Millisecond }, s.address)
		finish(request2(c))
		time.Sleep(11 * time.Millisecond) // its idle time is over: this is what is tested
		if finish(request2(c)); s.conns.Load() != 2 {
			t.Errorf("%d connections, want 2: the first has lain for too long", s.conns.Load())
		}
		until(t, "both are closed", func() bool { c.reap(time.Now()); return s.open.Load() == 0 })
		empty2(t, c)
	})
	t.Run("age", func(t *testing.T) {
		g := newGate2(t, 250)
		c := cluster2(t, registry.ProtocolHTTP2, func(s *Settings) { s.Pool.MaxAge = 20 * time.Millisecond }, g.addr())
		b := newBackground(t)
		b.start(request2(c))
		g.await(t, 1)
		time.Sleep(21 * time.Millisecond) // it grows old: this is what is tested
		b.start(request2(c))
		g.await(t, 2)
		if n := g.conns.Load(); n != 2 {
			t.Errorf("%d connections, want 2: the first is too old for a further request", n)
		}
		close(g.let)
		for range 2 {
			if r := <-b.results; r.status != 200 {
				t.Errorf("%+v, want that it was finished", r)
			}
		}
		until(t, "the old one is closed", func() bool { return g.open.Load() <= 1 })
		empty2(t, c)
	})
}

func TestRequestsToAnEndpointThatGoesAreFinished(t *testing.T) {
	g := newGate2(t, 250)
	c := cluster2(t, registry.ProtocolHTTP2, nil, g.addr())
	b := newBackground(t)
	b.start(request2(c))
	g.await(t, 1)
	late := requestTo(c, g.addr()) // has chosen the endpoint already
	late.Request.Proto = middleware.HTTP2
	c.SetEndpoints(nil)
	b.start(late)
	g.await(t, 2)
	close(g.let)
	for range 2 {
		if r := <-b.results; r.status != 200 {
			t.Errorf("%+v", r)
		}
	}
	until(t, "the connections are closed", func() bool { return g.open.Load() == 0 && c.Status().Pool.Connections == 0 })
}

func TestConnectionsWithoutStreamsMakeRoom(t *testing.T) {
	one := newServer2(t, &http2.Server{}, always(200))
	two := newServer2(t, &http2.Server{}, always(200))
	old := server(t, always(200))
	c := cluster2(t, registry.ProtocolUndeclared, func(s *Settings) { s.Pool.MaxConnections = 1 }, one.address, two.address, old)
	to := func(address string, p middleware.Protocol) *middleware.Exchange {
		x := requestTo(c, address)
		x.Request.Proto = p
		return x
	}
	for range 3 {
		for _, x := range []*middleware.Exchange{
			to(one.address, middleware.HTTP2), to(old, middleware.HTTP11), to(two.address, middleware.HTTP2), to(old, middleware.HTTP11),
		} {
			if r := finish(x); r.status != 200 {
				t.Fatalf("%+v", r)
			}
			if n := c.Status().Pool.Connections; n > 1 {
				t.Errorf("%d connections, want 1 at most", n)
			}
		}
	}
}

func TestAConnectionMakesWayWhenItsLastStreamEnds(t *testing.T) {
	g := newGate2(t, 250)
	old := server(t, always(200))
	c := cluster2(t, registry.ProtocolUndeclared, func(s *Settings) { s.Pool.MaxConnections = 1 }, g.addr(), old)
	b := newBackground(t)
	first := requestTo(c, g.addr())
	first.Request.Proto = middleware.HTTP2
	b.start(first)
	g.await(t, 1)
	b.start(requestTo(c, old))
	until(t, "the second waits", func() bool { return c.Status().Pool.Pending == 1 })
	close(g.let)
	for range 2 {
		if r := <-b.results; r.status != 200 {
			t.Errorf("%+v", r)
		}
	}
}

func TestAllThatWaitLearnThatThereIsNoConnection(t *testing.T) {
	c := cluster2(t, registry.ProtocolHTTP2, nil, dead(t))
	b := newBackground(t)
	for range 50 {
		b.start(request2(c))
	}
	for range 50 {
		if r := <-b.results; r.status != 503 || r.reason != middleware.ReasonConnectFailed || !r.unsent {
			t.Errorf("%+v", r)
		}
	}
	empty2(t, c)
}

func TestAnEndpointThatEndsEachConnectionIsNotAskedForEver(t *testing.T) {
	var conns atomic.Int64
	address := newPeer2(t, func(n int, p *peer2) {
		conns.Store(int64(n + 1))
		_ = p.WriteSettings()
		_ = p.WriteGoAway(0, http2.ErrCodeNo, nil)
		p.drain()
	})
	c := cluster2(t, registry.ProtocolUndeclared, nil, address)
	start := time.Now()
	if r := finish(request2(c)); r.status < 500 || !r.unsent {
		t.Errorf("%+v", r)
	}
	if took := time.Since(start); took > patience/2 {
		t.Errorf("it took %s", took)
	}
	c.Close()
	if n := conns.Load(); n > 10 {
		t.Errorf("%d connections for one request", n)
	}
}

// TestStreamsUnderLoad has many requests come and go, over connections that end
// all the time, with limits that are reached: nothing is lost count of.
func TestStreamsUnderLoad(t *testing.T) {
	s := newServer2(t, &http2.Server{MaxConcurrentStreams: 5}, echo)
	c := cluster2(t, registry.ProtocolUndeclared, func(s *Settings) {
		s.Pool.HTTP2, s.Pool.MaxConnections, s.Pool.MaxRequestsPerConnection = PoolHTTP2{4, 4}, 6, 17
		s.Pool.PendingTimeout = patience
	}, s.address)
	old := server(t, always(200))
	c.SetEndpoints(endpoints(s.address, old))
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	b := newBackground(t)
	for i := range 24 {
		b.wg.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				x := requestTo(c, []string{s.address, s.address, old}[(i+n)%3])
				x.Request.Proto = middleware.HTTP2
				if (i+n)%5 == 0 {
					time.AfterFunc(time.Duration(n%300)*time.Microsecond, func() { x.Cancel(middleware.ErrClientGone) })
				}
				if r := finish(x); r.status != http.StatusOK && r.reason != middleware.ReasonClientGone {
					t.Errorf("%+v", r)
					return
				}
			}
		})
	}
	b.wg.Wait()
	empty2(t, c)
}

// TestSlowReadersDoNotStopOthers: clients that do not read what they have asked
// for share a connection with others.
func TestSlowReadersDoNotStopOthers(t *testing.T) {
	s := newServer2(t, &http2.Server{}, func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPut {
			_, _ = w.Write([]byte("hello"))
			return
		}
		for piece := make([]byte, 64<<10); r.Context().Err() == nil; {
			if _, err := w.Write(piece); err != nil {
				return
			}
		}
	})
	c := cluster2(t, registry.ProtocolHTTP2, shared(1, 40), s.address)
	var slow []*middleware.Exchange
	for range 39 {
		x := request2(c)
		x.Serve(middleware.Router)
		slow = append(slow, x)
	}
	for _, x := range slow { // as much as may come has come
		until(t, "the stream's window is used up", func() bool {
			b, ok := x.Response.Body.(interface{ Buffered() int })
			return ok && b.Buffered() > 96<<10
		})
	}
	x := request2(c)
	x.Request.Method = []byte("PUT")
	x.SetDeadline(time.Now().Add(patience))
	if a := fetch(x); a.status != 200 || a.body != "hello" || a.err != nil {
		t.Errorf("%+v", a)
	}
	for _, x := range slow {
		x.End(middleware.ErrClientGone)
	}
	if n := s.conns.Load(); n != 1 {
		t.Errorf("%d connections, want 1", n)
	}
	empty2(t, c)
}
