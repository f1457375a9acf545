package balance

import (
	"math"

	"github.com/outrigger-mesh/outrigger/middleware"
)

// leastRequest is PolicyLeastRequest: of some endpoints by chance the one that
// is least busy (Mitzenmacher, "The power of two choices in randomized load
// balancing", 2001).
//
// Busy is the number of requests under way, and where weights differ, that
// number to the power of the bias in relation to the weight. It is the same
// trade as in Envoy, whose schedule for such endpoints goes by
// weight / (active + 1)^bias, but Envoy walks a heap under a lock of each
// worker, and no endpoint is left out however slow it is. Here endpoints are
// drawn by weight and compared by load, so that without load the shares are
// those of the weights exactly, and with load busy endpoints lose as quickly
// as with equal weights.
type leastRequest struct {
	*lottery
	stats   []*middleware.Stats
	inverse []float64 // weight^(-1/bias), so that nothing is raised to a power for a pick; nil: weights are equal
	choices int
}

func newLeastRequest(c LeastRequest, endpoints []*middleware.Endpoint, weights []uint64, l *lottery) *leastRequest {
	p := &leastRequest{lottery: l, stats: statsOf(endpoints), choices: c.Choices}
	if c.ActiveRequestBias == 0 {
		if l.alias != nil {
			p.choices = 1 // weights alone
		}
		return p
	}
	if l.alias != nil {
		top := float64(largest(weights))
		for _, w := range weights {
			p.inverse = append(p.inverse, math.Pow(float64(w)/top, -1/c.ActiveRequestBias))
		}
	}
	return p
}

func (p *leastRequest) pick(uint64, int) int {
	if p.choices == 1 {
		return p.draw()
	}
	best, other := p.pair()
	load := p.load(best)
	for k := p.choices - 2; ; k-- {
		// Only less is better: of two that are alike the one stays that was
		// drawn first, by its weight.
		if l := p.load(other); l < load {
			best, load = other, l
		}
		if k <= 0 {
			return best
		}
		other = p.draw()
	}
}

// load is how busy an endpoint is.
func (p *leastRequest) load(i int) float64 {
	active := float64(max(p.stats[i].Active.Load(), 0))
	if p.inverse != nil {
		return active * p.inverse[i]
	}
	return active
}

func statsOf(endpoints []*middleware.Endpoint) []*middleware.Stats {
	s := make([]*middleware.Stats, len(endpoints))
	for i, e := range endpoints {
		s[i] = e.Stats
	}
	return s
}

func largest(weights []uint64) uint64 {
	top := uint64(1)
	for _, w := range weights {
		top = max(top, w)
	}
	return top
}
