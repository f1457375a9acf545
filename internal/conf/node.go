package conf

import (
	"encoding/json"
	"fmt"
	"strings"
)

// Kind is what stands at a node.
type Kind uint8

// The kinds of node. Scalars are told apart by YAML 1.2's core schema: a
// plain word is a String unless it is one of the others.
const (
	Absent Kind = iota // the zero Node
	Map
	List
	String
	Int
	Float
	Bool
	Null
)

// String is how messages call the kind.
func (k Kind) String() string {
	switch k {
	case Map:
		return "a map"
	case List:
		return "a list"
	case String:
		return "a string"
	case Int:
		return "an integer"
	case Float:
		return "a number"
	case Bool:
		return "a boolean"
	case Null:
		return "null"
	}
	return "nothing"
}

// Node is a place in a document and what stands there. A struct field of this
// type captures a part of a document that is to be decoded later. The zero
// Node is absent. Nodes are immutable and safe for concurrent use.
type Node struct{ n *node }

// Field is one entry of a map.
type Field struct {
	Key    string
	KeyPos Pos
	Value  Node
}

// node is shared by every alias of it.
type node struct {
	pos    Pos
	kind   Kind
	quoted bool   // a String that is certainly meant as one
	text   string // of a scalar
	items  []*node
	fields []field
	dups   []*Error // keys that were given twice

	parent *node
	step   string // from the parent: ".key", `["key"]` or "[2]"

	size, depth int // with everything below, aliases expanded
}

type field struct {
	key    string
	keyPos Pos
	value  *node
}

func (n *node) field(key string) *node {
	for i := range n.fields {
		if n.fields[i].key == key {
			return n.fields[i].value
		}
	}
	return nil
}

// path is where the node stands in its document, such as app.ports[1].
func (n *node) path() string {
	if n == nil || n.parent == nil {
		return ""
	}
	return joinPath(n.parent.path(), strings.TrimPrefix(n.step, "."))
}

// IsZero reports whether the node is absent.
func (n Node) IsZero() bool { return n.n == nil }

// Pos is where the node begins; for an alias, where its anchor's value does.
func (n Node) Pos() Pos {
	if n.n == nil {
		return Pos{}
	}
	return n.n.pos
}

// Kind is what stands at the node.
func (n Node) Kind() Kind {
	if n.n == nil {
		return Absent
	}
	return n.n.kind
}

// Path is where the node stands in its document, such as app.ports[1]; empty
// for the whole document.
func (n Node) Path() string { return n.n.path() }

// Items are the entries of a list; nil for anything else.
func (n Node) Items() []Node {
	if n.n == nil || len(n.n.items) == 0 {
		return nil
	}
	items := make([]Node, len(n.n.items))
	for i, item := range n.n.items {
		items[i] = Node{item}
	}
	return items
}

// Fields are the entries of a map in the file's order, those of merge keys
// last; nil for anything else. Of a key that is given twice it has the first:
// the error is Decode's.
func (n Node) Fields() []Field {
	if n.n == nil || len(n.n.fields) == 0 {
		return nil
	}
	fields := make([]Field, len(n.n.fields))
	for i, f := range n.n.fields {
		fields[i] = Field{Key: f.key, KeyPos: f.keyPos, Value: Node{f.value}}
	}
	return fields
}

// Field is the value of a key of a map; the zero Node if there is none.
func (n Node) Field(key string) Node {
	if n.n == nil {
		return Node{}
	}
	return Node{n.n.field(key)}
}

// Text is a scalar's text without quotes; empty for maps and lists.
func (n Node) Text() string {
	if n.n == nil {
		return ""
	}
	return n.n.text
}

// At is the node at a path such as a.b[2].c or a["x.y"], or the deepest one
// on the way that exists.
func (n Node) At(path string) Node {
	found, _ := n.n.resolve(path)
	return Node{found}
}

// Errorf is an error at the node's place.
func (n Node) Errorf(format string, args ...any) *Error {
	return &Error{Pos: n.Pos(), Msg: fmt.Sprintf(format, args...)}
}

// Value is the node in plain Go: map[string]any, []any, string, int64 (or
// float64 beyond its range), float64, bool and nil.
func (n Node) Value() any {
	if n.n == nil {
		return nil
	}
	return n.n.value()
}

func (n *node) value() any {
	switch n.kind {
	case Map:
		m := make(map[string]any, len(n.fields))
		for _, f := range n.fields {
			m[f.key] = f.value.value()
		}
		return m
	case List:
		l := make([]any, len(n.items))
		for i, item := range n.items {
			l[i] = item.value()
		}
		return l
	case Int:
		if i, err := parseInt(n.text); err == nil {
			return i
		}
		fallthrough
	case Float:
		if f, err := parseFloat(n.text); err == nil {
			return f
		}
		return n.text
	case Bool:
		return strings.EqualFold(n.text, "true")
	case Null, Absent:
		return nil
	}
	return n.text
}

// MarshalJSON is the node's Value in JSON, for dumps of a configuration.
func (n Node) MarshalJSON() ([]byte, error) { return json.Marshal(n.Value()) }
