package breaker

import (
	"io"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/outrigger-mesh/outrigger/internal/conf"
	"github.com/outrigger-mesh/outrigger/middleware"
	"github.com/outrigger-mesh/outrigger/middleware/middlewaretest"
	"github.com/outrigger-mesh/outrigger/middleware/retry"
)

// TestAnAttemptThatLostFreesItsProbe races two attempts at one endpoint each;
// the slower one's probe is free again.
func TestAnAttemptThatLostFreesItsProbe(t *testing.T) {
	list, err := parse(t, "{minimumCalls: 1, sleepWindow: 1ms, probes: 1}")
	if err != nil {
		t.Fatal(err)
	}
	chains, err := list.Build(middleware.Env{Direction: middleware.Outbound})
	if err != nil {
		t.Fatal(err)
	}
	var failing atomic.Bool
	failing.Store(true)
	probed := make(chan struct{}, 16)
	slow := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if failing.Load() {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		probed <- struct{}{}
		<-r.Context().Done()
	})
	fast := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "fast") })
	hedge := &hedging{}
	rt := middlewaretest.Memory{}.Start(t, middlewaretest.Setup{
		Try:      []middleware.TryMiddleware{whole{chains.Try}},
		Policy:   hedge,
		Backends: []http.Handler{slow, fast},
	})
	if code := get(t, rt, http.MethodGet); code != http.StatusInternalServerError {
		t.Fatalf("status %d", code)
	}
	failing.Store(false)
	hedge.on.Store(true)
	for i := range 5 {
		// The first attempt is the probe and hangs; the second one wins. Until
		// the loser has come back, no other probe passes.
		deadline := time.Now().Add(10 * time.Second)
		for tries := 0; ; tries++ {
			if code := get(t, rt, http.MethodGet); code != http.StatusOK {
				t.Fatalf("status %d", code)
			}
			if len(probed) > 0 {
				<-probed
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("no probe passed the %d. time in %d tries: the loser's is not free", i+1, tries)
			}
		}
	}
}

// hedging starts a second attempt at once, when it is on.
type hedging struct{ on atomic.Bool }

func (h *hedging) Next(_ *middleware.Exchange, attempts []*middleware.Attempt) (bool, time.Duration) {
	return h.on.Load() && len(attempts) == 1, 5 * time.Millisecond
}

// whole is a whole chain as the last middleware of another.
type whole struct{ chain middleware.TryHandler }

func (w whole) WrapTry(middleware.TryHandler) middleware.TryHandler { return w.chain }

func get(t *testing.T, rt http.RoundTripper, method string) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, "http://app.test/", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := rt.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	_ = resp.Body.Close()
	return resp.StatusCode
}

// TestWhatIsRefusedIsTriedElsewhere sends requests that are not safe through
// breaker and retry, as a file would have them.
func TestWhatIsRefusedIsTriedElsewhere(t *testing.T) {
	n, err := conf.Parse("middleware.yaml", []byte("[{breaker: {minimumCalls: 4, sleepWindow: 10m}}, {retry: {backoff: 0}}]"))
	if err != nil {
		t.Fatal(err)
	}
	list, err := middleware.ParseList(n, []middleware.Kind{Kind, retry.Kind})
	if err != nil {
		t.Fatal(err)
	}
	chains, err := list.Build(middleware.Env{Direction: middleware.Outbound, Metrics: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	var failing, well atomic.Int64
	rt := middlewaretest.Memory{}.Start(t, middlewaretest.Setup{
		Request: []middleware.Middleware{request{chains.Request}},
		Try:     []middleware.TryMiddleware{whole{chains.Try}},
		Policy:  chains.Policy,
		Backends: []http.Handler{
			http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				failing.Add(1)
				w.WriteHeader(http.StatusInternalServerError)
			}),
			http.HandlerFunc(func(http.ResponseWriter, *http.Request) { well.Add(1) }),
		},
	})
	codes := map[int]int{}
	for range 50 {
		codes[get(t, rt, http.MethodPost)]++
	}
	if codes[500] != 4 || codes[200] != 46 || failing.Load() != 4 || well.Load() != 46 {
		t.Errorf("answers %v; %d calls at the failing endpoint and %d at the other, want 4 and 46", codes, failing.Load(), well.Load())
	}
}

type request struct{ chain middleware.Handler }

func (r request) Wrap(middleware.Handler) middleware.Handler { return r.chain }
