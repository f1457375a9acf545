package hdr

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// exact is the nearest-rank quantile of a sorted slice.
func exact(sorted []time.Duration, q float64) time.Duration {
	rank := int(math.Ceil(q * float64(len(sorted))))
	return sorted[min(max(rank, 1), len(sorted))-1]
}

func TestQuantilesAreThoseOfTheSortedSlice(t *testing.T) {
	distributions := map[string]func(*rand.Rand) time.Duration{
		"uniform":     func(r *rand.Rand) time.Duration { return time.Duration(r.Int64N(int64(time.Second))) },
		"tiny":        func(r *rand.Rand) time.Duration { return time.Duration(r.Int64N(300)) },
		"exponential": func(r *rand.Rand) time.Duration { return time.Duration(r.ExpFloat64() * float64(time.Millisecond)) },
		"log-uniform": func(r *rand.Rand) time.Duration { return time.Duration(math.Exp2(r.Float64() * 40)) },
		"constant":    func(*rand.Rand) time.Duration { return 123456 },
	}
	for name, draw := range distributions {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(20) {
				r := rand.New(rand.NewPCG(seed, 1))
				n := 1 + r.IntN(5000)
				var h Histogram
				all := make([]time.Duration, n)
				for i := range all {
					all[i] = draw(r)
					h.Record(all[i])
				}
				slices.Sort(all)
				if h.Count() != uint64(n) || h.Max() != all[n-1] {
					t.Fatalf("seed %d: count %d, max %v; want %d, %v", seed, h.Count(), h.Max(), n, all[n-1])
				}
				for _, q := range []float64{0, 0.01, 0.25, 0.5, 0.9, 0.99, 0.999, 1} {
					got, want := h.Quantile(q), exact(all, q)
					// Never below, and above by one bucket's width at most.
					if got < want || float64(got-want) > float64(want)/sub {
						t.Errorf("seed %d, n %d, q %v: %v, the sorted slice has %v", seed, n, q, got, want)
					}
				}
			}
		})
	}
}

func TestBucketsCoverAllValuesInOrder(t *testing.T) {
	for i := range buckets - 1 {
		top := highest(i)
		if index(top) != i || index(top+1) != i+1 {
			t.Fatalf("bucket %d ends at %d: that is in %d and the next value in %d", i, top, index(top), index(top+1))
		}
	}
	if got := index(math.MaxUint64); got != buckets-1 {
		t.Errorf("the longest duration is in bucket %d of %d", got, buckets)
	}
}

func TestEmptyAndNegative(t *testing.T) {
	var h Histogram
	if h.Quantile(0.5) != 0 || h.Max() != 0 {
		t.Error("an empty histogram has a quantile")
	}
	h.Record(-time.Second)
	if h.Count() != 1 || h.Quantile(1) != 0 {
		t.Errorf("a negative duration counts as %v", h.Quantile(1))
	}
}

func TestRecordDoesNotAllocate(t *testing.T) {
	var h Histogram
	if n := testing.AllocsPerRun(100, func() { h.Record(time.Millisecond) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
