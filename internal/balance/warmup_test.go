package balance

import (
	"math"
	"testing"
	"time"
)

func TestSlowStartsFactorIsEnvoysFormula(t *testing.T) {
	start := time.Unix(1000, 0)
	tests := []struct {
		name       string
		aggression float64
		least      int
		age        time.Duration
		want       float64
	}{
		{"at once", 1, 1, 0, 1.0 / 60}, // the first second counts as one
		{"at once, with the minimum", 1, 10, 0, 0.1},
		{"a quarter", 1, 10, 15 * time.Second, 0.25},
		{"half", 1, 10, 30 * time.Second, 0.5},
		{"a quarter, faster", 2, 10, 15 * time.Second, 0.5},
		{"a quarter, slower", 0.5, 1, 15 * time.Second, 0.0625},
		{"the end", 1, 10, 60 * time.Second, 1},
		{"a clock that went back", 1, 10, -time.Hour, 0.1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := warmup{config: SlowStart{Window: time.Minute, Aggression: tt.aggression, MinWeightPercent: tt.least}}
			if got := w.factor(start, start.Add(tt.age)); math.Abs(got-tt.want) > 1e-9 {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}

// The shares over time, of an endpoint that comes to three others.
func TestSharesGrowInSlowStart(t *testing.T) {
	for _, p := range []Policy{PolicyRoundRobin, PolicyRandom, PolicyLeastRequest, PolicyPeakEWMA} {
		t.Run(string(p), func(t *testing.T) {
			start := time.Unix(1000, 0)
			now := start
			list := healthy(4)
			list[3].Since = start
			c := with(p)
			c.SlowStart.Window = time.Minute
			b := build(t, c, list, Options{Rand: seeded(9), Now: func() time.Time { return now }})
			for _, at := range []struct {
				age    time.Duration
				factor float64
			}{{0, 0.1}, {15 * time.Second, 0.25}, {30 * time.Second, 0.5}, {time.Minute, 1}, {time.Hour, 1}} {
				now = start.Add(at.age)
				const n = 40_000
				got := count(t, b, n)
				near(t, at.age.String(), got["e0003"], n, at.factor/(3+at.factor))
				near(t, at.age.String()+", another one", got["e0000"], n, 1/(3+at.factor))
			}
		})
	}
}

func TestEndpointsThatAreAllNewShareAlike(t *testing.T) {
	start := time.Unix(1000, 0)
	list := healthy(4)
	for i := range list {
		list[i].Since = start
	}
	c := Defaults()
	c.SlowStart.Window = time.Minute
	draws := 0
	bits := seeded(10)
	b := build(t, c, list, Options{Now: func() time.Time { return start }, Rand: func() uint64 {
		draws++
		return bits()
	}})
	if got := count(t, b, 400); got["e0000"] != 100 || got["e0003"] != 100 {
		t.Errorf("got %v", got)
	}
	if draws > 500 {
		t.Errorf("%d draws for 400 picks: some were passed over for nothing", draws)
	}
}

func TestSlowStartIsOverWhenAllAreThrough(t *testing.T) {
	start := time.Unix(1000, 0)
	now := start
	reads := 0
	list := healthy(2)
	list[1].Since = start
	c := Defaults()
	c.SlowStart.Window = time.Minute
	b := build(t, c, list, Options{Now: func() time.Time { reads++; return now }})
	count(t, b, 10)
	now = start.Add(time.Minute)
	count(t, b, 1)
	reads = 0
	if got := count(t, b, 10); got["e0001"] != 5 {
		t.Errorf("after the window: got %v", got)
	}
	if reads > 0 {
		t.Errorf("the clock is still read: %d times", reads)
	}
	// One that is long through is none.
	if w := newWarmup(c.SlowStart, list, func() time.Time { return now }); w != nil {
		t.Error("a new snapshot begins the slow start again")
	}
}
