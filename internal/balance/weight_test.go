package balance

import (
	"fmt"
	"testing"
	"time"
)

func weighted(weights ...uint32) []Candidate {
	list := make([]Candidate, len(weights))
	for i, w := range weights {
		list[i] = Candidate{Endpoint: endpoint(fmt.Sprintf("e%04d", i), w, 0), Healthy: true}
	}
	return list
}

// Without load, and with latencies that are alike, each policy keeps to the
// weights in the long run.
func TestSharesFollowWeights(t *testing.T) {
	cases := map[string][]uint32{
		"alike":            {1, 1, 1, 1, 1},
		"two":              {3, 1},
		"a few":            {5, 1, 3, 1},
		"more than turns":  {70_001, 30_000, 1, 99_999},
		"one that is huge": {1_000_000, 1, 1},
	}
	for _, p := range []Policy{PolicyRoundRobin, PolicyRandom, PolicyLeastRequest, PolicyPeakEWMA, PolicyConsistentHash} {
		for name, weights := range cases {
			t.Run(string(p)+"/"+name, func(t *testing.T) {
				list := weighted(weights...)
				sum := 0.0
				for _, w := range weights {
					sum += float64(w)
				}
				const n = 40_000
				got := count(t, build(t, with(p), list, Options{Rand: seeded(3)}), n)
				for i, w := range weights {
					near(t, list[i].Key, got[list[i].Key], n, float64(w)/sum)
				}
			})
		}
	}
}

// Peak-EWMA compares latencies that differ by chance: that must not undo the
// weights.
func TestPeakEWMAKeepsToWeightsWithEqualLatencies(t *testing.T) {
	list := weighted(3, 1)
	now := time.Unix(1000, 0)
	random := seeded(4)
	b := build(t, with(PolicyPeakEWMA), list, Options{Rand: seeded(5), Now: func() time.Time { return now }})
	const n = 40_000
	got := 0
	for range n {
		now = now.Add(time.Second)
		for _, c := range list {
			c.Stats.Latency.Track(0) // forget
			c.Stats.Latency.Track(time.Second)
			c.Stats.Latency.Observe(now, time.Millisecond+time.Duration(random()%1_000_000), false)
		}
		if e, _ := b.Pick(nil); e == list[0].Endpoint {
			got++
		}
	}
	near(t, "the heavier one", got, n, 0.75)
}

func TestTurnsOfOneEndpointStandApart(t *testing.T) {
	order := spread([]uint64{5, 1, 4}, 1, 10)
	for i := range order {
		if order[i] == order[(i+1)%len(order)] && order[i] != 0 {
			t.Errorf("order %v: endpoint %d has two turns in a row", order, order[i])
		}
	}
}

func TestEndpointsOfOtherSnapshotsStayInOrder(t *testing.T) {
	// Two sidecars that got the same endpoints in another order take the same
	// turns, from another beginning.
	list := weighted(1, 1, 1)
	turned := []Candidate{list[2], list[0], list[1]}
	next := map[string]string{}
	for _, l := range [][]Candidate{list, turned} {
		b := build(t, Defaults(), l, Options{})
		last, _ := b.Pick(nil)
		for range 6 {
			e, _ := b.Pick(nil)
			if want, ok := next[last.Key]; ok && want != e.Key {
				t.Errorf("after %s came %s, and %s in the other balancer", last.Key, e.Key, want)
			}
			next[last.Key] = e.Key
			last = e
		}
	}
}
