package balance

import (
	"cmp"
	"slices"
	"sync/atomic"
)

// maxTurns bounds the list of turns of a level: above it, weights are kept to
// by chance instead.
const maxTurns = 8192

// turns is PolicyRoundRobin: endpoints in a fixed order, each as often as its
// weight.
type turns struct {
	*lottery
	order []uint32 // nil with equal weights: the order of the endpoints
	count uint64   // of turns until they begin anew; 0: too many, weights are kept to by chance
	n     atomic.Uint64
}

func newTurns(weights []uint64, l *lottery) *turns {
	t := &turns{lottery: l}
	// Each sidecar begins elsewhere, so that a fleet that starts at once does
	// not send all its first requests to the same endpoint.
	t.n.Store(l.bits() >> 1)
	if l.alias == nil {
		t.count = uint64(len(weights))
		return t
	}
	divisor, sum := uint64(0), uint64(0)
	for _, w := range weights {
		divisor = gcd(divisor, w)
		sum += w
	}
	if sum/divisor <= maxTurns {
		t.order = spread(weights, divisor, sum/divisor)
		t.count = uint64(len(t.order))
	}
	return t
}

// spread gives an endpoint of weight w its turns at (k+1/2)/w of the round, so
// that they stand apart as evenly as can be.
func spread(weights []uint64, divisor, count uint64) []uint32 {
	type turn struct {
		at       float64
		endpoint uint32
	}
	all := make([]turn, 0, count)
	for i, w := range weights {
		w /= divisor
		for k := range w {
			all = append(all, turn{(float64(k) + 0.5) / float64(w), uint32(i)}) //nolint:gosec // a length
		}
	}
	slices.SortFunc(all, func(a, b turn) int {
		return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.endpoint, b.endpoint))
	})
	order := make([]uint32, len(all))
	for i, t := range all {
		order[i] = t.endpoint
	}
	return order
}

func (t *turns) pick(uint64, int) int {
	if t.count == 0 {
		return t.draw()
	}
	i := t.next()
	if t.warm == nil || !t.warm.on() {
		return i
	}
	now := t.warm.now()
	for range maxRedraws {
		if t.warm.admits(i, now, t.bits()) {
			break
		}
		i = t.next()
	}
	return i
}

func (t *turns) next() int {
	i := t.n.Add(1) % t.count
	if t.order != nil {
		return int(t.order[i])
	}
	return int(i) //nolint:gosec // less than a length
}

func gcd(a, b uint64) uint64 {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}
