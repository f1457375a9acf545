package upstream

import (
	"container/heap"
	"context"
	"math/rand/v2"
	"sync"
	"time"
)

// checkState is what active checks have found out about an endpoint. One that
// was not checked yet counts as healthy.
type checkState struct {
	checked bool
	failed  bool
	good    int // checks in a row
	bad     int
	err     error // of the last check
	at      time.Time
}

// take counts the result of a check and reports whether the endpoint's health
// has changed. The first check of all counts at once, and so does a failure
// that says so.
func (s *checkState) take(h *Health, err error, now time.Time) (changed bool) {
	first := !s.checked
	s.checked, s.err, s.at = true, err, now
	if err == nil {
		s.good, s.bad = s.good+1, 0
		if s.failed && s.good >= h.HealthyAfter {
			s.failed = false
			return true
		}
		return false
	}
	s.good, s.bad = 0, s.bad+1
	if !s.failed && (first || s.bad >= h.UnhealthyAfter || atOnce(h, err)) {
		s.failed = true
		return true
	}
	return false
}

// checker checks the endpoints of one cluster, each for itself, until it is
// stopped.
type checker struct {
	cluster *Cluster
	slots   chan struct{} // of all clusters: has a value for each check that runs
	health  *Health
	probe   prober
	changed chan struct{} // has a value when the endpoints are others
	cancel  context.CancelFunc
	ended   chan struct{}
}

func newChecker(c *Cluster, h *Health) *checker {
	k := &checker{
		cluster: c, slots: c.env.checks, health: h, probe: newProber(c.name, c.config.Protocol, h),
		changed: make(chan struct{}, 1), cancel: func() {}, ended: make(chan struct{}),
	}
	k.wake()
	return k
}

// start has the checks run until ctx ends or they are stopped.
func (k *checker) start(ctx context.Context) {
	ctx, k.cancel = context.WithCancel(ctx)
	go func() {
		defer close(k.ended)
		k.run(ctx)
	}()
}

// wake says that the endpoints are others.
func (k *checker) wake() {
	select {
	case k.changed <- struct{}{}:
	default:
	}
}

// stop ends the checks and waits for those that run, which end at once.
func (k *checker) stop() {
	k.cancel()
	<-k.ended
}

// target is an endpoint that is checked.
type target struct {
	host  *host
	to    endpointCheck
	at    time.Time // of the next check
	index int       // in the queue; -1: a check runs
	gone  bool
}

// run is the checker's goroutine: it owns the targets.
func (k *checker) run(ctx context.Context) {
	var checks sync.WaitGroup
	defer checks.Wait()
	targets := map[*host]*target{}
	var queue targetQueue
	done := make(chan *target)
	traffic := &trafficWatch{cluster: k.cluster}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-k.changed:
			k.retarget(targets, &queue)
		case t := <-done:
			k.again(t, &queue, traffic)
		case <-timer.C:
			if traffic.began() {
				k.hasten(queue)
			}
		}
		for len(queue) > 0 && !queue[0].at.After(time.Now()) {
			select {
			case <-ctx.Done():
				return
			case t := <-done: // or those that are through would hold all slots
				k.again(t, &queue, traffic)
			case k.slots <- struct{}{}:
				t := heap.Pop(&queue).(*target)
				to := t.to // the target itself is this goroutine's
				checks.Go(func() {
					defer func() { <-k.slots }()
					k.check(ctx, t.host, to)
					select {
					case done <- t:
					case <-ctx.Done():
					}
				})
			}
		}
		if len(queue) > 0 {
			timer.Reset(min(time.Until(queue[0].at), k.health.Interval))
		}
	}
}

// again puts an endpoint that was checked back into the queue.
func (k *checker) again(t *target, queue *targetQueue, traffic *trafficWatch) {
	if !t.gone {
		t.at = time.Now().Add(k.pause(traffic.seen()))
		heap.Push(queue, t)
	}
}

// hasten has those checked within the interval that were put off because there
// were no requests.
func (k *checker) hasten(queue targetQueue) {
	now := time.Now()
	for _, t := range queue {
		if t.at.Sub(now) > k.health.Interval {
			t.at = now.Add(spread(k.health.Interval))
		}
	}
	heap.Init(&queue)
}

