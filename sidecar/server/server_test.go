package server_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go-micro.dev/v4/registry"
	microserver "go-micro.dev/v4/server"
	"go.uber.org/goleak"

	"github.com/outrigger-mesh/outrigger/sidecar/server"
)

func app(t *testing.T) string {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "app "+r.URL.Path)
	}))
	t.Cleanup(srv.Close)
	return srv.Listener.Addr().String()
}

func get(t *testing.T, address string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/x", nil)
	if err != nil {
		t.Fatal(err)
	}
	tr := &http.Transport{DisableKeepAlives: true}
	resp, err := tr.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

func TestStartServesAndRegistersAndStopTakesBoth(t *testing.T) {
	address := app(t)
	known := registry.NewMemoryRegistry() // it keeps a goroutine for good
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	s := server.New(
		server.ConfigYAML(`
app: {address: "`+address+`", health: {interval: 10ms, healthyAfter: 1}}
listen: {inbound: "127.0.0.1:1", outbound: "off", admin: "off"}
middleware: {}
drain: {delay: 1ms}
`),
		microserver.Name("orders"), microserver.Version("v7"), microserver.Address("127.0.0.1:0"),
		microserver.Registry(known), microserver.RegisterTTL(time.Minute),
	)
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	in := s.Address("listen.inbound")
	if got := get(t, in); got != "app /x" {
		t.Errorf("got %q", got)
	}
	find := func() []*registry.Service {
		services, err := known.GetService("orders")
		if err != nil {
			return nil
		}
		return services
	}
	for deadline := time.Now().Add(10 * time.Second); len(find()) == 0; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the app is not registered")
		}
	}
	if got := find()[0]; got.Version != "v7" || len(got.Nodes) != 1 || got.Nodes[0].Address != in {
		t.Errorf("registered as %+v, want version v7 at %s", got, in)
	}
	if err := s.Start(); err == nil {
		t.Error("a second Start is taken")
	}
	if err := s.Stop(); err != nil {
		t.Errorf("stop: %v", err)
	}
	if left := find(); len(left) > 0 && len(left[0].Nodes) > 0 {
		t.Errorf("still registered: %+v", left)
	}
	if err := s.Stop(); err != nil {
		t.Errorf("a second Stop: %v", err)
	}
}

func TestWhatIsWrongIsSaidByStart(t *testing.T) {
	cases := []struct {
		name string
		opts []microserver.Option
		want string
	}{
		{"a mistake in the configuration", []microserver.Option{server.ConfigYAML("listn: {}")}, `configuration:1:1: unknown key "listn"`},
		{"an address without port", []microserver.Option{microserver.Name("a"), microserver.Address("127.0.0.1")}, "has no port"},
		{"a file that is not there", []microserver.Option{server.ConfigFile("missing.yaml")}, "missing.yaml"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			err := server.New(c.opts...).Start()
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

func TestOnlyGoMicrosInternalHandlersAreTaken(t *testing.T) {
	s := server.New()
	if err := s.Handle(s.NewHandler(s, microserver.InternalHandler(true))); err != nil {
		t.Errorf("internal: %v", err)
	}
	if err := s.Handle(s.NewHandler(s)); err == nil {
		t.Error("a handler is taken and would never be called")
	}
	if err := s.Subscribe(s.NewSubscriber("topic", s)); err == nil {
		t.Error("a subscriber is taken and would never be called")
	}
}
