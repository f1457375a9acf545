package upstream

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/outrigger-mesh/outrigger/middleware"
	"github.com/outrigger-mesh/outrigger/sidecar/internal/http1"
	"github.com/outrigger-mesh/outrigger/sidecar/internal/netio"
	"github.com/outrigger-mesh/outrigger/sidecar/internal/secure"
)

// HeaderUnsent is the response field by which an inbound sidecar tells the
// caller's that the request was not handed to the app: then it may be tried
// elsewhere whatever its method. It never reaches an app or a client.
const HeaderUnsent = "x-outrigger-unsent"

// Try sends the request to the host and reads the head of its response
// (middleware.TryHandler).
func (h *host) Try(a *middleware.Attempt) error {
	over2, err := h.spoken.overHTTP2(a, h.cluster)
	if err != nil {
		return err
	}
	if over2 {
		return h.tryHTTP2(a)
	}
	return h.tryHTTP1(a)
}

// tryHTTP1 is Try over HTTP/1.1.
func (h *host) tryHTTP1(a *middleware.Attempt) error {
	for fresh := string(a.Exchange().Request.Method) == http.MethodConnect; ; {
		c, err := h.get(a, fresh)
		if err != nil {
			return h.connectFailed(a, err)
		}
		if err := a.Bind(c); err != nil {
			h.put(c)
			return err
		}
		err = c.roundTrip(a)
		switch {
		case err == nil:
			return nil
		case err == netio.ErrStale: // nothing was sent
			a.MarkUnsent()
		case fresh || !c.closedBeforeUse(a):
			return err
		default:
			fresh = true
		}
		a.Unbind()
		c.Finish()
	}
}

func (h *host) connectFailed(a *middleware.Attempt, err error) error {
	r := &middleware.Reject{
		Status: http.StatusServiceUnavailable,
		Reason: middleware.ReasonConnectFailed,
		Err:    fmt.Errorf("%s: %w", h.cluster, err),
	}
	if errors.Is(err, errRefusedAddress) {
		r.Status, r.Reason = http.StatusLoopDetected, middleware.ReasonLoop
		r.Message = h.address + " is this sidecar's own address: send the service's name as Host"
		return r
	}
	var tls *secure.HandshakeError
	var mute *noSettings
	switch {
	case errors.As(err, &mute) && h.app:
		r.Reason = middleware.ReasonAppUnavailable
		r.Message = fmt.Sprintf("the app at %s was asked for HTTP/2, and %s: is its protocol http?", h.address, mute.what)
	case errors.As(err, &mute):
		r.Message = fmt.Sprintf("no HTTP/2 connection to an instance of %s: %s", h.cluster, mute.what)
	case errors.As(err, &tls) && h.app:
		r.Reason, r.Message, r.Err = middleware.ReasonAppUnavailable, "no TLS connection to the app: "+tls.Error(), nil
	case errors.As(err, &tls) && outside(a):
		r.Message = fmt.Sprintf("no TLS connection to an instance of %s", h.cluster)
	case errors.As(err, &tls): // whose certificate it is helps; the message has the error
		r.Message, r.Err = fmt.Sprintf("no TLS connection to an instance of %s: %s", h.cluster, tls), nil
	case h.app:
		r.Reason = middleware.ReasonAppUnavailable
		r.Message = fmt.Sprintf("the app at %s does not accept connections: is it running?", h.address)
	default:
		r.Message = fmt.Sprintf("no connection to an instance of %s", h.cluster)
	}
	return r
}

// outside reports whether a request came from outside the mesh: names and
// addresses of instances are not its client's business.
func outside(a *middleware.Attempt) bool {
	r := a.Exchange().Route()
	return r != nil && r.Listener == middleware.Gateway
}

// closedBeforeUse reports the keep-alive race: the server closed an unused
// connection just when the request was sent on it. Whether the server has read
// it cannot be known, so that it is sent again only where that does no harm;
// one with a body is left to the retry policy, which reads it from its
// beginning.
func (c *clientConn) closedBeforeUse(a *middleware.Attempt) bool {
	r := &a.Exchange().Request
	return c.reused && !c.answered && c.pumpErr() == nil && a.Err() == nil &&
		r.Safe() && r.Body.None()
}

// roundTrip sends the request and reads the response's head. It returns
// netio.ErrStale, with nothing sent, when the connection cannot take a request.
func (c *clientConn) roundTrip(a *middleware.Attempt) error {
	c.attempt = a
	r := &a.Exchange().Request
	if string(r.Method) == http.MethodConnect {
		return c.tunnel(a)
	}
	c.nc.LimitRead(0) // until the head: deadlines are the exchange's
	c.out = http1.AppendRequest(c.out[:0], r)
	whole := r.Body.None()
	if !whole {
		if c.reused && !c.nc.Alive() {
			return netio.ErrStale
		}
		var err error
		if whole, err = c.appendBody(a); err != nil {
			return err
		}
	}
	a.MarkSent()
	if whole {
		c.nc.LimitWrite(bodyIdle(a.Exchange()))
		switch _, err := c.conn.RoundTrip(c.out, c.reused); {
		case err == netio.ErrStale && r.Body.None():
			return err
		case err == netio.ErrStale: // since we looked; the body cannot be read again
			a.MarkUnsent()
			return c.broken(err)
		case err != nil:
			return c.broken(err)
		}
	} else {
		c.startPump(a)
	}
	framing, err := c.readHead(a)
	if err != nil {
		return err
	}
	c.closing = c.closing || framing.Close
	res := &a.Response
	if res.Header.Del(HeaderUnsent) > 0 && !c.host.app {
		a.MarkUnsent()
	}
	if res.Status == http.StatusSwitchingProtocols {
		return c.switchProtocols(a)
	}
	if framing.Chunked || framing.Length != 0 {
		c.body.Reset(c.conn, framing, &res.Trailer)
		c.hasBody = true
		res.Body = c
	}
	return nil
}

