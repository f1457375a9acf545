package conf

import (
	"strconv"
	"strings"
)

// joinPath appends a relative path to an absolute one.
func joinPath(base, rel string) string {
	if base == "" || rel == "" || rel[0] == '[' {
		return base + rel
	}
	return base + "." + rel
}

// keyStep is the step from a map to the value of key.
func keyStep(key string) string {
	if key == "" || strings.ContainsAny(key, ".:[]\" \t\n") {
		return "[" + strconv.Quote(key) + "]"
	}
	return "." + key
}

func indexStep(i int) string { return "[" + strconv.Itoa(i) + "]" }

// resolve follows path from n. It returns the deepest node on the way and
// whether that is the path's end. A path that cannot be read ends where it
// stops making sense: paths come from Validate methods, and a poor one still
// leads near the mistake.
func (n *node) resolve(path string) (found *node, exact bool) {
	for n != nil && path != "" {
		var next *node
		switch {
		case path[0] == '.':
			path = path[1:]
			continue
		case strings.HasPrefix(path, `["`):
			quoted, err := strconv.QuotedPrefix(path[1:])
			if err != nil {
				return n, false
			}
			key, err := strconv.Unquote(quoted)
			rest, ok := strings.CutPrefix(path[1+len(quoted):], "]")
			if err != nil || !ok {
				return n, false
			}
			next, path = n.field(key), rest
		case path[0] == '[':
			text, rest, ok := strings.Cut(path[1:], "]")
			i, err := strconv.Atoi(text)
			if !ok || err != nil || i < 0 || i >= len(n.items) {
				return n, false
			}
			next, path = n.items[i], rest
		default:
			end := strings.IndexAny(path, ".[")
			if end < 0 {
				end = len(path)
			}
			next, path = n.field(path[:end]), path[end:]
		}
		if next == nil {
			return n, false
		}
		n = next
	}
	return n, n != nil
}
