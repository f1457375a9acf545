package xds

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/outrigger-mesh/outrigger/internal/ads"
	"github.com/outrigger-mesh/outrigger/internal/ads/adstest"
	"github.com/outrigger-mesh/outrigger/sidecar/internal/route"
	"github.com/outrigger-mesh/outrigger/sidecar/internal/upstream"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const users = "users.default:80"

// recorder is a Sink that notes its calls and checks the promises of one.
type recorder struct {
	t        *testing.T
	mu       sync.Mutex
	calls    []string
	clusters map[string]bool
	eps      map[string]bool
	routes   map[string]*route.Config
}

func newRecorder(t *testing.T) *recorder {
	return &recorder{t: t, clusters: map[string]bool{}, eps: map[string]bool{}, routes: map[string]*route.Config{}}
}

func (r *recorder) note(format string, args ...any) {
	r.calls = append(r.calls, fmt.Sprintf(format, args...))
}

func (r *recorder) SetCluster(cfg upstream.Config) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.clusters[cfg.Name] = true
	r.note("cluster %s", cfg.Name)
}

func (r *recorder) SetEndpoints(cluster string, eps []upstream.EndpointConfig) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.clusters[cluster] {
		r.t.Errorf("endpoints of %s came before it", cluster)
	}
	r.eps[cluster] = true
	addrs := make([]string, 0, len(eps))
	for _, e := range eps {
		addrs = append(addrs, e.Address)
	}
	r.note("endpoints %s [%s]", cluster, strings.Join(addrs, " "))
}

func (r *recorder) RemoveCluster(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for l, cfg := range r.routes {
		if _, ok := clustersOf(cfg)[name]; ok {
			r.t.Errorf("cluster %s was removed while the routes of %s name it", name, l)
		}
	}
	delete(r.clusters, name)
	delete(r.eps, name)
	r.note("remove %s", name)
}

func (r *recorder) SetRoutes(listener string, cfg *route.Config) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.routes[listener] = cfg
	if cfg == nil {
		r.note("no listener %s", listener)
		return
	}
	names := sorted(clustersOf(cfg))
	for _, n := range names {
		if !r.clusters[n] || !r.eps[n] {
			r.t.Errorf("routes of %s came before their cluster %s", listener, n)
		}
	}
	r.note("routes %s -> %s", listener, strings.Join(names, " "))
}

func (r *recorder) all() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.calls)
}

func (r *recorder) forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls = nil
}

// expect waits for exactly these calls.
func (r *recorder) expect(t *testing.T, want ...string) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for len(r.all()) < len(want) && time.Now().Before(deadline) {
		time.Sleep(time.Millisecond)
	}
	if diff := cmp.Diff(want, r.all()); diff != "" {
		t.Fatalf("calls of the sink (-want +got):\n%s", diff)
	}
	r.forget()
}

func start(t *testing.T, s *adstest.Server, change func(*Options)) (*Client, *recorder) {
	t.Helper()
	r := newRecorder(t)
	o := Options{
		Dial:    ads.DialOptions{Server: s.Addr()},
		Node:    ads.Node{ID: "n1"},
		Backoff: ads.Backoff{Min: 5 * time.Millisecond, Max: 20 * time.Millisecond},
	}
	if change != nil {
		change(&o)
	}
	c := New(o, r)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := c.Run(ctx); err != nil {
			t.Errorf("run: %v", err)
		}
	})
	t.Cleanup(func() { cancel(); wg.Wait() })
	return c, r
}

// serve puts a whole service into the server.
func serve(s *adstest.Server, name, version string, addrs ...string) {
	s.Edit(func(e adstest.Editor) {
		e.Set(name, version, edsCluster(name))
		e.Set(name, version, assignmentOf(name, addrs...))
		e.Set(name, version, rdsListener(name, name))
		e.Set(name, version, routesTo(name, name))
	})
}

func TestFirstCallBringsAWholeService(t *testing.T) {
	s := adstest.Start(t)
	serve(s, users, "1", "127.0.0.1:1", "127.0.0.1:2")
	c, r := start(t, s, nil)
	c.Subscribe(users)
	r.expect(t,
		"cluster "+users,
		"endpoints "+users+" [127.0.0.1:1 127.0.0.1:2]",
		"routes "+users+" -> "+users,
	)
	s.Set(users, "2", assignmentOf(users, "127.0.0.1:2"))
	r.expect(t, "endpoints "+users+" [127.0.0.1:2]")
}

func TestInlineRoutesAreTakenToo(t *testing.T) {
	s := adstest.Start(t)
	serve(s, users, "1", "127.0.0.1:1")
	s.Set("gateway/default/entry/80", "1", inlineListener("gateway/default/entry/80", routesTo("x", users)))
	c, r := start(t, s, nil)
	c.Subscribe("gateway/default/entry/80")
	r.expect(t, "cluster "+users, "endpoints "+users+" [127.0.0.1:1]", "routes gateway/default/entry/80 -> "+users)
}

