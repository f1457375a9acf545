package breaker

import (
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/outrigger-mesh/outrigger/middleware"
)

// maxServices bounds the services with series of their own in one entry; what
// comes beyond is counted under other.
const (
	maxServices = 4096
	other       = "other"
)

// collectors is what all entries share.
type collectors struct {
	circuits    *prometheus.GaugeVec
	transitions *prometheus.CounterVec
	refused     *prometheus.CounterVec
}

func newCollectors(e middleware.Env) (c collectors, err error) {
	if c.circuits, err = middleware.Collector(e, "breaker", "circuits", func() *prometheus.GaugeVec {
		return prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "outrigger_breaker_circuits",
			Help: "Circuits that are not closed, by their state.",
		}, []string{"direction", "service", "id", "state"})
	}); err != nil {
		return c, err
	}
	if c.transitions, err = middleware.Collector(e, "breaker", "transitions", func() *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "outrigger_breaker_transitions_total",
			Help: "Changes of a circuit's state, by the state that it went over to.",
		}, []string{"direction", "service", "id", "to"})
	}); err != nil {
		return c, err
	}
	c.refused, err = middleware.Collector(e, "breaker", "refused", func() *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "outrigger_breaker_refused_total",
			Help: "Attempts that were refused, since their circuit was not closed.",
		}, []string{"direction", "service", "id"})
	})
	return c, err
}

// series is the resolved series of one service.
type series struct {
	openCircuits     prometheus.Gauge
	halfOpenCircuits prometheus.Gauge
	transitions      [len(states)]prometheus.Counter
	refused          prometheus.Counter
}

func (c collectors) series(direction, service, id string) *series {
	s := &series{
		openCircuits:     c.circuits.WithLabelValues(direction, service, id, states[open]),
		halfOpenCircuits: c.circuits.WithLabelValues(direction, service, id, states[halfOpen]),
		refused:          c.refused.WithLabelValues(direction, service, id),
	}
	for to, name := range states {
		s.transitions[to] = c.transitions.WithLabelValues(direction, service, id, name)
	}
	return s
}

func (s *series) entered(to state) {
	switch to {
	case open:
		s.openCircuits.Inc()
	case halfOpen:
		s.halfOpenCircuits.Inc()
	case closed:
	}
}

func (s *series) left(from state) {
	switch from {
	case open:
		s.openCircuits.Dec()
	case halfOpen:
		s.halfOpenCircuits.Dec()
	case closed:
	}
}

// byService finds the series of a service.
type byService struct {
	open func(service string) *series
	mu   sync.Mutex
	all  map[string]*series
}

func (b *byService) get(service string) *series {
	b.mu.Lock()
	defer b.mu.Unlock()
	if s := b.all[service]; s != nil {
		return s
	}
	if len(b.all) >= maxServices {
		service = other
		if s := b.all[service]; s != nil {
			return s
		}
	}
	s := b.open(service)
	b.all[service] = s
	return s
}
