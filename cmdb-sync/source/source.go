// Package source is the seam between cmdb-sync and the places that machines
// are written down in: files, databases, CMDBs with an API. Each folder beside
// this file reads one kind of them; the list of kinds is in builtin.
package source

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/outrigger-mesh/outrigger/internal/conf"
)

// Source reads the records of one CMDB.
type Source interface {
	// Fetch emits records until all were emitted, and reports the whole. It
	// returns an error where any part of the source could not be read: half
	// of a source is not a smaller source. An error of emit ends it and is
	// returned as it is.
	//
	// The zero cursor asks for everything. A source that reads changes takes
	// the cursor that its last report gave; one that cannot ignores it and
	// reports Full.
	Fetch(ctx context.Context, since Cursor, emit func(Record) error) (Report, error)
}

// Stamper is a Source that can tell cheaply whether it may have changed. The
// stamp has no meaning but that another one asks for a fetch.
type Stamper interface {
	Stamp() (string, error)
}

// Cursor says up to where a source was read; empty for not at all.
type Cursor string

// Report is what a source says about a fetch that went well.
type Report struct {
	// Total is how many records the source says it has, or how many it
	// emitted where it does not count them.
	Total int
	// Full is whether the records emitted are all that there are. Absence
	// means something in a full fetch alone.
	Full bool
	// Deleted are keys of records that are gone; increments only.
	Deleted []string
	// Next is where an increment can go on from.
	Next Cursor
}

// Record is one machine in the source's own terms.
type Record struct {
	Place Place
	// Value is what expressions see as r, of the kind's Shape. It is valid
	// until emit returns and must not be kept or changed.
	Value any
}

// Place is where a record stands in its source, for people.
type Place struct {
	In   string `json:"in,omitempty"` // a file, a URL, a table
	Item int    `json:"item"`         // a line, a position; from 1
}

// String is in:item.
func (p Place) String() string { return fmt.Sprintf("%s:%d", p.In, p.Item) }

// Shape is the type of a kind's records, which expressions are checked against.
type Shape uint8

// The shapes of records.
const (
	// Text is map[string]string: every field is text, and none is missing
	// that the header names.
	Text Shape = iota
	// Tree is map[string]any with what JSON holds below.
	Tree
)

// Kind is one kind of source.
type Kind struct {
	Name  string // the key in the configuration
	Shape Shape
	// New makes a source of the node under that key. It does no I/O; mistakes
	// are conf.Errors.
	New func(n conf.Node, env Env) (Source, error)
	// Fields are the names that records certainly have, where the node says
	// so; nil where it does not.
	Fields func(n conf.Node) []string
}

// Env is what a source is given by the program.
type Env struct {
	Dir string // what relative paths are relative to
	Log *slog.Logger
}
