// Package proxy is the engines: they take HTTP from clients, fill an Exchange
// for each request, run its chain, send the response head and stream the
// bodies. This is the HTTP/1.1 one: a goroutine per connection.
//
// What an engine promises to middleware stands in the middleware package; the
// suite in middlewaretest holds it to that.
package proxy

import (
	"context"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/outrigger-mesh/outrigger/middleware"
	"github.com/outrigger-mesh/outrigger/sidecar/internal/intake"
	"github.com/outrigger-mesh/outrigger/sidecar/internal/secure"
)

// Defaults of Options.
const (
	DefaultHeadTimeout = 10 * time.Second
	DefaultKeepAlive   = 75 * time.Second
	DefaultBodyIdle    = 5 * time.Minute
	DefaultMaxConns    = 20_000
)

// Dispatcher finds the way of a request. It is called by many goroutines.
type Dispatcher interface {
	// Match is the target of a request, never nil: one that refuses where there
	// is no route. It may wait for discovery, until the exchange is canceled.
	Match(x *middleware.Exchange) *middleware.Target
}

// Options of a Server.
type Options struct {
	Listener   string // inbound, outbound or gateway
	Dispatcher Dispatcher
	Logger     *slog.Logger
	Metrics    *Metrics
	// TellUnsent marks local replies to requests that certainly reached no app,
	// for the sidecar on the caller's side.
	TellUnsent bool
	// Tunnels has CONNECT served: a tunnel to an endpoint of the authority's
	// service.
	Tunnels bool
	// Forwarded adds x-forwarded-for and x-forwarded-proto: at the edge of the
	// mesh.
	Forwarded bool

	// TLS is how the listener speaks it; nil: not at all.
	TLS *secure.Listener

	HeadTimeout time.Duration // from a head's first byte to its last; and for a connection's first byte
	KeepAlive   time.Duration // between requests
	BodyIdle    time.Duration // in which no byte of a body moves
	MaxConns    int           // above it, connections are answered with 503 and closed
	Streams     int           // that one connection of HTTP/2 may have open at a time; 0: http2.DefaultStreams
}

// Server serves HTTP/1.1 on one listener.
type Server struct {
	o        Options
	draining atomic.Bool
	streams  sync.Pool // of *stream
	conns    *intake.Conns[*conn]
	streams2 sync.Pool // of *stream2

	lastHandshake atomic.Int64 // when a failed one was logged, in Unix nanoseconds
}

// New makes a server; Serve starts it.
func New(o Options) *Server {
	if o.HeadTimeout == 0 {
		o.HeadTimeout = DefaultHeadTimeout
	}
	if o.KeepAlive == 0 {
		o.KeepAlive = DefaultKeepAlive
	}
	if o.BodyIdle == 0 {
		o.BodyIdle = DefaultBodyIdle
	}
	if o.MaxConns == 0 {
		o.MaxConns = DefaultMaxConns
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Metrics == nil {
		o.Metrics = NewMetrics(nil)
	}
	return &Server{o: o, conns: intake.New[*conn](o.MaxConns)}
}

// Serve accepts connections until Shutdown, and then returns nil.
func (s *Server) Serve(ln net.Listener) error {
	return s.conns.Serve(ln, s.o.Logger.With("listener", s.o.Listener), s.start)
}

func (s *Server) start(nc net.Conn) {
	c := newConn(s, nc)
	if !s.conns.Add(c) {
		s.o.Metrics.refused.WithLabelValues(s.o.Listener).Inc()
		c.refuse()
		return
	}
	s.o.Metrics.connections.WithLabelValues(s.o.Listener).Inc()
	go s.run(c)
}

// run serves a connection until it ends.
func (s *Server) run(c *conn) {
	if c.serve() {
		s.ended(c)
	}
}

// settle waits for the rest of the time that a connection may be without a
// request, on a small stack: it calls the wait itself and nothing before it.
func (s *Server) settle(c *conn) {
	c.nc.LimitRead(s.o.KeepAlive - settleAfter)
	if c.lastWait(c.in.Wait()) != nil {
		s.ended(c)
		return
	}
	s.run(c)
}

// ended closes the connection and forgets it.
func (s *Server) ended(c *conn) {
	_ = c.nc.Close()
	c.in.Release()
	s.o.Metrics.connections.WithLabelValues(s.o.Listener).Dec()
	s.conns.Remove(c)
}

// Drain lets every connection end with its next response: callers are told to
// come back on another one, and elsewhere. New connections are still taken.
func (s *Server) Drain() {
	s.draining.Store(true)
	s.conns.Each(func(c *conn) {
		if h := c.spoken(); h != nil {
			go h.drain() // it writes
		}
	})
}

// Connections is the number of open connections.
func (s *Server) Connections() int { return s.conns.Len() }

// Shutdown stops accepting, closes connections that wait for a request, and
// waits for the others until the context ends; then it closes them too, and
// returns an error that says how many.
func (s *Server) Shutdown(ctx context.Context) error {
	s.draining.Store(true)
	if n := s.conns.Shutdown(ctx, (*conn).endIdle, (*conn).abort); n > 0 {
		return &AbortedError{Listener: s.o.Listener, Connections: n}
	}
	return nil
}

// AbortedError says that connections were closed before they were through.
type AbortedError struct {
	Listener    string
	Connections int
}

// Error says how many.
func (e *AbortedError) Error() string {
	return e.Listener + ": " + plural(e.Connections, "connection") + " closed before the last response was complete: the drain time is over"
}
