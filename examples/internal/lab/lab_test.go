package lab_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/outrigger-mesh/outrigger/examples/internal/lab"
)

// asParent makes this test binary a program that starts a process on a stage,
// says which, and waits to be killed.
const asParent = "OUTRIGGER_LAB_PARENT"

func TestMain(m *testing.M) {
	if os.Getenv(asParent) != "" {
		parent()
	}
	goleak.VerifyTestMain(m)
}

func parent() {
	s, err := lab.NewStage("parent")
	if err != nil {
		panic(err)
	}
	p, err := s.Start(lab.Spec{Name: "child", Path: "/bin/sleep", Args: []string{"600"}})
	if err != nil {
		panic(err)
	}
	fmt.Println(p.PID(), s.Dir)
	select {}
}

func TestNoProcessOutlivesAKilledProgram(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Logf("%s has no parent-death signal", runtime.GOOS)
		return
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self)
	cmd.Env = append(cmd.Environ(), asParent+"=1")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	pidText, dir, _ := strings.Cut(strings.TrimSpace(line), " ")
	defer func() { _ = os.RemoveAll(dir) }()
	pid, err := strconv.Atoi(pidText)
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	within(t, func(context.Context) error {
		if alive(pid) {
			return fmt.Errorf("process %d lives", pid)
		}
		return nil
	})
}

// alive reports whether a process runs. A zombie that nobody has waited for yet
// is dead enough.
func alive(pid int) bool {
	if syscall.Kill(pid, 0) != nil {
		return false
	}
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err != nil || !strings.Contains(string(b), ") Z ")
}

func within(t *testing.T, cond func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := lab.Until(ctx, cond); err != nil {
		t.Fatal(err)
	}
}

func TestCloseKillsProcessGroupsAndRemovesTheFolder(t *testing.T) {
	s, err := lab.NewStage("test")
	if err != nil {
		t.Fatal(err)
	}
	p, err := s.Start(lab.Spec{
		Name: "shell", Path: "/bin/sh",
		Args: []string{"-c", `trap "" TERM; sleep 600 & echo $!; echo $GREETING; wait`},
		Env:  []string{"GREETING=hello"},
	})
	if err != nil {
		t.Fatal(err)
	}
	within(t, func(context.Context) error {
		if !strings.HasSuffix(p.Tail(2), "\nhello") {
			return fmt.Errorf("log: %s", p.Tail(2))
		}
		return nil
	})
	grandchild, err := strconv.Atoi(strings.Fields(p.Tail(2))[0])
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Write("a/b.yaml", []byte("x: 1\n")); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(false); err != nil {
		t.Fatal(err)
	}
	if p.Running() {
		t.Error("the process runs")
	}
	within(t, func(context.Context) error {
		if alive(grandchild) {
			return fmt.Errorf("the process' child %d lives", grandchild)
		}
		return nil
	})
	if _, err := s.Start(lab.Spec{Name: "late", Path: "/bin/true"}); err == nil {
		t.Error("a closed stage starts processes")
	}
	if _, err := os.Stat(s.Dir); !os.IsNotExist(err) {
		t.Errorf("the folder is still there: %v", err)
	}
}

func TestKeptFolderStays(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	s, err := lab.NewStage("test")
	if err != nil {
		t.Fatal(err)
	}
	path, err := s.Write("a.yaml", []byte("x"))
	if err := errors.Join(err, s.Close(true)); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Error(err)
	}
}

func TestAwaitTellsThatTheProcessHasEnded(t *testing.T) {
	s, err := lab.NewStage("test")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close(false) }()
	p, err := s.Start(lab.Spec{Name: "short", Path: "/bin/sh", Args: []string{"-c", "echo no such file; exit 3"}})
	if err != nil {
		t.Fatal(err)
	}
	err = p.Await(t.Context(), func(context.Context) error { return errors.New("not ready") })
	if err == nil || err.Error() != "not ready (short has ended: exit status 3)" {
		t.Errorf("error = %v", err)
	}
	if got := p.Tail(5); got != "no such file" {
		t.Errorf("log = %q", got)
	}
}

func TestTerminateWantsACleanEnd(t *testing.T) {
	s, err := lab.NewStage("test")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close(false) }()
	tests := []struct{ name, trap, want string }{
		{"clean", "exit 0", ""},
		{"failing", "exit 3", "exit status 3"},
		{"deaf", "", "it still runs"},
	}
	for _, tt := range tests {
		p, err := s.Start(lab.Spec{
			Name: tt.name, Path: "/bin/sh",
			Args: []string{"-c", `trap "` + tt.trap + `" TERM; echo up; while :; do sleep 0.01; done`},
		})
		if err != nil {
			t.Fatal(err)
		}
		within(t, func(context.Context) error {
			if p.Tail(1) != "up" {
				return errors.New("not up")
			}
			return nil
		})
		limit := 10 * time.Second
		if tt.name == "deaf" {
			limit = 200 * time.Millisecond
		}
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		err = p.Terminate(ctx)
		cancel()
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: error = %v, want %q", tt.name, err, tt.want)
		}
	}
}

