package registrar

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// Registration is how far the registry is in step with the health.
type Registration string

// The states of a registration.
const (
	RegistrationNone       Registration = "none"       // not registered, nor should it be
	RegistrationPending    Registration = "pending"    // healthy, and not yet confirmed by the registry
	RegistrationRegistered Registration = "registered" // confirmed
	RegistrationLeaving    Registration = "leaving"    // should be gone, and is not confirmed to be
	RegistrationClosed     Registration = "closed"     // deregistered for good
)

// Status is a picture of a Registrar for the admin port.
type Status struct {
	Health       Health       `json:"health"`
	Since        time.Time    `json:"since"` // of Health
	ProbeError   string       `json:"probeError,omitempty"`
	Registration Registration `json:"registration"`
	Service      string       `json:"service,omitempty"` // as the registry knows it
	Nodes        []Node       `json:"nodes,omitempty"`
	Confirmed    time.Time    `json:"confirmed,omitzero"` // the last time that the registry took it
	Failures     int          `json:"failures,omitempty"` // calls to the registry in a row that failed
	Error        string       `json:"error,omitempty"`    // of the last of them
}

// Node is one registered address.
type Node struct {
	ID      string `json:"id"`
	Address string `json:"address"`
}

// Status is the state of this moment.
func (r *Registrar) Status() Status {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := Status{Health: r.health, Since: r.since, Confirmed: r.confirmed, Failures: r.failures}
	if r.lastErr != nil {
		s.ProbeError = r.lastErr.Error()
	}
	if r.callErr != nil {
		s.Error = r.callErr.Error()
	}
	if r.held != nil {
		s.Service = r.held.Name
		for _, n := range r.held.Nodes {
			s.Nodes = append(s.Nodes, Node{ID: n.Id, Address: n.Address})
		}
	}
	want := r.opts.Registry != nil && r.health == Healthy && !r.closed
	switch {
	case want && r.confirmed.IsZero():
		s.Registration = RegistrationPending
	case want:
		s.Registration = RegistrationRegistered
	case r.held != nil:
		s.Registration = RegistrationLeaving
	case r.closed:
		s.Registration = RegistrationClosed
	default:
		s.Registration = RegistrationNone
	}
	return s
}

// metrics are the registrar's own. Their labels have fixed values only.
type metrics struct {
	healthy    prometheus.Gauge
	registered prometheus.Gauge
	probes     *prometheus.CounterVec
	calls      *prometheus.CounterVec
}

func newMetrics(reg prometheus.Registerer) *metrics {
	f := promauto.With(reg)
	return &metrics{
		healthy: f.NewGauge(prometheus.GaugeOpts{
			Name: "outrigger_app_healthy",
			Help: "1 while the app beside the sidecar is healthy.",
		}),
		registered: f.NewGauge(prometheus.GaugeOpts{
			Name: "outrigger_app_registered",
			Help: "1 while the registry has confirmed that it holds the app.",
		}),
		probes: f.NewCounterVec(prometheus.CounterOpts{
			Name: "outrigger_app_probes_total",
			Help: "Health probes of the app, by result (ok, failed).",
		}, []string{"result"}),
		calls: f.NewCounterVec(prometheus.CounterOpts{
			Name: "outrigger_registry_calls_total",
			Help: "Calls to the registry, by operation (register, deregister) and result (ok, failed).",
		}, []string{"op", "result"}),
	}
}

func (m *metrics) probed(err error)          { m.probes.WithLabelValues(result(err)).Inc() }
func (m *metrics) called(op string, e error) { m.calls.WithLabelValues(op, result(e)).Inc() }
func (m *metrics) setHealthy(on bool)        { m.healthy.Set(number(on)) }
func (m *metrics) setRegistered(on bool)     { m.registered.Set(number(on)) }

func result(err error) string {
	if err != nil {
		return "failed"
	}
	return "ok"
}

func number(on bool) float64 {
	if on {
		return 1
	}
	return 0
}
