package tracing

import (
	"fmt"
	"math"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/outrigger-mesh/outrigger/internal/conf"
	"github.com/outrigger-mesh/outrigger/middleware"
	"github.com/outrigger-mesh/outrigger/middleware/middlewaretest"
)

func TestKindKeepsTheContract(t *testing.T) {
	middlewaretest.RunKind(t, middlewaretest.Memory{}, Kind, "{sampler: {ratio: 1}}", "{sampler: {ratio: 0}, trust: false}")
}

func parse(config string) (middleware.List, error) {
	n, err := conf.Parse("middleware.yaml", []byte("- tracing: "+config+"\n"))
	if err != nil {
		return nil, err
	}
	return middleware.ParseList(n, []middleware.Kind{Kind})
}

func TestWrongConfigurationIsRefusedWithItsPlace(t *testing.T) {
	tests := map[string]struct{ config, want string }{
		"above one":  {"{sampler: {ratio: 1.1}}", "middleware.yaml:1:30: [0].tracing.sampler.ratio: expected 0 to 1, found 1.1"},
		"negative":   {"{sampler: {ratio: -0.1}}", "middleware.yaml:1:30: [0].tracing.sampler.ratio: expected 0 to 1, found -0.1"},
		"no number":  {"{sampler: {ratio: all}}", "middleware.yaml:1:30: [0].tracing.sampler.ratio: expected a number"},
		"wrong type": {"{trust: 1}", "middleware.yaml:1:20: [0].tracing.trust: expected true or false"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if _, err := parse(tt.config); err == nil || !strings.HasPrefix(err.Error(), tt.want) {
				t.Errorf("got  %v\nwant %s", err, tt.want)
			}
		})
	}
}

// hop is one hop: a chain with the middleware of one direction.
func hop(t *testing.T, direction, config string) (chain middleware.Handler, registry *prometheus.Registry) {
	t.Helper()
	list, err := parse(config)
	if err != nil {
		t.Fatal(err)
	}
	registry = prometheus.NewPedanticRegistry()
	chains, err := list.Build(middleware.Env{Direction: direction, Metrics: registry})
	if err != nil {
		t.Fatal(err)
	}
	return chains.Request, registry
}

// pass sends a request with the fields through the hop, and returns the
// exchange.
func pass(chain middleware.Handler, fields ...string) *middleware.Exchange {
	x := middleware.NewExchange(wire{})
	for i := 0; i < len(fields); i += 2 {
		x.Request.Header.Add(fields[i], fields[i+1])
	}
	x.Serve(chain) // there is no route: only the request matters
	x.End(nil)
	return x
}

// wire is a client's side that nothing goes to.
type wire struct{}

func (wire) Interrupt(*middleware.Exchange, error)                    {}
func (wire) Inform(int, *middleware.Header) error                     { return nil }
func (wire) Rematch(*middleware.Exchange) (*middleware.Target, error) { return nil, nil }

func traceparent(x *middleware.Exchange) string { return string(x.Request.Header.Get("traceparent")) }

func TestACallChainIsOneTrace(t *testing.T) {
	gateway, _ := hop(t, middleware.Gateway, "{sampler: {ratio: 1}}")
	inbound, _ := hop(t, middleware.Inbound, "{}")
	outbound, _ := hop(t, middleware.Outbound, "{}")
	last := pass(gateway)
	if !last.Trace().Parent.IsZero() || !last.Trace().Sampled {
		t.Errorf("the first hop's trace is %+v", last.Trace())
	}
	seen := map[middleware.SpanID]bool{last.Trace().Span: true}
	for i, chain := range []middleware.Handler{inbound, outbound, inbound, outbound, inbound} {
		x := pass(chain, "Traceparent", traceparent(last))
		got, before := x.Trace(), last.Trace()
		if got.ID != before.ID || got.Parent != before.Span || !got.Sampled || seen[got.Span] {
			t.Errorf("hop %d: %+v after %+v", i, got, before)
		}
		if want := fmt.Sprintf("00-%s-%s-01", got.ID, got.Span); traceparent(x) != want {
			t.Errorf("hop %d sends %q, want %q", i, traceparent(x), want)
		}
		seen[got.Span] = true
		last = x
	}
}

