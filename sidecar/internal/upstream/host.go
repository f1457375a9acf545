package upstream

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/outrigger-mesh/outrigger/middleware"
)

// host is one address: its statistics, its connections, and how a request is
// tried there. It lives as long as the address is among its cluster's
// endpoints, and then until its last connection is free.
type host struct {
	cluster string
	address string
	app     bool
	refuse  func(netip.AddrPort) bool // addresses that are not to be connected to; nil: none
	stats   middleware.Stats

	connectTimeout atomic.Int64 // time.Duration

	mu     sync.Mutex
	idle   []*clientConn // the one that was used last is at the end
	closed bool
}

func newHost(cluster, address string, app bool) *host {
	return &host{cluster: cluster, address: address, app: app}
}

func connectTimeout(c Config) time.Duration {
	if c.ConnectTimeout > 0 {
		return c.ConnectTimeout
	}
	return DefaultConnectTimeout
}

// get is a connection: an unused one, unless fresh is asked for, or a new one.
func (h *host) get(a *middleware.Attempt, fresh bool) (*clientConn, error) {
	if !fresh {
		if c := h.pop(); c != nil {
			c.reused = true // roundTrip looks whether it can still be used
			return c, nil
		}
	}
	nc, err := h.dial(a)
	if err != nil {
		return nil, err
	}
	return newClientConn(h, nc), nil
}

func (h *host) dial(a *middleware.Attempt) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(h.connectTimeout.Load()))
	defer cancel()
	if err := a.Bind(dialing{cancel}); err != nil {
		return nil, err
	}
	defer a.Unbind()
	d := net.Dialer{Control: h.control}
	return d.DialContext(ctx, "tcp", h.address)
}

// errRefusedAddress says that a name has led where it must not.
var errRefusedAddress = errors.New("the address is this sidecar's own")

// control looks at the address once its name was resolved.
func (h *host) control(_, address string, _ syscall.RawConn) error {
	if h.refuse == nil {
		return nil
	}
	if a, err := netip.ParseAddrPort(address); err == nil && h.refuse(a) {
		return errRefusedAddress
	}
	return nil
}

// dialing is an attempt's stream while there is no connection yet.
type dialing struct{ cancel context.CancelFunc }

// Interrupt is middleware.Stream's.
func (d dialing) Interrupt(error) { d.cancel() }

// Finish is middleware.Stream's.
func (d dialing) Finish() { d.cancel() }

func (h *host) pop() *clientConn {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := len(h.idle)
	if n == 0 {
		return nil
	}
	c := h.idle[n-1]
	h.idle[n-1] = nil
	h.idle = h.idle[:n-1]
	return c
}

// put keeps a connection for the next request, or closes it where there is no
// place.
func (h *host) put(c *clientConn) {
	c.idleSince = time.Now()
	c.conn.Release()
	h.mu.Lock()
	keep := !h.closed && len(h.idle) < MaxIdlePerEndpoint
	if keep {
		h.idle = append(h.idle, c)
	}
	h.mu.Unlock()
	if !keep {
		_ = c.nc.Close()
	}
}

// reap closes what was unused for too long.
func (h *host) reap() {
	limit := time.Now().Add(-IdleTimeout)
	h.mu.Lock()
	n := 0
	for n < len(h.idle) && h.idle[n].idleSince.Before(limit) {
		n++
	}
	old := append([]*clientConn(nil), h.idle[:n]...)
	rest := copy(h.idle, h.idle[n:])
	clear(h.idle[rest:])
	h.idle = h.idle[:rest]
	h.mu.Unlock()
	for _, c := range old {
		_ = c.nc.Close()
	}
}

func (h *host) idleCount() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.idle)
}

// close closes the unused connections now, the others as they become free.
func (h *host) close() {
	h.mu.Lock()
	h.closed = true
	idle := h.idle
	h.idle = nil
	h.mu.Unlock()
	for _, c := range idle {
		_ = c.nc.Close()
	}
}
