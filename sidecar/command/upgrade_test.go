package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/middleware/builtin"
	"github.com/outrigger-mesh/outrigger/sidecar/internal/handover"
)

// asSidecar has the test's own binary be the sidecar.
const asSidecar = "OUTRIGGER_TEST_SIDECAR"

func TestMain(m *testing.M) {
	if os.Getenv(asSidecar) != "" {
		Main(builtin.Kinds()...)
	}
	os.Exit(m.Run())
}

// output is what processes write: a file, for those that they start have it too
// and outlive them.
type output struct{ *os.File }

func newOutput(t *testing.T) output {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return output{f}
}

func (o output) String() string {
	text, err := os.ReadFile(o.Name())
	if err != nil {
		return err.Error()
	}
	return string(text)
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("still not so: %s", what)
		}
	}
}

func free(t *testing.T) string {
	t.Helper()
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

// gone reports whether a process has ended. One that nobody has waited for yet
// has.
func gone(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return true
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	return strings.HasPrefix(rest, "Z")
}

// daemon runs a program until the test ends.
func daemon(t *testing.T, log output, program string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(program, args...)
	cmd.Env = append(os.Environ(), asSidecar+"=1")
	cmd.Stdout, cmd.Stderr = log.File, log.File
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return cmd
}

// sidecar is one that runs with its upgrades.
type sidecar struct {
	t      *testing.T
	file   string
	socket string
	log    output
	first  *exec.Cmd
	pids   []int // the last is the one that serves
}

func startSidecar(t *testing.T, yaml string) *sidecar {
	t.Helper()
	dir, err := os.MkdirTemp("", "up") //nolint:usetesting // t.TempDir's path is too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	s := &sidecar{t: t, file: filepath.Join(dir, "sidecar.yaml"), socket: filepath.Join(dir, "upgrade.sock"), log: newOutput(t)}
	s.write(yaml)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	s.first = daemon(t, s.log, self, "run", "-c", s.file)
	s.pids = []int{s.first.Process.Pid}
	t.Cleanup(func() {
		for _, pid := range s.pids[1:] {
			if !gone(pid) {
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
		}
		if t.Failed() {
			t.Logf("the log of the sidecar:\n%s", s.log)
		}
	})
	eventually(t, "it serves", func() bool { return strings.Contains(s.log.String(), `"msg":"serving"`) })
	return s
}

func (s *sidecar) write(yaml string) {
	s.t.Helper()
	if err := os.WriteFile(s.file, []byte(yaml), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

var upgraded = regexp.MustCompile(`^upgraded: process (\d+) has taken over from (\d+), `)

// upgrade runs the command and returns what it says.
func (s *sidecar) upgrade() (string, error) {
	s.t.Helper()
	self, err := os.Executable()
	if err != nil {
		s.t.Fatal(err)
	}
	cmd := exec.CommandContext(s.t.Context(), self, "upgrade", "-c", s.file)
	cmd.Env = append(os.Environ(), asSidecar+"=1")
	out, err := cmd.CombinedOutput()
	if m := upgraded.FindSubmatch(out); m != nil {
		pid, _ := strconv.Atoi(string(m[1]))
		s.pids = append(s.pids, pid)
	}
	return string(out), err
}

// traffic runs clients until stop is called, and says what failed.
type traffic struct {
	stopped  atomic.Bool
	group    sync.WaitGroup
	requests atomic.Int64
	mu       sync.Mutex
	failures []string
}

// client asks again and again. POST is not tried again by the client's library.
func (l *traffic) client(ctx context.Context, kept bool, address, host string) {
	tr := &http.Transport{DisableKeepAlives: !kept, MaxIdleConnsPerHost: 1}
	l.group.Go(func() {
		defer tr.CloseIdleConnections()
		for !l.stopped.Load() {
			l.requests.Add(1)
			if err := ask(ctx, tr, address, host); err != nil {
				l.mu.Lock()
				l.failures = append(l.failures, fmt.Sprintf("%s %s kept %v: %v", address, host, kept, err))
				l.mu.Unlock()
			}
		}
	})
}

func ask(ctx context.Context, tr *http.Transport, address, host string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+address+"/", strings.NewReader("question"))
	if err != nil {
		return err
	}
	req.Host = host
	resp, err := tr.RoundTrip(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && (resp.StatusCode != 200 || string(body) != "answer to question") {
		err = fmt.Errorf("%d %s", resp.StatusCode, body)
	}
	return err
}

func answering(t *testing.T) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		_, _ = io.WriteString(w, "answer to "+string(body))
	}))
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

// controlPlane builds and runs the real one, and returns its addresses.
func controlPlane(t *testing.T) (xds, api string) {
	t.Helper()
	dir := t.TempDir()
	binary := filepath.Join(dir, "controlplane")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", binary, "github.com/outrigger-mesh/outrigger/controlplane")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	xds, api = free(t), free(t)
	file := filepath.Join(dir, "controlplane.yaml")
	yaml := fmt.Sprintf("listen: {xds: %q, api: %q}\nstore: {bolt: {path: mesh.db}}\n", xds, api)
	if err := os.WriteFile(file, []byte(yaml), 0o600); err != nil {
		t.Fatal(err)
	}
	daemon(t, newOutput(t), binary, "run", "-c", file)
	tr := &http.Transport{DisableKeepAlives: true}
	eventually(t, "the control plane is there", func() bool {
		_, err := registered(t.Context(), tr, api)
		return err == nil
	})
	return xds, api
}

// registered is the addresses of orders, as the control plane has them.
func registered(ctx context.Context, tr *http.Transport, api string) ([]string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+api+"/v1/endpoints?service=orders", http.NoBody)
	if err != nil {
		return nil, err
	}
	resp, err := tr.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, errors.New(resp.Status)
	}
	var list struct {
		Endpoints []struct{ Address, Status string }
	}
	if err := json.NewDecoder(resp.Body).Decode(&list); err != nil {
		return nil, err
	}
	var up []string
	for _, e := range list.Endpoints {
		if e.Status == "up" {
			up = append(up, e.Address)
		}
	}
	return up, nil
}

