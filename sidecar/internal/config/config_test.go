package config_test

import (
	"encoding/json"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/outrigger-mesh/outrigger/internal/conf"
	"github.com/outrigger-mesh/outrigger/internal/run"
	"github.com/outrigger-mesh/outrigger/registry"
	"github.com/outrigger-mesh/outrigger/sidecar/internal/config"
	"github.com/outrigger-mesh/outrigger/sidecar/internal/upstream"
)

var ignoreNodes = cmpopts.IgnoreTypes(conf.Node{})

func load(t *testing.T, path string) *config.Config {
	t.Helper()
	c, err := config.Load(path)
	if err != nil {
		t.Fatalf("Load: %v", err)
	}
	return c
}

// write puts text into a sidecar.yaml of its own.
func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "sidecar.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestLoadReadsEveryKey(t *testing.T) {
	got := load(t, "testdata/good/orders.yaml")
	want := &config.Config{
		File: "testdata/good/orders.yaml",
		App: &config.App{
			Name: "orders", Version: "v1", Address: "127.0.0.1:8080", Advertise: "10.0.3.7:15006",
			Ports: []config.Port{{
				Name: "http", Address: "127.0.0.1:8080", Listen: "0.0.0.0:15006", Advertise: "10.0.3.7:15006",
			}},
			Health: config.Health{
				HTTP: "/healthz", Interval: 2 * time.Second, Timeout: time.Second, HealthyAfter: 2, UnhealthyAfter: 3,
			},
		},
		Node: config.Node{ID: "orders-1", Namespace: "shop", Network: "default", Host: "vm-17", Region: "bj", Zone: "bj-2"},
		Listen: config.Listen{
			Inbound: "0.0.0.0:15006", Outbound: "127.0.0.1:15001", Admin: "127.0.0.1:15000", Metrics: "0.0.0.0:15020",
		},
		Gateway: config.Gateway{Port: 80},
		Discovery: config.Discovery{
			XDS:      &config.XDS{Server: "mesh.internal:18000", TokenFile: "token"},
			Registry: config.Registry{Kind: "mesh", TTL: 15 * time.Second},
		},
		Outbound: config.Outbound{Unknown: config.UnknownPassthrough},
		Upstreams: map[string]config.Upstream{"echo": {
			Protocol: registry.ProtocolGRPC, ConnectTimeout: 250 * time.Millisecond,
			Endpoints: []config.Endpoint{
				{Address: "127.0.0.1:9000", Weight: 1},
				{Address: "10.0.0.1:9000", Weight: 5, Region: "bj", Zone: "bj-1"},
			},
			Settings: upstream.DefaultSettings(),
		}},
		Limits:  config.Default().Limits,
		Log:     config.Log{Level: "debug", Format: run.LogJSON},
		Drain:   config.Drain{Delay: time.Second, Timeout: 10 * time.Second, App: 5 * time.Second},
		Upgrade: config.Upgrade{Timeout: time.Minute},
	}
	if diff := cmp.Diff(want, got, ignoreNodes); diff != "" {
		t.Errorf("configuration (-want +got):\n%s", diff)
	}
	if got.Middleware.Kind() != conf.Map || got.Middleware.At("inbound[0]").Text() != "accesslog" {
		t.Errorf("middleware is %v, want its inline content", got.Middleware.Value())
	}
	if _, ok := got.MiddlewareFile(); ok {
		t.Error("inline middleware is taken for a file")
	}
	if got, want := got.Path("token"), filepath.Join("testdata", "good", "token"); got != want {
		t.Errorf("Path(token) = %s, want %s", got, want)
	}
	if w := got.Warnings(); len(w) != 0 {
		t.Errorf("warnings: %q", w)
	}
}

