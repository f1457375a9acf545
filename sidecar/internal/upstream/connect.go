package upstream

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"syscall"
	"time"

	"github.com/outrigger-mesh/outrigger/registry"
	"github.com/outrigger-mesh/outrigger/sidecar/internal/http2"
	"github.com/outrigger-mesh/outrigger/sidecar/internal/netio"
	"github.com/outrigger-mesh/outrigger/sidecar/internal/secure"
)

// connectMux opens an HTTP/2 connection, for which there is room. errOnlyHTTP1
// says that the endpoint of an undeclared cluster speaks HTTP/1.1. With any
// error the room is free again.
func (h *host) connectMux() (*mux, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(h.connectTimeout.Load()))
	defer cancel()
	nc, err := h.dialer.dial(ctx)
	alpn := ""
	if err == nil {
		nc, alpn, err = h.secure(ctx, nc, overHTTP2Protocols(h.spoken.declared())...)
	}
	if err != nil {
		h.limits.failed.Add(1)
		h.limits.notOpened(h)
		return nil, err
	}
	if h.tls != nil && alpn != secure.ProtoHTTP2 { // the endpoint has said so itself: that is a good connection
		h.spoken.seenHTTP1(time.Now())
		c := newClientConn(h, nc)
		h.limits.track(h, c.nc)
		h.put(c)
		return nil, errOnlyHTTP1
	}
	m := newMux(h, netio.New(nc), h.tls != nil)
	go m.run()
	if err := h.awaitSettings(ctx, m, alpn == ""); err != nil {
		m.retire()
		m.conn.Close()
		return nil, err
	}
	return m, nil
}

// errNotHTTP2 says that an endpoint speaks something else than it should.
var errNotHTTP2 = errors.New("it does not speak HTTP/2")

// noSettings is what an endpoint does that should speak HTTP/2.
type noSettings struct {
	address, what string
	cause         error
}

// Error is what happened, with its cause behind.
func (e *noSettings) Error() string {
	return e.address + " was asked for HTTP/2, and " + e.what + ": " + e.cause.Error()
}

// Unwrap is the cause.
func (e *noSettings) Unwrap() error { return e.cause }

// awaitSettings waits for what a server of HTTP/2 says first (RFC 9113, section
// 3.4): with it comes how many streams it takes, and one that says something
// else speaks something else. Nothing of any request has been sent to it. An
// endpoint of which nothing is known is asked that way what it speaks.
func (h *host) awaitSettings(ctx context.Context, m *mux, asked bool) error {
	asked = asked && h.spoken.declared() == registry.ProtocolUndeclared
	if asked {
		limit, cancel := context.WithTimeout(ctx, settingsWait)
		defer cancel()
		ctx = limit
	}
	silent := false
	select {
	case <-m.conn.Ready():
	case <-ctx.Done():
		silent = true
	}
	now, err := time.Now(), m.conn.Err()
	if !silent && !m.conn.NotHTTP2() {
		m.settled.Store(true)
		h.spoken.seenHTTP2(now)
		return err
	}
	what, cause := "it says something else", errNotHTTP2
	if alert := certificateAlert(err); alert != nil && !silent {
		return &secure.HandshakeError{Address: h.address, Err: alert}
	}
	switch {
	case silent:
		what, cause = "it says nothing", context.DeadlineExceeded
	case hungUp(err):
		what, cause = "it closes the connection", err
	default:
		h.spoken.http2.Store(0) // whatever it was before
	}
	if !asked || h.spoken.spokeHTTP2(now) {
		return &noSettings{address: h.address, what: what, cause: cause}
	}
	h.spoken.seenHTTP1(now)
	h.logger().Debug("endpoint taken for a server of HTTP/1.1 after it was asked for HTTP/2",
		"cluster", h.cluster, "endpoint", h.address, "since", what, "for", onlyHTTP1For)
	return errOnlyHTTP1
}

// certificateAlert is the word of a server that does not take our certificate, or
// wants one. With TLS 1.3 it comes when the handshake is through for us (RFC
// 8446, section 4.4.2.4): the first read finds it, and nothing that was sent
// meanwhile was looked at. nil: it is something else.
func certificateAlert(err error) error {
	var op *net.OpError // the form in which crypto/tls gives an alert
	if errors.As(err, &op) && op.Op == "remote error" && strings.Contains(op.Err.Error(), "certificate") {
		return op.Err
	}
	return nil
}

// hungUp reports that a connection has ended without a word.
func hungUp(err error) bool {
	for _, e := range []error{io.EOF, io.ErrUnexpectedEOF, net.ErrClosed, syscall.ECONNRESET, syscall.EPIPE} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// troubled is told of what an endpoint does wrong as a server of HTTP/2.
func (h *host) troubled(t http2.Trouble) { h.troubles.add(t) }

func (c *Cluster) logger() *slog.Logger {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.env.logger()
}
