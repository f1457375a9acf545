package store_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/outrigger-mesh/outrigger/controlplane/internal/source"
	objects "github.com/outrigger-mesh/outrigger/controlplane/internal/source/store"
	"github.com/outrigger-mesh/outrigger/controlplane/internal/store"
	"github.com/outrigger-mesh/outrigger/controlplane/internal/store/bolt"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a source over a real store.
type world struct {
	t       *testing.T
	store   store.Collections
	updates chan source.Update
	metrics *prometheus.Registry
}

func newWorld(t *testing.T, history store.History) *world {
	t.Helper()
	db, err := bolt.Open(bolt.Options{Path: filepath.Join(t.TempDir(), "outrigger.db"), History: history})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return &world{t: t, store: db, updates: make(chan source.Update), metrics: prometheus.NewRegistry()}
}

// run runs the source until the test ends.
func (w *world) run() {
	w.t.Helper()
	ctx, cancel := context.WithCancel(w.t.Context())
	done := make(chan error, 1)
	s := objects.New(objects.Options{Logger: slog.New(slog.DiscardHandler), Store: w.store, Metrics: w.metrics})
	go func() { done <- s.Run(ctx, w.updates) }()
	w.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			w.t.Errorf("run: %v", err)
		}
	})
}

func host(name, zone string) store.Put {
	return store.Put{Key: name, Value: fmt.Appendf(nil,
		`{"apiVersion":"mesh.outrigger.dev/v1alpha1","kind":"Host","metadata":{"name":%q},"spec":{"key":"1","locality":{"zone":%q}}}`, name, zone)}
}

func (w *world) apply(collection string, b store.Batch) {
	w.t.Helper()
	if _, err := w.store.Apply(w.t.Context(), collection, b); err != nil {
		w.t.Fatal(err)
	}
}

// next is the next update in words: its key, the zone of the host in it, and +
// where more belongs to it.
func (w *world) next() string {
	w.t.Helper()
	select {
	case u := <-w.updates:
		if u.Source != objects.Name {
			w.t.Errorf("the source is %q", u.Source)
		}
		if u.Synced {
			return "synced"
		}
		words := u.Key
		if len(u.Content.Hosts) == 1 {
			h := u.Content.Hosts[0]
			words += "=" + h.Spec.Locality.Zone
			if h.Created.IsZero() {
				w.t.Errorf("%s has no creation", u.Key)
			}
		}
		if u.More {
			words += "+"
		}
		return words
	case <-time.After(10 * time.Second):
		w.t.Fatal("no update came")
		return ""
	}
}

func (w *world) want(updates ...string) {
	w.t.Helper()
	for _, want := range updates {
		if got := w.next(); got != want {
			w.t.Fatalf("the update is %q, want %q", got, want)
		}
	}
}

// metric is the value of a gauge or counter, of a collection where it has one.
func (w *world) metric(name, collection string) float64 {
	w.t.Helper()
	families, err := w.metrics.Gather()
	if err != nil {
		w.t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == name && (collection == "" || m.GetLabel()[0].GetValue() == collection) {
				return m.GetGauge().GetValue() + m.GetCounter().GetValue()
			}
		}
	}
	w.t.Fatalf("there is no metric %s of %q", name, collection)
	return 0
}

func TestWhatIsStoredIsSentThenWhatChanges(t *testing.T) {
	w := newWorld(t, store.History{})
	w.apply("hosts", store.Batch{Put: []store.Put{host("b", "1"), host("a", "1")}})
	w.run()
	w.want("hosts/a=1+", "hosts/b=1", "synced")
	w.apply("hosts", store.Batch{Put: []store.Put{host("b", "1"), host("c", "2"), host("d", "2")}, Delete: []string{"a", "nobody"}})
	w.want("hosts/c=2+", "hosts/d=2+", "hosts/a")
	w.apply("meshservices", store.Batch{Put: []store.Put{{Key: "default/orders", Value: []byte(
		`{"apiVersion":"mesh.outrigger.dev/v1alpha1","kind":"MeshService","metadata":{"name":"orders"},"spec":{"ports":[{"name":"http","port":80}]}}`)}}})
	w.want("meshservices/default/orders")
}

