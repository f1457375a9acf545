package upstream

import (
	"time"

	"github.com/outrigger-mesh/outrigger/internal/balance"
	"github.com/outrigger-mesh/outrigger/middleware"
	"github.com/outrigger-mesh/outrigger/registry"
)

// snapshot is what requests see; it does not change.
type snapshot struct{ balancer balance.Balancer }

// rebuilds keeps the snapshots of a large cluster from taking all the time when
// much changes at once: the next one is made at the earliest after ten times
// as long as the last one took.
type rebuilds struct {
	next  time.Time
	timer *time.Timer // of one that was put off; nil: none was
}

func (r *rebuilds) stop() {
	if r.timer != nil {
		r.timer.Stop()
		r.timer = nil
	}
}

// rebuild makes requests see what has become of the endpoints' health, mostly at
// once. mu is held.
func (c *Cluster) rebuild() {
	r := &c.rebuilds
	if r.timer != nil {
		return
	}
	now := time.Now()
	if wait := r.next.Sub(now); wait > 0 && !c.closed {
		r.timer = time.AfterFunc(wait, func() {
			c.mu.Lock()
			defer c.mu.Unlock()
			if r.timer != nil { // else it was stopped
				r.timer = nil
				c.rebuildNow()
			}
		})
		return
	}
	c.rebuildNow()
	took := time.Since(now)
	if took < time.Millisecond {
		took = 0 // nobody notices
	}
	r.next = now.Add(10 * took)
}

// rebuildNow makes requests see the endpoints as they are. mu is held.
func (c *Cluster) rebuildNow() {
	candidates := make([]balance.Candidate, 0, len(c.given))
	seen := make(map[*host]bool, len(c.hosts))
	for i := range c.given {
		g := &c.given[i]
		h := c.hosts[g.Address]
		if h == nil || seen[h] || g.Status == registry.StatusDown {
			continue
		}
		seen[h] = true
		candidates = append(candidates, balance.Candidate{
			Endpoint: &middleware.Endpoint{
				Key: g.Address, Address: g.Address,
				Region: g.Locality.Region, Zone: g.Locality.Zone,
				Weight: max(g.Weight, 1), Priority: g.Priority,
				Draining:  draining(g),
				Stats:     &h.stats,
				Transport: observed{h},
			},
			Healthy: h.state.healthy(),
			Since:   h.state.since,
			Version: g.Version,
		})
	}
	o := c.env.Balance
	o.Service = c.name
	b, err := balance.New(c.settings.Balancer, candidates, o)
	if err != nil { // a strategy that this program does not have
		c.env.logger().Error("balancer not made, requests go round robin: change balancer in the cluster's settings",
			"cluster", c.name, "error", err)
		b, _ = balance.New(balance.Defaults(), candidates, o)
	}
	c.snapshot.Store(&snapshot{balancer: b})
}
