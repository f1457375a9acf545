package upstream

import (
	"container/list"
	"errors"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/outrigger-mesh/outrigger/middleware"
	"github.com/outrigger-mesh/outrigger/sidecar/internal/http2"
)

// muxes is a host's HTTP/2 connections, and who waits for a stream on one. A
// request that finds a free stream takes no lock of it.
type muxes struct {
	list    atomic.Pointer[[]*mux] // that take streams; not changed in place
	waiting atomic.Int64           // requests in the queue, or on their way into it

	mu     sync.Mutex // held to change list
	closed bool       // connections that are made from now on are not kept

	// What follows is guarded by limits.mu.
	opening int       // connections that are being opened, or wait for room
	queue   list.List // of *streamWaiter, the one that came first in front

	barren atomic.Int64 // of the connections that were opened, the last ones that took no stream
}

// maxBarren is how many connections in a row may turn out to take no stream,
// before those that wait are told so.
const maxBarren = 3

func (s *muxes) all() []*mux {
	if l := s.list.Load(); l != nil {
		return *l
	}
	return nil
}

// add takes a connection in; false says that none are kept any more.
func (s *muxes) add(m *mux) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if m.retired.Load() { // it has ended already; who retires it looks for it here afterwards
		return true
	}
	next := append(slices.Clone(s.all()), m)
	s.list.Store(&next)
	return !s.closed
}

func (s *muxes) remove(m *mux) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := slices.Index(s.all(), m); i >= 0 {
		next := slices.Delete(slices.Clone(s.all()), i, i+1)
		s.list.Store(&next)
	}
}

// close retires all connections, those that come later too.
func (s *muxes) close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	for _, m := range s.all() {
		m.retire()
	}
}

// reap retires what was unused for too long, or is too old to be used again.
func (s *muxes) reap(p *Pool, now time.Time) {
	for _, m := range s.all() {
		if m.tracked.expired(now) || m.stale(p, now) {
			m.retire()
		}
	}
}

// counts is how many connections there are, and streams on them.
func (s *muxes) counts() (connections, streams int) {
	for _, m := range s.all() {
		connections++
		streams += int(max(m.open.Load(), 0))
	}
	return connections, streams
}

// take opens a stream on the connection that has the fewest; nil: none is free.
func (s *muxes) take(p *Pool, now time.Time) (*mux, *http2.Stream) {
	for range maxTakes {
		var best *mux
		least := int64(math.MaxInt64)
		for _, m := range s.all() {
			if m.stale(p, now) {
				m.retire()
				continue
			}
			n := m.open.Load()
			if n >= 0 && n < least && n < min(m.limit.Load(), int64(p.HTTP2.Streams)) {
				best, least = m, n
			}
		}
		if best == nil {
			return nil, nil
		}
		if st := best.stream(p, now); st != nil {
			return best, st
		}
	}
	return nil, nil
}

// maxTakes bounds how often a stream is looked for while others take what was
// found: who gets none then waits.
const maxTakes = MaxPoolHTTP2 + 1

// streamWaiter is a request that waits for a stream.
type streamWaiter struct {
	element  *list.Element
	granted  bool // guarded by limits.mu
	mux      *mux
	stream   *http2.Stream
	err      error
	ready    chan struct{} // closed when granted
	canceled chan struct{} // has a value when the attempt was canceled
}

// Interrupt is middleware.Stream's.
func (w *streamWaiter) Interrupt(error) {
	select {
	case w.canceled <- struct{}{}:
	default:
	}
}

// Finish is middleware.Stream's.
func (w *streamWaiter) Finish() {}

