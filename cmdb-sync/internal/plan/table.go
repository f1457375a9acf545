package plan

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/outrigger-mesh/outrigger/cmdb-sync/internal/guard"
)

// WriteTable writes the plan for people. Colour is for terminals.
func (p *Plan) WriteTable(out io.Writer, colour bool) error {
	c, w := p.Counts, &printer{w: out, colour: colour}
	w.line("source %s: %d records, %d machines, %d quarantined; %d hosts in the control plane at revision %s",
		p.Source, c.Records, c.Machines, c.Quarantined, c.Present, p.Base)
	if len(p.Changes) > 0 {
		w.line("")
		var lines bytes.Buffer // a tabwriter writes cells, the printer wants lines
		tab := tabwriter.NewWriter(&lines, 0, 0, 2, ' ', 0)
		for i := range p.Changes {
			change := &p.Changes[i]
			fmt.Fprintf(tab, "  %s %s\t%s\t%s\t%s\n", sign(change.Action), change.Action, change.Object, change.Host, what(change))
		}
		_ = tab.Flush() // a buffer takes everything
		_, _ = w.Write(lines.Bytes())
	}
	if len(p.Quarantined) > 0 {
		w.line("\nquarantined: not applied, and what the mesh knows of them stays")
		for _, q := range p.Quarantined {
			key := ""
			if q.Key != "" {
				key = " key " + q.Key + ":"
			}
			w.line("  ? %s:%s %s", q.Place, key, q.Reason)
		}
	}
	for _, note := range p.Notes {
		w.line("\nnote: %s", note)
	}
	if blocked := guard.Blocked(p.Guards); len(blocked) > 0 {
		w.line("\nblocked:")
		for _, r := range blocked {
			w.line("  ! %s", r)
		}
	}
	w.line("\nplan: %d to add, %d to modify, %d to drain, %d to remove, %d unchanged, %d leaving, %d absent and kept",
		c.Add, c.Modify, c.Drain, c.Remove, c.Unchanged, c.Waiting, c.Kept)
	if !p.Empty() || p.Blocked() {
		w.line("hash: %s", p.Hash)
	}
	return w.err
}

func sign(a Action) string {
	switch a {
	case Add:
		return "+"
	case Modify:
		return "~"
	case Drain:
		return ">"
	case Remove:
		return "-"
	}
	return " "
}

// what is the change in a few words.
func what(c *Change) string {
	parts := make([]string, 0, len(c.Fields))
	for _, f := range c.Fields {
		switch {
		case c.Action == Add && f.Field == "key":
		case c.Action == Add:
			parts = append(parts, f.Field+": "+quote(f.To))
		default:
			parts = append(parts, f.Field+": "+quote(f.From)+" -> "+quote(f.To))
		}
	}
	if c.Action == Add {
		return strings.Join(parts, ", ")
	}
	if len(parts) == 0 {
		return c.Reason
	}
	return strings.Join(parts, ", ") + " (" + c.Reason + ")"
}

func quote(s string) string {
	if s == "" {
		return `""`
	}
	return s
}

// printer keeps the first error, and colours lines by their sign.
type printer struct {
	w      io.Writer
	colour bool
	err    error
}

func (p *printer) line(format string, args ...any) {
	_, _ = p.Write([]byte(fmt.Sprintf(format, args...) + "\n")) // kept in p
}

var colours = map[string]string{"  + ": "32", "  ~ ": "33", "  > ": "35", "  - ": "31", "  ? ": "36", "  ! ": "1;31"}

// Write writes whole lines.
func (p *printer) Write(b []byte) (int, error) {
	for text := range strings.Lines(string(b)) {
		if p.err != nil {
			return 0, p.err
		}
		if code := colours[text[:min(4, len(text))]]; p.colour && code != "" {
			text = "\x1b[" + code + "m" + strings.TrimSuffix(text, "\n") + "\x1b[0m\n"
		}
		_, p.err = io.WriteString(p.w, text)
	}
	return len(b), p.err
}
