package guard

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/outrigger-mesh/outrigger/internal/conf"
)

// Mode is how far a sync may go.
type Mode string

// The modes.
const (
	// UpsertOnly adds and changes hosts, and leaves alone those that the
	// source no longer has.
	UpsertOnly Mode = "upsert-only"
	// Sync drains and removes them, too.
	Sync Mode = "sync"
)

// Validate refuses other words.
func (m *Mode) Validate() error {
	if *m == UpsertOnly || *m == Sync {
		return nil
	}
	return conf.FieldErrorf("", "unknown mode %q, known are sync, upsert-only", string(*m))
}

// Percent is a share, written 5 or 5%.
type Percent float64

// UnmarshalText reads a share from 0 to 100.
func (p *Percent) UnmarshalText(text []byte) error {
	n, err := strconv.ParseFloat(strings.TrimSuffix(string(text), "%"), 64)
	if err != nil || !(n >= 0 && n <= 100) {
		return fmt.Errorf("expected a share from 0 to 100 such as 5 or 5%%, found %q", text)
	}
	*p = Percent(n)
	return nil
}

// MarshalText is String.
func (p Percent) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// String is as in 5%.
func (p Percent) String() string { return strconv.FormatFloat(float64(p), 'f', -1, 64) + "%" }

// Config is what stands under guard: how much a source may change before a
// human has to look.
type Config struct {
	Mode Mode
	// MinSourceFraction is how much of the machines seen last a source must
	// still have, from 0 to 1.
	MinSourceFraction float64
	MaxRemove         MaxRemove
	MaxModify         Percent // of the hosts that are there
	MaxQuarantine     Percent // of the records
	Absent            Absent
	// DrainFor is how long a host is drained before it is removed, at least.
	DrainFor time.Duration
}

// MaxRemove bounds how many hosts may begin to leave in one plan.
type MaxRemove struct {
	Percent Percent
	Count   int
	// What follows needs to know which services a host carries.
	PerService conf.Node
	PerZone    conf.Node
	MinHealthy conf.Node
}

// Absent is how long a machine has to be absent from the source until it is
// removed: that many runs, and that long.
type Absent struct {
	Runs int
	For  time.Duration
}

// Defaults are careful: nothing is removed.
func Defaults() Config {
	return Config{
		Mode: UpsertOnly, MinSourceFraction: 0.9,
		MaxRemove: MaxRemove{Percent: 5, Count: 100}, MaxModify: 30, MaxQuarantine: 5,
		Absent: Absent{Runs: 3, For: 30 * time.Minute}, DrainFor: 10 * time.Minute,
	}
}

// Validate checks the fraction.
func (c *Config) Validate() error {
	if !(c.MinSourceFraction >= 0 && c.MinSourceFraction <= 1) {
		return conf.FieldErrorf("minSourceFraction", "expected a fraction from 0 to 1, found %v", c.MinSourceFraction)
	}
	return nil
}

// Validate checks the count, and says what is known and not carried.
func (m *MaxRemove) Validate() error {
	var errs []error
	if m.Count < 0 {
		errs = append(errs, conf.FieldErrorf("count", "must not be negative, found %d", m.Count))
	}
	for _, f := range []struct {
		key  string
		node conf.Node
	}{{"perService", m.PerService}, {"perZone", m.PerZone}, {"minHealthy", m.MinHealthy}} {
		if !f.node.IsZero() {
			errs = append(errs, conf.FieldError(f.key, "is not carried by this version: percent and count bound what is removed"))
		}
	}
	return errors.Join(errs...)
}

// Validate wants at least the run that sees the absence.
func (a *Absent) Validate() error {
	if a.Runs < 1 {
		return conf.FieldErrorf("runs", "must be 1 or more, found %d", a.Runs)
	}
	return nil
}
