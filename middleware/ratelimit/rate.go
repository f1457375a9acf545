package ratelimit

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Rate is how many requests a bucket is refilled for in a unit of time.
type Rate struct {
	Count int64 // 1 to MaxCount
	Per   time.Duration
}

// MaxCount bounds Rate.Count and Config.Burst. A request costs whole nanoseconds
// of its bucket, so that a rate of some millions a second is up to a few per
// cent off, and a lower one less.
const MaxCount = 10_000_000

var units = map[string]time.Duration{"s": time.Second, "m": time.Minute, "h": time.Hour}

var errRate = errors.New("expected a number of requests and their unit of time, such as 1000/s, 600/m or 20/h")

// UnmarshalText reads a rate such as 1000/s.
func (r *Rate) UnmarshalText(text []byte) error {
	number, unit, ok := strings.Cut(string(text), "/")
	per, known := units[unit]
	count, err := strconv.ParseInt(number, 10, 64)
	if !ok || !known || number == "" || number[0] == '+' || errors.Is(err, strconv.ErrSyntax) {
		return fmt.Errorf("%w, found %q", errRate, text)
	}
	if err != nil || count < 1 || count > MaxCount {
		return fmt.Errorf("expected 1 to %d requests, found %s", MaxCount, number)
	}
	*r = Rate{Count: count, Per: per}
	return nil
}

// cost is the time in which a bucket is refilled for one request, in
// nanoseconds.
func (r Rate) cost() int64 { return (int64(r.Per) + r.Count/2) / r.Count }

// String is the rate as it stands in a file.
func (r Rate) String() string {
	for unit, per := range units {
		if per == r.Per {
			return strconv.FormatInt(r.Count, 10) + "/" + unit
		}
	}
	return fmt.Sprintf("%d/%s", r.Count, r.Per)
}

// MarshalText is String, for dumps of a configuration.
func (r Rate) MarshalText() ([]byte, error) { return []byte(r.String()), nil }