func TestUpgradesUnderLoadFailNoRequestAndTheAppStaysRegistered(t *testing.T) {
	xds, api := controlPlane(t)
	inbound, outbound := free(t), free(t)
	s := startSidecar(t, fmt.Sprintf(`
app: {name: orders, address: %q, health: {interval: 20ms, healthyAfter: 1}}
listen: {inbound: %q, outbound: %q, admin: "127.0.0.1:0"}
discovery: {xds: {server: %q}}
middleware: {outbound: [requestid]}
drain: {delay: 300ms, app: 0s}
upgrade: {socket: upgrade.sock, timeout: 30s}
`, answering(t), inbound, outbound, xds))
	tr := &http.Transport{MaxIdleConnsPerHost: 1}
	defer tr.CloseIdleConnections()
	eventually(t, "it is registered", func() bool {
		up, err := registered(t.Context(), tr, api)
		return err == nil && len(up) == 1
	})
	// Outbound finds the app over xDS, and reaches it through inbound.
	direct := &http.Transport{DisableKeepAlives: true}
	eventually(t, "it reaches itself", func() bool { return ask(t.Context(), direct, outbound, "orders") == nil })

	l := &traffic{}
	for _, kept := range []bool{true, false} {
		l.client(t.Context(), kept, inbound, "")
		l.client(t.Context(), kept, outbound, "orders")
	}
	l.group.Go(func() { // the registration
		for !l.stopped.Load() {
			up, err := registered(t.Context(), tr, api)
			if err != nil || len(up) != 1 || up[0] != inbound {
				l.mu.Lock()
				l.failures = append(l.failures, fmt.Sprintf("registered is %q, %v", up, err))
				l.mu.Unlock()
			}
			time.Sleep(5 * time.Millisecond)
		}
	})
	const times = 4
	for range times {
		before := l.requests.Load()
		if out, err := s.upgrade(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		eventually(t, "requests go on", func() bool { return l.requests.Load() > before+200 })
	}
	for _, pid := range s.pids[:times] {
		eventually(t, fmt.Sprintf("process %d is gone", pid), func() bool { return gone(pid) })
	}
	last := s.pids[times]
	if gone(last) {
		t.Error("the last process is gone")
	}
	l.stopped.Store(true)
	l.group.Wait()
	t.Logf("%d requests over %d upgrades", l.requests.Load(), times)
	if len(l.failures) > 0 {
		t.Errorf("%d of %d failed, the first: %v", len(l.failures), l.requests.Load(), l.failures[:min(5, len(l.failures))])
	}
	if err := s.first.Wait(); err != nil {
		t.Errorf("the first process ended with %v", err)
	}
	if err := syscall.Kill(last, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the last one ends", func() bool { return gone(last) })
	if up, err := registered(t.Context(), tr, api); err != nil || len(up) != 0 {
		t.Errorf("after its end registered is %q, %v", up, err)
	}
	if _, err := os.Stat(s.socket); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket was left behind: %v", err)
	}
}

func TestAnUpgradeThatFailsChangesNothing(t *testing.T) {
	inbound := free(t)
	const yaml = `
app: {name: orders, address: %q, health: {interval: 20ms}}
node: {id: %s}
listen: {inbound: %q, outbound: off, admin: off}
drain: {delay: 1ms}
upgrade: {socket: upgrade.sock, timeout: 2s}
`
	app := answering(t)
	s := startSidecar(t, fmt.Sprintf(yaml, app, "n1", inbound))
	tr := &http.Transport{DisableKeepAlives: true}
	dir := filepath.Dir(s.file)
	script := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text+"\n"), 0o700); err != nil { //nolint:gosec // it is run
			t.Fatal(err)
		}
		return path
	}
	still := func() {
		t.Helper()
		if err := ask(t.Context(), tr, inbound, ""); err != nil {
			t.Errorf("the old process does not go on: %v", err)
		}
	}
	asked := func(binary, want string) {
		t.Helper()
		_, err := handover.Ask(t.Context(), s.socket, handover.Request{Binary: binary})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", binary, err, want)
		}
		still()
	}
	asked(script("ends", "exit 3"), "ended: exit status 3 before it had taken over")
	asked(script("talks", `echo nonsense >&3; sleep 30`), "cannot be talked to")
	asked(script("dies", `echo '{"is":"ready"}' >&3; sleep 0.1`), "before it had taken over")
	asked("relative", "is not an absolute path")
	asked(filepath.Join(dir, "missing"), "no such file")
	asked(s.file, "is not a program")

	slow := script("slow", "sleep 30")
	var group sync.WaitGroup
	group.Go(func() { asked(slow, "has said nothing in time") })
	eventually(t, "one upgrade is under way", func() bool { return strings.Count(s.log.String(), "starting a new process") == 4 })
	asked(slow, "another upgrade, or a reload, is under way")
	group.Wait()

	// The new one finds that it would be another node.
	s.write(fmt.Sprintf(yaml, app, "n2", inbound))
	out, err := s.upgrade()
	if err == nil || !strings.Contains(out, `node.id was "n1" and is "n2": that cannot be upgraded, it needs a restart`) {
		t.Errorf("%v: %s", err, out)
	}
	still()
	// A file that is wrong is said before anybody is asked.
	s.write("listn: {}\n")
	if out, err := s.upgrade(); err == nil || !strings.Contains(out, `sidecar.yaml:1:1: unknown key "listn"`) {
		t.Errorf("%v: %s", err, out)
	}
	s.write("log: {level: info}\n")
	if out, err := s.upgrade(); err == nil || !strings.Contains(out, "upgrade.socket is not set") {
		t.Errorf("%v: %s", err, out)
	}
	// And after all of that it still can.
	s.write(fmt.Sprintf(yaml, app, "n1", inbound))
	if out, err := s.upgrade(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
	still()
	if err := s.first.Wait(); err != nil {
		t.Errorf("the first process ended with %v", err)
	}
	still()
}

