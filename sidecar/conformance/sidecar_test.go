package conformance

import (
	"cmp"
	"context"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/middleware/builtin"
	"github.com/outrigger-mesh/outrigger/sidecar/internal/config"
	"github.com/outrigger-mesh/outrigger/sidecar/internal/node"
)

// patience is how long anything that has to happen may take. What has to stay
// away is never waited for: a later request shows that it did not come.
const patience = 15 * time.Second

// sidecar is a sidecar in this process, under the race detector like the test.
type sidecar struct {
	at   map[string]string // addresses by the keys of the configuration
	stop func() error      // as SIGTERM does
}

// startSidecar runs a sidecar of the configuration until the test's end.
func startSidecar(t *testing.T, yaml string) *sidecar {
	t.Helper()
	return startSidecarIn(t, t.TempDir(), yaml)
}

// startSidecarIn is startSidecar with its configuration in a folder that has
// more files.
func startSidecarIn(t *testing.T, dir, yaml string) *sidecar {
	t.Helper()
	path := filepath.Join(dir, "sidecar.yaml")
	if err := os.WriteFile(path, []byte(yaml), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := config.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	serving := make(chan map[string]string, 1)
	n, err := node.New(c, node.Options{
		Kinds: builtin.Kinds(), Logger: slog.New(slog.DiscardHandler), Version: "test",
		Serving: func(at map[string]string) { serving <- at },
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- n.Run(ctx) }()
	s := &sidecar{stop: sync.OnceValue(func() error {
		cancel()
		return <-done
	})}
	t.Cleanup(func() {
		if err := s.stop(); err != nil {
			t.Errorf("the sidecar ended with %v", err)
		}
	})
	select {
	case s.at = <-serving:
	case err := <-done:
		t.Fatalf("the sidecar does not run: %v", err)
	case <-time.After(patience):
		t.Fatal("the sidecar does not serve")
	}
	return s
}

// Configurations with the least around the engine: what a message becomes is
// the engine's doing alone.
const (
	inboundYAML = `
app: {name: app, address: "APP", health: {interval: 1h}}
listen: {inbound: "127.0.0.1:0", outbound: "off", admin: "off"}
discovery: {registry: {}}
drain: {delay: 1ms, timeout: 2s}
middleware: {inbound: []}
`
	outboundYAML = `
listen: {outbound: "127.0.0.1:0", admin: "off"}
upstreams: {app: {endpoints: ["APP"]}}
drain: {delay: 1ms, timeout: 2s}
middleware: {outbound: []}
`
)

// startInbound is a sidecar before the app at an address.
func startInbound(t *testing.T, app string) *sidecar {
	t.Helper()
	return startSidecar(t, strings.ReplaceAll(inboundYAML, "APP", app))
}

// startOutbound is a sidecar for which the app is the service named app.
func startOutbound(t *testing.T, app string) *sidecar {
	t.Helper()
	return startSidecar(t, strings.ReplaceAll(outboundYAML, "APP", app))
}

// address is where it takes requests.
func (s *sidecar) address() string {
	return cmp.Or(s.at["listen.inbound"], s.at["listen.outbound"], s.at["listen.gateway"])
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	return ln
}

// eventually polls until ok.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("still not so: %s", what)
		}
	}
}
