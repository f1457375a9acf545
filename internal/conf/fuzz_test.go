package conf_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/outrigger-mesh/outrigger/internal/conf"
)

// FuzzParse holds that no input makes the parser or the decoder panic, that
// every place that they give lies in the file, and that what was read twice
// is the same.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		"", "a: 1", "a: &x {b: [1, *x]}\n<<: *x", "{a: [127.0.0.1:80, b: c], \"d\":1}", "a: |\n  x\n y: z", "- - ? a\n  : b",
		"a: !x &y 'z'\n---\n...\n%YAML", "limits: {rate: .inf, burst: 0x1F, wait: 1s}\nmap: {a.b: {}}\nitems: [~, {weight: 1e3}]", "a:\r\n\tb",
		"json: {a: [1, 2.5, null]}\nany: *x\nlist:\n- >-\n  x\n", "? - a\n", "a: \"\\u00e9\\q\"", "[[[{{{", "&a &b &c d",
	} {
		f.Add([]byte(seed))
	}
	seeds, err := filepath.Glob("../../sidecar/internal/config/testdata/*/*.yaml")
	if err != nil {
		f.Fatal(err)
	}
	for _, path := range seeds {
		data, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		docs, err := conf.ParseAll("f", data)
		checkPlaces(t, data, err)
		again, err2 := conf.ParseAll("f", data)
		if (err == nil) != (err2 == nil) || len(docs) != len(again) {
			t.Fatalf("read twice: %v and %v", err, err2)
		}
		for i, n := range docs {
			checkPlaces(t, data, n.Errorf("x"))
			checkPlaces(t, data, n.Decode(&document{}))
			if a, b := marshal(t, n), marshal(t, again[i]); a != b {
				t.Fatalf("read twice: %s and %s", a, b)
			}
		}
	})
}

func marshal(t *testing.T, n conf.Node) string {
	t.Helper()
	data, err := n.MarshalJSON()
	if err != nil {
		t.Fatalf("as JSON: %v", err)
	}
	return string(data)
}

// checkPlaces fails if err has a mistake that is not in the file.
func checkPlaces(t *testing.T, data []byte, err error) {
	t.Helper()
	if err == nil {
		return
	}
	var all conf.Errors
	if !errors.As(conf.Join(err), &all) {
		t.Fatalf("%T is not conf.Errors: %v", err, err)
	}
	text := strings.ReplaceAll(strings.TrimPrefix(string(data), "\ufeff"), "\r\n", "\n")
	lines := strings.Split(strings.ReplaceAll(text, "\r", "\n"), "\n")
	for _, e := range all {
		if e.Pos.File != "f" || e.Pos.Line < 1 || e.Pos.Line > len(lines) {
			t.Fatalf("%v is not in a file of %d lines", e, len(lines))
		}
		if line := lines[e.Pos.Line-1]; utf8.ValidString(line) && (e.Pos.Col < 1 || e.Pos.Col > utf8.RuneCountInString(line)+1) {
			t.Fatalf("%v is not in the line %q", e, line)
		}
		if e.Msg == "" {
			t.Fatalf("%v says nothing", e)
		}
	}
}

func BenchmarkLoad(b *testing.B) {
	data, err := os.ReadFile("../../sidecar/internal/config/testdata/good/orders.yaml")
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		if _, err := conf.Parse("f", data); err != nil {
			b.Fatal(err)
		}
	}
}
