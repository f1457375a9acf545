package hop

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/outrigger-mesh/outrigger/bench/internal/answerer"
	"github.com/outrigger-mesh/outrigger/bench/internal/intree"
	"github.com/outrigger-mesh/outrigger/bench/internal/load"
	"github.com/outrigger-mesh/outrigger/bench/internal/peer"
	"github.com/outrigger-mesh/outrigger/internal/run"
)

// The tests' own program stands in for the benchmark's: it is the load
// generator and the proxies that are in it.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == load.Subcommand {
		run.Main(func(ctx context.Context) error { return load.Main(ctx, os.Stdin, os.Stdout) })
	}
	if len(os.Args) > 1 && os.Args[1] == peer.Subcommand {
		run.Main(func(ctx context.Context) error { return intree.Main(ctx, os.Args[2:]) })
	}
	if len(os.Args) > 1 && os.Args[1] == answerer.Subcommand {
		run.Main(func(ctx context.Context) error { return answerer.Main(ctx, os.Args[2:]) })
	}
	os.Exit(m.Run())
}

// small is a run that takes seconds.
func small(t *testing.T) Options {
	t.Helper()
	runtime.LockOSThread() // see Run
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "hop") //nolint:usetesting // t.TempDir's is neither short nor open to others
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = os.RemoveAll(dir)
		if left := processesOf(t, dir); len(left) > 0 {
			t.Errorf("left behind: %q", left)
		}
	})
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return Options{
		Rounds: 2, Duration: 100 * time.Millisecond, Connections: 8, Idle: 100, Only: []string{"fasthttp"}, Cases: []string{"get-1k"},
		Self: self, Dir: dir, Progress: new(bytes.Buffer), Settle: 20 * time.Millisecond,
	}
}

// processesOf are the command lines of processes that run in a folder, or
// have been told of it.
func processesOf(t *testing.T, dir string) []string {
	t.Helper()
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, path := range lines {
		if path == "/proc/"+strconv.Itoa(os.Getpid())+"/cmdline" {
			continue
		}
		text, _ := os.ReadFile(path) // it may have ended
		cwd, _ := os.Readlink(filepath.Join(filepath.Dir(path), "cwd"))
		if strings.Contains(string(text), dir) || strings.HasPrefix(cwd, dir) {
			found = append(found, strings.ReplaceAll(string(text), "\x00", " "))
		}
	}
	return found
}

func TestRunMeasuresEverything(t *testing.T) {
	o := small(t)
	r, err := Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Failures) > 0 {
		t.Errorf("failures: %q", r.Failures)
	}
	// Two measures, peers and rounds each.
	if len(r.Turns) != 8 {
		t.Errorf("%d turns, expected 8", len(r.Turns))
	}
	for _, turn := range r.Turns {
		if turn.Requests == 0 || turn.CPU <= 0 || turn.Own <= 0 || turn.Latency.P50 <= 0 || (turn.Measure == Latency) != (turn.Rate > 0) {
			t.Errorf("%+v", turn)
		}
	}
	// Each peer begins a round once.
	if r.Turns[0].Peer != "nginx" || r.Turns[2].Peer != "fasthttp" {
		t.Errorf("%s begins the first round and %s the second", r.Turns[0].Peer, r.Turns[2].Peer)
	}
	if len(r.Summary) != 2 || len(r.Memory) != 2 || len(r.Targets) != len(Targets()) {
		t.Errorf("%d summaries, %d memories, %d targets", len(r.Summary), len(r.Memory), len(r.Targets))
	}
	for _, m := range r.Memory {
		if m.After == nil || m.Idle.RSS <= 0 || m.Held.RSS <= 0 || m.Connections != o.Idle {
			t.Errorf("%+v", m)
		}
	}
	for _, p := range r.Peers {
		if p.Name == "nginx" && !strings.HasPrefix(p.Version, "nginx/") {
			t.Errorf("%+v", p)
		}
	}
	if got := o.Progress.(*bytes.Buffer).String(); !strings.Contains(got, "get-1k throughput, ") || !strings.Contains(got, " left\n") || strings.Contains(got, "\x1b") {
		t.Errorf("progress: %q", got)
	}
}

func TestRunMeasuresHTTP2AndTLS(t *testing.T) {
	if _, err := exec.LookPath("haproxy"); err != nil {
		t.Skip("haproxy is not installed: run bash bench/install.sh")
	}
	o := small(t)
	o.Only, o.Cases, o.Rounds = []string{"nginx"}, []string{"h2", "grpc", "tls1", "tls2"}, 1
	r, err := Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Failures) > 0 {
		t.Errorf("failures: %q", r.Failures)
	}
	got := map[string]int{}
	for _, turn := range r.Turns {
		got[turn.Case+" "+turn.Peer]++
		if turn.Requests == 0 || turn.CPU <= 0 || turn.Latency.P50 <= 0 {
			t.Errorf("%+v", turn)
		}
	}
	// nginx is asked for, HAProxy is what ratios are to where HTTP/2 is spoken.
	want := map[string]int{"h2 nginx": 2, "h2 haproxy": 2, "grpc nginx": 2, "grpc haproxy": 2, "tls1 nginx": 2, "tls2 nginx": 2, "tls2 haproxy": 2}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("turns: %s", diff)
	}
	for _, s := range r.Summary {
		if s.Peer == s.Base && s.CPU.Ratio.Median != 1 || (s.Base == "nginx") != (s.Case == "tls1") {
			t.Errorf("%+v", s)
		}
	}
	for _, m := range r.Memory {
		if m.Setup != peer.HTTP2 || m.Streams != pendingStreams || m.Connections != 1 || m.Held.RSS <= m.Idle.RSS {
			t.Errorf("%+v", m)
		}
	}
	var text strings.Builder
	if err := r.Text(&text); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"× haproxy", "× nginx", "per connection of HTTP/2 with 100 requests that wait in KiB, over 1 of them"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("no %q in it:\n%s", want, text.String())
		}
	}
}

