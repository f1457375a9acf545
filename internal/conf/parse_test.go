package conf_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/outrigger-mesh/outrigger/internal/conf"
)

func TestParseRefusesWithItsPlace(t *testing.T) {
	tests := []struct{ name, in, want string }{
		{"wrong indent", "a:\n  - 1\n - 2\n", "f.yaml:3:2: value is not allowed in this context"},
		{"a tab as indent", "a:\n\tb: 1\n", "f.yaml:2:1: a tab cannot be used for indentation: use spaces"},
		{"an open list", "a: [1, 2\n", "f.yaml:1:4: sequence end token ']' not found"},
		{"an open quote", "a: 'x\n", "f.yaml:1:4: could not find end character of single-quoted text"},
		{"two keys on a line", "a: b: c\n", "f.yaml:1:4: mapping value is not allowed in this context"},
		{"a tag", "a: !!str 1\n", "f.yaml:1:4: YAML tags such as !!str are not supported"},
		{"several tags", "a: !x 1\nb: !y 2\n", "f.yaml:1:4: YAML tags such as !x are not supported\nf.yaml:2:4: YAML tags such as !y are not supported"},
		{"a directive", "%YAML 1.2\n---\na: 1\n", "f.yaml:1:1: YAML directives are not supported"},
		{"an alias without an anchor", "a: *x\n", "f.yaml:1:4: the alias *x has no anchor &x before it"},
		{"an alias inside of its anchor", "a: &x [*x]\n", "f.yaml:1:8: the alias *x has no anchor &x before it"},
		{"a merge key with a scalar", "<<: 1\n", "f.yaml:1:5: the merge key << takes a map or a list of maps, not an integer"},
		{"a second document", "a: 1\n---\nb: 2\n", "f.yaml:3:1: a second document begins here; this file takes one"},
		{"a control character", "a: é\x00\n", "f.yaml:1:5: holds the control character 0x00"},
		{"Latin-1", "a: 1\nb: \xe9\n", "f.yaml:2:4: is not UTF-8 text"},
		{"too large", strings.Repeat("#", conf.MaxSize+1), "f.yaml: is larger than 8MiB"},
		{"deep lists on one line", strings.Repeat("[", 1000), "f.yaml:1:101: is nested more than 100 deep"},
		{"deep block lists on one line", strings.Repeat("- ", 1000), "f.yaml:1:1001: is indented by more than 1000 columns"},
		{"deep anchors", "a: " + strings.Repeat("&a ", 1000), "f.yaml:1:304: is nested more than 100 deep"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := conf.Parse("f.yaml", []byte(tt.in))
			var all conf.Errors
			if !errors.As(err, &all) {
				t.Fatalf("got %v, want conf.Errors", err)
			}
			if diff := cmp.Diff(tt.want, err.Error()); diff != "" {
				t.Errorf("message (-want +got):\n%s", diff)
			}
		})
	}
}

func TestAliasBombsAreRefused(t *testing.T) {
	lines := []string{"a0: &a0 [x, x, x, x, x, x, x, x, x, x]"}
	for i := range 9 {
		tenfold := strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d, ", i), 10), ", ")
		lines = append(lines, fmt.Sprintf("a%d: &a%d [%s]", i+1, i+1, tenfold))
	}
	_, err := conf.Parse("f.yaml", []byte(strings.Join(lines, "\n")))
	if err == nil || !strings.Contains(err.Error(), "more than 1048576 values, aliases expanded") {
		t.Errorf("a bomb of 10^10 values: %v", err)
	}
	lines = []string{"a0: &a0 [x]"}
	for i := range 200 {
		lines = append(lines, fmt.Sprintf("a%d: &a%d {k: {k: *a%d}}", i+1, i+1, i))
	}
	_, err = conf.Parse("f.yaml", []byte(strings.Join(lines, "\n")))
	if err == nil || !strings.Contains(err.Error(), "nested more than 100 deep") {
		t.Errorf("aliases 400 deep: %v", err)
	}
}

