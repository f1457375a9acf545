package upstream

import (
	"errors"
	"io"
	"net"
	"os"
	"sync/atomic"
	"time"

	"github.com/outrigger-mesh/outrigger/middleware"
	"github.com/outrigger-mesh/outrigger/sidecar/internal/http1"
	"github.com/outrigger-mesh/outrigger/sidecar/internal/netio"
)

// clientConn is one connection to a host. One attempt has it at a time; between
// attempts it lies in the host's stack.
type clientConn struct {
	host      *host
	nc        *netio.Conn
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

func newClientConn(h *host, nc net.Conn) *clientConn {
	c := &clientConn{host: h, nc: netio.New(nc)}
	c.conn = http1.NewConn(c.nc)
	return c
}

// Interrupt is middleware.Stream's.
func (c *clientConn) Interrupt(error) {
	c.interrupted.Store(true)
	c.breakOff()
}

// breakOff ends what reads and what writes, for good.
func (c *clientConn) breakOff() {
	c.nc.BreakRead()
	c.nc.BreakWrite()
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
	c.attempt = nil
	c.answered, c.headDone, c.hasBody = false, false, false
	c.pump.Store(pumpNone)
	c.host.put(c)
}

// Read reads the response's body.
func (c *clientConn) Read(p []byte) (int, error) {
	if c.body.Buffered() == 0 && !c.body.Complete() {
		c.nc.LimitRead(bodyIdle(c.attempt.Exchange()))
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

// Ended reports whether the body was read to its end.
func (c *clientConn) Ended() bool { return c.body.Complete() }

// Close does nothing: Finish knows whether the body was read whole.
func (c *clientConn) Close() error { return nil }

// rawReader and rawWriter are the two ways of a connection after 101.
type rawReader struct{ c *clientConn }

func (r rawReader) Read(p []byte) (int, error) { return r.c.conn.Read(p) }

// WriteTo is io.WriterTo's: see http1.Conn.
func (r rawReader) WriteTo(w io.Writer) (int64, error) { return r.c.conn.WriteTo(w) }

func (r rawReader) Close() error { return nil }

type rawWriter struct{ c *clientConn }

func (w rawWriter) Write(p []byte) (int, error) { return w.c.nc.Write(p) }

// Close is the end of what the client sends; the way back stays open.
func (w rawWriter) Close() error {
	err := w.c.nc.CloseWrite()
	if errors.Is(err, errors.ErrUnsupported) {
		return w.c.nc.Close()
	}
	return err
}
