package bolt

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.etcd.io/bbolt"

	"github.com/outrigger-mesh/outrigger/controlplane/internal/store"
)

// step is the change of one key.
type step struct {
	key  string
	old  entry  // nil: it was not there
	next []byte // the value; nil: it is deleted
}

// Apply implements store.Collections.
func (s *Store) Apply(ctx context.Context, name string, b store.Batch) (store.Applied, error) {
	var applied store.Applied
	err := ctx.Err()
	if err == nil {
		err = checkKeys(b)
	}
	switch {
	case err != nil:
	case b.DryRun:
		err = s.db.View(func(tx *bbolt.Tx) error {
			_, applied, err = open(tx, name).plan(b)
			return err
		})
	default:
		err = s.db.Update(func(tx *bbolt.Tx) error {
			c, err := create(tx, name)
			if err != nil {
				return err
			}
			var steps []step
			if steps, applied, err = c.plan(b); err != nil || len(steps) == 0 {
				return err
			}
			return c.make(steps, uint64(applied.Revision), s.history)
		})
	}
	if err != nil {
		return store.Applied{}, fmt.Errorf("apply to %s in %s: %w", name, s.path, err)
	}
	if !b.DryRun && applied.Changed+applied.Deleted > 0 {
		s.changes.notify(name)
	}
	return applied, nil
}

func checkKeys(b store.Batch) error {
	seen := make(map[string]struct{}, len(b.Put)+len(b.Delete))
	check := func(key string) error {
		if key == "" || len(key) > maxKey || strings.IndexByte(key, 0) >= 0 {
			return fmt.Errorf("%.40q cannot be a key", key)
		}
		if _, twice := seen[key]; twice {
			return fmt.Errorf("key %q is in the batch twice", key)
		}
		seen[key] = struct{}{}
		return nil
	}
	var errs []error
	for _, p := range b.Put {
		errs = append(errs, check(p.Key))
	}
	for _, key := range b.Delete {
		errs = append(errs, check(key))
	}
	return errors.Join(errs...)
}

// plan is what the batch comes to: the steps in the order of their keys, which
// are quicker to write, and the result. c may be nil.
func (c *collection) plan(b store.Batch) ([]step, store.Applied, error) {
	revision := store.Revision(c.number(revisionKey))
	if b.Base != nil && *b.Base != revision {
		return nil, store.Applied{}, &store.StaleError{Revision: revision}
	}
	applied := store.Applied{Revision: revision}
	var steps []step
	for _, p := range b.Put {
		old := c.get(p.Key)
		if old != nil && bytes.Equal(old.value(), p.Value) {
			applied.Unchanged++
			continue
		}
		applied.Changed++
		steps = append(steps, step{key: p.Key, old: old, next: p.Value})
	}
	for _, key := range b.Delete {
		if old := c.get(key); old != nil {
			applied.Deleted++
			steps = append(steps, step{key: key, old: old})
		}
	}
	if len(steps) > 0 {
		applied.Revision++
	}
	slices.SortFunc(steps, func(a, b step) int { return cmp.Compare(a.key, b.key) })
	return steps, applied, nil
}

// get is an entry within the transaction; nil if it is not there.
func (c *collection) get(key string) entry {
	if c == nil {
		return nil
	}
	if v := c.items.Get([]byte(key)); len(v) >= 2*numberSize {
		return v
	}
	return nil
}

// make takes the steps as one revision.
func (c *collection) make(steps []step, revision uint64, history store.History) error {
	now := time.Now().UnixNano()
	var log []byte
	// First everything that is read of the old pages, then what moves them.
	undo := make([][]byte, len(steps))
	created := make([]int64, len(steps))
	for i, st := range steps {
		undo[i], created[i] = undoValue(st.old), now
		if st.old != nil {
			created[i] = st.old.created()
		}
		log = appendKey(log, st.key)
	}
	for i, st := range steps {
		key := []byte(st.key)
		var err error
		if st.next == nil {
			err = c.items.Delete(key)
		} else {
			err = c.items.Put(key, newEntry(revision, created[i], st.next))
		}
		if err == nil {
			err = c.undo.Put(undoKey(key, revision), undo[i])
		}
		if err != nil {
			return fmt.Errorf("key %q: %w", st.key, err)
		}
	}
	if err := c.log.Put(number(revision), log); err != nil {
		return err
	}
	if err := c.setNumber(revisionKey, revision); err != nil {
		return err
	}
	return c.compact(revision, c.number(recordsKey)+uint64(len(steps)), history)
}

// compact forgets the oldest revisions until the bounds hold again, never the
// newest.
func (c *collection) compact(revision, records uint64, history store.History) error {
	compacted := c.number(compactedKey)
	for compacted+1 < revision && (revision-compacted > uint64(history.Revisions) || records > uint64(history.Records)) { //nolint:gosec // bounds are positive
		compacted++
		log := bytes.Clone(c.log.Get(number(compacted)))
		err := keysOf(log, func(key []byte) error {
			records--
			return c.undo.Delete(undoKey(key, compacted))
		})
		if err != nil {
			return err
		}
		if err := c.log.Delete(number(compacted)); err != nil {
			return err
		}
	}
	if err := c.setNumber(compactedKey, compacted); err != nil {
		return err
	}
	return c.setNumber(recordsKey, records)
}
