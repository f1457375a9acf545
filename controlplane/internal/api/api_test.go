package api_test

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/outrigger-mesh/outrigger/controlplane/internal/api"
	"github.com/outrigger-mesh/outrigger/controlplane/internal/mesh"
	"github.com/outrigger-mesh/outrigger/controlplane/internal/object"
	"github.com/outrigger-mesh/outrigger/registry"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func snapshot() *mesh.Snapshot {
	service := func(namespace, name string, instances ...mesh.Instance) *mesh.Service {
		return &mesh.Service{
			Name:  registry.ServiceName{Namespace: namespace, Name: name},
			Ports: []mesh.Port{{Port: registry.Port{Name: "http", Number: 80, Protocol: registry.ProtocolHTTP}, Instances: instances}},
		}
	}
	instance := func(service, node string, status registry.Status) mesh.Instance {
		return mesh.Instance{Source: "sidecar", Instance: registry.Instance{
			InstanceKey: registry.InstanceKey{
				Network: "default", Node: node, PortName: "http",
				Service: registry.ServiceName{Namespace: "default", Name: service},
			},
			Address: "10.0.0.1:15006", Status: status, Locality: registry.Locality{Region: "bj"},
		}}
	}
	s := &mesh.Snapshot{Services: map[registry.ServiceName]*mesh.Service{}}
	for _, svc := range []*mesh.Service{
		service("default", "users", instance("users", "vm-1", registry.StatusUp), instance("users", "vm-2", registry.StatusDraining)),
		service("default", "orders", instance("orders", "vm-3", registry.StatusUp)),
		service("a", "empty"),
	} {
		s.Services[svc.Name] = svc
	}
	return s
}

