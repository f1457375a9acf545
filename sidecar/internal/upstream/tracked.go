package upstream

import (
	"errors"
	"math/rand/v2"
	"net"
	"sync/atomic"
	"time"

	"github.com/outrigger-mesh/outrigger/sidecar/internal/netio"
)

// tracked is what a connection is to its cluster's limits: it counts from when
// it is opened until it is closed, whoever closes it.
type tracked struct {
	net.Conn
	host    *host
	expires time.Time // no request begins after it; zero: never
	served  int       // requests
	inUse   bool      // of who has the connection
	closed  atomic.Bool
}

// track has a new connection to h counted until it is closed. It was admitted.
func (l *limits) track(h *host, nc *netio.Conn) *tracked {
	l.opened.Add(1)
	p := l.pool.Load()
	t := &tracked{host: h}
	if p.MaxAge > 0 {
		t.expires = time.Now().Add(p.MaxAge - spread(p.MaxAge/10))
	}
	t.Conn, nc.Conn = nc.Conn, t
	return t
}

// expired reports that no further request is to begin on the connection.
func (t *tracked) expired(now time.Time) bool { return !t.expires.IsZero() && !now.Before(t.expires) }

// spread is a random duration below d, so that what began together does not
// stay together.
func spread(d time.Duration) time.Duration {
	if d <= 0 {
		return 0
	}
	return rand.N(d) //nolint:gosec // no secret
}

func trackedOf(c *clientConn) *tracked {
	t, _ := c.nc.Conn.(*tracked)
	return t
}

// use notes that a request has the connection.
func use(c *clientConn) {
	if t := trackedOf(c); t != nil {
		t.inUse = true
	}
}

// keep notes that the request has left the connection, and reports whether it
// may serve another one.
func (l *limits) keep(c *clientConn, now time.Time) bool {
	t := trackedOf(c)
	if t == nil {
		return true
	}
	if t.inUse {
		t.inUse = false
		l.active.Add(-1)
	}
	t.served++
	most := l.pool.Load().MaxRequestsPerConnection
	return (most == 0 || t.served < most) && !t.expired(now)
}

// Close is net.Conn's. The place of the connection is free afterwards.
func (t *tracked) Close() error {
	err := t.Conn.Close()
	if t.closed.Swap(true) {
		return err
	}
	l := t.host.limits
	if t.inUse {
		l.active.Add(-1)
	}
	l.mu.Lock()
	l.count(t.host, -1)
	l.mu.Unlock()
	if l.waiting.Load() > 0 {
		l.serveQueue(t.host)
	}
	return err
}

// CloseWrite is net.TCPConn's.
func (t *tracked) CloseWrite() error {
	if half, ok := t.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return errors.ErrUnsupported
}