func TestLatencyAloneIsCalibratedFirst(t *testing.T) {
	o := small(t)
	o.Measures, o.Rounds = []string{Latency}, 1
	r, err := Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	var reached []float64
	for i := range r.Turns {
		if r.Turns[i].Measure == calibration {
			reached = append(reached, r.Turns[i].perSecond())
		}
	}
	if want := spread(reached).Median / 2; len(reached) != calibrations || r.Summary[0].Rate != want {
		t.Errorf("%d calibrations, and the rate is %v, not %v", len(reached), r.Summary[0].Rate, want)
	}
}

// cancelAt is a progress that cancels when a text is written.
type cancelAt struct {
	text   string
	cancel context.CancelFunc
	once   sync.Once
}

func (c *cancelAt) Write(p []byte) (int, error) {
	if strings.Contains(string(p), c.text) {
		c.once.Do(c.cancel)
	}
	return len(p), nil
}

func TestCancelLeavesNothingBehind(t *testing.T) {
	for _, at := range []string{"starting", "get-1k throughput", "memory"} {
		t.Run(at, func(t *testing.T) {
			o := small(t)
			if at == "memory" {
				o.Measures = []string{Memory}
			}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			o.Progress = &cancelAt{text: at, cancel: cancel}
			if r, err := Run(ctx, o); !errors.Is(err, context.Canceled) || r != nil {
				t.Errorf("%v, %v", r, err)
			}
			if left := processesOf(t, o.Dir); len(left) > 0 {
				t.Errorf("left behind: %q", left)
			}
		})
	}
}

func TestPeerThatDoesNotStartIsAFailureOfTheRun(t *testing.T) {
	o := small(t)
	o.Only, o.Sidecar = []string{sidecar}, "/bin/false"
	o.Measures, o.Rounds = []string{Throughput}, 1
	r, err := Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Failures) != 2 || !strings.Contains(r.Failures[1], "sidecar ended instead of serving") {
		t.Errorf("failures: %q", r.Failures)
	}
	if len(r.Turns) != 1 || r.Turns[0].Peer != base {
		t.Errorf("turns: %+v", r.Turns)
	}
}

func TestPeerThatAnswersWrongIsAFailure(t *testing.T) {
	o := small(t)
	o.Measures, o.Rounds = []string{Throughput}, 1
	b := &bench{o: o, progress: &progress{w: o.Progress}, report: &Report{}, idle: 10}
	defer func() {
		if err := b.stop(); err != nil {
			t.Error(err)
		}
	}()
	var err error
	if b.peers, err = o.peers(); err != nil {
		t.Fatal(err)
	}
	if b.cases, err = o.cases(); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(b.start(t.Context()), b.open(t.Context(), b.cases)); err != nil {
		t.Fatal(err)
	}
	wrong := Case{Name: "wrong", Setup: peer.HTTP1, Base: base, Request: load.Request{Method: "GET", Host: peer.Service, Path: "/missing", Response: kib}}
	if err := b.measure(t.Context(), wrong); err != nil {
		t.Fatal(err)
	}
	for _, turn := range b.report.Turns {
		if turn.Errors == 0 || !strings.Contains(turn.Failure, "status 404") {
			t.Errorf("%+v", turn)
		}
	}
	if len(b.report.Turns) != 2 || len(b.report.Failures) != 2 {
		t.Errorf("%d turns, failures: %q", len(b.report.Turns), b.report.Failures)
	}
	// And one that dies.
	if err := b.running[1].Stop(); err != nil {
		t.Fatal(err)
	}
	if err := b.turn(t.Context(), Turn{Peer: "fasthttp"}, Cases()[0], b.running[1]); err != nil {
		t.Fatal(err)
	}
	if last := b.report.Failures[len(b.report.Failures)-1]; !strings.Contains(last, "fasthttp has ended") {
		t.Error(last)
	}
}

func TestProgressOverwritesItsLineOnATerminal(t *testing.T) {
	var w bytes.Buffer
	p := progress{w: &w, terminal: true, left: 90 * time.Second}
	p.step(time.Minute, "a", "one")
	p.step(time.Minute, "a", "two")
	p.say("failed: %d", 1)
	want := "\ra: one, 1m30s left\x1b[K\ra: two, 30s left\x1b[K\r\x1b[Kfailed: 1\n"
	if w.String() != want {
		t.Errorf("%q; want %q", w.String(), want)
	}
}
