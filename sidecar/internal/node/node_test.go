package node

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/outrigger-mesh/outrigger/middleware/builtin"
	"github.com/outrigger-mesh/outrigger/sidecar/internal/config"
)

// log is a log that a test can look into.
type log struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *log) text() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// serving waits for the line that says where everything listens.
func (l *log) serving(t *testing.T) map[string]string {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		l.mu.Lock()
		text := l.b.String()
		l.mu.Unlock()
		for line := range strings.Lines(text) {
			var m map[string]any
			if json.Unmarshal([]byte(line), &m) == nil && m["msg"] == "serving" {
				addresses := map[string]string{}
				for k, v := range m {
					if s, ok := v.(string); ok {
						addresses[k] = s
					}
				}
				return addresses
			}
		}
	}
	t.Fatalf("it does not serve; its log:\n%s", l.b.String())
	return nil
}

func load(t *testing.T, yaml string) *config.Config {
	t.Helper()
	path := filepath.Join(t.TempDir(), "sidecar.yaml")
	if err := os.WriteFile(path, []byte(yaml), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := config.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// start runs a sidecar; stop ends it as SIGTERM would and returns its error.
func start(t *testing.T, yaml string) (addresses map[string]string, stop func() error) {
	t.Helper()
	l := &log{}
	s, err := New(load(t, yaml), Options{Kinds: builtin.Kinds(), Logger: slog.New(slog.NewJSONHandler(l, nil)), Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	stop = sync.OnceValue(func() error {
		cancel()
		return <-done
	})
	t.Cleanup(func() { _ = stop() })
	return l.serving(t), stop
}

func get(t *testing.T, address, host, path string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+address+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if host != "" {
		req.Host = host
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
	return resp.StatusCode, string(body)
}

func TestStaticUpstreamsNeedNoControlPlaneAndNothingIsLeftBehind(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	one := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "one "+r.Host) }))
	defer one.Close()
	dead, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = dead.Close()
	at, stop := start(t, `
listen: {outbound: "127.0.0.1:0", admin: "127.0.0.1:0"}
upstreams:
  echo: {endpoints: ["`+one.Listener.Addr().String()+`", "`+dead.Addr().String()+`"]}
middleware: {outbound: [requestid, retry]}
`)
	for range 10 { // half of them meet the dead endpoint first
		if status, body := get(t, at["listen.outbound"], "echo", "/"); status != 200 || body != "one echo" {
			t.Errorf("%d %s", status, body)
		}
	}
	if status, body := get(t, at["listen.outbound"], "nobody", "/"); status != 404 || !strings.Contains(body, "upstreams") {
		t.Errorf("unknown host: %d %s", status, body)
	}
	for path, want := range map[string]string{
		"/healthz": "", "/readyz": `"ready":true`, "/metrics": "outrigger_downstream_connections",
		"/config": `"static/echo.default:80"`,
	} {
		if status, body := get(t, at["listen.admin"], "", path); status != 200 || !strings.Contains(body, want) {
			t.Errorf("%s: %d %s", path, status, body)
		}
	}
	if err := stop(); err != nil {
		t.Errorf("stop: %v", err)
	}
}

func TestPassthroughToItselfIsALoopUnderWhateverName(t *testing.T) {
	at, _ := start(t, `
listen: {outbound: "127.0.0.1:0", admin: "127.0.0.1:0"}
outbound: {unknown: passthrough}
drain: {delay: 1ms}
`)
	_, port, err := net.SplitHostPort(at["listen.outbound"])
	if err != nil {
		t.Fatal(err)
	}
	for _, host := range []string{"127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "127.0.0.2", "0.0.0.0"} {
		status, body := get(t, at["listen.outbound"], host+":"+port, "/")
		// A name that leads to several addresses may find one where nobody listens.
		if status != http.StatusLoopDetected && (host != "localhost" || status != http.StatusServiceUnavailable) {
			t.Errorf("%s: %d %s, want 508", host, status, body)
		}
	}
}

func TestPortsInUseAreNamedWithTheirKeysAndNothingStartsHalf(t *testing.T) {
	used, other := httptest.NewServer(http.NotFoundHandler()), httptest.NewServer(http.NotFoundHandler())
	defer used.Close()
	defer other.Close()
	address := used.Listener.Addr().String()
	s, err := New(load(t, `
app: {name: orders, address: "127.0.0.1:1"}
listen: {inbound: "`+address+`", outbound: "127.0.0.1:0", admin: "`+other.Listener.Addr().String()+`"}
discovery: {registry: {kind: mesh}, xds: {}}
`), Options{Kinds: builtin.Kinds()})
	if err != nil {
		t.Fatal(err)
	}
	err = s.Run(t.Context())
	if err == nil || !strings.Contains(err.Error(), "listen.inbound: "+address+" is in use") || !strings.Contains(err.Error(), "listen.admin: ") {
		t.Errorf("got %v", err)
	}
	if open := s.doors.list(); len(open) != 0 {
		t.Errorf("%d listeners were left open", len(open))
	}
}

func TestAnAppThatIsAwayIsAnsweredForAndWaitedFor(t *testing.T) {
	at, stop := start(t, `
app: {name: orders, address: "127.0.0.1:1", health: {interval: 10ms}}
listen: {inbound: "127.0.0.1:0", outbound: "127.0.0.1:0", admin: "127.0.0.1:0"}
discovery: {registry: {}}
drain: {delay: 1ms}
`)
	status, body := get(t, at["listen.inbound"], "", "/")
	if status != 503 || !strings.Contains(body, `"reason":"app_unavailable"`) {
		t.Errorf("%d %s", status, body)
	}
	if status, body := get(t, at["listen.admin"], "", "/config"); status != 200 || !strings.Contains(body, `"health": "waiting"`) {
		t.Errorf("%d %s", status, body)
	}
	if err := stop(); err != nil {
		t.Errorf("stop: %v", err)
	}
}
