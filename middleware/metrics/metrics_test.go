package metrics

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/outrigger-mesh/outrigger/middleware"
	"github.com/outrigger-mesh/outrigger/middleware/middlewaretest"
)

func TestKindKeepsTheContract(t *testing.T) {
	middlewaretest.RunKind(t, middlewaretest.Memory{}, Kind)
}

// samples are the counters, gauges and histogram counts of the registry.
func samples(t testing.TB, g prometheus.Gatherer) map[string]float64 {
	t.Helper()
	families, err := g.Gather()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			var labels []string
			for _, l := range m.GetLabel() {
				labels = append(labels, l.GetName()+"="+l.GetValue())
			}
			name := strings.TrimPrefix(f.GetName(), "outrigger_") + "{" + strings.Join(labels, ",") + "}"
			switch {
			case m.GetCounter() != nil:
				all[name] = m.GetCounter().GetValue()
			case m.GetGauge() != nil:
				all[name] = m.GetGauge().GetValue()
			case m.GetHistogram() != nil:
				all[name] = float64(m.GetHistogram().GetSampleCount())
			}
		}
	}
	return all
}

func newTest(t testing.TB, direction string) (*Metrics, *prometheus.Registry) {
	t.Helper()
	c, r := newCollectors(), prometheus.NewPedanticRegistry()
	if err := c.register(r); err != nil {
		t.Fatal(err)
	}
	return newMetrics(c, direction, defaults().GRPCMethods), r
}

