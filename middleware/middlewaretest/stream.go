package middlewaretest

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/outrigger-mesh/outrigger/middleware"
)

// wire keeps an exchange for one stream after the other.
type wire struct {
	x      *middleware.Exchange
	stream atomic.Pointer[stream]
}

var _ middleware.Wire = (*wire)(nil)

// Interrupt is called under the exchange's lock.
func (w *wire) Interrupt(_ *middleware.Exchange, cause error) {
	if s := w.stream.Load(); s != nil {
		s.interrupt(cause)
	}
}

func (w *wire) Inform(status int, h *middleware.Header) error {
	s := w.stream.Load()
	if s == nil {
		return middleware.ErrEnded
	}
	trace := httptrace.ContextClientTrace(s.req.Context())
	if trace == nil || trace.Got1xxResponse == nil {
		return nil
	}
	return trace.Got1xxResponse(status, textproto.MIMEHeader(toHTTP(h)))
}

func (w *wire) Rematch(x *middleware.Exchange) (*middleware.Target, error) {
	return w.stream.Load().m.match(x.Request.Authority), nil
}

// result is what RoundTrip returns.
type result struct {
	response *http.Response
	err      error
}

// stream is one request of the client, and its response.
type stream struct {
	m        *memory
	req      *http.Request
	result   chan result
	unwatch  func() bool
	idleTime *time.Timer
	idle     time.Duration

	upload   *upload
	sending  *io.PipeWriter // from the client's request body
	incoming *io.PipeReader // of the response's body, at the client
	outgoing *io.PipeWriter

	attached sync.Mutex // guards x; taken before the exchange's own lock
	x        *middleware.Exchange

	mu       sync.Mutex // guards what follows; taken after the exchange's lock
	cause    error
	headSent bool
	broken   bool // interrupted after the head
}

func newStream(m *memory, req *http.Request) *stream {
	s := &stream{m: m, req: req, result: make(chan result, 1)}
	s.incoming, s.outgoing = io.Pipe()
	return s
}

// abort cancels the exchange. A client that is gone reads nothing more.
func (s *stream) abort(cause error) {
	if errors.Is(cause, middleware.ErrClientGone) {
		_ = s.incoming.CloseWithError(cause)
	}
	s.attached.Lock()
	defer s.attached.Unlock()
	if s.x != nil {
		s.x.Cancel(cause)
	}
}

// detach takes the client's hold on the exchange away.
func (s *stream) detach() {
	s.unwatch()
	s.attached.Lock()
	defer s.attached.Unlock()
	s.x = nil
}

// interrupt ends every blocked read and write.
func (s *stream) interrupt(cause error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cause = cause
	if s.upload != nil {
		_ = s.sending.CloseWithError(cause)
	}
	if s.headSent {
		s.broken = true
		_ = s.outgoing.CloseWithError(cause)
	}
}

// run is the engine's side of the stream, from head to end.
func (s *stream) run() {
	w := s.m.take()
	x := w.x
	s.fill(x)
	w.stream.Store(s)
	s.attached.Lock()
	s.x = x
	s.attached.Unlock()
	s.unwatch = context.AfterFunc(s.req.Context(), func() { s.abort(middleware.ErrClientGone) })
	if s.req.Context().Err() != nil {
		s.abort(middleware.ErrClientGone)
	}

	x.SetTarget(s.m.match(x.Request.Authority))
	ok := x.Serve(s.m.chain)
	var err error
	if ok {
		err = s.respond(x)
	} else {
		err = middleware.ErrClientGone
	}
	if err != nil {
		x.SetReason(reasonOf(x, err))
		s.result <- result{err: err}
		_ = s.outgoing.CloseWithError(err)
	}
	x.End(err)

	if s.idleTime != nil {
		s.idleTime.Stop()
	}
	s.detach()
	if s.upload != nil {
		_ = s.upload.pipe.Close()
		_ = s.req.Body.Close()
	}
	s.m.give(w, s)
}

