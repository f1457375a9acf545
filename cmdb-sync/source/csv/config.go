package csv

import (
	"errors"
	"path/filepath"
	"slices"
	"unicode/utf8"

	"github.com/outrigger-mesh/outrigger/cmdb-sync/source"
	"github.com/outrigger-mesh/outrigger/internal/conf"
)

// Config is what stands under csv.
type Config struct {
	Path string // relative to the configuration's folder
	// Delimiter is one character; the default is a comma.
	Delimiter string
	// Encoding is utf-8, with or without a byte order mark, or utf-8-sig,
	// which demands the mark.
	Encoding string
	// Columns, where given, are columns that the header must have. Expressions
	// are then checked against them, and others cannot be used.
	Columns []string
}

func defaults() Config { return Config{Delimiter: ",", Encoding: "utf-8"} }

// Validate checks what can be checked without the file.
func (c *Config) Validate() error {
	var errs []error
	if c.Path == "" {
		errs = append(errs, conf.FieldError("path", "is missing: the file to read"))
	}
	if d, n := utf8.DecodeRuneInString(c.Delimiter); n == 0 || n != len(c.Delimiter) || !validDelimiter(d) {
		errs = append(errs, conf.FieldErrorf("delimiter", "must be one character that is no quote and no line end, found %q", c.Delimiter))
	}
	if c.Encoding != "utf-8" && c.Encoding != "utf-8-sig" {
		errs = append(errs, conf.FieldErrorf("encoding", "unknown encoding %q, known are utf-8, utf-8-sig", c.Encoding))
	}
	for i, name := range c.Columns {
		field := "columns" + index(i)
		switch {
		case name == "":
			errs = append(errs, conf.FieldError(field, "must not be empty"))
		case slices.Contains(c.Columns[:i], name):
			errs = append(errs, conf.FieldErrorf(field, "column %q is named twice", name))
		}
	}
	return errors.Join(errs...)
}

// validDelimiter is encoding/csv's own rule.
func validDelimiter(r rune) bool {
	return r != 0 && r != '"' && r != '\r' && r != '\n' && utf8.ValidRune(r) && r != utf8.RuneError
}

// Kind is the kind csv: a file with a header, one machine a line.
func Kind() source.Kind {
	decode := func(n conf.Node) (Config, error) {
		c := defaults()
		err := n.Decode(&c)
		return c, err
	}
	return source.Kind{
		Name: "csv", Shape: source.Text,
		New: func(n conf.Node, env source.Env) (source.Source, error) {
			c, err := decode(n)
			if err != nil {
				return nil, err
			}
			if !filepath.IsAbs(c.Path) {
				c.Path = filepath.Join(env.Dir, c.Path)
			}
			return New(c), nil
		},
		Fields: func(n conf.Node) []string {
			if c, err := decode(n); err == nil && len(c.Columns) > 0 {
				return c.Columns
			}
			return nil
		},
	}
}
