package ads_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/outrigger-mesh/outrigger/internal/ads"
	"github.com/outrigger-mesh/outrigger/internal/ads/adstest"
	"github.com/outrigger-mesh/outrigger/registry"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a Handler that keeps what it was given.
type world struct {
	mu      sync.Mutex
	have    map[string]string // version by name
	added   []string          // name@version, in the order of arrival
	removed []string
	refuse  map[string]string // reason by name@version
}

func (w *world) Handle(u ads.Update) []ads.Rejection {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []ads.Rejection
	for _, r := range u.Added {
		key := r.Name + "@" + r.Version
		if reason, ok := w.refuse[key]; ok {
			out = append(out, ads.Rejection{Name: r.Name, Err: errors.New(reason)})
			continue
		}
		w.have[r.Name] = r.Version
		w.added = append(w.added, key)
	}
	for _, n := range u.Removed {
		delete(w.have, n)
		w.removed = append(w.removed, n)
	}
	return out
}

func (w *world) version(name string) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.have[name]
}

func (w *world) arrivals(key string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := 0
	for _, a := range w.added {
		if a == key {
			n++
		}
	}
	return n
}

func (w *world) lost(name string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Contains(w.removed, name)
}

// start runs a client of the server until the test's end.
func start(t *testing.T, addr string) (*ads.Client, *world) {
	t.Helper()
	w := &world{have: map[string]string{}, refuse: map[string]string{}}
	c := ads.New(ads.Options{
		Dial: ads.DialOptions{Server: addr},
		Node: ads.Node{
			ID: "n1", Cluster: "shop", Agent: "test", Version: "1",
			Locality: registry.Locality{Region: "bj", Zone: "bj-2"},
			Metadata: map[string]string{"network": "dc1"},
		},
		Backoff: ads.Backoff{Min: 10 * time.Millisecond, Max: 50 * time.Millisecond},
	}, w)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := c.Run(ctx); err != nil {
			t.Errorf("run: %v", err)
		}
	})
	t.Cleanup(func() { cancel(); wg.Wait() })
	return c, w
}

func cluster(name string) *clusterv3.Cluster { return &clusterv3.Cluster{Name: name} }

func TestHandsOnWhatIsSubscribedTo(t *testing.T) {
	s := adstest.Start(t)
	s.Set("a", "1", cluster("a"))
	s.Set("b", "1", cluster("b"))
	c, w := start(t, s.Addr())
	c.Subscribe(ads.ClusterType, "a", "missing")
	adstest.Eventually(t, "a arrives", func() bool { return w.version("a") == "1" })
	adstest.Eventually(t, "missing is told of", func() bool { return w.lost("missing") })
	if v := w.version("b"); v != "" {
		t.Errorf("b@%s was handed on, which was not asked for", v)
	}
	s.Set("a", "2", cluster("a"))
	s.Set("missing", "1", cluster("missing"))
	adstest.Eventually(t, "both changes arrive", func() bool {
		return w.version("a") == "2" && w.version("missing") == "1"
	})

	node := s.Requests("")[0].GetNode()
	got := []string{
		node.GetId(), node.GetCluster(), node.GetLocality().GetZone(), node.GetUserAgentName(),
		node.GetMetadata().GetFields()["network"].GetStringValue(),
	}
	if diff := cmp.Diff([]string{"n1", "shop", "bj-2", "test", "dc1"}, got); diff != "" {
		t.Errorf("node of the first request (-want +got):\n%s", diff)
	}
	for _, r := range s.Requests("")[1:] {
		if r.GetNode() != nil {
			t.Error("a request after the first carries the node again")
		}
	}
}

func TestWildcardFollowsEveryResource(t *testing.T) {
	s := adstest.Start(t)
	s.Set("a", "1", cluster("a"))
	c, w := start(t, s.Addr())
	c.Subscribe(ads.ClusterType, ads.Wildcard)
	adstest.Eventually(t, "a arrives", func() bool { return w.version("a") == "1" })
	s.Edit(func(e adstest.Editor) {
		e.Set("b", "1", cluster("b"))
		e.Remove(ads.ClusterType, "a")
	})
	adstest.Eventually(t, "b comes and a goes", func() bool { return w.version("b") == "1" && w.version("a") == "" })
}

