package proxy

import (
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/outrigger-mesh/outrigger/middleware"
	"github.com/outrigger-mesh/outrigger/sidecar/internal/http1"
	"github.com/outrigger-mesh/outrigger/sidecar/internal/netio"
	"github.com/outrigger-mesh/outrigger/sidecar/internal/secure"
)

// conn is a client's connection. Its goroutine runs serve; the request's pump
// reads the body beside it, and cancellation comes from anywhere.
type conn struct {
	s    *Server
	nc   *netio.Conn
	in   *http1.Conn
	peer netip.AddrPort

	stream  *stream  // of the request that is being served; nil between requests
	fresh   bool     // has had no request yet
	secured *session // nil: plain text

	mu      sync.Mutex // guards what follows
	current *stream    // stream; nil while the connection waits for a request
	http2   *conn2     // what is spoken instead of HTTP/1.1; nil: nothing
	aborted bool
}

func newConn(s *Server, nc net.Conn) *conn {
	c := &conn{s: s, nc: netio.New(nc), fresh: true}
	c.in = http1.NewConn(c.nc)
	if a, ok := nc.RemoteAddr().(*net.TCPAddr); ok {
		c.peer = a.AddrPort()
	}
	return c
}

// serve handles the connection's requests, one after the other. It returns
// false when the connection has gone over to another goroutine.
func (c *conn) serve() bool {
	for {
		if err := c.wait(); err == errHandedOver {
			return false
		} else if err != nil {
			return true // nothing was begun: nothing is lost
		}
		if c.fresh && c.secured == nil {
			if !c.greet() {
				return true
			}
			switch {
			case c.secured == nil:
			case c.secured.alpn == secure.ProtoHTTP2:
				return c.serveHTTP2(nil)
			default:
				continue // to the first byte of what TLS carries
			}
		}
		c.begin()
		head, err := c.readHead()
		if err != nil {
			c.headFailed(err)
			return true
		}
		if c.fresh && string(head) == priorKnowledge {
			early := append([]byte(priorKnowledge), c.in.Peek()...)
			c.finish()
			return c.serveHTTP2(early)
		}
		again := c.serveRequest(head)
		c.finish()
		if !again {
			return true
		}
		c.fresh = false
	}
}

// settleAfter is how long a connection waits for a request before its goroutine
// is changed for a new one. One that has served requests has a stack of 8 KiB
// or more; one that only waits needs 2.
const settleAfter = 5 * time.Second

var errHandedOver = errors.New("another goroutine has the connection")

// wait returns when there is a byte of the next request.
func (c *conn) wait() error {
	c.mend()
	if c.in.Buffered() > 0 {
		return nil
	}
	timeout := c.s.o.KeepAlive
	switch {
	case c.s.conns.Stopping():
		timeout = c.grace()
	case c.fresh:
		timeout = c.s.o.HeadTimeout
	case timeout > settleAfter:
		c.nc.LimitRead(settleAfter)
		err := c.in.Wait()
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return err
		}
		if !c.nc.ReadBroken() {
			go c.s.settle(c)
			return errHandedOver
		}
		return c.lastWait(err)
	}
	c.nc.LimitRead(timeout)
	return c.lastWait(c.in.Wait())
}

// lastWait gives a connection whose wait the server's end has broken its grace:
// a request may have come before that. That one is still served.
func (c *conn) lastWait(err error) error {
	if err == nil || !c.nc.ReadBroken() || c.isAborted() {
		return err
	}
	c.nc.MendRead()
	c.nc.LimitRead(c.grace())
	return c.in.Wait()
}

// mend undoes what has ended the last request's reads and writes: its
// cancellation, say, when its answer was through already.
func (c *conn) mend() {
	if c.nc.ReadBroken() {
		c.nc.MendRead()
	}
	if c.nc.WriteBroken() {
		c.nc.MendWrite()
	}
}

// begin takes a stream for the next request.
func (c *conn) begin() {
	st := c.s.stream(c)
	c.stream = st
	c.mu.Lock()
	c.current = st
	c.mu.Unlock()
	c.mend() // endIdle's: there is a request after all
}

// readHead reads the head of which the first byte is there.
func (c *conn) readHead() ([]byte, error) {
	c.nc.LimitReads(c.s.o.HeadTimeout)
	return c.in.ReadHead(http1.MaxHeadBytes)
}

// finish gives the stream back, unless a goroutine still has it: a hedge that
// has lost, say, and still reads the request.
func (c *conn) finish() {
	st := c.stream
	c.stream = nil
	c.mu.Lock()
	c.current = nil
	c.mu.Unlock()
	if !c.s.keep(st) {
		c.in.Detach()
	}
}

// grace is how long a connection that waits for a request still may when the
// server stops. A new one has been made for a request that is on its way; on an
// old one only what has already arrived is served.
func (c *conn) grace() time.Duration {
	if c.fresh {
		return 100 * time.Millisecond
	}
	return 5 * time.Millisecond
}

