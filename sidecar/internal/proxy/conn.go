package proxy

import (
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/outrigger-mesh/outrigger/middleware"
	"github.com/outrigger-mesh/outrigger/sidecar/internal/http1"
)

// conn is a client's connection. Its goroutine runs serve; the request's pump
// reads the body beside it, and cancellation comes from anywhere.
type conn struct {
	s    *Server
	nc   net.Conn
	raw  syscall.RawConn
	in   *http1.Conn
	peer netip.AddrPort

	stream *stream // of the request that is being served
	out    []byte
	fresh  bool // has had no request yet
	watch  watcher

	current     atomic.Pointer[middleware.Exchange] // stream.x, for abort
	idle        atomic.Bool                         // waits for a request
	aborted     atomic.Bool
	interrupted atomic.Bool // the exchange was canceled
	headSent    atomic.Bool // of the final response
	writing     sync.Mutex  // interim responses come from the pump's goroutine
}

// stream is what belongs to one exchange; the next request on the connection
// uses it again unless a goroutine still has it.
type stream struct {
	c    *conn
	x    *middleware.Exchange
	body requestBody
}

func newConn(s *Server, nc net.Conn) *conn {
	c := &conn{s: s, nc: nc, in: http1.NewConn(nc), fresh: true}
	c.watch.c = c
	if sc, ok := nc.(syscall.Conn); ok {
		c.raw, _ = sc.SyscallConn()
	}
	if a, ok := nc.RemoteAddr().(*net.TCPAddr); ok {
		c.peer = a.AddrPort()
	}
	return c
}

func (c *conn) newStream() *stream {
	st := &stream{c: c}
	st.x = middleware.NewExchange(c)
	st.x.Logger = c.s.o.Logger
	st.body.c = c
	c.current.Store(st.x)
	return st
}

// past interrupts what blocks.
var past = time.Unix(1, 0)

// serve handles the connection's requests, one after the other.
func (c *conn) serve() {
	defer c.in.Release()
	defer func() { _ = c.nc.Close() }()
	timeout := c.s.o.HeadTimeout
	for {
		if c.stream == nil {
			c.stream = c.newStream()
		} else if !c.stream.x.Reset() { // a hedge that has lost still reads the old request
			c.in.Detach()
			c.stream = c.newStream()
		}
		c.interrupted.Store(false)
		c.headSent.Store(false)
		head, err := c.readHead(timeout)
		if err != nil {
			c.headFailed(err)
			return
		}
		if !c.serveRequest(head) {
			return
		}
		timeout = c.s.o.KeepAlive
		c.fresh = false
	}
}

// readHead waits for the first byte of a request as long as timeout says, and
// then for the rest of its head.
func (c *conn) readHead(timeout time.Duration) ([]byte, error) {
	c.idle.Store(true)
	if c.s.stopping.Load() {
		timeout = c.grace()
	}
	_ = c.nc.SetReadDeadline(time.Now().Add(timeout))
	err := c.in.Wait()
	if errors.Is(err, os.ErrDeadlineExceeded) && c.s.stopping.Load() {
		// endIdle may have come after a request did: that one is still served.
		_ = c.nc.SetReadDeadline(time.Now().Add(c.grace()))
		err = c.in.Wait()
	}
	c.idle.Store(false)
	if err != nil {
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return nil, io.EOF // nothing was begun: nothing is lost
		}
		return nil, err
	}
	_ = c.nc.SetReadDeadline(time.Now().Add(c.s.o.HeadTimeout))
	return c.in.ReadHead(http1.MaxHeadBytes)
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

// endIdle ends a connection that waits for a request. One that has just got
// its first byte sets its own time limit after this.
func (c *conn) endIdle() {
	if c.idle.Load() {
		_ = c.nc.SetReadDeadline(past)
	}
}

// abort ends a connection in the middle of things.
func (c *conn) abort() {
	c.aborted.Store(true)
	_ = c.nc.SetDeadline(past)
	_ = c.nc.Close()
	if x := c.current.Load(); x != nil {
		x.Cancel(errAborted)
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
	case errors.Is(err, os.ErrDeadlineExceeded):
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
	x := middleware.NewExchange(c)
	x.Fail(&middleware.Reject{Status: http.StatusServiceUnavailable, Reason: middleware.ReasonOverload, Message: "too many connections"})
	answer, _, _ := http1.AppendResponse(nil, x.Response, http1.ResponseOptions{Close: true})
	body, err := io.ReadAll(x.Response.Body)
	if err == nil {
		// It fits into the socket's buffer: this does not hold the others up.
		_ = c.nc.SetWriteDeadline(time.Now().Add(10 * time.Millisecond))
		_, _ = c.nc.Write(append(answer, body...))
	}
	x.End(nil)
	_ = c.nc.Close()
}

// writeLocal sends a local reply, outside of any exchange's course.
func (c *conn) writeLocal(r *middleware.Response) {
	head, chunked, _ := http1.AppendResponse(nil, r, http1.ResponseOptions{Close: true})
	_, _, _ = http1.CopyBody(c, r.Body, head, chunked, &r.Trailer)
}

// linger closes the connection so that the client still gets the response: a
// close while it is sending would make the kernel throw the response away
// (RFC 9112, section 9.6). It waits for the client to close, as long as bytes
// come, and for this long without one.
func (c *conn) linger(quiet time.Duration) {
	if half, ok := c.nc.(interface{ CloseWrite() error }); ok && half.CloseWrite() == nil {
		scratch := make([]byte, 16<<10)
		for end := time.Now().Add(lingerMost); time.Now().Before(end); {
			_ = c.nc.SetReadDeadline(time.Now().Add(quiet))
			if _, err := c.nc.Read(scratch); err != nil {
				break
			}
		}
	}
	_ = c.nc.Close()
}

const (
	lingerTime = time.Second            // without a byte, from a client that is still sending
	lingerDone = 100 * time.Millisecond // from one that has sent everything
	lingerMost = 10 * time.Second       // in all
)

// Write sends a piece of the response. No piece may take longer than the limit
// for idle bodies.
func (c *conn) Write(p []byte) (int, error) {
	d := c.s.o.BodyIdle
	if c.stream != nil && c.stream.x.Idle() > 0 {
		d = min(d, c.stream.x.Idle())
	}
	_ = c.nc.SetWriteDeadline(time.Now().Add(d))
	if c.interrupted.Load() && c.headSent.Load() {
		_ = c.nc.SetWriteDeadline(past)
	}
	return c.nc.Write(p)
}

// Interrupt is middleware.Wire's.
func (c *conn) Interrupt(_ *middleware.Exchange, _ error) {
	c.interrupted.Store(true)
	_ = c.nc.SetReadDeadline(past)
	if c.headSent.Load() {
		_ = c.nc.SetWriteDeadline(past)
	}
}

// Rematch is middleware.Wire's.
func (c *conn) Rematch(x *middleware.Exchange) (*middleware.Target, error) {
	return c.s.o.Dispatcher.Match(x), nil
}

// Inform is middleware.Wire's.
func (c *conn) Inform(status int, h *middleware.Header) error {
	c.writing.Lock()
	defer c.writing.Unlock()
	if c.headSent.Load() || c.stream.x.Request.Proto == middleware.HTTP10 {
		return nil
	}
	_, err := c.Write(http1.AppendInterim(nil, status, h))
	return err
}
