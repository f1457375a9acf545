package balance

import (
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/middleware"
)

// warm is the configuration with a slow start, where the policy has one.
func warm(c Config) (Config, bool) {
	if c.Policy == PolicyConsistentHash || c.Policy == PolicyGoMicro {
		return c, false
	}
	c.SlowStart.Window = time.Hour
	return c, true
}

func TestPickAllocatesNothing(t *testing.T) {
	for _, p := range policies {
		for name, list := range map[string][]Candidate{
			"one": healthy(1), "ten": healthy(10), "weighted": weighted(3, 1, 2, 70_001), "spilling": append(mixed("near", 0, 5), mixed("far", 1, 10)...),
		} {
			t.Run(string(p)+"/"+name, func(t *testing.T) {
				for i := range list {
					list[i].Since = time.Now()
				}
				configs := []Config{with(p)}
				if c, ok := warm(with(p)); ok {
					configs = append(configs, c)
				}
				for _, c := range configs {
					b := build(t, c, list, Options{})
					pick := func(a *middleware.Attempt) {
						if _, err := b.Pick(a); err != nil {
							t.Fatal(err)
						}
					}
					if n := testing.AllocsPerRun(200, func() { pick(nil) }); n != 0 {
						t.Errorf("%v allocations without a request", n)
					}
					for _, fill := range []func(*middleware.Request){
						user("anna"),
						func(r *middleware.Request) { r.Header.Add("cookie", "a=b; session=x") },
						func(r *middleware.Request) { r.Peer.Addr = netip.MustParseAddrPort("10.0.0.1:80") },
					} {
						request(t, fill, func(a *middleware.Attempt) {
							if n := testing.AllocsPerRun(200, func() { pick(a) }); n != 0 {
								t.Errorf("%v allocations", n)
							}
						})
					}
				}
			})
		}
	}
}

// Picks, snapshots and the end of attempts go on beside each other.
func TestPicksAndSnapshotsAtOnce(t *testing.T) {
	for _, p := range policies {
		t.Run(string(p), func(t *testing.T) {
			list := healthy(6)
			for i := range list {
				list[i].Since = time.Now()
			}
			c, _ := warm(with(p))
			b := build(t, c, list, Options{})
			var wg sync.WaitGroup
			for range 4 {
				wg.Go(func() {
					for range 500 {
						e, err := b.Pick(nil)
						if err != nil {
							t.Error(err)
							return
						}
						e.Stats.Active.Add(1)
						e.Stats.Latency.Observe(time.Now(), time.Millisecond, false)
						e.Stats.Active.Add(-1)
					}
				})
			}
			wg.Go(func() {
				for i := range 20 {
					if _, err := New(c, list[i%6:], Options{}); err != nil {
						t.Error(err)
					}
				}
			})
			wg.Wait()
			for _, c := range list {
				if n := c.Stats.Active.Load(); n != 0 {
					t.Errorf("%s has %d active", c.Key, n)
				}
			}
		})
	}
}

func BenchmarkPick(b *testing.B) {
	for _, p := range policies {
		for _, n := range []int{10, 1000} {
			bal := build(b, with(p), healthy(n), Options{})
			b.Run(fmt.Sprintf("%s/%d", p, n), func(b *testing.B) {
				b.ReportAllocs()
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						if _, err := bal.Pick(nil); err != nil {
							b.Error(err)
							return
						}
					}
				})
			})
		}
	}
}

func BenchmarkPickWeighted(b *testing.B) {
	for _, p := range []Policy{PolicyRoundRobin, PolicyRandom, PolicyLeastRequest, PolicyPeakEWMA} {
		list := healthy(1000)
		for i := range list {
			list[i].Weight = uint32(1 + i%97)
			list[i].Stats.Active.Store(int64(i % 5))
		}
		bal := build(b, with(p), list, Options{})
		for i := range list {
			list[i].Stats.Latency.Observe(time.Now(), time.Duration(1+i)*time.Millisecond, false)
		}
		b.Run(string(p), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := bal.Pick(nil); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkPickByKey(b *testing.B) {
	bal := build(b, with(PolicyConsistentHash), healthy(1000), Options{})
	for name, fill := range map[string]func(*middleware.Request){
		"header": user("0123456789abcdef"),
		"cookie": func(r *middleware.Request) { r.Header.Add("cookie", "theme=dark; session=0123456789abcdef") },
		"source": func(r *middleware.Request) { r.Peer.Addr = netip.MustParseAddrPort("10.0.0.1:80") },
	} {
		b.Run(name, func(b *testing.B) {
			request(b, fill, func(a *middleware.Attempt) {
				b.ReportAllocs()
				for b.Loop() {
					if _, err := bal.Pick(a); err != nil {
						b.Fatal(err)
					}
				}
			})
		})
	}
}

func BenchmarkNew(b *testing.B) {
	for _, p := range policies {
		for name, weight := range map[string]func(int) uint32{
			"alike":    func(int) uint32 { return 1 },
			"weighted": func(i int) uint32 { return uint32(1 + i%13) },
		} {
			list := addresses(1000)
			for i := range list {
				list[i].Weight = weight(i)
			}
			b.Run(fmt.Sprintf("%s/%s", p, name), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if _, err := New(with(p), list, Options{}); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
