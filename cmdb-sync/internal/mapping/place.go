package mapping

import (
	"strings"
	"unicode/utf8"

	"github.com/outrigger-mesh/outrigger/internal/conf"
)

// Places finds the places of a configuration file that lie inside of one of
// its texts. The zero Places knows no file, and every place is where its text
// begins.
type Places struct{ lines []string }

// NewPlaces is for a file of that content.
func NewPlaces(content []byte) *Places {
	return &Places{lines: strings.Split(string(content), "\n")}
}

// In is the place of a line (from 1) and a column (from 0) of n's text. Where
// the file writes the text otherwise than in one piece, with folded lines or
// escapes, it is where the text begins.
func (p *Places) In(n conf.Node, line, column int) conf.Pos {
	begin := n.Pos()
	if p == nil || begin.Line < 1 || begin.Line > len(p.lines) || line < 1 || column < 0 {
		return begin
	}
	texts := strings.Split(n.Text(), "\n")
	if line > len(texts) {
		return begin
	}
	written := skip(p.lines[begin.Line-1], begin.Col-1)
	at := begin
	switch {
	case strings.HasPrefix(written, "|"): // the text follows, one line for one
		at.Line += line
		if at.Line > len(p.lines) {
			return begin
		}
		whole := strings.TrimRight(p.lines[at.Line-1], "\r")
		if !strings.HasSuffix(whole, texts[line-1]) {
			return begin
		}
		at.Col = 1 + utf8.RuneCountInString(whole) - utf8.RuneCountInString(texts[line-1]) + column
	case line > 1:
		return begin
	case strings.HasPrefix(written, n.Text()):
		at.Col += column
	case written != "" && strings.HasPrefix(written[1:], n.Text()): // in quotes
		at.Col += 1 + column
	default:
		return begin
	}
	return at
}

// skip is s without its first n characters.
func skip(s string, n int) string {
	for range n {
		_, size := utf8.DecodeRuneInString(s)
		s = s[size:]
	}
	return s
}
