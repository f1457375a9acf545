package tcp

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// reason is why a connection ended: the word of the log and of the metric.
type reason string

const (
	reasonClient         reason = "client_closed"   // the client had finished first
	reasonApp            reason = "app_closed"      // the app had
	reasonClientReset    reason = "client_reset"    // the client is gone, or reset the connection
	reasonAppReset       reason = "app_reset"       // the app is, or did
	reasonIdle           reason = "idle_timeout"    // no byte moved for the time that the limits say
	reasonConnectFailed  reason = "connect_failed"  // the app does not listen
	reasonConnectTimeout reason = "connect_timeout" // the app does not answer
	reasonOverload       reason = "overload"        // one connection too many
	reasonDrained        reason = "drained"         // the sidecar has ended, and waited long enough
)

// conn is a client's connection and the one to the app.
type conn struct {
	s      *Server
	client net.Conn
	begun  time.Time
	ctx    context.Context // ends the dialing
	cancel context.CancelFunc

	moved [2]atomic.Int64 // bytes to the app, and from it

	mu    sync.Mutex
	app   net.Conn // nil while there is none
	why   reason   // the first reason stays
	err   error
	seen  int64     // what of moved the last look saw
	quiet time.Time // since when no look has seen more
}

// The directions, as indices of moved and as labels.
const (
	toApp   = 0
	fromApp = 1
)

var directions = [2]string{toApp: "in", fromApp: "out"}

func newConn(s *Server, nc net.Conn) *conn {
	now := time.Now()
	c := &conn{s: s, client: nc, begun: now, quiet: now}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	return c
}

// serve runs until the connection is over in both directions.
func (c *conn) serve() {
	dial, cancel := context.WithTimeout(c.ctx, c.s.o.ConnectTimeout)
	app, err := new(net.Dialer).DialContext(dial, "tcp", c.s.o.Target())
	cancel()
	if err != nil {
		why := reasonConnectFailed
		var failed net.Error
		if errors.As(err, &failed) && failed.Timeout() {
			why = reasonConnectTimeout
		}
		c.end(why, err)
		return
	}
	c.mu.Lock()
	c.app = app
	over := c.why != ""
	c.mu.Unlock()
	if over { // ended while it was dialed
		c.end("", nil)
		return
	}
	var back sync.WaitGroup
	back.Go(func() { c.pass(fromApp, c.client, app) })
	c.pass(toApp, app, c.client)
	back.Wait()
	c.end("", nil)
}

// pieceBytes is how much one call passes on at most before it is counted.
const pieceBytes = 4 << 20

// pass moves bytes from src to dst until src ends, and then tells dst.
func (c *conn) pass(direction int, dst, src net.Conn) {
	look := min(max(c.s.o.IdleTimeout/4, time.Millisecond), lookMost)
	bytes := c.s.o.Metrics.bytes.WithLabelValues(c.s.o.Port, directions[direction])
	for {
		// The deadline is on reading alone. When it passes, all that was read
		// has been written, so passing on can go on behind it.
		_ = src.SetReadDeadline(time.Now().Add(look))
		n, err := io.CopyN(dst, src, pieceBytes)
		c.moved[direction].Add(n)
		bytes.Add(float64(n))
		var failed *net.OpError
		switch {
		case err == nil:
		case errors.Is(err, os.ErrDeadlineExceeded):
			if c.idle() {
				c.abort(reasonIdle)
				return
			}
		case errors.Is(err, io.EOF):
			c.note([2]reason{toApp: reasonClient, fromApp: reasonApp}[direction], nil)
			if half, ok := dst.(interface{ CloseWrite() error }); !ok || half.CloseWrite() != nil {
				c.abort("") // it is gone: what comes from there is of no use
			}
			return
		case errors.As(err, &failed) && written(failed):
			c.reset(1-direction, err)
			return
		default:
			c.reset(direction, err)
			return
		}
	}
}

// lookMost bounds how far the counters of a connection that trickles lag.
const lookMost = 15 * time.Second

// written reports whether it was the destination that failed. A splice does
// not say so in its name, but only writing fails with EPIPE.
func written(err *net.OpError) bool {
	return err.Op == "write" || errors.Is(err, syscall.EPIPE)
}

// idle looks whether bytes have moved since the last look, in either direction,
// and reports whether none have for as long as the limit says.
func (c *conn) idle() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	now, moved := time.Now(), c.moved[toApp].Load()+c.moved[fromApp].Load()
	if moved != c.seen {
		c.seen, c.quiet = moved, now
		return false
	}
	return now.Sub(c.quiet) >= c.s.o.IdleTimeout
}

// reset passes on that one side broke off. from is the direction in which that
// side sends.
func (c *conn) reset(from int, err error) {
	c.note([2]reason{toApp: reasonClientReset, fromApp: reasonAppReset}[from], err)
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, nc := range []net.Conn{c.client, c.app} {
		if tcp, ok := nc.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
		}
	}
	c.close()
}

// note keeps the first reason.
func (c *conn) note(why reason, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.why == "" {
		c.why, c.err = why, err
	}
}

// abort ends the connection at once, from any goroutine.
func (c *conn) abort(why reason) {
	c.cancel()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.why == "" {
		c.why = why
	}
	c.close()
}

// close closes both sides. c.mu is held.
func (c *conn) close() {
	_ = c.client.Close()
	if c.app != nil {
		_ = c.app.Close()
	}
}

// end closes what is open, counts the connection and writes its line.
func (c *conn) end(why reason, err error) {
	c.note(why, err)
	c.abort("")
	c.mu.Lock()
	defer c.mu.Unlock()
	took := time.Since(c.begun)
	m, o := c.s.o.Metrics, &c.s.o
	m.total.WithLabelValues(o.Port, string(c.why)).Inc()
	m.duration.WithLabelValues(o.Port).Observe(took.Seconds())
	args := []any{
		"port", o.Port, "peer", c.client.RemoteAddr().String(), "reason", string(c.why),
		"bytes_in", c.moved[toApp].Load(), "bytes_out", c.moved[fromApp].Load(), "duration", took.String(),
	}
	if c.err != nil {
		args = append(args, "error", c.err.Error())
	}
	o.Logger.Info("connection ended", args...)
}
