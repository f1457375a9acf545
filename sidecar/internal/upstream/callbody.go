package upstream

import (
	"errors"
	"io"
	"net/http"
	"os"
	"slices"
	"sync"

	"github.com/outrigger-mesh/outrigger/middleware"
)

// gather reads the request's body where all of it has come from the client
// already: it then goes out with the head, without a goroutine of its own.
func (c *streamCall) gather() error {
	r, body := &c.attempt.Exchange().Request, c.attempt.Body()
	if r.Body.None() {
		c.whole = true
		return nil
	}
	ready := body.Buffered()
	if ready > smallBody || !complete(r, body, ready) {
		return nil
	}
	c.out = slices.Grow(c.out, ready+1)
	for {
		end := len(c.out)
		if end == cap(c.out) {
			c.out = slices.Grow(c.out, 512)
		}
		n, err := body.Read(c.out[end:cap(c.out)])
		c.out = c.out[:end+n]
		if err == io.EOF {
			c.whole = true
			return nil
		}
		if err != nil {
			return bodyFailure(err)
		}
	}
}

// complete reports whether the client has sent its whole body, of which so many
// bytes are ready.
func complete(r *middleware.Request, body *middleware.BodyReader, ready int) bool {
	if r.Proto == middleware.HTTP2 {
		return body.Complete() // trailers too
	}
	return r.ContentLength > 0 && int64(ready) >= r.ContentLength
}

// startPump sends head and body beside the goroutine that reads the response,
// so that neither waits for the other.
func (c *streamCall) startPump() {
	c.attempt.Exchange().Hold()
	c.pump.Store(pumpRunning)
	go c.send()
}

// Buffers of pumps. What waits for its client has a small one.
const (
	pieceSize = 32 << 10
	sipSize   = 2 << 10
)

var (
	pieces = sync.Pool{New: func() any { return new([pieceSize]byte) }}
	sips   = sync.Pool{New: func() any { return new([sipSize]byte) }}
)

// sendBody is the pump.
func (c *streamCall) sendBody() {
	x, body := c.attempt.Exchange(), c.attempt.Body()
	defer x.Release()
	sip := sips.Get().(*[sipSize]byte)
	defer sips.Put(sip)
	waits := body.Buffered() == 0
	if waits && !c.flushHead() {
		return
	}
	for {
		var piece *[pieceSize]byte
		p := sip[:]
		if body.Buffered() > sipSize {
			piece = pieces.Get().(*[pieceSize]byte)
			p = piece[:]
		}
		n, err := body.Read(p)
		more := err == nil || err == io.EOF
		if more {
			more = c.sendPiece(p[:n], err == io.EOF)
		} else {
			c.fail(bodyFailure(err)) // the endpoint must not take half a body for a whole one
		}
		if piece != nil {
			pieces.Put(piece)
		}
		if !more {
			return
		}
	}
}

// flushHead sends the head before there is anything of the body; false: the
// call is over.
func (c *streamCall) flushHead() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over {
		return false
	}
	c.stream.Flush()
	return true
}

// sendPiece sends a piece of the body, the last one with end; it reports whether
// another one is wanted. After false, the pump does not touch the call again: it
// may be somebody else's.
func (c *streamCall) sendPiece(p []byte, end bool) bool {
	a := c.attempt
	c.mu.Lock()
	if c.over {
		c.mu.Unlock()
		return false
	}
	c.pumped = c.pumped || len(p) > 0 || end
	trailer := &a.Exchange().Request.Trailer
	trailers := end && trailer.Len() > 0
	_, err := c.stream.WriteData(p, end && !trailers)
	if err == nil && trailers {
		err = c.stream.WriteTrailer(trailer)
	}
	if err == nil && !end && a.Body().Buffered() == 0 {
		c.stream.Flush()
	}
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded) && !c.interrupted.Load():
		c.mu.Unlock()
		c.fail(&middleware.Reject{
			Status: http.StatusGatewayTimeout, Reason: middleware.ReasonIdleTimeout,
			Message: "the service does not read the request", Err: middleware.ErrIdle,
		})
		return false
	case err != nil:
		// The response may have come all the same, a 413 mostly: reading it
		// decides.
		c.pump.Store(pumpFailed)
	case end:
		c.pump.Store(pumpDone)
	}
	c.mu.Unlock()
	return err == nil && !end
}

// fail ends the attempt because of the request's own body. The pump does not
// touch the call afterwards.
func (c *streamCall) fail(r *middleware.Reject) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over {
		return
	}
	c.pumpFailure.Store(r)
	c.pump.Store(pumpFailed)
	c.stream.Interrupt(r)
}

// Read reads the response's body.
func (c *streamCall) Read(p []byte) (int, error) {
	n, err := c.stream.Read(p)
	switch {
	case err == nil:
	case err != io.EOF:
		err = c.readError(err)
	case !c.ended:
		c.ended = true
		to, from := &c.attempt.Response.Trailer, c.stream.Trailer()
		*to, *from = *from, *to
	}
	return n, err
}

// readError says why the response's body cannot be read on.
func (c *streamCall) readError(err error) error {
	if cause := c.pumpFailure.Load(); cause != nil {
		return cause
	}
	if cause := c.attempt.Err(); cause != nil {
		return cause
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return middleware.ErrIdle
	}
	return err
}

// Buffered is for writers that want to send head and body at once.
func (c *streamCall) Buffered() int { return c.stream.Buffered() }

// Complete is for those that want to send the end with it, too.
func (c *streamCall) Complete() bool { return c.stream.Complete() }

// Close does nothing: Finish knows whether the body was read whole.
func (c *streamCall) Close() error { return nil }
