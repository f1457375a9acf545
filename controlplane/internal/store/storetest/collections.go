package storetest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/outrigger-mesh/outrigger/controlplane/internal/store"
)

const things = "things"

// batch makes a batch of words: key=value puts, -key deletes.
func batch(words ...string) store.Batch {
	var b store.Batch
	for _, w := range words {
		if key, ok := strings.CutPrefix(w, "-"); ok {
			b.Delete = append(b.Delete, key)
			continue
		}
		key, value, _ := strings.Cut(w, "=")
		b.Put = append(b.Put, store.Put{Key: key, Value: []byte(value)})
	}
	return b
}

func mustApply(t *testing.T, s store.Store, words ...string) store.Applied {
	t.Helper()
	applied, err := s.Apply(t.Context(), things, batch(words...))
	if err != nil {
		t.Fatalf("apply %v: %v", words, err)
	}
	return applied
}

// list is a whole listing as key=value words, read in pages.
func list(t *testing.T, s store.Store, o store.ListOptions) (store.Revision, []string) {
	t.Helper()
	var words []string
	for {
		page, err := s.List(t.Context(), things, o)
		if err != nil {
			t.Fatalf("list %+v: %v", o, err)
		}
		for _, item := range page.Items {
			words = append(words, item.Key+"="+string(item.Value))
		}
		if !page.More {
			return page.Revision, words
		}
		if len(page.Items) != o.Limit {
			t.Fatalf("a page of %d items has more behind it, and may have %d", len(page.Items), o.Limit)
		}
		o.At, o.After = page.Revision, page.Items[len(page.Items)-1].Key
	}
}

func wantList(t *testing.T, s store.Store, revision store.Revision, words ...string) {
	t.Helper()
	got, items := list(t, s, store.ListOptions{})
	if got != revision {
		t.Errorf("the collection is at revision %d, want %d", got, revision)
	}
	if diff := cmp.Diff(words, items); diff != "" {
		t.Errorf("items (-want +got):\n%s", diff)
	}
}

func testNoCollection(t *testing.T, open func() (store.Store, error)) {
	s := mustOpen(t, open)
	defer mustClose(t, s)
	wantList(t, s, 0)
	if _, err := s.Get(t.Context(), things, "a"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("get: %v, want %v", err, store.ErrNotFound)
	}
	if _, err := s.List(t.Context(), things, store.ListOptions{At: 1}); !errors.Is(err, store.ErrCompacted) {
		t.Errorf("list at a revision that never was: %v, want %v", err, store.ErrCompacted)
	}
	if got := mustApply(t, s, "-a"); got != (store.Applied{}) {
		t.Errorf("to delete what is not there is %+v, want nothing", got)
	}
}

func testRevisions(t *testing.T, open func() (store.Store, error)) {
	s := mustOpen(t, open)
	defer mustClose(t, s)
	for _, step := range []struct {
		words []string
		want  store.Applied
	}{
		{[]string{"b=1", "a=1"}, store.Applied{Revision: 1, Changed: 2}},
		{[]string{"b=1", "a=1"}, store.Applied{Revision: 1, Unchanged: 2}},
		{[]string{"a=2", "b=1", "c=1"}, store.Applied{Revision: 2, Changed: 2, Unchanged: 1}},
		{[]string{"-a", "-x", "b="}, store.Applied{Revision: 3, Changed: 1, Deleted: 1}},
		{[]string{"-a"}, store.Applied{Revision: 3}},
		{nil, store.Applied{Revision: 3}},
	} {
		if got := mustApply(t, s, step.words...); got != step.want {
			t.Errorf("%v: %+v, want %+v", step.words, got, step.want)
		}
	}
	wantList(t, s, 3, "b=", "c=1")
	if other, err := s.Apply(t.Context(), "others", batch("z=1")); err != nil || other.Revision != 1 {
		t.Errorf("another collection: %+v, %v; want a revision of its own", other, err)
	}
	wantList(t, s, 3, "b=", "c=1")
}

func testItems(t *testing.T, open func() (store.Store, error)) {
	s := mustOpen(t, open)
	defer mustClose(t, s)
	get := func() store.Item {
		t.Helper()
		item, err := s.Get(t.Context(), things, "a")
		if err != nil {
			t.Fatal(err)
		}
		return item
	}
	mustApply(t, s, "a=1", "b=1")
	first := get()
	mustApply(t, s, "b=2")
	if again := get(); !cmp.Equal(first, again) {
		t.Errorf("an item that did not change is %+v, was %+v", again, first)
	}
	mustApply(t, s, "a=3")
	changed := get()
	if changed.Revision != 3 || string(changed.Value) != "3" || !changed.Created.Equal(first.Created) {
		t.Errorf("a changed item is %+v, want revision 3 and the creation of %+v", changed, first)
	}
	mustApply(t, s, "-a")
	mustApply(t, s, "a=1")
	if fresh := get(); !fresh.Created.After(first.Created) {
		t.Errorf("a key that came back is as old as %v, want later than %v", fresh.Created, first.Created)
	}
}

