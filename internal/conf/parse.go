package conf

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// Bounds of what is read. They keep a wrong file (or a hostile one, where
// files come over the network) from taking the process down.
const (
	MaxSize  = 8 << 20 // bytes of a file
	MaxNodes = 1 << 20 // nodes of a file, aliases expanded
	MaxDepth = 100     // maps and lists in each other, aliases expanded
	MaxKeys  = 10_000  // keys of one map that is written in block style

	maxIndent = 1000 // columns before a block entry; keeps the parser's recursion bounded
)

// Load reads a file that holds one document. An error of the file system
// names the file; mistakes in it are Errors.
func Load(path string) (Node, error) {
	data, err := read(path)
	if err != nil {
		return Node{}, err
	}
	return Parse(path, data)
}

// LoadAll reads a file of any number of documents.
func LoadAll(path string) ([]Node, error) {
	data, err := read(path)
	if err != nil {
		return nil, err
	}
	return ParseAll(path, data)
}

func read(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err // *PathError: it names the path
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, MaxSize+1))
	if err != nil {
		return nil, err
	}
	return data, nil
}

// Parse reads one document. The name stands for the file in places. No
// content at all is a document that is null, which decodes to the defaults.
func Parse(name string, data []byte) (Node, error) {
	docs, err := ParseAll(name, data)
	if err != nil {
		return Node{}, err
	}
	if len(docs) == 0 {
		return Node{&node{pos: Pos{File: name, Line: 1, Col: 1}, kind: Null, size: 1}}, nil
	}
	if len(docs) > 1 {
		return Node{}, Errors{docs[1].Errorf("a second document begins here; this file takes one")}
	}
	return docs[0], nil
}

// ParseAll reads any number of documents; those that are empty are left out.
func ParseAll(name string, data []byte) (docs []Node, err error) {
	src, err := checkText(name, data)
	if err != nil {
		return nil, err
	}
	b := &builder{file: name, lines: lineLengths(src)}
	// The parser is somebody else's and is fed from outside; a defect of it is
	// a bad file here, not a crash.
	defer func() {
		if r := recover(); r != nil {
			docs, err = nil, Errors{{Pos: Pos{File: name, Line: 1, Col: 1}, Msg: fmt.Sprintf("cannot be parsed as YAML: %v", r)}}
		}
	}()
	tokens := joinPlain(lexer.Tokenize(src))
	if err := b.checkNesting(tokens); err != nil {
		return nil, Errors{err}
	}
	if err := b.checkMaps(tokens); err != nil {
		return nil, Errors{err}
	}
	for _, doc := range documents(tokens) {
		if n := b.document(doc); n != nil {
			docs = append(docs, Node{n})
		}
	}
	if err := b.errs.normalize(); err != nil {
		return nil, err
	}
	return docs, nil
}

// document makes the tree of one document; nil where it is empty or, with the
// error noted, wrong.
func (b *builder) document(tokens token.Tokens) *node {
	if i := slices.IndexFunc(tokens, func(tk *token.Token) bool { return tk.Type == token.DirectiveType }); i >= 0 {
		b.errorf(tokens[i], "YAML directives are not supported")
		return nil
	}
	file, err := parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		b.errs = append(b.errs, b.syntaxError(err))
		return nil
	}
	b.anchors = map[string]*node{} // an anchor is known in its document
	for _, doc := range file.Docs {
		if doc.Body != nil {
			return b.build(doc.Body, nil, "")
		}
	}
	return nil
}

// checkText refuses what is not text, which the lexer would take as it is, and
// makes all ends of lines the same: they may be those of Windows or old Macs.
func checkText(name string, data []byte) (string, error) {
	if len(data) > MaxSize {
		return "", Errors{{Pos: Pos{File: name}, Msg: fmt.Sprintf("is larger than %v", Size(MaxSize))}}
	}
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf")) // a byte order mark
	src := strings.ReplaceAll(strings.ReplaceAll(string(data), "\r\n", "\n"), "\r", "\n")
	for i, r := range src {
		var msg string
		switch {
		case r < ' ' && r != '\n' && r != '\t' || r == 0x7f:
			msg = fmt.Sprintf("holds the control character %#02x", r)
		case r == utf8.RuneError && !strings.HasPrefix(src[i:], string(utf8.RuneError)):
			msg = "is not UTF-8 text"
		default:
			continue
		}
		before := src[:i]
		line := before[strings.LastIndexByte(before, '\n')+1:]
		return "", Errors{{Pos: Pos{File: name, Line: strings.Count(before, "\n") + 1, Col: utf8.RuneCountInString(line) + 1}, Msg: msg}}
	}
	return src, nil
}

// lineLengths are the lengths of the lines in characters.
func lineLengths(src string) []int {
	lengths := make([]int, 0, strings.Count(src, "\n")+1)
	for line := range strings.SplitSeq(src, "\n") {
		lengths = append(lengths, utf8.RuneCountInString(line))
	}
	return lengths
}

// syntaxError is an error of the parser without its excerpt of the file.
func (b *builder) syntaxError(err error) *Error {
	var yamlErr yaml.Error
	if !errors.As(err, &yamlErr) {
		return &Error{Pos: Pos{File: b.file, Line: 1, Col: 1}, Msg: err.Error()}
	}
	msg := yamlErr.GetMessage()
	if strings.Contains(msg, "'\t'") {
		msg = "a tab cannot be used for indentation: use spaces"
	}
	return &Error{Pos: b.pos(yamlErr.GetToken()), Msg: msg}
}

// pos is a token's place, moved into the file where the lexer is beside it.
func (b *builder) pos(tk *token.Token) Pos {
	p := Pos{File: b.file, Line: 1, Col: 1}
	if tk != nil && tk.Position != nil {
		p.Line = min(max(1, tk.Position.Line), len(b.lines))
		p.Col = min(max(1, tk.Position.Column), b.lines[p.Line-1]+1)
	}
	return p
}
