package balance

import (
	"errors"
	"strings"
	"sync"
	"testing"

	"go-micro.dev/v4/registry"
	"go-micro.dev/v4/selector"
)

func micro(strategy string, filters ...string) Config {
	c := with(PolicyGoMicro)
	c.GoMicro = GoMicro{Strategy: strategy, Filters: filters}
	return c
}

func TestGoMicrosOwnStrategies(t *testing.T) {
	got := count(t, build(t, micro("round_robin"), healthy(4), Options{}), 40)
	if len(got) != 4 || got["e0000"] != 10 {
		t.Errorf("round_robin: got %v", got)
	}
	if got := count(t, build(t, micro("random"), healthy(4), Options{}), 400); len(got) != 4 {
		t.Errorf("random: got %v", got)
	}
}

func TestAStrategyIsBuiltOncePerSnapshotAndLevel(t *testing.T) {
	built := 0
	var seen []*registry.Service
	o := Options{Service: "users.default:80", Strategies: map[string]selector.Strategy{
		"last": func(services []*registry.Service) selector.Next {
			built++
			seen = services
			nodes := services[len(services)-1].Nodes
			return func() (*registry.Node, error) { return nodes[len(nodes)-1], nil }
		},
	}}
	list := healthy(3)
	list[1].Region, list[1].Zone, list[1].Address = "bj", "bj-1", "10.0.0.1:80"
	list[1].Version, list[1].Metadata = "v2", map[string]string{"tier": "gold", "zone": "not this one"}
	b := build(t, micro("last"), list, o)
	if got := count(t, b, 10); got["e0001"] != 10 {
		t.Errorf("got %v", got)
	}
	if built != 1 {
		t.Errorf("it was built %d times", built)
	}
	if len(seen) != 2 || seen[0].Name != "users.default:80" || seen[1].Version != "v2" {
		t.Fatalf("it saw %+v", seen)
	}
	n := seen[1].Nodes[0]
	if n.Id != "e0001" || n.Address != "10.0.0.1:80" || n.Metadata["zone"] != "bj-1" || n.Metadata["tier"] != "gold" || n.Metadata["weight"] != "1" {
		t.Errorf("it saw the node %+v", n)
	}
	if list[1].Metadata["zone"] != "not this one" {
		t.Error("the candidate's own metadata was changed")
	}
}

func TestFiltersGoBeforeTheStrategy(t *testing.T) {
	list := healthy(4)
	list[2].Version, list[3].Version = "v2", "v2"
	list[1].Metadata = map[string]string{"tier": "gold"}
	list[3].Metadata = map[string]string{"tier": "gold"}
	o := Options{Filters: map[string]selector.Filter{
		"v2":   selector.FilterVersion("v2"),
		"gold": selector.FilterLabel("tier", "gold"),
		"none": func([]*registry.Service) []*registry.Service { return nil },
		"odd": func([]*registry.Service) []*registry.Service {
			return []*registry.Service{nil, {Nodes: []*registry.Node{nil}}}
		},
	}}
	if got := count(t, build(t, micro("random", "v2", "gold"), list, o), 10); got["e0003"] != 10 {
		t.Errorf("got %v", got)
	}
	for _, f := range []string{"none", "odd"} {
		_, err := build(t, micro("random", f), list, o).Pick(nil)
		if !errors.Is(err, ErrNoEndpoint) || !strings.Contains(err.Error(), f) {
			t.Errorf("%s: got %v", f, err)
		}
	}
}

func TestAStrategyThatFailsGivesNoEndpoint(t *testing.T) {
	answers := map[string]selector.Next{
		"error":   func() (*registry.Node, error) { return nil, selector.ErrNoneAvailable },
		"nil":     func() (*registry.Node, error) { return nil, nil },
		"unknown": func() (*registry.Node, error) { return &registry.Node{Id: "who"}, nil },
	}
	for name, next := range answers {
		o := Options{Strategies: map[string]selector.Strategy{"x": func([]*registry.Service) selector.Next { return next }}}
		if e, err := build(t, micro("x"), healthy(2), o).Pick(nil); !errors.Is(err, ErrNoEndpoint) {
			t.Errorf("%s: got %v, %v", name, e, err)
		}
	}
	copied := Options{Strategies: map[string]selector.Strategy{"x": func([]*registry.Service) selector.Next {
		return func() (*registry.Node, error) { return &registry.Node{Id: "e0001"}, nil }
	}}}
	if got := count(t, build(t, micro("x"), healthy(2), copied), 3); got["e0001"] != 3 {
		t.Errorf("a node of its own with a known Id: got %v", got)
	}
}

func TestUnknownNamesAreErrorsOfTheirKey(t *testing.T) {
	o := Options{
		Strategies: map[string]selector.Strategy{"mine": selector.Random},
		Filters:    map[string]selector.Filter{"mine": selector.FilterVersion("1")},
	}
	for want, c := range map[string]Config{
		`goMicro.strategy: there is no strategy "mien", known are mine, round_robin, random`: micro("mien"),
		`goMicro.filters[1]: there is no filter "gold", known are mine`:                      micro("mine", "mine", "gold"),
	} {
		for _, list := range [][]Candidate{healthy(1), nil} {
			if _, err := New(c, list, o); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("with %d endpoints: got %v, want %s", len(list), err, want)
			}
		}
	}
	none := Options{Strategies: map[string]selector.Strategy{"mine": func([]*registry.Service) selector.Next { return nil }}}
	if _, err := New(micro("mine"), healthy(1), none); err == nil {
		t.Error("a strategy without a function was taken")
	}
}

// Go-Micro does not ask that a Next can be shared, so that ours is not.
func TestAStrategyIsCalledByOneGoroutineAtATime(t *testing.T) {
	calls := 0
	o := Options{Strategies: map[string]selector.Strategy{"counting": func(s []*registry.Service) selector.Next {
		return func() (*registry.Node, error) {
			calls++
			return s[0].Nodes[calls%len(s[0].Nodes)], nil
		}
	}}}
	b := build(t, micro("counting"), healthy(3), o)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 500 {
				if _, err := b.Pick(nil); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	if calls != 2000 {
		t.Errorf("%d calls", calls)
	}
}
