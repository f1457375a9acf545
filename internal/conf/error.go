package conf

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Pos is a place in a file. Lines and columns start at 1; columns count
// characters, not bytes.
type Pos struct {
	File      string
	Line, Col int
}

// String is file:line:col, or the file alone where the line is unknown.
func (p Pos) String() string {
	if p.Line == 0 {
		return p.File
	}
	return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Col)
}

// Compare orders places by file, line and column.
func (p Pos) Compare(o Pos) int {
	return cmp.Or(strings.Compare(p.File, o.File), cmp.Compare(p.Line, o.Line), cmp.Compare(p.Col, o.Col))
}

// Error is one mistake at one place.
type Error struct {
	Pos Pos // zero where the mistake has no place in a file
	Msg string
}

// Error is file:line:col: message.
func (e *Error) Error() string {
	if e.Pos == (Pos{}) {
		return e.Msg
	}
	return e.Pos.String() + ": " + e.Msg
}

// Errors is every mistake that was found, in the order of their places.
type Errors []*Error

// Error is one line for each mistake.
func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i, err := range e {
		lines[i] = err.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap gives errors.Is and errors.As each mistake.
func (e Errors) Unwrap() []error {
	errs := make([]error, len(e))
	for i, err := range e {
		errs[i] = err
	}
	return errs
}

// Join makes one Errors of any mix of errors, sorted by place and each
// mistake once. An error from elsewhere is kept with its text and without a
// place. It is nil if errs holds no error.
func Join(errs ...error) error {
	var all Errors
	for _, err := range errs {
		all = appendFlat(all, err)
	}
	return all.normalize()
}

func appendFlat(all Errors, err error) Errors {
	switch err := err.(type) { //nolint:errorlint // the tree is walked by hand: a wrapping error has a text of its own
	case nil:
		return all
	case *Error:
		return append(all, err)
	case Errors:
		return append(all, err...)
	case interface{ Unwrap() []error }:
		for _, e := range err.Unwrap() {
			all = appendFlat(all, e)
		}
		return all
	}
	// Context that was added around placed errors goes into each of them, so
	// that they stay sortable and every line keeps its place in front.
	if inner := errors.Unwrap(err); inner != nil && placed(inner) {
		text := err.Error()
		prefix, ok := strings.CutSuffix(text, inner.Error())
		for _, e := range appendFlat(nil, inner) {
			msg := e.Msg
			if ok {
				msg = prefix + msg
			}
			all = append(all, &Error{Pos: e.Pos, Msg: msg})
		}
		return all
	}
	return append(all, &Error{Msg: err.Error()})
}

func placed(err error) bool {
	var one *Error
	return errors.As(err, &one)
}

// normalize sorts e, drops repetitions and turns an empty list into nil.
func (e Errors) normalize() error {
	if len(e) == 0 {
		return nil
	}
	e = slices.Clone(e)
	slices.SortStableFunc(e, func(a, b *Error) int { return a.Pos.Compare(b.Pos) })
	// A merge key or an alias leads to the same place twice, and so does a node
	// that is captured first and decoded later.
	return slices.CompactFunc(e, func(a, b *Error) bool { return *a == *b })
}

// fieldError is what FieldError makes: a message whose place is not known yet.
type fieldError struct{ path, msg string }

func (e *fieldError) Error() string {
	if e.path == "" {
		return e.msg
	}
	return e.path + ": " + e.msg
}

// FieldError is for Validate methods: it says what is wrong with one field.
// The path is relative to the validated value and in the terms of the file,
// such as ports[1].address or upstreams["a.b"].endpoints; the empty path is
// the value itself. A Validate method returns several with errors.Join (Join
// would turn them into text, before their place is known).
func FieldError(path, msg string) error { return &fieldError{path: path, msg: msg} }

// FieldErrorf is FieldError with a format.
func FieldErrorf(path, format string, args ...any) error {
	return &fieldError{path: path, msg: fmt.Sprintf(format, args...)}
}