// retarget makes the targets those that the cluster has now.
func (k *checker) retarget(targets map[*host]*target, queue *targetQueue) {
	now := time.Now()
	wanted := k.cluster.checked()
	for h, t := range targets {
		if _, ok := wanted[h]; !ok {
			t.gone = true
			delete(targets, h)
			if t.index >= 0 {
				heap.Remove(queue, t.index)
			}
		}
	}
	for h, to := range wanted {
		t := targets[h]
		if t == nil {
			t = &target{host: h, at: now.Add(spread(k.health.InitialJitter))}
			targets[h] = t
			heap.Push(queue, t)
		}
		t.to = to // of the next check
	}
}

// pause is the time until an endpoint's next check.
func (k *checker) pause(traffic bool) time.Duration {
	d := k.health.Interval
	if !traffic {
		d = k.health.NoTrafficInterval
	}
	if p := k.health.JitterPercent; p > 0 {
		d += time.Duration(rand.Float64() * float64(d) * float64(p) / 100) //nolint:gosec // no secret
	}
	return d + spread(k.health.Jitter)
}

func (k *checker) check(ctx context.Context, h *host, to endpointCheck) {
	limited, cancel := context.WithTimeout(ctx, k.health.Timeout)
	defer cancel()
	err := k.probe(limited, to)
	if ctx.Err() == nil { // else it was stopped: it says nothing
		k.cluster.result(k, h, err)
	}
}

// result takes what a check has found.
func (c *Cluster) result(k *checker, h *host, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.checker != k || c.hosts[h.address] != h {
		return // of settings or endpoints that are gone
	}
	now, log := time.Now(), c.env.logger()
	if err == nil {
		c.counts.checks[0].Add(1)
	} else {
		c.counts.checks[1].Add(1)
	}
	changed := h.state.check.take(k.health, err, now)
	switch {
	case changed && err != nil:
		log.Warn("endpoint unhealthy", "cluster", c.name, "endpoint", h.address, "bad_checks", h.state.check.bad, "error", err)
	case changed:
		log.Info("endpoint healthy", "cluster", c.name, "endpoint", h.address, "good_checks", h.state.check.good)
		h.state.since = now
	}
	if err == nil && h.state.ejected && c.settings.Outlier.ReturnOnHealthy {
		c.unejectLocked(h, now, "a health check was good")
		changed = true
	}
	if changed {
		c.rebuild()
	}
}

// checked is the endpoints that are to be checked, and how.
func (c *Cluster) checked() map[*host]endpointCheck {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := make(map[*host]endpointCheck, len(c.hosts))
	for i := range c.given {
		g := &c.given[i]
		h := c.hosts[g.Address]
		if h == nil || g.Unchecked || draining(g) {
			continue
		}
		if _, twice := out[h]; !twice {
			out[h] = newEndpointCheck(h, g)
		}
	}
	return out
}

// trafficWatch sees whether requests have come to a cluster.
type trafficWatch struct {
	cluster *Cluster
	last    uint64
	lastAt  time.Time
	any     bool
}

// began reports whether requests have begun to come.
func (w *trafficWatch) began() bool {
	before := w.any
	return w.seen() && !before
}

// seen reports whether a request has come since the answer before, or in the
// last second: the endpoints of a cluster ask one after the other.
func (w *trafficWatch) seen() bool {
	now := time.Now()
	if !w.lastAt.IsZero() && now.Sub(w.lastAt) < time.Second {
		return w.any
	}
	var n uint64
	for _, h := range *w.cluster.limits.hosts.Load() {
		n += h.stats.Attempts.Load()
	}
	w.any, w.last, w.lastAt = n != w.last, n, now
	return w.any
}

// targetQueue is a heap: the next one to check is first.
type targetQueue []*target

func (q targetQueue) Len() int           { return len(q) }
func (q targetQueue) Less(i, j int) bool { return q[i].at.Before(q[j].at) }
func (q targetQueue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].index, q[j].index = i, j
}

// Push is heap.Interface's.
func (q *targetQueue) Push(x any) {
	t := x.(*target)
	t.index = len(*q)
	*q = append(*q, t)
}

// Pop is heap.Interface's.
func (q *targetQueue) Pop() any {
	old := *q
	t := old[len(old)-1]
	t.index = -1
	old[len(old)-1] = nil
	*q = old[:len(old)-1]
	return t
}