// serve serves the API on a socket of its own until the test ends.
func serve(t *testing.T, o api.Options) (base string) {
	t.Helper()
	if o.Ready == nil {
		o.Ready = func() string { return "" }
	}
	if o.Metrics == nil {
		o.Metrics = prometheus.NewRegistry()
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Elsewhere == nil {
		o.Elsewhere = func(object.ID) (mesh.Holder, bool) { return mesh.Holder{}, false }
	}
	o.Status = func(context.Context) (any, error) { return api.Status{Version: "v1"}, nil }
	o.Snapshot = snapshot
	o.Proxies = func() any { return []string{"n1"} }
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- api.Serve(ctx, l, api.New(o)) }()
	t.Cleanup(func() {
		http.DefaultClient.CloseIdleConnections()
		cancel()
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return "http://" + l.Addr().String()
}

// request returns the status and body of an answer.
func request(t *testing.T, method, url, host string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = host
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

func wantJSON(t *testing.T, got, want string) {
	t.Helper()
	var g, w any
	if err := json.Unmarshal([]byte(got), &g); err != nil {
		t.Fatalf("%v: %s", err, got)
	}
	if err := json.Unmarshal([]byte(want), &w); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(w, g); diff != "" {
		t.Errorf("body (-want +got):\n%s", diff)
	}
}

func TestAnswers(t *testing.T) {
	base := serve(t, api.Options{})
	tests := []struct {
		name, method, path, host string
		code                     int
		body                     string
	}{
		{"it lives", "GET", "/healthz", "", 200, `{"status":"ok"}`},
		{"it is ready", "GET", "/readyz", "", 200, `{"status":"ready"}`},
		{"clients", "GET", "/v1/proxies", "", 200, `{"proxies":["n1"]}`},
		{"services", "GET", "/v1/services", "", 200, `{"services":[
			{"namespace":"a","name":"empty","declared":false,"ports":[
				{"name":"http","number":80,"protocol":"http","xds":"empty.a:80","endpoints":0,"up":0}]},
			{"namespace":"default","name":"orders","declared":false,"ports":[
				{"name":"http","number":80,"protocol":"http","xds":"orders.default:80","endpoints":1,"up":1}]},
			{"namespace":"default","name":"users","declared":false,"ports":[
				{"name":"http","number":80,"protocol":"http","xds":"users.default:80","endpoints":2,"up":1}]}]}`},
		{"endpoints of one service", "GET", "/v1/endpoints?namespace=default&service=orders", "", 200, `{"endpoints":[
			{"xds":"orders.default:80","source":"sidecar","network":"default","node":"vm-3","portName":"http",
			 "service":{"namespace":"default","name":"orders"},"address":"10.0.0.1:15006","status":"up","locality":{"region":"bj"}}]}`},
		{"endpoints of none", "GET", "/v1/endpoints?service=none", "", 200, `{"endpoints":[]}`},
		{"services of one namespace", "GET", "/v1/services?namespace=a", "", 200, `{"services":[
			{"namespace":"a","name":"empty","declared":false,"ports":[
				{"name":"http","number":80,"protocol":"http","xds":"empty.a:80","endpoints":0,"up":0}]}]}`},
		{"status", "GET", "/v1/status", "", 200, `{"version":"v1","services":0,"hosts":0,"routes":0,
			"endpoints":{"up":0,"draining":0,"down":0},"proxies":{"connected":0,"nacks":0},"sources":null,"collections":null}`},
		{"an unknown path", "GET", "/v2", "", 404, `{"error":"there is nothing here; / lists what there is","reason":"not_found"}`},
		{"a write to a view", "POST", "/v1/services", "", 405, `{"error":"/v1/services shows what is: it is not written to","reason":"method_not_allowed"}`},
		{"a wrong method", "PUT", "/healthz", "", 405, `{"error":"PUT is not for this path, GET is","reason":"method_not_allowed"}`},
		{"localhost", "GET", "/healthz", "localhost:18080", 200, `{"status":"ok"}`},
		{"an IPv6 address", "GET", "/healthz", "[::1]:18080", 200, `{"status":"ok"}`},
		{
			"a name that a web page had pointed here", "GET", "/v1/services", "evil.example.com", 403,
			`{"error":"the Host must be an address or localhost, so that no web page can reach this API through a browser","reason":"forbidden"}`,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			code, body := request(t, tt.method, base+tt.path, tt.host)
			if code != tt.code {
				t.Errorf("status %d, want %d", code, tt.code)
			}
			wantJSON(t, body, tt.body)
		})
	}
}

func TestNotReadySaysWhatIsWaitedFor(t *testing.T) {
	base := serve(t, api.Options{Ready: func() string { return "the store" }})
	code, body := request(t, "GET", base+"/readyz", "")
	if code != http.StatusServiceUnavailable {
		t.Errorf("status %d, want 503", code)
	}
	wantJSON(t, body, `{"status":"not ready","reason":"the store"}`)
}

func TestMetricsAreServed(t *testing.T) {
	reg := prometheus.NewRegistry()
	c := prometheus.NewCounter(prometheus.CounterOpts{Name: "boats_total", Help: "Boats."})
	reg.MustRegister(c)
	c.Add(3)
	base := serve(t, api.Options{Metrics: reg})
	if code, body := request(t, "GET", base+"/metrics", ""); code != 200 || !strings.Contains(body, "boats_total 3\n") {
		t.Errorf("got %d and no boats:\n%s", code, body)
	}
}

// Where it listens for other machines, it may have a name there.
func TestANameIsFineAwayFromLoopback(t *testing.T) {
	h := api.New(api.Options{Logger: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry()})
	for address, want := range map[string]int{"10.0.0.1": 200, "127.0.0.1": 403, "::1": 403} {
		ctx := context.WithValue(t.Context(), http.LocalAddrContextKey, &net.TCPAddr{IP: net.ParseIP(address), Port: 18080})
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequestWithContext(ctx, http.MethodGet, "http://controlplane.internal:18080/healthz", http.NoBody))
		if w.Code != want {
			t.Errorf("at %s it answers %d, want %d", address, w.Code, want)
		}
	}
}
