package balance

import (
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The tables of Envoy's documentation of priority levels and of the panic
// threshold, with 100 endpoints in each level.
func TestSharesAreThoseOfEnvoysTables(t *testing.T) {
	tests := []struct {
		healthy, share []int
		panics         []bool
	}{
		{[]int{100, 100}, []int{100, 0}, nil},
		{[]int{72, 100}, []int{100, 0}, nil},
		{[]int{71, 100}, []int{99, 1}, nil},
		{[]int{50, 100}, []int{70, 30}, nil},
		{[]int{25, 100}, []int{35, 65}, nil},
		{[]int{0, 100}, []int{0, 100}, nil},
		{[]int{72, 72}, []int{100, 0}, nil},
		{[]int{71, 71}, []int{99, 1}, nil},
		{[]int{50, 50}, []int{70, 30}, nil},
		{[]int{25, 25}, []int{50, 50}, []bool{true, true}},
		{[]int{5, 65}, []int{7, 93}, []bool{true, false}},
		{[]int{100, 100, 100}, []int{100, 0, 0}, nil},
		{[]int{72, 72, 100}, []int{100, 0, 0}, nil},
		{[]int{71, 71, 100}, []int{99, 1, 0}, nil},
		{[]int{50, 50, 100}, []int{70, 30, 0}, nil},
		{[]int{25, 100, 100}, []int{35, 65, 0}, nil},
		{[]int{25, 25, 100}, []int{35, 35, 30}, nil},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprint(tt.healthy), func(t *testing.T) {
			var levels []health
			for _, h := range tt.healthy {
				levels = append(levels, health{healthy: h, total: 100})
			}
			if tt.panics == nil {
				tt.panics = make([]bool, len(levels))
			}
			share, panics := shares(levels, 140, 50)
			if diff := cmp.Diff(tt.share, share); diff != "" {
				t.Errorf("shares (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tt.panics, panics); diff != "" {
				t.Errorf("panic (-want +got):\n%s", diff)
			}
		})
	}
}

// The last line of the first table leaves panic out.
func TestSharesAreNormalizedBelowFullHealth(t *testing.T) {
	share, panics := shares([]health{{25, 100}, {25, 100}, {20, 100}}, 140, 0)
	if diff := cmp.Diff([]int{36, 36, 28}, share); diff != "" {
		t.Errorf("shares (-want +got):\n%s", diff)
	}
	if panics[0] || panics[1] || panics[2] {
		t.Errorf("panic %v with a threshold of 0", panics)
	}
}

func TestInTotalPanicSharesGoByTheNumberOfEndpoints(t *testing.T) {
	share, panics := shares([]health{{0, 30}, {0, 10}}, 140, 50)
	if diff := cmp.Diff([]int{75, 25}, share); diff != "" {
		t.Errorf("shares (-want +got):\n%s", diff)
	}
	if !panics[0] || !panics[1] {
		t.Errorf("panic %v, want both", panics)
	}
}

func TestSharesAlwaysAddUp(t *testing.T) {
	random := seeded(1)
	for range 20_000 {
		levels := make([]health, 1+random()%6)
		for i := range levels {
			total := 1 + int(random()%50)
			levels[i] = health{int(random() % uint64(total+1)), total}
		}
		share, _ := shares(levels, 100+int(random()%200), int(random()%101))
		sum := 0
		for _, s := range share {
			if s < 0 {
				t.Fatalf("%v: %v", levels, share)
			}
			sum += s
		}
		if sum != 100 {
			t.Fatalf("%v: shares %v add up to %d", levels, share, sum)
		}
	}
}

// mixed is a level of ten endpoints, the first ones healthy.
func mixed(name string, priority uint32, healthy int) []Candidate {
	var list []Candidate
	for i := range 10 {
		list = append(list, Candidate{Endpoint: endpoint(fmt.Sprintf("%s%d", name, i), 1, priority), Healthy: i < healthy})
	}
	return list
}

func TestRequestsSpillToTheNextPriority(t *testing.T) {
	for _, p := range []Policy{PolicyRoundRobin, PolicyRandom, PolicyLeastRequest, PolicyPeakEWMA, PolicyConsistentHash, PolicyGoMicro} {
		t.Run(string(p), func(t *testing.T) {
			b := build(t, with(p), append(mixed("near", 0, 5), mixed("far", 7, 10)...), Options{Rand: seeded(2)})
			near0, unhealthy := 0, 0
			const n = 20_000
			for range n {
				e, err := b.Pick(nil)
				if err != nil {
					t.Fatal(err)
				}
				if e.Priority == 0 {
					near0++
					if e.Key >= "near5" {
						unhealthy++
					}
				}
			}
			near(t, "share of the first priority", near0, n, 0.7)
			if unhealthy > 0 {
				t.Errorf("%d requests went to unhealthy endpoints without panic", unhealthy)
			}
			want := []Level{{Endpoints: 10, Healthy: 5, Share: 70}, {Priority: 7, Endpoints: 10, Healthy: 10, Share: 30}}
			if diff := cmp.Diff(want, Levels(b)); diff != "" {
				t.Errorf("Levels (-want +got):\n%s", diff)
			}
		})
	}
}

func TestPanicTakesHealthyAndUnhealthyAlike(t *testing.T) {
	b := build(t, Defaults(), mixed("e", 0, 4), Options{})
	if got := count(t, b, 100); len(got) != 10 || got["e9"] != 10 {
		t.Errorf("got %v, want all ten alike", got)
	}
	if !Levels(b)[0].Panic {
		t.Error("Levels does not say that it is in panic")
	}
	// At the threshold itself there is none.
	if got := count(t, build(t, Defaults(), mixed("e", 0, 5), Options{}), 100); len(got) != 5 {
		t.Errorf("at the threshold: got %v, want the five healthy ones", got)
	}
}

func TestWithoutPanicNoUnhealthyEndpointIsTaken(t *testing.T) {
	c := Defaults()
	c.PanicThreshold = 0
	if got := count(t, build(t, c, mixed("e", 0, 1), Options{}), 100); got["e0"] != 100 {
		t.Errorf("got %v", got)
	}
	if _, err := build(t, c, mixed("e", 0, 0), Options{}).Pick(nil); !errors.Is(err, ErrNoEndpoint) {
		t.Errorf("got %v, want ErrNoEndpoint", err)
	}
}

func TestAnotherTryLeavesAPriorityWithoutOtherHealthyEndpoints(t *testing.T) {
	list := []Candidate{
		{Endpoint: endpoint("near", 1, 0), Healthy: true},
		{Endpoint: endpoint("sick", 1, 0)},
		{Endpoint: endpoint("far", 1, 1), Healthy: true},
	}
	c := Defaults()
	c.Overprovisioning = 200
	got := attempts(t, build(t, c, list, Options{}), 3)
	if diff := cmp.Diff([]string{"near", "far", "near"}, got); diff != "" {
		t.Errorf("tried (-want +got):\n%s", diff)
	}
}

func TestNearEndpointsArePreferredWhereLocalitySaysSo(t *testing.T) {
	place := func(key, region, zone string) Candidate {
		e := endpoint(key, 1, 0)
		e.Region, e.Zone = region, zone
		return Candidate{Endpoint: e, Healthy: true}
	}
	list := []Candidate{place("elsewhere", "sh", "bj-1"), place("region", "bj", "bj-2"), place("zone", "bj", "bj-1"), place("unknown", "", "")}
	c := Defaults()
	c.Locality = LocalityPrefer
	o := Options{Region: "bj", Zone: "bj-1"}
	got := attempts(t, build(t, c, list, o), 4)
	if got[0] != "zone" || got[1] != "region" {
		t.Errorf("tried %v", got)
	}
	for name, o := range map[string]Options{"unknown place": {}, "zone alone": {Zone: "bj-1"}} {
		if got := count(t, build(t, c, list, o), 40); len(got) != 4 {
			t.Errorf("%s: got %v, want all alike", name, got)
		}
	}
	if got := count(t, build(t, c, list, Options{Region: "bj"}), 40); len(got) != 2 {
		t.Errorf("without a zone: got %v, want both of the region", got)
	}
	if got := count(t, build(t, Defaults(), list, o), 40); len(got) != 4 {
		t.Errorf("ignored: got %v, want all alike", got)
	}
}
