package node

import (
	"io"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/outrigger-mesh/outrigger/middleware"
	"github.com/outrigger-mesh/outrigger/sidecar/internal/route"
	"github.com/outrigger-mesh/outrigger/sidecar/internal/upstream"
)

type wire struct{}

func (wire) Interrupt(*middleware.Exchange, error) {}

func (wire) Inform(int, *middleware.Header) error { return nil }

func (wire) Rematch(*middleware.Exchange) (*middleware.Target, error) { return nil, nil }

func newTestDirectory(t *testing.T) *directory {
	t.Helper()
	return newDirectory("shop", plain, upstream.NewSet(), slog.New(slog.DiscardHandler))
}

func addStatic(d *directory, key string) error {
	_, err := d.setStatics(map[string]*upstream.Cluster{key: upstream.NewCluster(upstream.Config{Name: key})})
	return err
}

// plain is chains without middleware.
func plain(string) *middleware.Chains {
	return &middleware.Chains{Request: middleware.Router, Try: middleware.Transport}
}

// ask matches a request for the authority.
func ask(d *directory, authority string) (*middleware.Exchange, *middleware.Target) {
	x := middleware.NewExchange(wire{})
	x.Request.Method, x.Request.Authority, x.Request.Target = []byte("GET"), []byte(authority), []byte("/")
	return x, d.Match(x)
}

// refusal is what a target answers instead of forwarding.
func refusal(t *testing.T, x *middleware.Exchange, target *middleware.Target) (int, middleware.Reason, string) {
	t.Helper()
	x.SetTarget(target)
	x.Serve(middleware.Router)
	body, err := io.ReadAll(x.Response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return x.Response.Status, x.Reason(), string(body)
}

func routesTo(cluster string) *route.Config {
	return &route.Config{Name: cluster, VirtualHosts: []route.VirtualHost{{
		Domains: []string{"*"},
		Routes:  []route.Route{{Name: "r", Clusters: []route.WeightedCluster{{Name: cluster, Weight: 1}}}},
	}}}
}

func TestAServiceIsReachedUnderEachOfItsNames(t *testing.T) {
	d := newTestDirectory(t)
	if err := addStatic(d, "users.shop:80"); err != nil {
		t.Fatal(err)
	}
	for _, authority := range []string{"users", "USERS", "users:80", "users.shop", "users.shop:80", "users.shop."} {
		if _, target := ask(d, authority); target.Route.Service != "users.shop:80" {
			t.Errorf("%s is routed to %+v", authority, target.Route)
		}
	}
	for _, authority := range []string{"users:81", "users.other", "10.0.0.1", "a.b.c", "users:0", "users:x", ""} {
		x, target := ask(d, authority)
		if status, reason, body := refusal(t, x, target); reason != middleware.ReasonUnknownHost || status != 404 && authority != "" {
			t.Errorf("%q: %d %s %s", authority, status, reason, body)
		}
	}
}

func TestTheFirstRequestWaitsForTheControlPlane(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newTestDirectory(t)
		asked := make(chan string, 10)
		d.subscribe = func(listener string) { asked <- listener }
		cluster := upstream.NewCluster(upstream.Config{Name: "users.shop:80"})
		go func() {
			name := <-asked
			time.Sleep(discoveryWait / 2)
			d.setRoutes(name, routesTo(name), func(string) middleware.Picker { return cluster })
		}()
		begun := time.Now()
		if _, target := ask(d, "users"); target.Route.Name != "r" || time.Since(begun) != discoveryWait/2 {
			t.Errorf("routed to %+v after %v", target.Route, time.Since(begun))
		}
		if _, target := ask(d, "users.shop:80"); target.Route.Name != "r" {
			t.Errorf("routed to %+v", target.Route)
		}
	})
}

func TestAServiceThatDoesNotExistIsRefusedAtOnceAndFoundWhenItComes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newTestDirectory(t)
		d.subscribe = func(listener string) { d.setRoutes(listener, nil, nil) }
		for range 2 {
			begun := time.Now()
			x, target := ask(d, "users")
			status, reason, body := refusal(t, x, target)
			if status != 404 || reason != middleware.ReasonUnknownHost || !strings.Contains(body, "MeshService") || time.Since(begun) != 0 {
				t.Errorf("%d %s %s after %v", status, reason, body, time.Since(begun))
			}
		}
		d.subscribe = func(string) {}
		d.setRoutes("users.shop:80", routesTo("c"), func(string) middleware.Picker { return nil })
		if _, target := ask(d, "users"); target.Route.Name != "r" {
			t.Errorf("routed to %+v", target.Route)
		}
	})
}

func TestAControlPlaneThatIsAwayIsNamedAsTheReason(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newTestDirectory(t)
		d.subscribe = func(string) {}
		d.connected = func() bool { return false }
		begun := time.Now()
		x, target := ask(d, "users")
		status, reason, body := refusal(t, x, target)
		if status != 503 || reason != middleware.ReasonDiscovery || !strings.Contains(body, "discovery.xds.server") || time.Since(begun) != discoveryWait {
			t.Errorf("%d %s %s after %v", status, reason, body, time.Since(begun))
		}
	})
}

func TestPassthroughGoesWhereItIsAskedTo(t *testing.T) {
	d := newTestDirectory(t)
	d.foreign.Store(newPassthrough(d.chains, d.clusters, nil))
	for authority, address := range map[string]string{
		"example.test": "example.test:80", "10.0.0.1:8080": "10.0.0.1:8080", "[::1]:81": "[::1]:81", "[::1]": "[::1]:80",
	} {
		_, target := ask(d, authority)
		p, err := target.Pick(nil)
		if err != nil {
			t.Fatal(err)
		}
		e, err := p.Pick(nil)
		if err != nil || e.Address != address {
			t.Errorf("%s goes to %v, %v; want %s", authority, e, err, address)
		}
	}
	for i := range maxForeign + 10 {
		ask(d, "h"+strings.Repeat("x", i%5)+"."+string(rune('a'+i%26))+"."+strings.Repeat("y", i/26+1)+".test")
	}
	if n := len(d.clusters.All()); n > maxForeign {
		t.Errorf("%d clusters are kept, want at most %d", n, maxForeign)
	}
}

func TestNamesThatTheAppMakesUpAreBounded(t *testing.T) {
	d := newTestDirectory(t)
	d.subscribe = func(listener string) { d.setRoutes(listener, nil, nil) }
	for i := range maxServices + 100 {
		ask(d, "s"+string(rune('a'+i%26))+strings.Repeat("x", i/26%60)+string(rune('a'+i/26/60)))
	}
	if n := len(d.services); n > maxServices {
		t.Errorf("%d services are kept, want at most %d", n, maxServices)
	}
	if n := len(*d.aliases.Load()); n > maxAliases {
		t.Errorf("%d aliases are kept, want at most %d", n, maxAliases)
	}
}

func BenchmarkMatch(b *testing.B) {
	d := newDirectory("shop", plain, upstream.NewSet(), nil)
	if err := addStatic(d, "users.shop:80"); err != nil {
		b.Fatal(err)
	}
	x := middleware.NewExchange(wire{})
	x.Request.Authority, x.Request.Target = []byte("Users"), []byte("/a")
	b.ReportAllocs()
	for b.Loop() {
		d.Match(x)
	}
}
