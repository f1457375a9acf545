package mesh_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/outrigger-mesh/outrigger/internal/ads"
	"github.com/outrigger-mesh/outrigger/registry/mesh"
	"github.com/outrigger-mesh/outrigger/registry/registrytest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestRegistryAgainstTheControlPlane(t *testing.T) {
	path := filepath.Join(t.TempDir(), "controlplane")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", path, "../../controlplane")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the control plane: %v\n%s", err, out)
	}
	registrytest.Run(t, func(t *testing.T) registrytest.Backend {
		c := &controlPlane{path: path, dir: t.TempDir(), xds: "127.0.0.1:0"}
		c.Start(t)
		t.Cleanup(func() { c.Stop(t) })
		return c
	})
}

// controlPlane is a real one, as a process of its own.
type controlPlane struct {
	path, dir string
	xds       string // where it listens; the same after a restart
	cmd       *exec.Cmd
	drained   chan struct{} // its log has ended
}

func (c *controlPlane) Open(_ *testing.T, node string) registrytest.Registry {
	return mesh.New(mesh.Options{
		Dial:    ads.DialOptions{Server: c.xds},
		Node:    node,
		Backoff: ads.Backoff{Min: 10 * time.Millisecond, Max: 200 * time.Millisecond},
	})
}

func (c *controlPlane) Start(t *testing.T) {
	t.Helper()
	config := filepath.Join(c.dir, "controlplane.yaml")
	text := fmt.Sprintf("listen: {xds: %q, api: \"127.0.0.1:0\"}\nstore: {bolt: {path: %q}}\n",
		c.xds, filepath.Join(c.dir, "outrigger.db"))
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c.cmd = exec.Command(c.path, "run", "-c", config)
	stderr, err := c.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	c.drained = make(chan struct{})
	serving := make(chan string, 1)
	go func() {
		defer close(c.drained)
		for lines := bufio.NewScanner(stderr); lines.Scan(); {
			var line struct{ Msg, XDS string }
			if json.Unmarshal(lines.Bytes(), &line) == nil && line.Msg == "serving" {
				serving <- line.XDS
			}
		}
	}()
	select {
	case c.xds = <-serving:
	case <-c.drained:
		t.Fatalf("the control plane ended: %v", c.cmd.Wait())
	case <-time.After(20 * time.Second):
		t.Fatal("the control plane does not serve")
	}
}

// Stop kills it with SIGKILL.
func (c *controlPlane) Stop(t *testing.T) {
	t.Helper()
	if c.cmd == nil {
		return
	}
	if err := c.cmd.Process.Kill(); err != nil {
		t.Errorf("kill the control plane: %v", err)
	}
	<-c.drained
	_ = c.cmd.Wait() // killed, as it says
	c.cmd = nil
}
