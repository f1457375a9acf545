package breaker

import (
	"math/rand/v2"
	"sync"
	"testing"
	"time"
)

// TestTheWindowCountsWhatASlowListOfCallsWould compares it with a list of all
// calls, over random times.
func TestTheWindowCountsWhatASlowListOfCallsWould(t *testing.T) {
	type call struct {
		epoch        uint64
		failed, slow bool
	}
	random := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // the same in every run
	var w window
	var calls []call
	epoch := uint64(epochMask - 50) // over the end of what an epoch holds
	for range 20_000 {
		if random.IntN(20) == 0 {
			epoch += uint64(random.IntN(15)) //nolint:gosec // small
		}
		c := call{epoch, random.IntN(3) == 0, random.IntN(5) == 0}
		w.add(c.epoch, c.failed, c.slow)
		calls = append(calls, c)
		var want counts
		for i := len(calls) - 1; i >= 0 && calls[i].epoch+slots > epoch; i-- {
			want.calls++
			if calls[i].failed {
				want.failed++
			}
			if calls[i].slow {
				want.slow++
			}
		}
		if got := w.sum(epoch); got != want {
			t.Fatalf("after %d calls: %+v, want %+v", len(calls), got, want)
		}
	}
}

func TestCountsThatDoNotFitKeepTheirProportion(t *testing.T) {
	var w window
	const n = 5*countMask + 3
	for i := range n {
		w.add(7, i%4 == 0, i%10 == 0)
	}
	c := w.sum(7)
	if c.calls > countMask || c.calls < countMask/2 {
		t.Errorf("%d calls are kept", c.calls)
	}
	if failed, slow := float64(c.failed)/float64(c.calls), float64(c.slow)/float64(c.calls); failed < 0.24 || failed > 0.26 || slow < 0.09 || slow > 0.11 {
		t.Errorf("%v have failed and %v were slow, want a quarter and a tenth", failed, slow)
	}
}

func TestNoCallIsLostWhenManyCount(t *testing.T) {
	var w window
	var clients sync.WaitGroup
	const each = 1000
	for i := range 8 {
		clients.Go(func() {
			for j := range each {
				w.add(uint64(j/250), i%2 == 0, false) //nolint:gosec // small
			}
		})
	}
	clients.Wait()
	if got, want := w.sum(3), (counts{calls: 8 * each, failed: 4 * each}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	w.reset()
	if got := w.sum(3); got != (counts{}) {
		t.Errorf("after a reset: %+v", got)
	}
}

func TestAWindowOfAnotherLengthDoesNotTakeOverWhatIsOld(t *testing.T) {
	c := defaults()
	long := newSettings(c)
	c.Window = 5 * time.Second
	short := newSettings(c)
	var w window
	for now := range int64(20) {
		w.add(long.epoch(now*int64(time.Second)), true, false)
	}
	if got := w.sum(short.epoch(20 * int64(time.Second))); got.calls != 0 {
		t.Errorf("%d calls of the former window count", got.calls)
	}
}
