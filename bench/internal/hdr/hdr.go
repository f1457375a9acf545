// Package hdr is a histogram of durations whose buckets are log-linear, as
// those of HdrHistogram: each power of two is cut into equal parts, so that
// the relative error is bounded by the same share everywhere, and recording is
// a shift and an increment.
package hdr

import (
	"math"
	"math/bits"
	"time"
)

// Each power of two has 2^subBits buckets; a value is known to within
// 1/2^subBits of itself (0.8 %).
const (
	subBits = 7
	sub     = 1 << subBits
	// maxExp is the highest shift: values from 2^(maxExp+subBits+1) ns on, some
	// 73 minutes, share the last bucket.
	maxExp  = 34
	buckets = (maxExp + 2) * sub
)

// Histogram counts durations. The zero Histogram is empty and ready. It is not
// safe for concurrent use.
type Histogram struct {
	counts [buckets]uint64
	total  uint64
	max    time.Duration
}

// Record counts one duration; a negative one counts as zero.
func (h *Histogram) Record(d time.Duration) {
	d = max(d, 0)
	h.counts[index(uint64(d))]++
	h.total++
	h.max = max(h.max, d)
}

// Count is how many durations were recorded.
func (h *Histogram) Count() uint64 { return h.total }

// Max is the longest duration that was recorded, exactly.
func (h *Histogram) Max() time.Duration { return h.max }

// Quantile is the smallest recorded duration that a share of q (0 to 1) of all
// of them do not exceed, by the nearest-rank method, to within the bucket: it is
// the bucket's upper end, and never more than Max. It is 0 where nothing was recorded.
func (h *Histogram) Quantile(q float64) time.Duration {
	if h.total == 0 {
		return 0
	}
	rank := uint64(math.Ceil(q * float64(h.total)))
	rank = min(max(rank, 1), h.total)
	var seen uint64
	for i := range h.counts {
		if seen += h.counts[i]; seen >= rank {
			return min(time.Duration(highest(i)), h.max)
		}
	}
	return h.max
}

// index is the bucket of a value in nanoseconds. Values below 2*sub have a
// bucket each; above, the shift that leaves subBits+1 significant bits.
func index(v uint64) int {
	exp := max(bits.Len64(v)-subBits-1, 0)
	if exp > maxExp {
		return buckets - 1
	}
	return exp*sub + int(v>>exp)
}

// highest is the largest value of a bucket.
func highest(i int) uint64 {
	if i < 2*sub {
		return uint64(i)
	}
	exp := i/sub - 1
	return uint64(i-exp*sub+1)<<exp - 1
}