func hello(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") }

// again tries a request a second time.
type again struct{}

func (again) Next(_ *middleware.Exchange, attempts []*middleware.Attempt) (bool, time.Duration) {
	last := attempts[0]
	return !last.Running() && len(attempts) < 2 && (last.Err() != nil || last.Status() >= 500), 0
}

func TestEndsAreCountedUnderTheirLabels(t *testing.T) {
	const request = "requests_total{code=%s,direction=inbound,method=%s,reason=%s,route=default,service=backend}"
	const attempt = "attempts_total{result=%s,service=backend}"
	tests := map[string]struct {
		setup  middlewaretest.Setup
		method string
		gone   bool // the client, before an answer
		want   map[string]float64
	}{
		"good": {
			setup: middlewaretest.Setup{Backends: []http.Handler{http.HandlerFunc(hello)}},
			want:  map[string]float64{fmt.Sprintf(request, "200", "GET", ""): 1, fmt.Sprintf(attempt, "ok"): 1},
		},
		"made-up method": {
			setup:  middlewaretest.Setup{Backends: []http.Handler{http.HandlerFunc(hello)}},
			method: "BREW",
			want:   map[string]float64{fmt.Sprintf(request, "200", "OTHER", ""): 1, fmt.Sprintf(attempt, "ok"): 1},
		},
		"status that is none": {
			setup: middlewaretest.Setup{Backends: []http.Handler{http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(799) })}},
			want:  map[string]float64{fmt.Sprintf(request, "other", "GET", ""): 1, fmt.Sprintf(attempt, "server_error"): 1},
		},
		"local reply": {
			setup: middlewaretest.Setup{Request: []middleware.Middleware{middleware.Func(func(x *middleware.Exchange, _ middleware.Handler) error {
				return x.Reply(429, "busy")
			})}},
			want: map[string]float64{fmt.Sprintf(request, "429", "GET", "busy"): 1},
		},
		"retried": {
			setup: middlewaretest.Setup{Policy: again{}, Backends: []http.Handler{nil, http.HandlerFunc(hello)}},
			want:  map[string]float64{fmt.Sprintf(request, "200", "GET", ""): 1, fmt.Sprintf(attempt, "connect_failed"): 1, fmt.Sprintf(attempt, "ok"): 1},
		},
		"discarded response": {
			setup: middlewaretest.Setup{Policy: again{}, Backends: []http.Handler{
				http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) }), http.HandlerFunc(hello),
			}},
			want: map[string]float64{fmt.Sprintf(request, "200", "GET", ""): 1, fmt.Sprintf(attempt, "server_error"): 1, fmt.Sprintf(attempt, "ok"): 1},
		},
		"reset": {
			setup: middlewaretest.Setup{Backends: []http.Handler{http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })}},
			want:  map[string]float64{fmt.Sprintf(request, "502", "GET", "upstream_reset"): 1, fmt.Sprintf(attempt, "reset"): 1},
		},
		"reset amid the response": {
			setup: middlewaretest.Setup{Backends: []http.Handler{http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				_ = http.NewResponseController(w).Flush()
				panic(http.ErrAbortHandler)
			})}},
			want: map[string]float64{fmt.Sprintf(request, "200", "GET", "upstream_reset"): 1, fmt.Sprintf(attempt, "reset"): 1},
		},
		"refused by the attempt stage": {
			setup: middlewaretest.Setup{Try: []middleware.TryMiddleware{middleware.TryFunc(func(*middleware.Attempt, middleware.TryHandler) error {
				return &middleware.Reject{Status: 503, Reason: "breaker_open"}
			})}, Backends: []http.Handler{http.HandlerFunc(hello)}},
			want: map[string]float64{fmt.Sprintf(request, "503", "GET", "breaker_open"): 1, fmt.Sprintf(attempt, "rejected"): 1},
		},
		"client gone": {
			setup: middlewaretest.Setup{Backends: []http.Handler{http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })}},
			gone:  true,
			want:  map[string]float64{fmt.Sprintf(request, "499", "GET", "client_gone"): 1, fmt.Sprintf(attempt, "canceled"): 1},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			m, registry := newTest(t, middleware.Inbound)
			t.Run("serve", func(t *testing.T) { // the engine ends with it
				s := tt.setup
				s.Request = append([]middleware.Middleware{m}, s.Request...)
				s.Try = append([]middleware.TryMiddleware{m}, s.Try...)
				rt := middlewaretest.Memory{}.Start(t, s)
				ctx, cancel := context.WithCancel(t.Context())
				if tt.gone {
					ctx, cancel = context.WithTimeout(t.Context(), 50*time.Millisecond)
				}
				defer cancel()
				req, err := http.NewRequestWithContext(ctx, tt.method, "http://app.test/", nil)
				if err != nil {
					t.Fatal(err)
				}
				resp, err := rt.RoundTrip(req)
				if err != nil {
					if !tt.gone || !errors.Is(err, context.DeadlineExceeded) {
						t.Fatal(err)
					}
					return
				}
				_, _ = io.Copy(io.Discard, resp.Body)
				_ = resp.Body.Close()
			})
			want := map[string]float64{
				"request_duration_seconds{direction=inbound,service=backend}": 1,
				"requests_in_flight{direction=inbound}":                       0,
			}
			maps.Copy(want, tt.want)
			if diff := cmp.Diff(want, samples(t, registry)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestRequestsInFlightAreCountedUntilTheirEnd(t *testing.T) {
	m, registry := newTest(t, middleware.Outbound)
	entered, let := make(chan struct{}), make(chan struct{})
	rt := middlewaretest.Memory{}.Start(t, middlewaretest.Setup{
		Request: []middleware.Middleware{m},
		Backends: []http.Handler{http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			entered <- struct{}{}
			<-let
			hello(w, r)
		})},
	})
	const gauge = "requests_in_flight{direction=outbound}"
	var clients sync.WaitGroup
	for range 3 {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://app.test/", nil)
		if err != nil {
			t.Fatal(err)
		}
		clients.Go(func() {
			resp, err := rt.RoundTrip(req)
			if err != nil {
				t.Error(err)
				return
			}
			_, _ = io.Copy(io.Discard, resp.Body)
			_ = resp.Body.Close()
		})
	}
	for range 3 {
		<-entered
	}
	if n := samples(t, registry)[gauge]; n != 3 {
		t.Errorf("%v in flight, want 3", n)
	}
	close(let)
	clients.Wait()
	for deadline := time.Now().Add(10 * time.Second); samples(t, registry)[gauge] != 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("some are in flight for ever")
		}
	}
}

