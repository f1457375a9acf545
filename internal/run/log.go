package run

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
)

// LogFormat is how log records are written.
type LogFormat string

// The formats of log records.
const (
	LogAuto LogFormat = "auto" // text on a terminal, JSON elsewhere
	LogText LogFormat = "text"
	LogJSON LogFormat = "json"
)

// Validate refuses formats other than those above.
func (f LogFormat) Validate() error {
	switch f {
	case LogAuto, LogText, LogJSON:
		return nil
	}
	return fmt.Errorf("unknown log format %q, known are auto, json, text", string(f))
}

// ParseLevel reads one of debug, info, warn and error.
func ParseLevel(s string) (slog.Level, error) {
	switch s {
	case "debug", "info", "warn", "error":
		var level slog.Level
		err := level.UnmarshalText([]byte(strings.ToUpper(s)))
		return level, err
	}
	return 0, fmt.Errorf("unknown log level %q, known are debug, error, info, warn", s)
}

// NewLogger is a logger that writes to w. A level that is a *slog.LevelVar can
// be changed later.
func NewLogger(w io.Writer, format LogFormat, level slog.Leveler) *slog.Logger {
	options := &slog.HandlerOptions{Level: level}
	if format == LogText || format != LogJSON && isTerminal(w) {
		return slog.New(slog.NewTextHandler(w, options))
	}
	return slog.New(slog.NewJSONHandler(w, options))
}

// isTerminal takes any character device for one; /dev/null, the other that
// programs are started with, does not mind which format it gets.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
