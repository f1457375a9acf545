package breaker

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/outrigger-mesh/outrigger/middleware"
)

// Config is the configuration of a breaker entry.
type Config struct {
	Scope Scope
	// ErrorPercent is the share of failed calls at which a circuit opens.
	ErrorPercent int
	// SlowPercent is the share of slow calls at which a circuit opens, those
	// whose response head took longer than SlowAfter; without SlowAfter no call
	// is slow.
	SlowPercent int
	SlowAfter   time.Duration
	// MinimumCalls is how many calls the window holds before it is judged.
	MinimumCalls int
	// Window is the time that calls are remembered for.
	Window time.Duration
	// SleepWindow is how long an open circuit lets nothing pass.
	SleepWindow time.Duration
	// Probes is how many calls in a row have to succeed for a half-open circuit
	// to close, and how many it lets pass at once.
	Probes int
	// Statuses are those of responses that count as failures.
	Statuses []Status
}

// Scope is what one circuit stands for.
type Scope string

// The scopes.
const (
	ByEndpoint Scope = "endpoint" // each endpoint has its own
	ByService  Scope = "service"  // all endpoints of a service share one
)

func defaults() Config {
	return Config{
		Scope:        ByEndpoint,
		ErrorPercent: 50,
		SlowPercent:  50,
		MinimumCalls: 20,
		Window:       10 * time.Second,
		SleepWindow:  5 * time.Second,
		Probes:       3,
		Statuses:     []Status{{500, 599}},
	}
}

// Bounds of the configuration.
const (
	minWindow = 100 * time.Millisecond
	maxWindow = 10 * time.Minute
	maxCalls  = 10_000
	maxProbes = 100
)

// Validate says what is out of range.
func (c *Config) Validate() error {
	var errs []error
	refuse := func(path, format string, args ...any) {
		errs = append(errs, middleware.FieldError(path, fmt.Sprintf(format, args...)))
	}
	if c.Scope != ByEndpoint && c.Scope != ByService {
		refuse("scope", "expected endpoint or service, found %q", c.Scope)
	}
	for _, n := range []struct {
		path              string
		value, least, top int
	}{
		{"errorPercent", c.ErrorPercent, 1, 100},
		{"slowPercent", c.SlowPercent, 1, 100},
		{"minimumCalls", c.MinimumCalls, 1, maxCalls},
		{"probes", c.Probes, 1, maxProbes},
	} {
		if n.value < n.least || n.value > n.top {
			refuse(n.path, "expected %d to %d, found %d", n.least, n.top, n.value)
		}
	}
	if c.Window < minWindow || c.Window > maxWindow {
		refuse("window", "expected %s to %s, found %s", minWindow, maxWindow, c.Window)
	}
	if c.SleepWindow < time.Millisecond || c.SleepWindow > maxWindow {
		refuse("sleepWindow", "expected %s to %s, found %s", time.Millisecond, maxWindow, c.SleepWindow)
	}
	for i, s := range c.Statuses {
		if slices.Contains(c.Statuses[:i], s) {
			refuse(fmt.Sprintf("statuses[%d]", i), "%s stands in the list twice", s)
		}
	}
	return errors.Join(errs...)
}

// Status is a range of response statuses.
type Status struct{ First, Last int }

// UnmarshalText reads one status (503) or a class (5xx).
func (s *Status) UnmarshalText(text []byte) error {
	if len(text) == 3 && text[0] >= '1' && text[0] <= '5' && string(text[1:]) == "xx" {
		first := int(text[0]-'0') * 100
		*s = Status{first, first + 99}
		return nil
	}
	n, err := strconv.Atoi(string(text))
	if err != nil || len(text) != 3 || n < 100 || n > 599 {
		return fmt.Errorf("expected a status such as 503 or 5xx, found %q", text)
	}
	*s = Status{n, n}
	return nil
}

// String is the status as it stands in a file.
func (s Status) String() string {
	if s.First == s.Last {
		return strconv.Itoa(s.First)
	}
	return strconv.Itoa(s.First/100) + "xx"
}

// MarshalText is String, for dumps of a configuration.
func (s Status) MarshalText() ([]byte, error) { return []byte(s.String()), nil }
