package breaker

import (
	"errors"
	"net/http"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/outrigger-mesh/outrigger/internal/conf"
	"github.com/outrigger-mesh/outrigger/middleware"
)

func parse(t testing.TB, config string) (middleware.List, error) {
	t.Helper()
	n, err := conf.Parse("middleware.yaml", []byte("- breaker: "+config+"\n"))
	if err != nil {
		t.Fatal(err)
	}
	return middleware.ParseList(n, []middleware.Kind{Kind})
}

// site is a program with one entry that can be reloaded, and endpoints that
// answer what they are told to.
type site struct {
	registry   *prometheus.Registry
	states     *middleware.States
	generation *middleware.Generation
	chains     *middleware.Chains
}

func newSite(t testing.TB, config string) *site {
	t.Helper()
	s := &site{registry: prometheus.NewPedanticRegistry(), states: middleware.NewStates()}
	s.reload(t, config)
	t.Cleanup(func() {
		if err := s.generation.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func (s *site) reload(t testing.TB, config string) {
	t.Helper()
	list, err := parse(t, config)
	if err != nil {
		t.Fatal(err)
	}
	g := s.states.NewGeneration()
	chains, err := list.Build(middleware.Env{Direction: middleware.Outbound, Metrics: s.registry}.In(g))
	if err != nil {
		t.Fatal(err)
	}
	if s.generation != nil {
		if err := s.generation.Close(); err != nil {
			t.Error(err)
		}
	}
	s.chains, s.generation = chains, g
}

// backend is an endpoint.
type backend struct {
	endpoint *middleware.Endpoint
	service  string
	calls    int
	answer   func(*middleware.Attempt) error
}

func newBackend(key, service string, answer func(*middleware.Attempt) error) *backend {
	b := &backend{service: service, answer: answer}
	b.endpoint = &middleware.Endpoint{Key: key, Address: key, Stats: new(middleware.Stats), Transport: b}
	return b
}

// Pick is middleware.Picker's.
func (b *backend) Pick(*middleware.Attempt) (*middleware.Endpoint, error) { return b.endpoint, nil }

// Try is the transport.
func (b *backend) Try(a *middleware.Attempt) error {
	b.calls++
	a.MarkSent()
	return b.answer(a)
}

func status(code int) func(*middleware.Attempt) error {
	return func(a *middleware.Attempt) error {
		a.Response.Status = code
		return nil
	}
}

// grpc is the answer to a gRPC call: a status, and no body.
func grpc(code string) func(*middleware.Attempt) error {
	return func(a *middleware.Attempt) error {
		r := &a.Exchange().Request
		r.Method = []byte(http.MethodPost)
		r.Header.Set("content-type", "application/grpc")
		a.Exchange().BecomeGRPC()
		a.Response.Status = http.StatusOK
		a.Response.Header.Add("content-type", "application/grpc")
		a.Response.Header.Add(middleware.HeaderGRPCStatus, code)
		return nil
	}
}

func fails(err error) func(*middleware.Attempt) error {
	return func(*middleware.Attempt) error { return err }
}

// reset is a connection that broke before its answer.
func reset(*middleware.Attempt) error {
	return &middleware.Reject{Status: http.StatusBadGateway, Reason: middleware.ReasonUpstreamReset}
}

// wire is a client's side that nothing goes to.
type wire struct{}

func (wire) Interrupt(*middleware.Exchange, error)                    {}
func (wire) Inform(int, *middleware.Header) error                     { return nil }
func (wire) Rematch(*middleware.Exchange) (*middleware.Target, error) { return nil, errors.New("none") }

// exchange is a request to the backend that has not been served yet.
func (s *site) exchange(b *backend) *middleware.Exchange {
	x := middleware.NewExchange(wire{})
	x.SetTarget(&middleware.Target{
		Route: &middleware.Route{Service: b.service},
		Pick:  func(*middleware.Exchange) (middleware.Picker, error) { return b, nil },
		Try:   s.chains.Try,
	})
	return x
}

// call calls the backend, and returns the status and whether it was refused by
// a circuit.
func (s *site) call(b *backend) (code int, refused bool) {
	x := s.exchange(b)
	x.Serve(s.chains.Request)
	defer x.End(nil)
	return x.Response.Status, x.Reason() == ReasonCircuitOpen
}

// callN is how many of n calls reach the backend.
func (s *site) callN(n int, b *backend) int {
	before := b.calls
	for range n {
		s.call(b)
	}
	return b.calls - before
}