// stream is a stream for an attempt: a free one, or one of a connection that is
// opened, or one that was waited for. errOnlyHTTP1 says that the host is to be
// spoken to over HTTP/1.1. With a stream, the attempt counts in limits.active.
func (h *host) stream(a *middleware.Attempt) (*mux, *http2.Stream, error) {
	l, s := h.limits, &h.muxes
	p := l.pool.Load()
	if l.active.Add(1) > int64(p.MaxRequests) {
		l.active.Add(-1)
		return nil, nil, l.refuse(limitRequests, p)
	}
	if s.waiting.Load() == 0 {
		if m, st := s.take(p, a.Start); st != nil {
			return m, st, nil
		}
	}
	return h.queueForStream(p, a)
}

// queueForStream is stream's way under the lock.
func (h *host) queueForStream(p *Pool, a *middleware.Attempt) (*mux, *http2.Stream, error) {
	l, s := h.limits, &h.muxes
	s.waiting.Add(1) // before looking: who frees a stream from now on sees that somebody may wait
	l.mu.Lock()
	if s.queue.Len() == 0 { // else it would overtake them
		if m, st := s.take(p, a.Start); st != nil {
			l.mu.Unlock()
			s.waiting.Add(-1)
			return m, st, nil
		}
	}
	l.active.Add(-1) // it waits
	// Who has a connection opened waits for that, not for others' requests.
	if opens := h.openMore(p, 1); !opens && l.pending >= p.MaxPending {
		l.mu.Unlock()
		s.waiting.Add(-1)
		return nil, nil, l.refuse(limitPending, p)
	}
	w := &streamWaiter{ready: make(chan struct{}), canceled: make(chan struct{}, 1)}
	w.element = s.queue.PushBack(w)
	l.waits(1)
	l.mu.Unlock()
	return h.awaitStream(w, p, a)
}

// awaitStream is the time in the queue.
func (h *host) awaitStream(w *streamWaiter, p *Pool, a *middleware.Attempt) (*mux, *http2.Stream, error) {
	if err := a.Bind(w); err != nil {
		if h.leaveStreams(w) {
			return nil, nil, leftQueue{err}
		}
		<-w.ready
		return w.mux, w.stream, w.err // who asked finds out for itself that it is canceled
	}
	defer a.Unbind()
	timer := time.NewTimer(p.PendingTimeout)
	defer timer.Stop()
	for more := true; ; more = false {
		select {
		case <-w.ready:
		case <-w.canceled:
			if h.leaveStreams(w) {
				return nil, nil, leftQueue{a.Err()}
			}
		case <-timer.C:
			if more && h.connecting() { // that has a limit of its own, and an answer of its own
				timer.Reset(time.Duration(h.connectTimeout.Load()) + settingsWait)
				continue
			}
			if h.leaveStreams(w) {
				return nil, nil, h.limits.refuse(limitPendingTimeout, p)
			}
		}
		<-w.ready // it was granted meanwhile
		return w.mux, w.stream, w.err
	}
}

// connecting reports that there is no connection yet, and one is being opened.
func (h *host) connecting() bool {
	h.limits.mu.Lock()
	defer h.limits.mu.Unlock()
	return h.muxes.opening > 0 && len(h.muxes.all()) == 0
}

// leaveStreams takes a waiter out of the queue; false says that it was granted
// what it waited for, or was told that there is nothing.
func (h *host) leaveStreams(w *streamWaiter) bool {
	h.limits.mu.Lock()
	defer h.limits.mu.Unlock()
	if w.granted {
		return false
	}
	h.unqueueStream(w)
	return true
}

func (h *host) unqueueStream(w *streamWaiter) {
	h.muxes.queue.Remove(w.element)
	h.muxes.waiting.Add(-1)
	h.limits.waits(-1)
}

// grantStream lets a waiter go on. mu of the limits is held.
func (h *host) grantStream(w *streamWaiter, m *mux, st *http2.Stream, err error) {
	h.unqueueStream(w)
	if err == nil {
		h.limits.active.Add(1)
	}
	w.granted, w.mux, w.stream, w.err = true, m, st, err
	close(w.ready)
}

// serveStreams gives free streams to those that wait.
func (h *host) serveStreams() {
	h.limits.mu.Lock()
	defer h.limits.mu.Unlock()
	h.dispatchStreams(true)
}

