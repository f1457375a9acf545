package timeout

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/middleware"
	"github.com/outrigger-mesh/outrigger/middleware/middlewaretest"
)

// start starts an engine with the kind.
func start(t *testing.T, config string, backends ...http.Handler) http.RoundTripper {
	t.Helper()
	chains, _ := hop(t, middleware.Inbound, config)
	return middlewaretest.Memory{}.Start(t, middlewaretest.Setup{
		Request:  []middleware.Middleware{request{chains.Request}},
		Try:      []middleware.TryMiddleware{try{chains.Try}},
		Policy:   again{},
		Backends: backends,
	})
}

// request and try are whole chains as the last middlewares of others.
type request struct{ chain middleware.Handler }

func (r request) Wrap(middleware.Handler) middleware.Handler { return r.chain }

type try struct{ chain middleware.TryHandler }

func (t try) WrapTry(middleware.TryHandler) middleware.TryHandler { return t.chain }

// again tries a second time whatever happens.
type again struct{}

func (again) Next(_ *middleware.Exchange, attempts []*middleware.Attempt) (bool, time.Duration) {
	last := attempts[len(attempts)-1]
	return len(attempts) < 2 && !last.Running() && last.Err() != nil, 0
}

func get(t *testing.T, rt http.RoundTripper) (status int, body string, bodyErr error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://app.test/", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := rt.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	all, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(all), err
}

func stall(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }

func hello(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") }

func TestRequestEndsWith504WhenNoHeadComes(t *testing.T) {
	status, body, err := get(t, start(t, "{request: 30ms}", http.HandlerFunc(stall)))
	if err != nil || status != http.StatusGatewayTimeout || !strings.Contains(body, `"reason":"deadline"`) {
		t.Errorf("%d %s, %v", status, body, err)
	}
}

func TestRequestBreaksTheResponseOffWhenItsHeadWasSent(t *testing.T) {
	status, body, err := get(t, start(t, "{request: 50ms}", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		hello(w, r)
		_ = http.NewResponseController(w).Flush()
		stall(w, r)
	})))
	if status != http.StatusOK || body != "hello" || err == nil {
		t.Errorf("%d %q, %v; want the response to break off", status, body, err)
	}
}

func TestPerTryLimitsEachTryAndNotTheWhole(t *testing.T) {
	rt := start(t, "{perTry: 30ms}", http.HandlerFunc(stall), http.HandlerFunc(hello))
	if status, body, err := get(t, rt); err != nil || status != http.StatusOK || body != "hello" {
		t.Errorf("%d %q, %v; want the second try's answer", status, body, err)
	}
	rt = start(t, "{perTry: 30ms}", http.HandlerFunc(stall), http.HandlerFunc(stall))
	if status, body, err := get(t, rt); err != nil || status != http.StatusGatewayTimeout || !strings.Contains(body, `"reason":"try_timeout"`) {
		t.Errorf("%d %q, %v", status, body, err)
	}
}

func TestPerTryLeavesABodyAlone(t *testing.T) {
	rt := start(t, "{perTry: 30ms}", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		hello(w, r)
		_ = http.NewResponseController(w).Flush()
		wait := time.NewTimer(90 * time.Millisecond)
		defer wait.Stop()
		select {
		case <-wait.C:
			hello(w, r)
		case <-r.Context().Done():
		}
	}))
	if status, body, err := get(t, rt); err != nil || status != http.StatusOK || body != "hellohello" {
		t.Errorf("%d %q, %v; want the whole body", status, body, err)
	}
}
