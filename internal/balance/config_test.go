package balance

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/outrigger-mesh/outrigger/internal/conf"
)

func decode(t *testing.T, text string) (Config, error) {
	t.Helper()
	n, err := conf.Parse("sidecar.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	c := Defaults()
	err = n.Decode(&c)
	return c, err
}

func TestEveryKeyIsRead(t *testing.T) {
	got, err := decode(t, `
policy: consistent_hash
leastRequest: {choices: 3, activeRequestBias: 1.5}
peakEwma: {decay: 5s}
hash: {keys: [{header: x-user}, {cookie: session}, {source: true}], tableSize: 251}
goMicro: {strategy: mine, filters: [a, b]}
slowStart: {window: 0s, aggression: 2, minWeightPercent: 5}
panicThreshold: 0
overprovisioning: 200
locality: prefer
`)
	if err != nil {
		t.Fatal(err)
	}
	want := Config{
		Policy: PolicyConsistentHash, LeastRequest: LeastRequest{3, 1.5}, PeakEWMA: PeakEWMA{5e9},
		Hash:      Hash{Keys: []HashKey{{Header: "x-user"}, {Cookie: "session"}, {Source: true}}, TableSize: 251},
		GoMicro:   GoMicro{"mine", []string{"a", "b"}},
		SlowStart: SlowStart{0, 2, 5}, Overprovisioning: 200, Locality: LocalityPrefer,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("decoded (-want +got):\n%s", diff)
	}
	if got, err := decode(t, "{}"); err != nil || got.Policy != PolicyRoundRobin {
		t.Errorf("the defaults: %+v, %v", got, err)
	}
	var set Config
	set.SetDefaults()
	if diff := cmp.Diff(Defaults(), set); diff != "" {
		t.Errorf("SetDefaults (-want +got):\n%s", diff)
	}
}

func TestBadConfigurationIsRefusedAtItsPlace(t *testing.T) {
	tests := []struct{ in, want string }{
		{"policy: fastest", `sidecar.yaml:1:9: policy: expected one of round_robin, random, least_request, peak_ewma, consistent_hash, go_micro, found "fastest"`},
		{"leastRequest: {choices: 1}", "leastRequest.choices: expected 2 to 16, found 1"},
		{"leastRequest: {activeRequestBias: -1}", "leastRequest.activeRequestBias: expected 0 to 10, found -1"},
		{"peakEwma: {decay: 1ms}", "peakEwma.decay: expected 100ms to 1m0s, found 1ms"},
		{"policy: consistent_hash", "hash.keys: policy consistent_hash needs at least one key"},
		{"hash: {tableSize: 65536}", "hash.tableSize: expected a prime, found 65536: otherwise some endpoints would never find their places; the next one is 65537"},
		{"hash: {tableSize: 7}", "hash.tableSize: expected 251 to 655373, found 7"},
		{"hash: {keys: [{}]}", "hash.keys[0]: expected one of header: NAME, cookie: NAME and source: true"},
		{"hash: {keys: [{header: a, cookie: b}]}", "hash.keys[0]: expected one of"},
		{"hash: {keys: [{header: 'a b'}]}", `hash.keys[0].header: "a b" is not the name of a header field`},
		{"hash: {keys: [{cookie: 'a;b'}]}", `hash.keys[0].cookie: "a;b" is not the name of a cookie`},
		{"hash: {keys: [{source: true}, {source: true}]}", "hash.keys[1]: stands in the list twice"},
		{"hash: {keys: [{header: a}, {header: b}, {header: c}, {header: d}, {header: e}, {header: f}, {header: g}, {header: h}, {header: i}]}", "hash.keys: expected 8 at most, found 9"},
		{"policy: go_micro\ngoMicro: {strategy: ''}", "goMicro.strategy: policy go_micro needs the name of a strategy"},
		{"slowStart: {window: 2h}", "slowStart.window: expected 1h0m0s at most, found 2h0m0s"},
		{"policy: go_micro\nslowStart: {window: 2s}", "slowStart.window: policy go_micro has no slow start"},
		{"slowStart: {aggression: 0}", "slowStart.aggression: expected more than 0 and at most 100, found 0"},
		{"slowStart: {minWeightPercent: 0}", "slowStart.minWeightPercent: expected 1 to 100, found 0"},
		{"panicThreshold: 101", "panicThreshold: expected 0 to 100, found 101"},
		{"overprovisioning: 1", "overprovisioning: expected 100 to 10000, found 1"},
		{"locality: near", `locality: expected ignore or prefer, found "near"`},
		{"polciy: random", `unknown key "polciy", did you mean "policy"?`},
	}
	for _, tt := range tests {
		t.Run(tt.in, func(t *testing.T) {
			_, err := decode(t, tt.in)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v\nwant %s", err, tt.want)
			}
		})
	}
}

func TestNewRefusesWhatValidateDoes(t *testing.T) {
	if _, err := New(Config{}, healthy(1), Options{}); err == nil || !strings.Contains(err.Error(), "policy: ") {
		t.Errorf("the zero Config: got %v", err)
	}
	for _, p := range []Policy{PolicyLeastRequest, PolicyPeakEWMA} {
		list := healthy(1)
		list[0].Stats = nil
		if _, err := New(with(p), list, Options{}); err == nil || !strings.Contains(err.Error(), "e0000 has no Stats") {
			t.Errorf("%s without Stats: got %v", p, err)
		}
	}
}