func TestGatewayHasItsNameOverXDSAndNoInbound(t *testing.T) {
	c := load(t, "testdata/good/gateway.yaml")
	if got, want := c.GatewayListener(), "gateway/default/entry/80"; got != want {
		t.Errorf("GatewayListener() = %s, want %s", got, want)
	}
	want := config.Listen{Admin: "127.0.0.1:15000", Gateway: "0.0.0.0:8000"}
	if diff := cmp.Diff(want, c.Listen); diff != "" {
		t.Errorf("listen (-want +got):\n%s", diff)
	}
	if c.Discovery.XDS == nil || c.Discovery.XDS.Server != "127.0.0.1:18000" {
		t.Errorf("discovery.xds is %+v, want this machine's control plane", c.Discovery.XDS)
	}
	if c.Discovery.Registry.Kind != "" || c.Ports() != nil {
		t.Errorf("a gateway registers nothing, got kind %q and ports %v", c.Discovery.Registry.Kind, c.Ports())
	}
	if file, ok := c.MiddlewareFile(); !ok || file != filepath.Join("testdata", "good", "middleware.yaml") {
		t.Errorf("MiddlewareFile() = %q, %v", file, ok)
	}
}

func TestPortsHaveTheirDefaults(t *testing.T) {
	c := load(t, "testdata/good/ports.yaml")
	want := []config.Port{
		{Name: "http", Protocol: "http", Address: "127.0.0.1:8080", Listen: "127.0.0.1:15006", Advertise: "10.0.3.7:15006"},
		{Name: "admin", Address: "127.0.0.1:8081", Listen: "127.0.0.1:0"}, // undeclared
		{Name: "rpc", Protocol: "grpc", Address: "127.0.0.1:8082", Listen: "127.0.0.1:0"},
	}
	if diff := cmp.Diff(want, c.Ports()); diff != "" {
		t.Errorf("ports (-want +got):\n%s", diff)
	}
	if got := []uint16{c.App.ServicePort(0), c.App.ServicePort(1)}; got[0] != 80 || got[1] != 8081 {
		t.Errorf("service ports %v, want 80 and 8081", got)
	}
}

func TestHealthCheckIsMadeAbsolute(t *testing.T) {
	tests := []struct{ name, health, url, address string }{
		{"nothing is a connection to the app", `{}`, "", "127.0.0.1:8080"},
		{"a path is on the app's port", `{http: /healthz?full=1}`, "http://127.0.0.1:8080/healthz?full=1", "127.0.0.1:8080"},
		{"a URL is taken as it is", `{http: "http://127.0.0.1:9/h"}`, "http://127.0.0.1:9/h", "127.0.0.1:8080"},
		{"tcp true is the app's port", `{tcp: true}`, "", "127.0.0.1:8080"},
		{"tcp may be another port", `{tcp: 127.0.0.1:8081}`, "", "127.0.0.1:8081"},
		{"grpc is on the app's port", `{grpc: {service: orders.v1.Orders}}`, "", "127.0.0.1:8080"},
		{"grpc may be on another port", `{grpc: {address: "127.0.0.1:8081"}}`, "", "127.0.0.1:8081"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := load(t, write(t, "app:\n  name: orders\n  health: "+tt.health))
			check := c.App.HealthCheck()
			if check.URL != tt.url || check.Address != tt.address {
				t.Errorf("check %q at %q, want %q at %q", check.URL, check.Address, tt.url, tt.address)
			}
			if check.Interval != 2*time.Second || check.UnhealthyAfter != 3 {
				t.Errorf("times and thresholds are not the defaults: %+v", check.Health)
			}
		})
	}
}

func TestDefaultIDsOfOneMachineDiffer(t *testing.T) {
	texts := []string{
		"app: {name: orders}",
		"app: {name: users}",
		"app: {name: users}\nlisten: {inbound: 127.0.0.1:15016}",
		"listen: {gateway: 127.0.0.1:8000}\ngateway: {name: default/entry}",
		"listen: {gateway: 127.0.0.1:8001}\ngateway: {name: default/entry}",
		"listen: {outbound: 127.0.0.1:15011}",
	}
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, text := range texts {
		id := load(t, write(t, text)).Node.ID
		if !strings.HasPrefix(id, host) || seen[id] {
			t.Errorf("id %q of %q: want one of its own that begins with %s", id, text, host)
		}
		seen[id] = true
	}
	if !seen[host+"-orders"] {
		t.Errorf("ids are %v, want %s-orders among them", seen, host)
	}
}

