// Package balance chooses endpoints. A Balancer is built once for a snapshot of
// endpoints and not changed; what it counts lives on the endpoints
// (middleware.Stats), so that it survives the snapshot. Pick takes no lock that
// belongs to the package, allocates nothing, and does not get slower with the
// number of endpoints.
//
// A choice has two steps. The first one takes a priority, by the health of the
// endpoints that each has; the second one takes an endpoint of that priority,
// by the policy. Where the exchange has tried that endpoint, another one of the
// priority is taken, then one of the priorities that follow, and only in the
// end one for the second time.
package balance

import (
	"errors"

	"github.com/outrigger-mesh/outrigger/middleware"
)

// ErrNoEndpoint says that there is nothing to send a request to.
var ErrNoEndpoint = errors.New("no endpoint")

// Balancer picks the endpoint of an attempt. It prefers one that the exchange
// has not tried yet. It returns ErrNoEndpoint where there is none at all. It is
// called by many goroutines at once. A nil attempt, or one without an exchange,
// is one of which nothing is known.
type Balancer interface {
	Pick(a *middleware.Attempt) (*middleware.Endpoint, error)
}

// RoundRobin is New with the defaults, where all endpoints are healthy.
func RoundRobin(endpoints []*middleware.Endpoint) Balancer {
	candidates := make([]Candidate, len(endpoints))
	for i, e := range endpoints {
		candidates[i] = Candidate{Endpoint: e, Healthy: true}
	}
	b, err := New(Defaults(), candidates, Options{})
	if err != nil {
		panic("balance: the defaults are refused: " + err.Error())
	}
	return b
}

// balancer is every policy's Balancer: levels, with a picker each.
type balancer struct {
	levels []level
	spills bool  // more than the first level has a share
	hash   *Hash // nil but for PolicyConsistentHash
	bits   func() uint64
	none   error
}

// Pick is Balancer's.
func (b *balancer) Pick(a *middleware.Attempt) (*middleware.Endpoint, error) {
	var x *middleware.Exchange
	var tried []*middleware.Attempt
	if a != nil {
		if x = a.Exchange(); x != nil && a.Number > 0 {
			tried = x.Attempts()
		}
	}
	var r uint64
	if b.spills || b.hash != nil {
		r = b.random(x)
	}
	first := 0
	if b.spills {
		first = b.level(r)
	}
	if first < len(b.levels) {
		if e := b.levels[first].pick(r, tried); e != nil {
			return e, nil
		}
	}
	for i := range b.levels {
		if i == first {
			continue
		}
		if e := b.levels[i].pick(r, tried); e != nil {
			return e, nil
		}
	}
	if len(tried) > 0 {
		for i := range b.levels {
			if e := b.levels[(first+i)%len(b.levels)].pick(r, nil); e != nil {
				return e, nil
			}
		}
	}
	return nil, b.none
}

// random is the hash of the request's key, so that the level follows from it
// too, or random bits where it has none.
func (b *balancer) random(x *middleware.Exchange) uint64 {
	if b.hash != nil && x != nil {
		if h, ok := b.hash.hash(&x.Request); ok {
			return h
		}
	}
	return b.bits()
}

// level is the level that r belongs to, by the levels' shares.
func (b *balancer) level(r uint64) int {
	percent := scale(uint32(r>>32), 100)
	for i := range b.levels {
		if percent -= b.levels[i].share; percent < 0 {
			return i
		}
	}
	return 0
}

// level is the endpoints of one priority (and distance) that are used.
type level struct {
	Level
	endpoints []*middleware.Endpoint
	picker    picker
	share     int // percent of the requests
}

// maxAgain is how often a picker is asked for another endpoint than those that
// were tried, before the first other one is taken.
const maxAgain = 8

// pick is an endpoint that was not tried; nil where there is none.
func (l *level) pick(r uint64, tried []*middleware.Attempt) *middleware.Endpoint {
	if len(l.endpoints) == 0 {
		return nil
	}
	last := 0
	for again := range maxAgain {
		i := l.picker.pick(r, again)
		if i < 0 {
			return nil
		}
		if e := l.endpoints[i]; !contains(tried, e) {
			return e
		}
		last = i
	}
	for i := range l.endpoints {
		if e := l.endpoints[(last+i)%len(l.endpoints)]; !contains(tried, e) {
			return e
		}
	}
	return nil
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

// weight is at least 1, so that no endpoint of a snapshot is left out by it.
func weight(e *middleware.Endpoint) uint64 { return uint64(max(e.Weight, 1)) }
