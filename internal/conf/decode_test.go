package conf_test

import (
	"encoding/json"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/outrigger-mesh/outrigger/internal/conf"
)

type limits struct {
	Rate  float64       `yaml:"rate"`
	Burst uint8         `yaml:"burst"`
	Wait  time.Duration `yaml:"wait"`
}

type base struct {
	ID string `json:"id"`
}

type document struct {
	Base    base `json:",inline"`
	Name    string
	TTL     time.Duration
	On      bool
	Port    uint16
	Offset  int8
	Size    conf.Size
	IP      netip.Addr
	Limits  limits
	Ptr     *limits
	List    []string
	Items   []item
	Map     map[string]limits
	Numbers map[int]string
	Raw     conf.Node
	Any     any
	JSON    fromJSON
	Skipped string `yaml:"-"`
}

type item struct {
	Name   string
	Weight int
}

func (i *item) SetDefaults() { i.Weight = 1 }

type fromJSON struct{ text string }

func (f *fromJSON) UnmarshalJSON(data []byte) error {
	f.text = string(data)
	return nil
}

func parse(t *testing.T, text string) conf.Node {
	t.Helper()
	n, err := conf.Parse("f.yaml", []byte(text))
	if err != nil {
		t.Fatalf("Parse: %v", err)
	}
	return n
}

func TestDecodeLaysTheFileOverTheDefaults(t *testing.T) {
	shared := &limits{Rate: 7, Burst: 7}
	got := document{
		Name: "default", Port: 80, On: true,
		Limits: limits{Rate: 5, Burst: 3},
		Ptr:    shared,
		List:   []string{"replaced"},
		Map:    map[string]limits{"kept": {Burst: 1}, "both": {Burst: 2, Rate: 2}},
	}
	defaults := got.Map
	err := parse(t, `
id: "7"
name: ~
ttl: 1m30s
offset: -5
size: 64KiB
ip: 10.0.0.1
limits: {rate: 1e3}
ptr: {burst: 9}
list: [a, 'b']
items:
  - name: x
  - {name: y, weight: 4}
map:
  both: {rate: 8}
  new: {burst: 4, wait: 0}
numbers: {1: one}
any: {a: [1, 2.5, true, null, x]}
json: {k: [1, "2"]}
`).Decode(&got)
	if err != nil {
		t.Fatalf("Decode: %v", err)
	}
	want := document{
		Base: base{ID: "7"}, Name: "default", TTL: 90 * time.Second, On: true, Port: 80, Offset: -5, Size: 64 << 10,
		IP:     netip.MustParseAddr("10.0.0.1"),
		Limits: limits{Rate: 1000, Burst: 3},
		Ptr:    &limits{Rate: 7, Burst: 9},
		List:   []string{"a", "b"},
		Items:  []item{{"x", 1}, {"y", 4}},
		Map: map[string]limits{
			"kept": {Burst: 1}, "both": {Burst: 2, Rate: 8}, "new": {Burst: 4},
		},
		Numbers: map[int]string{1: "one"},
		Any:     map[string]any{"a": []any{int64(1), 2.5, true, nil, "x"}},
		JSON:    fromJSON{`{"k":[1,"2"]}`},
	}
	opts := []cmp.Option{
		cmp.AllowUnexported(fromJSON{}),
		cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
		cmp.Comparer(func(a, b conf.Node) bool { return a == b }),
	}
	if diff := cmp.Diff(want, got, opts...); diff != "" {
		t.Errorf("decoded value (-want +got):\n%s", diff)
	}
	if shared.Burst != 7 || len(defaults) != 2 {
		t.Errorf("defaults that others may hold were changed: %+v, %+v", shared, defaults)
	}
}

