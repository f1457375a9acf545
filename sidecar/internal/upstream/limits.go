package upstream

import (
	"container/list"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/outrigger-mesh/outrigger/middleware"
)

// limits keeps the requests and connections of a cluster within its Pool. A
// request that finds a free connection takes no lock here: it counts itself and
// sees that nobody waits. All that opens, closes or waits for a connection goes
// through mu.
//
// Locks are taken in the order limits.mu, host.mu or muxes.mu, the one of an
// HTTP/2 connection.
type limits struct {
	cluster string
	pool    atomic.Pointer[Pool]
	hosts   atomic.Pointer[[]*host] // those of the cluster, to take an unused connection from

	waiting atomic.Int64 // requests in the queue, or on their way into it

	// Every request writes here, and reads what stands above: apart, so that
	// the one does not slow the other down on another core.
	_      [64]byte
	active atomic.Int64 // requests that have a connection, or are making one
	_      [64]byte

	mu          sync.Mutex
	connections int       // open, or being opened
	queue       list.List // of *waiter, the one that came first in front
	pending     int       // requests that wait, in the queue or for a stream

	opened    atomic.Uint64
	failed    atomic.Uint64
	refusals  [limitKinds]atomic.Uint64
	queueSize atomic.Int64 // pending, for metrics
	openSize  atomic.Int64 // connections, for metrics
}

// limitKind is which limit refused a request.
type limitKind uint8

const (
	limitRequests limitKind = iota
	limitPending
	limitPendingTimeout
	limitKinds
)

// limitNames are the limits as the configuration and metrics call them.
var limitNames = [limitKinds]string{"maxRequests", "maxPending", "pendingTimeout"}

// refusal is a request that a limit has refused. Nothing of it was sent.
type refusal struct{ *middleware.Reject }

// Unwrap is the Reject itself.
func (r refusal) Unwrap() error { return r.Reject }

// leftQueue is the error of a request that was canceled while it waited: it says
// nothing of the endpoint.
type leftQueue struct{ error }

// Unwrap is what it was canceled with.
func (l leftQueue) Unwrap() error { return l.error }

// reasonPool is why a request was refused.
const reasonPool = middleware.ReasonPoolFull

func (l *limits) refuse(kind limitKind, p *Pool) error {
	l.refusals[kind].Add(1)
	r := &middleware.Reject{Status: http.StatusServiceUnavailable, Reason: reasonPool}
	switch kind {
	case limitRequests:
		r.Message = fmt.Sprintf("%d requests to %s are under way, which is its pool.maxRequests: try again later", p.MaxRequests, l.cluster)
	case limitPending:
		r.Message = fmt.Sprintf("every connection to %s is in use, and %d requests wait for one, which is its pool.maxPending: try again later",
			l.cluster, p.MaxPending)
	default:
		r.Message = fmt.Sprintf("no connection to %s became free within %s, its pool.pendingTimeout: try again later", l.cluster, p.PendingTimeout)
	}
	return refusal{r}
}

// waiter is a request in the queue.
type waiter struct {
	host     *host
	fresh    bool // it must not have a connection that was used
	shared   bool // no request: it waits for room for an HTTP/2 connection
	inQueue  *list.Element
	inHost   *list.Element
	granted  bool          // guarded by limits.mu
	conn     *clientConn   // what was granted; nil: it may open one
	ready    chan struct{} // closed when granted
	canceled chan struct{} // has a value when the attempt was canceled
}

// Interrupt is middleware.Stream's.
func (w *waiter) Interrupt(error) {
	select {
	case w.canceled <- struct{}{}:
	default:
	}
}

// Finish is middleware.Stream's.
func (w *waiter) Finish() {}

