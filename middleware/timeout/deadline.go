package timeout

import (
	"strconv"
	"time"
)

// field carries a deadline over hops, in one of two forms that cannot be taken
// for each other:
//
//	remaining = 1*10DIGIT      ; milliseconds that are left: between sidecars
//	absolute  = "@" 1*15DIGIT  ; milliseconds since the Unix epoch: towards the
//	                           ; app and back, where both read one clock
//
// Between machines nothing is said of clocks, so that clocks that differ do no
// harm. Towards the app a moment is named, so that it can be copied at any later
// time and has shrunk by then.
const field = "x-request-deadline"

const (
	maxRemainingDigits = 10
	maxAbsoluteDigits  = 15
)

// form is one of the two forms of the field.
type form int

const (
	malformed form = iota
	remaining
	absolute
)

// parse reads a field's value: the milliseconds of either form.
func parse(v []byte) (ms int64, f form) {
	digits, most := v, maxRemainingDigits
	f = remaining
	if len(v) > 0 && v[0] == '@' {
		digits, most, f = v[1:], maxAbsoluteDigits, absolute
	}
	if len(digits) == 0 || len(digits) > most {
		return 0, malformed
	}
	for _, c := range digits {
		if c < '0' || c > '9' {
			return 0, malformed
		}
		ms = ms*10 + int64(c-'0')
	}
	return ms, f
}

// resolve is the moment that a value means for a request that came at start. It
// has start's monotonic clock, so that a clock that is set later moves nothing.
func resolve(ms int64, f form, start time.Time) time.Time {
	if f == absolute {
		return start.Add(time.UnixMilli(ms).Sub(start))
	}
	return start.Add(time.Duration(ms) * time.Millisecond)
}

// appendRemaining appends how much is left of a deadline, rounded down: what is
// said is never more than there is.
func appendRemaining(b []byte, left time.Duration) []byte {
	return strconv.AppendInt(b, left.Milliseconds(), 10)
}

// appendAbsolute appends the moment of a deadline.
func appendAbsolute(b []byte, now time.Time, left time.Duration) []byte {
	return strconv.AppendInt(append(b, '@'), now.Add(left).UnixMilli(), 10)
}
