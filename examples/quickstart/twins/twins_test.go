package twins_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/outrigger-mesh/outrigger/examples/quickstart/twins"
)

// question is a request, in a conversation whose statistics depend on what came
// before.
type question struct{ method, path string }

func get(paths ...string) []question {
	var all []question
	for _, p := range paths {
		all = append(all, question{"GET", p})
	}
	return all
}

var breaks = []question{
	{"PUT", "/broken"}, {"GET", "/promos/8"}, {"GET", "/healthz"}, {"DELETE", "/broken"}, {"GET", "/promos/9"}, {"GET", "/stats"},
}

func TestTwinsAnswerAsTheirOriginals(t *testing.T) {
	tests := []struct {
		service, tool string
		args          func(addr string) []string
		asked         []question
		counted       float64
	}{
		{
			"users", "python3", func(string) []string { return []string{"../users/users.py"} },
			get("/healthz", "/users/7", "/users/a-b", "/nothing", "/users/", "/stats"), 2,
		},
		{
			"catalog", "node", func(string) []string { return []string{"../catalog/catalog.js"} },
			get("/healthz", "/items/7", "/items/a-b", "/nothing", "/items/", "/stats"), 2,
		},
		{
			"promo", "php", func(addr string) []string { return []string{"-q", "-S", addr, "../promo/promo.php"} },
			append(get("/healthz", "/promos/7", "/promos/a-b", "/nothing", "/promos/"), breaks...), 4,
		},
	}
	for _, tt := range tests {
		t.Run(tt.service, func(t *testing.T) {
			t.Parallel()
			twin := httptest.NewServer(twins.New(twins.Config{Service: tt.service, Instance: tt.service + "-1"}))
			defer twin.Close()
			want := converse(t, twin.Listener.Addr().String(), tt.asked)
			if got := want[len(want)-1]["requests"]; got != tt.counted {
				t.Errorf("requests = %v, want %v", got, tt.counted)
			}
			tool, err := exec.LookPath(tt.tool)
			if err != nil {
				t.Fatalf("internal/testenv/install.sh installs it: %v", err)
			}
			got := converse(t, startOriginal(t, tool, tt.service, tt.args), tt.asked)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("answers (-go +%s):\n%s", tt.tool, diff)
			}
		})
	}
}

func TestThereIsNoTwinOfOrders(t *testing.T) {
	if twins.New(twins.Config{Service: "orders"}) != nil {
		t.Error("a handler")
	}
	if err := twins.Run(t.Context(), twins.Config{Service: "orders"}); err == nil {
		t.Error("no error")
	}
}

// converse asks all of it, over one connection as long as the service keeps it.
func converse(t *testing.T, addr string, asked []question) []map[string]any {
	t.Helper()
	var conn net.Conn
	var in *bufio.Reader
	var answers []map[string]any
	for _, q := range asked {
		if conn == nil {
			var err error
			if conn, err = new(net.Dialer).DialContext(t.Context(), "tcp", addr); err != nil {
				t.Fatal(err)
			}
			if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
				t.Fatal(err)
			}
			in = bufio.NewReader(conn)
		}
		if _, err := fmt.Fprintf(conn, "%s %s HTTP/1.1\r\nHost: users\r\nX-Request-Id: abc\r\n\r\n", q.method, q.path); err != nil {
			t.Fatal(err)
		}
		resp, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatalf("%v: %v", q, err)
		}
		body, err := io.ReadAll(resp.Body)
		if err := errors.Join(err, resp.Body.Close()); err != nil {
			t.Fatalf("%v: %v", q, err)
		}
		v := map[string]any{}
		if err := json.Unmarshal(body, &v); err != nil {
			t.Fatalf("%v: %v: %s", q, err, body)
		}
		v["status code"], v["content type"] = resp.StatusCode, resp.Header.Get("Content-Type")
		answers = append(answers, v)
		if resp.Close { // PHP's server keeps none
			_ = conn.Close()
			conn = nil
		}
	}
	if conn != nil {
		_ = conn.Close()
	}
	return answers
}

// startOriginal runs a service for the length of the test, then ends it by
// SIGTERM and expects a clean exit.
func startOriginal(t *testing.T, tool, service string, args func(addr string) []string) string {
	t.Helper()
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := ln.Addr().String()
	if err := ln.Close(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 30*time.Second)
	cmd := exec.CommandContext(ctx, tool, args(addr)...)
	cmd.Env = append(cmd.Environ(), "LISTEN="+addr, "INSTANCE="+service+"-1", "STATE="+filepath.Join(t.TempDir(), "state"))
	cmd.Stderr = t.Output()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		defer cancel()
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Error(err)
		}
		// PHP's server knows no other end than that of the signal itself.
		if err := cmd.Wait(); err != nil && service != "promo" {
			t.Errorf("%s after SIGTERM: %v", service, err)
		}
	})
	for {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
		if err == nil {
			_ = conn.Close()
			return addr
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s does not listen: %v", service, err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}
