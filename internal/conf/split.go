package conf

import "slices"

// Split takes a map apart: one with only the given keys, and one with the
// others, each of which can be decoded strictly on its own. Errors of either
// stand where the map stands. Anything but a map is left whole: the first
// result is then absent.
func (n Node) Split(keys ...string) (chosen, rest Node) {
	if n.Kind() != Map {
		return Node{}, n
	}
	a, b := *n.n, *n.n
	a.fields, b.fields = nil, nil
	for _, f := range n.n.fields {
		if slices.Contains(keys, f.key) {
			a.fields = append(a.fields, f)
		} else {
			b.fields = append(b.fields, f)
		}
	}
	a.dups = nil // they are said once, with the rest
	return Node{&a}, Node{&b}
}
