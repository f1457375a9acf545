package proxy

import (
	"sync"
	"sync/atomic"

	"github.com/outrigger-mesh/outrigger/middleware"
	"github.com/outrigger-mesh/outrigger/sidecar/internal/http1"
)

// stream is what belongs to one exchange. A connection has one while it serves
// a request, so that connections that wait cost little.
type stream struct {
	c    *conn
	x    *middleware.Exchange
	body requestBody
	out  []byte // the response's head

	watch watcher

	interrupted atomic.Bool // the exchange was canceled
	headSent    atomic.Bool // of the final response, or it is about to be
	writing     sync.Mutex  // interim responses come from the pump's goroutine
}

// maxKeptHead is the size above which a response head's memory is not kept.
const maxKeptHead = 16 << 10

// stream gives the connection a stream that nobody uses.
func (s *Server) stream(c *conn) *stream {
	st, _ := s.streams.Get().(*stream)
	if st == nil || !st.x.Reset() {
		st = &stream{}
		st.x = middleware.NewExchange(st)
		st.x.Logger = s.o.Logger
		st.body.st, st.watch.st = st, st
	}
	st.c = c
	st.interrupted.Store(false)
	st.headSent.Store(false)
	return st
}

// keep takes a stream back. It returns false when a goroutine still uses it,
// and with it what it has read from its connection.
func (s *Server) keep(st *stream) bool {
	if st.x.Held() {
		return false
	}
	if cap(st.out) > maxKeptHead {
		st.out = nil
	}
	s.streams.Put(st)
	return true
}

// Interrupt is middleware.Wire's.
func (st *stream) Interrupt(_ *middleware.Exchange, _ error) {
	st.interrupted.Store(true)
	st.c.nc.BreakRead()
	if st.headSent.Load() {
		st.c.nc.BreakWrite()
	}
}

// Rematch is middleware.Wire's.
func (st *stream) Rematch(x *middleware.Exchange) (*middleware.Target, error) {
	return st.c.s.o.Dispatcher.Match(x), nil
}

// Inform is middleware.Wire's.
func (st *stream) Inform(status int, h *middleware.Header) error {
	st.writing.Lock()
	defer st.writing.Unlock()
	if st.headSent.Load() || st.x.Request.Proto == middleware.HTTP10 {
		return nil
	}
	st.limitWrite()
	_, err := st.c.nc.Write(http1.AppendInterim(nil, status, h))
	return err
}

// limitWrite limits how long a piece of the response may wait for the client.
func (st *stream) limitWrite() {
	d := st.c.s.o.BodyIdle
	if idle := st.x.Idle(); idle > 0 {
		d = min(d, idle)
	}
	st.c.nc.LimitWrite(d)
}
