package requestid_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/outrigger-mesh/outrigger/internal/conf"
	"github.com/outrigger-mesh/outrigger/middleware"
	"github.com/outrigger-mesh/outrigger/middleware/middlewaretest"
	"github.com/outrigger-mesh/outrigger/middleware/requestid"
)

func TestKindKeepsTheContract(t *testing.T) {
	middlewaretest.RunKind(t, middlewaretest.Memory{}, requestid.Kind, "{trust: true}", "{trust: false}")
}

const field = "X-Request-Id"

// ask sends a request with an id through the middleware, and returns the ids
// that the app and the client saw.
func ask(t *testing.T, m middleware.Middleware, id string, backend http.HandlerFunc) (app, client []string) {
	t.Helper()
	seen := make(chan []string, 1)
	rt := middlewaretest.Memory{}.Start(t, middlewaretest.Setup{
		Request: []middleware.Middleware{m},
		Backends: []http.Handler{http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			seen <- r.Header[field]
			if backend != nil {
				backend(w, r)
			}
		})},
	})
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://app.test/", nil)
	if err != nil {
		t.Fatal(err)
	}
	if id != "" {
		req.Header.Set(field, id)
	}
	resp, err := rt.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	return <-seen, resp.Header[field]
}

func TestAppAndClientSeeOneID(t *testing.T) {
	tests := map[string]struct {
		trust bool
		id    string
		taken bool
	}{
		"trusted":              {true, "abc-1", true},
		"not trusted":          {false, "abc-1", false},
		"trusted but unusable": {true, "a b", false},
		"trusted but too long": {true, strings.Repeat("x", middleware.MaxRequestID+1), false},
		"none came":            {true, "", false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			app, client := ask(t, requestid.New(tt.trust), tt.id, nil)
			if len(app) != 1 || len(client) != 1 || app[0] != client[0] || app[0] == "" {
				t.Fatalf("the app saw %q, the client %q; want one id", app, client)
			}
			if (app[0] == tt.id) != tt.taken {
				t.Errorf("the id is %q, taken from the client: %t, want %t", app[0], app[0] == tt.id, tt.taken)
			}
		})
	}
}

func TestTheAppCannotChangeTheID(t *testing.T) {
	_, client := ask(t, requestid.New(true), "abc-1", func(w http.ResponseWriter, _ *http.Request) {
		w.Header()[field] = []string{"other", "and another"}
	})
	if len(client) != 1 || client[0] != "abc-1" {
		t.Errorf("the client saw %q", client)
	}
}

func TestOnlyTheGatewayDistrustsByDefault(t *testing.T) {
	n, err := conf.Parse("middleware.yaml", []byte("[requestid]"))
	if err != nil {
		t.Fatal(err)
	}
	list, err := middleware.ParseList(n, []middleware.Kind{requestid.Kind})
	if err != nil {
		t.Fatal(err)
	}
	for direction, trusted := range map[string]bool{middleware.Inbound: true, middleware.Outbound: true, middleware.Gateway: false} {
		t.Run(direction, func(t *testing.T) {
			chains, err := list.Build(middleware.Env{Direction: direction})
			if err != nil {
				t.Fatal(err)
			}
			x := middleware.NewExchange(wire{})
			x.Request.Header.Set(field, "abc-1")
			x.Serve(chains.Request) // there is no route: the answer is a local one
			if got := string(x.RequestID()); (got == "abc-1") != trusted {
				t.Errorf("the id is %q", got)
			}
			x.End(nil)
		})
	}
}

// wire is a client's side that nothing goes to.
type wire struct{}

func (wire) Interrupt(*middleware.Exchange, error)                    {}
func (wire) Inform(int, *middleware.Header) error                     { return nil }
func (wire) Rematch(*middleware.Exchange) (*middleware.Target, error) { return nil, nil }

func exchange(b testing.TB, h middleware.Handler) func(id string) {
	b.Helper()
	x := middleware.NewExchange(wire{})
	name := []byte("x-request-id")
	value := make([]byte, 0, 64)
	return func(id string) {
		x.Reset()
		if id != "" {
			value = append(value[:0], id...)
			x.Request.Header.Append(name, value)
		}
		x.Serve(h)
		x.End(nil)
	}
}

func answering(x *middleware.Exchange) error {
	x.Response.Status = http.StatusOK
	return nil
}

func TestATrustedIDAllocatesNothing(t *testing.T) {
	h := middleware.Chain(middleware.HandlerFunc(answering), requestid.New(true))
	serve := exchange(t, h)
	if n := testing.AllocsPerRun(100, func() { serve("018f3c1e-7b1a-7c3e-9d2f-0123456789ab") }); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}

func BenchmarkRequestID(b *testing.B) {
	h := middleware.Chain(middleware.HandlerFunc(answering), requestid.New(true))
	for name, id := range map[string]string{"trusted": "018f3c1e-7b1a-7c3e-9d2f-0123456789ab", "fresh": ""} {
		b.Run(name, func(b *testing.B) {
			serve := exchange(b, h)
			b.ReportAllocs()
			for b.Loop() {
				serve(id)
			}
		})
	}
}
