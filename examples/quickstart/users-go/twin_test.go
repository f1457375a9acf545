package users_test

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
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	users "github.com/outrigger-mesh/outrigger/examples/quickstart/users-go"
)

// conversation is asked of both twins; the statistics at its end depend on
// what came before.
var conversation = []string{"/healthz", "/users/7", "/users/a-b", "/nothing", "/users/", "/stats"}

func TestTwinsAnswerAlike(t *testing.T) {
	goTwin := httptest.NewServer(users.New(users.Config{Instance: "users-1"}))
	defer goTwin.Close()
	want := converse(t, goTwin.Listener.Addr().String())
	if got := want[len(want)-1]["requests"]; got != 2.0 {
		t.Errorf("requests = %v, want the 2 for users", got)
	}

	python, err := exec.LookPath("python3")
	if err != nil {
		t.Log("python3 is not installed: the Go twin alone was tested")
		return
	}
	got := converse(t, startPython(t, python))
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("answers (-go +python):\n%s", diff)
	}
}

// converse asks all of conversation over one connection.
func converse(t *testing.T, addr string) []map[string]any {
	t.Helper()
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	in := bufio.NewReader(conn)
	var answers []map[string]any
	for _, path := range conversation {
		if _, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: users\r\nX-Request-Id: abc\r\n\r\n", path); err != nil {
			t.Fatal(err)
		}
		resp, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		body, err := io.ReadAll(resp.Body)
		if err := errors.Join(err, resp.Body.Close()); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		v := map[string]any{}
		if err := json.Unmarshal(body, &v); err != nil {
			t.Fatalf("%s: %v: %s", path, err, body)
		}
		v["status code"], v["content type"] = resp.StatusCode, resp.Header.Get("Content-Type")
		answers = append(answers, v)
	}
	return answers
}

// startPython runs users.py for the length of the test, then ends it by
// SIGTERM and expects a clean exit.
func startPython(t *testing.T, python string) string {
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
	cmd := exec.CommandContext(ctx, python, "../users/users.py")
	cmd.Env = append(cmd.Environ(), "LISTEN="+addr, "INSTANCE=users-1")
	cmd.Stderr = t.Output()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		defer cancel()
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Error(err)
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("users.py after SIGTERM: %v", err)
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
			t.Fatalf("users.py does not listen: %v", err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}
