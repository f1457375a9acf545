package upstream

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/outrigger-mesh/outrigger/middleware"
	"github.com/outrigger-mesh/outrigger/registry"
)

func TestConsecutiveFailuresEject(t *testing.T) {
	of := map[rune]outcome{'o': outcomeOK, '5': outcome5xx, 'g': outcomeGateway, 'l': outcomeLocal, '-': outcomeNone}
	five := Outlier{Consecutive5xx: 3}
	gateway := Outlier{ConsecutiveGatewayErrors: 3}
	split := Outlier{Consecutive5xx: 3, ConsecutiveGatewayErrors: 2, ConsecutiveLocalFailures: 3, SplitLocalFailures: true}
	for _, tt := range []struct {
		name     string
		rules    Outlier
		attempts string
		want     ejectCause // of the last attempt; none of those before ejects
	}{
		{"5xx in a row", five, "555", causeConsecutive5xx},
		{"all sorts of 5xx", five, "5gl", causeConsecutive5xx},
		{"a success between", five, "55o55", causeNone},
		{"what was given up is neither", five, "55-5", causeConsecutive5xx},
		{"gateway errors", gateway, "ggg", causeConsecutiveGateway},
		{"no response counts as one", gateway, "glg", causeConsecutiveGateway},
		{"another 5xx between", gateway, "gg5gg", causeNone},
		{"nothing is counted that is off", gateway, "5555555", causeNone},
		{"after an ejection it begins anew", five, "55", causeNone},
		{"split: no response", split, "lll", causeConsecutiveLocal},
		{"split: a response between", split, "ll5ll", causeNone},
		{"split: they are no 5xx", split, "5ll5", causeNone},
		{"split: gateway errors", split, "gg", causeConsecutiveGateway},
		{"split: 5xx", split, "5l5l5", causeConsecutive5xx},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var c outlierCounts
			last := causeNone
			for i, letter := range tt.attempts {
				if last != causeNone {
					t.Fatalf("attempt %d has ejected already: %s", i-1, causeNames[last])
				}
				last = c.record(&tt.rules, of[letter])
			}
			if last != tt.want {
				t.Errorf("ejected for %q, want %q", causeNames[last], causeNames[tt.want])
			}
		})
	}
}

func TestRatesFarBelowTheOthersEject(t *testing.T) {
	rules := SuccessRate{StdevFactor: 1.9, MinHosts: 5, MinRequests: 100}
	good, bad := rate{100, 1}, rate{100, 60}
	for _, tt := range []struct {
		name  string
		rates []rate
		want  []int
	}{
		{"one is bad", []rate{good, good, bad, good, good, good}, []int{2}},
		{"all are bad", []rate{bad, bad, bad, bad, bad}, nil},
		{"too few hosts", []rate{good, good, bad, good}, nil},
		{"too few requests", []rate{good, good, {99, 99}, good, good, good}, nil},
		{"all well", []rate{{100, 0}, {100, 0}, {100, 0}, {100, 0}, {100, 0}}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, indexes(lowSuccess(tt.rates, rules))); diff != "" {
				t.Error(diff)
			}
		})
	}
	high := FailurePercent{Threshold: 60, MinHosts: 2, MinRequests: 10}
	if diff := cmp.Diff([]int{1, 2}, indexes(highFailure([]rate{{100, 59}, {100, 60}, {10, 10}, {9, 9}}, high))); diff != "" {
		t.Error(diff)
	}
	if got := indexes(highFailure([]rate{{100, 100}, {9, 9}}, high)); got != nil {
		t.Errorf("ejects %v, though only one host has enough requests", got)
	}
}

func indexes(set []bool) (out []int) {
	for i, is := range set {
		if is {
			out = append(out, i)
		}
	}
	return out
}

func TestEjectionsGrowAndComeToAnEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		set := NewSet()
		if err := set.Use(Options{Logger: slog.New(slog.NewTextHandler(&log, nil))}); err != nil {
			t.Fatal(err)
		}
		c := NewCluster(Config{Name: "svc"})
		c.SetEndpoints(endpoints("10.0.0.1:80", "10.0.0.2:80"))
		set.Add(c)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- set.Run(ctx) }()
		defer func() {
			cancel()
			<-ended
		}()
		h := c.hostOf("10.0.0.1:80")
		out := func() time.Duration {
			begin := time.Now()
			for endpointStatus(c, h.address).Ejected != nil {
				time.Sleep(time.Second)
				synctest.Wait()
			}
			return time.Since(begin)
		}
		c.eject(h, causeConsecutiveGateway)
		s := endpointStatus(c, h.address).Ejected
		if s == nil || s.Cause != "consecutiveGatewayErrors" || !s.Until.Equal(time.Now().Add(5*time.Second)) || s.Ejections != 1 {
			t.Fatalf("status %+v", s)
		}
		for range 20 {
			if e, err := c.Pick(nil); err != nil || e.Key != "10.0.0.2:80" {
				t.Fatalf("picked %v, %v", e, err)
			}
		}
		if d := out(); d < 5*time.Second || d > 6*time.Second {
			t.Errorf("the first ejection took %s", d)
		}
		seen := map[string]bool{}
		for range 20 {
			e, _ := c.Pick(nil)
			seen[e.Key] = true
		}
		if !seen[h.address] {
			t.Error("it is not picked any more")
		}
		c.eject(h, causeConsecutive5xx)
		if d := out(); d < 10*time.Second || d > 11*time.Second {
			t.Errorf("the second ejection took %s", d)
		}
		time.Sleep(time.Minute) // well for so long that all is forgotten
		c.eject(h, causeConsecutive5xx)
		if d := out(); d > 6*time.Second {
			t.Errorf("an ejection long after took %s", d)
		}
		for range 80 {
			c.eject(h, causeConsecutive5xx)
			if d := out(); d > 301*time.Second {
				t.Fatalf("an ejection took %s, above the maximum", d)
			}
		}
		for _, want := range []string{
			"endpoint ejected", `why="5 attempts in a row got no response, or 502, 503 or 504"`, "for=5s", `because="its time is over"`,
		} {
			if !strings.Contains(log.String(), want) {
				t.Errorf("the log has no %s", want)
			}
		}
	})
}

func TestTheShareOfEjectedEndpointsIsNeverAboveItsMaximum(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for round := range 200 {
		percent, one := random.IntN(101), random.IntN(2) == 0
		c := cluster(t, func(s *Settings) {
			s.Outlier.MaxEjectionPercent, s.Outlier.AlwaysEjectOne = percent, one
		})
		now := time.Unix(0, 0)
		most := 0
		for step := range 60 {
			switch random.IntN(5) {
			case 0:
				var list []EndpointConfig
				for i := range random.IntN(20) {
					list = append(list, EndpointConfig{
						Address: fmt.Sprintf("10.0.0.%d:80", i),
						Status:  []registry.Status{registry.StatusUp, registry.StatusUp, registry.StatusUp, registry.StatusDraining, registry.StatusDown}[random.IntN(5)],
					})
				}
				c.SetEndpoints(list)
			case 1:
				now = now.Add(time.Duration(random.IntN(60)) * time.Second)
				c.sweep(now)
			default:
				for _, h := range *c.limits.hosts.Load() {
					if random.IntN(2) == 0 {
						c.eject(h, causeConsecutive5xx)
					}
				}
			}
			ejected, members := 0, 0
			c.mu.Lock()
			for i := range c.given {
				if h := c.hosts[c.given[i].Address]; h != nil && !draining(&c.given[i]) {
					members++
				}
			}
			for _, h := range c.hosts {
				if h.state.ejected {
					ejected++
				}
			}
			if ejected != c.ejected {
				t.Errorf("%d are ejected, %d count", ejected, c.ejected)
			}
			c.mu.Unlock()
			limit := members * percent / 100
			if one {
				limit = max(limit, 1)
			}
			if ejected > limit {
				t.Fatalf("round %d, step %d: %d of %d are ejected, the maximum is %d (%d percent, one in any case: %t)",
					round, step, ejected, members, limit, percent, one)
			}
			most = max(most, ejected)
		}
		if percent == 100 && most == 0 {
			t.Error("nothing was ejected at all")
		}
	}
}