// admit takes a request in. It returns an unused connection, or nil where the
// caller is to open one and then to call track or openFailed, or a refusal.
// In between it may wait, until the attempt is canceled.
func (l *limits) admit(h *host, a *middleware.Attempt, fresh bool) (*clientConn, error) {
	p := l.pool.Load()
	if l.active.Add(1) > int64(p.MaxRequests) {
		l.active.Add(-1)
		return nil, l.refuse(limitRequests, p)
	}
	if !fresh && l.waiting.Load() == 0 {
		if c := l.unused(h, p, a.Start); c != nil {
			return c, nil
		}
	}
	return l.open(h, p, a, fresh)
}

// unused is a connection that lies in the host's stack; nil if there is none.
// Those that have lain too long are closed.
func (l *limits) unused(h *host, p *Pool, now time.Time) *clientConn {
	for {
		c := h.pop()
		if c == nil {
			return nil
		}
		if p.IdleTimeout == 0 || now.Sub(c.idleSince) <= p.IdleTimeout {
			use(c)
			return c
		}
		_ = c.nc.Close()
	}
}

// open is admit's way under the lock.
func (l *limits) open(h *host, p *Pool, a *middleware.Attempt, fresh bool) (*clientConn, error) {
	// Before looking for an unused connection: who puts one back from now on
	// sees that somebody may wait.
	l.waiting.Add(1)
	l.mu.Lock()
	if h.waiters.Len() == 0 { // else it would overtake them
		if !fresh {
			if c := h.pop(); c != nil {
				use(c)
				l.mu.Unlock()
				l.waiting.Add(-1)
				return c, nil
			}
		}
		if l.makeRoom(h, p, fresh); l.room(h, p) {
			l.count(h, 1)
			l.mu.Unlock()
			l.waiting.Add(-1)
			return nil, nil
		}
	}
	l.active.Add(-1) // it waits
	if l.pending >= p.MaxPending {
		l.mu.Unlock()
		l.waiting.Add(-1)
		return nil, l.refuse(limitPending, p)
	}
	w := &waiter{host: h, fresh: fresh, ready: make(chan struct{}), canceled: make(chan struct{}, 1)}
	w.inQueue, w.inHost = l.queue.PushBack(w), h.waiters.PushBack(w)
	l.waits(1)
	l.mu.Unlock()
	return l.wait(w, p, a)
}

// waits counts the requests that wait. mu is held.
func (l *limits) waits(n int) {
	l.pending += n
	l.queueSize.Store(int64(l.pending))
}

// makeRoom closes an unused connection where the limits leave no room for
// another one to h: one to h that must not be used, or one to another endpoint,
// for what lies unused must not keep an endpoint without any. mu is held.
func (l *limits) makeRoom(h *host, p *Pool, fresh bool) {
	if l.room(h, p) {
		return
	}
	var victim *clientConn
	if fresh {
		victim = h.pop()
	}
	if victim == nil && l.roomAt(h, p) {
		victim = l.victim(h)
	}
	if victim != nil {
		l.drop(victim)
	}
	if !l.room(h, p) {
		l.dropUnusedMux(h, p)
	}
}

// wait is the time in the queue.
func (l *limits) wait(w *waiter, p *Pool, a *middleware.Attempt) (*clientConn, error) {
	if err := a.Bind(w); err != nil {
		if l.leave(w) {
			return nil, leftQueue{err}
		}
		return w.conn, nil // who asked finds out for itself that it is canceled
	}
	defer a.Unbind()
	timer := time.NewTimer(p.PendingTimeout)
	defer timer.Stop()
	select {
	case <-w.ready:
		return w.conn, nil
	case <-w.canceled:
		if l.leave(w) {
			return nil, leftQueue{a.Err()}
		}
	case <-timer.C:
		if l.leave(w) {
			return nil, l.refuse(limitPendingTimeout, p)
		}
	}
	return w.conn, nil
}

// leave takes a waiter out of the queue; false says that it was granted what it
// waited for.
func (l *limits) leave(w *waiter) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if w.granted {
		return false
	}
	l.unqueue(w)
	return true
}

