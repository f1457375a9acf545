package upstream

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
)

// checkEvery is settings with a check at a quick pace.
func checkEvery(d time.Duration, kind func(*Health)) func(*Settings) {
	return func(s *Settings) {
		h := DefaultHealth()
		h.Interval, h.NoTrafficInterval, h.InitialJitter, h.Timeout = d, d, 0, 5*time.Second
		kind(&h)
		s.Health = &h
	}
}

func overHTTP(path string) func(*Health) {
	return func(h *Health) {
		h.HTTP = &HTTPCheck{}
		h.HTTP.SetDefaults()
		h.HTTP.Path = path
	}
}

func running(t *testing.T, c *Cluster) *Cluster {
	t.Helper()
	c.start(t.Context())
	return c
}

func healthyAt(c *Cluster, address string) bool {
	k := endpointStatus(c, address).Check
	return k != nil && k.Healthy
}

func unhealthyAt(c *Cluster, address string) bool {
	k := endpointStatus(c, address).Check
	return k != nil && !k.Healthy
}

func TestAnEndpointIsLeftOutWhileItsChecksFail(t *testing.T) {
	var sick atomic.Bool
	var asked atomic.Pointer[http.Request]
	a := server(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/healthz" {
			asked.Store(r)
			if sick.Load() {
				w.WriteHeader(503)
			}
		}
	})
	other := server(t, always(200))
	c := running(t, cluster(t, checkEvery(10*time.Millisecond, func(h *Health) {
		overHTTP("/healthz?deep=1")(h)
		h.HTTP.Method, h.HTTP.Host = "HEAD", "health.test"
	}), a, other))
	until(t, "both are checked", func() bool { return healthyAt(c, a) && healthyAt(c, other) })
	if r := asked.Load(); r.Method != "HEAD" || r.Host != "health.test" || r.URL.RawQuery != "deep=1" || r.Header.Get("User-Agent") == "" {
		t.Errorf("asked for %s %s%s", r.Method, r.Host, r.URL)
	}
	sick.Store(true)
	until(t, "it is unhealthy", func() bool { return unhealthyAt(c, a) })
	for range 20 {
		if r := call(c); r.endpoint != other {
			t.Fatalf("answered %+v", r)
		}
	}
	if k := endpointStatus(c, a).Check; k.Error != "answered 503" {
		t.Errorf("status %+v", k)
	}
	sick.Store(false)
	until(t, "it is healthy again", func() bool { return healthyAt(c, a) })
	until(t, "it is picked again", func() bool { return call(c).endpoint == a })
}

func TestAnEndpointThatWasNotCheckedIsTakenForHealthy(t *testing.T) {
	asked, answer := make(chan struct{}, 10), make(chan struct{})
	a := server(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/healthz" {
			asked <- struct{}{}
			<-answer
			w.WriteHeader(500)
		}
	})
	other := server(t, always(200))
	c := running(t, cluster(t, checkEvery(time.Hour, overHTTP("/healthz")), a, other))
	<-asked
	until(t, "it is picked all the same", func() bool { return call(c).endpoint == a })
	close(answer) // the first check is enough to take it out
	until(t, "it is unhealthy", func() bool { return unhealthyAt(c, a) })
}

