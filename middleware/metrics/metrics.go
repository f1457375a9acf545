// Package metrics is the middleware that counts requests and attempts for
// Prometheus.
//
// The number of series is bounded by construction: every label has a fixed set
// of values, or comes from the configuration, and there is a last bound on all
// of them together. What a client sends never becomes a label.
//
// All entries of a process share one set of collectors, which outlives reloads.
// Series are resolved once for each route, so that a request takes no lock,
// hashes no label and allocates nothing.
package metrics

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/outrigger-mesh/outrigger/middleware"
)

// Config is the configuration of a metrics entry: there is nothing to choose.
type Config struct{}

// Kind is metrics in configuration files.
var Kind = middleware.NewKind("metrics", func() Config { return Config{} }, build)

func build(_ Config, e middleware.Env) (middleware.Parts, error) {
	c := middleware.State(e.Shared("metrics"), "collectors", newCollectors)
	if err := c.register(e.Metrics); err != nil {
		return middleware.Parts{}, err
	}
	m := newMetrics(c, e.Direction)
	return middleware.Parts{Request: m, Try: m}, nil
}

// Metrics is the middleware of one direction.
type Metrics struct {
	collectors *collectors
	direction  string
	inFlight   prometheus.Gauge
	tries      *middleware.Slot[*routeSeries]

	routes sync.Map // of *middleware.Route to *routeSeries
	cached atomic.Int64
}

// maxCachedRoutes bounds what is remembered of route tables that were replaced.
const maxCachedRoutes = 4096

var (
	_ middleware.Middleware    = (*Metrics)(nil)
	_ middleware.TryMiddleware = (*Metrics)(nil)
)

func newMetrics(c *collectors, direction string) *Metrics {
	return &Metrics{
		collectors: c,
		direction:  direction,
		inFlight:   c.inFlight.WithLabelValues(direction),
		tries:      middleware.NewSlot[*routeSeries](),
	}
}

// Wrap makes the handler of the request stage.
func (m *Metrics) Wrap(next middleware.Handler) middleware.Handler { return &handler{m, next} }

// WrapTry makes the handler of the attempt stage.
func (m *Metrics) WrapTry(next middleware.TryHandler) middleware.TryHandler {
	return &tryHandler{m, next}
}

// series is what belongs to the route; nil is that of requests without one.
func (m *Metrics) series(r *middleware.Route) *routeSeries {
	if v, ok := m.routes.Load(r); ok {
		s, _ := v.(*routeSeries) // nothing else is stored
		return s
	}
	if m.cached.Add(1) > maxCachedRoutes {
		m.cached.Store(1)
		m.routes.Clear()
	}
	s := m.collectors.route(m.direction, r)
	m.routes.Store(r, s)
	return s
}

type handler struct {
	*Metrics
	next middleware.Handler
}

var _ middleware.Doner = (*handler)(nil)

func (h *handler) Serve(x *middleware.Exchange) error {
	h.inFlight.Inc()
	return h.next.Serve(x)
}

// Done counts the exchange, under the route that it was sent to in the end.
func (h *handler) Done(x *middleware.Exchange) {
	h.inFlight.Dec()
	s := h.series(x.Route())
	s.request(methodIndex(x.Request.Method), x.Response.Status, x.Reason()).Inc()
	if !x.Start.IsZero() {
		s.duration.Observe(time.Since(x.Start).Seconds())
	}
}

type tryHandler struct {
	*Metrics
	next middleware.TryHandler
}

var _ middleware.TryDoner = (*tryHandler)(nil)

func (h *tryHandler) Try(a *middleware.Attempt) error {
	*h.tries.InTry(a) = h.series(a.Exchange().Route())
	return h.next.Try(a)
}

func (h *tryHandler) TryDone(a *middleware.Attempt) {
	if s := *h.tries.InTry(a); s != nil {
		s.attempt(resultOf(a)).Inc()
	}
}
