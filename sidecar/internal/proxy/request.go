package proxy

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/netip"
	"time"

	"github.com/outrigger-mesh/outrigger/middleware"
	"github.com/outrigger-mesh/outrigger/sidecar/internal/http1"
	"github.com/outrigger-mesh/outrigger/sidecar/internal/upstream"
)

// serveRequest serves one request; it reports whether the connection can take
// another one.
func (c *conn) serveRequest(head []byte) bool {
	st := c.stream
	x := st.x
	framing, err := http1.ParseRequest(head, &x.Request)
	if err != nil {
		c.headFailed(err)
		return false
	}
	x.Start = time.Now()
	c.introduce(&x.Request)
	st.body.begin(framing)
	c.s.prepare(&x.Request, c.peer)
	if !framing.Close {
		// A client that has said that it sends nothing more may close its way
		// out and still wait for the answer: for it the end is no sign of going
		// (RFC 9112, section 9.6).
		st.watch.arm()
	}
	x.SetTarget(c.match(x))
	send := x.Serve(x.Chain())
	// From here on a cancellation also stops what is being written.
	st.headSent.Store(true)
	if cause := x.Cause(); cause != nil {
		if send && !x.Local() { // it came in between
			send = x.Fail(cause)
		}
		c.nc.MendWrite() // it has done its work: the answer can be sent
	}
	if !send {
		c.end(x, middleware.ErrClientGone)
		return false
	}
	if x.Response.Upgrade != nil {
		c.upgrade(x)
		return false
	}
	return c.respond(x, framing)
}

// prepare does what is this hop's own to the request.
func (s *Server) prepare(r *middleware.Request, peer netip.AddrPort) {
	if len(r.Upgrade) > 0 {
		r.Upgrade = withoutH2C(r.Upgrade)
		if len(r.Upgrade) == 0 {
			r.Header.Del("http2-settings")
		}
	}
	if s.o.Forwarded {
		forwarded(r, peer)
	}
}

// forwarded notes at the edge of the mesh from whom the request came.
func forwarded(r *middleware.Request, peer netip.AddrPort) {
	var buf [256]byte
	hops := buf[:0]
	for before := range r.Header.Values("x-forwarded-for") {
		hops = append(append(hops, before...), ", "...)
	}
	hops = peer.Addr().Unmap().AppendTo(hops)
	r.Header.SetBytes("x-forwarded-for", hops)
	r.Header.SetBytes("x-forwarded-proto", r.Scheme)
}

// match finds the request's target. What must not be forwarded gets one that
// refuses, with the chain that it would have had: the refusal belongs into log
// and metrics.
func (c *conn) match(x *middleware.Exchange) *middleware.Target {
	t := c.s.o.Dispatcher.Match(x)
	if string(x.Request.Method) == http.MethodConnect && !c.s.o.Tunnels {
		return refusal(t, http.StatusNotImplemented, middleware.ReasonMethodRefused,
			"CONNECT is not served here: send the request itself, with the service as Host")
	}
	return forwardable(t, &x.Request)
}

// forwardable is the target, or one that answers for a request that has come
// far enough.
func forwardable(t *middleware.Target, r *middleware.Request) *middleware.Target {
	switch string(r.Method) {
	case http.MethodOptions, http.MethodTrace:
		if last, ok := countForward(&r.Header); last || !ok {
			return lastHop(t, string(r.Method), ok)
		}
	}
	return t
}

// end is the end of the exchange, after the last byte.
func (c *conn) end(x *middleware.Exchange, err error) {
	c.stream.watch.disarm()
	c.stream.body.stop()
	x.End(err)
}

// respond sends head and body; it reports whether the connection can take
// another request.
func (c *conn) respond(x *middleware.Exchange, framing http1.Framing) bool {
	r := x.Response
	if c.s.o.TellUnsent && x.Local() && unsent(x) {
		r.Header.Set(upstream.HeaderUnsent, "1")
	}
	// A client that was refused a tunnel may have sent what was meant for it.
	closing := framing.Close || c.s.draining.Load() || c.stream.unwanted(x) || string(x.Request.Method) == http.MethodConnect
	old := x.Request.Proto == middleware.HTTP10
	if !old && r.ContentLength > 0 && (r.Header.Has("trailer") || middleware.IsGRPC(&r.Header)) {
		r.ContentLength = -1 // of HTTP/2, where a body may have a length and trailers: here it is one or the other
	}
	st := c.stream
	st.writing.Lock() // an interim response that is being sent comes first
	st.limitWrite()
	var chunked bool
	st.out, chunked, closing = http1.AppendResponse(st.out[:0], r, http1.ResponseOptions{Method: x.Request.Method, Close: closing, Old: old})
	st.writing.Unlock()

	err := c.writeBody(x, st.out, chunked, r.ContentLength)
	if err != nil {
		x.SetReason(reasonOf(err))
		c.end(x, err)
		c.reset()
		return false
	}
	whole := c.stream.body.complete()
	c.end(x, nil)
	switch {
	case !whole:
		c.linger(lingerTime)
	case closing:
		c.linger(lingerDone)
	}
	return whole && !closing
}

