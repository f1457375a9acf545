package tracing

import "bytes"

// Bounds of a tracestate (W3C Trace Context, sections 3.3.1.1 and 3.3.1.5). The
// specification asks for 512 bytes at least to be passed on.
const (
	maxStateBytes   = 4096
	maxStateMembers = 32
)

// stateScan checks the tracestate fields of one request, which are one list.
type stateScan struct{ bytes, members int }

// add reports whether the list is still valid with one more field.
func (s *stateScan) add(v []byte) bool {
	s.bytes += len(v)
	if s.bytes > maxStateBytes {
		return false
	}
	for len(v) > 0 {
		var member []byte
		member, v, _ = bytes.Cut(v, []byte{','})
		member = bytes.Trim(member, " \t")
		if len(member) == 0 {
			continue // allowed, so that lists can be joined
		}
		s.members++
		if s.members > maxStateMembers || !validMember(member) {
			return false
		}
	}
	return true
}

// validMember is key=value (section 3.3.1.3).
func validMember(m []byte) bool {
	key, value, ok := bytes.Cut(m, []byte{'='})
	if !ok || len(key) == 0 || len(key) > 256 || len(value) == 0 || len(value) > 256 {
		return false
	}
	if c := key[0]; (c < 'a' || c > 'z') && (c < '0' || c > '9') {
		return false
	}
	for _, c := range key {
		switch {
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9', c == '_', c == '-', c == '*', c == '/', c == '@':
		default:
			return false
		}
	}
	for _, c := range value {
		if c < ' ' || c > '~' || c == '=' {
			return false
		}
	}
	return true
}
