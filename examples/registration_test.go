package examples_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/examples/internal/lab"
)

// TestAppIsWaitedForAndRegisteredOnItsBehalf starts a sidecar before its app
// and before its control plane, and ends it again.
func TestAppIsWaitedForAndRegisteredOnItsBehalf(t *testing.T) {
	addrs := ports(t, 6)
	app, inbound, outbound, admin, xds, api := addrs[0], addrs[1], addrs[2], addrs[3], addrs[4], addrs[5]
	sidecar := runSidecar(t, admin, fmt.Sprintf(`
app: {name: users, address: %s, health: {http: /healthz, interval: 100ms}}
node: {id: users-1}
listen: {inbound: %s, outbound: %s, admin: %s}
discovery: {xds: {server: %s}}
`, app, inbound, outbound, admin, xds))

	stage, err := lab.NewStage("e2e")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := stage.Close(false); err != nil {
			t.Error(err)
		}
	})
	start := func(name string, env []string, args ...string) {
		t.Helper()
		if _, err := stage.Start(lab.Spec{Name: name, Path: filepath.Join(bin, name), Args: args, Env: env}); err != nil {
			t.Fatal(err)
		}
	}
	health := func(want string) {
		t.Helper()
		within(t, 20*time.Second, func(ctx context.Context) error {
			var got struct{ Health, Registration string }
			err := lab.GetJSON(ctx, "http://"+admin+"/config/registration", &got)
			if err == nil && got.Health+" "+got.Registration != want {
				err = fmt.Errorf("the app is %s and its registration %s, want %s", got.Health, got.Registration, want)
			}
			return err
		})
	}
	health("waiting none")

	start("quickstart", []string{"LISTEN=" + app, "INSTANCE=users-1"}, "app", "users")
	health("healthy pending")

	if _, err := stage.Write("controlplane.yaml", fmt.Appendf(nil, "listen: {xds: %s, api: %s}\n", xds, api)); err != nil {
		t.Fatal(err)
	}
	start("controlplane", nil, "run")
	health("healthy registered")
	registered := func(ctx context.Context) ([]string, error) {
		var all struct {
			Endpoints []struct{ Address, Status string }
		}
		err := lab.GetJSON(ctx, "http://"+api+"/v1/endpoints?service=users", &all)
		var list []string
		for _, e := range all.Endpoints {
			list = append(list, e.Address+" "+e.Status)
		}
		return list, err
	}
	got, err := registered(t.Context())
	if err != nil || len(got) != 1 || got[0] != inbound+" up" {
		t.Errorf("registered: %v, %v; want the sidecar's inbound address %s", got, err, inbound)
	}

	// The app's own sidecar is a caller like any other.
	for _, host := range []string{"users", "users.default", "users.default:80"} {
		status, body := raw(t, outbound, "GET /users/7 HTTP/1.1\r\nHost: "+host+"\r\nConnection: close\r\n\r\n")
		if status != http.StatusOK {
			t.Errorf("Host %s: %d %s", host, status, body)
		}
	}
	wantReply(t, outbound, "GET / HTTP/1.1\r\nHost: nobody\r\n\r\n", http.StatusNotFound, "unknown_host")

	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- sidecar.Terminate(ctx) }()
	within(t, 10*time.Second, func(ctx context.Context) error {
		got, err := registered(ctx)
		if err == nil && len(got) > 0 {
			err = errors.New("still registered")
		}
		return err
	})
	if err := <-ended; err != nil {
		t.Errorf("%v\n%s", err, sidecar.Tail(20))
	}
}

// TestGatewayAnswersWhatItHasNoRouteFor checks the gateway's own replies.
func TestGatewayAnswersWhatItHasNoRouteFor(t *testing.T) {
	addrs := ports(t, 4)
	gateway, admin, xds, api := addrs[0], addrs[1], addrs[2], addrs[3]
	stage, err := lab.NewStage("e2e")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := stage.Close(false); err != nil {
			t.Error(err)
		}
	})
	for name, content := range map[string]string{
		"controlplane.yaml": fmt.Sprintf("listen: {xds: %s, api: %s}\n", xds, api),
		"objects/shop.yaml": `apiVersion: mesh.outrigger.dev/v1alpha1
kind: MeshService
metadata: {name: orders}
spec: {ports: [{name: http, port: 80}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: shop}
spec:
  parentRefs: [{name: entry}]
  hostnames: [shop.example.test]
  rules:
    - matches: [{path: {type: PathPrefix, value: /orders}}]
      backendRefs: [{name: orders, port: 80}]
`,
	} {
		if _, err := stage.Write(name, []byte(content)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := stage.Start(lab.Spec{Name: "controlplane", Path: filepath.Join(bin, "controlplane"), Args: []string{"run"}}); err != nil {
		t.Fatal(err)
	}
	runSidecar(t, admin, fmt.Sprintf("gateway: {name: default/entry}\nlisten: {gateway: %s, outbound: off, admin: %s}\ndiscovery: {xds: {server: %s}}\n", gateway, admin, xds))
	within(t, 20*time.Second, func(ctx context.Context) error { return lab.Healthy(ctx, "http://"+admin+"/readyz") })

	tests := []struct {
		name, host, path string
		status           int
		reason           string
	}{
		{"an unknown host", "other.example.test", "/orders/1", http.StatusNotFound, "unknown_host"},
		{"a path without a route", "shop.example.test", "/stock", http.StatusNotFound, "no_route"},
		{"half a segment", "shop.example.test", "/ordersx", http.StatusNotFound, "no_route"},
		{"a service without instances", "shop.example.test", "/orders/1", http.StatusServiceUnavailable, "no_endpoint"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			wantReply(t, gateway, "GET "+tt.path+" HTTP/1.1\r\nHost: "+tt.host+"\r\n\r\n", tt.status, tt.reason)
		})
	}
}
