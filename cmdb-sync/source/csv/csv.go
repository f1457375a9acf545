// Package csv reads machines from a file of comma-separated values (RFC 4180)
// with a header. It is strict, since a file is often an export that went
// wrong: a row of another length than the header, a byte that is no UTF-8, a
// NUL or a field without end fails the fetch with the file's name and line,
// and so does a file that changes while it is read.
package csv

import (
	"bufio"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/outrigger-mesh/outrigger/cmdb-sync/source"
)

// Bounds of what is read; a file beyond them is not one of machines.
const (
	MaxField   = 64 << 10 // bytes of a field
	MaxColumns = 1000
	MaxRow     = 1 << 20 // bytes of a row, line ends in quotes included
)

// Source is one file. It has no state: Fetch may be called at any time.
type Source struct{ config Config }

var (
	_ source.Source  = (*Source)(nil)
	_ source.Stamper = (*Source)(nil)
)

// New makes a source of a configuration that is valid.
func New(c Config) *Source { return &Source{config: c} }

// Stamp is the file's size, its time of change and which file it is.
func (s *Source) Stamp() (string, error) {
	info, err := os.Stat(s.config.Path)
	if err != nil {
		return "", fmt.Errorf("csv: %w", err)
	}
	return stamp(info), nil
}

func stamp(info os.FileInfo) string {
	return strconv.FormatInt(info.Size(), 10) + "@" + strconv.FormatInt(info.ModTime().UnixNano(), 10)
}

// Fetch reads the whole file. Values are map[string]string, the same map for
// each record.
func (s *Source) Fetch(ctx context.Context, _ source.Cursor, emit func(source.Record) error) (source.Report, error) {
	path := s.config.Path
	f, err := os.Open(path)
	if err != nil {
		return source.Report{}, fmt.Errorf("csv: %w", err)
	}
	defer f.Close()
	before, err := f.Stat()
	if err != nil {
		return source.Report{}, fmt.Errorf("csv: %w", err)
	}
	if !before.Mode().IsRegular() {
		return source.Report{}, fmt.Errorf("csv: %s is not a regular file", path)
	}
	total, err := s.read(ctx, f, emit)
	// A file that was written meanwhile explains any mistake found in it.
	if after, statErr := os.Stat(path); statErr == nil && (stamp(after) != stamp(before) || !os.SameFile(before, after)) {
		return source.Report{}, fmt.Errorf("csv: %s changed while it was read", path)
	} else if statErr != nil {
		return source.Report{}, fmt.Errorf("csv: %s went away while it was read: %w", path, statErr)
	}
	if err != nil {
		return source.Report{}, err
	}
	return source.Report{Total: total, Full: true}, nil
}

// read emits the records of r, which is the file.
func (s *Source) read(ctx context.Context, r io.Reader, emit func(source.Record) error) (int, error) {
	path := s.config.Path
	in := bufio.NewReaderSize(r, 256<<10)
	if mark, _ := in.Peek(3); string(mark) == "\xef\xbb\xbf" {
		_, _ = in.Discard(3) // was peeked
	} else if s.config.Encoding == "utf-8-sig" {
		return 0, fmt.Errorf("csv: %s:1: begins with no byte order mark, which encoding utf-8-sig demands", path)
	}
	bounded := &rowBound{r: in}
	rows := csv.NewReader(bounded)
	rows.Comma, _ = utf8.DecodeRuneInString(s.config.Delimiter)
	rows.ReuseRecord = true

	header, err := rows.Read()
	if errors.Is(err, io.EOF) {
		return 0, fmt.Errorf("csv: %s:1: the file is empty: not even a header", path)
	}
	if err != nil {
		return 0, s.placed(rows, err)
	}
	columns := slices.Clone(header)
	if err := s.checkHeader(columns); err != nil {
		return 0, err
	}
	value := make(map[string]string, len(columns))
	line := 1
	for total := 0; ; total++ {
		if err := ctx.Err(); err != nil {
			return total, err
		}
		bounded.row(rows.InputOffset())
		row, err := rows.Read()
		if errors.Is(err, io.EOF) {
			return total, nil
		}
		if err != nil {
			if errors.Is(err, errRowTooLong) {
				return total, fmt.Errorf("csv: %s:%d: after this line follows %w", path, line, err)
			}
			return total, s.placed(rows, err)
		}
		line, _ = rows.FieldPos(0)
		for i, field := range row {
			if err := checkField(field); err != nil {
				at, _ := rows.FieldPos(i)
				return total, fmt.Errorf("csv: %s:%d: column %q: %w", path, at, columns[i], err)
			}
			value[columns[i]] = field
		}
		if err := emit(source.Record{Place: source.Place{In: path, Item: line}, Value: value}); err != nil {
			return total, err
		}
	}
}

