package ewma

import (
	"math"
	"sync"
	"testing"
	"time"
)

var start = time.Unix(1_000_000, 0)

func about(t *testing.T, what string, got float64, want time.Duration) {
	t.Helper()
	if math.Abs(got-float64(want)) > 0.001*float64(want)+1 {
		t.Errorf("%s: %s, want %s", what, time.Duration(got), want)
	}
}

func TestPeakRisesAtOnceAndFallsByAndBy(t *testing.T) {
	var p Peak
	p.Track(10 * time.Second)
	p.Observe(start, 10*time.Millisecond, false)
	about(t, "the first", p.Cost(start), 10*time.Millisecond)
	p.Observe(start, 100*time.Millisecond, false)
	about(t, "a peak", p.Cost(start), 100*time.Millisecond)
	p.Observe(start, 10*time.Millisecond, false)
	about(t, "a fast one at the same time", p.Cost(start), 100*time.Millisecond)
	now := start.Add(10 * time.Second)
	about(t, "a decay later", p.Cost(now), 36_788*time.Microsecond)
	p.Observe(now, 10*time.Millisecond, false)
	about(t, "a fast one then", p.Cost(now), 43_109*time.Microsecond)
}

// Many observations in a row decay as their formula says: neither ticks nor the
// 24 bits of the average lose any of it.
func TestDecayDoesNotDependOnTheRate(t *testing.T) {
	for _, decay := range []time.Duration{100 * time.Millisecond, 10 * time.Second, time.Minute} {
		for _, every := range []time.Duration{10 * time.Microsecond, time.Millisecond, 20 * time.Millisecond} {
			var p Peak
			p.Track(decay)
			p.Observe(start, time.Second, false)
			now := start
			for now.Sub(start) < decay {
				now = now.Add(every)
				p.Observe(now, time.Microsecond, false)
			}
			want := math.Exp(-float64(now.Sub(start)) / float64(decay))
			if got := p.Cost(now) / float64(time.Second); math.Abs(got-want) > 0.02*want {
				t.Errorf("decay %s, one each %s: %.4f of the peak is left, want %.4f", decay, every, got, want)
			}
		}
	}
}

func TestFailuresAreNeverFast(t *testing.T) {
	var p Peak
	p.Track(time.Second)
	for range 100 {
		p.Observe(start, time.Microsecond, true)
	}
	about(t, "failures", p.Cost(start), FailureCost)
	p.Observe(start, 3*time.Second, true)
	about(t, "a failure that took its time", p.Cost(start), 3*time.Second)
	p.Observe(start, 24*time.Hour, false)
	about(t, "one that took a day", p.Cost(start), maxCost)
}

func TestWhatWasGivenUpNeverPullsDown(t *testing.T) {
	var p Peak
	p.Track(time.Second)
	p.Observe(start, 100*time.Millisecond, false)
	now := start.Add(500 * time.Millisecond)
	before := p.Cost(now)
	p.ObserveAtLeast(now, time.Millisecond)
	if got := p.Cost(now); got != before {
		t.Errorf("it went from %v to %v", before, got)
	}
	p.ObserveAtLeast(now, time.Second)
	about(t, "one that had taken longer already", p.Cost(now), time.Second)
}

func TestNothingIsKnownUntilSomebodyAsks(t *testing.T) {
	var p Peak
	p.Observe(start, time.Second, false)
	p.ObserveAtLeast(start, time.Second)
	if p.Tracked() || p.Cost(start) != 0 {
		t.Errorf("tracked %v, cost %v", p.Tracked(), p.Cost(start))
	}
	p.Track(time.Second)
	p.Observe(start, time.Second, false)
	p.Track(2 * time.Second)
	about(t, "after another decay was set", p.Cost(start), time.Second)
	p.Track(0)
	p.Track(time.Second)
	if p.Cost(start) != 0 {
		t.Errorf("what was known before nobody asked is still there: %v", p.Cost(start))
	}
}

func TestAClockThatGoesBackChangesNothing(t *testing.T) {
	var p Peak
	p.Track(time.Second)
	p.Observe(start, time.Second, false)
	p.Observe(start.Add(-time.Hour), time.Millisecond, false)
	about(t, "an hour before", p.Cost(start.Add(-time.Hour)), time.Second)
}

func TestLongIdleEndpointsAreUnknown(t *testing.T) {
	var p Peak
	p.Track(time.Second)
	p.Observe(start, 10*time.Millisecond, false)
	if got := p.Cost(start.Add(time.Hour)); got != 0 {
		t.Errorf("after an hour: %v", got)
	}
}

func TestObservationsOfManyGoroutinesKeepThePeak(t *testing.T) {
	var p Peak
	p.Track(time.Minute)
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 2000 {
				p.Observe(start, time.Duration(1+(i*7+g)%5000)*time.Microsecond, false)
				p.Cost(start)
			}
		})
	}
	wg.Wait()
	about(t, "the peak", p.Cost(start), 5000*time.Microsecond)
}

func TestObserveAllocatesNothing(t *testing.T) {
	var p Peak
	p.Track(time.Minute)
	now := start
	if n := testing.AllocsPerRun(1000, func() {
		now = now.Add(time.Millisecond)
		p.Observe(now, time.Millisecond, false)
		p.Cost(now)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkObserve(b *testing.B) {
	var p Peak
	p.Track(10 * time.Second)
	b.ReportAllocs()
	now := start
	for b.Loop() {
		now = now.Add(100 * time.Microsecond)
		p.Observe(now, time.Millisecond, false)
	}
}

func BenchmarkCost(b *testing.B) {
	var p Peak
	p.Track(10 * time.Second)
	p.Observe(start, time.Millisecond, false)
	now := start.Add(time.Second)
	b.ReportAllocs()
	for b.Loop() {
		p.Cost(now)
	}
}