// dispatchStreams gives free streams to those that wait, and has connections
// opened for the others if more is set. mu of the limits is held.
func (h *host) dispatchStreams(more bool) {
	p, s := h.limits.pool.Load(), &h.muxes
	now := time.Now()
	for e := s.queue.Front(); e != nil; e = s.queue.Front() {
		m, st := s.take(p, now)
		if st == nil {
			break
		}
		h.grantStream(e.Value.(*streamWaiter), m, st, nil)
	}
	if more && s.queue.Len() > 0 {
		h.openMore(p, 0)
	}
}

// failStreams tells all that wait why there is nothing. mu of the limits is held.
func (h *host) failStreams(err error) {
	for e := h.muxes.queue.Front(); e != nil; e = h.muxes.queue.Front() {
		h.grantStream(e.Value.(*streamWaiter), nil, nil, err)
	}
}

// openMore has one more connection opened, where those that wait, and extra
// others, need it and there may be one; it reports whether it did. All streams of
// the connections that there are are taken. mu of the limits is held.
func (h *host) openMore(p *Pool, extra int) bool {
	s := &h.muxes
	list := s.all()
	if s.queue.Len()+extra <= s.opening*p.HTTP2.Streams || len(list)+s.opening >= p.HTTP2.Connections {
		return false
	}
	for _, m := range list {
		if m.open.Load() == 0 { // negative: it is on its way out
			return false // the peer takes no stream at present: another connection would be no better
		}
	}
	if s.barren.Load() >= maxBarren {
		s.barren.Store(0)
		h.failStreams(errBarren)
		return false
	}
	l := h.limits
	s.opening++
	if l.makeRoom(h, p, true); l.room(h, p) && h.waiters.Len() == 0 {
		l.count(h, 1)
		go h.openMux(nil)
		return true
	}
	w := &waiter{host: h, fresh: true, shared: true, ready: make(chan struct{})}
	w.inQueue, w.inHost = l.queue.PushBack(w), h.waiters.PushBack(w)
	l.waiting.Add(1)
	go h.openMux(w)
	return true
}

// Errors of those that wait for a stream.
var (
	errOnlyHTTP1 = errors.New("the endpoint speaks HTTP/1.1")
	errBarren    = errors.New("the endpoint takes HTTP/2 connections, and ends each before a request can be sent")
)

// openMux opens a connection, once w says that there is room; nil: there is.
func (h *host) openMux(w *waiter) {
	l, s := h.limits, &h.muxes
	if w != nil && !h.awaitRoom(w) {
		l.mu.Lock()
		s.opening--
		h.dispatchStreams(true) // those that came later still have time
		l.mu.Unlock()
		return
	}
	if w != nil && h.nobodyWaits() {
		l.notOpened(h)
		return
	}
	m, err := h.connectMux()
	l.mu.Lock()
	s.opening--
	kept := true
	switch {
	case err == nil:
		kept = s.add(m)
		h.dispatchStreams(kept)
	case errors.Is(err, errOnlyHTTP1), len(s.all())+s.opening == 0:
		h.failStreams(err)
	}
	l.mu.Unlock()
	if !kept { // it was for those that had this endpoint already
		m.retire()
	}
}

// nobodyWaits reports that a connection for which there is room at last is not
// needed any more, and that it is not opened.
func (h *host) nobodyWaits() bool {
	h.limits.mu.Lock()
	defer h.limits.mu.Unlock()
	if h.muxes.queue.Len() > 0 {
		return false
	}
	h.muxes.opening--
	return true
}

// awaitRoom is an opener's time in the queue of the limits.
func (h *host) awaitRoom(w *waiter) bool {
	timer := time.NewTimer(h.limits.pool.Load().PendingTimeout)
	defer timer.Stop()
	select {
	case <-w.ready:
		return true
	case <-timer.C:
		return !h.limits.leave(w)
	}
}
