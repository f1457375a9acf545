package balance

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"

	"go-micro.dev/v4/registry"
	"go-micro.dev/v4/selector"

	"github.com/outrigger-mesh/outrigger/internal/conf"
)

// Go-Micro's own strategies, which need not be given in Options.
const (
	StrategyRoundRobin = "round_robin"
	StrategyRandom     = "random"
)

// Metadata of the nodes that strategies and filters see, besides that of the
// candidate.
const (
	MetadataRegion   = "region"
	MetadataZone     = "zone"
	MetadataWeight   = "weight"
	MetadataPriority = "priority"
)

// goMicro is PolicyGoMicro: a selector.Strategy, built for the endpoints of a
// level. A node's Id is the endpoint's Key.
type goMicro struct {
	next selector.Next
	// mu is held around next, since Go-Micro makes one for each call and does
	// not ask that it can be shared; nil for its own two, which can.
	mu     *sync.Mutex
	byNode map[*registry.Node]int
	byID   map[string]int // for strategies that make nodes of their own
}

// CheckNames refuses a strategy, and filters, that the policy would use and that
// neither Go-Micro nor the options have. The errors name keys below path, which
// may be empty.
func (c *Config) CheckNames(path string, o Options) error {
	if c.Policy != PolicyGoMicro {
		return nil
	}
	if path != "" {
		path += "."
	}
	var errs []error
	if c.GoMicro.Strategy != "" { // else Validate has said it
		_, _, u := o.strategy(c.GoMicro.Strategy)
		errs = append(errs, below(path, u))
	}
	for i, name := range c.GoMicro.Filters {
		_, u := o.known(i, name)
		errs = append(errs, below(path, u))
	}
	return errors.Join(errs...)
}

// unknown is an error of a name, at its key.
type unknown struct{ key, msg string }

func below(path string, u *unknown) error {
	if u == nil {
		return nil
	}
	return conf.FieldError(path+u.key, u.msg)
}

// strategy finds a strategy; own says that it is one of Go-Micro's.
func (o *Options) strategy(name string) (s selector.Strategy, own bool, u *unknown) {
	if s := o.Strategies[name]; s != nil {
		return s, false, nil
	}
	switch name {
	case StrategyRoundRobin:
		return selector.RoundRobin, true, nil
	case StrategyRandom:
		return selector.Random, true, nil
	}
	known := append(slices.Sorted(maps.Keys(o.Strategies)), StrategyRoundRobin, StrategyRandom)
	return nil, false, &unknown{"goMicro.strategy", fmt.Sprintf("there is no strategy %q, known are %s", name, strings.Join(known, ", "))}
}

// known finds the filter that stands at place i.
func (o *Options) known(i int, name string) (selector.Filter, *unknown) {
	if f := o.Filters[name]; f != nil {
		return f, nil
	}
	known := "none is known"
	if len(o.Filters) > 0 {
		known = "known are " + strings.Join(slices.Sorted(maps.Keys(o.Filters)), ", ")
	}
	return nil, &unknown{fmt.Sprintf("goMicro.filters[%d]", i), fmt.Sprintf("there is no filter %q, %s", name, known)}
}

// filter applies the filters to all candidates.
func (o *Options) filter(names []string, candidates []Candidate) ([]Candidate, error) {
	if len(names) == 0 {
		return candidates, nil
	}
	services, index := o.services(candidates)
	for i, name := range names {
		f, u := o.known(i, name)
		if u != nil {
			return nil, below("", u)
		}
		services = f(services)
	}
	keep := make([]bool, len(candidates))
	for _, s := range services {
		if s == nil {
			continue
		}
		for _, n := range s.Nodes {
			if n == nil {
				continue
			}
			if i, ok := index[n.Id]; ok {
				keep[i] = true
			}
		}
	}
	var kept []Candidate
	for i, k := range keep {
		if k {
			kept = append(kept, candidates[i])
		}
	}
	return kept, nil
}

// services is the candidates as Go-Micro knows them: a service for each version.
func (o *Options) services(candidates []Candidate) (services []*registry.Service, index map[string]int) {
	index = make(map[string]int, len(candidates))
	byVersion := map[string]*registry.Service{}
	for i := range candidates {
		c := &candidates[i]
		index[c.Key] = i
		s := byVersion[c.Version]
		if s == nil {
			s = &registry.Service{Name: o.Service, Version: c.Version}
			byVersion[c.Version] = s
			services = append(services, s)
		}
		md := maps.Clone(c.Metadata)
		if md == nil {
			md = map[string]string{}
		}
		md[MetadataRegion], md[MetadataZone] = c.Region, c.Zone
		md[MetadataWeight] = strconv.FormatUint(weight(c.Endpoint), 10)
		md[MetadataPriority] = strconv.FormatUint(uint64(c.Priority), 10)
		s.Nodes = append(s.Nodes, &registry.Node{Id: c.Key, Address: c.Address, Metadata: md})
	}
	return services, index
}

func newGoMicro(c GoMicro, candidates []Candidate, o *Options) (*goMicro, error) {
	strategy, own, u := o.strategy(c.Strategy)
	if u != nil {
		return nil, below("", u)
	}
	services, byID := o.services(candidates)
	p := &goMicro{byNode: make(map[*registry.Node]int, len(candidates)), byID: byID}
	for _, s := range services {
		for _, n := range s.Nodes {
			p.byNode[n] = byID[n.Id]
		}
	}
	if !own {
		p.mu = new(sync.Mutex)
	}
	if p.next = strategy(services); p.next == nil {
		return nil, conf.FieldErrorf("goMicro.strategy", "strategy %q gave no function for %d endpoints", c.Strategy, len(candidates))
	}
	return p, nil
}

func (p *goMicro) pick(uint64, int) int {
	n, err := p.call()
	if err != nil || n == nil {
		return -1
	}
	if i, ok := p.byNode[n]; ok {
		return i
	}
	if i, ok := p.byID[n.Id]; ok {
		return i
	}
	return -1
}

func (p *goMicro) call() (*registry.Node, error) {
	if p.mu != nil {
		p.mu.Lock()
		defer p.mu.Unlock() // a strategy may panic
	}
	return p.next()
}