func testStale(t *testing.T, open func() (store.Store, error)) {
	s := mustOpen(t, open)
	defer mustClose(t, s)
	mustApply(t, s, "a=1")
	mustApply(t, s, "a=2")
	for _, base := range []store.Revision{0, 1, 3} {
		b := batch("a=9")
		b.Base = &base
		_, err := s.Apply(t.Context(), things, b)
		if stale, ok := errors.AsType[*store.StaleError](err); !ok || stale.Revision != 2 {
			t.Errorf("on base %d: %v, want a StaleError of revision 2", base, err)
		}
	}
	wantList(t, s, 2, "a=2")
	base := store.Revision(2)
	b := batch("a=3")
	b.Base = &base
	if applied, err := s.Apply(t.Context(), things, b); err != nil || applied.Revision != 3 {
		t.Errorf("on the right base: %+v, %v", applied, err)
	}
}

func testRace(t *testing.T, open func() (store.Store, error)) {
	s := mustOpen(t, open)
	defer mustClose(t, s)
	var mu sync.Mutex
	made, stale := 0, 0
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			base := store.Revision(0)
			b := batch(fmt.Sprintf("a=%d", i))
			b.Base = &base
			_, err := s.Apply(t.Context(), things, b)
			_, refused := errors.AsType[*store.StaleError](err)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				made++
			case refused:
				stale++
			default:
				t.Errorf("apply: %v", err)
			}
		})
	}
	wg.Wait()
	if made != 1 || stale != 19 {
		t.Errorf("%d batches were made and %d refused, want 1 and 19", made, stale)
	}
}

