package conf

import (
	"encoding"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"time"
)

// Unmarshaler is a type that reads its own node. What it returns is placed at
// the node unless it has a place already (see Node.Errorf).
type Unmarshaler interface {
	UnmarshalConf(n Node) error
}

// Defaulter is a type with defaults of its own. It is asked where there are
// none to lay the file over: for a list's items, a map's new entries and what
// a nil pointer is made to point to.
type Defaulter interface {
	SetDefaults()
}

var (
	nodeType     = reflect.TypeFor[Node]()
	durationType = reflect.TypeFor[time.Duration]()
)

// Decode lays the node over *v, which holds the defaults, and validates the
// result. It returns every mistake as Errors, or nil; *v is then not to be
// used. An absent node leaves *v as it is, and validates it.
func (n Node) Decode(v any) error {
	rv := reflect.ValueOf(v)
	if rv.Kind() != reflect.Pointer || rv.IsNil() {
		return fmt.Errorf("conf: Decode needs a pointer to decode into, not %T", v)
	}
	root := n.n
	if root == nil {
		root = &node{kind: Null}
	}
	d := &decoder{bad: map[*node]bool{}}
	d.value(root, rv.Elem())
	return d.errs.normalize()
}

// decoder is one call of Decode.
type decoder struct {
	errs Errors
	bad  map[*node]bool // nodes with a mistake at or below them
}

// fail notes a mistake at n and returns false.
func (d *decoder) fail(n *node, format string, args ...any) bool {
	d.note(n, n.pos, "", fmt.Sprintf(format, args...))
	return false
}

// note adds a mistake at pos in (or of) n, and prefixes the message with the
// path of what it is about.
func (d *decoder) note(n *node, pos Pos, rel, msg string) {
	d.bad[n] = true
	if path := joinPath(n.path(), rel); path != "" {
		msg = path + ": " + msg
	}
	d.errs = append(d.errs, &Error{Pos: pos, Msg: msg})
}

// value lays n over v, which is addressable, and reports whether everything
// at and below n was right.
func (d *decoder) value(n *node, v reflect.Value) bool {
	ok := d.decode(n, v)
	if !d.validate(n, v, ok) {
		ok = false
	}
	if !ok {
		d.bad[n] = true
	}
	return ok
}

func (d *decoder) decode(n *node, v reflect.Value) bool {
	switch {
	case v.Type() == nodeType:
		if n.kind == Null {
			return true
		}
		v.Set(reflect.ValueOf(Node{n}))
		return d.duplicatesBelow(n)
	case n.kind == Null && v.Kind() != reflect.Struct:
		return true
	case v.Type() == durationType:
		return d.duration(n, v)
	}
	if v.CanAddr() && v.Kind() != reflect.Pointer {
		switch u := v.Addr().Interface().(type) {
		case Unmarshaler:
			if n.kind == Null {
				return true
			}
			return d.duplicatesBelow(n) && d.custom(n, u.UnmarshalConf(Node{n}))
		case encoding.TextUnmarshaler:
			if n.kind == Null {
				return true
			}
			return d.text(n, u)
		case json.Unmarshaler: // last, for types of other modules
			if n.kind == Null {
				return true
			}
			data, err := json.Marshal(n.value())
			if err == nil {
				err = u.UnmarshalJSON(data)
			}
			return d.custom(n, err)
		}
	}
	switch v.Kind() { //nolint:exhaustive // scalars follow
	case reflect.Pointer:
		return d.pointer(n, v)
	case reflect.Struct:
		return d.structure(n, v)
	case reflect.Map:
		return d.mapping(n, v)
	case reflect.Slice, reflect.Array:
		return d.list(n, v)
	case reflect.Interface:
		if v.NumMethod() > 0 {
			break
		}
		if !d.duplicatesBelow(n) {
			return false
		}
		v.Set(reflect.ValueOf(n.value()))
		return true
	}
	return d.scalar(n, v)
}

// custom places what a type's own method returned.
func (d *decoder) custom(n *node, err error) bool {
	if err == nil {
		return true
	}
	d.place(n, err, nil)
	return false
}

func (d *decoder) text(n *node, u encoding.TextUnmarshaler) bool {
	switch n.kind {
	case String, Int, Float: // 10 is fine for a type that reads text, such as Size
		return d.custom(n, u.UnmarshalText([]byte(n.text)))
	case Bool:
		return d.fail(n, "expected a string, found %s: quote it, as in %q", n.found(), n.text)
	case Map, List, Null, Absent:
	}
	return d.fail(n, "expected a string, found %s", n.found())
}

