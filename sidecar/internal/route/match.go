package route

import (
	"bytes"
	"net/url"
	"strings"

	"github.com/outrigger-mesh/outrigger/middleware"
)

func (m *Match) matches(r *middleware.Request) bool {
	if m.Method != "" && string(r.Method) != m.Method {
		return false
	}
	if !m.matchesPath(r.Path()) {
		return false
	}
	for i := range m.Headers {
		if !m.Headers[i].matches(joined(&r.Header, m.Headers[i].Name)) {
			return false
		}
	}
	if len(m.Query) == 0 {
		return true
	}
	query := string(r.Query())
	for i := range m.Query {
		if !m.Query[i].matches(parameter(query, m.Query[i].Name)) {
			return false
		}
	}
	return true
}

func (m *Match) matchesPath(path []byte) bool {
	switch m.PathKind {
	case PathExact:
		return string(path) == m.Path
	case PathRegexp:
		return m.Regexp.Match(path)
	case PathPrefix:
		prefix := strings.TrimSuffix(m.Path, "/")
		if len(path) < len(prefix) || string(path[:len(prefix)]) != prefix {
			return false
		}
		return len(path) == len(prefix) || path[len(prefix)] == '/' || prefix == ""
	}
	return false
}

// matches compares a value; nil is one that is not there.
func (v *ValueMatch) matches(value []byte) bool {
	ok := value != nil
	switch {
	case !ok:
	case v.Regexp != nil:
		ok = v.Regexp.Match(value)
	case !v.Present:
		ok = string(value) == v.Exact
	}
	return ok != v.Invert
}

// joined is the value of a field; of several of one name, all of them, joined
// by a comma (RFC 9110, section 5.3).
func joined(h *middleware.Header, name string) []byte {
	var first []byte
	var all []byte
	for v := range h.Values(name) {
		switch {
		case first == nil:
			first = v
		case all == nil:
			all = bytes.Join([][]byte{first, v}, []byte{','})
		default:
			all = append(append(all, ','), v...)
		}
	}
	if all != nil {
		return all
	}
	return first
}

// parameter is the first value of a query parameter, nil where there is none.
func parameter(query, name string) []byte {
	for pair := range strings.SplitSeq(query, "&") {
		key, value, _ := strings.Cut(pair, "=")
		if k, err := url.QueryUnescape(key); err != nil || k != name {
			continue
		}
		v, err := url.QueryUnescape(value)
		if err != nil {
			return nil
		}
		return append([]byte{}, v...)
	}
	return nil
}
