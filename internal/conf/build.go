package conf

import (
	"fmt"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"
)

// builder turns the parser's tree into ours.
type builder struct {
	file    string
	lines   []int // lengths in characters
	anchors map[string]*node
	errs    Errors
	total   int
	stopped bool // a bound was reached; said once
}

func (b *builder) errorf(tk *token.Token, format string, args ...any) {
	b.errs = append(b.errs, &Error{Pos: b.pos(tk), Msg: fmt.Sprintf(format, args...)})
}

// build makes the node of an AST node; nil, with the error noted, where it
// cannot.
func (b *builder) build(a ast.Node, parent *node, step string) *node {
	if b.stopped {
		return nil
	}
	n := &node{parent: parent, step: step, size: 1}
	switch a := a.(type) {
	case *ast.MappingNode:
		n.kind, n.pos = Map, b.mapPos(a)
		b.buildMap(n, a.Values)
	case *ast.MappingValueNode:
		n.kind, n.pos = Map, b.pos(a.Key.GetToken())
		b.buildMap(n, []*ast.MappingValueNode{a})
	case *ast.SequenceNode:
		n.kind, n.pos = List, b.pos(a.Start)
		for i, v := range a.Values {
			if item := b.build(v, n, indexStep(i)); item != nil {
				n.items = append(n.items, item)
				n.grow(item)
			}
		}
	case *ast.AnchorNode:
		return b.buildAnchor(a, parent, step)
	case *ast.AliasNode:
		return b.buildAlias(a)
	case *ast.LiteralNode:
		n.kind, n.pos, n.quoted, n.text = String, b.pos(a.Start), true, a.Value.Value
	case *ast.TagNode:
		b.errorf(a.Start, "YAML tags such as %s are not supported", a.Start.Value)
		return nil
	case ast.ScalarNode:
		b.buildScalar(n, a)
	default:
		b.errorf(a.GetToken(), "%s is not supported here", a.Type())
		return nil
	}
	return b.bounded(n, a)
}

func (b *builder) bounded(n *node, a ast.Node) *node {
	b.total++
	if b.stopped {
		return nil // said below, of something inside
	}
	if n.size > MaxNodes || b.total > MaxNodes {
		b.stopped = true
		b.errorf(a.GetToken(), "the document has more than %d values, aliases expanded", MaxNodes)
		return nil
	}
	if n.depth > MaxDepth {
		b.stopped = true
		b.errorf(a.GetToken(), "is nested more than %d deep", MaxDepth)
		return nil
	}
	return n
}

// grow counts a child. Sizes saturate, so that aliases of aliases cannot make
// them overflow.
func (n *node) grow(child *node) {
	n.size = min(n.size+child.size, MaxNodes+1)
	n.depth = max(n.depth, child.depth+1)
}

// mapPos is where a map begins: its brace, or its first key.
func (b *builder) mapPos(a *ast.MappingNode) Pos {
	if !a.IsFlowStyle && len(a.Values) > 0 {
		return b.pos(a.Values[0].Key.GetToken())
	}
	return b.pos(a.Start)
}

func (b *builder) buildMap(n *node, values []*ast.MappingValueNode) {
	at := make(map[string]int, len(values))
	var merges []ast.Node
	for _, v := range values {
		if v.Key.IsMergeKey() {
			merges = append(merges, v.Value)
			continue
		}
		key, ok := b.key(v.Key)
		if !ok {
			continue
		}
		pos := b.pos(v.Key.GetToken())
		if first, ok := at[key]; ok {
			b.build(v.Value, n, keyStep(key)) // for the anchors in it
			n.dups = append(n.dups, &Error{Pos: pos, Msg: fmt.Sprintf("duplicate key %q, first given at line %d", key, n.fields[first].keyPos.Line)})
			continue
		}
		value := b.build(v.Value, n, keyStep(key))
		if value == nil {
			continue
		}
		if value.kind == Null && value.text == "" {
			value.pos = pos // nothing stands there: the key is the place to look at
		}
		at[key] = len(n.fields)
		n.fields = append(n.fields, field{key: key, keyPos: pos, value: value})
		n.grow(value)
	}
	for _, m := range merges {
		b.merge(n, at, m)
	}
}

// merge adds the entries of a merge key's maps, which are weaker than the
// map's own and the earlier of which are stronger than the later
// (yaml.org/type/merge).
func (b *builder) merge(n *node, at map[string]int, value ast.Node) {
	from := b.build(value, n, keyStep("<<"))
	if from == nil {
		return
	}
	sources := []*node{from}
	if from.kind == List {
		sources = from.items
	}
	for _, src := range sources {
		if src.kind != Map {
			b.errorf(value.GetToken(), "the merge key << takes a map or a list of maps, not %v", src.kind)
			return
		}
		if src.parent == n {
			n.dups = append(n.dups, src.dups...) // written here; an alias' are its anchor's
		}
		for _, f := range src.fields {
			if _, ok := at[f.key]; ok {
				continue
			}
			at[f.key] = len(n.fields)
			n.fields = append(n.fields, f)
			n.grow(f.value)
		}
	}
}

// key is the text of a map's key, which has to be a scalar.
func (b *builder) key(k ast.MapKeyNode) (string, bool) {
	switch k := k.(type) {
	case *ast.StringNode:
		return k.Value, true
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode, *ast.NullNode:
		return k.GetToken().Value, true
	}
	b.errorf(k.GetToken(), "a key has to be plain or quoted text")
	return "", false
}

func (b *builder) buildAnchor(a *ast.AnchorNode, parent *node, step string) *node {
	if a.Value == nil {
		b.errorf(a.Start, "the anchor has no value")
		return nil
	}
	n := b.build(a.Value, parent, step)
	// Known from here on only: an alias inside of its own anchor would be a
	// value without end.
	if n != nil && a.Name != nil {
		b.anchors[a.Name.GetToken().Value] = n
	}
	return n
}

func (b *builder) buildAlias(a *ast.AliasNode) *node {
	if a.Value == nil {
		b.errorf(a.Start, "the alias has no name")
		return nil
	}
	name := a.Value.GetToken().Value
	n := b.anchors[name]
	if n == nil {
		b.errorf(a.Start, "the alias *%s has no anchor &%s before it", name, name)
	}
	return n
}

func (b *builder) buildScalar(n *node, a ast.ScalarNode) {
	tk := a.GetToken()
	n.pos = b.pos(tk)
	if s, ok := a.(*ast.StringNode); ok && tk.Type != token.StringType {
		n.kind, n.quoted, n.text = String, true, s.Value
		return
	}
	if tk.Type == token.ImplicitNullType {
		n.kind = Null
		return
	}
	n.text = tk.Value
	n.kind = plainKind(n.text)
}
