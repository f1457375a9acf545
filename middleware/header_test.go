package middleware

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func headerOf(fields ...string) *Header {
	h := &Header{}
	for i := 0; i < len(fields); i += 2 {
		h.Append([]byte(fields[i]), []byte(fields[i+1]))
	}
	return h
}

func (h *Header) strings() []string {
	var all []string
	for f := range h.All() {
		all = append(all, string(f.Name)+": "+string(f.Value))
	}
	return all
}

func TestHeaderKeepsOrderAndCase(t *testing.T) {
	tests := map[string]struct {
		change func(h *Header)
		want   []string
	}{
		"untouched":                {func(*Header) {}, []string{"X-One: 1", "x-two: 2", "X-ONE: 3"}},
		"set keeps the place":      {func(h *Header) { h.Set("x-one", "new") }, []string{"X-One: new", "x-two: 2"}},
		"set adds at the end":      {func(h *Header) { h.Set("X-three", "3") }, []string{"X-One: 1", "x-two: 2", "X-ONE: 3", "X-three: 3"}},
		"set takes bytes":          {func(h *Header) { h.SetBytes("X-TWO", []byte("new")) }, []string{"X-One: 1", "x-two: new", "X-ONE: 3"}},
		"set to nothing":           {func(h *Header) { h.Set("X-two", "") }, []string{"X-One: 1", "x-two: ", "X-ONE: 3"}},
		"add":                      {func(h *Header) { h.Add("X-Two", "4") }, []string{"X-One: 1", "x-two: 2", "X-ONE: 3", "X-Two: 4"}},
		"add of no name":           {func(h *Header) { h.Add("", "4"); h.Add("a b", "4"); h.Add("a\r\nb", "4") }, []string{"X-One: 1", "x-two: 2", "X-ONE: 3"}},
		"delete drops all":         {func(h *Header) { h.Del("X-one") }, []string{"x-two: 2"}},
		"delete of nothing":        {func(h *Header) { h.Del("x") }, []string{"X-One: 1", "x-two: 2", "X-ONE: 3"}},
		"delete by function":       {func(h *Header) { h.DelFunc(func(f Field) bool { return string(f.Value) != "3" }) }, []string{"X-ONE: 3"}},
		"breaks become spaces":     {func(h *Header) { h.Set("x-two", "a\r\nb\x00c"); h.Del("x-one") }, []string{"x-two: a  b c"}},
		"breaks in added values":   {func(h *Header) { h.Reset(); h.Add("a", "1\n2") }, []string{"a: 1 2"}},
		"reset":                    {func(h *Header) { h.Reset() }, nil},
		"append takes it as it is": {func(h *Header) { h.Reset(); h.Append([]byte("a b"), nil) }, []string{"a b: "}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			h := headerOf("X-One", "1", "x-two", "2", "X-ONE", "3")
			tt.change(h)
			if diff := cmp.Diff(tt.want, h.strings()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestHeaderFindsFieldsInAnyCase(t *testing.T) {
	h := headerOf("X-One", "1", "x-empty", "", "X-ONE", "3")
	if got := string(h.Get("x-one")); got != "1" {
		t.Errorf("Get is %q, want the first value", got)
	}
	if h.Get("x-empty") == nil || !h.Has("X-Empty") {
		t.Error("a field with an empty value counts as none")
	}
	if h.Get("x-none") != nil || h.Has("x-none") {
		t.Error("a field that is not there has a value")
	}
	var values []string
	for v := range h.Values("x-oNe") {
		values = append(values, string(v))
	}
	if diff := cmp.Diff([]string{"1", "3"}, values); diff != "" {
		t.Error(diff)
	}
	if n := h.Del("x-one"); n != 2 {
		t.Errorf("Del dropped %d, want 2", n)
	}
}

func TestHeaderGrowthLeavesEarlierValuesAlone(t *testing.T) {
	h := &Header{}
	h.Add("first", "value")
	first := h.Get("first")
	for range 1000 {
		h.Add("more", "and more")
	}
	if string(first) != "value" || string(h.Get("first")) != "value" {
		t.Errorf("the first value became %q", first)
	}
}

func TestHeaderCopySharesNothing(t *testing.T) {
	value := []byte("value")
	from, to := &Header{}, headerOf("old", "old")
	from.Append([]byte("name"), value)
	to.CopyFrom(from)
	value[0] = 'X'
	from.Set("name", "other")
	if diff := cmp.Diff([]string{"name: value"}, to.strings()); diff != "" {
		t.Error(diff)
	}
}

func TestHeaderAllocatesNothingInSteadyState(t *testing.T) {
	h := &Header{}
	name, value := []byte("X-One"), []byte("2")
	use := func() {
		h.Reset()
		h.Append(name, value)
		h.Set("x-one", "value of some length")
		h.SetBytes("x-two", value)
		h.Add("x-three", "3")
		if h.Get("X-Three") == nil || h.Del("x-two") != 1 {
			t.Error("a field is missing")
		}
	}
	use() // it grows once
	if n := testing.AllocsPerRun(100, use); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}

func TestNamesAreTokens(t *testing.T) {
	for name, want := range map[string]bool{
		"Accept": true, "x_y.z~1": true, "!#$%&'*+-.^_`|~": true,
		"": false, "a b": false, "a:": false, "a\n": false, "é": false, "a\x00": false, "(a)": false,
	} {
		if ValidName(name) != want || ValidName([]byte(name)) != want {
			t.Errorf("%q: want %t", name, want)
		}
	}
}

func TestEqualFoldKnowsASCIIOnly(t *testing.T) {
	tests := []struct {
		a, b string
		want bool
	}{
		{"Host", "hOST", true},
		{"", "", true},
		{"a", "b", false},
		{"a", "aa", false},
		{"@", "`", false},
		{"[", "{", false},
		{"\x00", " ", false},
		{"K", "\u212a", false},
		{"1", "\x11", false},
	}
	for _, tt := range tests {
		if EqualFold([]byte(tt.a), tt.b) != tt.want {
			t.Errorf("%q and %q: want %t", tt.a, tt.b, tt.want)
		}
	}
}
