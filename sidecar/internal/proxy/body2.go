package proxy

import (
	"errors"
	"io"
	"os"
	"sync"

	"github.com/outrigger-mesh/outrigger/middleware"
	"github.com/outrigger-mesh/outrigger/sidecar/internal/http2"
)

// body2 reads a request's body from its stream: by the pump's goroutine, until
// stop takes the stream back.
type body2 struct {
	st *stream2

	mu      sync.Mutex // held while reading
	tell    bool       // the client waits for 100 Continue
	stopped bool
	ended   bool
}

// begin makes it the body of the stream's request.
func (b *body2) begin(head *http2.Head) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.tell, b.stopped, b.ended = head.Continue, false, false
	if !head.End {
		b.st.x.Request.Body.Reset(b)
	}
}

// Read gives the next bytes. The client's going away is ErrClientGone, its
// silence ErrIdle.
func (b *body2) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.stopped {
		return 0, middleware.ErrEnded
	}
	st := b.st
	if b.tell { // RFC 9110, section 10.1.1: somebody wants the body now
		b.tell = false
		if err := st.Inform(100, nil); err != nil {
			return 0, errors.Join(middleware.ErrClientGone, err)
		}
	}
	st.s.LimitRead(st.idle())
	n, err := st.s.Read(p)
	switch {
	case err == nil:
		return n, nil
	case err == io.EOF:
		if !b.ended { // it may be asked for more than once
			b.ended = true
			r, t := &st.x.Request, st.s.Trailer()
			r.Trailer, *t = *t, r.Trailer
		}
		return n, io.EOF
	case errors.Is(err, os.ErrDeadlineExceeded):
		return n, middleware.ErrIdle
	}
	if cause := st.x.Cause(); cause != nil {
		if errors.Is(cause, middleware.ErrClientGone) {
			return n, cause
		}
		return n, middleware.ErrEnded
	}
	return n, errors.Join(middleware.ErrClientGone, err)
}

// Buffered is the number of bytes that are there already.
func (b *body2) Buffered() int {
	if !b.mu.TryLock() { // somebody waits for more
		return 0
	}
	defer b.mu.Unlock()
	if b.stopped || b.tell {
		return 0
	}
	return b.st.s.Buffered()
}

// Complete reports whether all of it is there already.
func (b *body2) Complete() bool {
	if !b.mu.TryLock() {
		return false
	}
	defer b.mu.Unlock()
	return !b.stopped && !b.tell && b.st.s.Complete()
}

// stop takes the stream back from the pump.
func (b *body2) stop() {
	if !b.mu.TryLock() {
		b.st.s.Interrupt(middleware.ErrEnded)
		b.mu.Lock()
	}
	b.stopped = true
	b.mu.Unlock()
}
