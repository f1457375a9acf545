package command_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/outrigger-mesh/outrigger/cmdb-sync/command"
	"github.com/outrigger-mesh/outrigger/cmdb-sync/internal/cptest"
	"github.com/outrigger-mesh/outrigger/internal/run"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// shell is a working folder with a configuration and machines.
type shell struct {
	t      *testing.T
	stdout bytes.Buffer
	stderr bytes.Buffer
}

const settings = `
controlplane: {server: %s}
sources: [{name: idc, csv: {path: hosts.csv}}]
map:
  key: r.id
  name: r.name
  address: r.ip
  locality: {zone: r.zone}
  status: {from: r.status, table: {active: up, maintenance: drain}}
guard: {mode: sync, maxModify: 50%%}
`

func newShell(t *testing.T, server string) *shell {
	t.Helper()
	t.Chdir(t.TempDir())
	s := &shell{t: t}
	s.write("cmdb-sync.yaml", fmt.Sprintf(settings, server))
	s.machines(10, "active")
	return s
}

func (s *shell) write(name, content string) {
	s.t.Helper()
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// machines writes n machines, the first of which has a status of its own.
func (s *shell) machines(n int, first string) {
	s.t.Helper()
	var b strings.Builder
	b.WriteString("id,name,ip,zone,status\n")
	for i := range n {
		status := "active"
		if i == 0 {
			status = first
		}
		fmt.Fprintf(&b, "%d,vm-%d,10.0.0.%d,bj-%d,%s\n", i, i, i+1, i%2, status)
	}
	s.write("hosts.csv", b.String())
}

// do runs a command line and returns its exit code, what it printed and its
// error.
func (s *shell) do(args ...string) (code int, out, errText string) {
	s.t.Helper()
	s.stdout.Reset()
	s.stderr.Reset()
	err := command.Execute(s.t.Context(), args, &s.stdout, &s.stderr)
	if err != nil {
		errText = err.Error()
	}
	return run.ExitCode(err), s.stdout.String(), errText
}

// want runs a command line that has to end with a code and say something.
func (s *shell) want(code int, says string, args ...string) string {
	s.t.Helper()
	got, out, errText := s.do(args...)
	if got != code {
		s.t.Fatalf("cmdb-sync %s: exit code %d, want %d\n%s%s\n%s", strings.Join(args, " "), got, code, out, s.stderr.String(), errText)
	}
	if !strings.Contains(out+"\n"+errText, says) {
		s.t.Errorf("cmdb-sync %s says\n%s\n%s\nand not %q", strings.Join(args, " "), out, errText, says)
	}
	return out
}

func TestExitCodesTellWhatHappened(t *testing.T) {
	cp := cptest.New(t)
	s := newShell(t, cp.URL)

	s.want(0, "configuration is right: source idc, guard mode sync", "validate")
	s.want(5, "10 to add", "diff")
	s.want(5, "to apply it: cmdb-sync apply plan.json -c cmdb-sync.yaml", "plan", "--out", "plan.json")
	s.want(0, "applied: 10 added, 0 modified, 0 drained, 0 removed, at revision 2", "apply", "plan.json")
	s.want(6, "plan again", "apply", "plan.json")
	s.want(0, "10 unchanged", "plan", "--out", "plan.json")
	s.want(0, "nothing to apply", "apply", "plan.json")

	s.machines(10, "maintenance")
	s.want(5, `status: up -> draining (its status in the source is "maintenance")`, "plan", "--out", "plan.json")
	cp.Put("other", map[string]any{"key": "x"})
	s.want(6, "the hosts have changed since the plan was made", "apply", "plan.json")
	s.want(0, "1 to drain", "run", "--once")
	if got := cp.Host("idc-0", "spec", "status"); got != "draining" {
		t.Errorf("idc-0 is %v", got)
	}

	s.machines(4, "maintenance")
	out := s.want(3, "maxRemove: 6 of 10 hosts would begin to leave (60.0 %); at most 1 (5%, and no more than 100)", "plan", "--out", "plan.json")
	s.want(3, "blocked by guard minSourceFraction: 4 records, 10 are expected (records at the last good run); at least 90% of them", "apply", "plan.json")
	s.want(3, "blocked by guard", "run", "--once")
	s.want(3, "blocked by guard", "diff")
	hash := regexp.MustCompile(`hash: ([0-9a-f]{64})`).FindStringSubmatch(out)[1]
	s.want(3, "", "apply", "plan.json", "--approve", strings.Repeat("0", 64))
	s.want(0, "6 drained", "apply", "plan.json", "--approve", hash)

	s.write("hosts.csv", "id,name,ip,zone,status\n")
	for _, args := range [][]string{{"fetch"}, {"plan"}, {"diff"}, {"run", "--once"}} {
		s.want(4, "source idc: it has no records", args...)
	}
	s.want(3, "minSourceFraction", "plan", "--allow-empty")
	s.write("hosts.csv", "id,name,ip,zone,status\n1,vm\n")
	s.want(4, "hosts.csv:2: the row has another number of fields", "plan")
	if err := os.Remove("hosts.csv"); err != nil {
		t.Fatal(err)
	}
	s.want(4, "no such file", "run", "--once")

	s.machines(4, "active")
	s.write("cmdb-sync.yaml", "sources: []\n")
	for _, args := range [][]string{{"validate"}, {"fetch"}, {"plan"}, {"apply", "plan.json"}, {"run"}, {"run", "--once"}} {
		s.want(1, "cmdb-sync.yaml:1:10: sources: is missing", args...)
	}
}

func TestWrongUsageHasExitCode2(t *testing.T) {
	s := newShell(t, "http://127.0.0.1:1")
	for _, args := range [][]string{
		{},
		{"sync"},
		{"plan", "now"},
		{"plan", "-o", "xml"},
		{"apply"},
		{"apply", "a", "b"},
		{"plan", "--only-service", "a"},
		{"run", "--approve", "x"},
		{"validate", "--config"},
		{"run", "-o", "yaml"},
		{"apply", "a", "-o", "x"},
	} {
		t.Run(strings.Join(args, " "), func(t *testing.T) {
			if code, _, errText := s.do(args...); code != 2 {
				t.Errorf("exit code %d (%s), want 2", code, errText)
			}
		})
	}
}

func TestPlanThatWasChangedIsRefused(t *testing.T) {
	cp := cptest.New(t)
	s := newShell(t, cp.URL)
	s.want(5, "", "plan", "--out", "plan.json")
	data, err := os.ReadFile("plan.json")
	if err != nil {
		t.Fatal(err)
	}
	s.write("changed.json", strings.Replace(string(data), "bj-0", "bj-9", 1))
	s.want(1, "it was changed, plan again", "apply", "changed.json")
	s.write("other.json", "{}")
	s.want(1, "its format is", "apply", "other.json")
	s.want(1, "no such file", "apply", "none.json")

	config, err := os.ReadFile("cmdb-sync.yaml")
	if err != nil {
		t.Fatal(err)
	}
	s.write("cmdb-sync.yaml", string(config)+"log: {level: warn}\n")
	s.want(1, "was made by another configuration", "apply", "plan.json")
	if len(cp.Names()) != 0 {
		t.Errorf("there are hosts: %v", cp.Names())
	}
}

func TestPlanIsPrintedAsJSON(t *testing.T) {
	s := newShell(t, cptest.New(t).URL)
	out := s.want(5, "", "plan", "-o", "json")
	var p struct {
		Source, Base, Hash string
		Counts             struct{ Add int }
		Changes            []struct {
			Action, Object string
			Put            struct{ Spec struct{ Key string } }
		}
	}
	if err := json.Unmarshal([]byte(out), &p); err != nil {
		t.Fatal(err)
	}
	if p.Source != "idc" || p.Base != "1" || len(p.Hash) != 64 || p.Counts.Add != 10 || p.Changes[0].Put.Spec.Key != "0" {
		t.Errorf("plan %+v", p)
	}
	if again := s.want(5, "", "plan", "-o", "json"); !strings.Contains(again, p.Hash) {
		t.Error("the same plan has another hash")
	}
}

func TestSnapshotCanBePlannedFrom(t *testing.T) {
	cp := cptest.New(t)
	s := newShell(t, cp.URL)
	s.want(0, "snap.jsonl: 10 records, 10 hosts, 0 quarantined", "fetch", "--out", "snap.jsonl")
	want := s.want(5, "", "diff")
	if err := os.Remove("hosts.csv"); err != nil {
		t.Fatal(err)
	}
	got := s.want(5, "", "diff", "--from", "snap.jsonl")
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the plan differs (-source +snapshot):\n%s", diff)
	}
	s.want(4, "no such file", "plan", "--from", "none.jsonl")
}

