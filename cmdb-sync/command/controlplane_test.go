package command_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// controlplane builds the control plane, runs it in a folder of its own and
// returns the URL of its API.
func controlplane(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	program := filepath.Join(dir, "controlplane")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", program, "github.com/outrigger-mesh/outrigger/controlplane")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building the control plane: %v\n%s", err, out)
	}
	if err := os.WriteFile(filepath.Join(dir, "cp.yaml"), []byte("listen: {xds: '127.0.0.1:0', api: '127.0.0.1:0'}\nlog: {format: json}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "run", "-c", "cp.yaml")
	cmd.Dir = dir
	logs, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	addresses := make(chan string, 1)
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		var seen bytes.Buffer
		for lines := bufio.NewScanner(logs); lines.Scan(); {
			var line struct{ Msg, API string }
			if json.Unmarshal(lines.Bytes(), &line) == nil && line.Msg == "serving" {
				addresses <- line.API
				break
			}
			seen.Write(lines.Bytes())
		}
		_, _ = io.Copy(&seen, logs)
		t.Logf("the control plane's log:\n%s", seen.String())
	}()
	t.Cleanup(func() {
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Error(err)
		}
		<-drained
		if err := cmd.Wait(); err != nil {
			t.Errorf("the control plane ended with %v", err)
		}
	})
	select {
	case a := <-addresses:
		return "http://" + a
	case <-time.After(30 * time.Second):
		t.Fatal("the control plane does not serve")
		return ""
	}
}

// hosts are the hosts that the control plane shows: name, status, zone.
func hosts(t *testing.T, server string) []string {
	t.Helper()
	c := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	var list struct {
		Items []struct {
			Metadata struct{ Name string }
			Spec     struct {
				Status   string
				Locality struct{ Zone string }
			}
		}
	}
	if err := json.Unmarshal([]byte(get(c, server+"/v1/hosts")), &list); err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, h := range list.Items {
		all = append(all, strings.Join([]string{h.Metadata.Name, h.Spec.Status, h.Spec.Locality.Zone}, " "))
	}
	return all
}

func TestAgainstTheRealControlPlane(t *testing.T) {
	server := controlplane(t)
	s := newShell(t, server)
	s.machines(3, "active")

	s.want(5, "3 to add", "plan", "--out", "plan.json")
	s.want(0, "applied: 3 added", "apply", "plan.json")
	s.want(6, "plan again", "apply", "plan.json")
	s.want(0, "3 unchanged", "diff")
	want := []string{"idc-0 up bj-0", "idc-1 up bj-1", "idc-2 up bj-0"}
	if diff := cmp.Diff(want, hosts(t, server)); diff != "" {
		t.Errorf("hosts (-want +got):\n%s", diff)
	}

	s.machines(3, "maintenance")
	s.want(0, "1 to drain", "run", "--once")
	s.want(0, "0 to drain", "run", "--once")
	want[0] = "idc-0 draining bj-0"
	if diff := cmp.Diff(want, hosts(t, server)); diff != "" {
		t.Errorf("hosts in maintenance (-want +got):\n%s", diff)
	}

	s.machines(2, "active")
	s.want(0, "1 to drain", "run", "--once")
	s.want(0, "1 leaving", "run", "--once")
	if diff := cmp.Diff([]string{"idc-0 up bj-0", "idc-1 up bj-1", "idc-2 draining bj-0"}, hosts(t, server)); diff != "" {
		t.Errorf("hosts with one absent (-want +got):\n%s", diff)
	}
	s.machines(3, "active")
	s.want(0, "is in the source again", "run", "--once")
	if diff := cmp.Diff([]string{"idc-0 up bj-0", "idc-1 up bj-1", "idc-2 up bj-0"}, hosts(t, server)); diff != "" {
		t.Errorf("hosts all back (-want +got):\n%s", diff)
	}
}
