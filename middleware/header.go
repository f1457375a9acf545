package middleware

import "iter"

// Field is one header or trailer field. Its bytes belong to the message: they
// are valid until the exchange has ended, and are not to be written to.
type Field struct {
	Name, Value []byte
}

// Header is the fields of one head or trailer section, in the order and case
// in which they came. Names are compared without regard to ASCII case
// (RFC 9110, section 5.1). The zero Header is empty and ready for use.
type Header struct {
	fields []Field
	arena  []byte // holds what Set and Add were given
}

// Len is the number of fields.
func (h *Header) Len() int { return len(h.fields) }

// At is field i, in order.
func (h *Header) At(i int) Field { return h.fields[i] }

// All ranges over the fields in order. The header is not to be changed
// meanwhile.
func (h *Header) All() iter.Seq[Field] {
	return func(yield func(Field) bool) {
		for _, f := range h.fields {
			if !yield(f) {
				return
			}
		}
	}
}

// Get is the value of the first field of the name, or nil where there is none.
// (The value of a field that is there is never nil.)
func (h *Header) Get(name string) []byte {
	for i := range h.fields {
		if EqualFold(h.fields[i].Name, name) {
			return h.fields[i].Value
		}
	}
	return nil
}

// Has reports whether there is a field of the name.
func (h *Header) Has(name string) bool { return h.Get(name) != nil }

// Values ranges over the values of all fields of the name, in order.
func (h *Header) Values(name string) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for _, f := range h.fields {
			if EqualFold(f.Name, name) && !yield(f.Value) {
				return
			}
		}
	}
}

// Set gives the first field of the name this value, drops its others, and adds
// the field at the end where there was none. Bytes that no field value may
// hold (controls other than HTAB: RFC 9110, section 5.5) become spaces.
func (h *Header) Set(name, value string) { set(h, name, value) }

// SetBytes is Set for a value in bytes, which it copies.
//
// It is not inlined, since other packages would then see the generic function
// behind it, and take its value for one that escapes: an allocation for each
// value that is made on the stack.
//
//go:noinline
func (h *Header) SetBytes(name string, value []byte) { set(h, name, value) }

func set[T string | []byte](h *Header, name string, value T) {
	for i := range h.fields {
		if EqualFold(h.fields[i].Name, name) {
			h.fields[i].Value = keepValue(h, value)
			h.deleteFrom(i+1, name)
			return
		}
	}
	add(h, name, value)
}

// Add adds a field at the end, with the rules of Set for its bytes. A name that
// is not a token (RFC 9110, section 5.6.2) adds nothing.
func (h *Header) Add(name, value string) { add(h, name, value) }

// AddBytes is Add for a value in bytes, which it copies. It is not inlined for
// SetBytes' reason.
//
//go:noinline
func (h *Header) AddBytes(name string, value []byte) { add(h, name, value) }

func add[T string | []byte](h *Header, name string, value T) {
	if ValidName(name) {
		h.fields = append(h.fields, Field{Name: keep(h, name), Value: keepValue(h, value)})
	}
}

// Append adds a field at the end without copying or checking it: for engines,
// which have parsed it.
func (h *Header) Append(name, value []byte) {
	if value == nil {
		value = []byte{}
	}
	h.fields = append(h.fields, Field{Name: name, Value: value})
}

// Del drops every field of the name and says how many there were.
func (h *Header) Del(name string) int { return h.deleteFrom(0, name) }

// DelFunc drops the fields for which f holds.
func (h *Header) DelFunc(f func(Field) bool) {
	kept := h.fields[:0]
	for _, field := range h.fields {
		if !f(field) {
			kept = append(kept, field)
		}
	}
	clear(h.fields[len(kept):])
	h.fields = kept
}

// Reset drops all fields and keeps the memory.
func (h *Header) Reset() {
	clear(h.fields)
	h.fields = h.fields[:0]
	h.arena = h.arena[:0]
}

// CopyFrom makes h a copy of o that shares no memory with it.
func (h *Header) CopyFrom(o *Header) {
	h.Reset()
	for _, f := range o.fields {
		h.fields = append(h.fields, Field{Name: keep(h, f.Name), Value: keep(h, f.Value)})
	}
}

func (h *Header) deleteFrom(start int, name string) int {
	kept := h.fields[:start]
	for _, f := range h.fields[start:] {
		if !EqualFold(f.Name, name) {
			kept = append(kept, f)
		}
	}
	n := len(h.fields) - len(kept)
	clear(h.fields[len(kept):])
	h.fields = kept
	return n
}

// keep copies s into the arena. Growth leaves earlier fields pointing at the
// arena's former memory, which stays as it was.
func keep[T string | []byte](h *Header, s T) []byte {
	start := len(h.arena)
	h.arena = append(h.arena, s...)
	return h.arena[start:len(h.arena):len(h.arena)]
}

func keepValue[T string | []byte](h *Header, s T) []byte {
	b := keep(h, s)
	for i, c := range b {
		if c < ' ' && c != '\t' || c == 0x7f {
			b[i] = ' '
		}
	}
	if b == nil {
		b = []byte{}
	}
	return b
}

// EqualFold compares without regard to ASCII case.
func EqualFold(b []byte, s string) bool {
	if len(b) != len(s) {
		return false
	}
	for i := range b {
		x, y := b[i], s[i]
		if x == y {
			continue
		}
		if x|0x20 != y|0x20 || x|0x20 < 'a' || x|0x20 > 'z' {
			return false
		}
	}
	return true
}

// ValidName reports whether s is a token (RFC 9110, section 5.6.2), as field
// names and methods are.
func ValidName[T string | []byte](s T) bool {
	for i := range len(s) {
		if !tokenTable[s[i]] {
			return false
		}
	}
	return len(s) > 0
}

var tokenTable = func() (t [256]bool) {
	for c := range 256 {
		t[c] = c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
	}
	for _, c := range "!#$%&'*+-.^_`|~" {
		t[c] = true
	}
	return t
}()