func TestNackNamesTheResourceAndTheLastGoodStays(t *testing.T) {
	s := adstest.Start(t)
	s.Edit(func(e adstest.Editor) {
		e.Set("a", "1", cluster("a"))
		e.Set("b", "1", cluster("b"))
	})
	c, w := start(t, s.Addr())
	w.refuse["a@2"] = "the number of legs is odd"
	c.Subscribe(ads.ClusterType, "a", "b")
	adstest.Eventually(t, "both arrive", func() bool { return w.version("a") == "1" && w.version("b") == "1" })
	s.Edit(func(e adstest.Editor) {
		e.Set("a", "2", cluster("a"))
		e.Set("b", "2", cluster("b"))
	})
	adstest.Eventually(t, "a NACK", func() bool { return len(s.Nacks()) == 1 })
	if diff := cmp.Diff([]string{"a: the number of legs is odd"}, s.Nacks()); diff != "" {
		t.Errorf("error detail (-want +got):\n%s", diff)
	}
	if w.version("a") != "1" || w.version("b") != "2" {
		t.Errorf("after the NACK a@%s and b@%s are held, want a@1, b@2", w.version("a"), w.version("b"))
	}
	st := c.Status()
	if st.NackCount != 1 || len(st.Nacks) != 1 || st.Nacks[0].Name != "a" || st.Nacks[0].Version != "2" {
		t.Errorf("status does not tell of the NACK: %+v", st)
	}

	s.Forget()
	s.Stop()
	s.Restart()
	adstest.Eventually(t, "a new stream", func() bool { return len(s.Requests(ads.ClusterType)) > 0 })
	if diff := cmp.Diff(map[string]string{"a": "1", "b": "2"}, s.Requests(ads.ClusterType)[0].GetInitialResourceVersions()); diff != "" {
		t.Errorf("versions held (-want +got):\n%s", diff)
	}
}

func TestNewStreamCarriesSubscriptionsAndLearnsWhatChangedMeanwhile(t *testing.T) {
	s := adstest.Start(t)
	s.Edit(func(e adstest.Editor) {
		for _, n := range []string{"same", "changed", "gone"} {
			e.Set(n, "1", cluster(n))
		}
	})
	c, w := start(t, s.Addr())
	c.Subscribe(ads.ClusterType, "same", "changed", "gone")
	adstest.Eventually(t, "all arrive", func() bool {
		return w.version("same")+w.version("changed")+w.version("gone") == "111"
	})
	s.Stop()
	adstest.Eventually(t, "the loss is seen", func() bool { return !c.Status().Connected })
	if w.version("same") != "1" {
		t.Error("the loss of the stream took a resource away")
	}
	c.Subscribe(ads.ClusterType, "late")
	s.Set("changed", "2", cluster("changed"))
	s.Remove(ads.ClusterType, "gone")
	s.Set("late", "1", cluster("late"))
	s.Forget()
	s.Restart()
	adstest.Eventually(t, "the changes arrive", func() bool {
		return w.version("changed") == "2" && w.version("gone") == "" && w.version("late") == "1"
	})
	if n := w.arrivals("same@1"); n != 1 {
		t.Errorf("the unchanged resource was handed on %d times", n)
	}
	first := s.Requests(ads.ClusterType)[0]
	if diff := cmp.Diff([]string{"changed", "gone", "late", "same"}, first.GetResourceNamesSubscribe()); diff != "" {
		t.Errorf("subscriptions of the new stream (-want +got):\n%s", diff)
	}
	if st := c.Status(); st.Reconnects == 0 || !st.Connected || st.LastError != "" {
		t.Errorf("status after the reconnect: %+v", st)
	}
}