func TestChecksOfEachKind(t *testing.T) {
	grpcServer := func(t *testing.T, s healthpb.HealthCheckResponse_ServingStatus) string {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		srv, h := grpc.NewServer(), health.NewServer()
		h.SetServingStatus("users", s)
		healthpb.RegisterHealthServer(srv, h)
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			_ = srv.Serve(ln)
		}()
		t.Cleanup(func() {
			srv.Stop()
			<-ended
		})
		return ln.Addr().String()
	}
	tcp := func(h *Health) { h.TCP = &TCPCheck{} }
	users := func(h *Health) { h.GRPC = &GRPCCheck{Service: "users"} }
	silent := func(t *testing.T) string {
		return raw(t, func(c *net.TCPConn) { t.Cleanup(func() { c.Close() }) })
	}
	short := func(kind func(*Health)) func(*Health) {
		return func(h *Health) {
			kind(h)
			h.Timeout = 20 * time.Millisecond
		}
	}
	for name, tt := range map[string]struct {
		kind    func(*Health)
		address func(*testing.T) string
		healthy bool
	}{
		"tcp":             {tcp, silent, true},
		"tcp, nobody":     {tcp, dead, false},
		"http 302":        {overHTTP("/"), func(t *testing.T) string { return server(t, always(302)) }, true},
		"http 404":        {overHTTP("/"), func(t *testing.T) string { return server(t, always(404)) }, false},
		"http, nobody":    {overHTTP("/"), dead, false},
		"http, no answer": {short(overHTTP("/")), silent, false},
		"http, not HTTP": {overHTTP("/"), func(t *testing.T) string {
			return raw(t, func(c *net.TCPConn) { fmt.Fprint(c, "SSH-2.0\r\n"); c.Close() })
		}, false},
		"grpc":                 {users, func(t *testing.T) string { return grpcServer(t, healthpb.HealthCheckResponse_SERVING) }, true},
		"grpc, not serving":    {users, func(t *testing.T) string { return grpcServer(t, healthpb.HealthCheckResponse_NOT_SERVING) }, false},
		"grpc, unknown":        {func(h *Health) { h.GRPC = &GRPCCheck{Service: "x"} }, func(t *testing.T) string { return grpcServer(t, healthpb.HealthCheckResponse_SERVING) }, false},
		"grpc, of an HTTP one": {users, func(t *testing.T) string { return server(t, always(200)) }, false},
		"grpc, nobody":         {users, dead, false},
	} {
		t.Run(name, func(t *testing.T) {
			address := tt.address(t)
			c := running(t, cluster(t, checkEvery(10*time.Millisecond, tt.kind), address))
			until(t, "it was checked", func() bool { return endpointStatus(c, address).Check != nil })
			if got := endpointStatus(c, address).Check; got.Healthy != tt.healthy {
				t.Errorf("check %+v, want healthy %t", got, tt.healthy)
			}
			c.Close()
		})
	}
}

func TestAnEndpointIsCheckedWhereItSays(t *testing.T) {
	a, probe := server(t, always(200)), newGate(t)
	close(probe.let)
	_, port, _ := net.SplitHostPort(probe.address)
	var p uint16
	fmt.Sscan(port, &p)
	c := running(t, cluster(t, checkEvery(10*time.Millisecond, overHTTP("/"))))
	out := dead(t)
	c.SetEndpoints([]EndpointConfig{{Address: a, HealthPort: p}, {Address: out, Unchecked: true}})
	until(t, "the other port is asked", func() bool { return probe.served.Load() > 2 && healthyAt(c, a) })
	if k := endpointStatus(c, out).Check; k != nil {
		t.Errorf("checked all the same: %+v", k)
	}
}

