package balance

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/middleware"
)

func endpoint(key string, weight, priority uint32) *middleware.Endpoint {
	return &middleware.Endpoint{Key: key, Weight: weight, Priority: priority, Stats: new(middleware.Stats)}
}

func count(t *testing.T, b Balancer, n int) map[string]int {
	t.Helper()
	got := map[string]int{}
	for range n {
		e, err := b.Pick(nil)
		if err != nil {
			t.Fatal(err)
		}
		got[e.Key]++
	}
	return got
}

func TestRoundRobinTakesEachByItsWeight(t *testing.T) {
	b := RoundRobin([]*middleware.Endpoint{endpoint("a", 300, 0), endpoint("b", 100, 0), endpoint("c", 0, 0)})
	got := count(t, b, 401)
	// The third has no weight: it counts as 1, so that the turns are 300:100:1.
	if got["a"] != 300 || got["b"] != 100 || got["c"] != 1 {
		t.Errorf("got %v", got)
	}
	var last string
	runs := 0
	for range 100 {
		e, _ := b.Pick(nil)
		if last == "b" && e.Key == "b" {
			runs++
		}
		last = e.Key
	}
	if runs > 0 {
		t.Errorf("b came %d times right after itself: its turns are not spread out", runs)
	}
}

func TestWeightsTooUnevenForTurnsAreKeptToByChance(t *testing.T) {
	b := RoundRobin([]*middleware.Endpoint{endpoint("a", 70_001, 0), endpoint("b", 30_000, 0)})
	got := count(t, b, 20_000)
	if got["a"] < 13_000 || got["a"] > 15_000 {
		t.Errorf("a has %d of 20000, want about 14000", got["a"])
	}
}

func TestDrainingEndpointsGetNothing(t *testing.T) {
	drained := endpoint("a", 1, 0)
	drained.Draining = true
	if got := count(t, RoundRobin([]*middleware.Endpoint{drained, endpoint("b", 1, 1)}), 10); got["a"] != 0 {
		t.Errorf("got %v", got)
	}
	// Not even in panic.
	b := build(t, Defaults(), []Candidate{{Endpoint: drained, Healthy: true}, {Endpoint: endpoint("b", 1, 0)}}, Options{})
	if got := count(t, b, 10); got["a"] != 0 {
		t.Errorf("with the other one unhealthy: got %v", got)
	}
}

func TestDrainingEndpointsAreTheLastResort(t *testing.T) {
	drained := endpoint("a", 1, 0)
	drained.Draining = true
	if got := count(t, RoundRobin([]*middleware.Endpoint{drained}), 10); got["a"] != 10 {
		t.Errorf("got %v", got)
	}
}

func TestWithoutEndpointsThereIsAnError(t *testing.T) {
	for _, p := range policies {
		b := build(t, with(p), nil, Options{})
		if e, err := b.Pick(nil); !errors.Is(err, ErrNoEndpoint) || e != nil {
			t.Errorf("%s: got %v, %v; want ErrNoEndpoint", p, e, err)
		}
	}
}

func TestHigherPrioritiesWaitForTheLowest(t *testing.T) {
	got := count(t, RoundRobin([]*middleware.Endpoint{endpoint("far", 100, 1), endpoint("near", 1, 0)}), 10)
	if got["far"] != 0 {
		t.Errorf("got %v", got)
	}
}

// attempts runs an exchange that fails n times and returns the endpoints that
// were picked.
func attempts(t *testing.T, b Balancer, n int) []string {
	t.Helper()
	var picked []string
	x := middleware.NewExchange(nil)
	x.SetTarget(&middleware.Target{
		Pick: func(*middleware.Exchange) (middleware.Picker, error) { return b, nil },
		Try: middleware.TryHandlerFunc(func(a *middleware.Attempt) error {
			picked = append(picked, a.Endpoint.Key)
			return errors.New("refused")
		}),
		Policy: policy(n),
	})
	x.Serve(middleware.Router)
	x.End(nil)
	return picked
}

type policy int

func (p policy) Next(_ *middleware.Exchange, attempts []*middleware.Attempt) (bool, time.Duration) {
	return !attempts[len(attempts)-1].Running() && len(attempts) < int(p), 0
}

func TestAnotherTryGoesToAnotherEndpoint(t *testing.T) {
	b := RoundRobin([]*middleware.Endpoint{endpoint("a", 1000, 0), endpoint("b", 1, 0), endpoint("far", 1, 1)})
	for range 20 {
		got := attempts(t, b, 4)
		if len(got) != 4 || got[0] == got[1] || got[2] != "far" {
			t.Fatalf("tried %v; want both near ones, then the far one, then any", got)
		}
	}
}

// The heavy one would be drawn again and again: every endpoint is tried before
// one is tried twice, whatever the policy.
func TestEveryPolicyTriesEachEndpointOnce(t *testing.T) {
	for _, p := range policies {
		t.Run(string(p), func(t *testing.T) {
			list := weighted(100_000, 1, 1)
			list[2].Priority = 1
			for range 20 {
				got := attempts(t, build(t, with(p), list, Options{}), 4)
				if len(got) != 4 || got[0] == got[1] || got[2] != "e0002" || got[3] == "e0002" {
					t.Fatalf("tried %v; want both near ones, then the far one, then a near one", got)
				}
			}
		})
	}
}

// An attempt that belongs to no exchange is one of which nothing is known.
func TestAnAttemptWithoutAnExchangeIsServed(t *testing.T) {
	for _, p := range policies {
		b := build(t, with(p), healthy(2), Options{})
		for _, a := range []*middleware.Attempt{nil, {}, {Number: 3}} {
			if _, err := b.Pick(a); err != nil {
				t.Errorf("%s: %v", p, err)
			}
		}
	}
}

func TestConcurrentPicksAreEven(t *testing.T) {
	b := RoundRobin([]*middleware.Endpoint{endpoint("a", 1, 0), endpoint("b", 1, 0)})
	var a atomic.Int64
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 1000 {
				if e, _ := b.Pick(nil); e.Key == "a" {
					a.Add(1)
				}
			}
		})
	}
	wg.Wait()
	if a.Load() != 4000 {
		t.Errorf("a has %d of 8000, want 4000", a.Load())
	}
}