func TestUnsubscribedIsGivenUpAndSentAgainWhenAskedForAgain(t *testing.T) {
	s := adstest.Start(t)
	s.Set("a", "1", cluster("a"))
	c, w := start(t, s.Addr())
	c.Subscribe(ads.ClusterType, "a")
	adstest.Eventually(t, "a arrives", func() bool { return w.arrivals("a@1") == 1 })
	// In one go: the server must hear of both.
	c.Unsubscribe(ads.ClusterType, "a")
	c.Subscribe(ads.ClusterType, "a")
	adstest.Eventually(t, "a arrives again", func() bool { return w.arrivals("a@1") == 2 })

	c.Unsubscribe(ads.ClusterType, "a")
	adstest.Eventually(t, "the server hears of it", func() bool { return !s.Subscribed(ads.ClusterType, "a") })
	if got := c.Status().Types[0]; got.Subscribed != 0 || got.Held != 0 {
		t.Errorf("still held: %+v", got)
	}
	// Nothing is left of the type: a new stream must not ask for everything.
	s.Forget()
	s.Stop()
	s.Restart()
	adstest.Eventually(t, "a new stream", func() bool { return c.Status().Reconnects > 0 && c.Status().Connected })
	c.Subscribe(ads.EndpointType, "b")
	adstest.Eventually(t, "b is asked for", func() bool { return s.Subscribed(ads.EndpointType, "b") })
	if reqs := s.Requests(ads.ClusterType); len(reqs) != 0 {
		t.Errorf("a type without subscriptions was asked for: %v", reqs)
	}
}

func TestServerThatIsNotThereYetIsFound(t *testing.T) {
	s := adstest.Start(t)
	s.Set("a", "1", cluster("a"))
	s.Stop()
	c, w := start(t, s.Addr())
	c.Subscribe(ads.ClusterType, "a")
	adstest.Eventually(t, "an attempt fails", func() bool { return c.Status().LastError != "" })
	if !strings.Contains(c.Status().LastError, "refused") {
		t.Errorf("last error does not say why: %q", c.Status().LastError)
	}
	s.Restart()
	adstest.Eventually(t, "a arrives", func() bool { return w.version("a") == "1" })
}

func TestResponseAgainstTheProtocolIsNacked(t *testing.T) {
	other, err := anypb.New(cluster("other"))
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name string
		body *anypb.Any
		want string
	}{
		{"body of another type", &anypb.Any{TypeUrl: ads.RouteType, Value: other.GetValue()}, "x: is of type"},
		{"no body", nil, "x: has no body"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := adstest.Start(t)
			s.SetBody(ads.ClusterType, "x", "1", tc.body)
			c, w := start(t, s.Addr())
			c.Subscribe(ads.ClusterType, "x")
			adstest.Eventually(t, "a NACK", func() bool { return len(s.Nacks()) == 1 })
			if got := s.Nacks()[0]; !strings.HasPrefix(got, tc.want) {
				t.Errorf("error detail %q, want %q…", got, tc.want)
			}
			if w.version("x") != "" {
				t.Error("it was handed on")
			}
		})
	}
}

func TestSubscribeFromManyGoroutines(t *testing.T) {
	s := adstest.Start(t)
	names := make([]string, 50)
	s.Edit(func(e adstest.Editor) {
		for i := range names {
			names[i] = "c" + string(rune('A'+i))
			e.Set(names[i], "1", cluster(names[i]))
		}
	})
	c, w := start(t, s.Addr())
	var wg sync.WaitGroup
	for _, n := range names {
		wg.Go(func() { c.Subscribe(ads.ClusterType, n) })
	}
	wg.Wait()
	adstest.Eventually(t, "all arrive", func() bool {
		return !slices.ContainsFunc(names, func(n string) bool { return w.version(n) != "1" })
	})
}

func TestBackoffGrowsFromMinToMax(t *testing.T) {
	b := ads.Backoff{Min: 100 * time.Millisecond, Max: time.Second}
	for _, tc := range []struct {
		failures int
		lo, hi   time.Duration
	}{
		{1, 50 * time.Millisecond, 100 * time.Millisecond},
		{2, 100 * time.Millisecond, 200 * time.Millisecond},
		{4, 400 * time.Millisecond, 800 * time.Millisecond},
		{5, 500 * time.Millisecond, time.Second},
		{1 << 40, 500 * time.Millisecond, time.Second},
	} {
		for range 100 {
			if d := b.Delay(tc.failures); d < tc.lo || d > tc.hi {
				t.Fatalf("after %d failures: %v, want within [%v, %v]", tc.failures, d, tc.lo, tc.hi)
			}
		}
	}
}
