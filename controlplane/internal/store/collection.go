package store

import (
	"context"
	"errors"
	"time"
)

// Revision is a collection's: zero while it never held anything, and one more
// with each apply that changed something.
type Revision uint64

// Item is one thing that a collection holds.
type Item struct {
	// Key orders the collection, by bytes. It has no zero byte in it.
	Key   string
	Value []byte
	// Revision is the one that brought the value.
	Revision Revision
	// Created is when the key came into the collection, in UTC. A key that was
	// deleted and comes back is a new one.
	Created time.Time
}

// ListOptions is what to list.
type ListOptions struct {
	// At is the revision to list; zero: the newest.
	At Revision
	// Prefix is what the keys begin with, After the key that they follow.
	Prefix, After string
	// Limit is how many items to list at most; zero: all.
	Limit int
}

// Page is a part of a collection at one revision.
type Page struct {
	Revision Revision
	Items    []Item
	// More says that there are items after the last one of these.
	More bool
}

// Batch is a change of a collection: all of it is made, in one revision, or
// nothing.
type Batch struct {
	// Base, if set, is the revision that the change was made for: it is refused
	// with a *StaleError when the collection is at another one.
	Base *Revision
	// Put is the values to set. One that is there byte for byte is unchanged.
	Put []Put
	// Delete is the keys to delete. One that is not there is no error.
	Delete []string
	// DryRun has nothing changed; the result is what it would have been.
	DryRun bool
}

// Put is one value to set.
type Put struct {
	Key   string
	Value []byte
}

// Applied is what a batch has done.
type Applied struct {
	// Revision is the collection's now. A batch that changes nothing leaves it
	// as it was.
	Revision                    Revision
	Changed, Unchanged, Deleted int
}

// Change is what differs between two revisions of a collection. The states in
// between are not told apart.
type Change struct {
	Revision Revision // the newer one
	Put      []Item   // by key
	Delete   []string // by key; some may never have been seen by who asks
}

// Collections keep objects in named collections, each with a revision of its
// own. All methods may be called from any goroutine. What an Apply changed is
// durable when it returned nil. Of past revisions a bounded number is kept.
type Collections interface {
	// List is a page of a collection. A revision that is no longer kept, or was
	// never reached, is ErrCompacted.
	List(ctx context.Context, collection string, o ListOptions) (Page, error)
	// Get is one item as it is now, or ErrNotFound.
	Get(ctx context.Context, collection, key string) (Item, error)
	// Apply makes a change.
	Apply(ctx context.Context, collection string, b Batch) (Applied, error)
	// Watch waits until the collection is past a revision, and returns what is
	// different since. Where that is no longer known it is ErrCompacted: list
	// again. It ends when ctx does, or with ErrClosed.
	Watch(ctx context.Context, collection string, since Revision) (Change, error)
}

// What a caller of Collections acts on.
var (
	ErrNotFound  = errors.New("not found")
	ErrCompacted = errors.New("the revision is not kept")
	ErrClosed    = errors.New("the store is closed")
)

// StaleError refuses a batch that was made for another revision than the
// collection's.
type StaleError struct{ Revision Revision }

// Error says so.
func (*StaleError) Error() string { return "the collection has moved on from the base revision" }

// History bounds what is kept of a collection's past. The last change is kept
// whatever its size.
type History struct {
	Revisions int // zero: DefaultHistory.Revisions
	Records   int // values that were replaced or deleted; zero: DefaultHistory.Records
}

// DefaultHistory is enough to page through a listing of 100,000 items while
// all of them are written anew.
var DefaultHistory = History{Revisions: 1000, Records: 250_000}

// WithDefaults fills in what is zero.
func (h History) WithDefaults() History {
	if h.Revisions == 0 {
		h.Revisions = DefaultHistory.Revisions
	}
	if h.Records == 0 {
		h.Records = DefaultHistory.Records
	}
	return h
}
