package middleware

import (
	"errors"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

func newTestCounter() prometheus.Counter {
	return prometheus.NewCounter(prometheus.CounterOpts{Name: "outrigger_test_total", Help: "Of a test."})
}

func TestACollectorLivesFromItsFirstGenerationToItsLast(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	states := NewStates()
	ask := func(g *Generation, direction, id string) prometheus.Counter {
		t.Helper()
		c, err := Collector(Env{Direction: direction, ID: id, Metrics: registry}.In(g), "limit", "counter", newTestCounter)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	families := func() int {
		t.Helper()
		all, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		return len(all)
	}
	one := states.NewGeneration()
	first := ask(one, Inbound, "limit")
	if other := ask(one, Outbound, "burst"); other != first {
		t.Error("two entries of a kind have two collectors")
	}
	two := states.NewGeneration()
	if next := ask(two, Inbound, "limit"); next != first {
		t.Error("a reload made another collector")
	}
	if err := one.Close(); err != nil || families() != 1 {
		t.Errorf("%d families while it is used, %v", families(), err)
	}
	if err := two.Close(); err != nil || families() != 0 {
		t.Errorf("%d families after the last generation, %v", families(), err)
	}
}

func TestACollectorWhoseNameIsTakenIsAnError(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	gauge := prometheus.NewGauge(prometheus.GaugeOpts{Name: "outrigger_test_total", Help: "Of a test."})
	if err := registry.Register(gauge); err != nil {
		t.Fatal(err)
	}
	g := NewStates().NewGeneration()
	_, err1 := Collector(Env{Metrics: registry}.In(g), "limit", "counter", func() *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "outrigger_test_total", Help: "Of a test."}, nil)
	})
	if err1 == nil {
		t.Error("was taken")
	}
	if err := g.Close(); err != nil {
		t.Error(errors.Join(err1, err))
	}
}

func TestWithoutARegistryCollectorsJustCount(t *testing.T) {
	g := NewStates().NewGeneration()
	c, err := Collector(Env{}.In(g), "limit", "counter", newTestCounter)
	if err != nil || c == nil {
		t.Fatalf("got %v, %v", c, err)
	}
	c.Inc()
	if err := g.Close(); err != nil {
		t.Error(err)
	}
}
