package breaker

import (
	"testing"

	"github.com/outrigger-mesh/outrigger/middleware"
)

// server serves one request after the other on one exchange, as a connection
// does.
func server(t testing.TB, s *site, b *backend) func() {
	t.Helper()
	x := middleware.NewExchange(wire{})
	target := &middleware.Target{
		Route: &middleware.Route{Service: b.service},
		Pick:  func(*middleware.Exchange) (middleware.Picker, error) { return b, nil },
		Try:   s.chains.Try,
	}
	return func() {
		x.Reset()
		x.SetTarget(target)
		x.Serve(s.chains.Request)
		x.End(nil)
	}
}

func TestACallThatPassesAllocatesNothing(t *testing.T) {
	for name, code := range map[string]int{"ok": 200, "failed": 500} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, "{minimumCalls: 10000}")
			if n := testing.AllocsPerRun(100, server(t, s, newBackend("a", "users", status(code)))); n != 0 {
				t.Errorf("%v allocations, want none", n)
			}
		})
	}
}

// BenchmarkBreaker has the same exchange without the middleware as its peer.
func BenchmarkBreaker(b *testing.B) {
	for name, code := range map[string]int{"ok": 200, "failed": 500, "without": 0} {
		b.Run(name, func(b *testing.B) {
			s := newSite(b, "{minimumCalls: 10000, errorPercent: 100}")
			if code == 0 {
				s.chains.Try, code = middleware.Transport, 200
			}
			back := newBackend("a", "users", status(code))
			serve := server(b, s, back)
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				switch i % 64 {
				case 0: // one that is well, so that it stays closed
					back.answer = status(200)
				case 1:
					back.answer = status(code)
				}
				serve()
			}
		})
	}
}
