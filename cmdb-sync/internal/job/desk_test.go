package job_test

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/cmdb-sync/internal/config"
	"github.com/outrigger-mesh/outrigger/cmdb-sync/internal/cptest"
	"github.com/outrigger-mesh/outrigger/cmdb-sync/internal/job"
	"github.com/outrigger-mesh/outrigger/cmdb-sync/source"
	"github.com/outrigger-mesh/outrigger/cmdb-sync/source/builtin"
)

// desk is a folder with a configuration and a CSV, and a control plane.
type desk struct {
	t   *testing.T
	dir string
	cp  *cptest.Server
	log *lines
}

// lines is a log that can be read while it is written.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

const settings = `
controlplane: {server: %s, timeout: 2s}
sources: [{name: idc, csv: {path: hosts.csv}, interval: 1m}]
map:
  key: r.id
  name: r.name
  locality: {zone: r.zone}
  status: {from: r.status, table: {active: up, maintenance: drain}}
guard: {mode: sync, maxModify: 100%%}
state: {path: state}
audit: {path: log/audit.jsonl}
`

func newDesk(t *testing.T) *desk {
	t.Helper()
	d := &desk{t: t, dir: t.TempDir(), cp: cptest.New(t), log: &lines{}}
	d.write("cmdb-sync.yaml", fmt.Sprintf(settings, d.cp.URL))
	d.machines("1,vm-1,bj-1,active", "2,vm-2,bj-2,active")
	return d
}

func (d *desk) path(name string) string { return filepath.Join(d.dir, name) }

func (d *desk) write(name, content string) {
	d.t.Helper()
	if err := os.WriteFile(d.path(name), []byte(content), 0o600); err != nil {
		d.t.Fatal(err)
	}
}

func (d *desk) machines(rows ...string) {
	d.t.Helper()
	// As an editor saves: in one step.
	d.write("hosts.csv.new", "id,name,zone,status\n"+strings.Join(rows, "\n")+"\n")
	if err := os.Rename(d.path("hosts.csv.new"), d.path("hosts.csv")); err != nil {
		d.t.Fatal(err)
	}
}

func (d *desk) job(o job.Options, kinds ...source.Kind) *job.Job {
	d.t.Helper()
	c, err := config.Load(d.path("cmdb-sync.yaml"), append(builtin.Kinds(), kinds...))
	if err != nil {
		d.t.Fatal(err)
	}
	j, err := job.New(c, o, slog.New(slog.NewTextHandler(d.log, &slog.HandlerOptions{Level: slog.LevelDebug})))
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(j.Close)
	return j
}

// files are the files below the folder, with their content.
func (d *desk) files() map[string]string {
	d.t.Helper()
	files := map[string]string{}
	for _, pattern := range []string{"state/*", "log/*"} {
		paths, err := filepath.Glob(d.path(pattern))
		if err != nil {
			d.t.Fatal(err)
		}
		for _, p := range paths {
			info, err := os.Stat(p)
			if err != nil {
				d.t.Fatal(err)
			}
			files[filepath.Base(p)] = fmt.Sprint(info.Size(), info.ModTime())
		}
	}
	return files
}

// until waits for something that is to happen within so long.
func until(t *testing.T, within time.Duration, what string, happened func() bool) {
	t.Helper()
	began := time.Now()
	for !happened() {
		if time.Since(began) > within {
			t.Fatalf("after %v not yet: %s", within, what)
		}
		time.Sleep(10 * time.Millisecond)
	}
}
