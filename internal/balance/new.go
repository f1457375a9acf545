package balance

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"go-micro.dev/v4/selector"

	"github.com/outrigger-mesh/outrigger/middleware"
)

// Candidate is an endpoint with what is known of it at the time of a snapshot.
type Candidate struct {
	*middleware.Endpoint
	// Healthy is what outlier ejection and health checks say.
	Healthy bool
	// Since is when it became an endpoint or healthy again, for slow start;
	// zero: long ago.
	Since time.Time
	// Version and Metadata are of the instance, for Go-Micro's filters.
	Version  string
	Metadata map[string]string
}

// Options is what a balancer needs besides its configuration. The zero value
// does.
type Options struct {
	// Service is the name of the service, for Go-Micro's filters and strategies.
	Service string
	// Region and Zone are where this program runs, for LocalityPrefer.
	Region, Zone string
	// Strategies and Filters are what an embedder adds to those of Go-Micro
	// (StrategyRoundRobin, StrategyRandom), by the names that the configuration
	// uses.
	Strategies map[string]selector.Strategy
	Filters    map[string]selector.Filter
	// Now is the clock; nil: time.Now.
	Now func() time.Time
	// Rand gives 64 random bits, to many goroutines at once; nil: math/rand/v2.
	Rand func() uint64
}

// New makes the balancer of a snapshot. Its errors are of the configuration,
// and name the key; without candidates it is a balancer that has no endpoint.
func New(c Config, candidates []Candidate, o Options) (Balancer, error) {
	if err := c.Validate(); err != nil {
		return nil, fmt.Errorf("balancer: %w", err)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Rand == nil {
		o.Rand = rand.Uint64
	}
	b := &balancer{bits: o.Rand, none: ErrNoEndpoint}
	candidates = usable(candidates)
	switch c.Policy {
	case PolicyConsistentHash:
		b.hash = &c.Hash
	case PolicyGoMicro:
		if err := c.CheckNames("", o); err != nil {
			return nil, fmt.Errorf("balancer: %w", err)
		}
		if len(candidates) > 0 {
			b.none = fmt.Errorf("%w that Go-Micro's strategy %q and filters %q would take", ErrNoEndpoint, c.GoMicro.Strategy, c.GoMicro.Filters)
		}
		var err error
		if candidates, err = o.filter(c.GoMicro.Filters, candidates); err != nil {
			return nil, fmt.Errorf("balancer: %w", err)
		}
	case PolicyRoundRobin, PolicyRandom, PolicyLeastRequest, PolicyPeakEWMA:
	}
	if c.Policy != PolicyPeakEWMA {
		for _, cand := range candidates {
			if cand.Stats != nil {
				cand.Stats.Latency.Track(0)
			}
		}
	}
	all := groups(&c, candidates, &o)
	counts := make([]health, len(all))
	for i, g := range all {
		counts[i].total = len(g.candidates)
		for _, cand := range g.candidates {
			if cand.Healthy {
				counts[i].healthy++
			}
		}
	}
	share, panics := shares(counts, c.Overprovisioning, c.PanicThreshold)
	for i, g := range all {
		l := level{share: share[i], Level: Level{
			Priority: g.priority, Distance: g.distance,
			Endpoints: counts[i].total, Healthy: counts[i].healthy, Share: share[i], Panic: panics[i],
		}}
		used := g.candidates
		if !panics[i] {
			used = slices.DeleteFunc(used, func(cand Candidate) bool { return !cand.Healthy })
		}
		if err := l.fill(&c, used, &o); err != nil {
			return nil, fmt.Errorf("balancer: %w", err)
		}
		b.levels = append(b.levels, l)
		b.spills = b.spills || i > 0 && share[i] > 0
	}
	return b, nil
}

// fill gives the level its endpoints and the picker of the policy.
func (l *level) fill(c *Config, used []Candidate, o *Options) error {
	if len(used) == 0 {
		return nil
	}
	weights := make([]uint64, len(used))
	l.endpoints = make([]*middleware.Endpoint, len(used))
	for i, cand := range used {
		l.endpoints[i], weights[i] = cand.Endpoint, weight(cand.Endpoint)
		if cand.Stats == nil && (c.Policy == PolicyLeastRequest || c.Policy == PolicyPeakEWMA) {
			return fmt.Errorf("endpoint %s has no Stats, which policy %s goes by", cand.Key, c.Policy)
		}
	}
	switch c.Policy {
	case PolicyConsistentHash:
		l.picker = newMaglev(c.Hash.TableSize, l.endpoints, weights)
		return nil
	case PolicyGoMicro:
		p, err := newGoMicro(c.GoMicro, used, o)
		l.picker = p
		return err
	case PolicyRoundRobin, PolicyRandom, PolicyLeastRequest, PolicyPeakEWMA:
	}
	lots := newLottery(weights, newWarmup(c.SlowStart, used, o.Now), o.Rand)
	switch c.Policy {
	case PolicyRandom:
		l.picker = random{lots}
	case PolicyLeastRequest:
		l.picker = newLeastRequest(c.LeastRequest, l.endpoints, weights, lots)
	case PolicyPeakEWMA:
		l.picker = newPeakEWMA(c.PeakEWMA, l.endpoints, weights, lots, o.Now)
	case PolicyRoundRobin, PolicyConsistentHash, PolicyGoMicro:
		l.picker = newTurns(weights, lots)
	}
	return nil
}
