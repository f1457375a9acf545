package balance

import (
	"math"
	"sync/atomic"
	"time"
)

// warmup is the slow start of a level's endpoints, by Envoy's formula
// (https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/load_balancing/slow_start):
//
//	weight = weight * max(minWeightPercent, timeFactor^(1/aggression))
//	timeFactor = max(seconds since it began, 1) / seconds of the window
//
// Factors are taken relative to that of the endpoint that is furthest, which
// leaves the shares as they are, and spares draws where all endpoints are new.
type warmup struct {
	config SlowStart
	since  []time.Time // by endpoint; zero: not in slow start
	oldest time.Time   // zero: some are not in slow start
	until  time.Time   // when the last one is through
	now    func() time.Time
	over   atomic.Bool
}

// newWarmup is nil where no endpoint is in slow start.
func newWarmup(c SlowStart, candidates []Candidate, now func() time.Time) *warmup {
	if c.Window <= 0 {
		return nil
	}
	w := &warmup{config: c, now: now, since: make([]time.Time, len(candidates))}
	t := now()
	warm := 0
	for i := range candidates {
		since := candidates[i].Since
		if since.IsZero() || t.Sub(since) >= c.Window {
			warm++
			continue
		}
		w.since[i] = since
		if w.oldest.IsZero() || since.Before(w.oldest) {
			w.oldest = since
		}
		if end := since.Add(c.Window); end.After(w.until) {
			w.until = end
		}
	}
	switch warm {
	case len(candidates):
		return nil
	case 0:
	default:
		w.oldest = time.Time{}
	}
	return w
}

// on reports whether an endpoint is still in slow start, as far as was seen.
func (w *warmup) on() bool { return !w.over.Load() }

// admits decides by 64 random bits whether an endpoint that was drawn is taken.
func (w *warmup) admits(i int, now time.Time, r uint64) bool {
	if !now.Before(w.until) {
		w.over.Store(true)
		return true
	}
	own, best := w.factor(w.since[i], now), w.factor(w.oldest, now)
	return own >= best || float64(r>>11)/(1<<53) < own/best
}

// factor is what the weight of an endpoint is multiplied with that began then.
func (w *warmup) factor(since, now time.Time) float64 {
	if since.IsZero() {
		return 1
	}
	age := now.Sub(since)
	if age >= w.config.Window {
		return 1
	}
	f := float64(max(age, time.Second)) / float64(w.config.Window)
	if w.config.Aggression != 1 {
		f = math.Pow(f, 1/w.config.Aggression)
	}
	return min(max(f, float64(w.config.MinWeightPercent)/100), 1)
}
