package upstream

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"
)

// Set is all clusters of the program, by name.
type Set struct {
	mu       sync.Mutex
	clusters map[string]*Cluster
	env      *env
	running  context.Context // of Run; nil while it does not run
}

// NewSet makes an empty set.
func NewSet() *Set { return &Set{clusters: map[string]*Cluster{}, env: newEnv(Options{})} }

// Use gives the clusters what they have from the program: to be called once,
// before Run.
func (s *Set) Use(o Options) error {
	s.mu.Lock()
	s.env = newEnv(o)
	for _, c := range s.clusters {
		c.attach(s.env)
	}
	s.mu.Unlock()
	if o.Registerer == nil {
		return nil
	}
	if err := o.Registerer.Register(metrics{s}); err != nil {
		return fmt.Errorf("metrics of upstreams: %w", err)
	}
	return nil
}

// take makes the cluster one of the set's. mu is held.
func (s *Set) take(c *Cluster) *Cluster {
	c.attach(s.env)
	s.clusters[c.name] = c
	if s.running != nil {
		c.start(s.running)
	}
	return c
}

// Put makes the cluster, or changes its settings.
func (s *Set) Put(c Config) *Cluster {
	s.mu.Lock()
	defer s.mu.Unlock()
	if cl, ok := s.clusters[c.Name]; ok {
		cl.Configure(c)
		return cl
	}
	return s.take(NewCluster(c))
}

// Ensure is the cluster of the name, made without endpoints where there is
// none: requests to it get "no endpoint".
func (s *Set) Ensure(name string) *Cluster {
	s.mu.Lock()
	defer s.mu.Unlock()
	cl, ok := s.clusters[name]
	if !ok {
		return s.take(NewCluster(Config{Name: name}))
	}
	return cl
}

// Add takes in a cluster that was made elsewhere.
func (s *Set) Add(c *Cluster) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.take(c)
}

// Get is the cluster of the name; nil if there is none.
func (s *Set) Get(name string) *Cluster {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.clusters[name]
}

// Remove closes a cluster.
func (s *Set) Remove(name string) {
	s.mu.Lock()
	c := s.clusters[name]
	delete(s.clusters, name)
	s.mu.Unlock()
	if c != nil {
		c.Close()
	}
}

// All is every cluster, by name.
func (s *Set) All() []*Cluster {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]*Cluster, 0, len(s.clusters))
	for _, c := range s.clusters {
		all = append(all, c)
	}
	slices.SortFunc(all, func(a, b *Cluster) int { return cmp.Compare(a.name, b.name) })
	return all
}

// Run has health checks run, closes unused connections, lets ejected endpoints
// back in and looks at their rates, until the context ends; then it closes
// everything.
func (s *Set) Run(ctx context.Context) error {
	s.mu.Lock()
	s.running = ctx
	for _, c := range s.clusters {
		c.start(ctx)
	}
	s.mu.Unlock()
	tick := time.NewTicker(minInterval)
	defer tick.Stop()
	for {
		select {
		case now := <-tick.C:
			for _, c := range s.All() {
				c.tick(now)
			}
		case <-ctx.Done():
			for _, c := range s.All() {
				c.Close()
			}
			return nil
		}
	}
}
