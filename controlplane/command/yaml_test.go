package command

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/outrigger-mesh/outrigger/internal/conf"
)

func TestYAMLIsForPeople(t *testing.T) {
	var out bytes.Buffer
	err := toYAML(&out, []byte(`{"kind":"Host","spec":{"labels":{"on":"yes","a b":"x: y"},"addresses":["10.0.0.1"],"none":[],"empty":{},
		"nested":[[1,[2.5]],{"a":{"b":1},"c":null},{},[]],"weight":3,"ok":true,"text":"two\nlines","zone":"bj-1"}}`))
	if err != nil {
		t.Fatal(err)
	}
	const want = `kind: Host
spec:
  addresses:
    - "10.0.0.1"
  empty: {}
  labels:
    "a b": "x: y"
    "on": "yes"
  nested:
    -
      - 1
      -
        - 2.5
    - a:
        b: 1
      c: null
    - {}
    - []
  none: []
  ok: true
  text: "two\nlines"
  weight: 3
  zone: bj-1
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("YAML (-want +got):\n%s", diff)
	}
}

// What is written reads back as what it was.
func FuzzYAMLReadsBack(f *testing.F) {
	for _, s := range []string{
		`{"a":[1,"2",true,null,{"b":[]}]}`, `{"k: [":"- x","~":"null","":""}`, `[[["deep"]],{}]`, `{"u":"\u2028\ud83d\ude00\u0085\ufeff"}`, `{"n":"1e3"}`,
		`{"<<":{"a":1}}`, `{"a":"&x"}`, `{"a":"\u0000\u0007"}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		n, err := conf.ParseJSON("f", data)
		if err != nil || n.Kind() != conf.Map || n.Decode(new(any)) != nil {
			return // only objects are printed
		}
		clean, err := json.Marshal(n)
		if err != nil {
			return // a number beyond float64
		}
		var out bytes.Buffer
		if err := toYAML(&out, clean); err != nil {
			t.Fatal(err)
		}
		back, err := conf.Parse("f.yaml", out.Bytes())
		if err != nil {
			t.Fatalf("%s\nis read as %v", out.String(), err)
		}
		again, err := json.Marshal(back)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(clean, again) {
			t.Errorf("%s\nreads back as\n%s\nby way of\n%s", clean, again, out.String())
		}
	})
}