func TestWhatCameIsTakenOrReplaced(t *testing.T) {
	const (
		valid   = "00-" + traceHex + "-" + spanHex + "-01"
		invalid = "00-" + traceHex + "-" + spanHex + "-zz"
	)
	tests := map[string]struct {
		direction, config string
		fields            []string
		taken             bool
		states            []string
		origin            string
	}{
		"valid":                    {middleware.Inbound, "{}", []string{"traceparent", valid}, true, nil, "continued"},
		"in other case":            {middleware.Inbound, "{}", []string{"TraceParent", valid, "TraceState", "a=1"}, true, []string{"a=1"}, "continued"},
		"with its state":           {middleware.Outbound, "{}", []string{"traceparent", valid, "tracestate", "a=1", "tracestate", "b=2"}, true, []string{"a=1", "b=2"}, "continued"},
		"with a malformed state":   {middleware.Outbound, "{}", []string{"traceparent", valid, "tracestate", "a=1", "tracestate", "B=2"}, true, nil, "continued"},
		"none":                     {middleware.Inbound, "{}", nil, false, nil, "started"},
		"a state alone":            {middleware.Inbound, "{}", []string{"tracestate", "a=1"}, false, nil, "started"},
		"malformed":                {middleware.Inbound, "{}", []string{"traceparent", invalid, "tracestate", "a=1"}, false, nil, "invalid"},
		"twice":                    {middleware.Inbound, "{}", []string{"traceparent", valid, "traceparent", valid}, false, nil, "invalid"},
		"on a gateway":             {middleware.Gateway, "{}", []string{"traceparent", valid, "tracestate", "a=1"}, false, nil, "untrusted"},
		"on a gateway that trusts": {middleware.Gateway, "{trust: true}", []string{"traceparent", valid}, true, nil, "continued"},
		"where none is trusted":    {middleware.Inbound, "{trust: false}", []string{"traceparent", valid}, false, nil, "untrusted"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			chain, registry := hop(t, tt.direction, strings.Replace(tt.config, "{", "{sampler: {ratio: 0}, ", 1))
			x := pass(chain, tt.fields...)
			got := x.Trace()
			if taken := got.ID.String() == traceHex; taken != tt.taken || got.Sampled != tt.taken {
				t.Errorf("taken %t, sampled %t, want both %t", taken, got.Sampled, tt.taken)
			}
			if p, ok := parseParent([]byte(traceparent(x))); !ok || p.trace != got.ID || p.span != got.Span {
				t.Errorf("the app sees %q, the trace is %+v", traceparent(x), got)
			}
			if n := x.Request.Header.Del("traceparent"); n != 1 {
				t.Errorf("%d traceparent fields", n)
			}
			var states []string
			for v := range x.Request.Header.Values("tracestate") {
				states = append(states, string(v))
			}
			if diff := cmp.Diff(tt.states, states); diff != "" {
				t.Errorf("tracestate: %s", diff)
			}
			want := map[string]float64{
				fmt.Sprintf("outrigger_tracing_requests_total{direction=%s,origin=%s,sampled=%t}", tt.direction, tt.origin, tt.taken): 1,
			}
			if diff := cmp.Diff(want, middlewaretest.Samples(t, registry)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestTheSamplerTakesItsShare(t *testing.T) {
	for _, ratio := range []float64{0, 0.01, 0.5, 1} {
		t.Run(fmt.Sprint(ratio), func(t *testing.T) {
			chain, _ := hop(t, middleware.Inbound, fmt.Sprintf("{sampler: {ratio: %v}}", ratio))
			const n = 20_000
			sampled := 0
			for range n {
				if pass(chain).Trace().Sampled {
					sampled++
				}
			}
			// Seven standard deviations of a binomial distribution: none at the
			// ends.
			spread := 7 * math.Sqrt(n*ratio*(1-ratio))
			if math.Abs(float64(sampled)-n*ratio) > spread {
				t.Errorf("%d of %d traces are sampled, want %v of them, give or take %.0f", sampled, n, ratio, spread)
			}
		})
	}
}

func exchange(t testing.TB, direction string) func(parent []byte) {
	t.Helper()
	h := middleware.Chain(middleware.HandlerFunc(func(x *middleware.Exchange) error {
		x.Response.Status = http.StatusOK
		return nil
	}), New(defaults(), direction, newRequests()))
	x := middleware.NewExchange(wire{})
	name, others := []byte("traceparent"), []byte("accept")
	return func(parent []byte) {
		x.Reset()
		for range 8 {
			x.Request.Header.Append(others, others)
		}
		if parent != nil {
			x.Request.Header.Append(name, parent)
		}
		x.Serve(h)
		x.End(nil)
	}
}

func TestNothingIsAllocated(t *testing.T) {
	parent := []byte("00-" + traceHex + "-" + spanHex + "-01")
	for name, p := range map[string][]byte{"continued": parent, "started": nil} {
		t.Run(name, func(t *testing.T) {
			serve := exchange(t, middleware.Inbound)
			if n := testing.AllocsPerRun(100, func() { serve(p) }); n != 0 {
				t.Errorf("%v allocations, want none", n)
			}
		})
	}
}

func BenchmarkTracing(b *testing.B) {
	parent := []byte("00-" + traceHex + "-" + spanHex + "-01")
	for name, p := range map[string][]byte{"continued": parent, "started": nil} {
		b.Run(name, func(b *testing.B) {
			serve := exchange(b, middleware.Inbound)
			b.ReportAllocs()
			for b.Loop() {
				serve(p)
			}
		})
	}
}