func TestControlPlaneThatIsAwayIsAFailure(t *testing.T) {
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	s := newShell(t, "http://"+address)
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	err = command.Execute(ctx, []string{"plan"}, &s.stdout, &s.stderr)
	if code := run.ExitCode(err); code != 1 || !strings.Contains(err.Error(), address) {
		t.Errorf("exit code %d: %v", code, err)
	}
}

func TestRunServesMetricsUntilItIsToldToEnd(t *testing.T) {
	cp := cptest.New(t)
	s := newShell(t, cp.URL)
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	config, err := os.ReadFile("cmdb-sync.yaml")
	if err != nil {
		t.Fatal(err)
	}
	s.write("cmdb-sync.yaml", string(config)+"listen: {metrics: '"+address+"'}\n")
	s.want(1, "listen.metrics: "+address+" is in use", "run")
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}

	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- command.Execute(ctx, []string{"run"}, &s.stdout, &s.stderr) }()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	deadline := time.Now().Add(10 * time.Second)
	for !strings.Contains(get(client, "http://"+address+"/metrics"), `outrigger_cmdb_runs_total{result="applied",source="idc"} 1`) {
		if time.Now().After(deadline) {
			t.Fatal("the metrics do not tell of a run")
		}
		time.Sleep(20 * time.Millisecond)
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("it ended with %v", err)
	}
	if len(cp.Names()) != 10 {
		t.Errorf("there are %v", cp.Names())
	}
}

func get(c *http.Client, url string) string {
	resp, err := c.Get(url)
	if err != nil {
		return ""
	}
	defer resp.Body.Close()
	var b bytes.Buffer
	if _, err := b.ReadFrom(resp.Body); err != nil {
		return ""
	}
	return b.String()
}

func TestVersionIsPrinted(t *testing.T) {
	s := newShell(t, "http://127.0.0.1:1")
	if out := s.want(0, "cmdb-sync ", "version"); len(strings.Fields(out)) != 2 {
		t.Errorf("printed %q, want the program and its version", out)
	}
}

func TestOnlyItsOwnerReadsWhatItWrites(t *testing.T) {
	s := newShell(t, cptest.New(t).URL)
	s.want(5, "", "plan", "--out", "plan.json")
	s.want(0, "", "fetch", "--out", "snap.jsonl")
	s.want(0, "", "run", "--once")
	for _, name := range []string{"plan.json", "snap.jsonl", filepath.Join("data", "cmdb-sync", "idc.state.json")} {
		if info, err := os.Stat(name); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
}
