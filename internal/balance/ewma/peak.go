// Package ewma keeps a peak-sensitive, exponentially weighted moving average of
// latencies, as Finagle and Linkerd do for their balancers
// (com.twitter.finagle.loadbalancer.PeakEwma, tower::load::PeakEwma): a latency
// above the average replaces it at once, one below pulls it down by and by, and
// time without any word lets it decay towards zero, so that an endpoint that
// was slow is tried again.
//
// It is apart from internal/balance because the statistics of an endpoint, which
// outlive each balancer, hold it.
package ewma

import (
	"math"
	"sync/atomic"
	"time"
)

// FailureCost is what a failed attempt counts as, where it took less: an
// endpoint that refuses connections would otherwise look like the fastest. It
// is a fixed amount, so that a hundred requests that fail together count as one.
const FailureCost = 250 * time.Millisecond

// maxCost bounds what one observation counts as, such as a request that waited
// for an hour.
const maxCost = time.Minute

// tickBits is the resolution of the time of the last observation: 2^18 ns, or
// 0.26 ms. Observations within one tick count by their peak.
const tickBits = 18

// base is where ticks are counted from. Only differences matter.
var base = time.Now()

// Peak is the average of one endpoint. The zero Peak takes no part until Track
// was called. It may be used by many goroutines at once, and never blocks.
type Peak struct {
	decay atomic.Int64 // time.Duration; 0: nobody asks
	// state is the average in nanoseconds (float32) in the upper half, and the
	// tick of its last observation in the lower one; 0: nothing was observed.
	// Ticks wrap after 13 days, which makes an endpoint without requests for
	// that long look as if it had answered lately, once.
	state atomic.Uint64
}

// Track says that somebody asks for the average, with the time in which an
// observation's weight falls to 1/e; 0: nobody does any more.
func (p *Peak) Track(decay time.Duration) {
	if p.decay.Load() == int64(decay) {
		return // the common case of a new snapshot: no write to a shared cache line
	}
	p.decay.Store(int64(decay))
	if decay == 0 {
		p.state.Store(0) // what was known will be out of date
	}
}

// Tracked reports whether Observe has an effect, so that nobody reads the clock
// for nothing.
func (p *Peak) Tracked() bool { return p.decay.Load() != 0 }

// Observe takes in an attempt that took d until now.
func (p *Peak) Observe(now time.Time, d time.Duration, failed bool) {
	if failed {
		d = max(d, FailureCost)
	}
	p.observe(now, d)
}

// ObserveAtLeast takes in an attempt that was given up after d. How long it would
// have taken is not known, so that it never pulls the average down.
func (p *Peak) ObserveAtLeast(now time.Time, d time.Duration) {
	if float64(d) > p.Cost(now) {
		p.observe(now, d)
	}
}

func (p *Peak) observe(now time.Time, d time.Duration) {
	decay := p.decay.Load()
	if decay == 0 {
		return
	}
	rtt := float64(min(max(d, 1), maxCost))
	t := tick(now)
	for {
		old := p.state.Load()
		cost, last := unpack(old)
		var next uint64
		switch elapsed := since(t, last); {
		case old == 0 || rtt > cost:
			next = pack(rtt, t)
		case elapsed == 0:
			return // no time has passed: it has no weight yet
		default:
			w := weight(elapsed, decay)
			next = pack(cost*w+rtt*(1-w), t)
		}
		if p.state.CompareAndSwap(old, next) {
			return
		}
	}
}

// Cost is the average in nanoseconds, decayed until now; 0 where nothing is
// known of the endpoint, or not any more.
func (p *Peak) Cost(now time.Time) float64 {
	state := p.state.Load()
	decay := p.decay.Load()
	if state == 0 || decay == 0 {
		return 0
	}
	cost, last := unpack(state)
	if elapsed := since(tick(now), last); elapsed > 0 {
		cost *= weight(elapsed, decay)
	}
	if cost < 1 {
		return 0
	}
	return cost
}

func weight(elapsed, decay int64) float64 { return math.Exp(-float64(elapsed) / float64(decay)) }

func tick(t time.Time) uint32 {
	return uint32(t.Sub(base) >> tickBits) //nolint:gosec // it wraps, and only differences matter
}

// since is the time between two ticks in nanoseconds; 0 where another goroutine
// has been faster with a later one.
func since(t, last uint32) int64 {
	return int64(max(int32(t-last), 0)) << tickBits //nolint:gosec // half of the circle is the past
}

func pack(cost float64, t uint32) uint64 {
	return uint64(math.Float32bits(float32(cost)))<<32 | uint64(t)
}

func unpack(state uint64) (cost float64, t uint32) {
	return float64(math.Float32frombits(uint32(state >> 32))), uint32(state) //nolint:gosec // the two halves
}
