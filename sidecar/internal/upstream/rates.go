package upstream

import "math"

// rate is the attempts of one endpoint in one interval.
type rate struct{ all, failed uint64 }

// success is the share of those that went well, in percent.
func (r rate) success() float64 { return 100 * float64(r.all-min(r.failed, r.all)) / float64(r.all) }

// lowSuccess says which of the rates are too far below the mean of all that had
// enough requests: by more than the factor times their standard deviation. That
// is the detection that Envoy calls success rate.
func lowSuccess(rates []rate, s SuccessRate) []bool {
	var sum float64
	n := 0
	counts := func(r rate) bool { return r.all > 0 && r.all >= uint64(s.MinRequests) }
	for _, r := range rates {
		if counts(r) {
			sum += r.success()
			n++
		}
	}
	if s.StdevFactor == 0 || n < max(s.MinHosts, 1) {
		return make([]bool, len(rates))
	}
	mean, variance := sum/float64(n), 0.0
	for _, r := range rates {
		if counts(r) {
			variance += (r.success() - mean) * (r.success() - mean)
		}
	}
	limit := mean - s.StdevFactor*math.Sqrt(variance/float64(n))
	low := make([]bool, len(rates))
	for i, r := range rates {
		low[i] = counts(r) && r.success() < limit
	}
	return low
}

// highFailure says which of the rates are at the threshold or above it.
func highFailure(rates []rate, f FailurePercent) []bool {
	high := make([]bool, len(rates))
	n := 0
	counts := func(r rate) bool { return r.all > 0 && r.all >= uint64(f.MinRequests) }
	for _, r := range rates {
		if counts(r) {
			n++
		}
	}
	if f.Threshold == 0 || n < max(f.MinHosts, 1) {
		return high
	}
	for i, r := range rates {
		high[i] = counts(r) && 100-r.success() >= float64(f.Threshold)
	}
	return high
}
