// Package bolt keeps the control plane's state in one bbolt file: the default,
// for a control plane that stands alone. Every change is on disk (fsync) before
// its call returns; concurrent changes share one transaction.
package bolt

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"go.etcd.io/bbolt"
	bbolterrors "go.etcd.io/bbolt/errors"

	"github.com/outrigger-mesh/outrigger/controlplane/internal/store"
)

const (
	// batchDelay is how long a change waits for others to share its fsync.
	batchDelay = 2 * time.Millisecond
	// defaultLockTimeout is how long Open waits for the file's lock.
	defaultLockTimeout = 2 * time.Second
	// layout is the version of what is in the file. A file of another version
	// is refused rather than misread.
	layout = "1"
)

var (
	metaBucket        = []byte("meta")
	nodesBucket       = []byte("nodes")
	collectionsBucket = []byte("collections")
	layoutKey         = []byte("layout")
)

// Options says where the file is.
type Options struct {
	Path        string
	LockTimeout time.Duration // zero: 2s
	History     store.History // of each collection
}

// Store is a store.Store in one file.
type Store struct {
	db      *bbolt.DB
	path    string
	history store.History
	changes *changes
}

var _ store.Store = (*Store)(nil)

// Open opens the file, and creates it and its folder where they are missing.
func Open(o Options) (*Store, error) {
	if o.LockTimeout == 0 {
		o.LockTimeout = defaultLockTimeout
	}
	if err := os.MkdirAll(filepath.Dir(o.Path), 0o750); err != nil {
		return nil, fmt.Errorf("make the store's folder: %w", err)
	}
	db, err := bbolt.Open(o.Path, 0o600, &bbolt.Options{Timeout: o.LockTimeout, FreelistType: bbolt.FreelistMapType})
	switch {
	case errors.Is(err, bbolterrors.ErrTimeout):
		return nil, fmt.Errorf("store %s is locked by another process: is another control plane running?", o.Path)
	case err != nil:
		return nil, fmt.Errorf("open store %s: %w", o.Path, err)
	}
	db.MaxBatchDelay = batchDelay
	s := &Store{db: db, path: o.Path, history: o.History.WithDefaults(), changes: newChanges()}
	if err := s.prepare(); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return s, nil
}

// prepare makes the buckets, or checks that the file is of this layout.
func (s *Store) prepare() error {
	err := s.db.Update(func(tx *bbolt.Tx) error {
		meta, err := tx.CreateBucketIfNotExists(metaBucket)
		if err != nil {
			return err
		}
		switch got := meta.Get(layoutKey); {
		case got == nil:
			if err := meta.Put(layoutKey, []byte(layout)); err != nil {
				return err
			}
		case string(got) != layout:
			return fmt.Errorf("its layout is %q, this program knows %q", got, layout)
		}
		for _, name := range [][]byte{nodesBucket, collectionsBucket} {
			if _, err := tx.CreateBucketIfNotExists(name); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("prepare store %s: %w", s.path, err)
	}
	return nil
}

// Nodes implements store.Store.
func (s *Store) Nodes(ctx context.Context) ([]store.Node, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("list nodes in %s: %w", s.path, err)
	}
	var nodes []store.Node
	err := s.db.View(func(tx *bbolt.Tx) error {
		return tx.Bucket(nodesBucket).ForEach(func(k, v []byte) error {
			var n store.Node
			if err := json.Unmarshal(v, &n); err != nil {
				return fmt.Errorf("node %q: %w", k, err)
			}
			nodes = append(nodes, n)
			return nil
		})
	})
	if err != nil {
		return nil, fmt.Errorf("list nodes in %s: %w", s.path, err)
	}
	return nodes, nil
}

// PutNode implements store.Store.
func (s *Store) PutNode(ctx context.Context, n store.Node) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("put node %s in %s: %w", n.NodeKey, s.path, err)
	}
	value, err := json.Marshal(n)
	if err != nil {
		return fmt.Errorf("encode node %s: %w", n.NodeKey, err)
	}
	err = s.db.Batch(func(tx *bbolt.Tx) error {
		return tx.Bucket(nodesBucket).Put(key(n.NodeKey), value)
	})
	if err != nil {
		return fmt.Errorf("put node %s in %s: %w", n.NodeKey, s.path, err)
	}
	return nil
}

// DeleteNode implements store.Store.
func (s *Store) DeleteNode(ctx context.Context, k store.NodeKey) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("delete node %s in %s: %w", k, s.path, err)
	}
	err := s.db.Batch(func(tx *bbolt.Tx) error {
		return tx.Bucket(nodesBucket).Delete(key(k))
	})
	if err != nil {
		return fmt.Errorf("delete node %s in %s: %w", k, s.path, err)
	}
	return nil
}

// Close implements store.Store.
func (s *Store) Close() error {
	s.changes.close()
	if err := s.db.Close(); err != nil {
		return fmt.Errorf("close store %s: %w", s.path, err)
	}
	return nil
}

// key keeps NodeKey's order: a zero byte is in neither part and sorts before
// all that may be.
func key(k store.NodeKey) []byte {
	return []byte(k.Network + "\x00" + k.Node)
}
