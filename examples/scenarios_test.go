package examples_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/examples/internal/lab"
)

func TestVirtualMachinesWithoutAControlPlane(t *testing.T) {
	w := startWalk(t, "vm-without-controlplane", "")
	w.run("Start")
	for _, port := range []string{"9101", "9102", "9201", "9301", "8081"} {
		w.await(port, "/healthz")
	}
	w.await("15000", "/readyz")
	if out := w.run("Ask"); !strings.Contains(out, `"instance":"orders-1"`) || !strings.Contains(out, `"name":"user 1"`) {
		t.Errorf("answers:\n%s", out)
	}
	load := lab.Load{URL: "http://" + w.addr("15006") + "/orders/", Host: "orders", Rate: 50, Expect: lab.Field("user", "instance")}
	before, err := lab.Requests(t.Context(), w.addr("8081"))
	if err != nil {
		t.Fatal(err)
	}
	res := w.traffic(load, func(traffic *lab.Traffic) {
		w.run("Lose an instance")
		gone := traffic.Result().By["users-1"]
		w.sent(traffic, 100)
		if now := traffic.Result().By["users-1"]; now > gone+5 {
			t.Errorf("users-1 has answered %d requests after its end", now-gone)
		}
		w.run("Bring it back")
		w.await("9101", "/healthz")
		back := traffic.Result().By["users-1"]
		within(t, 10*time.Second, func(context.Context) error {
			if traffic.Result().By["users-1"] <= back {
				return errors.New("users-1 takes no traffic")
			}
			return nil
		})
	})
	after, err := lab.Requests(t.Context(), w.addr("8081"))
	if err != nil || after-before != res.Sent {
		t.Errorf("orders counted %d requests, %d were sent; %v", after-before, res.Sent, err)
	}
}

func TestEntryGatewayRoutesByHostAndPath(t *testing.T) {
	w := startWalk(t, "gateway", "")
	w.run("Start")
	for _, port := range []string{"9101", "9102", "9201", "9202"} {
		w.await(port, "/healthz")
	}
	w.await("15900", "/readyz")
	out := w.run("Route by host and path")
	for _, want := range []string{`"name":"user 1"`, `"instance":"catalog-1"`, `"instance":"catalog-next-1"`, `"reason":"no_route"`, `"reason":"unknown_host"`} {
		if !strings.Contains(out, want) {
			t.Errorf("the answers lack %s:\n%s", want, out)
		}
	}
	load := lab.Load{URL: "http://" + w.addr("8000") + "/items/", Host: "www.example.test", Rate: 100, Expect: lab.Field("instance")}
	res := w.traffic(load, func(traffic *lab.Traffic) {
		if by := traffic.Result().By; by["catalog-next-1"] > 0 {
			t.Errorf("before the change: %v", by)
		}
		if out := w.run("Change a route"); !strings.Contains(out, "are right: 5 objects") {
			t.Errorf("check:\n%s", out)
		}
		within(t, 10*time.Second, func(context.Context) error {
			if traffic.Result().By["catalog-next-1"] == 0 {
				return errors.New("the changed route is not in force")
			}
			return nil
		})
		old := traffic.Result().By["catalog-1"]
		w.sent(traffic, 50)
		if now := traffic.Result().By["catalog-1"]; now > old+2 { // those on their way
			t.Errorf("%d requests went the old way after the change", now-old)
		}
	})
	counted := 0
	for _, port := range []string{"9201", "9202"} {
		n, err := lab.Requests(t.Context(), w.addr(port))
		if err != nil {
			t.Fatal(err)
		}
		counted += n
	}
	if counted != res.Sent+2 { // those of the README
		t.Errorf("the apps counted %d requests, %d were sent", counted, res.Sent+2)
	}
}

