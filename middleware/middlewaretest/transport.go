package middlewaretest

import (
	"context"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strconv"
	"sync"

	"github.com/outrigger-mesh/outrigger/middleware"
)

var (
	errRefused = errors.New("connection refused")
	errReset   = errors.New("backend broke off")
)

// transport runs a handler for each try.
type transport struct {
	m       *memory
	handler http.Handler // nil: refuses
}

// Try starts the handler and waits for its head.
func (t *transport) Try(a *middleware.Attempt) error {
	if t.handler == nil {
		return &middleware.Reject{Status: http.StatusServiceUnavailable, Reason: middleware.ReasonConnectFailed, Err: errRefused}
	}
	c := newCall(a)
	if err := a.Bind(c); err != nil {
		return err
	}
	request, err := c.request()
	if err != nil {
		return err
	}
	a.MarkSent()
	if c.body != nil {
		x := a.Exchange()
		x.Hold()
		t.m.tasks.Go(func() {
			defer x.Release()
			c.pump(a.Body())
		})
	}
	t.m.tasks.Go(func() { c.serve(t.handler, request) })
	return c.wait()
}

// inform is one interim response.
type inform struct {
	status int
	header http.Header
}

// call is one running handler: a connection to it.
type call struct {
	a        *middleware.Attempt
	method   string
	ctx      context.Context
	cancel   context.CancelCauseFunc
	body     *io.PipeReader // of the request, at the handler; nil for none
	bodyIn   *io.PipeWriter
	response *io.PipeReader
	out      *io.PipeWriter
	informs  chan inform
	heads    chan inform // at most one
	incoming http.Header // the request's trailer; set before bodyIn is closed
	trailer  http.Header // of the response; set before out is closed

	once    sync.Once
	ended   chan struct{} // the connection is broken
	failure error         // why; set before ended is closed
}

var _ middleware.Stream = (*call)(nil)

func newCall(a *middleware.Attempt) *call {
	x := a.Exchange()
	c := &call{
		a:       a,
		method:  string(x.Request.Method),
		informs: make(chan inform),
		heads:   make(chan inform),
		ended:   make(chan struct{}),
	}
	c.ctx, c.cancel = context.WithCancelCause(context.Background())
	c.response, c.out = io.Pipe()
	if !x.Request.Body.None() {
		c.body, c.bodyIn = io.Pipe()
	}
	return c
}

// Interrupt ends every blocked read and write, with the cause.
func (c *call) Interrupt(cause error) { c.end(cause) }

// Finish closes what is left. The handler sees its client gone unless it has
// returned before.
func (c *call) Finish() { c.end(middleware.ErrEnded) }

func (c *call) end(cause error) {
	c.once.Do(func() {
		c.failure = cause
		close(c.ended)
	})
	// First the pipes: a handler that returns when its context is canceled must
	// not make the response look whole.
	_ = c.out.CloseWithError(cause)
	if c.body != nil {
		_ = c.bodyIn.CloseWithError(io.ErrUnexpectedEOF)
	}
	c.cancel(cause)
}

func (c *call) request() (*http.Request, error) {
	q := &c.a.Exchange().Request
	u, err := url.ParseRequestURI(string(q.Target))
	if err != nil {
		return nil, &middleware.Reject{Status: http.StatusBadRequest, Reason: middleware.ReasonBadRequest, Err: err}
	}
	r := &http.Request{
		Method:        c.method,
		URL:           u,
		RequestURI:    string(q.Target),
		Proto:         "HTTP/2.0",
		ProtoMajor:    2,
		Header:        toHTTP(&q.Header),
		Host:          string(q.Authority),
		RemoteAddr:    q.Peer.Addr.String(),
		ContentLength: q.ContentLength,
		Trailer:       http.Header{},
		Body:          http.NoBody,
	}
	if c.body != nil {
		r.Body = &requestBody{PipeReader: c.body, call: c, request: r}
	}
	return r.WithContext(c.ctx), nil
}

// requestBody is the handler's view of the body; its end brings the trailer.
type requestBody struct {
	*io.PipeReader
	call    *call
	request *http.Request
}

func (b *requestBody) Read(p []byte) (int, error) {
	n, err := b.PipeReader.Read(p)
	if errors.Is(err, io.EOF) {
		maps.Copy(b.request.Trailer, b.call.incoming)
	}
	return n, err
}

// pump moves the request's body to the handler.
func (c *call) pump(from io.Reader) {
	buf := make([]byte, 16<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			if _, werr := c.bodyIn.Write(buf[:n]); werr != nil {
				return // the handler wants no more
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			c.incoming = toHTTP(&c.a.Exchange().Request.Trailer)
			_ = c.bodyIn.Close()
			return
		case err != nil:
			var reject *middleware.Reject
			if !errors.As(err, &reject) {
				err = &middleware.Reject{Status: http.StatusBadRequest, Reason: middleware.ReasonClientBody, Err: err}
			}
			c.end(err)
			return
		}
	}
}

// serve runs the handler to its end.
func (c *call) serve(h http.Handler, r *http.Request) {
	w := &responseWriter{call: c, header: http.Header{}, declared: -1}
	defer func() {
		// A server would let the runtime print the panic; here the broken
		// connection is all that counts.
		if p := recover(); p != nil {
			c.end(errReset)
			return
		}
		w.finish()
		c.cancel(middleware.ErrEnded)
		if c.body != nil {
			_ = c.body.Close()
		}
	}()
	h.ServeHTTP(w, r)
}

// wait relays interim responses until the head comes.
func (c *call) wait() error {
	for {
		select {
		case i := <-c.informs:
			var h middleware.Header
			copyHeader(&h, i.header)
			if err := c.a.Inform(i.status, &h); err != nil {
				return err
			}
		case i := <-c.heads:
			c.fill(&c.a.Response, i)
			return nil
		case <-c.ended:
			if errors.Is(c.failure, errReset) {
				return &middleware.Reject{Status: http.StatusBadGateway, Reason: middleware.ReasonUpstreamReset, Err: errReset}
			}
			return c.failure
		}
	}
}

func (c *call) fill(r *middleware.Response, i inform) {
	r.Status = i.status
	r.ContentLength = -1
	copyHeader(&r.Header, i.header)
	if n, err := strconv.ParseInt(i.header.Get("Content-Length"), 10, 64); err == nil {
		r.ContentLength = n
	}
	if bodyless(c.method, i.status) {
		return
	}
	r.Body = &responseBody{call: c, response: r}
}

// responseBody is the way back from the handler.
type responseBody struct {
	call     *call
	response *middleware.Response
	ended    bool
}

func (b *responseBody) Read(p []byte) (int, error) {
	n, err := b.call.response.Read(p)
	if errors.Is(err, io.EOF) && !b.ended {
		b.ended = true
		copyHeader(&b.response.Trailer, b.call.trailer)
	}
	return n, err
}

// Close ends the stream before its end.
func (b *responseBody) Close() error { return b.call.response.CloseWithError(errClosed) }

var errClosed = errors.New("response body closed")
