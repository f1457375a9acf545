package conformance

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

func TestMain(m *testing.M) {
	code := m.Run()
	if dir := buildDir(); dir != "" {
		_ = os.RemoveAll(dir)
	}
	for _, end := range ends.do {
		end()
	}
	os.Exit(code)
}

// ends are what is done after the last test.
var ends struct {
	sync.Mutex
	do []func()
}

func atEnd(do func()) {
	ends.Lock()
	defer ends.Unlock()
	ends.do = append(ends.do, do)
}

var (
	buildMu   sync.Mutex
	buildPath string
)

func buildDir() string {
	buildMu.Lock()
	defer buildMu.Unlock()
	return buildPath
}

// build builds the sidecar, once, and gives the path of the program.
func build(t *testing.T) string {
	t.Helper()
	buildMu.Lock()
	defer buildMu.Unlock()
	if buildPath != "" {
		return filepath.Join(buildPath, "sidecar")
	}
	dir, err := os.MkdirTemp("", "sidecar") //nolint:usetesting // it is for all tests of this run
	if err != nil {
		t.Fatal(err)
	}
	buildPath = dir
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "go", "build", "-o", filepath.Join(dir, "sidecar"), "github.com/outrigger-mesh/outrigger/sidecar")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build the sidecar: %v\n%s", err, out)
	}
	return filepath.Join(dir, "sidecar")
}

// program is the sidecar as a process of its own.
type program struct {
	at  map[string]string
	cmd *exec.Cmd
	log func() string

	exited chan struct{} // closed when it has ended
}

// startProgram runs the built sidecar until the test's end.
func startProgram(t *testing.T, yaml string) *program {
	t.Helper()
	path := filepath.Join(t.TempDir(), "sidecar.yaml")
	if err := os.WriteFile(path, []byte(yaml), 0o600); err != nil {
		t.Fatal(err)
	}
	p := &program{exited: make(chan struct{})}
	p.cmd = exec.CommandContext(context.WithoutCancel(t.Context()), build(t), "run", "-c", path)
	p.cmd.Env = append(os.Environ(), "GORACE=halt_on_error=1")
	out, err := p.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var lines []string
	p.log = func() string {
		mu.Lock()
		defer mu.Unlock()
		return strings.Join(lines, "\n")
	}
	serving := make(chan map[string]string, 1)
	go func() {
		in := bufio.NewScanner(out)
		for in.Scan() {
			mu.Lock()
			lines = append(lines, in.Text())
			mu.Unlock()
			if at := addresses(in.Bytes()); at != nil {
				serving <- at
			}
		}
		_ = p.cmd.Wait() // the state says how it ended
		close(p.exited)
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		<-p.exited
	})
	select {
	case p.at = <-serving:
	case <-p.exited:
		t.Fatalf("the sidecar has ended: %s", p.log())
	case <-time.After(patience):
		t.Fatalf("the sidecar does not serve: %s", p.log())
	}
	return p
}

// addresses are what the line "serving" of the log says, by their keys; nil for
// any other line.
func addresses(line []byte) map[string]string {
	var fields map[string]any
	if json.Unmarshal(line, &fields) != nil || fields["msg"] != "serving" {
		return nil
	}
	at := map[string]string{}
	for key, value := range fields {
		if s, ok := value.(string); ok {
			at[key] = s
		}
	}
	return at
}

// terminate sends SIGTERM.
func (p *program) terminate(t *testing.T) {
	t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
}

// wantExit waits for the end by itself, with 0.
func (p *program) wantExit(t *testing.T) {
	t.Helper()
	select {
	case <-p.exited:
	case <-time.After(2 * patience):
		t.Fatalf("the sidecar still runs: %s", p.log())
	}
	if got := p.cmd.ProcessState.ExitCode(); got != 0 {
		t.Errorf("exit code %d: %s", got, p.log())
	}
}

// metric is a sample's value in the text of a metrics page; -1 where there is
// none.
func metric(page, sample string) int {
	for line := range strings.Lines(page) {
		var n int
		if rest, ok := strings.CutPrefix(line, sample+" "); ok {
			if _, err := fmt.Sscan(rest, &n); err == nil {
				return n
			}
		}
	}
	return -1
}
