package conf

// Merge lays one node over another, as a later part of the configuration over
// an earlier one: maps are merged key by key, anything else (a list, too)
// replaces what was there, and null or nothing leaves it. Keys keep the order
// of base, new ones follow. Every value keeps its own place, so that a mistake
// in the result is reported where it was written; the result as a whole stands
// where over stands.
func Merge(base, over Node) Node {
	switch {
	case over.IsZero() || over.Kind() == Null:
		return base
	case base.IsZero() || base.Kind() == Null:
		return over
	}
	return Node{merge(base.n, over.n)}
}

func merge(base, over *node) *node {
	if over.kind == Null {
		return base
	}
	if base.kind != Map || over.kind != Map {
		return over
	}
	n := *over
	n.fields = make([]field, 0, len(base.fields)+len(over.fields))
	n.dups = append(append([]*Error(nil), base.dups...), over.dups...)
	n.size, n.depth = 1, 0
	at := make(map[string]int, len(base.fields))
	for _, f := range base.fields {
		at[f.key] = len(n.fields)
		n.fields = append(n.fields, f)
	}
	for _, f := range over.fields {
		i, known := at[f.key]
		switch {
		case !known:
			n.fields = append(n.fields, f)
		case f.value.kind != Null:
			n.fields[i] = field{key: f.key, keyPos: f.keyPos, value: merge(n.fields[i].value, f.value)}
		}
	}
	for _, f := range n.fields {
		n.grow(f.value)
	}
	return &n
}
