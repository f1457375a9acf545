package upstream

import (
	"container/list"
	"context"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/outrigger-mesh/outrigger/middleware"
	"github.com/outrigger-mesh/outrigger/sidecar/internal/secure"
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
	limits         *limits      // the cluster's
	dialer         dialer
	tls            *secure.Client // nil: plain text
	spoken         spoken
	muxes          muxes
	troubles       *troubles           // the cluster's
	logger         func() *slog.Logger // the cluster's; not to be called with the cluster's mu held

	outlier outlierCounts
	rules   *atomic.Pointer[Outlier] // the cluster's
	eject   func(*host, ejectCause)  // the cluster's
	state   hostState                // guarded by the cluster's mu

	connections int       // guarded by limits.mu: open, or being opened
	waiters     list.List // guarded by limits.mu: of *waiter

	mu     sync.Mutex
	idle   []*clientConn // the one that was used last is at the end
	closed bool
}

func newHost(c *Cluster, address string) *host {
	h := &host{cluster: c.name, address: address, app: c.app, refuse: c.refuse, limits: &c.limits, rules: &c.rules, eject: c.eject}
	h.troubles, h.logger = &c.counts.troubles, c.logger
	h.connectTimeout.Store(int64(connectTimeout(c.config)))
	h.spoken.declare(c.config.Protocol)
	h.dialer, h.tls = newDialer(address, c.refuse), c.config.TLS
	return h
}

func connectTimeout(c Config) time.Duration {
	if c.ConnectTimeout > 0 {
		return c.ConnectTimeout
	}
	return DefaultConnectTimeout
}

// get is a connection: an unused one, unless fresh is asked for, or a new one.
func (h *host) get(a *middleware.Attempt, fresh bool) (*clientConn, error) {
	c, err := h.limits.admit(h, a, fresh)
	if err != nil {
		return nil, err
	}
	if c != nil {
		c.reused = true // roundTrip looks whether it can still be used
		return c, nil
	}
	nc, err := h.dial(a)
	if err != nil {
		h.limits.openFailed(h)
		return nil, err
	}
	c = newClientConn(h, nc)
	h.limits.track(h, c.nc).inUse = true
	return c, nil
}

func (h *host) dial(a *middleware.Attempt) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(h.connectTimeout.Load()))
	defer cancel()
	if err := a.Bind(dialing{cancel}); err != nil {
		return nil, err
	}
	defer a.Unbind()
	nc, err := h.dialer.dial(ctx)
	if err == nil {
		nc, _, err = h.secure(ctx, nc, secure.ProtoHTTP1)
	}
	return nc, err
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

// popOldest takes the connection that has not been used for longest.
func (h *host) popOldest() *clientConn {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.idle) == 0 {
		return nil
	}
	c := h.idle[0]
	h.idle = slices.Delete(h.idle, 0, 1)
	return c
}

// put keeps a connection for the next request, or closes it where there is no
// place.
func (h *host) put(c *clientConn) {
	c.idleSince = time.Now()
	c.conn.Release()
	keep := h.limits.keep(c, c.idleSince)
	most := h.limits.pool.Load().MaxIdlePerEndpoint
	h.mu.Lock()
	keep = keep && !h.closed && len(h.idle) < most
	if keep {
		h.idle = append(h.idle, c)
	}
	h.mu.Unlock()
	if !keep {
		_ = c.nc.Close()
	} else if h.limits.waiting.Load() > 0 {
		h.limits.serveQueue(h)
	}
}

// reap closes what was unused for too long, or is too old to be used again.
func (h *host) reap(now time.Time) {
	p := h.limits.pool.Load()
	h.muxes.reap(p, now)
	idle := p.IdleTimeout
	var old []*clientConn
	h.mu.Lock()
	h.idle = slices.DeleteFunc(h.idle, func(c *clientConn) bool {
		t := trackedOf(c)
		expired := idle > 0 && now.Sub(c.idleSince) > idle || t != nil && !t.expires.IsZero() && now.After(t.expires)
		if expired {
			old = append(old, c)
		}
		return expired
	})
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
	h.muxes.close()
	if h.dialer.names != nil {
		h.dialer.names.close()
	}
}
