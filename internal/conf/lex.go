package conf

import (
	"fmt"
	"slices"
	"unicode/utf8"

	"github.com/goccy/go-yaml/token"
)

// checkNesting bounds the parser's recursion before it begins: its stack is
// the goroutine's, and exhausting that cannot be recovered from. Flow
// collections are counted; block collections cannot be deeper than the
// column of their entries; tags and anchors recurse one by one.
func (b *builder) checkNesting(tokens token.Tokens) *Error {
	flow, marks := 0, 0
	name := false // the token is an anchor's name
	for _, tk := range tokens {
		wasName := name
		name = false
		switch tk.Type { //nolint:exhaustive // the others do not nest
		case token.SequenceStartType, token.MappingStartType:
			flow++
		case token.SequenceEndType, token.MappingEndType:
			flow = max(0, flow-1)
		case token.TagType:
			marks++
		case token.AnchorType:
			marks++
			name = true
		case token.CommentType:
		case token.SequenceEntryType, token.MappingKeyType, token.MappingValueType:
			marks = 0
			if flow == 0 && tk.Position.IndentNum > maxIndent || tk.Type != token.MappingValueType && tk.Position.Column > maxIndent {
				return &Error{Pos: b.pos(tk), Msg: fmt.Sprintf("is indented by more than %d columns", maxIndent)}
			}
		default:
			if !wasName {
				marks = 0
			}
		}
		if flow > MaxDepth || marks > MaxDepth {
			return &Error{Pos: b.pos(tk), Msg: fmt.Sprintf("is nested more than %d deep", MaxDepth)}
		}
	}
	return nil
}

// checkMaps bounds the keys of a block map, for which the parser takes time in
// the square of their number: 10,000 of them are a quarter of a second.
func (b *builder) checkMaps(tokens token.Tokens) *Error {
	type blockMap struct{ col, keys int }
	var open []blockMap // by rising column
	flow := 0
	for i, tk := range tokens {
		col := tk.Position.Column
		switch tk.Type { //nolint:exhaustive // the others are no part of a map's frame
		case token.SequenceStartType, token.MappingStartType:
			flow++
		case token.SequenceEndType, token.MappingEndType:
			flow = max(0, flow-1)
		case token.DocumentHeaderType, token.DocumentEndType:
			open, flow = open[:0], 0
		case token.MappingValueType:
			if flow > 0 || i == 0 {
				continue
			}
			col = tokens[i-1].Position.Column
		case token.SequenceEntryType:
		default:
			continue
		}
		if flow > 0 {
			continue
		}
		// What begins further to the left ends the maps to its right.
		for len(open) > 0 && open[len(open)-1].col > col {
			open = open[:len(open)-1]
		}
		if tk.Type != token.MappingValueType {
			continue
		}
		if len(open) == 0 || open[len(open)-1].col < col {
			open = append(open, blockMap{col: col})
		}
		last := &open[len(open)-1]
		if last.keys++; last.keys > MaxKeys {
			return &Error{Pos: b.pos(tk), Msg: fmt.Sprintf("is in a map of more than %d keys", MaxKeys)}
		}
	}
	return nil
}

// joinPlain puts plain scalars together that the lexer takes apart. Inside of
// a flow map it reads [127.0.0.1:80] as a key and its value; by YAML 1.2.2,
// section 7.3.3, a colon in a plain scalar separates only where white space or
// a flow indicator follows it.
func joinPlain(tokens token.Tokens) token.Tokens {
	joined := tokens[:0]
	for i := 0; i < len(tokens); i++ {
		tk := tokens[i]
		last := len(joined) - 1
		if tk.Type != token.MappingValueType || last < 0 || i+1 == len(tokens) ||
			!plainScalar(joined[last]) || !plainScalar(tokens[i+1]) || named(joined, last) ||
			!adjacent(joined[last], tk) || !adjacent(tk, tokens[i+1]) {
			joined = append(joined, tk)
			continue
		}
		first, rest := joined[last], tokens[i+1]
		first.Type = token.StringType
		first.Value += ":" + rest.Value
		first.Origin += tk.Origin + rest.Origin
		first.Next = rest.Next
		if rest.Next != nil {
			rest.Next.Prev = first
		}
		i++
	}
	return slices.Clip(joined)
}

// plainScalar reports whether a token is unquoted text, of whatever type the
// lexer takes it for.
func plainScalar(tk *token.Token) bool {
	switch tk.Type { //nolint:exhaustive // all others are not
	case token.StringType, token.NullType, token.BoolType, token.InfinityType, token.NanType, token.FloatType,
		token.IntegerType, token.BinaryIntegerType, token.OctetIntegerType, token.HexIntegerType:
		return true
	}
	return false
}

// named reports whether the i-th token is the name of an anchor or alias.
func named(tokens token.Tokens, i int) bool {
	return i > 0 && (tokens[i-1].Type == token.AnchorType || tokens[i-1].Type == token.AliasType)
}

// adjacent reports whether b begins where a ends.
func adjacent(a, b *token.Token) bool {
	return a.Position.Line == b.Position.Line && a.Position.Column+utf8.RuneCountInString(a.Value) == b.Position.Column
}

// documents splits a file's tokens at its document markers, those left out.
// The parser could do so itself, but it loses what follows an empty document.
func documents(tokens token.Tokens) []token.Tokens {
	var docs []token.Tokens
	start := 0
	cut := func(end int) {
		doc := tokens[start:end:end]
		start = end + 1
		if !slices.ContainsFunc(doc, func(tk *token.Token) bool { return tk.Type != token.CommentType }) {
			return
		}
		// The parser looks at neighbours, which must not be another document's.
		doc[0].Prev, doc[len(doc)-1].Next = nil, nil
		docs = append(docs, doc)
	}
	for i, tk := range tokens {
		if tk.Type == token.DocumentHeaderType || tk.Type == token.DocumentEndType {
			cut(i)
		}
	}
	cut(len(tokens))
	return docs
}
