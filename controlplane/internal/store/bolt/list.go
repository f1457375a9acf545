package bolt

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"go.etcd.io/bbolt"
	bbolterrors "go.etcd.io/bbolt/errors"

	"github.com/outrigger-mesh/outrigger/controlplane/internal/store"
)

// List implements store.Collections.
func (s *Store) List(ctx context.Context, name string, o store.ListOptions) (store.Page, error) {
	var page store.Page
	err := ctx.Err()
	if err == nil {
		err = s.db.View(func(tx *bbolt.Tx) error {
			page, err = open(tx, name).list(ctx, o)
			return err
		})
	}
	if err != nil {
		return store.Page{}, fmt.Errorf("list %s in %s: %w", name, s.path, err)
	}
	return page, nil
}

// Get implements store.Collections.
func (s *Store) Get(ctx context.Context, name, key string) (store.Item, error) {
	var item store.Item
	err := ctx.Err()
	if err == nil {
		err = s.db.View(func(tx *bbolt.Tx) error {
			e := open(tx, name).get(key)
			if e == nil {
				return store.ErrNotFound
			}
			item, err = e.item([]byte(key))
			return err
		})
	}
	if err != nil {
		return store.Item{}, fmt.Errorf("get %s of %s in %s: %w", key, name, s.path, err)
	}
	return item, nil
}

// kept reports whether the revision can still be told from the newest.
func (c *collection) kept(r store.Revision) bool {
	return uint64(r) >= c.number(compactedKey) && uint64(r) <= c.number(revisionKey)
}

// list reads a page. c may be nil.
func (c *collection) list(ctx context.Context, o store.ListOptions) (store.Page, error) {
	page := store.Page{Revision: store.Revision(c.number(revisionKey))}
	if o.At != 0 {
		if !c.kept(o.At) {
			return store.Page{}, store.ErrCompacted
		}
		page.Revision = o.At
	}
	if c == nil {
		return page, nil
	}
	err := c.each(uint64(page.Revision), []byte(o.Prefix), []byte(o.After), func(key []byte, e entry) (bool, error) {
		if o.Limit > 0 && len(page.Items) == o.Limit {
			page.More = true
			return false, nil
		}
		item, err := e.item(key)
		page.Items = append(page.Items, item)
		if err == nil && len(page.Items)%1024 == 0 {
			err = ctx.Err()
		}
		return err == nil, err
	})
	return page, err
}

// each calls visit for the items of a revision in the order of their keys,
// those with the prefix that come after a key, until it wants no more.
func (c *collection) each(at uint64, prefix, after []byte, visit func([]byte, entry) (bool, error)) error {
	start := prefix
	if bytes.Compare(after, prefix) >= 0 && len(after) > 0 {
		// No key has a zero byte: this is before the next possible key, and past
		// the undos of this one.
		start = append(bytes.Clone(after), 1)
	}
	items, undo := c.items.Cursor(), c.undo.Cursor()
	key, value := items.Seek(start)
	undoAt := undoStart(undo, start, at == c.number(revisionKey))
	for {
		next := key
		if undoAt != nil && (next == nil || bytes.Compare(undoAt, next) < 0) {
			next = undoAt
		}
		if next == nil || !bytes.HasPrefix(next, prefix) {
			return nil
		}
		now := entry(value)
		if !bytes.Equal(key, next) {
			now = nil
		}
		was := now
		if bytes.Equal(undoAt, next) {
			was, undoAt = undoAfter(undo, next, at, now)
		}
		if was != nil {
			if more, err := visit(next, was); err != nil || !more {
				return err
			}
		}
		if now != nil {
			key, value = items.Next()
		}
	}
}

// undoStart is the first key from start on that has an undo; nil where the
// newest revision is listed, which needs none.
func undoStart(undo *bbolt.Cursor, start []byte, newest bool) []byte {
	if newest {
		return nil
	}
	k, _ := undo.Seek(start)
	if k == nil {
		return nil
	}
	return keyOfUndo(k)
}

// undoAfter is what key held at a revision, now being what it holds, and the
// next key that has an undo.
func undoAfter(undo *bbolt.Cursor, key []byte, at uint64, now entry) (was entry, next []byte) {
	was = now
	if k, v := undo.Seek(undoKey(key, at+1)); k != nil {
		if bytes.Equal(keyOfUndo(k), key) {
			was = undone(v)
		}
	}
	// A zero byte ends the key there, and no key has one: a one is past all.
	k, _ := undo.Seek(append(bytes.Clone(key), 1))
	if k == nil {
		return was, nil
	}
	return was, keyOfUndo(k)
}

// Watch implements store.Collections.
func (s *Store) Watch(ctx context.Context, name string, since store.Revision) (store.Change, error) {
	for {
		moved := s.changes.next(name)
		change, err := s.since(name, since)
		if err != nil || change.Revision != since {
			return change, err
		}
		select {
		case <-moved:
			continue
		case <-s.changes.closed:
			err = store.ErrClosed
		case <-ctx.Done():
			err = ctx.Err()
		}
		return store.Change{}, fmt.Errorf("watch %s in %s: %w", name, s.path, err)
	}
}

// since is what has changed; its revision is since if nothing has.
func (s *Store) since(name string, since store.Revision) (store.Change, error) {
	change := store.Change{Revision: since}
	err := s.db.View(func(tx *bbolt.Tx) error {
		c := open(tx, name)
		if !c.kept(since) {
			return store.ErrCompacted
		}
		newest := c.number(revisionKey)
		changed := map[string]struct{}{}
		for r := uint64(since) + 1; r <= newest; r++ {
			err := keysOf(c.log.Get(number(r)), func(key []byte) error {
				changed[string(key)] = struct{}{}
				return nil
			})
			if err != nil {
				return err
			}
		}
		change.Revision = store.Revision(newest)
		for _, key := range slices.Sorted(maps.Keys(changed)) {
			e := c.get(key)
			if e == nil {
				change.Delete = append(change.Delete, key)
				continue
			}
			item, err := e.item([]byte(key))
			if err != nil {
				return err
			}
			change.Put = append(change.Put, item)
		}
		return nil
	})
	if errors.Is(err, bbolterrors.ErrDatabaseNotOpen) {
		err = store.ErrClosed
	}
	if err != nil {
		return store.Change{}, fmt.Errorf("watch %s in %s: %w", name, s.path, err)
	}
	return change, nil
}
