package config_test

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/outrigger-mesh/outrigger/cmdb-sync/internal/config"
	"github.com/outrigger-mesh/outrigger/cmdb-sync/internal/guard"
	"github.com/outrigger-mesh/outrigger/cmdb-sync/source/builtin"
	"github.com/outrigger-mesh/outrigger/internal/conf"
)

var rewrite = flag.Bool("rewrite", false, "rewrite the expected messages")

// Each file of testdata/bad is wrong, and stands beside all the messages that
// it gives.
func TestEveryMistakeIsNamedAtItsPlace(t *testing.T) {
	t.Chdir("testdata/bad")
	files, err := filepath.Glob("*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("there are no bad configurations (%v)", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(file, ".yaml"), func(t *testing.T) {
			_, err := config.Load(file, builtin.Kinds())
			if err == nil {
				t.Fatal("it was taken")
			}
			got, path := err.Error()+"\n", strings.TrimSuffix(file, ".yaml")+".txt"
			if *rewrite {
				if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("messages (-want +got):\n%s", diff)
			}
			if strings.Contains(got, "hunter2") {
				t.Error("a message shows a secret")
			}
		})
	}
}

func TestEveryKeyHasItsDefault(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "cmdb-sync.yaml")
	content := "sources: [{name: idc, csv: {path: hosts.csv}}]\nmap: {key: r.id}\n"
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := config.Load(path, builtin.Kinds())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(config.Controlplane{Server: "http://127.0.0.1:18080", Timeout: 30 * time.Second}, c.Controlplane); diff != "" {
		t.Errorf("controlplane (-want +got):\n%s", diff)
	}
	want := guard.Config{
		Mode: guard.UpsertOnly, MinSourceFraction: .9, MaxRemove: guard.MaxRemove{Percent: 5, Count: 100},
		MaxModify: 30, MaxQuarantine: 5, Absent: guard.Absent{Runs: 3, For: 30 * time.Minute}, DrainFor: 10 * time.Minute,
	}
	if diff := cmp.Diff(want, c.Guard, cmp.Comparer(func(a, b conf.Node) bool { return a == b })); diff != "" {
		t.Errorf("guard (-want +got):\n%s", diff)
	}
	if got, want := c.State.Path, filepath.Join(dir, "data", "cmdb-sync"); got != want {
		t.Errorf("state.path is %s, want %s: beside the file", got, want)
	}
	if s := c.Sources[0]; s.Name != "idc" || s.Interval != time.Minute {
		t.Errorf("the source is %s each %v", s.Name, s.Interval)
	}
	if c.Audit.Path != "" || c.Listen.Metrics != "" {
		t.Errorf("audit %q and metrics %q are on", c.Audit.Path, c.Listen.Metrics)
	}
}

func TestHashIsOfTheContent(t *testing.T) {
	path := filepath.Join(t.TempDir(), "c.yaml")
	load := func(content string) string {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := config.Load(path, builtin.Kinds())
		if err != nil {
			t.Fatal(err)
		}
		return c.Hash
	}
	const base = "sources: [{name: idc, csv: {path: hosts.csv}}]\nmap: {key: r.id}\n"
	if a, b := load(base), load(base); a != b {
		t.Errorf("the same content has the hashes %s and %s", a, b)
	}
	if a, b := load(base), load(base+"guard: {mode: sync}\n"); a == b {
		t.Errorf("another content has the same hash")
	}
}

func TestFileThatIsNotThereSaysWhatToDo(t *testing.T) {
	t.Chdir(t.TempDir())
	_, err := config.Load("", builtin.Kinds())
	if err == nil || err.Error() != "there is no configuration cmdb-sync.yaml: name one with -c" {
		t.Errorf("error %v", err)
	}
}