// fault is a server that does what its function says, and a good one beside it.
func TestAFailingEndpointIsEjectedAndTheOthersServe(t *testing.T) {
	var calls atomic.Int64
	hold := func(c *net.TCPConn) { t.Cleanup(func() { c.Close() }) }
	for name, tt := range map[string]struct {
		bad   func(t *testing.T) string
		rules func(*Outlier)
		cause string
		tick  bool // rates are looked at
	}{
		"refuses connections": {dead, nil, "consecutiveGatewayErrors", false},
		"resets": {func(t *testing.T) string {
			return raw(t, func(c *net.TCPConn) {
				_ = c.SetLinger(0)
				c.Close()
			})
		}, nil, "consecutiveGatewayErrors", false},
		"resets, split": {func(t *testing.T) string {
			return raw(t, func(c *net.TCPConn) { c.Close() })
		}, func(o *Outlier) { o.SplitLocalFailures = true }, "consecutiveLocalFailures", false},
		"accepts and never answers": {func(t *testing.T) string { return raw(t, hold) }, nil, "consecutiveGatewayErrors", false},
		"answers 503":               {func(t *testing.T) string { return server(t, always(503)) }, nil, "consecutiveGatewayErrors", false},
		"answers 500": {func(t *testing.T) string { return server(t, always(500)) }, func(o *Outlier) {
			o.Consecutive5xx = 4
		}, "consecutive5xx", false},
		"answers 503 to 3 of 10": {func(t *testing.T) string {
			return server(t, func(w http.ResponseWriter, _ *http.Request) {
				if calls.Add(1)%10 < 3 {
					w.WriteHeader(503)
				}
			})
		}, func(o *Outlier) {
			o.FailurePercent = FailurePercent{Threshold: 25, MinHosts: 2, MinRequests: 10}
		}, "failurePercent", true},
	} {
		t.Run(name, func(t *testing.T) {
			bad, good := tt.bad(t), server(t, always(200))
			c := cluster(t, func(s *Settings) {
				if tt.rules != nil {
					tt.rules(&s.Outlier)
				}
			}, bad, good)
			limit := func(a *middleware.Attempt) { a.SetDeadline(time.Now().Add(50 * time.Millisecond)) }
			if name != "accepts and never answers" {
				limit = func(*middleware.Attempt) {}
			}
			for range 100 {
				finish(request(c, limit))
			}
			if tt.tick {
				c.sweep(time.Now().Add(time.Hour))
			}
			e := endpointStatus(c, bad).Ejected
			if e == nil || e.Cause != tt.cause {
				t.Fatalf("ejected: %+v, want for %s", e, tt.cause)
			}
			for range 20 {
				if r := call(c); r.endpoint != good || r.status != 200 {
					t.Errorf("answered %+v", r)
				}
			}
		})
	}
}

