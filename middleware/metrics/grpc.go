package metrics

import (
	"maps"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/outrigger-mesh/outrigger/middleware"
)

const (
	// maxGRPCSeries bounds the series of outrigger_grpc_requests_total. What
	// comes beyond is counted under the label value other.
	maxGRPCSeries = 32768
	// maxGRPCName bounds the names of a service and its method together, in
	// bytes.
	maxGRPCName = 256
)

// The values of the label grpc_status beyond the statuses that have a name, as
// indexes like these.
const (
	grpcOther = int(middleware.GRPCCodes) + iota // a number without a name
	grpcNone                                     // the response was whole and had no status
	grpcStatuses
)

func grpcStatusLabel(i int) string {
	switch i {
	case grpcOther:
		return other
	case grpcNone:
		return "none"
	}
	return middleware.GRPCCode(i).String() //nolint:gosec // an index below the number of codes
}

func grpcStatusIndex(code middleware.GRPCCode, ok bool) int {
	switch {
	case !ok:
		return grpcNone
	case code >= middleware.GRPCCodes:
		return grpcOther
	}
	return int(code)
}

// grpcKey is what the methods of gRPC calls are counted apart for.
type grpcKey struct{ direction, service string }

// grpcSeries is the series of the gRPC calls to one service in one direction.
// Which methods there are is learned from clients, so that their number is
// limited: the first that an endpoint has answered have series of their own.
type grpcSeries struct {
	collectors *collectors
	key        grpcKey
	rest       *methodSeries // of all other methods

	methods atomic.Pointer[map[string]*methodSeries] // by service/method; not changed, but replaced
	mu      sync.Mutex                               // held by who replaces it
}

func (c *collectors) newGRPC(key grpcKey) *grpcSeries {
	g := &grpcSeries{collectors: c, key: key}
	g.rest = g.newMethod(other, other)
	g.methods.Store(&map[string]*methodSeries{})
	return g
}

// count counts a call that has ended.
func (g *grpcSeries) count(x *middleware.Exchange, most int, seconds float64) {
	code, ok := x.GRPCStatus()
	m := g.method(x, code, ok, most)
	m.request(grpcStatusIndex(code, ok)).Inc()
	if !x.Start.IsZero() {
		m.seconds().Observe(seconds)
	}
}

// method is the series of the call's method.
func (g *grpcSeries) method(x *middleware.Exchange, code middleware.GRPCCode, ok bool, most int) *methodSeries {
	service, method := x.GRPCMethod()
	if len(method) == 0 || len(service)+len(method) > maxGRPCName {
		return g.rest
	}
	path := x.Request.Path()[1:] // service and method, with their slash
	if m, ok := (*g.methods.Load())[string(path)]; ok {
		return m
	}
	// What no endpoint has answered may be made up, and what it has answered
	// with UNIMPLEMENTED is.
	if !ok || code == middleware.GRPCUnimplemented || x.Local() || x.Response.Status != http.StatusOK {
		return g.rest
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	methods := *g.methods.Load()
	if m, ok := methods[string(path)]; ok {
		return m
	}
	if len(methods) >= most {
		return g.rest
	}
	m := g.newMethod(valid(service), valid(method))
	more := maps.Clone(methods)
	more[string(path)] = m
	g.methods.Store(&more)
	return m
}

// valid is a name as a label, which has to be UTF-8.
func valid(name []byte) string { return strings.ToValidUTF8(string(name), "\ufffd") }

// methodSeries is the series of one method.
type methodSeries struct {
	of              *grpcSeries
	service, method string
	duration        atomic.Pointer[prometheus.Observer]
	requests        [grpcStatuses]atomic.Pointer[prometheus.Counter]
}

func (g *grpcSeries) newMethod(service, method string) *methodSeries {
	return &methodSeries{of: g, service: service, method: method}
}

func (m *methodSeries) seconds() prometheus.Observer {
	if o := m.duration.Load(); o != nil {
		return *o
	}
	o := m.of.collectors.grpcDuration.WithLabelValues(m.of.key.direction, m.of.key.service, m.service, m.method)
	m.duration.Store(&o)
	return o
}

func (m *methodSeries) request(status int) prometheus.Counter {
	if c := m.requests[status].Load(); c != nil {
		return *c
	}
	g := m.of
	g.mu.Lock()
	defer g.mu.Unlock()
	if c := m.requests[status].Load(); c != nil {
		return *c
	}
	all := g.collectors
	var c prometheus.Counter
	if all.grpcSeries.Add(1) > maxGRPCSeries {
		all.grpcSeries.Add(-1)
		c = all.grpcRequests.WithLabelValues(g.key.direction, other, other, other, other)
	} else {
		c = all.grpcRequests.WithLabelValues(g.key.direction, g.key.service, m.service, m.method, grpcStatusLabel(status))
	}
	m.requests[status].Store(&c)
	return c
}
