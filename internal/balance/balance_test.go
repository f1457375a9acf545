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
	if got := count(t, RoundRobin([]*middleware.Endpoint{drained, endpoint("b", 1, 0)}), 10); got["a"] != 0 {
		t.Errorf("got %v", got)
	}
	if _, err := RoundRobin([]*middleware.Endpoint{drained}).Pick(nil); !errors.Is(err, ErrNoEndpoint) {
		t.Errorf("got %v, want ErrNoEndpoint", err)
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

func BenchmarkRoundRobin(b *testing.B) {
	var endpoints []*middleware.Endpoint
	for range 1000 {
		endpoints = append(endpoints, endpoint("e", 1, 0))
	}
	bal := RoundRobin(endpoints)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := bal.Pick(nil); err != nil {
			b.Fatal(err)
		}
	}
}
