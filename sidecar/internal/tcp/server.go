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
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"
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
	o        Options
	stopping atomic.Bool

	mu        sync.Mutex
	ln        net.Listener
	conns     map[*conn]struct{}
	accepting chan struct{} // closed when Serve has returned; nil before it
	stop      chan struct{} // closed by the first Shutdown
	wg        sync.WaitGroup
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
	return &Server{o: o, conns: map[*conn]struct{}{}, stop: make(chan struct{})}
}

// Serve accepts connections until Shutdown, and then returns nil.
func (s *Server) Serve(ln net.Listener) error {
	s.mu.Lock()
	s.ln = ln
	stopping := s.stopping.Load()
	accepting := make(chan struct{})
	s.accepting = accepting
	s.mu.Unlock()
	defer close(accepting)
	if stopping {
		return ln.Close()
	}
	pause := time.Duration(0)
	for {
		nc, err := ln.Accept()
		switch {
		case err == nil:
			pause = 0
			s.start(nc)
		case s.stopping.Load():
			_ = ln.Close()
			return nil
		case errors.Is(err, net.ErrClosed):
			return err
		default: // out of file descriptors, mostly: it gets better or it does not
			pause = min(max(2*pause, 5*time.Millisecond), time.Second)
			s.o.Logger.Warn("accept failed", "port", s.o.Port, "error", err, "retry_in", pause.String())
			select {
			case <-time.After(pause):
			case <-s.stop:
			}
		}
	}
}

func (s *Server) start(nc net.Conn) {
	c := newConn(s, nc)
	s.mu.Lock()
	full := len(s.conns) >= s.o.MaxConns
	if !full {
		s.conns[c] = struct{}{}
		s.wg.Add(1)
	}
	s.mu.Unlock()
	if full {
		c.end(reasonOverload, fmt.Errorf("%d connections are open, which is the limit (limits.tcp.connections)", s.o.MaxConns))
		return
	}
	open := s.o.Metrics.open.WithLabelValues(s.o.Port)
	open.Inc()
	go func() {
		defer s.wg.Done()
		defer func() {
			s.mu.Lock()
			delete(s.conns, c)
			s.mu.Unlock()
			open.Dec()
		}()
		c.serve()
	}()
}

// Drain does nothing: there is no word in TCP for "come back elsewhere".
func (s *Server) Drain() {}

// Connections is the number of open connections.
func (s *Server) Connections() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.conns)
}

// lastAccepts is how long connections are still taken after the end has begun:
// those that the kernel has accepted for us.
const lastAccepts = 20 * time.Millisecond

// Shutdown stops accepting and waits for the connections until the context
// ends; then it closes them, and returns an error that says how many.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	if !s.stopping.Swap(true) {
		close(s.stop)
	}
	ln, accepting := s.ln, s.accepting
	s.mu.Unlock()
	if accepting != nil {
		if d, ok := ln.(interface{ SetDeadline(time.Time) error }); !ok || d.SetDeadline(time.Now().Add(lastAccepts)) != nil {
			_ = ln.Close()
		}
		<-accepting
	}
	done := make(chan struct{})
	go func() {
		s.wg.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
	}
	s.mu.Lock()
	n := len(s.conns)
	for c := range s.conns {
		c.abort(reasonDrained)
	}
	s.mu.Unlock()
	<-done
	if n == 0 {
		return nil
	}
	return &AbortedError{Port: s.o.Port, Connections: n}
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
