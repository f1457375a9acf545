package conf_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/outrigger-mesh/outrigger/internal/conf"
)

func parseAs(t *testing.T, file, text string) conf.Node {
	t.Helper()
	n, err := conf.Parse(file, []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestMergeLaysOneNodeOverAnother(t *testing.T) {
	tests := map[string]struct {
		base, over string
		want       any
	}{
		"maps merge by key":          {"{a: 1, b: 2}", "{b: 3, c: 4}", map[string]any{"a": int64(1), "b": int64(3), "c": int64(4)}},
		"and so do maps inside":      {"{a: {x: 1, y: 2}}", "{a: {y: 3}}", map[string]any{"a": map[string]any{"x": int64(1), "y": int64(3)}}},
		"lists replace":              {"{a: [1, 2]}", "{a: [3]}", map[string]any{"a": []any{int64(3)}}},
		"an empty list replaces":     {"{a: [1, 2]}", "{a: []}", map[string]any{"a": []any{}}},
		"a scalar replaces a map":    {"{a: {x: 1}}", "{a: b}", map[string]any{"a": "b"}},
		"a map replaces a scalar":    {"{a: b}", "{a: {x: 1}}", map[string]any{"a": map[string]any{"x": int64(1)}}},
		"null changes nothing":       {"{a: 1}", "{a: null}", map[string]any{"a": int64(1)}},
		"a new null stays":           {"{a: 1}", "{b: null}", map[string]any{"a": int64(1), "b": nil}},
		"null as a whole":            {"{a: 1}", "null", map[string]any{"a": int64(1)}},
		"over null":                  {"null", "{a: 1}", map[string]any{"a": int64(1)}},
		"a map inside replaces null": {"{a: null}", "{a: {x: 1}}", map[string]any{"a": map[string]any{"x": int64(1)}}},
		"scalars":                    {"1", "2", int64(2)},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			base, over := parseAs(t, "base.yaml", tt.base), parseAs(t, "over.yaml", tt.over)
			if diff := cmp.Diff(tt.want, conf.Merge(base, over).Value()); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(parseAs(t, "base.yaml", tt.base).Value(), base.Value()); diff != "" {
				t.Errorf("the base was changed: %s", diff)
			}
		})
	}
}

func TestMergeWithNothingIsTheOther(t *testing.T) {
	n := parseAs(t, "f.yaml", "{a: 1}")
	for name, got := range map[string]conf.Node{"over nothing": conf.Merge(conf.Node{}, n), "nothing over": conf.Merge(n, conf.Node{})} {
		if got != n {
			t.Errorf("%s: got %v", name, got.Value())
		}
	}
	if got := conf.Merge(conf.Node{}, conf.Node{}); !got.IsZero() {
		t.Errorf("got %v", got.Value())
	}
}

func TestMergedValuesKeepTheirPlaces(t *testing.T) {
	base := parseAs(t, "base.yaml", "a: 1\nb: {x: 1, y: 2}\nc: 3\n")
	over := parseAs(t, "over.yaml", "\nb: {y: 5}\nd: 6\n")
	var keys []string
	for _, f := range conf.Merge(base, over).Fields() {
		keys = append(keys, f.Key+" "+f.KeyPos.String())
	}
	if diff := cmp.Diff([]string{"a base.yaml:1:1", "b over.yaml:2:1", "c base.yaml:3:1", "d over.yaml:3:1"}, keys); diff != "" {
		t.Error(diff)
	}
	merged := conf.Merge(base, over)
	for path, want := range map[string]string{"": "over.yaml:2:1", "a": "base.yaml:1:4", "b.x": "base.yaml:2:8", "b.y": "over.yaml:2:8", "d": "over.yaml:3:4"} {
		if got := merged.At(path).Pos().String(); got != want {
			t.Errorf("%q stands at %s, want %s", path, got, want)
		}
	}
}

func TestMistakesOfMergedValuesAreReportedWhereTheyWereWritten(t *testing.T) {
	base := parseAs(t, "base.yaml", "a: x\na: 2\nb: {x: y}\n")
	over := parseAs(t, "over.yaml", "b: {y: z}\nc: 1\nc: 2\nextra: 3\n")
	var v struct {
		A, C int
		B    struct{ X, Y int }
	}
	err := conf.Merge(base, over).Decode(&v)
	want := `base.yaml:1:4: a: expected an integer, found the string "x"
base.yaml:2:1: duplicate key "a", first given at line 1
base.yaml:3:8: b.x: expected an integer, found the string "y"
over.yaml:1:8: b.y: expected an integer, found the string "z"
over.yaml:3:1: duplicate key "c", first given at line 2
over.yaml:4:1: unknown key "extra", known are a, b, c`
	if err == nil {
		t.Fatal("was taken")
	}
	if diff := cmp.Diff(want, err.Error()); diff != "" {
		t.Error(diff)
	}
}
