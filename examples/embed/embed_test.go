package main_test

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestTheProxyRunsUnderGoMicro builds the example and runs it as its README
// says, with other ports.
func TestTheProxyRunsUnderGoMicro(t *testing.T) {
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "app "+r.URL.Path)
	}))
	t.Cleanup(app.Close)
	dir := t.TempDir()
	config, err := os.ReadFile("sidecar.yaml")
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Replace(string(config), "127.0.0.1:8080", app.Listener.Addr().String(), 1) +
		"listen: {inbound: \"127.0.0.1:0\", outbound: \"127.0.0.1:0\", admin: \"127.0.0.1:0\"}\ndrain: {delay: 10ms, app: 0s}\n"
	if err := os.WriteFile(filepath.Join(dir, "sidecar.yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	program := filepath.Join(dir, "embed")
	if out, err := exec.CommandContext(ctx, "go", "build", "-o", program, ".").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	cmd := exec.CommandContext(ctx, program)
	cmd.Dir = dir
	log, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	address := make(chan string, 1)
	go func() {
		inbound := regexp.MustCompile(`msg=serving .*listen\.inbound=(\S+)`)
		for lines := bufio.NewScanner(log); lines.Scan(); {
			if m := inbound.FindStringSubmatch(lines.Text()); m != nil {
				address <- m[1]
			}
		}
		close(address)
	}()
	at, ok := <-address
	if !ok {
		t.Fatal("the program ended before it served")
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+at+"/x", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	if err != nil || string(body) != "app /x" {
		t.Errorf("got %q, %v", body, err)
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	for range address { // until the log ends
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("after SIGTERM: %v", err)
	}
}
