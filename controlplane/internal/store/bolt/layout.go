package bolt

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"go.etcd.io/bbolt"

	"github.com/outrigger-mesh/outrigger/controlplane/internal/store"
)

// A collection is a bucket of three buckets and three numbers.
//
//	items      key                → what it holds now
//	undo       key 0 revision     → what it held before that revision, if anything
//	log        revision           → the keys that changed
//	revision   the newest one; compacted: the last one whose undo is gone;
//	records    how many entries undo has
//
// So a past revision is read in the order of the keys without any of it in
// memory: of each key the first undo after that revision, or else the item.
// Numbers are 8 bytes, big endian, so that bytes sort as numbers do.
var (
	itemsBucket  = []byte("items")
	undoBucket   = []byte("undo")
	logBucket    = []byte("log")
	revisionKey  = []byte("revision")
	compactedKey = []byte("compacted")
	recordsKey   = []byte("records")
)

const numberSize = 8

// maxKey bounds a key's length, far below bbolt's own bound.
const maxKey = 1024

var errCorrupt = errors.New("the store's content is damaged")

// collection is one collection in a transaction.
type collection struct {
	bucket, items, undo, log *bbolt.Bucket
}

// open returns a collection, nil if it never held anything.
func open(tx *bbolt.Tx, name string) *collection {
	return view(tx.Bucket(collectionsBucket).Bucket([]byte(name)))
}

func view(b *bbolt.Bucket) *collection {
	if b == nil {
		return nil
	}
	return &collection{bucket: b, items: b.Bucket(itemsBucket), undo: b.Bucket(undoBucket), log: b.Bucket(logBucket)}
}

// create returns a collection, made if need be.
func create(tx *bbolt.Tx, name string) (*collection, error) {
	b, err := tx.Bucket(collectionsBucket).CreateBucketIfNotExists([]byte(name))
	if err != nil {
		return nil, err
	}
	for _, inner := range [][]byte{itemsBucket, undoBucket, logBucket} {
		if _, err := b.CreateBucketIfNotExists(inner); err != nil {
			return nil, err
		}
	}
	return view(b), nil
}

func (c *collection) number(key []byte) uint64 {
	if c == nil {
		return 0
	}
	if v := c.bucket.Get(key); len(v) == numberSize {
		return binary.BigEndian.Uint64(v)
	}
	return 0
}

func (c *collection) setNumber(key []byte, n uint64) error { return c.bucket.Put(key, number(n)) }

func number(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

// entry is an item as it is stored: revision, creation (Unix nanoseconds),
// value.
type entry []byte

func newEntry(revision uint64, created int64, value []byte) entry {
	e := make(entry, 0, 2*numberSize+len(value))
	e = binary.BigEndian.AppendUint64(e, revision)
	e = binary.BigEndian.AppendUint64(e, uint64(created)) //nolint:gosec // its bits come back
	return append(e, value...)
}

func (e entry) created() int64 {
	return int64(binary.BigEndian.Uint64(e[numberSize:])) //nolint:gosec // see newEntry
}

func (e entry) value() []byte { return e[2*numberSize:] }

// item is a copy that outlives the transaction.
func (e entry) item(key []byte) (store.Item, error) {
	if len(e) < 2*numberSize {
		return store.Item{}, fmt.Errorf("item %q: %w", key, errCorrupt)
	}
	return store.Item{
		Key: string(key), Value: bytes.Clone(e.value()),
		Revision: store.Revision(binary.BigEndian.Uint64(e)), Created: time.Unix(0, e.created()).UTC(),
	}, nil
}

// undoKey is where what key held before the revision is.
func undoKey(key []byte, revision uint64) []byte {
	return binary.BigEndian.AppendUint64(append(append(make([]byte, 0, len(key)+1+numberSize), key...), 0), revision)
}

// keyOfUndo is the key that undoKey was made of.
func keyOfUndo(k []byte) []byte { return k[:max(len(k)-numberSize-1, 0)] }

// undoValue is what is kept of an entry that goes: one byte says whether there
// was any.
func undoValue(old entry) []byte {
	if old == nil {
		return []byte{0}
	}
	return append([]byte{1}, old...)
}

func undone(v []byte) entry {
	if len(v) == 0 || v[0] == 0 {
		return nil
	}
	return v[1:]
}

// appendKey adds a key to an entry of the log, its length first.
func appendKey(log []byte, key string) []byte {
	return append(binary.AppendUvarint(log, uint64(len(key))), key...)
}

// keysOf calls each for every key of an entry of the log.
func keysOf(log []byte, each func(key []byte) error) error {
	for len(log) > 0 {
		size, n := binary.Uvarint(log)
		if n <= 0 || size > uint64(len(log)-n) {
			return fmt.Errorf("the log of changes: %w", errCorrupt)
		}
		end := n + int(size) //nolint:gosec // bounded by len(log)
		if err := each(log[n:end]); err != nil {
			return err
		}
		log = log[end:]
	}
	return nil
}
