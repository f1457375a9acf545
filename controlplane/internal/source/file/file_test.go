package file_test

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/outrigger-mesh/outrigger/controlplane/internal/source"
	"github.com/outrigger-mesh/outrigger/controlplane/internal/source/file"
	"github.com/outrigger-mesh/outrigger/internal/conf"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 10 * time.Second

// world is a folder of objects, watched.
type world struct {
	t       *testing.T
	dir     string
	metrics *prometheus.Registry
	source  *file.Source

	mu       sync.Mutex
	log      strings.Builder
	services []string   // as last sent
	history  [][]string // of services
	routes   int
	synced   bool
}

// Write implements io.Writer for the log.
func (w *world) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.log.Write(p)
}

func newWorld(t *testing.T, paths ...file.Path) *world {
	t.Helper()
	w := &world{t: t, dir: t.TempDir(), metrics: prometheus.NewRegistry()}
	if paths == nil {
		paths = []file.Path{{Name: w.dir}}
	}
	w.source = file.New(file.Options{
		Logger: slog.New(slog.NewTextHandler(w, nil)), Paths: paths,
		Interval: 5 * time.Millisecond, Metrics: w.metrics,
	})
	return w
}

// run loads and then watches until the test ends.
func (w *world) run() {
	w.t.Helper()
	if err := w.source.Load(); err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(w.t.Context())
	updates := make(chan source.Update)
	var running sync.WaitGroup
	running.Go(func() {
		if err := w.source.Run(ctx, updates); err != nil {
			w.t.Errorf("run: %v", err)
		}
	})
	running.Go(func() {
		for {
			select {
			case <-ctx.Done():
				return
			case u := <-updates:
				w.take(u)
			}
		}
	})
	w.t.Cleanup(func() { cancel(); running.Wait() })
	w.eventually("the source has synced", func() bool { return w.synced })
}

func (w *world) take(u source.Update) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if u.Synced {
		w.synced = true
		return
	}
	w.services, w.routes = nil, len(u.Content.Routes)
	for _, s := range u.Content.Services {
		w.services = append(w.services, s.Name)
	}
	slices.Sort(w.services)
	w.history = append(w.history, w.services)
}

// eventually waits for is, which holds the world's lock.
func (w *world) eventually(what string, is func() bool) {
	w.t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		w.mu.Lock()
		ok := is()
		log := w.log.String()
		services := w.services
		w.mu.Unlock()
		if ok {
			return
		}
		if time.Now().After(deadline) {
			w.t.Fatalf("not within %s: %s; services %v, log:\n%s", patience, what, services, log)
		}
	}
}

func (w *world) wantServices(names ...string) {
	w.t.Helper()
	w.eventually("the services are "+strings.Join(names, " "), func() bool { return slices.Equal(w.services, names) })
}

func (w *world) wantLog(text string) {
	w.t.Helper()
	w.eventually("the log says "+text, func() bool { return strings.Contains(w.log.String(), text) })
}

func (w *world) gauge(name string) float64 {
	w.t.Helper()
	families, err := w.metrics.Gather()
	if err != nil {
		w.t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			return f.GetMetric()[0].GetGauge().GetValue()
		}
	}
	w.t.Fatalf("there is no metric %s", name)
	return 0
}

// write replaces a file as editors do: another file is renamed over it.
func (w *world) write(name, content string) {
	w.t.Helper()
	path := filepath.Join(w.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		w.t.Fatal(err)
	}
	if err := os.WriteFile(path+".tmp", []byte(content), 0o600); err != nil {
		w.t.Fatal(err)
	}
	if err := os.Rename(path+".tmp", path); err != nil {
		w.t.Fatal(err)
	}
}

// services are MeshServices of these names, as a file.
func services(names ...string) string {
	var out strings.Builder
	for _, n := range names {
		out.WriteString("---\napiVersion: mesh.outrigger.dev/v1alpha1\nkind: MeshService\nmetadata: {name: " + n + "}\nspec: {ports: [{name: http, port: 80}]}\n")
	}
	return out.String()
}

func TestEveryObjectBelowAFolderIsRead(t *testing.T) {
	w := newWorld(t)
	w.write("a.yaml", services("a", "b"))
	w.write("sub/c.yml", services("c"))
	w.write("notes.txt", "not: [an object")
	w.write(".hidden.yaml", "not: [an object")
	w.write(".git/d.yaml", "not: [an object")
	w.run()
	w.wantServices("a", "b", "c")
	if n := w.gauge("outrigger_files_objects"); n != 3 {
		t.Errorf("%v objects are counted, want 3", n)
	}
}

func TestLoadNamesEveryMistakeOfEveryFile(t *testing.T) {
	w := newWorld(t)
	w.write("a.yaml", "kind: Foo\n")
	w.write("b.yaml", services("x")+services("x"))
	w.write("c.yaml", services("x")+"---\n- 1\n")
	err := w.source.Load()
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{
		"a.yaml:1:1: apiVersion is missing",
		"b.yaml:7:1: MeshService default/x is already defined at " + filepath.Join(w.dir, "b.yaml") + ":2:1",
		"c.yaml:7:1: expected an object",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not say %q:\n%v", want, err)
		}
	}
}

