package upstream

import (
	"errors"
	"io"
	"net/http"
	"os"
	"slices"
	"time"

	"github.com/outrigger-mesh/outrigger/middleware"
	"github.com/outrigger-mesh/outrigger/sidecar/internal/http1"
)

// States of the request's body on its way to the host.
const (
	pumpNone int32 = iota
	pumpRunning
	pumpDone   // it was sent whole
	pumpFailed // it was not
)

// bodyIdle is how long a body may stand still, in either direction: an endpoint
// that neither reads nor writes must not hold a request for ever.
func bodyIdle(x *middleware.Exchange) time.Duration {
	if idle := x.Idle(); idle > 0 {
		return idle
	}
	return DefaultBodyIdle
}

// startPump sends head and body beside the goroutine that reads the response,
// so that neither waits for the other.
func (c *clientConn) startPump(a *middleware.Attempt) {
	x := a.Exchange()
	x.Hold()
	c.nc.LimitWrite(bodyIdle(x))
	c.pump.Store(pumpRunning)
	go func() {
		defer x.Release()
		r := &x.Request
		_, readErr, writeErr := http1.CopySized(c.nc, a.Body(), c.out, r.ContentLength < 0, r.ContentLength, &r.Trailer)
		switch {
		case readErr != nil:
			// The endpoint must not take half a body for a whole one.
			c.fail(bodyFailure(readErr))
		case errors.Is(writeErr, os.ErrDeadlineExceeded) && !c.interrupted.Load():
			c.fail(&middleware.Reject{
				Status: http.StatusGatewayTimeout, Reason: middleware.ReasonIdleTimeout,
				Message: "the service does not read the request", Err: middleware.ErrIdle,
			})
		case writeErr != nil:
			// The response may have come all the same, a 413 mostly: reading it
			// decides.
			c.pump.Store(pumpFailed)
		default:
			c.pump.Store(pumpDone)
		}
	}()
}

// smallBody is the size up to which a body that is there already goes out
// behind its head, in the same write and without a goroutine.
const smallBody = 16 << 10

// appendBody appends the request's body to the head in c.out when all of it has
// come from the client already. It reports whether it did; the body is then
// read.
func (c *clientConn) appendBody(a *middleware.Attempt) (bool, error) {
	n := a.Exchange().Request.ContentLength
	if n <= 0 || n > smallBody || int64(a.Body().Buffered()) < n {
		return false, nil
	}
	c.out = slices.Grow(c.out, int(n))
	for left := n; left > 0; {
		end := len(c.out)
		k, err := a.Body().Read(c.out[end : end+int(left)])
		c.out = c.out[:end+k]
		left -= int64(k)
		if err == io.EOF && left > 0 {
			err = io.ErrUnexpectedEOF
		}
		if err != nil && err != io.EOF {
			return false, bodyFailure(err)
		}
	}
	return true, nil
}

// fail ends the attempt because of the request's own body.
func (c *clientConn) fail(r *middleware.Reject) {
	c.pumpFailure.Store(r)
	c.pump.Store(pumpFailed)
	c.breakOff()
}

func bodyFailure(err error) *middleware.Reject {
	var reject *middleware.Reject // of a handler that has wrapped the body
	if errors.As(err, &reject) {
		return reject
	}
	return &middleware.Reject{
		Status:  http.StatusBadRequest,
		Reason:  middleware.ReasonClientBody,
		Message: "the request's body is malformed or broke off",
		Err:     err,
	}
}

// pumpErr is what the request's own body failed with.
func (c *clientConn) pumpErr() error {
	if r := c.pumpFailure.Load(); r != nil {
		return r
	}
	return nil
}
