package accesslog

import (
	"fmt"

	"github.com/outrigger-mesh/outrigger/middleware"
)

// Config is the configuration of an accesslog entry.
type Config struct {
	Format Format
	Query  bool   // log the query of the request's target, too
	File   string // a path; empty for the standard output
}

// Format is the syntax of a line.
type Format string

// The formats.
const (
	JSON Format = "json" // one object a line
	Text Format = "text" // key=value, as log/slog writes it
)

func defaults() Config { return Config{Format: JSON} }

// Validate says which value is not known.
func (c *Config) Validate() error {
	if c.Format != JSON && c.Format != Text {
		return middleware.FieldError("format", fmt.Sprintf("expected %s or %s, found %q", JSON, Text, c.Format))
	}
	return nil
}
