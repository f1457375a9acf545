package conformance

import (
	"bufio"
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// peers are the programs of the module in the folder of that name: h2spec, and
// grpc-go's interop client and server.
var peers struct {
	sync.Mutex
	dir string
}

// peer gives the path of a program of others, all of which are built once. The
// versions are those of peers/go.mod.
func peer(t *testing.T, name string) string {
	t.Helper()
	peers.Lock()
	defer peers.Unlock()
	if peers.dir == "" {
		dir, err := os.MkdirTemp("", "peers") //nolint:usetesting // it is for all tests of this run
		if err != nil {
			t.Fatal(err)
		}
		atEnd(func() { _ = os.RemoveAll(dir) })
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
		defer cancel()
		cmd := exec.CommandContext(ctx, "go", "build", "-o", dir+string(filepath.Separator), "tool", "./...")
		cmd.Dir = "peers"
		cmd.Env = append(os.Environ(), "GOFLAGS=-mod=readonly", "GOWORK=off")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("build the programs of peers/go.mod: %v\n%s", err, out)
		}
		peers.dir = dir
	}
	return filepath.Join(peers.dir, name)
}

// nodePeer is a script of peers/node, whose packages internal/testenv/install.sh
// installs.
func nodePeer(t *testing.T, script string) []string {
	t.Helper()
	node, err := exec.LookPath("node")
	if err == nil {
		_, err = os.Stat(filepath.Join("peers", "node", "node_modules", "@grpc", "grpc-js"))
	}
	if err != nil {
		t.Fatalf("internal/testenv/install.sh installs node and the packages of peers/node: %v", err)
	}
	path, err := filepath.Abs(filepath.Join("peers", "node", script))
	if err != nil {
		t.Fatal(err)
	}
	return []string{node, path}
}

// startPeer runs a program that prints the address that it listens on, until
// the test's end.
func startPeer(t *testing.T, command ...string) (address string) {
	t.Helper()
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), command[0], command[1:]...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, exited := make(chan string, 1), make(chan struct{})
	go func() {
		in := bufio.NewScanner(out)
		if in.Scan() {
			line <- in.Text()
		}
		for in.Scan() { // what else it prints is nobody's
		}
		_ = cmd.Wait() // it is killed at the end
		close(exited)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-exited
	})
	select {
	case address = <-line:
		return address
	case <-exited:
		t.Fatalf("%s has ended: %s", command[0], stderr.String())
	case <-time.After(patience):
		t.Fatalf("%s says no address", command[0])
	}
	return ""
}

// runPeer runs a program to its end, and gives what it printed. Proxies that the
// environment names are not for it.
func runPeer(t *testing.T, within time.Duration, command ...string) (stdout string, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Dir = t.TempDir()
	for _, v := range os.Environ() {
		if name, _, _ := strings.Cut(strings.ToLower(v), "="); !strings.HasSuffix(name, "_proxy") {
			cmd.Env = append(cmd.Env, v)
		}
	}
	var out, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &stderr
	err = cmd.Run()
	if err != nil {
		t.Logf("%s: %v\n%s", filepath.Base(command[0]), err, stderr.String())
	}
	return out.String(), err
}