func TestKeysOfABlockMapAreBounded(t *testing.T) {
	block := func(maps, keys int, head, indent string) []byte {
		var b strings.Builder
		for range maps {
			b.WriteString(head)
			for i := range keys {
				fmt.Fprintf(&b, "%sk%d: v\n", indent, i)
			}
		}
		return []byte(b.String())
	}
	for name, data := range map[string][]byte{
		"one map":             block(1, 5000, "", ""),
		"maps of a list":      block(3, 5000, "-\n", "  "),
		"maps of documents":   block(3, 5000, "---\n", ""),
		"maps below one each": append(block(1, 5000, "a:\n", "  "), block(1, 5000, "b:\n", "    ")...),
	} {
		if _, err := conf.ParseAll("f.yaml", data); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, err := conf.Parse("f.yaml", block(1, conf.MaxKeys+1, "a:\n", "  "))
	if want := "f.yaml:10002:9: is in a map of more than 10000 keys"; err == nil || err.Error() != want {
		t.Errorf("too many keys: %v, want %s", err, want)
	}
}

func TestPlainScalarsMayHoldColons(t *testing.T) {
	tests := []struct{ name, in, want string }{
		{"in a list of a map", `{a: [127.0.0.1:80, b:9, "c":9]}`, `{"a":["127.0.0.1:80","b:9",{"c":9}]}`},
		{"in a list", `[127.0.0.1:80, "x:1"]`, `["127.0.0.1:80","x:1"]`},
		{"several colons", `{a: [x:9:10, http://h:80/p?q=1]}`, `{"a":["x:9:10","http://h:80/p?q=1"]}`},
		{"JSON without spaces", `{"a":{"b":[1,{"c":"d"}]}}`, `{"a":{"b":[1,{"c":"d"}]}}`},
		{"a colon and a space separate", `{a: [b: 9]}`, `{"a":[{"b":9}]}`},
		{"a key of a map", `{b:9}`, `{"b:9":null}`},
		{"over lines", "{a: [\n  10.0.0.1:80,\n  10.0.0.2:80]}", `{"a":["10.0.0.1:80","10.0.0.2:80"]}`},
		{"in blocks", "a: 127.0.0.1:80\nb:\n- x:1\n- y: 1\n", `{"a":"127.0.0.1:80","b":["x:1",{"y":1}]}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			data, err := parse(t, tt.in).MarshalJSON()
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, string(data)); diff != "" {
				t.Errorf("value (-want +got):\n%s", diff)
			}
		})
	}
}

func TestScalarsAreOfTheCoreSchema(t *testing.T) {
	kinds := map[conf.Kind][]string{
		conf.Null:   {"~", "null", "NULL"},
		conf.Bool:   {"true", "False"},
		conf.Int:    {"0", "-12", "+3", "0x1F", "0o17", "0123", "99999999999999999999999"},
		conf.Float:  {"1.5", ".5", "5.", "1e3", "-1.5E-3", ".inf", "-.Inf", ".nan"},
		conf.String: {"yes", "off", "1_000", "0b1", "12:30", "2020-01-01", "1.2.3", "0x", "e3", ".", "+-1", "1e", `"1"`, "'true'", `""`},
	}
	for kind, texts := range kinds {
		for _, text := range texts {
			if got := parse(t, "a: "+text).Field("a").Kind(); got != kind {
				t.Errorf("%s is %v, want %v", text, got, kind)
			}
		}
	}
}

func TestAnchorsAndMergeKeysAreFollowed(t *testing.T) {
	n := parse(t, `
base: &base {rate: 1, burst: 2}
wide: &wide {wait: 5s, burst: 9}
one: *base
two:
  <<: *base
  rate: 8
three: {<<: [*base, *wide]}
`)
	want := map[string]any{
		"base":  map[string]any{"rate": int64(1), "burst": int64(2)},
		"wide":  map[string]any{"wait": "5s", "burst": int64(9)},
		"one":   map[string]any{"rate": int64(1), "burst": int64(2)},
		"two":   map[string]any{"rate": int64(8), "burst": int64(2)},
		"three": map[string]any{"rate": int64(1), "burst": int64(2), "wait": "5s"},
	}
	if diff := cmp.Diff(want, n.Value()); diff != "" {
		t.Errorf("value (-want +got):\n%s", diff)
	}
	if got := n.At("two.burst").Pos().String(); got != "f.yaml:2:30" {
		t.Errorf("a merged value is at %s, want where it is written", got)
	}
}

func TestAtFindsTheDeepestNodeOfAPath(t *testing.T) {
	n := parse(t, "a:\n  b:\n    - c: 1\n    - c: 2\n  x.y: {z: 3}\n")
	for path, want := range map[string]string{
		"":             "f.yaml:1:1",
		"a.b[1].c":     "f.yaml:4:10",
		"a.b[1].d.e":   "f.yaml:4:7",
		"a.b[7]":       "f.yaml:3:5",
		"a.b[x]":       "f.yaml:3:5",
		`a["x.y"].z`:   "f.yaml:5:12",
		`a["x.y"`:      "f.yaml:2:3",
		`a["nothing"]`: "f.yaml:2:3",
	} {
		if got := n.At(path).Pos().String(); got != want {
			t.Errorf("At(%s) is at %s, want %s", path, got, want)
		}
	}
	if got := n.At(`a["x.y"].z`).Path(); got != `a["x.y"].z` {
		t.Errorf("Path() = %s", got)
	}
}

func TestParseAllReadsEveryDocument(t *testing.T) {
	docs, err := conf.ParseAll("f.yaml", []byte("# head\n---\na: 1\n---\n---\nb: 2\n...\n"))
	if err != nil || len(docs) != 2 {
		t.Fatalf("got %d documents, %v, want 2", len(docs), err)
	}
	if got := docs[1].Field("b").Pos().String(); got != "f.yaml:6:4" {
		t.Errorf("b is at %s", got)
	}
}

func TestLinesOfAnySystemAreRead(t *testing.T) {
	for _, text := range []string{"a: 1\r\nb: x\r\n", "\ufeffa: 1\nb: x\n", "a: 1\rb: x\r"} {
		n := parse(t, text)
		if got := n.Field("b").Pos().String(); got != "f.yaml:2:4" || n.Field("b").Text() != "x" || n.Field("a").IsZero() {
			t.Errorf("%q: b is %q at %s", text, n.Field("b").Text(), got)
		}
	}
}

func TestFieldsAndItemsKeepTheirOrder(t *testing.T) {
	n := parse(t, "z: 1\na: [x, y]\n3: true\n")
	var keys []string
	for _, f := range n.Fields() {
		keys = append(keys, f.Key+"@"+f.KeyPos.String()+"="+f.Value.Kind().String())
	}
	want := []string{"z@f.yaml:1:1=an integer", "a@f.yaml:2:1=a list", "3@f.yaml:3:1=a boolean"}
	if diff := cmp.Diff(want, keys); diff != "" {
		t.Errorf("fields (-want +got):\n%s", diff)
	}
	if items := n.Field("a").Items(); len(items) != 2 || items[1].Text() != "y" {
		t.Errorf("items are %v", items)
	}
	if n.Items() != nil || n.Field("z").Fields() != nil || !n.Field("nothing").IsZero() {
		t.Error("a map has items, or a scalar fields, or what is absent is not zero")
	}
}

func TestLoadNamesTheFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a b.yaml")
	if err := os.WriteFile(path, []byte("a: [\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := conf.Load(path); err == nil || !strings.HasPrefix(err.Error(), path+":1:4: ") {
		t.Errorf("Load of a bad file: %v", err)
	}
	if _, err := conf.Load(filepath.Join(dir, "missing.yaml")); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "missing.yaml") {
		t.Errorf("Load of a missing file: %v", err)
	}
	if _, err := conf.LoadAll(dir); err == nil || !strings.Contains(err.Error(), dir) {
		t.Errorf("LoadAll of a folder: %v", err)
	}
}
