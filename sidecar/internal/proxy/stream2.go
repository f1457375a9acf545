package proxy

import (
	"errors"
	"io"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/outrigger-mesh/outrigger/middleware"
	"github.com/outrigger-mesh/outrigger/sidecar/internal/http1"
	"github.com/outrigger-mesh/outrigger/sidecar/internal/http2"
	"github.com/outrigger-mesh/outrigger/sidecar/internal/upstream"
)

// stream2 is a stream of HTTP/2, and its exchange.
type stream2 struct {
	h    *conn2
	s    *http2.Stream
	x    *middleware.Exchange
	body body2

	headSent atomic.Bool // of the final response, or it is about to be
}

// stream2 makes a stream of the client's one of the engine's.
func (s *Server) stream2(h *conn2, hs *http2.Stream) *stream2 {
	st, _ := s.streams2.Get().(*stream2)
	if st == nil || !st.x.Reset() {
		st = &stream2{}
		st.x = middleware.NewExchange(st)
		st.x.Logger = s.o.Logger
		st.body.st = st
	}
	st.h, st.s = h, hs
	st.headSent.Store(false)
	hs.User = st
	return st
}

// run serves the stream's request.
func (st *stream2) run() {
	h := st.h
	st.serve()
	st.s.Finish()
	if st.x.Held() {
		return // a goroutine still uses it: the garbage collector's
	}
	st.h, st.s = nil, nil
	h.s.streams2.Put(st)
}

func (st *stream2) serve() {
	x, s := st.x, st.h.s
	head := st.s.Head()
	st.take(head)
	if refused, why := unusable(head); refused != nil {
		s.o.Metrics.malformed.WithLabelValues(s.o.Listener, why).Inc()
		x.Fail(refused)
		st.respond()
		return
	}
	s.prepare(&x.Request, st.h.peer)
	x.SetTarget(st.match())
	send := x.Serve(x.Chain())
	// From here on a cancellation also stops what is being written.
	st.headSent.Store(true)
	if cause := x.Cause(); cause != nil {
		if send && !x.Local() { // it came in between
			send = x.Fail(cause)
		}
		st.s.Mend() // it has done its work: the answer can be sent
	}
	if !send {
		st.end(middleware.ErrClientGone)
		return
	}
	st.respond()
}

// unusable says why a head that is well-formed cannot be served, also in the
// word for the metric.
func unusable(head *http2.Head) (r *middleware.Reject, why string) {
	switch {
	case head.TooLarge:
		return &middleware.Reject{Status: http.StatusRequestHeaderFieldsTooLarge, Reason: middleware.ReasonHeadTooLarge}, string(middleware.ReasonHeadTooLarge)
	case head.BadExpect:
		return &middleware.Reject{Status: http.StatusExpectationFailed, Reason: middleware.ReasonBadRequest, Message: http1.BadExpect.Error()}, string(http1.BadExpect)
	}
	return nil, ""
}

// take fills the exchange's request.
func (st *stream2) take(head *http2.Head) {
	x := st.x
	r := &x.Request
	x.Start = time.Now()
	r.Proto = middleware.HTTP2
	r.Method, r.Authority, r.Target = head.Method, head.Authority, head.Path
	r.Scheme = schemeHTTP
	r.Peer.Addr, r.Peer.Identity = st.h.peer, ""
	if sec := st.h.secured; sec != nil {
		r.Scheme, r.Peer.Identity = schemeHTTPS, sec.identity
	}
	r.Header, head.Header = head.Header, r.Header
	r.ContentLength = head.ContentLength
	if r.ContentLength > 0 && r.Header.Has("trailer") {
		r.ContentLength = -1 // an app of HTTP/1.1 gets the one or the other
	}
	st.body.begin(head)
}

var schemeHTTP = []byte("http")

// match is conn.match for a stream: tunnels are HTTP/1.1's alone.
func (st *stream2) match() *middleware.Target {
	t := st.h.s.o.Dispatcher.Match(st.x)
	if string(st.x.Request.Method) == http.MethodConnect {
		return refusal(t, http.StatusNotImplemented, middleware.ReasonMethodRefused,
			"CONNECT is not served over HTTP/2: send the request itself, with the service as :authority")
	}
	return forwardable(t, &st.x.Request)
}

// end is the end of the exchange, after the last byte.
func (st *stream2) end(err error) {
	st.body.stop()
	st.x.End(err)
}

