package timeout

import (
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/middleware"
)

// server serves one request after the other on one exchange, as a connection
// does.
func server(t testing.TB, direction, config string, value string) func() {
	chains, _ := hop(t, direction, config)
	target := &middleware.Target{
		Pick: func(*middleware.Exchange) (middleware.Picker, error) { return only{}, nil },
		Try:  chains.Try,
	}
	x := middleware.NewExchange(wire{})
	name, deadline, other := []byte("x-request-deadline"), []byte(value), []byte("accept")
	return func() {
		x.Reset()
		x.Start = time.Now()
		for range 8 {
			x.Request.Header.Append(other, other)
		}
		if value != "" {
			x.Request.Header.Append(name, deadline)
		}
		x.SetTarget(target)
		x.Serve(chains.Request)
		x.End(nil)
	}
}

type only struct{}

var fixed = &middleware.Endpoint{Stats: new(middleware.Stats), Transport: &endpoint{}}

func (only) Pick(*middleware.Attempt) (*middleware.Endpoint, error) { return fixed, nil }

var cases = []struct{ name, direction, config, value string }{
	{"none", middleware.Inbound, "{}", ""},
	{"inbound", middleware.Inbound, "{}", "5000"},
	{"outbound", middleware.Outbound, "{request: 30s, perTry: 10s, idle: 1m}", ""},
}

func TestNothingIsAllocated(t *testing.T) {
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if n := testing.AllocsPerRun(100, server(t, c.direction, c.config, c.value)); n != 0 {
				t.Errorf("%v allocations, want none", n)
			}
		})
	}
}

func BenchmarkTimeout(b *testing.B) {
	for _, c := range cases {
		b.Run(c.name, func(b *testing.B) {
			serve := server(b, c.direction, c.config, c.value)
			b.ReportAllocs()
			for b.Loop() {
				serve()
			}
		})
	}
}
