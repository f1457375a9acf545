package retry

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/outrigger-mesh/outrigger/internal/conf"
	"github.com/outrigger-mesh/outrigger/middleware"
)

// Config is the configuration of a retry entry.
type Config struct {
	// Attempts is how often a request is tried, the first time included; from
	// 1 to middleware.DefaultMaxAttempts.
	Attempts int
	// On lists the failures after which a request is tried again.
	On []Failure
	// GRPCStatuses lists the statuses after which a gRPC call is tried again
	// although an endpoint may have begun with it.
	GRPCStatuses []middleware.GRPCCode `yaml:"grpcStatuses"`
	// Replay bounds the request bodies that are kept to be sent again, in bytes.
	Replay conf.Size
	// Backoff is the mean pause before the second attempt; it doubles with each
	// further one, up to maxPause.
	Backoff time.Duration
}

// Failure is a way for an attempt to fail.
type Failure string

// The failures that can be listed.
const (
	Connect     Failure = "connect"     // no connection to the endpoint
	Reset       Failure = "reset"       // the connection broke before the head of a response came
	Timeout     Failure = "timeout"     // the time for one try was over
	Unavailable Failure = "unavailable" // 503, of the service or of this sidecar's attempt stage
	Gateway     Failure = "gateway"     // 502 or 504
)

var failures = []Failure{Connect, Reset, Timeout, Unavailable, Gateway}

const (
	maxPause  = time.Second
	maxReplay = 16 << 20
)

func defaults() Config {
	return Config{
		Attempts: 2,
		On:       []Failure{Connect, Reset, Unavailable, Gateway},
		Replay:   64 << 10,
		Backoff:  10 * time.Millisecond,
	}
}

// Validate says what is out of range.
func (c *Config) Validate() error {
	var errs []error
	if c.Attempts < 1 || c.Attempts > middleware.DefaultMaxAttempts {
		errs = append(errs, middleware.FieldError("attempts", fmt.Sprintf("expected 1 to %d, found %d", middleware.DefaultMaxAttempts, c.Attempts)))
	}
	for i, f := range c.On {
		path := fmt.Sprintf("on[%d]", i)
		switch {
		case !slices.Contains(failures, f):
			errs = append(errs, middleware.FieldError(path, fmt.Sprintf("expected one of %s, found %q", list(failures), f)))
		case slices.Contains(c.On[:i], f):
			errs = append(errs, middleware.FieldError(path, fmt.Sprintf("%q stands in the list twice", f)))
		}
	}
	for i, code := range c.GRPCStatuses {
		path := fmt.Sprintf("grpcStatuses[%d]", i)
		switch {
		case code == middleware.GRPCOK:
			errs = append(errs, middleware.FieldError(path, "ok is no failure: a call that went well is not repeated"))
		case slices.Contains(c.GRPCStatuses[:i], code):
			errs = append(errs, middleware.FieldError(path, fmt.Sprintf("%s stands in the list twice", strings.ToLower(code.String()))))
		}
	}
	if c.Replay > maxReplay {
		errs = append(errs, middleware.FieldError("replay", fmt.Sprintf("expected %s at most, found %s: every request that is under way may keep as much", conf.Size(maxReplay), c.Replay)))
	}
	if c.Backoff > maxPause {
		errs = append(errs, middleware.FieldError("backoff", fmt.Sprintf("expected %s at most, found %s", maxPause, c.Backoff)))
	}
	return errors.Join(errs...)
}

func list(fs []Failure) string {
	words := make([]string, len(fs))
	for i, f := range fs {
		words[i] = string(f)
	}
	return strings.Join(words, ", ")
}
