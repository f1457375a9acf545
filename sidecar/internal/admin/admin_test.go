package admin

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serve runs an admin port on loopback for the length of the test and returns
// its address.
func serve(t *testing.T, o Options) string {
	t.Helper()
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- NewServer(ln, New(o), nil).Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return ln.Addr().String()
}

// answer is what a test looks at of a response.
type answer struct {
	status int
	typ    string
	body   string
}

func ask(t *testing.T, method, addr, path, body string, change func(*http.Request)) answer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, "http://"+addr+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(req)
	}
	tr := &http.Transport{DisableKeepAlives: true}
	resp, err := (&http.Client{Transport: tr}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header.Get("Content-Type"), string(b)}
}

func get(t *testing.T, addr, path string) answer {
	t.Helper()
	return ask(t, http.MethodGet, addr, path, "", nil)
}

func TestReadyzGivesTheReasons(t *testing.T) {
	var reasons []string
	addr := serve(t, Options{Ready: func() []string { return reasons }})
	if a := get(t, addr, "/readyz"); a.status != http.StatusOK || a.body != `{"ready":true}` {
		t.Errorf("ready: %+v", a)
	}
	reasons = []string{"draining", "listen.inbound is not bound"}
	want := `{"ready":false,"reasons":["draining","listen.inbound is not bound"]}`
	if a := get(t, addr, "/readyz"); a.status != http.StatusServiceUnavailable || a.body != want {
		t.Errorf("not ready: %+v", a)
	}
	if a := get(t, addr, "/healthz"); a.status != http.StatusOK {
		t.Errorf("healthz while not ready: %+v, want 200: the process lives", a)
	}
	if a := ask(t, http.MethodHead, addr, "/readyz", "", nil); a.status != http.StatusServiceUnavailable || a.body != "" {
		t.Errorf("HEAD: %+v", a)
	}
}

func TestConfigShowsEverySourceAtTheMomentOfTheRequest(t *testing.T) {
	n := 0
	addr := serve(t, Options{Sources: map[string]func() any{
		"routes": func() any { n++; return []int{n} },
		"xds":    func() any { return map[string]bool{"connected": true} },
	}})
	for i := 1; i <= 2; i++ {
		a := get(t, addr, "/config")
		var got map[string]any
		if err := json.Unmarshal([]byte(a.body), &got); err != nil || a.status != http.StatusOK {
			t.Fatalf("%+v: %v", a, err)
		}
		want := map[string]any{"routes": []any{float64(i)}, "xds": map[string]any{"connected": true}}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("dump (-want +got):\n%s", diff)
		}
	}
	if a := get(t, addr, "/config/xds"); a.body != "{\n  \"connected\": true\n}\n" || !strings.HasPrefix(a.typ, "application/json") {
		t.Errorf("one part: %+v", a)
	}
	if a := get(t, addr, "/config/secrets"); a.status != http.StatusNotFound || !strings.Contains(a.body, "there are routes, xds") {
		t.Errorf("a part that is not there: %+v", a)
	}
}

func TestSourceThatFailsIsAnsweredAndEndsNothing(t *testing.T) {
	addr := serve(t, Options{Sources: map[string]func() any{
		"panics":     func() any { panic("boom") },
		"unprinting": func() any { return make(chan int) },
	}})
	for _, part := range []string{"panics", "unprinting"} {
		a := get(t, addr, "/config/"+part)
		if a.status != http.StatusInternalServerError || !strings.Contains(a.body, `"reason":"internal"`) {
			t.Errorf("%s: %+v", part, a)
		}
	}
	if a := get(t, addr, "/healthz"); a.status != http.StatusOK {
		t.Errorf("afterwards: %+v", a)
	}
}

func TestMetricsServesTheGatherer(t *testing.T) {
	reg := prometheus.NewRegistry()
	promauto.With(reg).NewCounter(prometheus.CounterOpts{Name: "probe_total", Help: "x"}).Add(3)
	addr := serve(t, Options{Gatherer: reg})
	if a := get(t, addr, "/metrics"); a.status != http.StatusOK || !strings.Contains(a.body, "\nprobe_total 3\n") {
		t.Errorf("%+v", a)
	}
}

func TestLogLevelIsReadAndSet(t *testing.T) {
	var lv slog.LevelVar
	addr := serve(t, Options{Level: &lv})
	if a := get(t, addr, "/log"); a.body != `{"level":"info"}` {
		t.Errorf("at first: %+v", a)
	}
	if a := ask(t, http.MethodPut, addr, "/log", `{"level":"debug"}`, nil); a.status != http.StatusOK || a.body != `{"level":"debug"}` {
		t.Errorf("set: %+v", a)
	}
	if lv.Level() != slog.LevelDebug {
		t.Errorf("level = %v", lv.Level())
	}
	bad := []struct {
		name, body string
		status     int
		reason     string
	}{
		{"no such level", `{"level":"loud"}`, http.StatusBadRequest, "debug, info, warn and error"},
		{"an unknown field", `{"lvl":"debug"}`, http.StatusBadRequest, "lvl"},
		{"not JSON", `debug`, http.StatusBadRequest, "want"},
		{"nothing", ``, http.StatusBadRequest, "want"},
		{"too much", `{"level":"` + strings.Repeat("x", maxBody) + `"}`, http.StatusRequestEntityTooLarge, "larger than 4096 bytes"},
	}
	for _, tt := range bad {
		t.Run(tt.name, func(t *testing.T) {
			a := ask(t, http.MethodPut, addr, "/log", tt.body, nil)
			if a.status != tt.status || !strings.Contains(a.body, tt.reason) {
				t.Errorf("%+v", a)
			}
			if lv.Level() != slog.LevelDebug {
				t.Errorf("the level was changed to %v", lv.Level())
			}
		})
	}
}

