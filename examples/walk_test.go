package examples_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/examples/internal/lab"
)

// loopback are the addresses in documents and configuration files. On a walk
// each is replaced by a free one.
var loopback = regexp.MustCompile(`127\.0\.0\.1:\d+`)

// walk is a reader who goes through a document and copies its commands into a
// shell, section by section, beside a folder bin with the built programs.
type walk struct {
	t      *testing.T
	stage  *lab.Stage
	dir    string // where the commands are typed
	ports  *lab.Ports
	addrs  map[string]string
	blocks []block
	typed  *os.File // the shell's standard input
	shell  *lab.Process
	n      int
}

// block is a fenced block of shell commands.
type block struct{ section, text string }

// startWalk makes a checkout that has just the folder of an example and bin, and
// opens a shell in the folder, to go through its README; or, where another
// document is named, at the root, to go through that.
func startWalk(t *testing.T, example, doc string) *walk {
	t.Helper()
	stage, err := lab.NewStage("walk")
	if err != nil {
		t.Fatal(err)
	}
	free, err := lab.NewPorts()
	if err != nil {
		t.Fatal(err)
	}
	w := &walk{t: t, stage: stage, ports: free, addrs: map[string]string{}, dir: stage.Dir}
	t.Cleanup(w.end)
	all := map[string][]byte{}
	if doc == "" {
		w.dir = filepath.Join(stage.Dir, "examples", example)
		doc = "examples/" + example + "/README.md"
	}
	err = fs.WalkDir(os.DirFS(example), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.HasSuffix(path, ".go") {
			return err
		}
		all["examples/"+example+"/"+path], err = os.ReadFile(filepath.Join(example, path))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	text := document(t, doc)
	w.takeAddresses(text)
	for _, content := range all {
		w.takeAddresses(string(content))
	}
	for name, content := range all {
		if _, err := stage.Write(name, []byte(w.move(string(content)))); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(bin, filepath.Join(stage.Dir, "bin")); err != nil {
		t.Fatal(err)
	}
	w.read(w.move(text))
	w.open()
	return w
}

// takeAddresses finds a free address for each that is named in text.
func (w *walk) takeAddresses(text string) {
	w.t.Helper()
	for _, from := range loopback.FindAllString(text, -1) {
		if w.addrs[from] == "" {
			addr, err := w.ports.Take()
			if err != nil {
				w.t.Fatal(err)
			}
			w.addrs[from] = addr
		}
	}
}

func (w *walk) move(text string) string {
	return loopback.ReplaceAllStringFunc(text, func(from string) string { return w.addrs[from] })
}

// addr is the address that stands for a port of the document.
func (w *walk) addr(port string) string {
	w.t.Helper()
	addr := w.addrs["127.0.0.1:"+port]
	if addr == "" {
		w.t.Fatalf("the example has no port %s", port)
	}
	return addr
}

// read finds the blocks of shell commands and the sections they are in.
func (w *walk) read(text string) {
	section, inBlock, lang := "", false, ""
	for line := range strings.Lines(text) {
		switch fence, isFence := strings.CutPrefix(strings.TrimRight(line, "\n"), "```"); {
		case isFence:
			inBlock = !inBlock
			if lang = fence; inBlock && lang == "sh" {
				w.blocks = append(w.blocks, block{section: section})
			}
		case inBlock && lang == "sh":
			w.blocks[len(w.blocks)-1].text += line
		case !inBlock && strings.HasPrefix(line, "#"):
			section = strings.TrimSpace(strings.TrimLeft(line, "#"))
		}
	}
}

// shellEnded is shown when the shell has ended.
const shellEnded = "walk: the shell has ended"

// open starts the shell. It ends at the first command that fails; the process
// around it does not, so that what was started in the shell can still be killed
// with it, as one process group.
func (w *walk) open() {
	w.t.Helper()
	in, typed, err := os.Pipe()
	if err != nil {
		w.t.Fatal(err)
	}
	w.typed = typed
	w.shell, err = w.stage.Start(lab.Spec{
		Name: "shell", Path: "/bin/bash", Dir: w.dir, In: in,
		Args: []string{"-c", "bash --noprofile --norc; echo '" + shellEnded + "'; exec sleep 3600"},
		Env: []string{
			"PATH=" + os.Getenv("PATH") + ":/usr/sbin", // nginx is there
			"TMPDIR=" + w.stage.Dir,
		},
	})
	if err := errors.Join(err, in.Close()); err != nil {
		w.t.Fatal(err)
	}
}

// run types the blocks of a section and returns what was printed meanwhile, by
// them and by what they have started. A command that fails fails the test.
func (w *walk) run(section string) string {
	w.t.Helper()
	var out strings.Builder
	found := false
	for _, b := range w.blocks {
		if b.section == section {
			found = true
			out.WriteString(w.enter(b.text))
		}
	}
	if !found {
		w.t.Fatalf("there is no section %q with commands", section)
	}
	return out.String()
}

func (w *walk) enter(text string) string {
	w.t.Helper()
	w.n++
	script, err := w.stage.Write(fmt.Sprintf("typed/%d.sh", w.n), []byte(text))
	if err != nil {
		w.t.Fatal(err)
	}
	before, err := os.ReadFile(w.shell.Log)
	if err != nil {
		w.t.Fatal(err)
	}
	marker := fmt.Sprintf("walk: block %d is done", w.n)
	if _, err := fmt.Fprintf(w.typed, "set -euo pipefail; . '%s'; echo '%s'\n", script, marker); err != nil {
		w.t.Fatal(err)
	}
	var out string
	failed := false
	ctx, cancel := context.WithTimeout(w.t.Context(), 30*time.Second)
	defer cancel()
	err = w.shell.Await(ctx, func(context.Context) error {
		b, err := os.ReadFile(w.shell.Log)
		if err != nil {
			return err
		}
		printed, _, done := strings.Cut(string(b[len(before):]), marker)
		out = printed
		if !done && !strings.Contains(printed, shellEnded) {
			return errors.New("the commands have not ended")
		}
		failed = !done
		return nil
	})
	if err != nil || failed {
		w.t.Fatalf("a command has failed (%v):\n%s\nprinted:\n%s", err, text, out)
	}
	return out
}

// await waits until an address answers at a path with status 200, as people do
// by looking.
func (w *walk) await(port, path string) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), 20*time.Second)
	defer cancel()
	url := "http://" + w.addr(port) + path
	if err := w.shell.Await(ctx, func(ctx context.Context) error { return lab.Healthy(ctx, url) }); err != nil {
		w.t.Fatalf("%v\n%s", err, w.shell.Tail(30))
	}
}

