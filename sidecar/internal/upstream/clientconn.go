package upstream

import (
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/outrigger-mesh/outrigger/middleware"
	"github.com/outrigger-mesh/outrigger/sidecar/internal/http1"
)

// clientConn is one connection to a host. One attempt has it at a time; between
// attempts it lies in the host's stack.
type clientConn struct {
	host      *host
	nc        net.Conn
	raw       syscall.RawConn
	conn      *http1.Conn
	body      http1.Reader
	out       []byte
	idleSince time.Time

	// The rest is of the attempt that has it.
	attempt     *middleware.Attempt
	reused      bool // has served an attempt before
	answered    bool // a first response head has come
	headDone    bool
	hasBody     bool
	closing     bool // not to be used again
	interrupted atomic.Bool
	pump        atomic.Int32 // pumpNone ...
	pumpFailure atomic.Pointer[middleware.Reject]
}

const (
	pumpNone int32 = iota
	pumpRunning
	pumpDone   // the request's body was sent whole
	pumpFailed // it was not
)

func newClientConn(h *host, nc net.Conn) *clientConn {
	c := &clientConn{host: h, nc: nc, conn: http1.NewConn(nc)}
	if s, ok := nc.(syscall.Conn); ok {
		c.raw, _ = s.SyscallConn()
	}
	return c
}

// past interrupts what blocks.
var past = time.Unix(1, 0)

// Interrupt is middleware.Stream's.
func (c *clientConn) Interrupt(error) {
	c.interrupted.Store(true)
	_ = c.nc.SetDeadline(past)
}

// Finish is middleware.Stream's: the connection is kept if request and response
// are through, else closed.
func (c *clientConn) Finish() {
	pump := c.pump.Load()
	whole := c.headDone && (!c.hasBody || c.body.Complete()) && c.conn.Buffered() == 0 &&
		(pump == pumpNone || pump == pumpDone)
	if !whole || c.closing || c.interrupted.Load() {
		_ = c.nc.Close()
		c.conn.Release()
		return
	}
	if c.hasBody { // reading it has set one
		_ = c.nc.SetReadDeadline(time.Time{})
	}
	c.attempt = nil
	c.answered, c.headDone, c.hasBody = false, false, false
	if pump == pumpDone { // sending it has set one
		_ = c.nc.SetWriteDeadline(time.Time{})
	}
	c.pump.Store(pumpNone)
	c.host.put(c)
}

// Read reads the response's body.
func (c *clientConn) Read(p []byte) (int, error) {
	if c.body.Buffered() == 0 && !c.body.Complete() {
		c.limitRead()
	}
	n, err := c.body.Read(p)
	if err != nil && err != io.EOF {
		err = c.readError(err)
	}
	return n, err
}

// readError says why the response's body cannot be read on.
func (c *clientConn) readError(err error) error {
	if cause := c.pumpErr(); cause != nil {
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
func (c *clientConn) Buffered() int { return c.body.Buffered() }

// Close does nothing: Finish knows whether the body was read whole.
func (c *clientConn) Close() error { return nil }

// limitRead sets the limit for the next bytes. An interruption that came before
// must not be undone by it.
func (c *clientConn) limitRead() {
	d := DefaultBodyIdle
	if idle := c.attempt.Exchange().Idle(); idle > 0 {
		d = idle
	}
	_ = c.nc.SetReadDeadline(time.Now().Add(d))
	if c.interrupted.Load() || c.pumpFailure.Load() != nil {
		_ = c.nc.SetReadDeadline(past)
	}
}

// pumpWriter sends the request's body. No piece may take longer than the limit
// for idle bodies: an endpoint that does not read must not hold us for ever.
type pumpWriter struct {
	c *clientConn
	x *middleware.Exchange
}

func (w pumpWriter) Write(p []byte) (int, error) {
	d := DefaultBodyIdle
	if idle := w.x.Idle(); idle > 0 {
		d = idle
	}
	_ = w.c.nc.SetWriteDeadline(time.Now().Add(d))
	if w.c.interrupted.Load() {
		_ = w.c.nc.SetWriteDeadline(past)
	}
	return w.c.nc.Write(p)
}

// startPump sends head and body beside the goroutine that reads the response,
// so that neither waits for the other.
func (c *clientConn) startPump(a *middleware.Attempt) {
	x := a.Exchange()
	x.Hold()
	c.pump.Store(pumpRunning)
	go func() {
		defer x.Release()
		r := &x.Request
		_, readErr, writeErr := http1.CopyBody(pumpWriter{c, x}, a.Body(), c.out, r.ContentLength < 0, &r.Trailer)
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

// fail ends the attempt because of the request's own body.
func (c *clientConn) fail(r *middleware.Reject) {
	c.pumpFailure.Store(r)
	c.pump.Store(pumpFailed)
	_ = c.nc.SetDeadline(past)
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

// rawReader and rawWriter are the two ways of a connection after 101.
type rawReader struct{ c *clientConn }

func (r rawReader) Read(p []byte) (int, error) { return r.c.conn.Read(p) }

func (r rawReader) Close() error { return nil }

type rawWriter struct{ c *clientConn }

func (w rawWriter) Write(p []byte) (int, error) { return w.c.nc.Write(p) }

// Close is the end of what the client sends; the way back stays open.
func (w rawWriter) Close() error {
	if half, ok := w.c.nc.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return w.c.nc.Close()
}
