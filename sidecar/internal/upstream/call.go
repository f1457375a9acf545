package upstream

import (
	"errors"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/outrigger-mesh/outrigger/middleware"
	"github.com/outrigger-mesh/outrigger/sidecar/internal/http1"
	"github.com/outrigger-mesh/outrigger/sidecar/internal/http2"
)

// streamCall is an attempt over HTTP/2: a request on one stream, and its response. It
// moves to another stream where the endpoint has not looked at the first one.
type streamCall struct {
	attempt *middleware.Attempt
	out     []byte // the request's body, as far as it was there at the beginning
	whole   bool   // out is all of it
	timeout []byte // what of the request's time is left, as gRPC writes it

	answered    bool // the response's final head has come
	ended       bool // and its trailer
	interrupted atomic.Bool

	// The pump is a goroutine that sends what was not there at the beginning.
	pump        atomic.Int32 // pumpNone ...
	pumpFailure atomic.Pointer[middleware.Reject]
	send        func() // c.sendBody, made once

	// mu is held by the pump while it uses the stream, and by who takes the
	// stream away from it.
	mu     sync.Mutex
	mux    *mux
	stream *http2.Stream
	pumped bool // something of the body has been taken by the pump
	over   bool // the stream is not to be used any more
}

var calls = sync.Pool{New: func() any {
	c := &streamCall{}
	c.send = c.sendBody
	return c
}}

func newCall(a *middleware.Attempt, m *mux, st *http2.Stream) *streamCall {
	c := calls.Get().(*streamCall)
	c.attempt, c.mux, c.stream = a, m, st
	return c
}

// recycle forgets everything. Nobody knows the call any more.
func (c *streamCall) recycle() {
	c.attempt, c.mux, c.stream = nil, nil, nil
	c.out, c.timeout = c.out[:0], c.timeout[:0]
	c.whole, c.answered, c.ended, c.pumped, c.over = false, false, false, false, false
	c.interrupted.Store(false)
	c.pump.Store(pumpNone)
	c.pumpFailure.Store(nil)
	calls.Put(c)
}

// maxResends bounds how often a request that an endpoint has certainly not
// looked at is sent again at once. After that it is the retry policy's.
const maxResends = 2

// tryHTTP2 is Try over HTTP/2.
func (h *host) tryHTTP2(a *middleware.Attempt) error {
	m, st, err := h.stream(a)
	if err == errOnlyHTTP1 { // the value itself; of an undeclared endpoint
		return h.tryHTTP1(a)
	}
	if errors.Is(err, errNotHTTP2) {
		return h.invalid("the service does not speak HTTP/2: is its protocol http?", err)
	}
	if err != nil {
		return h.connectFailed(a, err)
	}
	c := newCall(a, m, st)
	if err := a.Bind(c); err != nil {
		c.Finish()
		return err
	}
	if err = c.begin(); err == nil {
		err = c.await()
	}
	for resends := 0; err != nil; resends++ {
		failure := c.failed(err)
		if resends == maxResends || !c.mayResend(err) {
			return failure
		}
		a.Unbind()
		if m, st, err = h.stream(a); err != nil {
			c.Finish()
			return failure
		}
		err = c.move(m, st)
		if errors.Is(err, errMoved) {
			c.Finish()
			return failure
		}
		if bound := a.Bind(c); bound != nil {
			c.Finish()
			return bound
		}
		if err == nil {
			err = c.await()
		}
	}
	return nil
}

// begin sends the request, or has its sending begun.
func (c *streamCall) begin() error {
	x := c.attempt.Exchange()
	if err := c.gather(); err != nil {
		return err
	}
	if x.GRPC() {
		if deadline, ok := x.Deadline(); ok {
			c.timeout = middleware.AppendGRPCTimeout(c.timeout[:0], time.Until(deadline))
		}
	}
	c.attempt.MarkSent()
	if err := c.writeHead(); err != nil {
		return err
	}
	if !c.whole {
		c.startPump()
		return nil
	}
	return c.writeRest()
}

// writeHead begins the stream; where nothing follows, it sends it.
func (c *streamCall) writeHead() error {
	r := &c.attempt.Exchange().Request
	o := http2.RequestOptions{GRPCTimeout: c.timeout, Scheme: c.mux.scheme}
	c.stream.LimitWrite(bodyIdle(c.attempt.Exchange()))
	return c.stream.WriteRequest(r, o, c.whole && len(c.out) == 0 && r.Trailer.Len() == 0)
}

// writeRest sends the body that was there at the beginning.
func (c *streamCall) writeRest() error {
	r := &c.attempt.Exchange().Request
	trailers := r.Trailer.Len() > 0
	var err error
	if len(c.out) > 0 {
		_, err = c.stream.WriteData(c.out, !trailers)
	}
	if trailers && err == nil {
		err = c.stream.WriteTrailer(&r.Trailer)
	}
	if err != nil && brokenStream(err) {
		return nil // the response may have come all the same, a 413 mostly: reading it decides
	}
	return err
}

func brokenStream(err error) bool {
	var broken *http2.StreamError
	return errors.As(err, &broken)
}

