package balance

import (
	"time"

	"github.com/outrigger-mesh/outrigger/middleware"
)

// peakEWMA is PolicyPeakEWMA: of two endpoints by chance the one with the lower
// product of latency and requests under way, the next one included. Latency is
// that of Stats.Latency; the product is Finagle's
// (com.twitter.finagle.loadbalancer.PeakEwma):
//
//	cost * (pending + 1)
//
// Where weights differ, pending is taken in relation to the weight, and
// endpoints are drawn by weight.
type peakEWMA struct {
	*lottery
	stats   []*middleware.Stats
	inverse []float64 // mean weight / weight; nil: weights are equal
	now     func() time.Time
}

// unknownCost is Finagle's penalty: an endpoint of which nothing is known gets
// one request, and no second one before the first has come back, unless others
// are as bad.
const unknownCost = 1e15 // ns; more than any cost times any number of requests

func newPeakEWMA(c PeakEWMA, endpoints []*middleware.Endpoint, weights []uint64, l *lottery, now func() time.Time) *peakEWMA {
	p := &peakEWMA{lottery: l, stats: statsOf(endpoints), now: now}
	for _, s := range p.stats {
		s.Latency.Track(c.Decay)
	}
	if l.alias != nil {
		sum := 0.0
		for _, w := range weights {
			sum += float64(w)
		}
		for _, w := range weights {
			p.inverse = append(p.inverse, sum/float64(len(weights))/float64(w))
		}
	}
	return p
}

func (p *peakEWMA) pick(uint64, int) int {
	first, second := p.pair()
	if first == second {
		return first
	}
	now := p.now()
	if p.cost(second, now) < p.cost(first, now) {
		return second
	}
	return first
}

// cost is how long the next request is likely to take, in nanoseconds.
func (p *peakEWMA) cost(i int, now time.Time) float64 {
	pending := float64(max(p.stats[i].Active.Load(), 0))
	if p.inverse != nil {
		pending *= p.inverse[i]
	}
	cost := p.stats[i].Latency.Cost(now)
	if cost == 0 && pending > 0 {
		return unknownCost + pending
	}
	return cost * (pending + 1)
}
