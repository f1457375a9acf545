package registrar

import (
	"context"
	"math/rand/v2"
	"time"
)

// Health is what the probes say of the app.
type Health string

// The states of an app. It starts as waiting and never returns to it.
const (
	Waiting   Health = "waiting"   // has not been healthy yet
	Healthy   Health = "healthy"   // takes requests
	Unhealthy Health = "unhealthy" // was healthy once
)

// watch probes until ctx ends.
func (r *Registrar) watch(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		probe, cancel := context.WithTimeout(ctx, r.opts.Timeout)
		err := r.opts.Probe(probe)
		cancel()
		if ctx.Err() != nil {
			return // the probe was cut off by the end, not by the app
		}
		r.observe(err)
		timer.Reset(spread(r.opts.Interval, 0.9, 1.1))
	}
}

// observe counts one probe's outcome and changes the health when enough of
// them agree.
func (r *Registrar) observe(err error) {
	r.metrics.probed(err)
	r.mu.Lock()
	defer r.mu.Unlock()

	r.lastErr = err
	if (err == nil) == (r.health == Healthy) {
		r.against = 0
		if r.health == Waiting && !r.waited {
			r.waited = true
			r.log.Info("the app is not up yet, waiting for it", "reason", err.Error())
		}
		return
	}
	r.against++
	switch {
	case err == nil && r.against >= r.opts.HealthyAfter:
		r.become(Healthy)
		r.log.Info("the app is healthy")
	case err != nil && r.against >= r.opts.UnhealthyAfter:
		r.become(Unhealthy)
		r.log.Warn("the app is unhealthy", "reason", err.Error())
	}
}

// become sets the health. r.mu is held.
func (r *Registrar) become(h Health) {
	r.health, r.since, r.against = h, time.Now(), 0
	r.metrics.setHealthy(h == Healthy)
	r.nudge()
}

// nudge tells the loop that talks to the registry to look again.
func (r *Registrar) nudge() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// Healthy reports whether the app is healthy now.
func (r *Registrar) Healthy() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.health == Healthy
}

// spread is d times a random factor between lo and hi.
func spread(d time.Duration, lo, hi float64) time.Duration {
	return time.Duration(float64(d) * (lo + rand.Float64()*(hi-lo)))
}
