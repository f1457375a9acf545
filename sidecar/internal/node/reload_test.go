package node

import (
	"context"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/middleware"
	"github.com/outrigger-mesh/outrigger/sidecar/internal/config"
)

// answer is a kind that answers every request, and counts how many of its
// states are open.
type answerConfig struct{ Status int }

type answerState struct{ open *atomic.Int32 }

func (s *answerState) Close() error {
	s.open.Add(-1)
	return nil
}

func answerKind(open *atomic.Int32) middleware.Kind {
	return middleware.NewKind("answer", func() answerConfig { return answerConfig{Status: 200} },
		func(c answerConfig, e middleware.Env) (middleware.Parts, error) {
			middleware.State(e, "state", func() *answerState {
				open.Add(1)
				return &answerState{open}
			})
			return middleware.Parts{Request: middleware.Func(func(x *middleware.Exchange, _ middleware.Handler) error {
				return x.Reply(c.Status, "answered")
			})}, nil
		})
}

// eventually polls until ok, for as long as a saved file may take and more.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("still not so: %s", what)
		}
	}
}

func write(t *testing.T, path, content string) {
	t.Helper()
	temp := path + ".new"
	if err := os.WriteFile(temp, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(temp, path); err != nil {
		t.Fatal(err)
	}
}

func TestASavedMiddlewareFileIsInForceAndABadOneChangesNothing(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "middleware.yaml")
	write(t, file, "outbound: [{answer: {status: 201}}]\n")
	write(t, filepath.Join(dir, "sidecar.yaml"), `
listen: {outbound: "127.0.0.1:0", admin: "127.0.0.1:0"}
middleware: middleware.yaml
upstreams: {a: {endpoints: ["127.0.0.1:1"]}, b: {endpoints: ["127.0.0.1:1"]}}
`)
	c, err := config.Load(filepath.Join(dir, "sidecar.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var open atomic.Int32
	l := &log{}
	s, err := New(c, Options{Kinds: []middleware.Kind{answerKind(&open)}, Logger: slog.New(slog.NewJSONHandler(l, nil))})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	at := l.serving(t)
	status := func(host string) int {
		code, _ := get(t, at["listen.outbound"], host, "/")
		return code
	}
	if got := status("a"); got != 201 {
		t.Fatalf("got %d, want 201", got)
	}

	write(t, file, "outbound: [{answer: {status: 202}}]\nservices: {b: {outbound: [{answer: {status: 203}}]}}\n")
	eventually(t, "the new file is in force", func() bool { return status("a") == 202 })
	if got := status("b"); got != 203 {
		t.Errorf("a service's own list: got %d, want 203", got)
	}

	write(t, file, "outbound: [{answer: {status: none}}]\nservices: {B_: {}}\n")
	eventually(t, "the bad file is told of", func() bool {
		_, metrics := get(t, at["listen.admin"], "", "/metrics")
		return strings.Contains(metrics, "\noutrigger_middleware_file_bad 1\n")
	})
	if got := status("a"); got != 202 {
		t.Errorf("after a bad file: got %d, want 202 as before", got)
	}
	if _, dump := get(t, at["listen.admin"], "", "/config"); !strings.Contains(dump, "middleware.yaml:1:") {
		t.Errorf("the dump does not say where the file is wrong: %s", dump)
	}

	write(t, file, "") // as while it is being written: not "no middleware"
	eventually(t, "the empty file is told of", func() bool {
		_, dump := get(t, at["listen.admin"], "", "/config")
		return strings.Contains(dump, "the file is empty")
	})
	if got := status("a"); got != 202 {
		t.Errorf("after an empty file: got %d, want 202 as before", got)
	}

	write(t, file, "outbound: []\n")
	eventually(t, "the mended file is in force", func() bool { return status("a") == http.StatusServiceUnavailable })
	eventually(t, "what nobody uses any more is closed", func() bool {
		runtime.GC()
		return open.Load() == 0
	})
	cancel()
	if err := <-done; err != nil {
		t.Errorf("run: %v", err)
	}
}

func TestAServiceIsFoundUnderEachOfItsNamesInTheFile(t *testing.T) {
	own, other := &middleware.Chains{}, &middleware.Chains{}
	for _, name := range []string{"users", "users.shop", "users.shop:80"} {
		p := &program{chains: map[chainKey]*middleware.Chains{
			{middleware.Outbound, ""}: other, {middleware.Outbound, name}: own,
		}}
		if p.find(middleware.Outbound, "users.shop:80", "shop") != own {
			t.Errorf("%s is not found", name)
		}
		if p.find(middleware.Outbound, "users.other:80", "shop") != other {
			t.Errorf("%s is taken for users of another namespace", name)
		}
		if p.find(middleware.Inbound, "users.shop/http", "shop") != nil {
			t.Errorf("%s is found in another direction", name)
		}
	}
}