// errMoved says that the call cannot go to another stream any more.
var errMoved = errors.New("something of the request's body was sent")

// move sends the request on another stream. With errMoved the call keeps the one
// that it has.
func (c *streamCall) move(m *mux, st *http2.Stream) error {
	c.mu.Lock()
	if c.pumped {
		c.mu.Unlock()
		m.finish(st)
		return errMoved
	}
	oldMux, old := c.mux, c.stream
	c.mux, c.stream = m, st
	c.attempt.MarkSent()
	err := c.writeHead()
	if err == nil && !c.whole {
		st.Flush()
	}
	c.mu.Unlock()
	oldMux.finish(old)
	switch {
	case err != nil:
	case c.whole:
		return c.writeRest()
	case c.pump.Load() == pumpNone: // the first stream did not get as far
		c.startPump()
	}
	return err
}

// await reads heads until the final one; interim ones go to the client.
func (c *streamCall) await() error {
	a := c.attempt
	for range maxInterim {
		head, err := c.stream.AwaitHead()
		if err != nil {
			return err
		}
		if head.TooLarge {
			return http1.ErrHeadTooLarge
		}
		if head.Status >= 200 {
			c.take(head)
			return nil
		}
		if head.Status != http.StatusContinue { // each hop does that one for itself
			if err := a.Inform(head.Status, &head.Header); err != nil {
				return clientSide{err}
			}
		}
	}
	return errInterims
}

var errInterims = errors.New("too many interim responses")

// clientSide is a failure that is not the endpoint's.
type clientSide struct{ error }

// take makes the head the attempt's.
func (c *streamCall) take(head *http2.Head) {
	a, res := c.attempt, &c.attempt.Response
	c.answered = true
	if !c.mux.answered.Load() {
		c.mux.answered.Store(true)
	}
	res.Status, res.ContentLength = head.Status, head.ContentLength
	res.Header, head.Header = head.Header, res.Header
	if res.Header.Del(HeaderUnsent) > 0 && !c.mux.host.app {
		a.MarkUnsent()
	}
	if !head.End && !http1.NoBody(res.Status, a.Exchange().Request.Method) {
		c.stream.LimitRead(bodyIdle(a.Exchange()))
		res.Body = c
	}
}

// mayResend reports whether the request may be sent on another stream after it
// has failed on this one: where the endpoint has certainly done nothing with it,
// and where an old connection has broken, if that does no harm (see
// clientConn.closedBeforeUse). What was read of its body is still there, or
// nothing was read.
func (c *streamCall) mayResend(err error) bool {
	a := c.attempt
	r := &a.Exchange().Request
	if c.answered || c.pumpFailure.Load() != nil || a.Err() != nil {
		return false
	}
	if errors.Is(err, http2.ErrUnprocessed) {
		return true // move looks after the body
	}
	var broken *http2.StreamError
	return errors.As(err, &broken) && broken.Conn && c.mux.answered.Load() && r.Safe() && r.Body.None()
}

// failed is what the attempt failed with, for everybody else.
func (c *streamCall) failed(err error) error {
	if cause := c.pumpFailure.Load(); cause != nil {
		return cause
	}
	if own := (clientSide{}); errors.As(err, &own) {
		return own.error
	}
	var own *middleware.Reject
	if errors.As(err, &own) {
		return own
	}
	if errors.Is(err, http2.ErrUnprocessed) {
		c.attempt.MarkUnsent()
	}
	if errors.Is(err, os.ErrDeadlineExceeded) && !c.interrupted.Load() {
		return &middleware.Reject{
			Status: http.StatusGatewayTimeout, Reason: middleware.ReasonIdleTimeout,
			Message: "the service does not read the request", Err: middleware.ErrIdle,
		}
	}
	var end *http2.StreamError
	if isEnd := errors.As(err, &end); errors.Is(err, http1.ErrHeadTooLarge) || errors.Is(err, errInterims) ||
		isEnd && !end.Remote && end.Code != http2.CodeNo && end.Code != http2.CodeCancel && end.Code != http2.CodeRefused {
		return c.mux.host.invalid(notHTTP, err)
	}
	return c.mux.host.reset(err)
}

// Interrupt is middleware.Stream's.
func (c *streamCall) Interrupt(cause error) {
	c.interrupted.Store(true)
	c.stream.Interrupt(cause)
}

var errFinished = errors.New("the attempt is over")

// Finish is middleware.Stream's: what is not through is reset.
func (c *streamCall) Finish() {
	if c.pump.Load() == pumpRunning { // it may wait for the endpoint: not any more
		c.stream.Interrupt(errFinished)
	}
	c.mu.Lock()
	c.over = true
	sending := c.pump.Load() == pumpRunning
	c.mu.Unlock()
	if c.interrupted.Load() && !c.answered {
		c.mux.conn.Suspect() // is it slow, or is it gone?
	}
	c.mux.finish(c.stream)
	if !sending { // else the pump still has the call
		c.recycle()
	}
}

// finish gives a stream back.
func (m *mux) finish(st *http2.Stream) {
	m.release()
	m.host.limits.active.Add(-1)
	st.Finish()
}