// endIdle ends a connection that waits for a request.
func (c *conn) endIdle() {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.http2 != nil:
		go c.http2.drain() // it writes
	case c.current == nil:
		c.nc.BreakRead()
	}
}

// spoken is the connection of HTTP/2 that this one has become; nil: it has not.
func (c *conn) spoken() *conn2 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.http2
}

// abort ends a connection in the middle of things.
func (c *conn) abort() {
	c.mu.Lock()
	c.aborted = true
	st, nc := c.current, c.nc
	c.mu.Unlock()
	nc.BreakRead()
	nc.BreakWrite()
	if st != nil && st.headSent.Load() {
		_ = nc.SetLinger(0) // nobody must take what was sent for the whole
	}
	_ = nc.Close()
	if st != nil {
		st.x.Cancel(errAborted)
	}
}

var errAborted = errors.New("the proxy is going away")

// headFailed answers a head that cannot be used, where there is one.
func (c *conn) headFailed(err error) {
	var malformed http1.Malformed
	reject := &middleware.Reject{Status: http.StatusBadRequest, Reason: middleware.ReasonBadRequest, Err: err}
	switch {
	case errors.As(err, &malformed):
		reject.Message = err.Error()
		if malformed == http1.BadVersion {
			reject.Status = http.StatusHTTPVersionNotSupported
		}
		if malformed == http1.BadExpect {
			reject.Status = http.StatusExpectationFailed
		}
		c.s.o.Metrics.malformed.WithLabelValues(c.s.o.Listener, string(malformed)).Inc()
	case errors.Is(err, http1.ErrHeadTooLarge):
		reject.Status, reject.Reason = http.StatusRequestHeaderFieldsTooLarge, middleware.ReasonHeadTooLarge
		c.s.o.Metrics.malformed.WithLabelValues(c.s.o.Listener, string(reject.Reason)).Inc()
	case errors.Is(err, os.ErrDeadlineExceeded) && !c.nc.ReadBroken():
		reject.Status, reject.Reason = http.StatusRequestTimeout, middleware.ReasonHeadTimeout
		c.s.o.Metrics.malformed.WithLabelValues(c.s.o.Listener, string(reject.Reason)).Inc()
	default:
		return // the client is gone
	}
	x := c.stream.x
	x.Fail(reject)
	c.s.o.Logger.Debug("request refused", "listener", c.s.o.Listener, "peer", c.peer, "error", err, "request_id", string(x.RequestID()))
	c.writeLocal(x.Response)
	x.End(err)
	c.linger(lingerTime)
}

// refuse answers a connection that is one too many.
func (c *conn) refuse() {
	if c.s.o.TLS.Mode() == secure.Strict {
		_ = c.nc.Close() // a handshake would cost more than the answer is worth
		return
	}
	st := c.s.stream(c)
	x := st.x
	x.Fail(&middleware.Reject{Status: http.StatusServiceUnavailable, Reason: middleware.ReasonOverload, Message: "too many connections"})
	answer, _, _ := http1.AppendResponse(nil, x.Response, http1.ResponseOptions{Close: true})
	body, err := io.ReadAll(x.Response.Body)
	if err == nil {
		// It fits into the socket's buffer: this does not hold the others up.
		c.nc.LimitWrite(10 * time.Millisecond)
		_, _ = c.nc.Write(append(answer, body...))
	}
	x.End(nil)
	c.s.keep(st)
	_ = c.nc.Close()
}

// writeLocal sends a local reply, outside of any exchange's course.
func (c *conn) writeLocal(r *middleware.Response) {
	head, chunked, _ := http1.AppendResponse(nil, r, http1.ResponseOptions{Close: true})
	c.nc.LimitWrite(c.s.o.BodyIdle)
	_, _, _ = http1.CopyBody(c.nc, r.Body, head, chunked, &r.Trailer)
}

// linger closes the connection so that the client still gets the response: a
// close while it is sending would make the kernel throw the response away
// (RFC 9112, section 9.6). It waits for the client to close, as long as bytes
// come, and for this long without one.
func (c *conn) linger(quiet time.Duration) {
	if c.nc.CloseWrite() == nil {
		c.nc.MendRead()
		c.nc.LimitRead(quiet)
		scratch := make([]byte, 16<<10)
		for end := time.Now().Add(lingerMost); time.Now().Before(end) && !c.isAborted(); {
			if _, err := c.nc.Read(scratch); err != nil {
				break
			}
		}
	}
	_ = c.nc.Close()
}

func (c *conn) isAborted() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.aborted
}

const (
	lingerTime = time.Second            // without a byte, from a client that is still sending
	lingerDone = 100 * time.Millisecond // from one that has sent everything
	lingerMost = 10 * time.Second       // in all
)
