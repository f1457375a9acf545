// Package storetest is the suite that every store.Store passes.
package storetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/outrigger-mesh/outrigger/controlplane/internal/store"
	"github.com/outrigger-mesh/outrigger/registry"
)

// Bounds is the history that the stores of the suite are to be opened with: so
// little that the suite goes past it.
var Bounds = store.History{Revisions: 20, Records: 200}

// Run runs the suite. open opens the same store each time it is called in one
// test, and another one in each test, with Bounds; the suite closes what it
// opened.
func Run(t *testing.T, open func(t *testing.T) func() (store.Store, error)) {
	tests := []struct {
		name string
		run  func(*testing.T, func() (store.Store, error))
	}{
		{"an empty store has no nodes", testEmpty},
		{"nodes are read back whole after the store was opened again", testReadBack},
		{"a put replaces the whole node", testReplace},
		{"a deleted node is gone, also after a reopen, and deleting it again is no error", testDelete},
		{"concurrent changes of different nodes are all kept", testConcurrent},
		{"a cancelled context changes nothing", testCancelled},
		{"a collection that never held anything is empty at revision zero", testNoCollection},
		{"an apply that changes something is one revision, any other none", testRevisions},
		{"items keep the revision that brought them and when their key came", testItems},
		{"a batch on a stale base is refused and changes nothing", testStale},
		{"of concurrent batches on one base one is made", testRace},
		{"a dry run says what would be and changes nothing", testDryRun},
		{"a batch with a bad key is refused whole", testBadKeys},
		{"objects and revisions are read back after the store was opened again", testReopenCollection},
		{"every revision that is kept is listed as it was, in pages of any size", testHistory},
		{"history is bounded, and what is past it is compacted", testCompaction},
		{"a watch tells what is different since a revision", testWatch},
		{"a watch waits for a change of its own collection", testWatchWaits},
		{"a watch ends with its context and with the store", testWatchEnds},
		{"a cancelled context applies and lists nothing", testCancelledCollection},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { tt.run(t, open(t)) })
	}
}

func node(name string) store.Node {
	return store.Node{
		NodeKey: store.NodeKey{Network: "default", Node: name},
		TTL:     15 * time.Second,
		Epoch:   1712345678901234567,
		Agent:   "sidecar/1.0",
		Instances: []registry.Instance{{
			InstanceKey: registry.InstanceKey{
				Network: "default", Node: name, PortName: "http",
				Service: registry.ServiceName{Namespace: "default", Name: "orders"},
			},
			Address: "10.0.3.7:15006", PortNumber: 80, Protocol: registry.ProtocolHTTP, Version: "v1", Weight: 3,
			Host: "vm-17", Locality: registry.Locality{Region: "bj", Zone: "bj-2", Subzone: "r7"},
			Status: registry.StatusDraining, Metadata: map[string]string{"team": "shop", "emoji": "⛵"},
		}},
	}
}

func mustOpen(t *testing.T, open func() (store.Store, error)) store.Store {
	t.Helper()
	s, err := open()
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	return s
}

func mustClose(t *testing.T, s store.Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatalf("close: %v", err)
	}
}

func mustPut(t *testing.T, s store.Store, n store.Node) {
	t.Helper()
	if err := s.PutNode(t.Context(), n); err != nil {
		t.Fatalf("put %s: %v", n.NodeKey, err)
	}
}

func wantNodes(t *testing.T, s store.Store, want ...store.Node) {
	t.Helper()
	got, err := s.Nodes(t.Context())
	if err != nil {
		t.Fatalf("nodes: %v", err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("nodes (-want +got):\n%s", diff)
	}
}

func testEmpty(t *testing.T, open func() (store.Store, error)) {
	s := mustOpen(t, open)
	defer mustClose(t, s)
	wantNodes(t, s)
}

func testReadBack(t *testing.T, open func() (store.Store, error)) {
	s := mustOpen(t, open)
	for _, name := range []string{"b-1", "a", "b"} {
		mustPut(t, s, node(name))
	}
	mustClose(t, s)
	s = mustOpen(t, open)
	defer mustClose(t, s)
	wantNodes(t, s, node("a"), node("b"), node("b-1"))
}

func testReplace(t *testing.T, open func() (store.Store, error)) {
	s := mustOpen(t, open)
	defer mustClose(t, s)
	mustPut(t, s, node("a"))
	next := store.Node{NodeKey: node("a").NodeKey, TTL: time.Second, Epoch: 2}
	mustPut(t, s, next)
	wantNodes(t, s, next)
}

func testDelete(t *testing.T, open func() (store.Store, error)) {
	s := mustOpen(t, open)
	mustPut(t, s, node("a"))
	mustPut(t, s, node("b"))
	for range 2 {
		if err := s.DeleteNode(t.Context(), node("a").NodeKey); err != nil {
			t.Fatalf("delete: %v", err)
		}
	}
	wantNodes(t, s, node("b"))
	mustClose(t, s)
	s = mustOpen(t, open)
	defer mustClose(t, s)
	wantNodes(t, s, node("b"))
}

func testConcurrent(t *testing.T, open func() (store.Store, error)) {
	s := mustOpen(t, open)
	defer mustClose(t, s)
	var want []store.Node
	var wg sync.WaitGroup
	for i := range 50 {
		n := node(fmt.Sprintf("n-%02d", i))
		want = append(want, n)
		wg.Go(func() {
			if err := s.PutNode(t.Context(), n); err != nil {
				t.Errorf("put %s: %v", n.NodeKey, err)
			}
		})
	}
	wg.Wait()
	wantNodes(t, s, want...)
}

func testCancelled(t *testing.T, open func() (store.Store, error)) {
	s := mustOpen(t, open)
	defer mustClose(t, s)
	mustPut(t, s, node("a"))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.PutNode(ctx, node("b")); !errors.Is(err, context.Canceled) {
		t.Errorf("put under a cancelled context: got %v, want %v", err, context.Canceled)
	}
	if err := s.DeleteNode(ctx, node("a").NodeKey); !errors.Is(err, context.Canceled) {
		t.Errorf("delete under a cancelled context: got %v, want %v", err, context.Canceled)
	}
	if _, err := s.Nodes(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("nodes under a cancelled context: got %v, want %v", err, context.Canceled)
	}
	wantNodes(t, s, node("a"))
}