func testDryRun(t *testing.T, open func() (store.Store, error)) {
	s := mustOpen(t, open)
	defer mustClose(t, s)
	dry := func(words ...string) store.Applied {
		t.Helper()
		b := batch(words...)
		b.DryRun = true
		applied, err := s.Apply(t.Context(), things, b)
		if err != nil {
			t.Fatal(err)
		}
		return applied
	}
	if got, want := dry("a=1"), (store.Applied{Revision: 1, Changed: 1}); got != want {
		t.Errorf("on nothing: %+v, want %+v", got, want)
	}
	wantList(t, s, 0)
	mustApply(t, s, "a=1", "b=1")
	if got, want := dry("a=1", "c=1", "-b"), (store.Applied{Revision: 2, Changed: 1, Unchanged: 1, Deleted: 1}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	wantList(t, s, 1, "a=1", "b=1")
}

func testBadKeys(t *testing.T, open func() (store.Store, error)) {
	s := mustOpen(t, open)
	defer mustClose(t, s)
	for name, words := range map[string][]string{
		"an empty key": {"a=1", "=1"}, "a zero byte": {"a=1", "b\x00=1"}, "a key twice": {"a=1", "a=2"},
		"put and deleted": {"a=1", "-a"}, "a key that is too long": {"a=1", strings.Repeat("k", 5000) + "=1"},
	} {
		if _, err := s.Apply(t.Context(), things, batch(words...)); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
	wantList(t, s, 0)
}

func testReopenCollection(t *testing.T, open func() (store.Store, error)) {
	s := mustOpen(t, open)
	mustApply(t, s, "a=1", "b=1")
	mustApply(t, s, "a=2", "-b")
	mustClose(t, s)
	s = mustOpen(t, open)
	defer mustClose(t, s)
	wantList(t, s, 2, "a=2")
	if _, items := list(t, s, store.ListOptions{At: 1}); !slices.Equal(items, []string{"a=1", "b=1"}) {
		t.Errorf("revision 1 is %v", items)
	}
	if got := mustApply(t, s, "c=1"); got.Revision != 3 {
		t.Errorf("the next revision is %d, want 3", got.Revision)
	}
}

// testHistory applies at random and compares each revision with what a map
// remembers of it.
func testHistory(t *testing.T, open func() (store.Store, error)) {
	s := mustOpen(t, open)
	defer mustClose(t, s)
	random := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // a test that repeats
	keys := []string{"a", "a-b", "a/b", "a/b-c", "a/c", "ab", "b", "b/a"}
	now := map[string]string{}
	past := map[store.Revision][]string{0: nil}
	words := func() []string {
		var all []string
		for _, k := range slices.Sorted(maps.Keys(now)) {
			all = append(all, k+"="+now[k])
		}
		return all
	}
	for len(past) <= Bounds.Revisions {
		var b store.Batch
		for _, i := range random.Perm(len(keys))[:1+random.IntN(4)] {
			if random.IntN(3) == 0 {
				b.Delete = append(b.Delete, keys[i])
				delete(now, keys[i])
			} else {
				now[keys[i]] = fmt.Sprint(random.IntN(3))
				b.Put = append(b.Put, store.Put{Key: keys[i], Value: []byte(now[keys[i]])})
			}
		}
		applied, err := s.Apply(t.Context(), things, b)
		if err != nil {
			t.Fatal(err)
		}
		past[applied.Revision] = words()
	}
	for at, want := range past {
		if at == 0 {
			continue // stands for the newest
		}
		for limit := range 4 {
			for _, prefix := range []string{"", "a", "a/", "b", "c"} {
				_, got := list(t, s, store.ListOptions{At: at, Limit: limit, Prefix: prefix})
				of := slices.DeleteFunc(slices.Clone(want), func(w string) bool { return !strings.HasPrefix(w, prefix) })
				if !slices.Equal(got, of) {
					t.Errorf("revision %d, prefix %q, pages of %d: %v, want %v", at, prefix, limit, got, of)
				}
			}
		}
	}
}

func testCompaction(t *testing.T, open func() (store.Store, error)) {
	s := mustOpen(t, open)
	defer mustClose(t, s)
	listable := func(at store.Revision) bool {
		t.Helper()
		_, err := s.List(t.Context(), things, store.ListOptions{At: at})
		if err != nil && !errors.Is(err, store.ErrCompacted) {
			t.Fatal(err)
		}
		return err == nil
	}
	total := store.Revision(Bounds.Revisions) + 5 //nolint:gosec // small
	for i := range total {
		mustApply(t, s, fmt.Sprintf("a=%d", i))
	}
	if listable(4) || !listable(5) || !listable(total) || listable(total+1) {
		t.Errorf("of %d revisions, 4 and later are listed as %v %v %v %v, want the last %d",
			total, listable(4), listable(5), listable(total), listable(total+1), Bounds.Revisions)
	}
	if _, err := s.Watch(t.Context(), things, 4); !errors.Is(err, store.ErrCompacted) {
		t.Errorf("watch since what is compacted: %v, want %v", err, store.ErrCompacted)
	}
	// More than the bound in one revision: all before it goes, it stays.
	var many []string
	for i := range Bounds.Records + 1 {
		many = append(many, fmt.Sprintf("m%d=1", i))
	}
	last := mustApply(t, s, many...).Revision
	if listable(last-2) || !listable(last-1) || !listable(last) {
		t.Errorf("after a revision of %d items, those before are listed as %v %v %v", len(many), listable(last-2), listable(last-1), listable(last))
	}
}

func testWatch(t *testing.T, open func() (store.Store, error)) {
	s := mustOpen(t, open)
	defer mustClose(t, s)
	mustApply(t, s, "a=1", "b=1", "c=1")
	mustApply(t, s, "a=2", "-b", "d=1")
	mustApply(t, s, "-d", "c=1")
	change, err := s.Watch(t.Context(), things, 1)
	if err != nil {
		t.Fatal(err)
	}
	var puts []string
	for _, item := range change.Put {
		puts = append(puts, fmt.Sprintf("%s=%s@%d", item.Key, item.Value, item.Revision))
	}
	if want := []string{"a=2@2"}; change.Revision != 3 || !slices.Equal(puts, want) || !slices.Equal(change.Delete, []string{"b", "d"}) {
		t.Errorf("since 1: %v and -%v at %d, want %v and -[b d] at 3", puts, change.Delete, change.Revision, want)
	}
	if _, err := s.Watch(t.Context(), things, 4); !errors.Is(err, store.ErrCompacted) {
		t.Errorf("watch since a revision that never was: %v, want %v", err, store.ErrCompacted)
	}
}

func testWatchWaits(t *testing.T, open func() (store.Store, error)) {
	s := mustOpen(t, open)
	defer mustClose(t, s)
	mustApply(t, s, "a=1")
	changes := make(chan store.Change, 1)
	var wg sync.WaitGroup
	wg.Go(func() {
		change, err := s.Watch(t.Context(), things, 1)
		if err != nil {
			t.Errorf("watch: %v", err)
		}
		changes <- change
	})
	if _, err := s.Apply(t.Context(), "others", batch("z=1")); err != nil {
		t.Fatal(err)
	}
	mustApply(t, s, "a=1") // changes nothing
	select {
	case change := <-changes:
		t.Errorf("it is told of %+v, which is no news", change)
	default:
	}
	mustApply(t, s, "a=2")
	if change := <-changes; change.Revision != 2 || len(change.Put) != 1 || string(change.Put[0].Value) != "2" {
		t.Errorf("it is told of %+v, want a=2 at revision 2", change)
	}
	wg.Wait()
}

func testWatchEnds(t *testing.T, open func() (store.Store, error)) {
	s := mustOpen(t, open)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Watch(ctx, things, 0); !errors.Is(err, context.Canceled) {
		t.Errorf("under a cancelled context: %v, want %v", err, context.Canceled)
	}
	ended := make(chan error, 1)
	go func() {
		_, err := s.Watch(t.Context(), things, 0)
		ended <- err
	}()
	mustClose(t, s)
	if err := <-ended; !errors.Is(err, store.ErrClosed) {
		t.Errorf("of a closed store: %v, want %v", err, store.ErrClosed)
	}
}

func testCancelledCollection(t *testing.T, open func() (store.Store, error)) {
	s := mustOpen(t, open)
	defer mustClose(t, s)
	mustApply(t, s, "a=1")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Apply(ctx, things, batch("a=2")); !errors.Is(err, context.Canceled) {
		t.Errorf("apply: %v, want %v", err, context.Canceled)
	}
	if _, err := s.List(ctx, things, store.ListOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("list: %v, want %v", err, context.Canceled)
	}
	wantList(t, s, 1, "a=1")
}
