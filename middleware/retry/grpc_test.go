package retry_test

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/middleware"
)

// ends answers a gRPC call in its head (trailers-only).
func ends(code string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/grpc")
		w.Header().Set("Grpc-Status", code)
		w.WriteHeader(http.StatusOK)
	}
}

// begins answers a gRPC call with a message before its status.
func begins(code string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/grpc")
		_, _ = io.WriteString(w, "\x00\x00\x00\x00\x00")
		w.(http.Flusher).Flush()
		w.Header().Set(http.TrailerPrefix+"Grpc-Status", code)
	}
}

func TestAGRPCCallIsTriedAgainWhereThatIsAllowed(t *testing.T) {
	const listed = "{grpcStatuses: [unavailable, 4, RESOURCE_EXHAUSTED]}"
	served := func(s *script) []http.Handler { return []http.Handler{s} }
	refused := func(s *script) []http.Handler { return []http.Handler{nil, s} }
	slow := func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
	tests := map[string]struct {
		config   string
		body     string
		backends func(*script) []http.Handler
		steps    []http.HandlerFunc
		unsent   bool // what the first attempt says of itself
		status   string
		calls    int32
	}{
		"refused connection":              {"{}", "m", refused, []http.HandlerFunc{ends("0")}, false, "0", 1},
		"UNAVAILABLE":                     {"{}", "m", served, []http.HandlerFunc{ends("14"), ends("0")}, false, "14", 1},
		"UNAVAILABLE, certainly unsent":   {"{}", "m", served, []http.HandlerFunc{ends("14"), ends("0")}, true, "0", 2},
		"INTERNAL, certainly unsent":      {"{}", "m", served, []http.HandlerFunc{ends("13"), ends("0")}, true, "13", 1},
		"UNAVAILABLE, unsent, not on":     {"{on: [connect]}", "m", served, []http.HandlerFunc{ends("14"), ends("0")}, true, "14", 1},
		"UNAVAILABLE, listed":             {listed, "m", served, []http.HandlerFunc{ends("14"), ends("0")}, false, "0", 2},
		"RESOURCE_EXHAUSTED, listed":      {listed, "m", served, []http.HandlerFunc{ends("8"), ends("0")}, false, "0", 2},
		"INTERNAL, not listed":            {listed, "m", served, []http.HandlerFunc{ends("13"), ends("0")}, false, "13", 1},
		"a status without a name":         {listed, "m", served, []http.HandlerFunc{ends("77"), ends("0")}, false, "77", 1},
		"listed, after a message":         {listed, "m", served, []http.HandlerFunc{begins("14"), ends("0")}, false, "14", 1},
		"good":                            {listed, "m", served, []http.HandlerFunc{begins("0"), ends("14")}, false, "0", 1},
		"reset":                           {"{}", "m", served, []http.HandlerFunc{breakOff, ends("0")}, false, "14", 1},
		"reset, listed":                   {listed, "m", served, []http.HandlerFunc{breakOff, ends("0")}, false, "0", 2},
		"a proxy's 503, listed":           {listed, "m", served, []http.HandlerFunc{status(503), ends("0")}, false, "0", 2},
		"a proxy's 404":                   {listed, "m", served, []http.HandlerFunc{status(404), ends("0")}, false, "", 1},
		"slow, listed":                    {listed, "m", served, []http.HandlerFunc{slow, ends("0")}, false, "0", 2},
		"listed, more than is kept":       {"{grpcStatuses: [14], replay: 16}", strings.Repeat("x", 17), served, []http.HandlerFunc{ends("14"), ends("0")}, false, "14", 1},
		"listed, again and again":         {listed, "m", served, []http.HandlerFunc{ends("14"), ends("14"), ends("0")}, false, "14", 2},
		"listed, another kind of request": {listed, "", served, []http.HandlerFunc{ends("14"), ends("0")}, false, "14", 1},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := &script{steps: tt.steps}
			try := middleware.TryFunc(func(a *middleware.Attempt, next middleware.TryHandler) error {
				if strings.HasPrefix(name, "slow") && a.Number == 0 {
					a.SetDeadline(time.Now().Add(20 * time.Millisecond))
				}
				err := next.Try(a)
				if tt.unsent && a.Number == 0 {
					a.MarkUnsent()
				}
				return err
			})
			rt := start(t, tt.config, []middleware.TryMiddleware{try}, tt.backends(s)...)
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://app.test/users.v1.Users/Get", io.NopCloser(strings.NewReader(tt.body)))
			if err != nil {
				t.Fatal(err)
			}
			req.ContentLength = -1
			if tt.body != "" {
				req.Header.Set("Content-Type", "application/grpc")
			}
			resp, err := rt.RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			_, _ = io.Copy(io.Discard, resp.Body)
			_ = resp.Body.Close()
			got := resp.Trailer.Get("Grpc-Status")
			if got == "" {
				got = resp.Header.Get("Grpc-Status")
			}
			if got != tt.status || s.calls.Load() != tt.calls {
				t.Errorf("%d, status %q after %d calls; want %q after %d", resp.StatusCode, got, s.calls.Load(), tt.status, tt.calls)
			}
		})
	}
}

func TestWrongStatusesAreRefusedWithTheirPlace(t *testing.T) {
	for config, want := range map[string]string{
		"{grpcStatuses: [ok]}":              "middleware.yaml:1:26: ",
		"{grpcStatuses: [14, unavailable]}": "middleware.yaml:1:30: ",
		"{grpcStatuses: [unavailabl]}":      "middleware.yaml:1:26: ",
		"{grpcStatuses: [17]}":              "middleware.yaml:1:26: ",
	} {
		_, err := parse(t, config)
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: got %v, want it to begin with %s", config, err, want)
		}
	}
}
