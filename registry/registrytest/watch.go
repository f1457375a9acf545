package registrytest

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	microregistry "go-micro.dev/v4/registry"
)

// events collects what a watcher says until the case ends.
func events(t *testing.T, w microregistry.Watcher) (seen func() []string) {
	var mu sync.Mutex
	var all []string
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			res, err := w.Next()
			if err != nil {
				if !errors.Is(err, microregistry.ErrWatcherStopped) {
					t.Errorf("next: %v", err)
				}
				return
			}
			mu.Lock()
			for _, n := range res.Service.Nodes {
				all = append(all, res.Action+" "+res.Service.Name+" "+n.Address)
			}
			mu.Unlock()
		}
	})
	t.Cleanup(func() { w.Stop(); wg.Wait() })
	return func() []string {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(all)
	}
}

// expectEvents waits until all of want were seen.
func expectEvents(t *testing.T, seen func() []string, want ...string) {
	t.Helper()
	missing := map[string]bool{}
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		clear(missing)
		for _, w := range want {
			if !slices.Contains(seen(), w) {
				missing[w] = true
			}
		}
		if len(missing) == 0 {
			return
		}
	}
	t.Fatalf("not seen: %q; seen: %q", slices.Sorted(maps.Keys(missing)), seen())
}

func watchSeesBatch(t *testing.T, b Backend) {
	w, r := client(t, b, "n1"), client(t, b, "n2")
	watcher, err := r.Watch()
	if err != nil {
		t.Fatal(err)
	}
	seen := events(t, watcher)
	var created, deleted []string
	var all []*microregistry.Service
	for i := range 10 {
		s := service(fmt.Sprintf("svc%d", i), "v1", fmt.Sprintf("node-%d", i), fmt.Sprintf("127.0.0.1:71%02d", i))
		all = append(all, s)
		created = append(created, "create "+s.Name+" "+s.Nodes[0].Address)
		deleted = append(deleted, "delete "+s.Name+" "+s.Nodes[0].Address)
		register(t, w, s)
	}
	expectEvents(t, seen, created...)
	all[3].Nodes[0].Metadata = map[string]string{"protocol": "http", "colour": "green"}
	register(t, w, all[3])
	expectEvents(t, seen, "update svc3 127.0.0.1:7103")
	// At once, as when a process ends.
	var wg sync.WaitGroup
	for _, s := range all {
		wg.Go(func() {
			if err := w.Deregister(s); err != nil {
				t.Errorf("deregister: %v", err)
			}
		})
	}
	wg.Wait()
	expectEvents(t, seen, deleted...)
}

func watchSeesOnlyItsOwn(t *testing.T, b Backend) {
	w, r := client(t, b, "n1"), client(t, b, "n2")
	register(t, w, service("before", "v1", "b-1", "127.0.0.1:7000"))
	watcher, err := r.Watch(microregistry.WatchService("users"))
	if err != nil {
		t.Fatal(err)
	}
	seen := events(t, watcher)
	register(t, w, service("other", "v1", "o-1", "127.0.0.1:7001"))
	register(t, w, service("users", "v1", "users-1", "127.0.0.1:7002"))
	expectEvents(t, seen, "create users 127.0.0.1:7002")
	for _, e := range seen() {
		if !strings.Contains(e, " users ") {
			t.Errorf("saw %q", e)
		}
	}
}

func stoppedWatcherReturns(t *testing.T, b Backend) {
	r := client(t, b, "n1")
	w, err := r.Watch()
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		for {
			if _, err := w.Next(); err != nil {
				done <- err
				return
			}
		}
	}()
	w.Stop()
	w.Stop()
	select {
	case err := <-done:
		if !errors.Is(err, microregistry.ErrWatcherStopped) {
			t.Errorf("error %v, want ErrWatcherStopped", err)
		}
	case <-time.After(patience):
		t.Fatal("Next still waits after Stop")
	}
}
