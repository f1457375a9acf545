package proxy

import (
	"errors"
	"net/netip"
	"sync/atomic"

	"github.com/outrigger-mesh/outrigger/middleware"
	"github.com/outrigger-mesh/outrigger/sidecar/internal/http2"
)

// priorKnowledge is what the client preface of HTTP/2 (RFC 9113, section 3.4)
// looks like to who expects HTTP/1.1: a head.
const priorKnowledge = "PRI * HTTP/2.0\r\n\r\n"

// conn2 is a client's connection on which HTTP/2 is spoken: each of its streams
// is an exchange of its own.
type conn2 struct {
	s        *Server
	c        *http2.Conn
	peer     netip.AddrPort
	secured  *session // nil: plain text
	draining atomic.Bool
	workers  workers
}

// serveHTTP2 serves a connection on which HTTP/2 is spoken; early is what was
// read of it already. It returns when every stream has ended.
func (c *conn) serveHTTP2(early []byte) bool {
	s := c.s
	h := &conn2{s: s, peer: c.peer, secured: c.secured, workers: workers{run: (*stream2).run}}
	trouble := s.o.Metrics.trouble
	h.c = http2.NewServer(c.nc, early, http2.Options{
		Streams: s.o.Streams, FrameTimeout: s.o.HeadTimeout, IdleTimeout: s.o.KeepAlive, WriteTimeout: s.o.BodyIdle,
		Trouble: func(t http2.Trouble) { trouble.WithLabelValues(s.o.Listener, string(t)).Inc() },
	}, h)
	c.in.Release()
	c.mu.Lock()
	c.http2 = h
	aborted := c.aborted
	c.mu.Unlock()
	if !aborted {
		c.nc.MendRead() // endIdle's, who took the connection for one that waits
	}
	switch {
	case aborted:
		h.c.Close()
	case s.conns.Stopping():
		h.drain()
	}
	open := s.o.Metrics.http2.WithLabelValues(s.o.Listener)
	open.Inc()
	if err := h.c.Serve(); err != nil {
		s.o.Logger.Debug("connection ended", "listener", s.o.Listener, "peer", c.peer, "protocol", "HTTP/2", "error", err)
	}
	h.workers.end()
	open.Dec()
	return true
}

// drain has the client come back on another connection.
func (h *conn2) drain() {
	if !h.draining.Swap(true) {
		h.c.Drain()
	}
}

// Request is http2.Handler's.
func (h *conn2) Request(s *http2.Stream) {
	if h.s.draining.Load() && !h.draining.Load() {
		go h.drain() // it writes
	}
	h.workers.do(h.s.stream2(h, s))
}

// Reset is http2.Handler's.
func (h *conn2) Reset(s *http2.Stream, err error) {
	s.User.(*stream2).x.Cancel(errors.Join(middleware.ErrClientGone, err))
}
