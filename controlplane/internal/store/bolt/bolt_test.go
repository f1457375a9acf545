package bolt_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/outrigger-mesh/outrigger/controlplane/internal/store"
	"github.com/outrigger-mesh/outrigger/controlplane/internal/store/bolt"
	"github.com/outrigger-mesh/outrigger/controlplane/internal/store/storetest"
)

func TestStore(t *testing.T) {
	storetest.Run(t, func(t *testing.T) func() (store.Store, error) {
		path := filepath.Join(t.TempDir(), "data", "outrigger.db")
		return func() (store.Store, error) { return bolt.Open(bolt.Options{Path: path, History: storetest.Bounds}) }
	})
}

// It is what a CMDB of a large company comes to: 100,000 machines in five calls,
// then all of them anew.
func TestManyItemsAreAppliedAndListedInSeconds(t *testing.T) {
	s, err := bolt.Open(bolt.Options{Path: filepath.Join(t.TempDir(), "outrigger.db")})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	const total, calls = 100_000, 5
	value := []byte(strings.Repeat("x", 400))
	for round := range 2 {
		for call := range calls {
			b := store.Batch{}
			for i := range total / calls {
				b.Put = append(b.Put, store.Put{
					Key: fmt.Sprintf("host-%06d", call*total/calls+i), Value: append(value, byte('0'+round)),
				})
			}
			if _, err := s.Apply(t.Context(), "hosts", b); err != nil {
				t.Fatal(err)
			}
		}
	}
	n, after := 0, ""
	for {
		// The revision between the two rounds.
		page, err := s.List(t.Context(), "hosts", store.ListOptions{At: calls, After: after, Limit: 1000})
		if err != nil {
			t.Fatal(err)
		}
		for _, item := range page.Items {
			if item.Value[len(item.Value)-1] != '0' {
				t.Fatalf("%s holds what came later", item.Key)
			}
		}
		n += len(page.Items)
		if !page.More {
			break
		}
		after = page.Items[len(page.Items)-1].Key
	}
	if n != total {
		t.Errorf("%d items are listed at revision %d, want %d", n, calls, total)
	}
}

func TestOpenNamesALockedFileAndItsLikelyHolder(t *testing.T) {
	path := filepath.Join(t.TempDir(), "outrigger.db")
	s, err := bolt.Open(bolt.Options{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	_, err = bolt.Open(bolt.Options{Path: path, LockTimeout: 50 * time.Millisecond})
	if err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "is another control plane running?") {
		t.Fatalf("second open: got %v, want an error that names %s and asks for another control plane", err, path)
	}
}

func TestOpenRefusesAFileOfAnotherLayout(t *testing.T) {
	path := filepath.Join(t.TempDir(), "outrigger.db")
	db, err := bbolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		b, err := tx.CreateBucket([]byte("meta"))
		if err != nil {
			return err
		}
		return b.Put([]byte("layout"), []byte("99"))
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	_, err = bolt.Open(bolt.Options{Path: path})
	if err == nil || !strings.Contains(err.Error(), `its layout is "99", this program knows "1"`) {
		t.Fatalf("open: got %v, want both layouts named", err)
	}
	// The refused file is unlocked again and may be opened by who knows it.
	db, err = bbolt.Open(path, 0o600, &bbolt.Options{Timeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	db.Close()
}

func TestOpenRefusesAFileThatIsNoStore(t *testing.T) {
	path := filepath.Join(t.TempDir(), "outrigger.db")
	if err := os.WriteFile(path, []byte(strings.Repeat("not a store\n", 4096)), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := bolt.Open(bolt.Options{Path: path})
	if err == nil || !strings.Contains(err.Error(), path) {
		t.Fatalf("open: got %v, want an error that names %s", err, path)
	}
}
