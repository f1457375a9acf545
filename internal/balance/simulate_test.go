package balance

import (
	"container/heap"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/middleware"
)

// server is one endpoint of the simulation: it works on one request at a time,
// and the others wait in line.
type server struct {
	service time.Duration // mean, exponentially distributed
	free    time.Time     // when it is done with all that it has
}

// arrival and departure are the events; they end requests in the order of time.
type departure struct {
	at       time.Time
	began    time.Time
	endpoint *middleware.Endpoint
}

type departures []departure

func (d departures) Len() int           { return len(d) }
func (d departures) Less(i, j int) bool { return d[i].at.Before(d[j].at) }
func (d departures) Swap(i, j int)      { d[i], d[j] = d[j], d[i] }
func (d *departures) Push(x any)        { *d = append(*d, x.(departure)) }
func (d *departures) Pop() any {
	last := (*d)[len(*d)-1]
	*d = (*d)[:len(*d)-1]
	return last
}

// simulate sends requests to ten endpoints, of which the last one is slower, as
// a Poisson process, and returns the mean and the 99th percentile of the time
// that they took, with the slow one's share.
func simulate(t *testing.T, p Policy) (mean, p99 time.Duration, slow float64) {
	t.Helper()
	const requests, warmup = 60_000, 5000
	list := healthy(10)
	servers := map[*middleware.Endpoint]*server{}
	for i, c := range list {
		servers[c.Endpoint] = &server{service: 10 * time.Millisecond}
		if i == 9 {
			servers[c.Endpoint].service = 50 * time.Millisecond
		}
	}
	now := time.Unix(1000, 0)
	bits := seeded(11)
	exponential := func(mean time.Duration) time.Duration {
		return time.Duration(-math.Log(1-float64(bits()>>11)/(1<<53)) * float64(mean))
	}
	b := build(t, with(p), list, Options{Rand: seeded(12), Now: func() time.Time { return now }})
	var (
		pending departures
		took    []time.Duration
		hits    int
	)
	finish := func(until time.Time) {
		for len(pending) > 0 && !pending[0].at.After(until) {
			d := heap.Pop(&pending).(departure)
			now = d.at
			d.endpoint.Stats.Active.Add(-1)
			d.endpoint.Stats.Latency.Observe(now, now.Sub(d.began), false)
		}
		now = until
	}
	// Round robin gives the slow one a tenth of 180 a second, where it can do
	// 20: 90% of what it can.
	const gap = time.Second / 180
	for i := range requests {
		finish(now.Add(exponential(gap)))
		e, err := b.Pick(nil)
		if err != nil {
			t.Fatal(err)
		}
		s := servers[e]
		begin := now
		if s.free.After(now) {
			begin = s.free
		}
		s.free = begin.Add(exponential(s.service))
		e.Stats.Active.Add(1)
		heap.Push(&pending, departure{at: s.free, began: now, endpoint: e})
		if i >= warmup {
			took = append(took, s.free.Sub(now))
			if e == list[9].Endpoint {
				hits++
			}
		}
	}
	sum := time.Duration(0)
	for _, d := range took {
		sum += d
	}
	slices.Sort(took)
	return sum / time.Duration(len(took)), took[len(took)*99/100], float64(hits) / float64(len(took))
}

// One of ten endpoints takes five times as long as the others.
func TestPoliciesThatLookAvoidASlowEndpoint(t *testing.T) {
	mean := map[Policy]time.Duration{}
	for _, p := range []Policy{PolicyRoundRobin, PolicyRandom, PolicyLeastRequest, PolicyPeakEWMA} {
		m, p99, slow := simulate(t, p)
		mean[p] = m
		t.Logf("%-14s mean %7s  p99 %7s  %4.1f%% to the slow one", p, m.Round(10*time.Microsecond), p99.Round(time.Millisecond), 100*slow)
	}
	for _, p := range []Policy{PolicyLeastRequest, PolicyPeakEWMA} {
		if mean[p]*2 > mean[PolicyRoundRobin] {
			t.Errorf("%s has a mean of %s, round robin %s: want half at most", p, mean[p], mean[PolicyRoundRobin])
		}
	}
	if mean[PolicyPeakEWMA] > mean[PolicyLeastRequest] {
		t.Errorf("peak_ewma has a mean of %s, least_request %s", mean[PolicyPeakEWMA], mean[PolicyLeastRequest])
	}
}