// TestInternalGatewayIsReplacedAndTakenBack goes through all steps amid traffic
// at the front door.
func TestInternalGatewayIsReplacedAndTakenBack(t *testing.T) {
	w := startWalk(t, "replace-internal-gateway", "")
	w.run("Before")
	apps := []string{"9101", "9102", "9201", "9301", "8081", "8082"}
	for _, port := range apps {
		w.await(port, "/healthz")
	}
	w.await("8000", "/healthz")
	if out := w.run("Look at it"); !strings.Contains(out, "users 200") || !strings.Contains(out, "promo 200") {
		t.Errorf("the internal gateway does not see the calls:\n%s", out)
	}
	load := lab.Load{
		URL: "http://" + w.addr("8000") + "/orders/", Rate: 50,
		Expect: func(body []byte) (string, error) {
			if _, err := lab.Field("promo", "instance")(body); err != nil { // orders would do without it
				return "", err
			}
			return lab.Field("instance")(body)
		},
	}
	res := w.traffic(load, func(traffic *lab.Traffic) {
		w.run("1. A control plane, and a sidecar beside each caller")
		w.await("18080", "/readyz")
		w.await("15000", "/healthz")
		w.await("15100", "/healthz")
		if out := w.run("Check 1"); strings.Count(out, `"request_id"`) != 6 {
			t.Errorf("answers through the sidecars:\n%s", out)
		}
		restarted := func(section, port string) {
			t.Helper()
			w.run(section)
			w.await(port, "/healthz")
			w.sent(traffic, 20)
		}
		restarted("2. One caller moves", "8081")
		w.run("Check 2")
		restarted("3. The other caller moves", "8082")
		w.run("Check 3")
		w.run("4. One service is called directly")
		w.unused("users")
		w.run("Check 4")
		w.run("5. The others follow")
		w.unused("users", "catalog", "promo")
		w.run("Check 5")
		w.run("6. The internal gateway goes")
		within(t, 10*time.Second, func(ctx context.Context) error {
			conn, err := new(net.Dialer).DialContext(ctx, "tcp", w.addr("8090"))
			if err == nil {
				_ = conn.Close()
				return errors.New("the internal gateway listens")
			}
			return nil
		})
		w.run("Check 6")

		w.run("And back")
		within(t, 10*time.Second, func(ctx context.Context) error {
			conn, err := new(net.Dialer).DialContext(ctx, "tcp", w.addr("8090"))
			if err == nil {
				_ = conn.Close()
			}
			return err
		})
		restarted("Back to one gateway", "8081")
		restarted("Back to no sidecar", "8082")
		for _, port := range []string{"15001", "15101", "18080"} {
			within(t, 20*time.Second, func(context.Context) error {
				if !lab.Free(w.addr(port)) {
					return fmt.Errorf("port %s is still in use", port)
				}
				return nil
			})
		}
	})
	if res.By["orders-1"] == 0 || res.By["orders-2"] == 0 {
		t.Errorf("answers came from %v", res.By)
	}
}

// unused waits until nothing comes to the internal gateway for the services any
// more: until ten requests have passed it by.
func (w *walk) unused(services ...string) {
	w.t.Helper()
	within(w.t, 20*time.Second, func(context.Context) error {
		out := w.enter(`: > internal.log; for i in 1 2 3 4 5 6 7 8 9 10; do curl -sf http://` + w.addr("8000") + `/orders/1 > /dev/null; done; cat internal.log` + "\n")
		for _, service := range services {
			if strings.Contains(out, service+" 200") {
				return fmt.Errorf("calls for %s still come to the internal gateway", service)
			}
		}
		return nil
	})
}

