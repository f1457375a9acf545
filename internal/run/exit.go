package run

import "errors"

// The exit codes that all programs share.
const (
	codeFailure = 1 // wrong configuration or a failure
	codeUsage   = 2 // wrong usage of the command line
)

// ExitCode is the exit code that an error stands for: 0 for nil, the code
// that WithCode or Usage gave it, else 1.
func ExitCode(err error) int {
	if err == nil {
		return 0
	}
	if coded, ok := errors.AsType[*codedError](err); ok {
		return coded.code
	}
	return codeFailure
}

// Usage marks an error as wrong usage of the command line: exit code 2.
func Usage(err error) error { return WithCode(codeUsage, err) }

// WithCode gives an error an exit code of its own. It is nil for code 0 with
// a nil error. A nil error with another code is one without text, for results
// that were said already, such as "there are differences".
func WithCode(code int, err error) error {
	if code == 0 && err == nil {
		return nil
	}
	return &codedError{code: code, err: err}
}

type codedError struct {
	code int
	err  error
}

func (e *codedError) Error() string {
	if e.err == nil {
		return ""
	}
	return e.err.Error()
}

func (e *codedError) Unwrap() error { return e.err }
