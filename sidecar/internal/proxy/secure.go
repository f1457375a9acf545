package proxy

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/outrigger-mesh/outrigger/middleware"
	"github.com/outrigger-mesh/outrigger/sidecar/internal/http1"
	"github.com/outrigger-mesh/outrigger/sidecar/internal/netio"
	"github.com/outrigger-mesh/outrigger/sidecar/internal/secure"
)

// handshakeByte is what TLS begins with: the type of a record that is part of
// a handshake (RFC 8446, section 5.1). No method begins with it.
const handshakeByte = 0x16

// session is what the TLS of a connection has found out.
type session struct {
	identity string // the client's SPIFFE ID, verified; empty: it has none
	alpn     string // the protocol that was agreed on; empty: none
}

// Reasons of malformed requests that are about TLS.
const (
	tlsUnexpected = "tls_unexpected" // a listener without TLS got it
	tlsRequired   = "tls_required"   // a listener with TLS got plain text
)

// greet looks at the first byte of a new connection and has TLS spoken where
// that is what the client does. It returns false when the connection is over.
func (c *conn) greet() bool {
	mode := c.s.o.TLS.Mode()
	switch {
	case c.in.Peek()[0] != handshakeByte:
		if mode == secure.Strict {
			c.refusePlain()
			return false
		}
		return true
	case mode == secure.Off:
		c.malformed(tlsUnexpected)
		c.s.o.Logger.Debug("connection refused: it begins with TLS, which this listener does not speak",
			"listener", c.s.o.Listener, "peer", c.peer)
		return false
	}
	return c.handshake()
}

func (c *conn) malformed(reason string) {
	c.s.o.Metrics.malformed.WithLabelValues(c.s.o.Listener, reason).Inc()
}

var errPlain = errors.New("this port speaks TLS: use https")

// refusePlain answers plain text, once.
func (c *conn) refusePlain() {
	c.begin()
	x := c.stream.x
	x.Fail(&middleware.Reject{Status: http.StatusBadRequest, Reason: middleware.ReasonBadRequest, Message: errPlain.Error(), Err: errPlain})
	c.malformed(tlsRequired)
	c.s.o.Logger.Debug("request refused", "listener", c.s.o.Listener, "peer", c.peer, "error", errPlain, "request_id", string(x.RequestID()))
	c.writeLocal(x.Response)
	x.End(errPlain)
	c.linger(lingerTime)
}

// handshake makes the connection one with TLS. What was read of it goes to the
// record layer; all of it together has as long as a head.
func (c *conn) handshake() bool {
	socket := c.nc
	socket.Unread(bytes.Clone(c.in.Rest()))
	c.in.Release()
	socket.LimitReads(c.s.o.HeadTimeout)
	socket.LimitWrite(c.s.o.HeadTimeout)
	above := tls.Server(socket, c.s.o.TLS.Config())
	if err := above.Handshake(); err != nil { //nolint:noctx // its limits are the connection's, which the server's end breaks
		reason := c.s.o.TLS.Failed(err)
		c.s.o.Logger.Log(context.Background(), c.s.failedHandshake(reason), "TLS handshake failed",
			"listener", c.s.o.Listener, "peer", c.peer, "reason", string(reason), "error", err)
		if reason != secure.Gone && reason != secure.Timeout {
			c.linger(lingerDone) // the client reads why
		}
		return false
	}
	state := above.ConnectionState()
	c.s.o.TLS.Established(&state)
	c.secured = &session{identity: secure.Identity(state.PeerCertificates), alpn: state.NegotiatedProtocol}
	c.use(above)
	return true
}

// handshakeLogEvery is how often a failed handshake is told to everybody; who
// wants to see all of them logs at debug.
const handshakeLogEvery = 5 * time.Second

// failedHandshake is the level at which a failed handshake is logged: who set up
// a client wants to know why it is refused, and nobody wants a line for each
// attempt of a scanner.
func (s *Server) failedHandshake(reason secure.Reason) slog.Level {
	now, last := time.Now().UnixNano(), s.lastHandshake.Load()
	if reason == secure.Gone || now-last < int64(handshakeLogEvery) || !s.lastHandshake.CompareAndSwap(last, now) {
		return slog.LevelDebug
	}
	return slog.LevelWarn
}

// use makes nc, which is above the connection's socket, the connection. Who
// ends it from elsewhere may still have the socket: that comes to the same.
func (c *conn) use(nc net.Conn) {
	above := netio.New(nc)
	c.mu.Lock()
	c.nc = above
	c.mu.Unlock()
	c.in = http1.NewConn(above)
}

var schemeHTTPS = []byte("https")

// introduce says in a request who sends it, and how. It is called for each: a
// stream has served other connections before.
func (c *conn) introduce(r *middleware.Request) {
	r.Peer.Addr, r.Peer.Identity = c.peer, ""
	if c.secured != nil {
		r.Peer.Identity = c.secured.identity
		r.Scheme = schemeHTTPS
	}
}
