package conf

import (
	"encoding/json"
	"fmt"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// ParseJSON reads one JSON value (RFC 8259), for what comes over the network.
// It makes the same Node that Parse makes of a file, several times faster, and
// takes nothing that is not JSON. An object's key that is given twice is an
// error of Decode; text that is not UTF-8 and half surrogates are refused, for
// nobody knows what was meant. The bounds are those of files, and the caller
// bounds the size. The name stands for the file in places.
func ParseJSON(name string, data []byte) (Node, error) {
	p := &jsonParser{data: data, pos: Pos{File: name, Line: 1, Col: 1}}
	p.space()
	n := p.value(nil, "", 1)
	if p.err == nil {
		p.space()
		if p.at < len(p.data) {
			p.fail("something follows the end of the value")
		}
	}
	if p.err != nil {
		return Node{}, Errors{p.err}
	}
	return Node{n}, nil
}

// jsonParser reads a value by recursive descent, MaxDepth deep at most.
type jsonParser struct {
	data  []byte
	at    int
	pos   Pos // of data[at]
	total int // nodes
	err   *Error
}

func (p *jsonParser) fail(format string, args ...any) {
	if p.err == nil {
		p.err = &Error{Pos: p.pos, Msg: "is not JSON: " + fmt.Sprintf(format, args...)}
	}
}

// peek is the next byte, zero at the end.
func (p *jsonParser) peek() byte {
	if p.at < len(p.data) {
		return p.data[p.at]
	}
	return 0
}

// skip passes over n bytes of ASCII without an end of line.
func (p *jsonParser) skip(n int) {
	p.at += n
	p.pos.Col += n
}

func (p *jsonParser) space() {
	for p.at < len(p.data) {
		switch p.data[p.at] {
		case '\n':
			p.at++
			p.pos.Line++
			p.pos.Col = 1
		case ' ', '\t', '\r':
			p.skip(1)
		default:
			return
		}
	}
}

// found is what stands where something else is wanted.
func (p *jsonParser) found() string {
	if p.at >= len(p.data) {
		return "the end"
	}
	r, _ := utf8.DecodeRune(p.data[p.at:])
	return strconv.QuoteRune(r)
}

func (p *jsonParser) value(parent *node, step string, depth int) *node {
	n := &node{pos: p.pos, parent: parent, step: step, size: 1}
	if p.total++; p.total > MaxNodes {
		p.fail("it has more than %d values", MaxNodes)
		return n
	}
	if depth > MaxDepth {
		p.fail("it is nested more than %d deep", MaxDepth)
		return n
	}
	switch c := p.peek(); {
	case c == '{':
		n.kind = Map
		p.object(n, depth)
	case c == '[':
		n.kind = List
		p.array(n, depth)
	case c == '"':
		n.kind, n.quoted, n.text = String, true, p.str()
	case c == '-' || '0' <= c && c <= '9':
		p.number(n)
	default:
		p.word(n)
	}
	return n
}

func (p *jsonParser) word(n *node) {
	for _, w := range []struct {
		text string
		kind Kind
	}{{"true", Bool}, {"false", Bool}, {"null", Null}} {
		if len(p.data)-p.at >= len(w.text) && string(p.data[p.at:p.at+len(w.text)]) == w.text {
			n.kind, n.text = w.kind, w.text
			p.skip(len(w.text))
			return
		}
	}
	p.fail("expected a value, found %s", p.found())
}

func (p *jsonParser) object(n *node, depth int) {
	p.skip(1)
	p.space()
	if p.peek() == '}' {
		p.skip(1)
		return
	}
	var seen map[string]int // of large objects: small ones are searched
	for p.err == nil {
		if p.peek() != '"' {
			p.fail("expected a key in quotes, found %s", p.found())
			return
		}
		pos := p.pos
		key := p.str()
		p.space()
		if p.peek() != ':' {
			p.fail("expected ':', found %s", p.found())
			return
		}
		p.skip(1)
		p.space()
		value := p.value(n, keyStep(key), depth+1)
		if seen == nil && len(n.fields) == 16 {
			seen = make(map[string]int, 64)
			for i, f := range n.fields {
				seen[f.key] = i
			}
		}
		if first, ok := fieldIndex(n, seen, key); ok {
			n.dups = append(n.dups, &Error{
				Pos: pos, Msg: fmt.Sprintf("duplicate key %q, first given at line %d", key, n.fields[first].keyPos.Line),
			})
		} else {
			if seen != nil {
				seen[key] = len(n.fields)
			}
			n.fields = append(n.fields, field{key: key, keyPos: pos, value: value})
			n.grow(value)
		}
		if p.closed('}') {
			return
		}
	}
}

func fieldIndex(n *node, seen map[string]int, key string) (int, bool) {
	if seen != nil {
		i, ok := seen[key]
		return i, ok
	}
	for i := range n.fields {
		if n.fields[i].key == key {
			return i, true
		}
	}
	return 0, false
}

func (p *jsonParser) array(n *node, depth int) {
	p.skip(1)
	p.space()
	if p.peek() == ']' {
		p.skip(1)
		return
	}
	for p.err == nil {
		item := p.value(n, indexStep(len(n.items)), depth+1)
		n.items = append(n.items, item)
		n.grow(item)
		if p.closed(']') {
			return
		}
	}
}

// closed takes what follows an entry: the end, or a comma and the next one.
func (p *jsonParser) closed(end byte) bool {
	if p.err != nil {
		return true
	}
	p.space()
	switch p.peek() {
	case end:
		p.skip(1)
		return true
	case ',':
		p.skip(1)
		p.space()
	default:
		p.fail("expected ',' or '%c', found %s", end, p.found())
	}
	return false
}

// number takes what JSON's grammar lets a number be made of, and has the
// standard library say whether it is one.
func (p *jsonParser) number(n *node) {
	end := p.at
	for end < len(p.data) && isNumberByte(p.data[end]) {
		end++
	}
	n.text = string(p.data[p.at:end])
	if !json.Valid(p.data[p.at:end]) {
		p.fail("%q is not a number", n.text)
		return
	}
	p.skip(end - p.at)
	if n.kind = plainKind(n.text); n.kind != Int {
		n.kind = Float
	}
}

func isNumberByte(c byte) bool {
	return '0' <= c && c <= '9' || c == '-' || c == '+' || c == '.' || c == 'e' || c == 'E'
}

// str takes a string and returns its text.
func (p *jsonParser) str() string {
	p.skip(1)
	start := p.at
	for p.at < len(p.data) {
		switch c := p.data[p.at]; {
		case c == '"':
			text := string(p.data[start:p.at])
			p.skip(1)
			return text
		case c == '\\' || c >= utf8.RuneSelf || c < ' ':
			return p.longStr([]byte(string(p.data[start:p.at])))
		}
		p.skip(1)
	}
	p.fail("the string has no end")
	return ""
}

// longStr takes the rest of a string that has more than plain ASCII in it.
func (p *jsonParser) longStr(text []byte) string {
	for p.err == nil && p.at < len(p.data) {
		switch c := p.data[p.at]; {
		case c == '"':
			p.skip(1)
			return string(text)
		case c < ' ':
			p.fail("a control character in a string must be escaped")
		case c == '\\':
			text = p.escape(text)
		case c < utf8.RuneSelf:
			text = append(text, c)
			p.skip(1)
		default:
			r, size := utf8.DecodeRune(p.data[p.at:])
			if r == utf8.RuneError && size == 1 {
				p.fail("a string is not UTF-8")
				break
			}
			text = append(text, p.data[p.at:p.at+size]...)
			p.at += size
			p.pos.Col++
		}
	}
	p.fail("the string has no end")
	return ""
}

// escapes are the short ones of RFC 8259, section 7.
var escapes = map[byte]byte{
	'"': '"', '\\': '\\', '/': '/', 'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t',
}

func (p *jsonParser) escape(text []byte) []byte {
	if p.at+1 < len(p.data) {
		if c, ok := escapes[p.data[p.at+1]]; ok {
			p.skip(2)
			return append(text, c)
		}
	}
	r, ok := p.unicode(p.at)
	if !ok {
		p.fail(`a backslash must be followed by one of "\/bfnrt or by u and four hexadecimal digits`)
		return text
	}
	size := 6
	if utf16.IsSurrogate(r) {
		low, ok := p.unicode(p.at + 6)
		if r = utf16.DecodeRune(r, low); !ok || r == utf8.RuneError {
			p.fail("half of a surrogate pair stands alone")
			return text
		}
		size = 12
	}
	p.skip(size)
	return utf8.AppendRune(text, r)
}

// unicode reads \uXXXX.
func (p *jsonParser) unicode(at int) (rune, bool) {
	if at+6 > len(p.data) || p.data[at] != '\\' || p.data[at+1] != 'u' {
		return 0, false
	}
	r := rune(0)
	for _, c := range p.data[at+2 : at+6] {
		switch {
		case '0' <= c && c <= '9':
			c -= '0'
		case 'a' <= c && c <= 'f':
			c -= 'a' - 10
		case 'A' <= c && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}
