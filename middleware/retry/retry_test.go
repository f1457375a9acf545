package retry_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/internal/conf"
	"github.com/outrigger-mesh/outrigger/middleware"
	"github.com/outrigger-mesh/outrigger/middleware/middlewaretest"
	"github.com/outrigger-mesh/outrigger/middleware/retry"
)

func TestKindKeepsTheContract(t *testing.T) {
	middlewaretest.RunKind(t, middlewaretest.Memory{}, retry.Kind,
		"{attempts: 1}", "{attempts: 8, on: [connect, reset, timeout, unavailable, gateway], backoff: 0}", "{replay: 0}")
}

func parse(t testing.TB, config string) (middleware.List, error) {
	t.Helper()
	n, err := conf.Parse("middleware.yaml", []byte("- retry: "+config+"\n"))
	if err != nil {
		t.Fatal(err)
	}
	return middleware.ParseList(n, []middleware.Kind{retry.Kind})
}

func TestWrongConfigurationIsRefusedWithItsPlace(t *testing.T) {
	tests := map[string]struct{ config, want string }{
		"no attempt":        {"{attempts: 0}", "middleware.yaml:1:21: "},
		"too many attempts": {"{attempts: 9}", "middleware.yaml:1:21: "},
		"unknown failure":   {"{on: [reset, 503]}", "middleware.yaml:1:23: "},
		"misspelled":        {"{on: [reset, conect]}", "middleware.yaml:1:23: "},
		"twice":             {"{on: [reset, reset]}", "middleware.yaml:1:23: "},
		"too much kept":     {"{replay: 1GiB}", "middleware.yaml:1:19: "},
		"long back-off":     {"{backoff: 1m}", "middleware.yaml:1:20: "},
		"no unit":           {"{backoff: 10}", "middleware.yaml:1:20: "},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := parse(t, tt.config)
			if err == nil {
				t.Fatal("was taken")
			}
			if !strings.HasPrefix(err.Error(), tt.want) {
				t.Errorf("got %v, want it to begin with %s", err, tt.want)
			}
		})
	}
}

// script is an endpoint that does the next thing of its list with each request;
// the last one goes on.
type script struct {
	calls atomic.Int32
	steps []http.HandlerFunc
}

func (s *script) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	n := int(s.calls.Add(1))
	_, _ = io.Copy(io.Discard, r.Body)
	s.steps[min(n, len(s.steps))-1](w, r)
}

func status(code int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
}

func breakOff(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }

// start starts an engine with the kind and one endpoint after the other.
func start(t *testing.T, config string, try []middleware.TryMiddleware, backends ...http.Handler) http.RoundTripper {
	t.Helper()
	list, err := parse(t, config)
	if err != nil {
		t.Fatal(err)
	}
	chains, err := list.Build(middleware.Env{Direction: middleware.Outbound})
	if err != nil {
		t.Fatal(err)
	}
	return middlewaretest.Memory{}.Start(t, middlewaretest.Setup{
		Request:  []middleware.Middleware{last{chains.Request}},
		Try:      try,
		Policy:   chains.Policy,
		Backends: backends,
	})
}

// last is a whole chain as the last middleware of another.
type last struct{ chain middleware.Handler }

func (l last) Wrap(middleware.Handler) middleware.Handler { return l.chain }

func send(t *testing.T, rt http.RoundTripper, method, body string) (int, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, "http://app.test/", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if body == "" {
		req.Body = http.NoBody
	}
	resp, err := rt.RoundTrip(req)
	if err != nil {
		return 0, err
	}
	return resp.StatusCode, resp.Body.Close()
}

