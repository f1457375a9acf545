// Package examples_test builds the programs and treats the examples as a
// stranger would: from outside, over sockets, signals and exit codes.
package examples_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/examples/internal/lab"
)

// bin is the folder of the built programs. Its name has a space in it, as the
// folders of people have.
var bin string

func TestMain(m *testing.M) {
	os.Exit(testMain(m))
}

func testMain(m *testing.M) int {
	dir, err := os.MkdirTemp("", "outrigger e2e ")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }()
	bin = filepath.Join(dir, "bin")
	cmd := exec.CommandContext(context.Background(), "go", "build", "-o", bin+"/", "../sidecar", "../controlplane", "../cmdb-sync", "./quickstart")
	cmd.Env = append(cmd.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build the programs: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// TestResultIsNotKeptWhenTheProgramsChange looks at the folders that the
// programs are built of. The go command keeps a test's result as long as what the
// test has looked at stays the same, and does not see by itself what a program
// is built of that a test starts.
func TestResultIsNotKeptWhenTheProgramsChange(t *testing.T) {
	seen := 0
	for _, dir := range []string{"../sidecar", "../controlplane", "../cmdb-sync", "../middleware", "../registry", "../internal", "quickstart"} {
		err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
			if strings.HasSuffix(path, ".go") {
				seen++
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	}
	if seen < 100 {
		t.Errorf("%d files were seen", seen)
	}
}

// program runs a built program to its end, at most a minute.
func program(t *testing.T, dir, name string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(bin, name), args...)
	cmd.Dir = dir
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) || ctx.Err() != nil {
			t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, errs.String())
		}
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// write puts files into a new folder and returns it.
func write(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(content), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// within asks cond until it holds, for at most limit.
func within(t *testing.T, limit time.Duration, cond func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	if err := lab.Until(ctx, cond); err != nil {
		t.Fatal(err)
	}
}

// ports are free loopback addresses for the length of the test.
func ports(t *testing.T, n int) []string {
	t.Helper()
	p, err := lab.NewPorts()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	addrs := make([]string, n)
	for i := range addrs {
		if addrs[i], err = p.Take(); err != nil {
			t.Fatal(err)
		}
	}
	return addrs
}

// demo is a running quickstart.
type demo struct {
	cmd  *exec.Cmd
	tmp  string // its TMPDIR
	out  output
	done chan struct{} // closed when it has ended
}

// output is what a program has written so far.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// startDemo starts the quickstart with a temporary folder of its own.
func startDemo(t *testing.T, env []string, args ...string) *demo {
	t.Helper()
	d := &demo{tmp: filepath.Join(t.TempDir(), "tmp with spaces"), done: make(chan struct{})}
	if err := os.Mkdir(d.tmp, 0o755); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 3*time.Minute)
	d.cmd = exec.CommandContext(ctx, filepath.Join(bin, "quickstart"), args...)
	d.cmd.Env = append(append(d.cmd.Environ(), "TMPDIR="+d.tmp), env...)
	d.cmd.Stdout, d.cmd.Stderr = &d.out, &d.out
	if err := d.cmd.Start(); err != nil {
		cancel()
		t.Fatal(err)
	}
	go func() {
		_ = d.cmd.Wait()
		cancel()
		close(d.done)
	}()
	t.Cleanup(func() {
		cancel()
		<-d.done
	})
	return d
}

// leftovers are the processes that still run with the demo's folder as their
// working directory, and the files in it.
func (d *demo) leftovers(t *testing.T) []string {
	t.Helper()
	left := runningIn(t, d.tmp)
	files, err := os.ReadDir(d.tmp)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		left = append(left, f.Name())
	}
	return left
}

// runningIn are the processes whose working directory is dir or below it.
func runningIn(t *testing.T, dir string) []string {
	t.Helper()
	links, err := filepath.Glob("/proc/[0-9]*/cwd")
	if err != nil {
		t.Fatal(err)
	}
	var running []string
	for _, link := range links {
		// A process that ends meanwhile, or is somebody else's, has no link to read.
		if cwd, err := os.Readlink(link); err == nil && strings.HasPrefix(cwd, dir) {
			running = append(running, link)
		}
	}
	return running
}