func TestWhatIsNotTheEndpointsFaultDoesNotCount(t *testing.T) {
	strict := func(s *Settings) {
		s.Outlier.ConsecutiveGatewayErrors, s.Outlier.Consecutive5xx, s.Outlier.MaxEjectionPercent = 1, 1, 100
	}
	t.Run("the client has left", func(t *testing.T) {
		g := newGate(t)
		c := cluster(t, strict, g.address)
		b := newBackground(t)
		x := request(c)
		b.start(x)
		until(t, "it is in", func() bool { return g.inside.Load() == 1 })
		x.Cancel(middleware.ErrClientGone)
		<-b.results
		if e := endpointStatus(c, g.address); e.Ejected != nil || e.Attempts != 1 {
			t.Errorf("status %+v", e)
		}
	})
	t.Run("a limit of the pool", func(t *testing.T) {
		g := newGate(t)
		c := cluster(t, func(s *Settings) {
			strict(s)
			s.Pool.MaxConnections, s.Pool.MaxPending = 1, 0
		}, g.address)
		b := newBackground(t)
		b.start(request(c))
		until(t, "it is in", func() bool { return g.inside.Load() == 1 })
		if r := call(c); r.reason != reasonPool {
			t.Errorf("answered %+v", r)
		}
		if e := endpointStatus(c, g.address); e.Ejected != nil {
			t.Errorf("status %+v", e)
		}
		close(g.let)
	})
	t.Run("a time limit that is over in the queue", func(t *testing.T) {
		g := newGate(t)
		c := cluster(t, func(s *Settings) {
			strict(s)
			s.Pool.MaxConnections = 1
		}, g.address)
		b := newBackground(t)
		b.start(request(c))
		until(t, "it is in", func() bool { return g.inside.Load() == 1 })
		r := finish(request(c, func(a *middleware.Attempt) { a.SetDeadline(time.Now().Add(time.Millisecond)) }))
		if r.status != 504 || r.reason != middleware.ReasonTryTimeout || !r.unsent {
			t.Errorf("answered %+v", r)
		}
		if e := endpointStatus(c, g.address); e.Ejected != nil {
			t.Errorf("status %+v", e)
		}
		close(g.let)
	})
	t.Run("a 404", func(t *testing.T) {
		address := server(t, always(404))
		c := cluster(t, strict, address)
		call(c)
		if e := endpointStatus(c, address); e.Ejected != nil {
			t.Errorf("status %+v", e)
		}
	})
	t.Run("the app beside the sidecar", func(t *testing.T) {
		c := NewApp(Config{Name: "app/http"}, server(t, always(503)))
		defer c.Close()
		for range 20 {
			if r := call(c); r.status != 503 || r.reason != middleware.ReasonNone {
				t.Fatalf("answered %+v", r)
			}
		}
		if e := c.Status().Endpoints[0]; e.Ejected != nil {
			t.Errorf("status %+v", e)
		}
	})
}

func TestChangedSettingsHoldForWhatIsEjected(t *testing.T) {
	c := cluster(t, func(s *Settings) { s.Outlier.MaxEjectionPercent = 100 }, "10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80", "10.0.0.4:80")
	for _, h := range *c.limits.hosts.Load() {
		c.eject(h, causeConsecutive5xx)
	}
	if _, err := c.Pick(nil); err != nil { // all are: the panic threshold has them all used
		t.Error(err)
	}
	for _, tt := range []struct {
		change func(*Outlier)
		want   int
	}{
		{func(*Outlier) {}, 2}, // the default maximum is half
		{func(o *Outlier) { o.Off = true }, 0},
	} {
		s := DefaultSettings()
		tt.change(&s.Outlier)
		c.Configure(Config{Name: "svc", Settings: &s})
		if c.ejected != tt.want {
			t.Errorf("%d are ejected, want %d", c.ejected, tt.want)
		}
	}
}

func TestManyEjectionsAtOnceAreSeenSoon(t *testing.T) {
	var addresses []string
	for i := range 5000 {
		addresses = append(addresses, fmt.Sprintf("10.0.%d.%d:80", i/250, i%250))
	}
	c := cluster(t, func(s *Settings) {
		s.Outlier.MaxEjectionPercent = 100
		s.Balancer.PanicThreshold = 0
	}, addresses...)
	hosts := *c.limits.hosts.Load()
	for _, h := range hosts[:4999] {
		c.eject(h, causeConsecutive5xx)
	}
	until(t, "only the last one is picked", func() bool {
		for range 50 {
			if e, err := c.Pick(nil); err != nil || e.Key != hosts[4999].address {
				return false
			}
		}
		return true
	})
}