func TestThresholdsOfChecks(t *testing.T) {
	h := DefaultHealth()
	h.HealthyAfter, h.UnhealthyAfter = 2, 3
	strict := h
	strict.HTTP = &HTTPCheck{StrictStatus: true}
	for _, tt := range []struct {
		name    string
		health  Health
		results string // g: good, b: bad, s: an unexpected status
		want    string // after each: h: healthy, u: unhealthy
	}{
		{"the first counts at once", h, "b", "u"},
		{"three in a row", h, "gbbb", "hhhu"},
		{"a good one between", h, "gbbgbbb", "hhhhhhu"},
		{"two good ones bring it back", h, "bgg", "uuh"},
		{"a bad one between", h, "bgbgg", "uuuuh"},
		{"a status is not special", h, "gs", "hh"},
		{"but where it is asked for", strict, "gs", "hu"},
		{"only a status is", strict, "gb", "hh"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var s checkState
			got := ""
			was := false
			for _, r := range tt.results {
				var err error
				switch r {
				case 'b':
					err = errors.New("refused")
				case 's':
					err = badStatus{500}
				}
				if changed := s.take(&tt.health, err, time.Now()); changed != (was != s.failed) {
					t.Errorf("changed %t", changed)
				}
				was = s.failed
				got += map[bool]string{true: "u", false: "h"}[s.failed]
			}
			if got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

// checks is a prober that notes when it was asked.
type checks struct {
	mu      sync.Mutex
	times   map[string][]time.Duration
	start   time.Time
	running int
	most    int
	takes   time.Duration
}

func (k *checks) probe(ctx context.Context, e endpointCheck) error {
	k.mu.Lock()
	k.times[e.address] = append(k.times[e.address], time.Since(k.start))
	k.running++
	k.most = max(k.most, k.running)
	k.mu.Unlock()
	select {
	case <-time.After(k.takes):
	case <-ctx.Done():
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.running--
	return nil
}

// watched is a cluster whose checks are asked of k.
func watched(t *testing.T, h Health, k *checks, addresses ...string) *Cluster {
	h.TCP = &TCPCheck{}
	c := cluster(t, func(s *Settings) { s.Health = &h }, addresses...)
	k.times, k.start = map[string][]time.Duration{}, time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.running = t.Context()
	c.checker = newChecker(c, c.settings.Health)
	c.checker.probe = k.probe
	c.checker.start(c.running)
	return c
}

func TestAClusterWithoutRequestsIsCheckedRarely(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := &checks{}
		h := DefaultHealth()
		h.JitterPercent, h.InitialJitter = 0, 0
		c := watched(t, h, k, "10.0.0.1:80")
		time.Sleep(150 * time.Second)
		synctest.Wait()
		k.mu.Lock()
		if n := len(k.times["10.0.0.1:80"]); n != 3 {
			t.Errorf("%d checks in 150 s without requests: %v", n, k.times)
		}
		k.times, k.start = map[string][]time.Duration{}, time.Now()
		k.mu.Unlock()
		for range 60 {
			c.hostOf("10.0.0.1:80").stats.Attempts.Add(1)
			time.Sleep(time.Second)
		}
		synctest.Wait()
		k.mu.Lock()
		if n := len(k.times["10.0.0.1:80"]); n < 10 || n > 13 {
			t.Errorf("%d checks in 60 s of requests: %v", n, k.times)
		}
		k.mu.Unlock()
		c.Close()
	})
}

func TestChecksAreSpreadAndBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := &checks{takes: time.Second}
		h := DefaultHealth()
		h.Interval, h.NoTrafficInterval = 10*time.Second, 10*time.Second
		var addresses []string
		for i := range 300 {
			addresses = append(addresses, fmt.Sprintf("10.0.%d.%d:80", i/200, i%200))
		}
		c := watched(t, h, k, addresses...)
		time.Sleep(time.Minute)
		synctest.Wait()
		k.mu.Lock()
		defer k.mu.Unlock()
		if k.most > maxChecks {
			t.Errorf("%d checks at a time", k.most)
		}
		distinct := map[time.Duration]bool{}
		for _, a := range addresses {
			times := k.times[a]
			if len(times) < 4 || len(times) > 6 {
				t.Fatalf("%s was checked at %v", a, times)
			}
			distinct[times[len(times)-1]] = true
		}
		if len(distinct) < 100 {
			t.Errorf("the last checks of 300 endpoints were at %d times", len(distinct))
		}
		k.mu.Unlock()
		c.Close()
		k.mu.Lock()
	})
}

func TestAGoodCheckEndsAnEjectionWhereThatIsAskedFor(t *testing.T) {
	for _, back := range []bool{true, false} {
		a := server(t, always(200))
		c := running(t, cluster(t, func(s *Settings) {
			checkEvery(10*time.Millisecond, overHTTP("/"))(s)
			s.Outlier.ReturnOnHealthy = back
		}, a))
		c.eject(c.hostOf(a), causeConsecutive5xx)
		n := c.counts.checks[0].Load()
		until(t, "it was checked again", func() bool { return c.counts.checks[0].Load() > n+2 })
		if e := endpointStatus(c, a).Ejected; (e == nil) != back {
			t.Errorf("returnOnHealthy %t: ejected %+v", back, e)
		}
		c.Close()
	}
}

func TestChecksEndWithTheirSettingsTheirEndpointsAndTheirSet(t *testing.T) {
	stuck := newGate(t)
	set := NewSet()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- set.Run(ctx) }()
	s := DefaultSettings()
	checkEvery(10*time.Millisecond, overHTTP("/"))(&s)
	s.Health.Timeout = time.Minute
	c := set.Put(Config{Name: "svc", Settings: &s})
	c.SetEndpoints(endpoints(stuck.address))
	until(t, "a check runs", func() bool { return stuck.inside.Load() == 1 })
	plain := DefaultSettings()
	set.Put(Config{Name: "svc", Settings: &plain})
	until(t, "it is ended", func() bool { return stuck.inside.Load() == 0 })
	set.Put(Config{Name: "svc", Settings: &s})
	until(t, "another one runs", func() bool { return stuck.inside.Load() == 1 })
	set.Remove("svc")
	until(t, "it is ended", func() bool { return stuck.inside.Load() == 0 })
	c = set.Put(Config{Name: "svc", Settings: &s})
	c.SetEndpoints(endpoints(stuck.address))
	until(t, "one more runs", func() bool { return stuck.inside.Load() == 1 })
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	until(t, "it is ended", func() bool { return stuck.inside.Load() == 0 })
	set.Put(Config{Name: "late", Settings: &s}).SetEndpoints(endpoints(stuck.address))
}
