package proxy

import (
	"errors"
	"io"
	"net"
	"sync"

	"github.com/outrigger-mesh/outrigger/middleware"
	"github.com/outrigger-mesh/outrigger/sidecar/internal/http1"
)

// requestBody reads a request's body from the connection: by the pump's
// goroutine, until stop takes the connection back.
type requestBody struct {
	st *stream

	mu       sync.Mutex // held while reading
	reader   http1.Reader
	any      bool // there is a body
	tell     bool // the client waits for 100 Continue
	stopped  bool
	finished bool
}

// begin makes it the body of the next request.
func (b *requestBody) begin(f http1.Framing) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.any = f.Chunked || f.Length > 0
	b.finished = !b.any
	b.tell = f.Continue && b.any
	b.stopped = false
	if b.any {
		r := &b.st.x.Request
		b.reader.Reset(b.st.c.in, f, &r.Trailer)
		r.Body.Reset(b)
	}
}

// Read gives the next bytes. The client's going away is ErrClientGone, its
// silence ErrIdle.
func (b *requestBody) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.stopped {
		return 0, middleware.ErrEnded
	}
	st, c := b.st, b.st.c
	if b.tell { // RFC 9110, section 10.1.1: somebody wants the body now
		b.tell = false
		if err := st.Inform(100, nil); err != nil {
			return 0, errors.Join(middleware.ErrClientGone, err)
		}
	}
	d := c.s.o.BodyIdle
	if idle := st.x.Idle(); idle > 0 {
		d = min(d, idle)
	}
	c.nc.LimitRead(d)
	n, err := b.reader.Read(p)
	if err == nil {
		return n, nil
	}
	if err == io.EOF {
		b.finished = true
		return n, io.EOF
	}
	return n, b.failed(err)
}

// failed says in the words of the seam why the body cannot be read on.
func (b *requestBody) failed(err error) error {
	st, c := b.st, b.st.c
	var malformed http1.Malformed
	switch {
	case errors.As(err, &malformed):
		c.s.o.Metrics.malformed.WithLabelValues(c.s.o.Listener, string(malformed)).Inc()
		return err
	case isTimeout(err) && !st.interrupted.Load():
		return middleware.ErrIdle
	case isTimeout(err):
		return middleware.ErrEnded
	case errors.Is(err, http1.ErrHeadTooLarge):
		return err
	}
	return errors.Join(middleware.ErrClientGone, err)
}

// Buffered is the number of bytes that are there already.
func (b *requestBody) Buffered() int {
	if !b.mu.TryLock() { // somebody waits for more
		return 0
	}
	defer b.mu.Unlock()
	if b.stopped || b.finished || b.tell {
		return 0
	}
	return b.reader.Buffered()
}

// complete reports whether the body was read to its end.
func (b *requestBody) complete() bool {
	if !b.mu.TryLock() { // the pump is reading
		return false
	}
	defer b.mu.Unlock()
	return b.finished || b.reader.Complete()
}

// skip passes over a body that nobody has read, where it is there already; it
// reports whether the body is out of the way.
func (b *requestBody) skip() bool {
	if !b.mu.TryLock() {
		return false
	}
	defer b.mu.Unlock()
	var scratch [512]byte
	for !b.finished && !b.tell && b.reader.Buffered() > 0 {
		if _, err := b.reader.Read(scratch[:]); err == io.EOF {
			b.finished = true
		} else if err != nil {
			return false
		}
	}
	return b.finished
}

// stop takes the connection back from the pump.
func (b *requestBody) stop() {
	if b.mu.TryLock() {
		b.stopped = true
		b.mu.Unlock()
		return
	}
	b.st.c.nc.BreakRead()
	b.mu.Lock()
	b.stopped = true
	b.mu.Unlock()
}

func isTimeout(err error) bool {
	var t net.Error
	return errors.As(err, &t) && t.Timeout()
}
