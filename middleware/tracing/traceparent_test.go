package tracing

import (
	"strings"
	"testing"

	"github.com/outrigger-mesh/outrigger/middleware"
)

const (
	traceHex = "4bf92f3577b34da6a3ce929d0e0e4736"
	spanHex  = "00f067aa0ba902b7"
)

func TestTraceparentIsReadAsTheSpecificationSays(t *testing.T) {
	tests := map[string]struct {
		value   string
		ok      bool
		sampled bool
	}{
		"sampled":                      {"00-" + traceHex + "-" + spanHex + "-01", true, true},
		"not sampled":                  {"00-" + traceHex + "-" + spanHex + "-00", true, false},
		"unknown flags":                {"00-" + traceHex + "-" + spanHex + "-fe", true, false},
		"unknown flags and sampled":    {"00-" + traceHex + "-" + spanHex + "-ff", true, true},
		"a later version":              {"01-" + traceHex + "-" + spanHex + "-01", true, true},
		"a later version with more":    {"cc-" + traceHex + "-" + spanHex + "-01-what-the-future-brings", true, true},
		"a later version, longer flag": {"cc-" + traceHex + "-" + spanHex + "-011", false, false},
		"version 00 with more":         {"00-" + traceHex + "-" + spanHex + "-01-more", false, false},
		"version ff":                   {"ff-" + traceHex + "-" + spanHex + "-01", false, false},
		"no version":                   {traceHex + "-" + spanHex + "-01", false, false},
		"version is no number":         {"0x-" + traceHex + "-" + spanHex + "-01", false, false},
		"trace of zeros":               {"00-" + strings.Repeat("0", 32) + "-" + spanHex + "-01", false, false},
		"span of zeros":                {"00-" + traceHex + "-" + strings.Repeat("0", 16) + "-01", false, false},
		"upper case":                   {"00-" + strings.ToUpper(traceHex) + "-" + spanHex + "-01", false, false},
		"no flags":                     {"00-" + traceHex + "-" + spanHex, false, false},
		"half flags":                   {"00-" + traceHex + "-" + spanHex + "-0", false, false},
		"short trace":                  {"00-" + traceHex[1:] + "-" + spanHex + "-01", false, false},
		"short trace, long span":       {"00-" + traceHex[1:] + "-0" + spanHex + "-01", false, false},
		"other separators":             {"00_" + traceHex + "_" + spanHex + "_01", false, false},
		"empty":                        {"", false, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			p, ok := parseParent([]byte(tt.value))
			if ok != tt.ok {
				t.Fatalf("%q: taken %t, want %t", tt.value, ok, tt.ok)
			}
			if !ok {
				return
			}
			if p.trace.String() != traceHex || p.span.String() != spanHex || p.sampled != tt.sampled {
				t.Errorf("got %s, %s, sampled %t", p.trace, p.span, p.sampled)
			}
		})
	}
}

func TestTracestateIsCheckedAsTheSpecificationSays(t *testing.T) {
	members := func(n int) string { return strings.TrimSuffix(strings.Repeat("k=v,", n), ",") }
	tests := map[string]struct {
		fields []string
		ok     bool
	}{
		"one member":          {[]string{"congo=t61rcWkgMzE"}, true},
		"several":             {[]string{"rojo=00f067aa0ba902b7, congo=t61rcWkgMzE"}, true},
		"with a tenant":       {[]string{"fw529a3039@dt=FfAAAA"}, true},
		"several fields":      {[]string{"a=1", "b=2"}, true},
		"an empty member":     {[]string{"a=1, ,b=2,"}, true},
		"an empty field":      {[]string{""}, true},
		"32 members":          {[]string{members(32)}, true},
		"33 members":          {[]string{members(33)}, false},
		"33 in two fields":    {[]string{members(32), "a=1"}, false},
		"no value":            {[]string{"a"}, false},
		"an empty value":      {[]string{"a="}, false},
		"an empty key":        {[]string{"=1"}, false},
		"an upper case key":   {[]string{"A=1"}, false},
		"a key with a sign":   {[]string{"a.b=1"}, false},
		"a key begins wrong":  {[]string{"_a=1"}, false},
		"a value with =":      {[]string{"a=b=c"}, false},
		"a value not ASCII":   {[]string{"a=é"}, false},
		"a value with spaces": {[]string{"a=b c"}, true},
		"a long key":          {[]string{strings.Repeat("a", 257) + "=1"}, false},
		"a long value":        {[]string{"a=" + strings.Repeat("1", 257)}, false},
		"long in all":         {[]string{strings.Repeat(",", maxStateBytes+1)}, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var s stateScan
			ok := true
			for _, f := range tt.fields {
				ok = ok && s.add([]byte(f))
			}
			if ok != tt.ok {
				t.Errorf("valid %t, want %t", ok, tt.ok)
			}
		})
	}
}

func FuzzTraceparent(f *testing.F) {
	f.Add("00-" + traceHex + "-" + spanHex + "-01")
	f.Add("cc-" + traceHex + "-" + spanHex + "-01-more")
	f.Add("00-" + traceHex + "-" + spanHex)
	f.Fuzz(func(t *testing.T, value string) {
		p, ok := parseParent([]byte(value))
		if !ok {
			return
		}
		// What was taken and is written again means the same, and what is of
		// version 00 is the same but for its unknown flags.
		written := string(appendParent(nil, middleware.Trace{ID: p.trace, Span: p.span, Sampled: p.sampled}))
		again, ok := parseParent([]byte(written))
		if !ok || again != p {
			t.Fatalf("%q became %q", value, written)
		}
		if value[:2] == "00" && value[:53] != written[:53] {
			t.Fatalf("%q became %q", value, written)
		}
	})
}
