// Package intake is what every server of connections needs, whatever they
// carry: it accepts them, keeps count of them within a limit, and at the end
// waits for them.
package intake

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// lastAccepts is how long connections are still taken after the end has begun:
// those that the kernel has accepted for us.
const lastAccepts = 20 * time.Millisecond

// Conns are the open connections of one listener.
type Conns[C comparable] struct {
	Limit int // Add takes no more at a time

	stopping atomic.Bool
	stop     chan struct{} // closed by the first Shutdown

	mu        sync.Mutex
	ln        net.Listener
	open      map[C]struct{}
	accepting chan struct{} // closed when Serve has returned; nil before it
	wg        sync.WaitGroup
}

// New makes an empty Conns.
func New[C comparable](limit int) *Conns[C] {
	return &Conns[C]{Limit: limit, open: map[C]struct{}{}, stop: make(chan struct{})}
}

// Serve gives every connection that comes to start, until Shutdown; then it
// closes the listener and returns nil. log has the words that name the listener.
func (s *Conns[C]) Serve(ln net.Listener, log *slog.Logger, start func(net.Conn)) error {
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
			start(nc)
		case s.stopping.Load():
			_ = ln.Close()
			return nil
		case errors.Is(err, net.ErrClosed):
			return err
		default: // out of file descriptors, mostly: it gets better or it does not
			pause = min(max(2*pause, 5*time.Millisecond), time.Second)
			log.Warn("accept failed", "error", err, "retry_in", pause.String())
			select {
			case <-time.After(pause):
			case <-s.stop:
			}
		}
	}
}

// Add takes a connection in; false: there are as many as may be. Who was taken
// in is to be given to Remove.
func (s *Conns[C]) Add(c C) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.open) >= s.Limit {
		return false
	}
	s.open[c] = struct{}{}
	s.wg.Add(1)
	return true
}

// Remove is the end of a connection.
func (s *Conns[C]) Remove(c C) {
	s.mu.Lock()
	delete(s.open, c)
	s.mu.Unlock()
	s.wg.Done()
}

// Len is the number of open connections.
func (s *Conns[C]) Len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.open)
}

// Stopping reports whether Shutdown was called.
func (s *Conns[C]) Stopping() bool { return s.stopping.Load() }

// Shutdown ends Serve, calls quiet for every open connection, and waits for them
// until ctx ends; then it calls abort for those that are left, waits for these
// too, and says how many they were. Both are called with a lock held.
func (s *Conns[C]) Shutdown(ctx context.Context, quiet, abort func(C)) (aborted int) {
	s.mu.Lock()
	if !s.stopping.Swap(true) {
		close(s.stop)
	}
	ln, accepting := s.ln, s.accepting
	s.mu.Unlock()
	if accepting != nil {
		// Connections that the kernel has taken for us are served too.
		if d, ok := ln.(interface{ SetDeadline(time.Time) error }); !ok || d.SetDeadline(time.Now().Add(lastAccepts)) != nil {
			_ = ln.Close()
		}
		<-accepting
	}
	s.Each(quiet)
	done := make(chan struct{})
	go func() {
		s.wg.Wait()
		close(done)
	}()
	select {
	case <-done:
		return 0
	case <-ctx.Done():
	}
	aborted = s.Each(abort)
	<-done
	return aborted
}

// Each calls f for every open connection, with a lock held, and says how many
// they are.
func (s *Conns[C]) Each(f func(C)) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.open {
		f(c)
	}
	return len(s.open)
}
