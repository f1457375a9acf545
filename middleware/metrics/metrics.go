// Package metrics is the middleware that counts requests and attempts for
// Prometheus.
//
// The number of series is bounded by construction: every label has a fixed set
// of values, or comes from the configuration, and there is a last bound on all
// of them together. What a client sends never becomes a label, but for the
// names of gRPC methods that an endpoint has answered, of which so many are
// counted apart as the configuration allows.
//
// All entries of a process share one set of collectors, which outlives reloads.
// Series are resolved once for each route, so that a request takes no lock,
// hashes no label and allocates nothing.
package metrics

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/outrigger-mesh/outrigger/middleware"
)

// Config is the configuration of a metrics entry.
type Config struct {
	// GRPCMethods is how many methods of gRPC calls are counted apart, for each
	// service and direction; from 0 to maxGRPCMethods.
	GRPCMethods int `yaml:"grpcMethods"`
}

// maxGRPCMethods bounds Config.GRPCMethods.
const maxGRPCMethods = 2000

func defaults() Config { return Config{GRPCMethods: 200} }

// Validate says what is out of range.
func (c *Config) Validate() error {
	if c.GRPCMethods < 0 || c.GRPCMethods > maxGRPCMethods {
		return middleware.FieldError("grpcMethods", fmt.Sprintf("expected 0 to %d, found %d", maxGRPCMethods, c.GRPCMethods))
	}
	return nil
}

// Kind is metrics in configuration files.
var Kind = middleware.NewKind("metrics", defaults, build)

func build(config Config, e middleware.Env) (middleware.Parts, error) {
	c := middleware.State(e.Shared("metrics"), "collectors", newCollectors)
	if err := c.register(e.Metrics); err != nil {
		return middleware.Parts{}, err
	}
	m := newMetrics(c, e.Direction, config.GRPCMethods)
	return middleware.Parts{Request: m, Try: m}, nil
}

// Metrics is the middleware of one direction.
type Metrics struct {
	collectors  *collectors
	direction   string
	grpcMethods int // that are counted apart
	inFlight    prometheus.Gauge
	tries       *middleware.Slot[*routeSeries]

	routes sync.Map // of *middleware.Route to *routeSeries
	cached atomic.Int64
}

// maxCachedRoutes bounds what is remembered of route tables that were replaced.
const maxCachedRoutes = 4096

var (
	_ middleware.Middleware    = (*Metrics)(nil)
	_ middleware.TryMiddleware = (*Metrics)(nil)
)

func newMetrics(c *collectors, direction string, grpcMethods int) *Metrics {
	return &Metrics{
		collectors:  c,
		direction:   direction,
		grpcMethods: grpcMethods,
		inFlight:    c.inFlight.WithLabelValues(direction),
		tries:       middleware.NewSlot[*routeSeries](),
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
	var seconds float64
	if !x.Start.IsZero() {
		seconds = time.Since(x.Start).Seconds()
		s.duration.Observe(seconds)
	}
	if x.GRPC() {
		s.grpc.count(x, h.grpcMethods, seconds)
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