func TestAnObjectThatCannotBeReadKeepsWhatWasKnownOfIt(t *testing.T) {
	w := newWorld(t, store.History{})
	w.apply("hosts", store.Batch{Put: []store.Put{host("a", "1"), {Key: "new", Value: []byte(`{"kind":"Host"}`)}}})
	w.run()
	w.want("hosts/a=1", "synced")
	bad := host("a", "2")
	bad.Value = []byte(strings.Replace(string(bad.Value), `"spec":{`, `"spec":{"rack":7,`, 1))
	w.apply("hosts", store.Batch{Put: []store.Put{bad, host("b", "1")}})
	w.want("hosts/b=1")
	if got := w.metric("outrigger_store_bad", "hosts"); got != 2 {
		t.Errorf("%v objects are counted as bad, want 2", got)
	}
	w.apply("hosts", store.Batch{Put: []store.Put{host("a", "3")}, Delete: []string{"new"}})
	w.want("hosts/a=3")
}

// slow holds back the answers to Watch, so that the history passes it by, and
// fails when told to.
type slow struct {
	store.Collections
	mu   sync.Mutex
	held chan struct{} // Watch of hosts waits for it to be closed
	err  error         // what Watch of hosts fails with
}

func (s *slow) Watch(ctx context.Context, collection string, since store.Revision) (store.Change, error) {
	if collection == "hosts" {
		s.mu.Lock()
		held, err := s.held, s.err
		s.err = nil
		s.mu.Unlock()
		if err != nil {
			return store.Change{}, err
		}
		select {
		case <-held:
		case <-ctx.Done():
			return store.Change{}, ctx.Err()
		}
	}
	return s.Collections.Watch(ctx, collection, since)
}

func TestWhatTheHistoryNoLongerHasIsListedAgain(t *testing.T) {
	w := newWorld(t, store.History{Revisions: 2})
	held := make(chan struct{})
	w.store = &slow{Collections: w.store, held: held}
	w.apply("hosts", store.Batch{Put: []store.Put{host("a", "1"), host("b", "1"), host("c", "1")}})
	w.run()
	w.want("hosts/a=1+", "hosts/b=1+", "hosts/c=1", "synced")
	w.apply("hosts", store.Batch{Delete: []string{"a"}})
	for _, zone := range []string{"2", "3", "4"} {
		w.apply("hosts", store.Batch{Put: []store.Put{host("b", zone)}})
	}
	close(held)
	got := []string{w.next(), w.next(), w.next()}
	slices.Sort(got)
	if want := []string{"hosts/a", "hosts/b=4+", "hosts/c=1+"}; !slices.Equal(got, want) {
		t.Errorf("the updates are %q, want %q", got, want)
	}
}

func TestAStoreThatFailsIsAskedAgain(t *testing.T) {
	w := newWorld(t, store.History{})
	held := make(chan struct{})
	close(held)
	w.store = &slow{Collections: w.store, held: held, err: errors.New("the disk is gone")}
	w.apply("hosts", store.Batch{Put: []store.Put{host("a", "1")}})
	w.run()
	w.want("hosts/a=1", "synced")
	w.apply("hosts", store.Batch{Put: []store.Put{host("a", "2")}})
	w.want("hosts/a=2")
	if got := w.metric("outrigger_store_errors_total", ""); got != 1 {
		t.Errorf("%v errors are counted, want 1", got)
	}
}

func TestAStoreThatCannotBeReadAtTheStartIsAnError(t *testing.T) {
	w := newWorld(t, store.History{})
	w.store.(*bolt.Store).Close()
	s := objects.New(objects.Options{Logger: slog.New(slog.DiscardHandler), Store: w.store, Metrics: w.metrics})
	if err := s.Run(t.Context(), w.updates); err == nil || !strings.Contains(err.Error(), "read hosts") {
		t.Errorf("got %v, want an error that names the collection", err)
	}
}