func TestAPathThatIsNotThere(t *testing.T) {
	none := filepath.Join(t.TempDir(), "none")
	t.Run("is a mistake where it was configured", func(t *testing.T) {
		w := newWorld(t, file.Path{Name: none, Pos: conf.Pos{File: "controlplane.yaml", Line: 3, Col: 11}})
		if err := w.source.Load(); err == nil || !strings.HasPrefix(err.Error(), "controlplane.yaml:3:11: ") || !strings.Contains(err.Error(), none) {
			t.Fatalf("got %v, want the path at its place", err)
		}
	})
	t.Run("is empty where it is the default, and read once it is there", func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "objects")
		w := newWorld(t, file.Path{Name: dir, Optional: true})
		w.run()
		w.dir = dir
		w.write("a.yaml", services("a"))
		w.wantServices("a")
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
		w.wantLog("objects cannot be listed, those known stay")
		w.wantServices("a")
	})
}

func TestChangesAreSeen(t *testing.T) {
	w := newWorld(t)
	w.write("a.yaml", services("a"))
	w.run()
	w.wantServices("a")
	w.write("a.yaml", services("a", "b"))
	w.wantServices("a", "b")
	w.write("new.yaml", services("c"))
	w.wantServices("a", "b", "c")
	if err := os.Remove(filepath.Join(w.dir, "a.yaml")); err != nil {
		t.Fatal(err)
	}
	w.wantServices("c")
}

func TestALinkThatIsTurnedElsewhereIsAChange(t *testing.T) {
	// This is how Kubernetes replaces the content of a mounted ConfigMap.
	w := newWorld(t)
	link := func(target string) {
		t.Helper()
		tmp := filepath.Join(w.dir, "..tmp")
		if err := os.Symlink(target, tmp); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(tmp, filepath.Join(w.dir, "..data")); err != nil {
			t.Fatal(err)
		}
	}
	w.write("..1/a.yaml", services("a"))
	w.write("..2/a.yaml", services("a", "b"))
	link("..1")
	if err := os.Symlink(filepath.Join("..data", "a.yaml"), filepath.Join(w.dir, "a.yaml")); err != nil {
		t.Fatal(err)
	}
	w.run()
	w.wantServices("a")
	link("..2")
	w.wantServices("a", "b")
}

func TestABadFileKeepsItsLastGoodContentAndIsSaid(t *testing.T) {
	w := newWorld(t)
	w.write("a.yaml", services("a"))
	w.write("b.yaml", services("b"))
	w.run()
	w.wantServices("a", "b")
	w.write("a.yaml", services("a", "b2")+"---\nkind: Foo\n")
	w.wantLog("a.yaml:12:1: apiVersion is missing")
	w.eventually("the bad file is counted", func() bool { return w.gauge("outrigger_files_bad") == 1 })
	w.write("b.yaml", services("b", "c")) // the others go on
	w.wantServices("a", "b", "c")
	w.write("a.yaml", services("a", "b2"))
	w.wantServices("a", "b", "b2", "c")
	w.eventually("no file is bad", func() bool { return w.gauge("outrigger_files_bad") == 0 })
}

func TestADuplicateIsRefusedUntilTheOtherIsGone(t *testing.T) {
	w := newWorld(t)
	w.write("a.yaml", services("a"))
	w.write("b.yaml", services("b"))
	w.run()
	w.write("b.yaml", services("a", "b"))
	w.wantLog("MeshService default/a is already defined at " + filepath.Join(w.dir, "a.yaml") + ":2:1")
	w.write("a.yaml", services("other"))
	w.wantServices("a", "b", "other")
}

func TestAnObjectThatMovesToAnotherFileIsNeverAway(t *testing.T) {
	for _, order := range [][2]string{{"a.yaml", "b.yaml"}, {"b.yaml", "a.yaml"}} {
		t.Run("from "+order[0]+" to "+order[1], func(t *testing.T) {
			w := newWorld(t)
			w.write(order[0], services("stays", "moves"))
			w.write(order[1], services("there"))
			w.run()
			w.write(order[1], services("there", "moves", "new"))
			w.write(order[0], services("stays"))
			w.wantServices("moves", "new", "stays", "there")
			w.mu.Lock()
			defer w.mu.Unlock()
			for _, seen := range w.history {
				if !slices.Contains(seen, "moves") {
					t.Errorf("it was away for a moment: %v", w.history)
				}
			}
		})
	}
}

func TestAFileThatCannotBeReadKeepsItsContent(t *testing.T) {
	w := newWorld(t)
	w.write("a.yaml", services("a"))
	w.run()
	w.wantServices("a")
	path := filepath.Join(w.dir, "a.yaml")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	// A link to itself can be listed and not be looked at, by root neither.
	if err := os.Symlink("a.yaml", path); err != nil {
		t.Fatal(err)
	}
	w.wantLog("objects cannot be listed, those known stay")
	w.wantServices("a")
	if n := w.gauge("outrigger_files_unlisted"); n != 1 {
		t.Errorf("%v paths are counted as unlisted, want 1", n)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	w.write("a.yaml", services("a", "b"))
	w.wantServices("a", "b")
}