func TestUnknownListenerIsSaidToBeUnknownAndAppearsLater(t *testing.T) {
	s := adstest.Start(t)
	c, r := start(t, s, nil)
	c.Subscribe(users)
	r.expect(t, "no listener "+users)
	serve(s, users, "1", "127.0.0.1:1")
	r.expect(t, "cluster "+users, "endpoints "+users+" [127.0.0.1:1]", "routes "+users+" -> "+users)
	s.Remove(ads.ListenerType, users)
	r.expect(t, "no listener "+users, "remove "+users)
}

func TestRoutesMoveToAnotherClusterMakeBeforeBreak(t *testing.T) {
	s := adstest.Start(t)
	serve(s, users, "1", "127.0.0.1:1")
	c, r := start(t, s, nil)
	c.Subscribe(users)
	r.expect(t, "cluster "+users, "endpoints "+users+" [127.0.0.1:1]", "routes "+users+" -> "+users)
	s.Edit(func(e adstest.Editor) {
		e.Set("v2", "1", edsCluster("v2"))
		e.Set("v2", "1", assignmentOf("v2", "127.0.0.1:9"))
		e.Set(users, "2", routesTo(users, "v2"))
	})
	r.expect(t, "cluster v2", "endpoints v2 [127.0.0.1:9]", "routes "+users+" -> v2", "remove "+users)
	adstest.Eventually(t, "the old cluster is unsubscribed", func() bool {
		return !s.Subscribed(ads.ClusterType, users) && !s.Subscribed(ads.EndpointType, users)
	})
	if !s.Subscribed(ads.ClusterType, "v2") || !s.Subscribed(ads.EndpointType, "v2") {
		t.Error("the new cluster is not subscribed to")
	}
}

func TestClusterOfTwoListenersStaysUntilBothAreGone(t *testing.T) {
	s := adstest.Start(t)
	serve(s, users, "1", "127.0.0.1:1")
	s.Set("g", "1", inlineListener("g", routesTo("g", users)))
	c, r := start(t, s, nil)
	c.Subscribe(users)
	r.expect(t, "cluster "+users, "endpoints "+users+" [127.0.0.1:1]", "routes "+users+" -> "+users)
	c.Subscribe("g")
	r.expect(t, "routes g -> "+users)
	s.Remove(ads.ListenerType, users)
	r.expect(t, "no listener "+users)
	s.Remove(ads.ListenerType, "g")
	r.expect(t, "no listener g", "remove "+users)
}

func TestClusterThatTheServerDoesNotHaveCountsAsOneWithoutEndpoints(t *testing.T) {
	s := adstest.Start(t)
	s.Set(users, "1", inlineListener(users, routesTo(users, "gone")))
	c, r := start(t, s, nil)
	c.Subscribe(users)
	r.expect(t, "cluster gone", "endpoints gone []", "routes "+users+" -> gone")
	s.Edit(func(e adstest.Editor) {
		e.Set("gone", "1", edsCluster("gone"))
		e.Set("gone", "1", assignmentOf("gone", "127.0.0.1:1"))
	})
	r.expect(t, "cluster gone", "endpoints gone [127.0.0.1:1]")
}

func TestRoutesWaitNoLongerThanTheWarmingTimeOut(t *testing.T) {
	s := adstest.Start(t)
	s.Silent()
	s.Edit(func(e adstest.Editor) {
		e.Set(users, "1", inlineListener(users, routesTo(users, users)))
		e.Set(users, "1", edsCluster(users))
	})
	c, r := start(t, s, func(o *Options) { o.WarmTimeout = 50 * time.Millisecond })
	c.Subscribe(users)
	r.expect(t, "cluster "+users, "endpoints "+users+" []", "routes "+users+" -> "+users)
	// What comes late is taken all the same.
	s.Set(users, "1", assignmentOf(users, "127.0.0.1:1"))
	r.expect(t, "endpoints "+users+" [127.0.0.1:1]")
}

func TestNewRoutesAreHeldBackUntilTheirEndpointsAreKnown(t *testing.T) {
	s := adstest.Start(t)
	serve(s, users, "1", "127.0.0.1:1")
	c, r := start(t, s, nil)
	c.Subscribe(users)
	r.expect(t, "cluster "+users, "endpoints "+users+" [127.0.0.1:1]", "routes "+users+" -> "+users)
	s.Silent()
	s.Edit(func(e adstest.Editor) {
		e.Set("v2", "1", edsCluster("v2"))
		e.Set(users, "2", routesTo(users, "v2"))
	})
	r.expect(t, "cluster v2")
	st := c.Status()
	if len(st.Listeners) != 1 || !slices.Equal(st.Listeners[0].WaitingFor, []string{"v2"}) {
		t.Errorf("status does not say what is waited for: %+v", st.Listeners)
	}
	s.Set("v2", "1", assignmentOf("v2", "127.0.0.1:9"))
	r.expect(t, "endpoints v2 [127.0.0.1:9]", "routes "+users+" -> v2", "remove "+users)
}

