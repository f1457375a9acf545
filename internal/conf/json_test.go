package conf_test

import (
	"encoding/json"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/outrigger-mesh/outrigger/internal/conf"
)

func TestJSONDecodesLikeAFile(t *testing.T) {
	n, err := conf.ParseJSON("body", []byte(`{
 "name": "\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00 ⛵", "ttl": "1m30s", "on": true, "port": 80,
 "limits": {"rate": 1e3, "burst": 3}, "list": [ ], "items": [{"name": "x"}, {"name": "y", "weight": 4}],
 "any": {"a": [1, -2.5, true, null, "x"]}, "ptr": null
}
`))
	if err != nil {
		t.Fatal(err)
	}
	var got document
	if err := n.Decode(&got); err != nil {
		t.Fatal(err)
	}
	want := document{
		Name: "\"\\/\b\f\n\r\té😀 ⛵", TTL: 90 * time.Second, On: true, Port: 80,
		Limits: limits{Rate: 1000, Burst: 3}, List: []string{}, Items: []item{{"x", 1}, {"y", 4}},
		Any: map[string]any{"a": []any{int64(1), -2.5, true, nil, "x"}},
	}
	opts := []cmp.Option{
		cmp.AllowUnexported(fromJSON{}),
		cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
		cmp.Comparer(func(a, b conf.Node) bool { return a == b }),
	}
	if diff := cmp.Diff(want, got, opts...); diff != "" {
		t.Errorf("decoded value (-want +got):\n%s", diff)
	}
}

func TestJSONMistakesHaveTheirPlace(t *testing.T) {
	tests := []struct{ name, in, want string }{
		{"nothing", "", "b:1:1: is not JSON: expected a value, found the end"},
		{"YAML", "name: x", "b:1:1: is not JSON: expected a value, found 'n'"},
		{"a key without quotes", "{\n name: 1}", "b:2:2: is not JSON: expected a key in quotes, found 'n'"},
		{"a comma too many", `{"name": "x",}`, "b:1:14: is not JSON: expected a key in quotes, found '}'"},
		{"no colon", `{"⛵" 1}`, "b:1:6: is not JSON: expected ':', found '1'"},
		{"no comma", `[1 2]`, "b:1:4: is not JSON: expected ',' or ']', found '2'"},
		{"no end", `{"name": "x"`, "b:1:13: is not JSON: expected ',' or '}', found the end"},
		{"a string without end", `"x`, "b:1:3: is not JSON: the string has no end"},
		{"an end of line in a string", "\"x\ny\"", "b:1:3: is not JSON: a control character in a string must be escaped"},
		{"an unknown escape", `"\x41"`, `b:1:2: is not JSON: a backslash must be followed by one of "\/bfnrt or by u and four hexadecimal digits`},
		{"half a surrogate", `"\ud83d!"`, "b:1:2: is not JSON: half of a surrogate pair stands alone"},
		{"no UTF-8", "\"\xff\"", "b:1:2: is not JSON: a string is not UTF-8"},
		{"a leading zero", "007", `b:1:1: is not JSON: "007" is not a number`},
		{"two values", "1 2", "b:1:3: is not JSON: something follows the end of the value"},
		{"an unknown key", `{"nmae": 1}`, `b:1:2: unknown key "nmae", did you mean "name"?`},
		{"a key twice", "{\"name\": \"a\",\n\"name\": \"b\"}", `b:2:1: duplicate key "name", first given at line 1`},
		{"a wrong type", `{"items": [{"name": 7}]}`, `b:1:21: items[0].name: expected a string, found the number 7: quote it, as in "7"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n, err := conf.ParseJSON("b", []byte(tt.in))
			if err == nil {
				err = n.Decode(&document{})
			}
			if err == nil {
				t.Fatal("it is accepted")
			}
			if diff := cmp.Diff(tt.want, err.Error()); diff != "" {
				t.Errorf("message (-want +got):\n%s", diff)
			}
		})
	}
}

// The standard library is the oracle: nothing is taken that it refuses, and
// what is taken means the same.
func FuzzParseJSON(f *testing.F) {
	for _, s := range []string{
		`{"a": [1, 2.5e-3, true, null, "\u00e9\ud83d\ude00"], "b": {}}`, `[]`, `"\ud800"`, "\"\xff\"", `{"a":1,"a":2}`, `-0`, `1e400`, "",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		n, err := conf.ParseJSON("f", data)
		if err != nil {
			return
		}
		if !json.Valid(data) {
			t.Fatalf("%q is taken and is not JSON", data)
		}
		var want any
		if err := json.Unmarshal(data, &want); err != nil {
			return // a number beyond float64
		}
		again, err := json.Marshal(n)
		if err != nil {
			return // likewise
		}
		if n.Decode(new(any)) != nil {
			return // a key is given twice
		}
		var got any
		if err := json.Unmarshal(again, &got); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("value (-want +got):\n%s", diff)
		}
	})
}