func TestDecodeRefuses(t *testing.T) {
	tests := []struct {
		name, in string
		want     string
	}{
		{"unknown key with a near one", "nmae: x", `f.yaml:1:1: unknown key "nmae", did you mean "name"?`},
		{"unknown key in another case", "TTL: 5s", `f.yaml:1:1: unknown key "TTL", did you mean "ttl"?`},
		{"unknown key with none near", "limits: {frequency: 5}", `f.yaml:1:10: limits: unknown key "frequency", known are burst, rate, wait`},
		{"duplicate key", "name: a\nttl: 5s\nname: b", `f.yaml:3:1: duplicate key "name", first given at line 1`},
		{"duplicate key in a captured node", "raw:\n  a: 1\n  a: 2", `f.yaml:3:3: raw: duplicate key "a", first given at line 2`},
		{"number where text is wanted", "name: 1.10", `f.yaml:1:7: name: expected a string, found the number 1.10: quote it, as in "1.10"`},
		{"text where a number is wanted", "port: http", `f.yaml:1:7: port: expected an integer, found the string "http"`},
		{"integer out of range", "port: 65536", `f.yaml:1:7: port: expected an integer from 0 to 65535, found the number 65536`},
		{"integer beyond all ranges", "port: 99999999999999999999999", `f.yaml:1:7: port: expected an integer from 0 to 65535, found the number 99999999999999999999999`},
		{"negative below range", "offset: -129", `f.yaml:1:9: offset: expected an integer from -128 to 127, found the number -129`},
		{"fraction for an integer", "port: 8.5", `f.yaml:1:7: port: expected an integer, found the number 8.5`},
		{"leading zero", "port: 0123", `f.yaml:1:7: port: the number 0123 has a leading zero, which some read as octal: leave it out, or quote it if text is meant`},
		{"yes is no boolean", "on: yes", `f.yaml:1:5: on: expected true or false, found the string "yes"`},
		{"True is no boolean", "on: True", `f.yaml:1:5: on: expected true or false, found the boolean True`},
		{"quoted boolean", `on: "true"`, `f.yaml:1:5: on: expected true or false, found the string "true"`},
		{"duration without a unit", "ttl: 15", `f.yaml:1:6: ttl: expected a duration, found the number 15 without a unit: write it as in 15s or 15ms`},
		{"negative duration", "ttl: -1s", `f.yaml:1:6: ttl: expected a duration that is not negative, found the string "-1s"`},
		{"duration of nonsense", "ttl: soon", `f.yaml:1:6: ttl: expected a duration such as 800ms, 5s or 1m30s, found the string "soon"`},
		{"size of nonsense", "size: 64XB", `f.yaml:1:7: size: expected a size such as 512, 64KiB or 1MB, found "64XB"`},
		{"text unmarshaler's own error", "ip: 10.0.0", `f.yaml:1:5: ip: ParseAddr("10.0.0"): IPv4 address too short`},
		{"infinity", "limits:\n  rate: .inf", `f.yaml:2:9: limits.rate: expected a finite number, found the number .inf`},
		{"list for a map", "limits: [1]", `f.yaml:1:9: limits: expected a map, found a list`},
		{"map for a list", "list: {a: b}", `f.yaml:1:7: list: expected a list, found a map`},
		{"scalar for a list", "list: a", `f.yaml:1:7: list: expected a list, found the string "a"`},
		{"empty item", "list:\n  - a\n  -", `f.yaml:3:4: list[1]: an item of a list must not be empty`},
		{"wrong item", "items:\n  - name: a\n  - name: [b]", `f.yaml:3:11: items[1].name: expected a string, found a list`},
		{"wrong value under a key with a dot", "map: {a.b: {burst: 256}}", `f.yaml:1:20: map["a.b"].burst: expected an integer from 0 to 255, found the number 256`},
		{"key of the wrong type", "numbers: {one: x}", `f.yaml:1:11: numbers.one: expected an integer, found the string "one"`},
		{"document of the wrong kind", "- a", "f.yaml:1:1: expected a map, found a list"},
		{"field that is kept out", "skipped: x", `f.yaml:1:1: unknown key "skipped", known are any, id, ip, items, json, limits, list, map, name, numbers, offset, on, port, ptr, raw, size, ttl`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := parse(t, tt.in).Decode(&document{})
			if err == nil {
				t.Fatal("Decode accepted it")
			}
			if diff := cmp.Diff(tt.want, err.Error()); diff != "" {
				t.Errorf("message (-want +got):\n%s", diff)
			}
		})
	}
}