// end closes the shell and all that was started in it.
func (w *walk) end() {
	if w.t.Failed() && w.shell != nil {
		w.t.Logf("the end of what the shell shows:\n%s", w.shell.Tail(25))
	}
	if err := errors.Join(w.stage.Close(false), w.ports.Close()); err != nil {
		w.t.Error(err)
	}
	if w.typed != nil {
		_ = w.typed.Close()
	}
	// The test's context is over already.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(w.t.Context()), 10*time.Second)
	defer cancel()
	err := lab.Until(ctx, func(context.Context) error {
		if left := runningIn(w.t, w.stage.Dir); len(left) > 0 {
			return fmt.Errorf("processes are left behind: %v", left)
		}
		return nil
	})
	if err != nil {
		w.t.Error(err)
	}
}

// traffic sends requests for as long as the walk goes on in during, and fails
// the test if one of them fails.
func (w *walk) traffic(load lab.Load, during func(*lab.Traffic)) lab.Result {
	w.t.Helper()
	traffic := lab.StartTraffic(w.t.Context(), load)
	stopped := false
	defer func() {
		if !stopped {
			traffic.Stop()
		}
	}()
	w.sent(traffic, 20)
	during(traffic)
	w.sent(traffic, 20)
	res := traffic.Stop()
	stopped = true
	if res.Failed > 0 || res.Answered != res.Sent {
		w.t.Errorf("%d of %d requests failed: %q", res.Failed, res.Sent, res.Failures)
	}
	return res
}

// sent waits until n more requests were made.
func (w *walk) sent(traffic *lab.Traffic, n int) {
	w.t.Helper()
	until := traffic.Result().Sent + n
	within(w.t, 30*time.Second, func(context.Context) error {
		if res := traffic.Result(); res.Sent < until {
			return fmt.Errorf("the traffic stalls: %d of %d, %q", res.Sent, until, res.Failures)
		}
		return nil
	})
}
