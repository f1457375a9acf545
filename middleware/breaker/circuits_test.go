package breaker

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/outrigger-mesh/outrigger/middleware"
	"github.com/outrigger-mesh/outrigger/middleware/middlewaretest"
)

func TestEndpointsThatComeAndGoLeaveNothingBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		shared, err := newCollectors(middleware.Env{})
		if err != nil {
			t.Fatal(err)
		}
		c := newCircuits(func(service string) *series { return shared.series("outbound", service, "breaker") })
		s := newSettings(defaults())
		size := func() (n int) {
			for i := range c.shards {
				n += len(*c.shards[i].all.Load())
			}
			return n
		}
		stays := c.get(s, "stays", "users", c.now())
		for day := range 20 {
			for i := range 100 {
				one := c.get(s, fmt.Sprintf("10.%d.0.%d:80", day, i), "users", c.now())
				one.admit(s, c.now())
			}
			time.Sleep(unusedFor + time.Minute)
			stays.admit(s, c.now())
		}
		if n := size(); n > 3*100 {
			t.Errorf("%d circuits are remembered of 100 endpoints at a time", n)
		}
		if c.get(s, "stays", "users", c.now()) != stays {
			t.Error("one that was used all the time has been forgotten")
		}
	})
}

func TestNoMoreCircuitsAreKeptThanAreBounded(t *testing.T) {
	shared, err := newCollectors(middleware.Env{})
	if err != nil {
		t.Fatal(err)
	}
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(shared.circuits)
	c := newCircuits(func(service string) *series { return shared.series("outbound", service, "breaker") })
	s := newSettings(defaults())
	all := map[string]*circuit{}
	for i := range int64(shardMost + 10) {
		one := &circuit{series: c.series.get("users")}
		one.used.Store(i)
		forget(all, 0)
		all[fmt.Sprint(i)] = one
		one.mu.Lock()
		one.open(s, i)
		one.mu.Unlock()
	}
	if len(all) != shardMost || all["9"] != nil || all["10"] == nil {
		t.Errorf("%d circuits, want %d, the oldest ones gone", len(all), shardMost)
	}
	const open = "outrigger_breaker_circuits{direction=outbound,id=breaker,service=users,state=open}"
	if got := middlewaretest.Samples(t, registry)[open]; got != shardMost {
		t.Errorf("%v circuits are counted as open, want %d", got, shardMost)
	}
	for range 2 { // a call that is under way with a forgotten circuit counts nowhere
		for _, one := range all {
			one.drop()
			one.mu.Lock()
			one.change(halfOpen)
			one.mu.Unlock()
		}
	}
	if got := middlewaretest.Samples(t, registry); len(got) != 0 {
		t.Errorf("after all were dropped there are %v", got)
	}
}

func TestServicesBeyondTheBoundAreCountedTogether(t *testing.T) {
	made := map[string]int{}
	b := byService{open: func(service string) *series { made[service]++; return &series{} }, all: map[string]*series{}}
	for i := range maxServices + 10 {
		b.get(fmt.Sprint("service-", i))
		b.get("service-0")
	}
	if len(made) != maxServices+1 || made[other] != 1 || made["service-0"] != 1 {
		t.Errorf("series for %d services, %d times %s", len(made), made[other], other)
	}
}