func TestNoFileIsTheDefaultsWithAWarning(t *testing.T) {
	t.Chdir(t.TempDir())
	c := load(t, "")
	if c.File != "" || c.Listen.Outbound != "127.0.0.1:15001" || c.App != nil {
		t.Errorf("not the defaults: %+v", c)
	}
	if w := c.Warnings(); len(w) != 1 || !strings.Contains(w[0], "nothing to do") {
		t.Errorf("warnings %q, want one that there is nothing to do", w)
	}
	if err := os.WriteFile(config.DefaultFile, []byte("log: {level: warn}"), 0o600); err != nil {
		t.Fatal(err)
	}
	if c := load(t, ""); c.File != config.DefaultFile || c.Log.Level != "warn" {
		t.Errorf("%s is not read: %+v", config.DefaultFile, c)
	}
}

func TestMissingFileIsNamed(t *testing.T) {
	_, err := config.Load("missing.yaml")
	if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "missing.yaml") {
		t.Errorf("got %v", err)
	}
}

func TestRegisteredAddress(t *testing.T) {
	tests := []struct {
		name, advertise, bound, want string
	}{
		{"advertise wins", "10.0.3.7:15006", "0.0.0.0:15006", "10.0.3.7:15006"},
		{"what was bound", "", "127.0.0.1:34567", "127.0.0.1:34567"},
		{"bound to IPv6", "", "[fd00::1]:15006", "[fd00::1]:15006"},
		{"IPv4 in IPv6", "", "[::ffff:10.0.3.7]:15006", "10.0.3.7:15006"},
		{"all of IPv4", "", "0.0.0.0:15006", ""},
		{"all of IPv6", "", "[::]:15006", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			bound, err := net.ResolveTCPAddr("tcp", tt.bound)
			if err != nil {
				t.Fatal(err)
			}
			got, err := config.Port{Name: "http", Advertise: tt.advertise}.Registered(bound)
			if got != tt.want || (err == nil) != (tt.want != "") {
				t.Errorf("Registered(%s) = %q, %v, want %q", bound, got, err, tt.want)
			}
		})
	}
}

func TestUpstreamKeyFillsInNamespaceAndPort(t *testing.T) {
	c := &config.Config{Node: config.Node{Namespace: "shop"}}
	for name, want := range map[string]string{
		"users":           "users.shop:80",
		"users:8080":      "users.shop:8080",
		"users.other":     "users.other:80",
		"users.other:443": "users.other:443",
	} {
		service, port, err := c.UpstreamKey(name)
		if err != nil || service.PortName(port) != want {
			t.Errorf("UpstreamKey(%s) = %s, %v, want %s", name, service.PortName(port), err, want)
		}
	}
	for _, name := range []string{"", "users:", "users:http", "users:65536", "a.b.c", "Users", "users."} {
		if service, port, err := c.UpstreamKey(name); err == nil {
			t.Errorf("UpstreamKey(%q) = %s, want an error", name, service.PortName(port))
		}
	}
}

func TestJSONHasTheKeysOfTheFile(t *testing.T) {
	data, err := json.Marshal(load(t, "testdata/good/orders.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		App struct {
			Health struct{ HTTP, Interval string }
			Ports  []map[string]any
		}
		Discovery  struct{ Registry struct{ TTL string } }
		Middleware map[string]any
	}
	if err := json.Unmarshal(data, &got); err != nil {
		t.Fatal(err)
	}
	if got.App.Health.Interval != "2s" || got.App.Health.HTTP != "/healthz" || len(got.App.Ports) != 1 ||
		got.Discovery.Registry.TTL != "15s" || got.Middleware["inbound"] == nil {
		t.Errorf("JSON is %s", data)
	}
	if strings.Contains(string(data), `"file"`) {
		t.Errorf("JSON has what is no key of the file: %s", data)
	}
}
