// Package balance chooses endpoints. A Balancer is built once for a snapshot of
// endpoints and not changed; what it counts lives on the endpoints
// (middleware.Stats), so that it survives the snapshot.
package balance

import (
	"errors"
	"math/rand/v2"
	"slices"
	"sort"
	"sync/atomic"

	"github.com/outrigger-mesh/outrigger/middleware"
)

// ErrNoEndpoint says that there is nothing to send a request to.
var ErrNoEndpoint = errors.New("no endpoint")

// Balancer picks the endpoint of an attempt. It prefers one that the exchange
// has not tried yet. It returns ErrNoEndpoint where there is none at all. It is
// called by many goroutines at once.
type Balancer interface {
	Pick(a *middleware.Attempt) (*middleware.Endpoint, error)
}

// RoundRobin takes the endpoints of the lowest priority that has any in turn,
// each as often as its weight says. Draining endpoints are left out. When all of
// a priority were tried by the exchange, it goes on with the next one, and in
// the end takes one for the second time.
func RoundRobin(endpoints []*middleware.Endpoint) Balancer {
	byPriority := map[uint32][]*middleware.Endpoint{}
	for _, e := range endpoints {
		if !e.Draining {
			byPriority[e.Priority] = append(byPriority[e.Priority], e)
		}
	}
	var order []uint32
	for p := range byPriority {
		order = append(order, p)
	}
	slices.Sort(order)
	b := &roundRobin{}
	for _, p := range order {
		b.levels = append(b.levels, newLevel(byPriority[p]))
	}
	return b
}

type roundRobin struct{ levels []*level }

// Pick is Balancer's.
func (b *roundRobin) Pick(a *middleware.Attempt) (*middleware.Endpoint, error) {
	if len(b.levels) == 0 {
		return nil, ErrNoEndpoint
	}
	var tried []*middleware.Attempt
	if a != nil && a.Number > 0 {
		tried = a.Exchange().Attempts()
	}
	for _, l := range b.levels {
		if e := l.next(tried); e != nil {
			return e, nil
		}
	}
	return b.levels[0].next(nil), nil
}

// maxTurns bounds the list of turns of a level: above it, weights are kept to
// by chance instead.
const maxTurns = 4096

// level is the endpoints of one priority.
type level struct {
	endpoints []*middleware.Endpoint
	turns     []*middleware.Endpoint // each as often as its weight, spread out
	sums      []uint64               // instead of turns: running sums of the weights
	n         atomic.Uint64
}

func newLevel(endpoints []*middleware.Endpoint) *level {
	l := &level{endpoints: endpoints}
	// Each sidecar begins elsewhere, so that a fleet that starts at once does
	// not send all its first requests to the same endpoint.
	l.n.Store(rand.Uint64N(uint64(len(endpoints)))) //nolint:gosec // no secret
	divisor, sum := uint64(0), uint64(0)
	for _, e := range endpoints {
		divisor = gcd(divisor, weight(e))
		sum += weight(e)
	}
	turns := sum / divisor
	switch {
	case turns == uint64(len(endpoints)):
		l.turns = endpoints
	case turns <= maxTurns && turns*uint64(len(endpoints)) <= 1<<22:
		l.turns = spread(endpoints, divisor, turns)
	default:
		sum = 0
		for _, e := range endpoints {
			sum += weight(e)
			l.sums = append(l.sums, sum)
		}
	}
	return l
}

// spread makes the turns so that an endpoint's own stand apart: at each turn
// every endpoint gains its weight, and who has most gives the whole sum back
// (the "smooth" weighted round robin known from nginx).
func spread(endpoints []*middleware.Endpoint, divisor, turns uint64) []*middleware.Endpoint {
	gains := make([]int64, len(endpoints))
	list := make([]*middleware.Endpoint, 0, turns)
	for range turns {
		best := 0
		for i, e := range endpoints {
			gains[i] += int64(weight(e) / divisor) //nolint:gosec // a weight has 32 bits
			if gains[i] > gains[best] {
				best = i
			}
		}
		gains[best] -= int64(turns) //nolint:gosec // at most maxTurns
		list = append(list, endpoints[best])
	}
	return list
}

// next is the next endpoint that was not tried; nil when all were.
func (l *level) next(tried []*middleware.Attempt) *middleware.Endpoint {
	e := l.pick()
	if !contains(tried, e) {
		return e
	}
	start := slices.Index(l.endpoints, e)
	for i := range l.endpoints {
		if e := l.endpoints[(start+i)%len(l.endpoints)]; !contains(tried, e) {
			return e
		}
	}
	return nil
}

func (l *level) pick() *middleware.Endpoint {
	if l.turns != nil {
		return l.turns[l.n.Add(1)%uint64(len(l.turns))]
	}
	r := rand.Uint64N(l.sums[len(l.sums)-1]) //nolint:gosec // no secret
	return l.endpoints[sort.Search(len(l.sums), func(i int) bool { return l.sums[i] > r })]
}

// contains compares keys: a snapshot in between may have brought new Endpoints
// for the same places.
func contains(tried []*middleware.Attempt, e *middleware.Endpoint) bool {
	for _, a := range tried {
		if a.Endpoint != nil && a.Endpoint.Key == e.Key {
			return true
		}
	}
	return false
}

func weight(e *middleware.Endpoint) uint64 { return uint64(max(e.Weight, 1)) }

func gcd(a, b uint64) uint64 {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}
