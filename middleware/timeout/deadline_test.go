package timeout

import (
	"testing"
	"time"
)

func TestTheTwoFormsOfTheFieldAreReadAndNothingElse(t *testing.T) {
	tests := map[string]struct {
		value string
		ms    int64
		form  form
	}{
		"remaining":             {"750", 750, remaining},
		"nothing remains":       {"0", 0, remaining},
		"leading zeros":         {"0050", 50, remaining},
		"the most":              {"9999999999", 9_999_999_999, remaining},
		"more than the most":    {"10000000000", 0, malformed},
		"absolute":              {"@1767225600000", 1_767_225_600_000, absolute},
		"the epoch":             {"@0", 0, absolute},
		"the last":              {"@999999999999999", 999_999_999_999_999, absolute},
		"more than the last":    {"@1000000000000000", 0, malformed},
		"empty":                 {"", 0, malformed},
		"absolute without time": {"@", 0, malformed},
		"a sign":                {"-1", 0, malformed},
		"another sign":          {"+1", 0, malformed},
		"a unit":                {"800ms", 0, malformed},
		"a fraction":            {"1.5", 0, malformed},
		"a date":                {"2026-01-01T00:00:00Z", 0, malformed},
		"spaces":                {"1 0", 0, malformed},
		"absolute, twice":       {"@@1", 0, malformed},
		"a list":                {"1,2", 0, malformed},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if ms, f := parse([]byte(tt.value)); f != tt.form || f != malformed && ms != tt.ms {
				t.Errorf("%q is %d of form %d, want %d of form %d", tt.value, ms, f, tt.ms, tt.form)
			}
		})
	}
}

func TestAMomentIsTheSameWhenItIsReadAgain(t *testing.T) {
	start := time.Now()
	for _, left := range []time.Duration{0, time.Millisecond, 1234567 * time.Microsecond, 100 * 24 * time.Hour} {
		ms, f := parse(appendAbsolute(nil, start, left))
		got := resolve(ms, f, start).Sub(start)
		if got > left || got <= left-2*time.Millisecond {
			t.Errorf("%v became %v", left, got)
		}
		ms, f = parse(appendRemaining(nil, left))
		if got := resolve(ms, f, start).Sub(start); got > left || got <= left-time.Millisecond {
			t.Errorf("%v became %v", left, got)
		}
	}
}

func FuzzDeadline(f *testing.F) {
	for _, v := range []string{"750", "@1767225600000", "0", "@", "-1", "999999999999999999999"} {
		f.Add(v)
	}
	start := time.Now()
	f.Fuzz(func(t *testing.T, value string) {
		ms, form := parse([]byte(value))
		if form == malformed {
			return
		}
		if ms < 0 || (value[0] == '@') != (form == absolute) {
			t.Fatalf("%q is %d of form %d", value, ms, form)
		}
		if got := resolve(ms, form, start); form == remaining && got.Before(start) {
			t.Fatalf("%q is at %v", value, got)
		}
	})
}
