package middleware

import (
	"math"
	"strconv"
	"time"
	"unicode/utf8"
)

// maxGRPCTimeout is the greatest number of a grpc-timeout, which has eight digits
// at most.
const maxGRPCTimeout = 99_999_999

// grpcUnits are the units of a grpc-timeout, the finest first.
var grpcUnits = [...]struct {
	name byte
	unit time.Duration
}{
	{'n', time.Nanosecond},
	{'u', time.Microsecond},
	{'m', time.Millisecond},
	{'S', time.Second},
	{'M', time.Minute},
	{'H', time.Hour},
}

// AppendGRPCTimeout appends d as the value of a grpc-timeout, in the finest unit
// that has room for it. It is rounded down, so that what is said is never more
// than there is; what is less than a nanosecond is said to be one, since the
// value has to be positive.
func AppendGRPCTimeout(b []byte, d time.Duration) []byte {
	d = max(d, 1)
	for _, u := range grpcUnits {
		if n := d / u.unit; n <= maxGRPCTimeout {
			return append(strconv.AppendInt(b, int64(n), 10), u.name)
		}
	}
	return append(strconv.AppendInt(b, maxGRPCTimeout, 10), 'H') // a Duration holds less
}

// ParseGRPCTimeout reads the value of a grpc-timeout: one to eight digits and a
// unit. What a Duration cannot hold is the longest that it can. Zero, which the
// specification does not allow, is taken: clients send it when no time is left.
func ParseGRPCTimeout(v []byte) (d time.Duration, ok bool) {
	if len(v) < 2 || len(v) > 9 {
		return 0, false
	}
	var n int64
	for _, c := range v[:len(v)-1] {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	for _, u := range grpcUnits {
		if u.name != v[len(v)-1] {
			continue
		}
		if n > math.MaxInt64/int64(u.unit) {
			return math.MaxInt64, true
		}
		return time.Duration(n * int64(u.unit)), true
	}
	return 0, false
}

// AppendGRPCMessage appends s percent-encoded as a grpc-message: everything but
// visible ASCII and space, and the percent sign itself, as %XX.
func AppendGRPCMessage(b []byte, s string) []byte {
	const hex = "0123456789ABCDEF"
	for i := range len(s) {
		c := s[i]
		if c >= ' ' && c <= '~' && c != '%' {
			b = append(b, c)
			continue
		}
		b = append(b, '%', hex[c>>4], hex[c&15])
	}
	return b
}

// cut is s, or its beginning of at most n bytes that ends with a whole
// character.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}