func TestPortsOfTwoProgramsAreDisjoint(t *testing.T) {
	seen := map[string]bool{}
	for range 3 {
		p, err := lab.NewPorts()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = p.Close() })
		for range 30 {
			addr, err := p.Take()
			if err != nil {
				t.Fatal(err)
			}
			if seen[addr] {
				t.Errorf("%s was given out twice", addr)
			}
			seen[addr] = true
		}
	}
}

func TestTrafficCountsWhatCameOfEachRequest(t *testing.T) {
	var n atomic.Int64
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Host != "shop" || !strings.HasPrefix(r.URL.Path, "/orders/") {
			t.Errorf("request for %s%s", r.Host, r.URL.Path)
		}
		if len(r.TransferEncoding) > 0 || r.Header.Get("Content-Length") != "" {
			t.Errorf("the request announces a body: %v %v", r.TransferEncoding, r.Header)
		}
		switch n.Add(1) % 4 {
		case 0:
			w.WriteHeader(http.StatusServiceUnavailable)
		case 1:
			_, _ = w.Write([]byte("not JSON"))
		case 2:
			panic(http.ErrAbortHandler) // must not be hidden by a second try
		default:
			_, _ = w.Write([]byte(`{"user":{"instance":"users-1"}}`))
		}
	}))
	defer srv.Close()
	load := lab.Load{URL: srv.URL + "/orders/", Host: "shop", Rate: 400, Expect: lab.Field("user", "instance")}
	traffic := lab.StartTraffic(t.Context(), load)
	within(t, func(context.Context) error {
		if traffic.Result().Sent < 40 {
			return errors.New("too few")
		}
		return nil
	})
	res := traffic.Stop()
	if res.Answered == 0 || res.Answered != res.By["users-1"] || res.Failed < 2*res.Answered || res.Sent != res.Answered+res.Failed {
		t.Errorf("result = %+v", res)
	}
	if len(res.Failures) != 5 {
		t.Errorf("%d failures are described, want 5: %q", len(res.Failures), res.Failures)
	}
	if res.Statuses[http.StatusServiceUnavailable] == 0 || res.Statuses[http.StatusOK] < 2*res.Answered-1 {
		t.Errorf("statuses = %v of %d requests", res.Statuses, res.Sent)
	}
	if once := lab.Send(t.Context(), load, 8); once.Sent != 8 || once.Answered != 2 {
		t.Errorf("8 in a row: %+v", once)
	}
}

func TestBurstMakesAllItsRequestsSomeAtATime(t *testing.T) {
	var now, most, total atomic.Int64
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/orders/hot" {
			t.Errorf("request for %s", r.URL.Path)
		}
		n := now.Add(1)
		defer now.Add(-1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		if total.Add(1)%3 == 0 {
			w.WriteHeader(http.StatusTooManyRequests)
			return
		}
		_, _ = w.Write([]byte(`{"instance":"orders-1"}`))
	}))
	defer srv.Close()
	res := lab.Burst(t.Context(), lab.Load{URL: srv.URL + "/orders/hot", Same: true, Expect: lab.Field("instance")}, 90, 5)
	if res.Sent != 90 || res.Answered != 60 || res.Statuses[http.StatusTooManyRequests] != 30 || res.By["orders-1"] != 60 {
		t.Errorf("result = %+v", res)
	}
	if total.Load() != 90 || most.Load() > 5 {
		t.Errorf("%d requests came, up to %d at a time", total.Load(), most.Load())
	}
}

func TestRequestsReadsAnAppsCount(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/stats" {
			http.NotFound(w, r)
			return
		}
		_, _ = w.Write([]byte(`{"instance":"a","requests":7}`))
	}))
	defer srv.Close()
	if n, err := lab.Requests(t.Context(), srv.Listener.Addr().String()); err != nil || n != 7 {
		t.Errorf("%d, %v", n, err)
	}
	if err := lab.Healthy(t.Context(), srv.URL+"/healthz"); err == nil || !strings.Contains(err.Error(), "status 404") {
		t.Errorf("error = %v", err)
	}
}

func TestMetricSumsTheSeriesOfOneName(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte("# HELP streams x\nstreams_total 9\nstreams 4\ntries{a=\"b c\"} 5\ntries{a=\"d\"} 1.5e1\n"))
	}))
	defer srv.Close()
	for name, want := range map[string]float64{"streams": 4, "streams_total": 9, "tries": 20} {
		if v, err := lab.Metric(t.Context(), srv.URL, name); err != nil || v != want {
			t.Errorf("%s = %v, %v; want %v", name, v, err, want)
		}
	}
	if v, err := lab.Metric(t.Context(), srv.URL, "tries", `a="d"`); err != nil || v != 15 {
		t.Errorf("one label: %v, %v; want 15", v, err)
	}
	if _, err := lab.Metric(t.Context(), srv.URL, "stream"); err == nil {
		t.Error("no error for a metric that is not there")
	}
}