// pointer decodes into a copy, since what a default points to may be shared.
func (d *decoder) pointer(n *node, v reflect.Value) bool {
	fresh := reflect.New(v.Type().Elem())
	if v.IsNil() {
		setDefaults(fresh)
	} else {
		fresh.Elem().Set(v.Elem())
	}
	v.Set(fresh)
	return d.value(n, fresh.Elem())
}

func setDefaults(ptr reflect.Value) {
	if s, ok := ptr.Interface().(Defaulter); ok {
		s.SetDefaults()
	}
}

func (d *decoder) structure(n *node, v reflect.Value) bool {
	if n.kind != Map && n.kind != Null {
		return d.fail(n, "expected a map, found %s", n.found())
	}
	ok := d.duplicates(n)
	info := infoOf(v.Type())
	for _, f := range n.fields {
		if _, known := info.byName[f.key]; !known {
			d.note(n, f.keyPos, "", fmt.Sprintf("unknown key %q%s", f.key, hint(f.key, info.names)))
			ok = false
		}
	}
	for _, f := range info.fields {
		if child := n.field(f.name); child != nil {
			ok = d.value(child, fieldOf(v, f.index)) && ok
			continue
		}
		ok = d.defaults(n, f, v) && ok
	}
	return ok
}

// fieldOf is v.FieldByIndex that allocates embedded pointers.
func fieldOf(v reflect.Value, index []int) reflect.Value {
	for i, x := range index {
		if i > 0 && v.Kind() == reflect.Pointer {
			if v.IsNil() {
				v.Set(reflect.New(v.Type().Elem()))
			}
			v = v.Elem()
		}
		v = v.Field(x)
	}
	return v
}

func (d *decoder) mapping(n *node, v reflect.Value) bool {
	t := v.Type()
	if n.kind != Map {
		return d.fail(n, "expected a map, found %s", n.found())
	}
	ok := d.duplicates(n)
	merged := reflect.MakeMapWithSize(t, len(n.fields)+v.Len())
	for iter := v.MapRange(); iter.Next(); {
		merged.SetMapIndex(iter.Key(), iter.Value())
	}
	for _, f := range n.fields {
		key := reflect.New(t.Key()).Elem()
		keyNode := &node{pos: f.keyPos, kind: plainKind(f.key), text: f.key, parent: n, step: keyStep(f.key)}
		if t.Key().Kind() == reflect.String {
			keyNode.kind = String // a key needs no quotes to be text
		}
		if !d.value(keyNode, key) {
			ok = false
			continue
		}
		elem := reflect.New(t.Elem())
		if old := v.MapIndex(key); old.IsValid() {
			elem.Elem().Set(old)
		} else {
			setDefaults(elem)
		}
		ok = d.value(f.value, elem.Elem()) && ok
		merged.SetMapIndex(key, elem.Elem())
	}
	v.Set(merged)
	return ok
}

func (d *decoder) list(n *node, v reflect.Value) bool {
	if n.kind != List {
		return d.fail(n, "expected a list, found %s", n.found())
	}
	ok := true
	fresh := reflect.New(v.Type()).Elem()
	if v.Kind() == reflect.Slice {
		fresh = reflect.MakeSlice(v.Type(), len(n.items), len(n.items))
	} else if len(n.items) != v.Len() {
		return d.fail(n, "expected a list of %d items, found %d", v.Len(), len(n.items))
	}
	for i, item := range n.items {
		elem := fresh.Index(i)
		if item.kind == Null && elem.Kind() != reflect.Interface {
			ok = d.fail(item, "an item of a list must not be empty")
			continue
		}
		setDefaults(elem.Addr())
		ok = d.value(item, elem) && ok
	}
	v.Set(fresh)
	return ok
}

// duplicates notes the keys that n gives twice.
func (d *decoder) duplicates(n *node) bool {
	for _, e := range n.dups {
		d.note(n, e.Pos, "", e.Msg)
	}
	return len(n.dups) == 0
}

// duplicatesBelow is duplicates of n and everything in it, for nodes that are
// taken as they are. A node reached twice through aliases is looked at once.
func (d *decoder) duplicatesBelow(n *node) bool {
	seen := map[*node]bool{}
	var walk func(*node) bool
	walk = func(n *node) bool {
		if seen[n] {
			return true
		}
		seen[n] = true
		ok := d.duplicates(n)
		for _, f := range n.fields {
			ok = walk(f.value) && ok
		}
		for _, item := range n.items {
			ok = walk(item) && ok
		}
		if !ok {
			d.bad[n] = true
		}
		return ok
	}
	return walk(n)
}

// Keys are the keys that a struct type takes, sorted; for messages and docs.
func Keys[T any]() []string { return slices.Clone(infoOf(reflect.TypeFor[T]()).names) }