func (l *limits) unqueue(w *waiter) {
	l.queue.Remove(w.inQueue)
	w.host.waiters.Remove(w.inHost)
	if !w.shared {
		l.waits(-1)
	}
	l.waiting.Add(-1)
}

// grant lets a waiter go on, with a connection or the right to open one. mu is
// held.
func (l *limits) grant(w *waiter, c *clientConn) {
	l.unqueue(w)
	if !w.shared {
		l.active.Add(1)
	}
	w.granted, w.conn = true, c
	close(w.ready)
}

// dispatch gives what is free to those that wait. An unused connection to h goes
// to who waits for one to h, for it is there already; but where who came first
// waits for an endpoint that has no connection at all, or nobody waits for one to
// h, it is closed to make room for whoever came first. mu is held.
func (l *limits) dispatch(h *host) {
	p := l.pool.Load()
	for l.queue.Len() > 0 {
		for e := l.queue.Front(); e != nil && l.connections < p.MaxConnections; {
			w := e.Value.(*waiter)
			e = e.Next()
			if l.roomAt(w.host, p) {
				l.count(w.host, 1)
				l.grant(w, nil)
			}
		}
		w := l.heir(h, p)
		if w == nil {
			return
		}
		c := h.pop()
		if c == nil {
			return
		}
		if w.host == h && !w.fresh {
			use(c)
			l.grant(w, c)
			continue
		}
		if l.drop(c); l.room(w.host, p) {
			l.count(w.host, 1)
			l.grant(w, nil)
		}
	}
}

// heir is who gets the next unused connection to h, or the room that it leaves;
// nil: nobody. mu is held.
func (l *limits) heir(h *host, p *Pool) *waiter {
	e := l.queue.Front()
	if e == nil {
		return nil
	}
	own := h.waiters.Front()
	if first := e.Value.(*waiter); own != nil && first.host.connections > 0 {
		return own.Value.(*waiter)
	}
	for ; e != nil; e = e.Next() {
		if w := e.Value.(*waiter); w.host == h || l.roomAt(w.host, p) {
			return w
		}
	}
	return nil
}

// serveQueue is dispatch for who does not hold mu.
func (l *limits) serveQueue(h *host) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.dispatch(h)
}

// room reports whether another connection to h may be opened. mu is held.
func (l *limits) room(h *host, p *Pool) bool {
	return l.connections < p.MaxConnections && l.roomAt(h, p)
}

func (l *limits) roomAt(h *host, p *Pool) bool {
	return p.MaxConnectionsPerEndpoint == 0 || h.connections < p.MaxConnectionsPerEndpoint
}

func (l *limits) count(h *host, n int) {
	l.connections += n
	h.connections += n
	l.openSize.Store(int64(l.connections))
}

// drop closes an unused connection. mu is held.
func (l *limits) drop(c *clientConn) {
	if t := trackedOf(c); t != nil {
		t.closed.Store(true) // its Close has nothing left to do here
		l.count(t.host, -1)
	}
	_ = c.nc.Close()
}

// victim is an unused connection to another endpoint than h. mu is held.
func (l *limits) victim(h *host) *clientConn {
	for _, other := range *l.hosts.Load() {
		if other == h {
			continue
		}
		if c := other.popOldest(); c != nil {
			return c
		}
	}
	return nil
}

// openFailed gives back what admit has granted for a connection that could not
// be opened.
func (l *limits) openFailed(h *host) {
	l.failed.Add(1)
	l.active.Add(-1)
	l.notOpened(h)
}

// notOpened gives back the room for a connection.
func (l *limits) notOpened(h *host) {
	l.mu.Lock()
	l.count(h, -1)
	l.mu.Unlock()
	if l.waiting.Load() > 0 {
		l.serveQueue(h)
	}
}

// resize lets those go on that changed limits have room for.
func (l *limits) resize() {
	if hosts := *l.hosts.Load(); l.waiting.Load() > 0 && len(hosts) > 0 {
		l.serveQueue(hosts[0])
	}
}