// TestGuideBesideYourAppInTenMinutes types the commands of the guide.
func TestGuideBesideYourAppInTenMinutes(t *testing.T) {
	w := startWalk(t, "quickstart", "docs/guides/ten-minutes.md")
	w.run("1. Build")
	w.run("2. The control plane")
	w.await("18080", "/readyz")
	w.run("3. The app, and a sidecar beside it")
	w.await("9101", "/healthz")
	w.answered("users-1")
	if out := w.run("4. Ask"); !strings.Contains(out, w.addr("15006")) || !strings.Contains(out, `"name": "user 1"`) {
		t.Errorf("answers:\n%s", out)
	}
	w.run("5. A second instance")
	w.answered("users-1", "users-2")
	out := w.run("6. Spread")
	if strings.Count(out, "users-1") != 2 || strings.Count(out, "users-2") != 2 {
		t.Errorf("answers:\n%s", out)
	}
	if out := w.run("7. Lose one"); strings.Count(out, `"instance": "users-1"`) != 8 {
		t.Errorf("not all requests were answered by the instance that is left:\n%s", out)
	}
	w.run("8. A way in")
	w.await("15900", "/readyz")
	within(t, 10*time.Second, func(ctx context.Context) error {
		load := lab.Load{URL: "http://" + w.addr("8000") + "/users/", Host: "www.example.test", Expect: lab.Field("instance")}
		if res := lab.Send(ctx, load, 1); res.Failed > 0 {
			return fmt.Errorf("the gateway has no route yet: %q", res.Failures)
		}
		return nil
	})
	if out := w.run("9. Enter"); !strings.Contains(out, `"name": "user 1"`) {
		t.Errorf("answer:\n%s", out)
	}
	w.run("10. A limit")
	within(t, 10*time.Second, func(context.Context) error {
		if out := w.run("11. See it"); !strings.Contains(out, "429") {
			return fmt.Errorf("nothing is limited:\n%s", out)
		}
		return nil
	})
	if out := w.run("12. Look inside"); !strings.Contains(out, "outrigger_requests_total{") || !strings.Contains(out, "users") {
		t.Errorf("printed:\n%s", out)
	}
	w.run("13. Clean up")
	for _, port := range []string{"8000", "9101", "15000", "15100", "18000"} {
		if !lab.Free(w.addr(port)) {
			t.Errorf("port %s is still in use", port)
		}
	}
}

// answered waits until each of the instances of users has answered at the
// outbound port.
func (w *walk) answered(names ...string) {
	w.t.Helper()
	load := lab.Load{URL: "http://" + w.addr("15001") + "/users/", Host: "users", Expect: lab.Field("instance")}
	within(w.t, 20*time.Second, func(ctx context.Context) error {
		res := lab.Send(ctx, load, 4)
		if len(res.By) != len(names) || res.Failed > 0 {
			return fmt.Errorf("answers came from %v, want them from %v; %q", res.By, names, res.Failures)
		}
		return nil
	})
}

// TestQuickstartRunsByHand types the commands of its README.
func TestQuickstartRunsByHand(t *testing.T) {
	w := startWalk(t, "quickstart", "")
	w.run("By hand")
	for _, port := range []string{"18080", "15000", "15100", "15400", "15600", "15900"} {
		w.await(port, "/readyz")
	}
	load := lab.Load{URL: "http://" + w.addr("8000") + "/orders/", Host: "shop.example.test", Expect: lab.Field("promo", "instance")}
	within(t, 20*time.Second, func(ctx context.Context) error {
		if res := lab.Send(ctx, load, 1); res.Failed > 0 {
			return fmt.Errorf("orders are not answered by all: %q", res.Failures)
		}
		return nil
	})
	within(t, 20*time.Second, func(ctx context.Context) error {
		var hosts struct{ Items []any }
		err := lab.GetJSON(ctx, "http://"+w.addr("18080")+"/v1/hosts", &hosts)
		if err == nil && len(hosts.Items) != 5 {
			err = fmt.Errorf("the control plane knows %d hosts, want 5", len(hosts.Items))
		}
		return err
	})
	if out := w.run("Ask"); !strings.Contains(out, `"title":"item 1"`) {
		t.Errorf("answer:\n%s", out)
	}
}
