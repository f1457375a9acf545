package upstream

import (
	"fmt"
	"time"
)

// hostState is what is known of an endpoint's health. It is the cluster's,
// under its mu.
type hostState struct {
	since time.Time // when it became an endpoint, or healthy again

	ejected   bool
	cause     ejectCause
	until     time.Time // the end of the ejection
	ejections int       // how long the next one is; falls while it is well
	cleared   time.Time // when ejections fell last

	check       checkState
	checkDialer *dialer // to the port that is checked, where it is not the address's
	checkPort   uint16
}

// healthy reports whether the endpoint should get requests.
func (s *hostState) healthy() bool { return !s.ejected && !s.check.failed }

// eject takes the endpoint out for a while, unless too many are out already.
// Attempts call it, from many goroutines; it happens rarely.
func (c *Cluster) eject(h *host, cause ejectCause) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.hosts[h.address] != h {
		return // it is no endpoint any more
	}
	if c.ejectLocked(h, cause, time.Now()) {
		c.rebuild()
	}
}

// ejectLocked is eject without the new snapshot. It reports whether the endpoint
// was ejected. mu is held.
func (c *Cluster) ejectLocked(h *host, cause ejectCause, now time.Time) bool {
	r := c.settings.Outlier
	if r.Off || h.state.ejected {
		return false
	}
	if !mayEject(c.ejected, c.members, &r) {
		c.counts.overflows.Add(1)
		if now.Sub(c.overflowed) < r.Interval {
			return false // it has been said
		}
		c.overflowed = now
		c.env.logger().Warn("endpoint not ejected, the share of ejected endpoints is at its maximum",
			"cluster", c.name, "endpoint", h.address, "cause", causeNames[cause], "max_percent", r.MaxEjectionPercent)
		return false
	}
	s := &h.state
	s.ejections++
	pause := ejectionTime(&r, s.ejections) + spread(r.EjectionJitter)
	s.ejected, s.cause, s.until = true, cause, now.Add(pause)
	c.ejected++
	h.outlier.reset()
	c.counts.ejections[cause].Add(1)
	c.env.logger().Warn("endpoint ejected", "cluster", c.name, "endpoint", h.address, "cause", causeNames[cause],
		"why", why(cause, &r), "for", pause.String(), "ejections", s.ejections)
	return true
}

// mayEject reports whether one more of the members may be ejected: with it they
// are not more than the maximum share, or it is the only one.
func mayEject(ejected, members int, r *Outlier) bool {
	if 100*(ejected+1) <= r.MaxEjectionPercent*members {
		return true
	}
	return ejected == 0 && r.AlwaysEjectOne
}

// ejectionTime is the length of the n-th ejection.
func ejectionTime(r *Outlier, n int) time.Duration {
	longest := max(r.MaxEjectionTime, r.BaseEjectionTime)
	if int64(n) > int64(longest/r.BaseEjectionTime) { // their product may not fit
		return longest
	}
	return min(time.Duration(n)*r.BaseEjectionTime, longest)
}

// why is the cause in words.
func why(cause ejectCause, r *Outlier) string {
	switch cause {
	case causeConsecutive5xx:
		return fmt.Sprintf("%d attempts in a row were answered with 5xx", r.Consecutive5xx)
	case causeConsecutiveGateway:
		if r.SplitLocalFailures {
			return fmt.Sprintf("%d attempts in a row were answered with 502, 503 or 504", r.ConsecutiveGatewayErrors)
		}
		return fmt.Sprintf("%d attempts in a row got no response, or 502, 503 or 504", r.ConsecutiveGatewayErrors)
	case causeConsecutiveLocal:
		return fmt.Sprintf("%d attempts in a row got no response", r.ConsecutiveLocalFailures)
	case causeSuccessRate, causeLocalSuccessRate:
		return "its success rate was far below that of the other endpoints"
	case causeFailurePercent, causeLocalFailurePercent:
		return fmt.Sprintf("%d percent of its attempts or more have failed", r.FailurePercent.Threshold)
	}
	return ""
}

// unejectLocked lets the endpoint back in. mu is held.
func (c *Cluster) unejectLocked(h *host, now time.Time, because string) {
	s := &h.state
	s.ejected, s.cause, s.until, s.cleared = false, causeNone, time.Time{}, now
	c.ejected--
	if s.healthy() {
		s.since = now
	}
	h.outlier.reset()
	c.env.logger().Info("ejected endpoint is back", "cluster", c.name, "endpoint", h.address, "because", because)
}

// recount counts the endpoints that are ejected, and those that there are to
// eject of: those that take requests. mu is held.
func (c *Cluster) recount() {
	c.ejected, c.members = 0, 0
	for _, h := range c.hosts {
		if h.state.ejected {
			c.ejected++
		}
	}
	for i := range c.given {
		if !draining(&c.given[i]) && c.hosts[c.given[i].Address] != nil {
			c.members++
		}
	}
}

// keepShare lets endpoints back in where others have left, so that the ejected
// ones are not more than the maximum share: the one first whose time is over
// first. mu is held.
func (c *Cluster) keepShare(now time.Time) {
	r := &c.settings.Outlier
	for {
		if c.ejected == 0 || !r.Off && mayEject(c.ejected-1, c.members, r) {
			return
		}
		var next *host
		for _, h := range c.hosts {
			if h.state.ejected && (next == nil || h.state.until.Before(next.state.until)) {
				next = h
			}
		}
		c.unejectLocked(next, now, "the share of ejected endpoints would be above its maximum")
	}
}

// sweep ends the ejections whose time is over and looks at the rates, where
// an interval has passed.
func (c *Cluster) sweep(now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	interval := !now.Before(c.nextSweep)
	if c.ejected == 0 && !interval {
		return
	}
	changed := false
	for _, h := range c.hosts {
		s := &h.state
		switch {
		case s.ejected && !now.Before(s.until):
			c.unejectLocked(h, now, "its time is over")
			changed = true
		case interval && !s.ejected && s.ejections > 0 && now.Sub(s.cleared) >= c.settings.Outlier.Interval:
			s.ejections-- // it was well for as long
			s.cleared = now
		}
	}
	if interval {
		c.nextSweep = now.Add(c.settings.Outlier.Interval)
		changed = c.judge(now) || changed
	}
	if changed {
		c.rebuild()
	}
}

// judge looks at the rates of the last interval. mu is held.
func (c *Cluster) judge(now time.Time) (changed bool) {
	r := &c.settings.Outlier
	if !r.rates() {
		return false
	}
	var hosts []*host
	var external, local []rate
	for i := range c.given { // in their order, so that it is no chance who is ejected
		h := c.hosts[c.given[i].Address]
		if h == nil {
			continue
		}
		e, l := h.outlier.external.take(), h.outlier.local.take()
		if h.state.ejected {
			continue
		}
		hosts, external, local = append(hosts, h), append(external, e), append(local, l)
	}
	for _, d := range []struct {
		cause ejectCause
		out   []bool
	}{
		{causeSuccessRate, lowSuccess(external, r.SuccessRate)},
		{causeLocalSuccessRate, lowSuccess(local, r.SuccessRate)},
		{causeFailurePercent, highFailure(external, r.FailurePercent)},
		{causeLocalFailurePercent, highFailure(local, r.FailurePercent)},
	} {
		for i, out := range d.out {
			if out {
				changed = c.ejectLocked(hosts[i], d.cause, now) || changed
			}
		}
	}
	return changed
}
