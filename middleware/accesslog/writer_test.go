package accesslog

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/outrigger-mesh/outrigger/middleware"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func put(w *Writer, text string) {
	w.put(0, []byte(text))
}

// dropped is the count of dropped lines, as Prometheus sees it.
func dropped(w *Writer) float64 {
	r := prometheus.NewRegistry()
	r.MustRegister(w.dropped)
	families, err := r.Gather()
	if err != nil || len(families) != 1 {
		return -1
	}
	return families[0].GetMetric()[0].GetCounter().GetValue()
}

func content(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return string(b)
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("still not so: %s", what)
		}
	}
}

func TestCloseWritesEveryLineOfEveryGoroutine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "access.log")
	w := NewWriter(path, nil)
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			for j := range 100 {
				put(w, fmt.Sprintf("line %d %d\n", i, j))
			}
		})
	}
	wg.Wait()
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for line := range strings.Lines(content(t, path)) {
		seen[line] = true
	}
	if len(seen) != 1600 || dropped(w) != 0 {
		t.Errorf("%d different lines, %v dropped; want 1600 and 0", len(seen), dropped(w))
	}
}

func TestAWriterThatIsNotUsedOpensNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "access.log")
	if err := NewWriter(path, nil).Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("the file is there: %v", err)
	}
}

func TestAFileThatWasMovedAwayIsOpenedAnew(t *testing.T) {
	path := filepath.Join(t.TempDir(), "access.log")
	w := NewWriter(path, nil)
	put(w, "before\n")
	eventually(t, "the first line is written", func() bool { return content(t, path) == "before\n" })
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a line is in the new file", func() bool {
		put(w, "after\n")
		return strings.Contains(content(t, path), "after\n")
	})
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(content(t, path+".1"), "before\n") {
		t.Error("the moved file has changed")
	}
}

func TestAFileThatCannotBeOpenedDropsCountsAndRecovers(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "not there yet")
	path := filepath.Join(dir, "access.log")
	var log bytes.Buffer
	w := NewWriter(path, slog.New(slog.NewTextHandler(&log, nil)))
	put(w, "lost\n")
	put(w, "lost\n")
	eventually(t, "both lines are dropped", func() bool { return dropped(w) == 2 })
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a line is written", func() bool {
		put(w, "found\n")
		return strings.Contains(content(t, path), "found\n")
	})
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(log.String(), "access log cannot be written"); n != 1 {
		t.Errorf("the failure was logged %d times, want once:\n%s", n, &log)
	}
	if strings.Contains(content(t, path), "lost") {
		t.Error("a line that was counted as dropped was written")
	}
}

// stuck is a destination that takes nothing until it is let go.
type stuck struct{ let chan struct{} }

func (s *stuck) Write(p []byte) (int, error) {
	<-s.let
	return len(p), nil
}

func TestAFullQueueDropsAndNeverBlocks(t *testing.T) {
	w := NewWriter("", nil)
	s := &stuck{make(chan struct{})}
	w.stdout = s
	const extra = 1000
	for range 2*pendingBytes/len("line\n") + extra { // one queue, one batch in the writer's hands
		put(w, "line\n")
	}
	if n := dropped(w); n < extra {
		t.Errorf("%v dropped, want %d at least", n, extra)
	}
	close(s.let)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestTheDefaultDestinationIsTheStandardOutput(t *testing.T) {
	w := NewWriter("", nil)
	if w.stdout != io.Writer(os.Stdout) {
		t.Errorf("it is %v", w.stdout)
	}
	var out bytes.Buffer
	w.stdout = &out
	put(w, "a line\n")
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if out.String() != "a line\n" {
		t.Errorf("got %q", &out)
	}
}

func TestEntriesWithOneFileShareItsWriterOverReloads(t *testing.T) {
	states, registry := middleware.NewStates(), prometheus.NewPedanticRegistry()
	path := filepath.Join(t.TempDir(), "access.log")
	writer := func(g *middleware.Generation, direction string) *Writer {
		parts, err := build(Config{Format: JSON, File: path}, middleware.Env{Direction: direction, Metrics: registry}.In(g))
		if err != nil {
			t.Fatal(err)
		}
		return parts.Request.(*Log).writer
	}
	one := states.NewGeneration()
	w := writer(one, middleware.Inbound)
	if writer(one, middleware.Outbound) != w {
		t.Error("two writers to one file")
	}
	put(w, "first\n")
	two := states.NewGeneration()
	if writer(two, middleware.Inbound) != w {
		t.Error("another writer after a reload")
	}
	if err := one.Close(); err != nil {
		t.Fatal(err)
	}
	put(w, "second\n")
	families, err := registry.Gather()
	if err != nil || len(families) != 1 || len(families[0].GetMetric()) != 1 {
		t.Errorf("metrics %v, %v; want one of dropped lines", families, err)
	}
	if err := two.Close(); err != nil {
		t.Fatal(err)
	}
	if got := content(t, path); got != "first\nsecond\n" {
		t.Errorf("the file holds %q", got)
	}
	if families, err := registry.Gather(); len(families) != 0 || err != nil {
		t.Errorf("metrics are left: %v, %v", families, err)
	}
}
