package balance

import (
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/outrigger-mesh/outrigger/middleware"
)

// with is a valid configuration of the policy.
func with(p Policy) Config {
	c := Defaults()
	c.Policy = p
	if p == PolicyConsistentHash {
		c.Hash.Keys = []HashKey{{Header: "x-user"}, {Cookie: "session"}, {Source: true}}
	}
	return c
}

func build(t testing.TB, c Config, candidates []Candidate, o Options) Balancer {
	t.Helper()
	b, err := New(c, candidates, o)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// healthy is n endpoints e0000, e0001 and so on, all alike.
func healthy(n int) []Candidate {
	list := make([]Candidate, n)
	for i := range list {
		list[i] = Candidate{Endpoint: endpoint(fmt.Sprintf("e%04d", i), 1, 0), Healthy: true}
	}
	return list
}

// seeded is random bits that are the same in each run.
func seeded(seed uint64) func() uint64 {
	var mu sync.Mutex
	r := rand.New(rand.NewPCG(seed, 1)) //nolint:gosec // no secret
	return func() uint64 {
		mu.Lock()
		defer mu.Unlock()
		return r.Uint64()
	}
}

// near fails where got is further from want than five standard deviations of
// n draws.
func near(t *testing.T, what string, got, n int, want float64) {
	t.Helper()
	sigma := math.Sqrt(float64(n) * want * (1 - want))
	if d := math.Abs(float64(got) - want*float64(n)); d > 5*sigma+1 {
		t.Errorf("%s: %d of %d (%.4f), want %.4f", what, got, n, float64(got)/float64(n), want)
	}
}

// request gives an exchange to the function, with an attempt at its router.
func request(t testing.TB, fill func(*middleware.Request), use func(*middleware.Attempt)) {
	t.Helper()
	x := middleware.NewExchange(nil)
	fill(&x.Request)
	e := endpoint("x", 1, 0)
	x.SetTarget(&middleware.Target{
		Pick: func(*middleware.Exchange) (middleware.Picker, error) {
			return pickFunc(func(a *middleware.Attempt) (*middleware.Endpoint, error) {
				use(a)
				return e, nil
			}), nil
		},
		Try: middleware.TryHandlerFunc(func(a *middleware.Attempt) error {
			a.Response.Status = 200
			return nil
		}),
	})
	x.Serve(middleware.Router)
	x.End(nil)
}

type pickFunc func(*middleware.Attempt) (*middleware.Endpoint, error)

func (f pickFunc) Pick(a *middleware.Attempt) (*middleware.Endpoint, error) { return f(a) }
