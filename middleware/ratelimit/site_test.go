package ratelimit

import (
	"net/http"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/outrigger-mesh/outrigger/middleware"
)

// site is a program with one entry that can be reloaded.
type site struct {
	registry   *prometheus.Registry
	states     *middleware.States
	generation *middleware.Generation
	chain      middleware.Handler
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

func (s *site) build(t testing.TB, config string) (middleware.Handler, *middleware.Generation) {
	t.Helper()
	list, err := parse(t, config)
	if err != nil {
		t.Fatal(err)
	}
	g := s.states.NewGeneration()
	chains, err := list.Build(middleware.Env{Direction: middleware.Inbound, Metrics: s.registry}.In(g))
	if err != nil {
		t.Fatal(err)
	}
	return chains.Request, g
}

func (s *site) reload(t testing.TB, config string) {
	t.Helper()
	chain, g := s.build(t, config)
	if s.generation != nil {
		if err := s.generation.Close(); err != nil {
			t.Error(err)
		}
	}
	s.chain, s.generation = chain, g
}

// wire is a client's side that nothing goes to.
type wire struct{}

func (wire) Interrupt(*middleware.Exchange, error)                    {}
func (wire) Inform(int, *middleware.Header) error                     { return nil }
func (wire) Rematch(*middleware.Exchange) (*middleware.Target, error) { return nil, nil }

// backend answers every request with 200.
var backend = &middleware.Target{
	Pick: func(*middleware.Exchange) (middleware.Picker, error) { return only{}, nil },
	Try: middleware.TryHandlerFunc(func(a *middleware.Attempt) error {
		a.Response.Status = http.StatusOK
		return nil
	}),
}

type only struct{}

var endpoint = &middleware.Endpoint{Stats: new(middleware.Stats)}

func (only) Pick(*middleware.Attempt) (*middleware.Endpoint, error) { return endpoint, nil }

// send sends a request with the given change; the exchange has not ended yet.
func (s *site) send(change func(*middleware.Request)) *middleware.Exchange {
	x := middleware.NewExchange(wire{})
	x.SetTarget(backend)
	x.Request.Target = []byte("/")
	if change != nil {
		change(&x.Request)
	}
	x.Serve(s.chain)
	return x
}

// ask reports whether a request passes.
func (s *site) ask(change func(*middleware.Request)) bool {
	x := s.send(change)
	defer x.End(nil)
	return x.Response.Status == http.StatusOK && x.Reason() == middleware.ReasonNone
}

// askN is how many of n requests pass.
func (s *site) askN(n int, change func(*middleware.Request)) (passed int) {
	for range n {
		if s.ask(change) {
			passed++
		}
	}
	return passed
}