func (s *Source) checkHeader(columns []string) error {
	path := s.config.Path
	if len(columns) > MaxColumns {
		return fmt.Errorf("csv: %s:1: the header has %d columns, %d are the most", path, len(columns), MaxColumns)
	}
	for i, name := range columns {
		if err := checkField(name); err != nil {
			return fmt.Errorf("csv: %s:1: column %d: %w", path, i+1, err)
		}
		if name == "" || strings.TrimSpace(name) != name {
			return fmt.Errorf("csv: %s:1: column %d has the name %q, which is empty or has spaces around it", path, i+1, name)
		}
		if slices.Contains(columns[:i], name) {
			return fmt.Errorf("csv: %s:1: the header names column %q twice", path, name)
		}
	}
	for _, name := range s.config.Columns {
		if !slices.Contains(columns, name) {
			return fmt.Errorf("csv: %s:1: the header has no column %q, it has %s", path, name, strings.Join(columns, ", "))
		}
	}
	return nil
}

func checkField(s string) error {
	switch {
	case len(s) > MaxField:
		return fmt.Errorf("a field of %d bytes, %d are the most", len(s), MaxField)
	case !utf8.ValidString(s):
		return errors.New("not UTF-8")
	case strings.IndexByte(s, 0) >= 0:
		return errors.New("holds a NUL byte")
	}
	return nil
}

// placed gives an error of encoding/csv the form file:line.
func (s *Source) placed(rows *csv.Reader, err error) error {
	var parse *csv.ParseError
	switch {
	case errors.As(err, &parse) && errors.Is(parse.Err, csv.ErrFieldCount):
		return fmt.Errorf("csv: %s:%d: the row has another number of fields than the header's %d", s.config.Path, parse.StartLine, rows.FieldsPerRecord)
	case errors.As(err, &parse):
		return fmt.Errorf("csv: %s:%d: %w", s.config.Path, parse.Line, parse.Err)
	case errors.Is(err, errRowTooLong):
		return fmt.Errorf("csv: %s:1: is %w", s.config.Path, err)
	}
	return fmt.Errorf("csv: reading %s: %w", s.config.Path, err)
}

var errRowTooLong = fmt.Errorf("a row of more than %d bytes (a quote that is not closed?)", MaxRow)

// rowBound ends reading where a row becomes longer than MaxRow, which
// encoding/csv would take into memory whole.
type rowBound struct {
	r         io.Reader
	read, end int64
}

// row says that a row begins at offset.
func (b *rowBound) row(offset int64) { b.end = offset + MaxRow + 64<<10 }

func (b *rowBound) Read(p []byte) (int, error) {
	if b.end == 0 {
		b.row(0)
	}
	if b.read >= b.end {
		return 0, errRowTooLong
	}
	if left := b.end - b.read; int64(len(p)) > left {
		p = p[:left]
	}
	n, err := b.r.Read(p)
	b.read += int64(n)
	return n, err
}

func index(i int) string { return "[" + strconv.Itoa(i) + "]" }
