package metrics

import (
	"errors"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/outrigger-mesh/outrigger/middleware"
)

const (
	// maxRoutes bounds the pairs of direction and route, maxRequestSeries the
	// series of outrigger_requests_total. What comes beyond is counted under
	// the label value other.
	maxRoutes        = 4096
	maxRequestSeries = 32768

	other = "other"
)

// buckets are the upper bounds of the durations, in seconds. They are the same
// for all services, so that services can be added up.
var buckets = []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30}

// collectors is what all entries share.
type collectors struct {
	requests *prometheus.CounterVec
	duration *prometheus.HistogramVec
	inFlight *prometheus.GaugeVec
	attempts *prometheus.CounterVec

	grpcRequests *prometheus.CounterVec
	grpcDuration *prometheus.HistogramVec

	registration sync.Once
	registered   error
	unregister   []func()

	series     atomic.Int64 // of requests
	grpcSeries atomic.Int64 // of gRPC requests

	mu     sync.Mutex
	grpc   map[grpcKey]*grpcSeries
	routes map[routeKey]*routeSeries
	rest   map[string]*routeSeries // by direction: of the routes beyond the bound
}

type routeKey struct{ direction, service, route string }

func newCollectors() *collectors {
	return &collectors{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "outrigger_requests_total",
			Help: "Requests that have ended. Code is 499 where the client left before an answer; reason says why the answer was a local one, or broke off.",
		}, []string{"direction", "service", "route", "method", "code", "reason"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "outrigger_request_duration_seconds",
			Help:    "Time from the end of a request's head to the end of its response.",
			Buckets: buckets,
		}, []string{"direction", "service"}),
		inFlight: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "outrigger_requests_in_flight",
			Help: "Requests that have not ended.",
		}, []string{"direction"}),
		attempts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "outrigger_attempts_total",
			Help: "Attempts at endpoints that have ended, by their result.",
		}, []string{"service", "result"}),
		grpcRequests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "outrigger_grpc_requests_total",
			Help: "gRPC calls that have ended, by the name of their status. Methods that no endpoint has answered are counted as other.",
		}, []string{"direction", "service", "grpc_service", "grpc_method", "grpc_status"}),
		grpcDuration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "outrigger_grpc_request_duration_seconds",
			Help:    "Time from the end of a gRPC call's head to the end of its response.",
			Buckets: buckets,
		}, []string{"direction", "service", "grpc_service", "grpc_method"}),
		grpc:   map[grpcKey]*grpcSeries{},
		routes: map[routeKey]*routeSeries{},
		rest:   map[string]*routeSeries{},
	}
}

// register makes the collectors known, once.
func (c *collectors) register(r prometheus.Registerer) error {
	c.registration.Do(func() {
		c.registered = errors.Join(
			keep(c, r, &c.requests), keep(c, r, &c.duration), keep(c, r, &c.inFlight), keep(c, r, &c.attempts),
			keep(c, r, &c.grpcRequests), keep(c, r, &c.grpcDuration))
	})
	return c.registered
}

func keep[C prometheus.Collector](c *collectors, r prometheus.Registerer, collector *C) error {
	registered, unregister, err := middleware.Register(r, *collector)
	if err != nil {
		return err
	}
	*collector = registered
	c.unregister = append(c.unregister, unregister)
	return nil
}

// Close takes the collectors away.
func (c *collectors) Close() error {
	for _, unregister := range c.unregister {
		unregister()
	}
	return nil
}

// route is the series of a route, nil for requests that have none.
func (c *collectors) route(direction string, r *middleware.Route) *routeSeries {
	key := routeKey{direction: direction}
	if r != nil {
		key.service, key.route = r.Service, r.Name
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	s, ok := c.routes[key]
	if ok {
		return s
	}
	if len(c.routes) < maxRoutes {
		s = c.newRoute(key)
		c.routes[key] = s
		return s
	}
	if s, ok = c.rest[direction]; !ok {
		s = c.newRoute(routeKey{direction, other, other})
		c.rest[direction] = s
	}
	return s
}

// newRoute makes the series of a route. mu is held.
func (c *collectors) newRoute(key routeKey) *routeSeries {
	to := grpcKey{key.direction, key.service}
	g, ok := c.grpc[to]
	if !ok {
		g = c.newGRPC(to)
		c.grpc[to] = g
	}
	return &routeSeries{collectors: c, key: key, grpc: g, duration: c.duration.WithLabelValues(key.direction, key.service)}
}

// routeSeries is the resolved series of one route.
type routeSeries struct {
	collectors *collectors
	key        routeKey
	grpc       *grpcSeries // of the route's service
	duration   prometheus.Observer
	attempts   [len(results)]atomic.Pointer[prometheus.Counter]
	requests   [len(methods)]atomic.Pointer[[]codeSeries] // not changed, but replaced
	mu         sync.Mutex                                 // held by who replaces them
}

// codeSeries is one series of a route and method. A route has few, so that a
// search in a slice is faster than a map.
type codeSeries struct {
	code    int
	reason  middleware.Reason
	counter prometheus.Counter
}

func find(list *[]codeSeries, code int, reason middleware.Reason) prometheus.Counter {
	if list == nil {
		return nil
	}
	for i := range *list {
		if s := &(*list)[i]; s.code == code && s.reason == reason {
			return s.counter
		}
	}
	return nil
}

func (s *routeSeries) request(method, code int, reason middleware.Reason) prometheus.Counter {
	if code < 100 || code > 599 { // no status codes (RFC 9110, section 15)
		code = 0
	}
	if c := find(s.requests[method].Load(), code, reason); c != nil {
		return c
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	list := s.requests[method].Load()
	if c := find(list, code, reason); c != nil {
		return c
	}
	if s.collectors.series.Add(1) > maxRequestSeries {
		s.collectors.series.Add(-1)
		return s.collectors.requests.WithLabelValues(s.key.direction, other, other, other, other, other)
	}
	c := s.collectors.requests.WithLabelValues(s.key.direction, s.key.service, s.key.route, methods[method], codeLabel(code), string(reason))
	var all []codeSeries
	if list != nil {
		all = append(all, *list...)
	}
	all = append(all, codeSeries{code, reason, c})
	s.requests[method].Store(&all)
	return c
}

func codeLabel(code int) string {
	if code == 0 {
		return other
	}
	return strconv.Itoa(code)
}

func (s *routeSeries) attempt(result int) prometheus.Counter {
	if c := s.attempts[result].Load(); c != nil {
		return *c
	}
	c := s.collectors.attempts.WithLabelValues(s.key.service, results[result])
	s.attempts[result].Store(&c)
	return c
}