func TestARequestIsTriedAgainOnlyWhereThatDoesNoHarm(t *testing.T) {
	refused := func(calls *script) []http.Handler { return []http.Handler{nil, calls} }
	served := func(calls *script) []http.Handler { return []http.Handler{calls} }
	tests := map[string]struct {
		config   string
		method   string
		body     string
		backends func(*script) []http.Handler
		steps    []http.HandlerFunc
		status   int
		calls    int32
	}{
		"GET after a refused connection":        {"{}", "GET", "", refused, []http.HandlerFunc{status(200)}, 200, 1},
		"POST after a refused connection":       {"{}", "POST", "body", refused, []http.HandlerFunc{status(200)}, 200, 1},
		"large POST after a refused connection": {"{}", "POST", strings.Repeat("x", 1<<20), refused, []http.HandlerFunc{status(200)}, 200, 1},
		"GET after a reset":                     {"{}", "GET", "", served, []http.HandlerFunc{breakOff, status(200)}, 200, 2},
		"HEAD after a reset":                    {"{}", "HEAD", "", served, []http.HandlerFunc{breakOff, status(200)}, 200, 2},
		"POST after a reset":                    {"{}", "POST", "body", served, []http.HandlerFunc{breakOff, status(200)}, 502, 1},
		"POST without a body after a reset":     {"{}", "POST", "", served, []http.HandlerFunc{breakOff, status(200)}, 502, 1},
		"PUT after a reset":                     {"{}", "PUT", "body", served, []http.HandlerFunc{breakOff, status(200)}, 502, 1},
		"made-up method after a reset":          {"{}", "get", "", served, []http.HandlerFunc{breakOff, status(200)}, 502, 1},
		"GET after 503":                         {"{}", "GET", "", served, []http.HandlerFunc{status(503), status(200)}, 200, 2},
		"POST after 503":                        {"{}", "POST", "", served, []http.HandlerFunc{status(503), status(200)}, 503, 1},
		"GET after 500":                         {"{}", "GET", "", served, []http.HandlerFunc{status(500), status(200)}, 500, 1},
		"GET after 502 by default":              {"{}", "GET", "", served, []http.HandlerFunc{status(502), status(200)}, 200, 2},
		"GET after 502 where asked for":         {"{on: [gateway]}", "GET", "", served, []http.HandlerFunc{status(502), status(200)}, 200, 2},
		"GET after 504 where asked for":         {"{on: [gateway]}", "GET", "", served, []http.HandlerFunc{status(504), status(200)}, 200, 2},
		"GET after a reset where not asked for": {"{on: [connect]}", "GET", "", served, []http.HandlerFunc{breakOff, status(200)}, 502, 1},
		"GET after 404":                         {"{}", "GET", "", served, []http.HandlerFunc{status(404), status(200)}, 404, 1},
		"GET twice by default":                  {"{}", "GET", "", served, []http.HandlerFunc{status(503), status(503), status(200)}, 503, 2},
		"GET three times":                       {"{attempts: 3}", "GET", "", served, []http.HandlerFunc{status(503), status(503), status(200)}, 200, 3},
		"GET once":                              {"{attempts: 1}", "GET", "", served, []http.HandlerFunc{status(503), status(200)}, 503, 1},
		"GET with a body that is kept":          {"{}", "GET", "body", served, []http.HandlerFunc{status(503), status(200)}, 200, 2},
		"GET with a body that is too large":     {"{replay: 16}", "GET", strings.Repeat("x", 17), served, []http.HandlerFunc{status(503), status(200)}, 503, 1},
		"GET with a body where none is kept":    {"{replay: 0}", "GET", "body", served, []http.HandlerFunc{status(503), status(200)}, 503, 1},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := &script{steps: tt.steps}
			rt := start(t, tt.config, nil, tt.backends(s)...)
			got, err := send(t, rt, tt.method, tt.body)
			if err != nil || got != tt.status || s.calls.Load() != tt.calls {
				t.Errorf("status %d after %d calls, %v; want %d after %d", got, s.calls.Load(), err, tt.status, tt.calls)
			}
		})
	}
}

func TestARefusalOfTheAttemptStageIsTriedElsewhere(t *testing.T) {
	s := &script{steps: []http.HandlerFunc{status(200)}}
	refuse := middleware.TryFunc(func(a *middleware.Attempt, next middleware.TryHandler) error {
		if a.Number == 0 {
			return &middleware.Reject{Status: http.StatusServiceUnavailable, Reason: "breaker_open"}
		}
		return next.Try(a)
	})
	rt := start(t, "{}", []middleware.TryMiddleware{refuse}, s)
	if got, err := send(t, rt, "POST", "body"); err != nil || got != 200 {
		t.Errorf("status %d, %v", got, err)
	}
}

func TestATryThatRanOutOfTimeIsTriedAgainWhereAskedFor(t *testing.T) {
	for config, want := range map[string]int{"{}": 504, "{on: [timeout]}": 200} {
		t.Run(config, func(t *testing.T) {
			s := &script{steps: []http.HandlerFunc{
				func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
				status(200),
			}}
			limit := middleware.TryFunc(func(a *middleware.Attempt, next middleware.TryHandler) error {
				if a.Number == 0 {
					a.SetDeadline(time.Now().Add(20 * time.Millisecond))
				}
				return next.Try(a)
			})
			rt := start(t, config, []middleware.TryMiddleware{limit}, s)
			if got, err := send(t, rt, "GET", ""); err != nil || got != want {
				t.Errorf("status %d, %v; want %d", got, err, want)
			}
		})
	}
}

func TestNothingIsTriedAgainOnceTheClientIsGone(t *testing.T) {
	entered := make(chan struct{}, 8)
	s := &script{steps: []http.HandlerFunc{func(_ http.ResponseWriter, r *http.Request) {
		entered <- struct{}{}
		<-r.Context().Done()
	}}}
	t.Cleanup(func() { // when the engine has ended
		if n := s.calls.Load(); n != 1 {
			t.Errorf("%d calls, want 1", n)
		}
	})
	rt := start(t, "{attempts: 8, on: [connect, reset, timeout, unavailable, gateway], backoff: 0}", nil, s)
	ctx, cancel := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://app.test/", nil)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		<-entered
		cancel()
	}()
	resp, err := rt.RoundTrip(req)
	if err == nil {
		_ = resp.Body.Close()
	}
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v", err)
	}
}

func BenchmarkNext(b *testing.B) {
	list, err := parse(b, "{}")
	if err != nil {
		b.Fatal(err)
	}
	chains, err := list.Build(middleware.Env{Direction: middleware.Outbound})
	if err != nil {
		b.Fatal(err)
	}
	only := &picker{&middleware.Endpoint{Stats: new(middleware.Stats)}}
	target := &middleware.Target{
		Pick: func(*middleware.Exchange) (middleware.Picker, error) { return only, nil },
		Try: middleware.TryHandlerFunc(func(a *middleware.Attempt) error {
			a.Response.Status = http.StatusOK
			return nil
		}),
		Policy: chains.Policy,
	}
	x := middleware.NewExchange(nil)
	method := []byte("GET")
	b.ReportAllocs()
	for b.Loop() {
		x.Reset()
		x.Request.Method = method
		x.SetTarget(target)
		x.Serve(chains.Request)
		x.End(nil)
	}
}

type picker struct{ e *middleware.Endpoint }

func (p *picker) Pick(*middleware.Attempt) (*middleware.Endpoint, error) { return p.e, nil }