func TestCountsGoOnOverAReload(t *testing.T) {
	states, registry := middleware.NewStates(), prometheus.NewPedanticRegistry()
	var generations []*middleware.Generation
	for range 3 {
		g := states.NewGeneration()
		generations = append(generations, g)
		for _, direction := range []string{middleware.Inbound, middleware.Outbound} {
			parts, err := build(defaults(), middleware.Env{Direction: direction, Metrics: registry}.In(g))
			if err != nil {
				t.Fatal(err)
			}
			serve(parts.Request)
		}
		if len(generations) > 1 {
			if err := generations[len(generations)-2].Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
	all := samples(t, registry)
	for _, direction := range []string{middleware.Inbound, middleware.Outbound} {
		if n := all["requests_total{code=200,direction="+direction+",method=OTHER,reason=,route=,service=}"]; n != 3 {
			t.Errorf("%s: %v requests are counted, want 3 in\n%v", direction, n, all)
		}
	}
	if err := generations[2].Close(); err != nil {
		t.Fatal(err)
	}
	if all := samples(t, registry); len(all) != 0 {
		t.Errorf("left: %v", all)
	}
}

// serve is one exchange that is answered at once.
func serve(m middleware.Middleware) {
	x := middleware.NewExchange(nil)
	x.Start = time.Now()
	x.Serve(middleware.Chain(middleware.HandlerFunc(answering), m))
	x.End(nil)
}

func answering(x *middleware.Exchange) error {
	x.Response.Status = http.StatusOK
	return nil
}

func TestANameThatIsTakenIsAnError(t *testing.T) {
	registry := prometheus.NewRegistry()
	registry.MustRegister(prometheus.NewGauge(prometheus.GaugeOpts{Name: "outrigger_requests_total", Help: "Something else."}))
	if _, err := build(defaults(), middleware.Env{Metrics: registry}); err == nil {
		t.Error("was built")
	}
}

func TestEveryResultHasAName(t *testing.T) {
	if slices.Contains(results[:], "") {
		t.Errorf("results: %q", results)
	}
}

// running is a whole exchange in steady state, of one attempt.
func running(tb testing.TB) func() {
	tb.Helper()
	m, _ := newTest(tb, middleware.Inbound)
	chain := middleware.Chain(middleware.Router, m)
	only := &picker{&middleware.Endpoint{Stats: new(middleware.Stats), Transport: middleware.TryHandlerFunc(func(a *middleware.Attempt) error {
		a.Response.Status = http.StatusOK
		return nil
	})}}
	target := &middleware.Target{
		Route: &middleware.Route{Listener: middleware.Inbound, Service: "users", Name: "default"},
		Pick:  func(*middleware.Exchange) (middleware.Picker, error) { return only, nil },
		Try:   middleware.TryChain(middleware.Transport, m),
	}
	x := middleware.NewExchange(nil)
	method := []byte("GET")
	return func() {
		x.Reset()
		x.Start = time.Now()
		x.Request.Method = method
		x.SetTarget(target)
		x.Serve(chain)
		x.End(nil)
	}
}

type picker struct{ e *middleware.Endpoint }

func (p *picker) Pick(*middleware.Attempt) (*middleware.Endpoint, error) { return p.e, nil }

func TestARequestAllocatesNothing(t *testing.T) {
	run := running(t)
	run()
	if n := testing.AllocsPerRun(100, run); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}

func BenchmarkRequest(b *testing.B) {
	run := running(b)
	b.ReportAllocs()
	for b.Loop() {
		run()
	}
}