// unwanted reports that what is left of the request's body will not be read:
// the connection ends with this response, and the client is told so.
func (st *stream) unwanted(x *middleware.Exchange) bool {
	if x.Local() {
		return !st.body.skip()
	}
	return x.Response.Status >= http.StatusBadRequest && !st.body.complete()
}

// writeBody sends head and body.
func (c *conn) writeBody(x *middleware.Exchange, head []byte, chunked bool, length int64) error {
	r := x.Response
	if http1.NoBody(r.Status, x.Request.Method) {
		if _, err := c.nc.Write(head); err != nil {
			return gone(x, err)
		}
		return nil
	}
	var src io.Reader = r.Body
	if r.Body == nil {
		src = http.NoBody
	}
	n, readErr, writeErr := http1.CopySized(c.nc, src, head, chunked, length, &r.Trailer)
	x.AddSent(n)
	switch {
	case writeErr != nil:
		return gone(x, writeErr)
	case readErr != nil:
		if cause := x.Cause(); cause != nil {
			return cause
		}
		return &brokenBody{readErr}
	case length >= 0 && n != length:
		return &brokenBody{io.ErrUnexpectedEOF}
	}
	return nil
}

// brokenBody is a response that ended before its end.
type brokenBody struct{ err error }

func (b *brokenBody) Error() string { return "response broke off: " + b.err.Error() }

func (b *brokenBody) Unwrap() error { return b.err }

// gone is the error of a write to the client: why the exchange was canceled,
// else that the client is gone.
func gone(x *middleware.Exchange, err error) error {
	if cause := x.Cause(); cause != nil {
		return cause
	}
	return errors.Join(middleware.ErrClientGone, err)
}

func reasonOf(err error) middleware.Reason {
	switch {
	case errors.Is(err, middleware.ErrClientGone):
		return middleware.ReasonClientGone
	case errors.Is(err, middleware.ErrDeadline):
		return middleware.ReasonDeadline
	case isTimeout(err) || errors.Is(err, middleware.ErrIdle):
		return middleware.ReasonIdleTimeout
	}
	return middleware.ReasonUpstreamReset
}

// reset ends a connection whose response broke off, in a way that no client
// takes for its end.
func (c *conn) reset() {
	_ = c.nc.SetLinger(0)
	_ = c.nc.Close()
}

// unsent reports that no byte of the request has reached an app.
func unsent(x *middleware.Exchange) bool {
	for _, a := range x.Attempts() {
		if !a.Unsent() {
			return false
		}
	}
	return true
}

// upgrade sends the 101 and then is a pipe in both directions until both have
// ended, or one has broken.
func (c *conn) upgrade(x *middleware.Exchange) {
	r := x.Response
	x.LiftLimits()
	c.stream.watch.disarm()
	head, _, _ := http1.AppendResponse(nil, r, http1.ResponseOptions{Method: x.Request.Method})
	c.nc.MendRead() // the watcher's
	c.nc.LimitRead(0)
	c.stream.writing.Lock()
	c.nc.LimitWrite(0)
	c.stream.writing.Unlock()
	if c.isAborted() {
		c.nc.BreakRead()
		c.nc.BreakWrite()
	}
	if _, err := c.nc.Write(head); err != nil {
		c.end(x, gone(x, err))
		return
	}
	x.Hold()
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer x.Release()
		n, err := io.Copy(r.Upgrade, c.in)
		x.Request.Body.AddRead(n)
		if err == nil {
			err = r.Upgrade.Close()
		}
		if err != nil {
			x.Cancel(errors.Join(middleware.ErrClientGone, err))
		}
	}()
	n, err := io.Copy(c.nc, bodyOf(r))
	x.AddSent(n)
	if err == nil && c.nc.CloseWrite() == nil {
		select { // the other way may have something left to say
		case <-done:
		case <-time.After(lingerMost):
		}
	}
	c.nc.BreakRead()
	x.Cancel(errPipeEnded)
	<-done
	c.end(x, nil)
}

var errPipeEnded = errors.New("the other direction has ended")

func bodyOf(r *middleware.Response) io.Reader {
	if r.Body == nil {
		return bytes.NewReader(nil)
	}
	return r.Body
}