func TestRestartedControlPlaneWithTheSameWorldChangesNothing(t *testing.T) {
	s := adstest.Start(t)
	serve(s, users, "1", "127.0.0.1:1")
	c, r := start(t, s, nil)
	c.Subscribe(users)
	r.expect(t, "cluster "+users, "endpoints "+users+" [127.0.0.1:1]", "routes "+users+" -> "+users)
	s.Stop()
	// The new process counts its versions differently.
	serve(s, users, "other", "127.0.0.1:1")
	adstest.Eventually(t, "the loss is seen", func() bool { return !c.Status().Stream.Connected })
	s.Forget()
	s.Restart()
	adstest.Eventually(t, "all is acknowledged anew", func() bool {
		acks := 0
		for _, q := range s.Requests("") {
			if q.GetResponseNonce() != "" && q.GetErrorDetail() == nil {
				acks++
			}
		}
		return acks >= 4
	})
	if calls := r.all(); len(calls) != 0 {
		t.Errorf("an unchanged world made calls: %q", calls)
	}
}

func TestBadResourceIsRefusedAndTheOthersAreTaken(t *testing.T) {
	s := adstest.Start(t)
	serve(s, users, "1", "127.0.0.1:1")
	serve(s, "orders.default:80", "1", "127.0.0.1:2")
	reg := prometheus.NewPedanticRegistry()
	c, r := start(t, s, func(o *Options) { o.Registerer = reg })
	c.Subscribe(users)
	r.expect(t, "cluster "+users, "endpoints "+users+" [127.0.0.1:1]", "routes "+users+" -> "+users)
	c.Subscribe("orders.default:80")
	r.expect(t, "cluster orders.default:80", "endpoints orders.default:80 [127.0.0.1:2]",
		"routes orders.default:80 -> orders.default:80")
	s.Edit(func(e adstest.Editor) {
		e.Set(users, "2", assignmentOf(users, "127.0.0.1:1", "127.0.0.1:1"))
		e.Set("orders.default:80", "2", assignmentOf("orders.default:80", "127.0.0.1:3"))
	})
	r.expect(t, "endpoints orders.default:80 [127.0.0.1:3]")
	adstest.Eventually(t, "a NACK", func() bool { return len(s.Nacks()) == 1 })
	want := users + ": endpoints[0].lb_endpoints[1]: address 127.0.0.1:1 is there twice"
	if got := s.Nacks()[0]; got != want {
		t.Errorf("NACK says %q, want %q", got, want)
	}
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			got[f.GetName()] += m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	for name, want := range map[string]float64{
		"outrigger_xds_connected": 1, "outrigger_xds_nacks_total": 1, "outrigger_xds_staleness_seconds": 0,
		"outrigger_xds_listeners": 2, "outrigger_xds_clusters": 2,
	} {
		if got[name] != want {
			t.Errorf("%s is %v, want %v", name, got[name], want)
		}
	}
}

func TestNamesThatDoNotExistMakeRoomForOthers(t *testing.T) {
	s := adstest.Start(t)
	serve(s, users, "1", "127.0.0.1:1")
	c, r := start(t, s, func(o *Options) { o.MaxListeners = 2 })
	c.Subscribe("a.default:80")
	r.expect(t, "no listener a.default:80")
	c.Subscribe("b.default:80")
	r.expect(t, "no listener b.default:80")
	c.Subscribe(users)
	r.expect(t, "cluster "+users, "endpoints "+users+" [127.0.0.1:1]", "routes "+users+" -> "+users)
	adstest.Eventually(t, "the oldest is given up", func() bool { return !s.Subscribed(ads.ListenerType, "a.default:80") })
	if !s.Subscribed(ads.ListenerType, "b.default:80") {
		t.Error("a younger one was given up")
	}
}

func TestStatusIsJSON(t *testing.T) {
	s := adstest.Start(t)
	serve(s, users, "1", "127.0.0.1:1")
	c, r := start(t, s, nil)
	c.Subscribe(users)
	r.expect(t, "cluster "+users, "endpoints "+users+" [127.0.0.1:1]", "routes "+users+" -> "+users)
	b, err := json.Marshal(c.Status())
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`"listeners":[{"name":"users.default:80","state":"present","routes":"users.default:80"}]`,
		`"clusters":[{"name":"users.default:80","state":"present","endpoints":1}]`,
		`"connected":true`,
	} {
		if !strings.Contains(string(b), want) {
			t.Errorf("status lacks %s: %s", want, b)
		}
	}
}