// fill is the request's head.
func (s *stream) fill(x *middleware.Exchange) {
	r, q := &x.Request, s.req
	x.Logger = s.m.log
	x.Start = time.Now()
	r.Proto = middleware.HTTP2
	r.Method = []byte(q.Method)
	if q.Method == "" {
		r.Method = []byte(http.MethodGet)
	}
	r.Scheme = []byte("http")
	r.Authority = []byte(q.URL.Host)
	if q.Host != "" {
		r.Authority = []byte(q.Host)
	}
	r.Target = []byte(q.URL.RequestURI())
	r.Peer = middleware.Peer{Addr: peerAddr}
	copyHeader(&r.Header, q.Header)
	if len(q.Trailer) > 0 {
		r.Header.Add("Trailer", strings.Join(sortedKeys(q.Trailer), ", "))
	}
	if q.Body == nil || q.Body == http.NoBody {
		return
	}
	r.ContentLength = q.ContentLength
	if q.ContentLength == 0 {
		r.ContentLength = -1
	}
	pr, pw := io.Pipe()
	s.sending = pw
	s.upload = &upload{pipe: pr, stream: s, x: x}
	r.Body.Reset(s.upload)
	s.m.tasks.Go(s.send)
}

// send is the client sending its body.
func (s *stream) send() {
	_, err := io.Copy(s.sending, s.req.Body)
	if err != nil && !errors.Is(err, io.ErrClosedPipe) { // that is the engine, which wants no more
		_ = s.sending.CloseWithError(middleware.ErrClientGone)
		s.abort(middleware.ErrClientGone) // a client that cannot send its body gives up
	}
	_ = s.sending.Close()
	_ = s.req.Body.Close()
}

// upload is the request's body as the exchange sees it.
type upload struct {
	pipe   *io.PipeReader
	stream *stream
	x      *middleware.Exchange
	ended  bool
}

func (u *upload) Read(p []byte) (int, error) {
	n, err := u.pipe.Read(p)
	if n > 0 {
		u.stream.moved()
	}
	if errors.Is(err, io.EOF) && !u.ended {
		u.ended = true
		copyHeader(&u.x.Request.Trailer, u.stream.req.Trailer)
	}
	return n, err
}

// respond sends the response. An error is why it broke off.
func (s *stream) respond(x *middleware.Exchange) error {
	if !s.commit(x.Local()) && !x.Fail(x.Cause()) {
		return middleware.ErrClientGone
	}
	s.commit(true)
	r := x.Response
	response := &http.Response{
		Status:        http.StatusText(r.Status),
		StatusCode:    r.Status,
		Proto:         "HTTP/2.0",
		ProtoMajor:    2,
		Header:        toHTTP(&r.Header),
		ContentLength: r.ContentLength,
		Request:       s.req,
		Body:          http.NoBody,
	}
	if bodyless(string(x.Request.Method), r.Status) || r.Body == nil {
		s.detach()
		s.result <- result{response: response}
		return nil
	}
	s.watchIdle(x.Idle())
	response.Body = &download{stream: s, response: response}
	s.result <- result{response: response}
	n, err := s.copyBody(r.Body)
	x.AddSent(n)
	if err == nil && r.ContentLength >= 0 && n != r.ContentLength {
		err = errShort
	}
	if err != nil {
		if cause := x.Cause(); cause != nil {
			err = cause
		}
		return err
	}
	response.Trailer = toHTTP(&r.Trailer) // the client looks after the pipe's end
	s.detach()                            // a client that leaves now has had everything
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken {
		return s.cause
	}
	return s.outgoing.Close()
}

// commit marks the head as sent, unless the exchange was canceled before and
// the response is not a local one.
func (s *stream) commit(local bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cause != nil && !local {
		return false
	}
	s.headSent = true
	return true
}

func (s *stream) copyBody(body io.Reader) (total int64, err error) {
	buf := make([]byte, 16<<10)
	for {
		n, err := body.Read(buf)
		if n > 0 {
			s.moved()
			if _, werr := s.outgoing.Write(buf[:n]); werr != nil {
				return total, werr
			}
			total += int64(n)
		}
		if errors.Is(err, io.EOF) {
			return total, nil
		}
		if err != nil {
			return total, err
		}
	}
}

// watchIdle begins to enforce the limit that SetIdle has set.
func (s *stream) watchIdle(limit time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if limit > 0 {
		s.idle = limit
		s.idleTime = time.AfterFunc(limit, func() { s.abort(middleware.ErrIdle) })
	}
}

func (s *stream) moved() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.idleTime != nil {
		s.idleTime.Reset(s.idle)
	}
}
