package node

import (
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/outrigger-mesh/outrigger/middleware/builtin"
	"github.com/outrigger-mesh/outrigger/sidecar/internal/secure"
	"github.com/outrigger-mesh/outrigger/sidecar/internal/secure/securetest"
)

// askTLS asks an address over TLS, once, and says what came of it.
func askTLS(t *testing.T, ca *securetest.CA, address string) (string, error) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+address+"/", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	r.Host = "a"
	tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: ca.Pool, ServerName: "server", MinVersion: tls.VersionTLS12}, DisableKeepAlives: true}
	res, err := tr.RoundTrip(r)
	if err != nil {
		return "", err
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(res.Body)
	return string(b), err
}

// TLS of listeners and of upstreams changes with the file, and what does not
// change is left alone.
func TestTLSFollowsTheFile(t *testing.T) {
	ca, folder := securetest.NewCA(t, "mesh"), t.TempDir()
	pair := ca.Issue(t, securetest.Leaf{Hosts: []string{"server", "127.0.0.1"}})
	cert, key := pair.Write(t, folder, "server")
	roots := securetest.Write(t, folder, "ca.pem", ca.PEM)
	strangers := securetest.Write(t, folder, "strangers.pem", securetest.NewCA(t, "strangers").PEM)
	backend := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "backend") }))
	backend.TLS = &tls.Config{Certificates: []tls.Certificate{pair.TLS}, MinVersion: tls.VersionTLS12}
	backend.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	backend.StartTLS()
	t.Cleanup(backend.Close)

	file := func(listener, upstream string) string {
		return fmt.Sprintf(`
listen: {outbound: "127.0.0.1:0", admin: "127.0.0.1:0"}
drain: {delay: 1ms, timeout: 2s}
tls: {outbound: %s}
upstreams: {a: {endpoints: [%q], tls: %s}}
`, listener, backend.Listener.Addr(), upstream)
	}
	on := fmt.Sprintf("{certificates: [{cert: %q, key: %q}]}", cert, key)
	trusting := fmt.Sprintf("{ca: %q}", roots)
	r := startFile(t, file("{}", trusting), nil)
	address := r.address("outbound")
	if status, body := get(t, address, "a", "/"); status != http.StatusOK || body != "backend" {
		t.Fatalf("%d %q", status, body)
	}
	if _, err := askTLS(t, ca, address); err == nil {
		t.Error("TLS is served before it is configured")
	}
	client := r.clusters.Get(staticName("a.default:80"))

	r.save(file(on, trusting))
	if body, err := askTLS(t, ca, address); err != nil || body != "backend" {
		t.Fatalf("%q, %v", body, err)
	}
	if status, body := get(t, address, "a", "/"); status != http.StatusBadRequest || !strings.Contains(body, "this port speaks TLS") {
		t.Errorf("plain text: %d %q", status, body)
	}
	if r.address("outbound") != address || r.clusters.Get(staticName("a.default:80")) != client {
		t.Error("listener or cluster was made anew")
	}
	if st := r.tls.files.Status(); len(st) != 2 {
		t.Errorf("files %+v", st)
	}

	r.refused(file(on, `{ca: "`+filepath.Join(folder, "none.pem")+`"}`), "upstreams.a.tls.ca: cannot be read")
	if body, err := askTLS(t, ca, address); err != nil || body != "backend" {
		t.Errorf("what was in force is not any more: %q, %v", body, err)
	}

	r.save(file("{}", fmt.Sprintf("{ca: %q}", strangers)))
	if status, body := get(t, address, "a", "/"); status != http.StatusServiceUnavailable || !strings.Contains(body, "certificate not accepted") {
		t.Errorf("a connection under the old authority is used: %d %q", status, body)
	}
	if st := r.tls.files.Status(); len(st) != 1 || st[0].Files[0] != strangers {
		t.Errorf("files that nobody needs are watched: %+v", st)
	}
	r.save(file("{}", trusting))
	if status, body := get(t, address, "a", "/"); status != http.StatusOK {
		t.Errorf("%d %q", status, body)
	}
	if status, body := get(t, r.address("admin"), "", "/config/tls"); status != http.StatusOK || !strings.Contains(body, roots) {
		t.Errorf("admin: %d %s", status, body)
	}
}

// Clusters that are configured alike share a client, and keep it.
func TestTheSameTLSIsTheSameClient(t *testing.T) {
	ca, folder := securetest.NewCA(t, "mesh"), t.TempDir()
	roots := securetest.Write(t, folder, "ca.pem", ca.PEM)
	yaml := func(more string) string {
		return fmt.Sprintf(`
listen: {outbound: "127.0.0.1:0", admin: "off"}
upstreams:
  a: {endpoints: ["127.0.0.1:1"], tls: {ca: %q}%s}
  b: {endpoints: ["127.0.0.1:2"], tls: {ca: %q}}
`, roots, more, roots)
	}
	r := startFile(t, yaml(""), nil)
	of := func(name string) *secure.Client {
		u := r.config.Load().Upstreams[name]
		return r.tls.client(r.config.Load(), u.TLS)
	}
	before := of("a")
	if before == nil || of("b") != before {
		t.Error("not shared")
	}
	r.save(yaml(", connectTimeout: 3s"))
	if of("a") != before {
		t.Error("not kept")
	}
}

func TestTheAppIsCheckedOverTLS(t *testing.T) {
	ca, folder := securetest.NewCA(t, "mesh"), t.TempDir()
	pair := ca.Issue(t, securetest.Leaf{Hosts: []string{"orders.local"}})
	app := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	app.TLS = &tls.Config{Certificates: []tls.Certificate{pair.TLS}, MinVersion: tls.VersionTLS12}
	app.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	app.StartTLS()
	t.Cleanup(app.Close)
	for name, healthy := range map[string]bool{"orders.local": true, "elsewhere": false} {
		c := load(t, fmt.Sprintf(`
app: {name: orders, address: %q, health: {http: /healthz}, tls: {ca: %q, serverName: %s}}
listen: {inbound: "127.0.0.1:0", outbound: "off", admin: "off"}
`, app.Listener.Addr(), securetest.Write(t, folder, "ca.pem", ca.PEM), name))
		n, err := New(c, Options{Kinds: builtin.Kinds()})
		if err != nil {
			t.Fatal(err)
		}
		if err := n.healthOptions(c).Probe(t.Context()); (err == nil) != healthy {
			t.Errorf("%s: %v", name, err)
		}
	}
}
