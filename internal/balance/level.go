package balance

import (
	"cmp"
	"slices"
	"strings"

	"github.com/outrigger-mesh/outrigger/middleware"
)

// Level is one priority of a balancer, for people who look at it.
type Level struct {
	Priority  uint32 `json:"priority"`
	Distance  int    `json:"distance,omitempty"` // with LocalityPrefer: 0 own zone, 1 own region, 2 elsewhere
	Endpoints int    `json:"endpoints"`          // draining ones are not counted
	Healthy   int    `json:"healthy"`
	Share     int    `json:"share"` // percent of the requests
	// Panic says that unhealthy endpoints are used too, for want of healthy ones.
	Panic bool `json:"panic"`
}

// Levels is how a balancer that New has made shares requests out, by priority.
func Levels(b Balancer) []Level {
	own, ok := b.(*balancer)
	if !ok {
		return nil
	}
	levels := make([]Level, len(own.levels))
	for i := range own.levels {
		levels[i] = own.levels[i].Level
	}
	return levels
}

// group is the candidates of one level.
type group struct {
	priority   uint32
	distance   int
	candidates []Candidate
}

// groups sorts the candidates into levels, each in the order of its endpoints'
// keys.
func groups(c *Config, candidates []Candidate, o *Options) []group {
	near := func(e *middleware.Endpoint) int {
		switch {
		case c.Locality != LocalityPrefer || o.Region == "":
			return 0
		case e.Region != o.Region:
			return 2
		case o.Zone != "" && e.Zone != o.Zone:
			return 1
		}
		return 0
	}
	sorted := slices.Clone(candidates)
	slices.SortFunc(sorted, func(a, b Candidate) int {
		return cmp.Or(
			cmp.Compare(a.Priority, b.Priority),
			cmp.Compare(near(a.Endpoint), near(b.Endpoint)),
			strings.Compare(a.Key, b.Key),
		)
	})
	var all []group
	for _, cand := range sorted {
		p, d := cand.Priority, near(cand.Endpoint)
		if n := len(all); n == 0 || all[n-1].priority != p || all[n-1].distance != d {
			all = append(all, group{priority: p, distance: d})
		}
		g := &all[len(all)-1]
		g.candidates = append(g.candidates, cand)
	}
	return all
}

// usable is what requests may be sent to at all. Draining endpoints are as good
// as gone: they are no part of a priority's capacity, and a threshold of panic
// does not bring them back. Only where there is nothing else they are used: one
// that drains still answers, and a refusal helps nobody.
func usable(candidates []Candidate) []Candidate {
	var list []Candidate
	for _, c := range candidates {
		if !c.Draining {
			list = append(list, c)
		}
	}
	if len(list) == 0 {
		return candidates
	}
	return list
}
