package command

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/outrigger-mesh/outrigger/internal/run"
)

// output is where and in which form a command answers.
type output struct {
	w      io.Writer
	format string
	colour bool
}

func withOutput(c *cobra.Command, format *string) {
	c.Flags().StringVarP(format, "output", "o", "table", "table, json or yaml")
}

func newOutput(format string, w io.Writer) (*output, error) {
	switch format {
	case "table", "json", "yaml":
		return &output{w: w, format: format, colour: isTerminal(stdoutFile(w))}, nil
	}
	return nil, run.Usage(fmt.Errorf("-o %s: it is one of table, json and yaml", format))
}

// isTerminal reports whether colours are seen and wanted there
// (https://no-color.org).
func isTerminal(f *os.File) bool {
	if f == nil || os.Getenv("NO_COLOR") != "" || os.Getenv("TERM") == "dumb" {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

func (o *output) table() bool { return o.format == "table" }

// print writes v as JSON or YAML. The keys of objects are sorted.
func (o *output) print(v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode the answer: %w", err)
	}
	var text bytes.Buffer
	if o.format == "json" {
		if err := json.Indent(&text, data, "", "  "); err != nil {
			return fmt.Errorf("encode the answer: %w", err)
		}
		text.WriteByte('\n')
	} else if err := toYAML(&text, data); err != nil {
		return fmt.Errorf("encode the answer: %w", err)
	}
	_, err = o.w.Write(text.Bytes())
	return err
}

// cell is one cell of a table.
type cell struct {
	text   string
	colour string // an ANSI colour; empty: none
}

// The colours, as ANSI has them.
const (
	green  = "32"
	yellow = "33"
	red    = "31"
)

func plain(s string) cell { return cell{text: s} }

// status is a status word in its colour.
func status(s string) cell {
	switch s {
	case "up", "ready", "True":
		return cell{s, green}
	case "draining":
		return cell{s, yellow}
	case "down", "False":
		return cell{s, red}
	}
	return cell{text: s}
}

// table is rows of cells, aligned.
type table struct{ rows [][]cell }

func newTable(head ...string) *table {
	t := &table{}
	row := make([]cell, len(head))
	for i, h := range head {
		row[i] = plain(h)
	}
	t.rows = append(t.rows, row)
	return t
}

func (t *table) add(cells ...cell) { t.rows = append(t.rows, cells) }

func (t *table) write(o *output) error {
	var widths []int
	for _, row := range t.rows {
		for i, c := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(c.text))
		}
	}
	var text strings.Builder
	for _, row := range t.rows {
		var line strings.Builder
		for i, c := range row {
			pad := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(c.text)+2)
			shown := c.text
			if o.colour && c.colour != "" {
				shown = "\x1b[" + c.colour + "m" + c.text + "\x1b[0m"
			}
			line.WriteString(shown + pad)
		}
		text.WriteString(strings.TrimRight(line.String(), " ") + "\n")
	}
	_, err := io.WriteString(o.w, text.String())
	return err
}

// orDash stands for what is empty.
func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
