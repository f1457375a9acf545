package upstream

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"
)

// Set is all clusters of the program, by name.
type Set struct {
	mu       sync.Mutex
	clusters map[string]*Cluster
}

// NewSet makes an empty set.
func NewSet() *Set { return &Set{clusters: map[string]*Cluster{}} }

// Put makes the cluster, or changes its settings.
func (s *Set) Put(c Config) *Cluster {
	s.mu.Lock()
	defer s.mu.Unlock()
	if cl, ok := s.clusters[c.Name]; ok {
		cl.Configure(c)
		return cl
	}
	cl := NewCluster(c)
	s.clusters[c.Name] = cl
	return cl
}

// Ensure is the cluster of the name, made without endpoints where there is
// none: requests to it get "no endpoint".
func (s *Set) Ensure(name string) *Cluster {
	s.mu.Lock()
	defer s.mu.Unlock()
	cl, ok := s.clusters[name]
	if !ok {
		cl = NewCluster(Config{Name: name})
		s.clusters[name] = cl
	}
	return cl
}

// Add takes in a cluster that was made elsewhere.
func (s *Set) Add(c *Cluster) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clusters[c.name] = c
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

// Run closes unused connections, until the context ends; then all of them.
func (s *Set) Run(ctx context.Context) error {
	tick := time.NewTicker(IdleTimeout / 5)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			for _, c := range s.All() {
				c.reap()
			}
		case <-ctx.Done():
			for _, c := range s.All() {
				c.Close()
			}
			return nil
		}
	}
}
