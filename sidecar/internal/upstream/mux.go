package upstream

import (
	"errors"
	"math"
	"sync/atomic"
	"time"

	"github.com/outrigger-mesh/outrigger/sidecar/internal/http2"
	"github.com/outrigger-mesh/outrigger/sidecar/internal/netio"
)

// mux is an HTTP/2 connection to a host, which several attempts have at a time.
type mux struct {
	host    *host
	conn    *http2.Conn
	nc      *netio.Conn
	tracked *tracked
	scheme  []byte

	open      atomic.Int64 // attempts that have a stream; negative: it is not to be used any more
	limit     atomic.Int64 // of open, where the peer has refused one more; else unlimited
	served    atomic.Int64 // attempts, ever
	idleSince atomic.Int64 // in Unix nanoseconds
	answered  atomic.Bool  // a response has come over it
	settled   atomic.Bool  // the peer was asked whether it speaks HTTP/2, and does
	retired   atomic.Bool
}

const (
	unlimited = math.MaxInt64
	// muxClosed is what makes open negative for good, whatever else is added to
	// it.
	muxClosed = math.MinInt64 / 2
)

func newMux(h *host, nc *netio.Conn, secure bool) *mux {
	m := &mux{host: h, nc: nc, scheme: schemeHTTP}
	if secure {
		m.scheme = schemeHTTPS
	}
	m.limit.Store(unlimited)
	m.idleSince.Store(time.Now().UnixNano())
	m.tracked = h.limits.track(h, nc)
	m.conn = http2.NewClient(nc, http2.Options{
		StreamWindow: http2.DefaultStreamWindow, ConnWindow: connWindow(h.limits.pool.Load().HTTP2.Streams),
		Changed: m.changed, Trouble: h.troubled,
	})
	return m
}

// connWindow is room for all that the streams of a connection may have unread:
// the responses to clients that do not read must not stop those to others (RFC
// 9113, section 5.2.2). What is kept for a client is bounded by its stream's
// window.
func connWindow(streams int) int { return min((streams+1)*http2.DefaultStreamWindow, maxConnWindow) }

// maxConnWindow is below the largest window that there is (RFC 9113, section
// 6.9.1).
const maxConnWindow = 1 << 30

var schemeHTTP, schemeHTTPS = []byte("http"), []byte("https")

// run reads until the connection has ended. Its place is free afterwards.
func (m *mux) run() {
	err := m.conn.Serve()
	h := m.host
	if m.settled.Load() {
		h.spoken.seenHTTP2(time.Now())
	}
	m.retire()
	_ = m.nc.Close()
	if err != nil {
		h.logger().Debug("HTTP/2 connection ended", "cluster", h.cluster, "endpoint", h.address, "error", err)
	}
	if h.muxes.waiting.Load() > 0 {
		h.serveStreams()
	}
}

// changed is http2.Options.Changed.
func (m *mux) changed(*http2.Conn) {
	if m.limit.Load() != unlimited {
		m.limit.Store(unlimited) // look again
	}
	if m.host.muxes.waiting.Load() > 0 {
		m.host.serveStreams()
	}
}

// stream opens a stream; nil: it is full, or is not to be used any more.
func (m *mux) stream(p *Pool, now time.Time) *http2.Stream {
	if m.tracked.expired(now) {
		m.retire()
		return nil
	}
	n := m.open.Add(1)
	if n > min(m.limit.Load(), int64(p.HTTP2.Streams)) || n < 0 {
		m.open.Add(-1)
		return nil
	}
	s, err := m.conn.Open()
	if err == nil {
		if served := m.served.Add(1); p.MaxRequestsPerConnection > 0 && served >= int64(p.MaxRequestsPerConnection) {
			m.retire() // this one is its last
		}
		if m.host.muxes.barren.Load() != 0 {
			m.host.muxes.barren.Store(0)
		}
		return s
	}
	if errors.Is(err, http2.ErrFull) {
		m.limit.Store(n - 1)
		if open, limit := m.conn.Streams(); open < limit { // one became free before we noted that there is none
			m.limit.Store(unlimited)
		}
	} else {
		if m.served.Load() == 0 {
			m.host.muxes.barren.Add(1)
		}
		m.retire()
	}
	m.open.Add(-1)
	return nil
}

// unused closes the connection to further streams if it has none; it reports
// whether it did.
func (m *mux) unused() bool { return m.open.CompareAndSwap(0, muxClosed) }

// stale reports that the connection has been unused for so long that the peer
// may be about to close it: it is not used again.
func (m *mux) stale(p *Pool, now time.Time) bool {
	return p.IdleTimeout > 0 && m.open.Load() == 0 && now.UnixNano()-m.idleSince.Load() > int64(p.IdleTimeout) && m.unused()
}

// release is the end of an attempt's stream, before the stream itself ends: who
// waits for one is told by changed.
func (m *mux) release() {
	m.idleSince.Store(time.Now().UnixNano())
	if m.open.Add(-1) == 0 && m.host.limits.waiting.Load() > 0 {
		m.host.limits.makeWay(m)
	}
}

// retire has the connection take no more streams; it ends with those that it
// has.
func (m *mux) retire() {
	if m.retired.Swap(true) {
		return
	}
	m.host.muxes.remove(m)
	m.conn.Drain()
}