func TestDrainIsAPost(t *testing.T) {
	drains := 0
	addr := serve(t, Options{Drain: func() { drains++ }})
	if a := get(t, addr, "/drain"); a.status != http.StatusMethodNotAllowed || !strings.Contains(a.body, "method_not_allowed") || drains != 0 {
		t.Errorf("GET: %+v, %d drains", a, drains)
	}
	if a := ask(t, http.MethodPost, addr, "/drain", "", nil); a.status != http.StatusAccepted || drains != 1 {
		t.Errorf("POST: %+v, %d drains", a, drains)
	}
}

func TestIndexListsThePages(t *testing.T) {
	addr := serve(t, Options{Sources: map[string]func() any{"clusters": func() any { return nil }}})
	a := get(t, addr, "/")
	for _, want := range []string{"GET /healthz", "GET /readyz", "GET /metrics", "GET /config/clusters", "PUT /log", "POST /drain"} {
		if !strings.Contains(a.body, want) {
			t.Errorf("the index does not list %s:\n%s", want, a.body)
		}
	}
	if a := get(t, addr, "/nothing"); a.status != http.StatusNotFound || !strings.Contains(a.body, `"reason":"not_found"`) {
		t.Errorf("an unknown page: %+v", a)
	}
}

func TestPartsLeftOutSaySo(t *testing.T) {
	addr := serve(t, Options{})
	for _, tt := range []struct{ method, path string }{
		{http.MethodGet, "/metrics"}, {http.MethodGet, "/log"}, {http.MethodPut, "/log"}, {http.MethodPost, "/drain"},
	} {
		if a := ask(t, tt.method, addr, tt.path, "", nil); a.status != http.StatusNotFound || !strings.Contains(a.body, "reason") {
			t.Errorf("%s %s: %+v", tt.method, tt.path, a)
		}
	}
	if a := get(t, addr, "/readyz"); a.status != http.StatusOK {
		t.Errorf("readyz: %+v", a)
	}
}

func TestRequestsOfWebPagesAreRefused(t *testing.T) {
	drains := 0
	addr := serve(t, Options{Drain: func() { drains++ }, Hosts: []string{"vm-17.corp.example"}})
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	hosts := []struct {
		host string
		want int
	}{
		{addr, http.StatusOK},
		{"127.0.0.1", http.StatusOK},
		{"10.1.2.3:15000", http.StatusOK},
		{"[::1]:" + port, http.StatusOK},
		{"[::1]", http.StatusOK},
		{"localhost:" + port, http.StatusOK},
		{"LOCALHOST", http.StatusOK},
		{"VM-17.corp.example:" + port, http.StatusOK},
		{"evil.example", http.StatusForbidden},
		{"evil.example:" + port, http.StatusForbidden},
		{"localhost.evil.example", http.StatusForbidden},
		{"127.0.0.1.evil.example:" + port, http.StatusForbidden},
		{strings.Repeat("x", 3000) + ".example", http.StatusForbidden},
	}
	for _, tt := range hosts {
		a := ask(t, http.MethodGet, addr, "/healthz", "", func(r *http.Request) { r.Host = tt.host })
		if a.status != tt.want {
			t.Errorf("Host %.40q: %+v, want %d", tt.host, a, tt.want)
		}
		if tt.want == http.StatusForbidden && (!strings.Contains(a.body, `"reason":"foreign_host"`) || len(a.body) > 500) {
			t.Errorf("Host %.40q: body %s", tt.host, a.body)
		}
	}
	a := ask(t, http.MethodPost, addr, "/drain", "", func(r *http.Request) { r.Header.Set("Origin", "https://evil.example") })
	if a.status != http.StatusForbidden || !strings.Contains(a.body, `"reason":"foreign_origin"`) || drains != 0 {
		t.Errorf("a post from another origin: %+v, %d drains", a, drains)
	}
}

func TestRunLetsARequestFinishAndThenEnds(t *testing.T) {
	entered, release := make(chan struct{}), make(chan struct{})
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	handler := New(Options{Sources: map[string]func() any{"slow": func() any {
		close(entered)
		<-release
		return "done"
	}}})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- NewServer(ln, handler, nil).Run(ctx) }()
	answered := make(chan answer, 1)
	go func() { answered <- get(t, ln.Addr().String(), "/config/slow") }()
	<-entered
	cancel()
	waitRefused(t, ln.Addr().String())
	close(release)
	if a := <-answered; a.status != http.StatusOK || a.body != "\"done\"\n" {
		t.Errorf("%+v", a)
	}
	if err := <-ended; err != nil {
		t.Errorf("Run: %v", err)
	}
}

func TestRunReturnsTheErrorOfItsListener(t *testing.T) {
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := ln.Close(); err != nil {
		t.Fatal(err)
	}
	err = NewServer(ln, New(Options{}), nil).Run(t.Context())
	if err == nil || !strings.Contains(err.Error(), "serve the admin port: ") {
		t.Errorf("error = %v", err)
	}
}

// waitRefused returns when nothing listens at addr any more.
func waitRefused(t *testing.T, addr string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
		if err != nil {
			if ctx.Err() != nil {
				t.Fatal("the listener stayed open")
			}
			return
		}
		_ = conn.Close()
	}
}
