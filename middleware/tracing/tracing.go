// Package tracing is the middleware that carries a distributed trace through
// this hop: it takes the trace that came with the request (W3C Trace Context),
// or begins one, and gives what follows a child of it.
//
// The handler has no state that requests share but counters; it may be used by
// any number of requests at once, and allocates nothing. Ids come from the
// runtime's generator (ChaCha8, seeded by the system for each thread), so that
// they neither collide nor wait for each other.
package tracing

import (
	"encoding/binary"
	"math"
	"math/rand/v2"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/outrigger-mesh/outrigger/middleware"
)

// Kind is tracing in configuration files.
var Kind = middleware.NewKind("tracing", defaults, build)

func build(c Config, e middleware.Env) (middleware.Parts, error) {
	requests, err := middleware.Collector(e, "tracing", "requests", newRequests)
	if err != nil {
		return middleware.Parts{}, err
	}
	return middleware.Parts{Request: New(c, e.Direction, requests)}, nil
}

// The origins of an exchange's trace, as indexes of origins.
const (
	originContinued = iota
	originStarted
	originInvalid
	originUntrusted
)

// origins are the values of the label origin.
var origins = [...]string{
	originContinued: "continued", // it came with the request
	originStarted:   "started",   // none came
	originInvalid:   "invalid",   // what came is no trace
	originUntrusted: "untrusted", // what came is a stranger's
}

func newRequests() *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "outrigger_tracing_requests_total",
		Help: "Requests by where their trace comes from, and whether it is sampled.",
	}, []string{"direction", "origin", "sampled"})
}

// Tracing is the middleware.
type Tracing struct {
	trust    bool
	below    uint64 // a trace is sampled where its id is below that
	requests [len(origins)][2]prometheus.Counter
}

var _ middleware.Middleware = (*Tracing)(nil)

// New makes the middleware of a valid configuration.
func New(c Config, direction string, requests *prometheus.CounterVec) *Tracing {
	t := &Tracing{trust: direction != middleware.Gateway, below: threshold(c.Sampler.Ratio)}
	if c.Trust != nil {
		t.trust = *c.Trust
	}
	for i, origin := range origins {
		t.requests[i] = [2]prometheus.Counter{
			requests.WithLabelValues(direction, origin, "false"),
			requests.WithLabelValues(direction, origin, "true"),
		}
	}
	return t
}

// idBits is how much of a trace id decides whether it is sampled: what a float64
// holds exactly.
const idBits = 53

func threshold(ratio float64) uint64 { return uint64(math.Round(ratio * (1 << idBits))) }

// Wrap makes the handler.
func (t *Tracing) Wrap(next middleware.Handler) middleware.Handler { return &handler{t, next} }

type handler struct {
	*Tracing
	next middleware.Handler
}

func (h *handler) Serve(x *middleware.Exchange) error {
	header := &x.Request.Header
	from, origin := h.incoming(header)
	t := middleware.Trace{Span: newSpan()}
	if origin == originContinued {
		t.ID, t.Parent, t.Sampled = from.trace, from.span, from.sampled
	} else {
		t.ID = newTrace()
		t.Sampled = binary.BigEndian.Uint64(t.ID[8:])>>(64-idBits) < h.below
		header.Del(fieldState) // it belongs to the parent that was not taken
	}
	x.SetTrace(t)
	var value [parentLength]byte
	header.SetBytes(fieldParent, appendParent(value[:0], t))
	sampled := 0
	if t.Sampled {
		sampled = 1
	}
	h.requests[origin][sampled].Inc()
	return h.next.Serve(x)
}

// incoming is the trace that came with the request, and drops a tracestate that
// is not valid (section 4.3, step 6: what is wrong with it does not speak
// against traceparent).
func (h *handler) incoming(header *middleware.Header) (p parent, origin int) {
	var states stateScan
	found, stateOK := 0, true
	for i := range header.Len() {
		f := header.At(i)
		switch {
		case middleware.EqualFold(f.Name, fieldParent):
			found++
			var ok bool
			if p, ok = parseParent(f.Value); !ok || found > 1 {
				origin = originInvalid
			}
		case middleware.EqualFold(f.Name, fieldState):
			stateOK = stateOK && states.add(f.Value)
		}
	}
	switch {
	case found == 0:
		return p, originStarted
	case !h.trust:
		return p, originUntrusted
	case origin == originInvalid:
		return p, originInvalid
	}
	if !stateOK {
		header.Del(fieldState)
	}
	return p, originContinued
}

func newTrace() (id middleware.TraceID) {
	for id.IsZero() {
		binary.BigEndian.PutUint64(id[:8], rand.Uint64()) //nolint:gosec // no secret
		binary.BigEndian.PutUint64(id[8:], rand.Uint64()) //nolint:gosec // no secret
	}
	return id
}

func newSpan() (id middleware.SpanID) {
	for id.IsZero() {
		binary.BigEndian.PutUint64(id[:], rand.Uint64()) //nolint:gosec // no secret
	}
	return id
}
