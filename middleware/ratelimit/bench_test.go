package ratelimit

import (
	"net/netip"
	"testing"

	"github.com/outrigger-mesh/outrigger/middleware"
)

// server serves one request after the other on one exchange, as a connection
// does.
func server(t testing.TB, config string) func() {
	s := newSite(t, config)
	x := middleware.NewExchange(wire{})
	x.Request.Peer.Addr = netip.MustParseAddrPort("10.0.0.1:1")
	path, name, value := []byte("/orders/1"), []byte("x-tenant"), []byte("acme")
	return func() {
		x.Reset()
		x.Request.Target = path
		x.Request.Header.Append(name, value)
		x.SetTarget(backend)
		x.Serve(s.chain)
		x.End(nil)
	}
}

var passing = []string{"{rate: 10000000/s}", "{rate: 10000000/s, key: source}", "{rate: 10000000/s, key: path}", "{rate: 10000000/s, key: {header: x-tenant}}", "{rate: 10000000/s, headers: always}"}

func TestWhatPassesAllocatesNothing(t *testing.T) {
	for _, config := range passing {
		t.Run(config, func(t *testing.T) {
			if n := testing.AllocsPerRun(100, server(t, config)); n != 0 {
				t.Errorf("%v allocations, want none", n)
			}
		})
	}
}

// BenchmarkRatelimit has the same exchange without the middleware as its peer.
func BenchmarkRatelimit(b *testing.B) {
	b.Run("without", func(b *testing.B) {
		s := newSite(b, "{}")
		s.chain = middleware.Chain(middleware.Router)
		x := middleware.NewExchange(wire{})
		b.ReportAllocs()
		for b.Loop() {
			x.Reset()
			x.SetTarget(backend)
			x.Serve(s.chain)
			x.End(nil)
		}
	})
	for _, config := range passing {
		b.Run(config, func(b *testing.B) {
			serve := server(b, config)
			b.ReportAllocs()
			for b.Loop() {
				serve()
			}
		})
	}
	b.Run("refused", func(b *testing.B) {
		serve := server(b, "{rate: 1/h, burst: 1}")
		b.ReportAllocs()
		for b.Loop() {
			serve()
		}
	})
}
