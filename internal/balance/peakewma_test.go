package balance

import (
	"errors"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/middleware"
)

func TestPeakEWMAPrefersTheFastAndRecovers(t *testing.T) {
	list := healthy(2)
	fast, slow := list[0], list[1]
	now := time.Unix(1000, 0)
	b := build(t, with(PolicyPeakEWMA), list, Options{Now: func() time.Time { return now }})
	// Nothing is known of both: both are tried.
	if got := count(t, b, 100); len(got) != 2 {
		t.Errorf("in the beginning: got %v, want both", got)
	}
	fast.Stats.Latency.Observe(now, 10*time.Millisecond, false)
	slow.Stats.Latency.Observe(now, time.Second, false)
	if got := count(t, b, 100); got[slow.Key] != 0 {
		t.Errorf("the slow one got %d of 100", got[slow.Key])
	}
	// It is as good as 100 requests under way at the fast one.
	fast.Stats.Active.Store(98)
	if e, _ := b.Pick(nil); e != fast.Endpoint {
		t.Error("98 requests under way were enough to take the slow one")
	}
	fast.Stats.Active.Store(100)
	if e, _ := b.Pick(nil); e != slow.Endpoint {
		t.Error("100 requests under way were not enough to take the slow one")
	}
	fast.Stats.Active.Store(0)
	// ln(100) times the decay later it looks as fast, while the fast one goes
	// on being observed.
	for range 45 {
		now = now.Add(time.Second)
		fast.Stats.Latency.Observe(now, 10*time.Millisecond, false)
		if e, _ := b.Pick(nil); e != fast.Endpoint {
			t.Fatalf("the slow one was taken %s after it was slow", now.Sub(time.Unix(1000, 0)))
		}
	}
	now = now.Add(2 * time.Second)
	fast.Stats.Latency.Observe(now, 10*time.Millisecond, false)
	if e, _ := b.Pick(nil); e != slow.Endpoint {
		t.Error("the slow one was not tried again")
	}
	// It is well again: from then on both are used.
	slow.Stats.Latency.Observe(now, 10*time.Millisecond, false)
	now = now.Add(time.Second)
	fast.Stats.Active.Store(3)
	if e, _ := b.Pick(nil); e != slow.Endpoint {
		t.Error("the one that has recovered is not taken, though the other one is busy")
	}
}

func TestAnUnknownEndpointGetsOneRequestFirst(t *testing.T) {
	list := healthy(2)
	now := time.Unix(1000, 0)
	b := build(t, with(PolicyPeakEWMA), list, Options{Now: func() time.Time { return now }})
	list[0].Stats.Latency.Observe(now, time.Millisecond, false)
	if e, _ := b.Pick(nil); e != list[1].Endpoint {
		t.Error("the unknown endpoint is not tried")
	}
	list[1].Stats.Active.Store(1)
	list[0].Stats.Active.Store(1000)
	if got := count(t, b, 100); got["e0001"] != 0 {
		t.Errorf("it got %d more before the first had come back", got["e0001"])
	}
}

// With equal latencies, an endpoint of weight 3 is as busy with three requests
// as one of weight 1 with one.
func TestRequestsUnderWayAreRelativeToTheWeight(t *testing.T) {
	list := weighted(3, 1)
	now := time.Unix(1000, 0)
	b := build(t, with(PolicyPeakEWMA), list, Options{Now: func() time.Time { return now }})
	for _, c := range list {
		c.Stats.Latency.Observe(now, time.Millisecond, false)
	}
	list[0].Stats.Active.Store(30)
	list[1].Stats.Active.Store(11)
	light := count(t, b, 1000)
	list[1].Stats.Active.Store(9)
	heavy := count(t, b, 1000)
	// The worse one is only taken where it was drawn twice: 1 in 16, and 9 in 16.
	if light["e0001"] > 150 || heavy["e0001"] < 300 {
		t.Errorf("30:11 gives the lighter one %d of 1000, 30:9 gives it %d", light["e0001"], heavy["e0001"])
	}
}

// What attempts feed is what the policy goes by.
func TestAttemptsFeedTheLatency(t *testing.T) {
	outcomes := map[string]struct {
		try      func(*middleware.Attempt) error
		low, top time.Duration // of the average
	}{
		"good": {func(a *middleware.Attempt) error { a.Response.Status = 200; return nil }, 1, 200 * time.Millisecond},
		"refused": {
			func(*middleware.Attempt) error { return errors.New("refused") },
			200 * time.Millisecond, time.Minute,
		},
		"cannot serve": {
			func(a *middleware.Attempt) error { a.Response.Status = 503; return nil },
			200 * time.Millisecond, time.Minute,
		},
		"a mistake of the app": {func(a *middleware.Attempt) error { a.Response.Status = 500; return nil }, 1, 200 * time.Millisecond},
	}
	for name, o := range outcomes {
		t.Run(name, func(t *testing.T) {
			list := healthy(1)
			serve := func(b Balancer) {
				x := middleware.NewExchange(nil)
				x.SetTarget(&middleware.Target{
					Pick: func(*middleware.Exchange) (middleware.Picker, error) { return b, nil },
					Try:  middleware.TryHandlerFunc(o.try),
				})
				x.Serve(middleware.Router)
				x.End(nil)
			}
			latency := &list[0].Stats.Latency
			serve(build(t, with(PolicyLeastRequest), list, Options{}))
			if c := latency.Cost(time.Now()); c != 0 {
				t.Errorf("it is measured, %v, though nobody asks for it", c)
			}
			b := build(t, with(PolicyPeakEWMA), list, Options{})
			serve(b)
			if c := time.Duration(latency.Cost(time.Now())); c < o.low || c > o.top {
				t.Errorf("it is %s, want %s to %s", c, o.low, o.top)
			}
			build(t, with(PolicyPeakEWMA), list, Options{}) // a snapshot keeps it
			if latency.Cost(time.Now()) == 0 {
				t.Error("another snapshot has forgotten it")
			}
			build(t, with(PolicyRandom), list, Options{})
			if latency.Tracked() {
				t.Error("it is measured on after another policy was taken")
			}
		})
	}
}
