package middleware

import (
	"sync"

	"github.com/prometheus/client_golang/prometheus"
)

// Collector is a collector that all entries of a kind share, whatever their
// direction, service and id: it is made and registered when the first of them
// asks for it, outlives reloads, and is unregistered with the last generation
// that uses it. name tells a kind's collectors apart.
func Collector[C prometheus.Collector](e Env, kind, name string, open func() C) (C, error) {
	s := State(e.Shared(kind), "collector/"+name, func() *sharedCollector[C] {
		return &sharedCollector[C]{collector: open()}
	})
	s.once.Do(func() {
		s.collector, s.unregister, s.err = Register(e.Metrics, s.collector)
	})
	return s.collector, s.err
}

// sharedCollector is the state that a Collector lives in.
type sharedCollector[C prometheus.Collector] struct {
	once       sync.Once
	collector  C
	err        error
	unregister func()
}

// Close takes the collector away.
func (s *sharedCollector[C]) Close() error {
	if s.unregister != nil {
		s.unregister()
	}
	return nil
}