func TestDecodeReportsEveryMistakeInTheOrderOfTheFile(t *testing.T) {
	err := parse(t, "ttl: x\nport: -1\nfoo: 1\nlimits:\n  burst: 300\n  rate: a\nname: 1\n").Decode(&document{})
	var all conf.Errors
	if !errors.As(err, &all) || len(all) != 6 {
		t.Fatalf("got %d errors, want 6:\n%v", len(all), err)
	}
	for i, line := range []int{1, 2, 3, 5, 6, 7} {
		if all[i].Pos.Line != line {
			t.Errorf("error %d is at line %d, want %d: %v", i, all[i].Pos.Line, line, all[i])
		}
	}
	var one *conf.Error
	if !errors.As(err, &one) || one.Pos.File != "f.yaml" {
		t.Errorf("errors.As finds %v, want the first error", one)
	}
}

func TestDecodeNeedsAPointer(t *testing.T) {
	if err := parse(t, "a: 1").Decode(document{}); err == nil || !strings.Contains(err.Error(), "needs a pointer") {
		t.Errorf("Decode into a value: %v", err)
	}
}

func TestEmptyDocumentKeepsTheDefaults(t *testing.T) {
	for _, text := range []string{"", "# nothing\n", "---\n", "~"} {
		got := limits{Burst: 3}
		if err := parse(t, text).Decode(&got); err != nil || got.Burst != 3 {
			t.Errorf("Decode of %q: %+v, %v", text, got, err)
		}
	}
	got := limits{Burst: 3}
	if err := (conf.Node{}).Decode(&got); err != nil || got.Burst != 3 {
		t.Errorf("Decode of an absent node: %+v, %v", got, err)
	}
}

func TestCapturedNodeIsDecodedLaterWithItsPlace(t *testing.T) {
	var outer struct{ Raw conf.Node }
	if err := parse(t, "raw:\n  rate: 1\n  burst: 300\n").Decode(&outer); err != nil {
		t.Fatal(err)
	}
	err := outer.Raw.Decode(&limits{})
	if want := "f.yaml:3:10: raw.burst: expected an integer from 0 to 255, found the number 300"; err == nil || err.Error() != want {
		t.Errorf("got %v\nwant %s", err, want)
	}
	data, err := json.Marshal(outer.Raw)
	if want := `{"burst":300,"rate":1}`; err != nil || string(data) != want {
		t.Errorf("as JSON: %s, %v, want %s", data, err, want)
	}
}

type special struct{ got string }

func (s *special) UnmarshalConf(n conf.Node) error {
	s.got = n.Kind().String() + " " + n.Text()
	if n.Kind() == conf.Map {
		return errors.Join(n.Field("a").Errorf("a is bad"), conf.FieldError("b.c", "c is bad"), errors.New("all is bad"))
	}
	return nil
}

func TestUnmarshalerReadsItsNodeAndPlacesItsErrors(t *testing.T) {
	var v struct{ X special }
	if err := parse(t, "x: 1.50").Decode(&v); err != nil || v.X.got != "a number 1.50" {
		t.Errorf("got %q, %v", v.X.got, err)
	}
	err := parse(t, "x:\n  a: 1\n  b: {c: 2}").Decode(&v)
	want := "f.yaml:2:3: x: all is bad\nf.yaml:2:6: a is bad\nf.yaml:3:10: x.b.c: c is bad"
	if err == nil || err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
}

func TestKeysListsWhatAStructTakes(t *testing.T) {
	if diff := cmp.Diff([]string{"burst", "rate", "wait"}, conf.Keys[limits]()); diff != "" {
		t.Error(diff)
	}
}