// tunnel makes the connection itself the answer to CONNECT (RFC 9110, section
// 9.3.6).
func (c *clientConn) tunnel(a *middleware.Attempt) error {
	c.closing = true
	a.MarkSent()
	c.nc.LimitRead(0)
	c.nc.LimitWrite(0)
	a.Response.Status = http.StatusOK
	a.Response.ContentLength = -1
	a.Response.Body = rawReader{c}
	a.Response.Upgrade = rawWriter{c}
	return nil
}

// readHead reads heads until the final one; interim ones go to the client.
func (c *clientConn) readHead(a *middleware.Attempt) (http1.Framing, error) {
	res := &a.Response
	for range maxInterim {
		head, err := c.conn.ReadHead(http1.MaxHeadBytes)
		if err != nil {
			return http1.Framing{}, c.broken(err)
		}
		c.answered = true
		framing, err := http1.ParseResponse(head, a.Exchange().Request.Method, res)
		if err != nil {
			return framing, c.invalid(err)
		}
		if res.Status >= 200 || res.Status == http.StatusSwitchingProtocols {
			c.headDone = true
			return framing, nil
		}
		if res.Status != http.StatusContinue { // each hop does that one for itself
			if err := a.Inform(res.Status, &res.Header); err != nil {
				return framing, err
			}
		}
		res.Status = 0
		res.Header.Reset()
	}
	return http1.Framing{}, c.invalid(errors.New("too many interim responses"))
}

// switchProtocols takes a 101. Whatever becomes of it, the endpoint speaks
// another protocol from here on: the connection is not used again.
func (c *clientConn) switchProtocols(a *middleware.Attempt) error {
	c.closing = true
	offered := a.Exchange().Request.Upgrade
	if len(offered) == 0 {
		return c.invalid(errors.New("101 without being asked"))
	}
	if chosen := a.Response.Header.Get("upgrade"); !among(offered, chosen) {
		return c.invalid(fmt.Errorf("101 to protocol %q, which was not offered", chosen))
	}
	a.Response.Body = rawReader{c}
	a.Response.Upgrade = rawWriter{c}
	return nil
}

// among reports whether every protocol of the list chosen is one of those that
// were offered (RFC 9110, section 7.8).
func among(offered, chosen []byte) bool {
	if len(chosen) == 0 {
		return false
	}
	for c := range bytes.SplitSeq(chosen, []byte{','}) {
		found := false
		for o := range bytes.SplitSeq(offered, []byte{','}) {
			found = found || bytes.EqualFold(bytes.TrimSpace(o), bytes.TrimSpace(c))
		}
		if !found {
			return false
		}
	}
	return true
}

// broken is the failure of a read or write before the head was there. When the
// request's own body was the cause, that is what is said.
func (c *clientConn) broken(err error) error {
	if cause := c.pumpErr(); cause != nil {
		return cause
	}
	var malformed http1.Malformed
	if errors.As(err, &malformed) || errors.Is(err, http1.ErrHeadTooLarge) {
		return c.invalid(err)
	}
	if alert := certificateAlert(err); alert != nil && !c.answered {
		c.attempt.MarkUnsent()
		return c.host.connectFailed(c.attempt, &secure.HandshakeError{Address: c.host.address, Err: alert})
	}
	if errors.Is(err, io.EOF) {
		err = errors.New("connection closed before the response")
	}
	r := c.host.reset(err)
	if !c.reused && !c.answered && c.host.spoken.http2.Load() != 0 {
		r.Message += ": it was asked over HTTP/1.1, and has spoken HTTP/2 before; is its protocol http2?"
	}
	return r
}

func (c *clientConn) invalid(err error) error {
	c.closing = true
	return c.host.invalid(notHTTP, err)
}

// reset is the answer where an endpoint has not answered.
func (h *host) reset(err error) *middleware.Reject {
	return &middleware.Reject{
		Status:  http.StatusBadGateway,
		Reason:  middleware.ReasonUpstreamReset,
		Message: "the service broke the connection off",
		Err:     fmt.Errorf("%s at %s: %w", h.cluster, h.address, err),
	}
}

const notHTTP = "the service's answer is not valid HTTP"

// invalid is the answer where an endpoint's is none.
func (h *host) invalid(message string, err error) error {
	return &middleware.Reject{
		Status:  http.StatusBadGateway,
		Reason:  middleware.ReasonUpstreamInvalid,
		Message: message,
		Err:     fmt.Errorf("%s at %s: %w", h.cluster, h.address, err),
	}
}