// TestASuccessorThatWaitsServesOnceTheOldProcessIsKilled: the new process has
// the sockets, and nobody accepts on them; that it would rather have waited for
// the app does not count any more.
func TestASuccessorThatWaitsServesOnceTheOldProcessIsKilled(t *testing.T) {
	xds, api := controlPlane(t)
	var probes atomic.Int64
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/healthz" {
			// Well for the first process, sick for the second.
			if probes.Add(1) > 1 {
				w.WriteHeader(http.StatusInternalServerError)
			}
			return
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		_, _ = io.WriteString(w, "answer to "+string(body))
	}))
	t.Cleanup(app.Close)
	inbound := free(t)
	s := startSidecar(t, fmt.Sprintf(`
app: {name: orders, address: %q, health: {http: /healthz, interval: 1m, healthyAfter: 1}}
listen: {inbound: %q, outbound: off, admin: off}
discovery: {xds: {server: %q}}
upgrade: {socket: upgrade.sock, timeout: 1m}
`, app.Listener.Addr().String(), inbound, xds))
	tr := &http.Transport{DisableKeepAlives: true}
	eventually(t, "it is registered", func() bool {
		up, err := registered(t.Context(), tr, api)
		return err == nil && len(up) == 1
	})
	var asked sync.WaitGroup
	asked.Go(func() {
		if out, err := s.upgrade(); err == nil {
			t.Errorf("the upgrade is said to have happened: %s", out)
		}
	})
	eventually(t, "the new process has found the app sick", func() bool { return probes.Load() == 2 })
	next := child(t, s.first.Process.Pid)
	s.pids = append(s.pids, next)
	if err := s.first.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = s.first.Wait()
	asked.Wait()
	soon, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := ask(soon, tr, inbound, ""); err != nil {
		t.Errorf("the new process does not serve: %v", err)
	}
	if gone(next) || !strings.Contains(s.log.String(), "the process to take over from is gone") {
		t.Error("it was not the new process that served")
	}
}

// child is the one process that another one has started, by any of its threads.
func child(t *testing.T, pid int) int {
	t.Helper()
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, f := range files {
		if text, err := os.ReadFile(f); err == nil { // else the thread has ended
			all = append(all, strings.Fields(string(text))...)
		}
	}
	if len(all) != 1 {
		t.Fatalf("process %d has %d children: %q", pid, len(all), all)
	}
	id, err := strconv.Atoi(all[0])
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func TestNobodyAnswersWhereNoSidecarRuns(t *testing.T) {
	_, err := handover.Ask(t.Context(), filepath.Join(t.TempDir(), "no.sock"), handover.Request{Binary: "/bin/true"})
	if err == nil || !strings.Contains(err.Error(), "is it running, with this configuration?") {
		t.Errorf("got %v", err)
	}
}