// respond sends head, body and trailers.
func (st *stream2) respond() {
	x, o := st.x, &st.h.s.o
	r := x.Response
	if o.TellUnsent && x.Local() && unsent(x) {
		r.Header.Set(upstream.HeaderUnsent, "1")
	}
	err := st.write(r)
	if err == nil {
		st.end(nil)
		return
	}
	err = st.writeError(err)
	reason := reasonOf(err)
	x.SetReason(reason)
	grpc := x.GRPC() && middleware.IsGRPC(&r.Header) // whose bytes are not ours any more after the end
	st.end(err)
	if !grpc || !st.lastWord(reason) {
		st.s.Reset(http2.CodeInternal)
	}
}

// write sends the response; its error says which side failed: a brokenBody, or
// the stream's.
func (st *stream2) write(r *middleware.Response) error {
	st.s.LimitWrite(st.idle())
	if r.Body == nil || http1.NoBody(r.Status, st.x.Request.Method) {
		if r.Trailer.Len() == 0 {
			return st.s.WriteResponse(r, true)
		}
		if err := st.s.WriteResponse(r, false); err != nil {
			return err
		}
		return st.s.WriteTrailer(&r.Trailer)
	}
	if err := st.s.WriteResponse(r, false); err != nil {
		return err
	}
	if buffered(r.Body) == 0 { // the body may be long in coming: the head does not wait for it
		st.s.Flush()
	}
	buf := bodies.Get().(*[bodySize]byte)
	defer bodies.Put(buf)
	for sent := int64(0); ; {
		n, err := r.Body.Read(buf[:])
		sent += int64(n)
		// A body may have its length and trailers too: it ends where it says so.
		over := err == io.EOF || err == nil && ended(r.Body)
		end := over && r.Trailer.Len() == 0
		switch {
		case over && r.ContentLength > 0 && sent < r.ContentLength:
			return &brokenBody{io.ErrUnexpectedEOF}
		case r.ContentLength >= 0 && sent > r.ContentLength:
			return &brokenBody{errTooLong}
		}
		if n > 0 || end {
			if _, err := st.s.WriteData(buf[:n], end); err != nil {
				return err
			}
			st.x.AddSent(int64(n))
		}
		switch {
		case end:
			return nil
		case over:
			return st.s.WriteTrailer(&r.Trailer)
		case err != nil:
			st.s.Flush()
			return &brokenBody{err}
		case buffered(r.Body) == 0:
			st.s.Flush()
		}
	}
}

var errTooLong = errors.New("the response is longer than its content-length")

// bodySize is how much of a body is read at once.
const bodySize = 16 << 10

var bodies = sync.Pool{New: func() any { return new([bodySize]byte) }}

// ended reports whether a body was read to its end, trailers included; false
// also where it does not say.
func ended(r io.Reader) bool {
	b, ok := r.(interface{ Ended() bool })
	return ok && b.Ended()
}

func buffered(r io.Reader) int {
	if b, ok := r.(interface{ Buffered() int }); ok {
		return b.Buffered()
	}
	return 0
}

// writeError says in the words of the seam why the response could not be sent.
func (st *stream2) writeError(err error) error {
	if cause := st.x.Cause(); cause != nil {
		return cause
	}
	var broken *brokenBody
	if errors.As(err, &broken) {
		return err
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return errors.Join(middleware.ErrClientGone, middleware.ErrIdle)
	}
	return errors.Join(middleware.ErrClientGone, err)
}

// lastWord tells the client of a gRPC call, whose response has broken off, why:
// in trailers, which a reset could not say. It reports whether it could.
func (st *stream2) lastWord(reason middleware.Reason) bool {
	if reason == middleware.ReasonClientGone {
		return false
	}
	st.s.Mend()
	st.s.LimitWrite(lingerDone)
	var t middleware.Header
	code := middleware.GRPCCodeOf(reason, http.StatusBadGateway)
	t.AddBytes(middleware.HeaderGRPCStatus, code.Append(nil))
	t.AddBytes(middleware.HeaderGRPCMessage, middleware.AppendGRPCMessage(nil, "the response broke off: "+string(reason)))
	t.Add(middleware.HeaderReason, string(reason))
	return st.s.WriteTrailer(&t) == nil
}

// idle is how long nothing may move.
func (st *stream2) idle() time.Duration {
	d := st.h.s.o.BodyIdle
	if idle := st.x.Idle(); idle > 0 {
		d = min(d, idle)
	}
	return d
}

// Interrupt is middleware.Wire's.
func (st *stream2) Interrupt(_ *middleware.Exchange, cause error) { st.s.Interrupt(cause) }

// Rematch is middleware.Wire's.
func (st *stream2) Rematch(x *middleware.Exchange) (*middleware.Target, error) {
	return st.h.s.o.Dispatcher.Match(x), nil
}

// Inform is middleware.Wire's.
func (st *stream2) Inform(status int, h *middleware.Header) error {
	if st.headSent.Load() {
		return nil
	}
	return st.s.WriteInterim(status, h)
}
