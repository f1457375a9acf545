// Package tcp passes the bytes of connections through to one address and back,
// whatever they mean: it is how the app's ports are reached that speak no HTTP.
//
// Each connection has one of its own to the app. An end of stream is passed on
// as that, so that either side may go on sending after the other has finished
// (RFC 9293, section 3.6); a reset is passed on as a reset. Between two TCP
// sockets the kernel moves the bytes (splice(2)); they never come up here.
//
// What is counted and bounded: open connections, the time to connect, and the
// time without a byte in either direction.
package tcp

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/outrigger-mesh/outrigger/sidecar/internal/intake"
)

// Defaults of Options.
const (
	DefaultConnectTimeout = 2 * time.Second
	DefaultIdleTimeout    = time.Hour // as Envoy's tcp_proxy
	DefaultMaxConns       = 10_000
)

// Options of a Server.
type Options struct {
	Port string // the name of the app's port: a label of metrics and log
	// Target is the app's address, host:port, asked for each connection.
	Target  func() string
	Logger  *slog.Logger
	Metrics *Metrics

	ConnectTimeout time.Duration // to Target
	// IdleTimeout is the time without a byte in either direction. It is looked
	// for four times in it, so it may become half as much again.
	IdleTimeout time.Duration
	MaxConns    int // above it, connections are closed as they come
}

// Server passes the connections of one listener through.
type Server struct {
	o     Options
	conns *intake.Conns[*conn]
}

// New makes a server; Serve starts it.
func New(o Options) *Server {
	if o.ConnectTimeout <= 0 {
		o.ConnectTimeout = DefaultConnectTimeout
	}
	if o.IdleTimeout <= 0 {
		o.IdleTimeout = DefaultIdleTimeout
	}
	if o.MaxConns <= 0 {
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
	return s.conns.Serve(ln, s.o.Logger.With("port", s.o.Port), s.start)
}

func (s *Server) start(nc net.Conn) {
	c := newConn(s, nc)
	if !s.conns.Add(c) {
		c.end(reasonOverload, fmt.Errorf("%d connections are open, which is the limit (limits.tcp.connections)", s.o.MaxConns))
		return
	}
	open := s.o.Metrics.open.WithLabelValues(s.o.Port)
	open.Inc()
	go func() {
		defer s.conns.Remove(c)
		defer open.Dec()
		c.serve()
	}()
}

// Drain does nothing: there is no word in TCP for "come back elsewhere".
func (s *Server) Drain() {}

// Connections is the number of open connections.
func (s *Server) Connections() int { return s.conns.Len() }

// Shutdown stops accepting and waits for the connections until the context
// ends; then it closes them, and returns an error that says how many.
func (s *Server) Shutdown(ctx context.Context) error {
	n := s.conns.Shutdown(ctx, func(*conn) {}, func(c *conn) { c.abort(reasonDrained) })
	if n > 0 {
		return &AbortedError{Port: s.o.Port, Connections: n}
	}
	return nil
}

// AbortedError says that connections were closed before either side did.
type AbortedError struct {
	Port        string
	Connections int
}

// Error says how many.
func (e *AbortedError) Error() string {
	return fmt.Sprintf("port %s: open connections closed: %d: the drain time is over", e.Port, e.Connections)
}
