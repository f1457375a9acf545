package conf_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/outrigger-mesh/outrigger/internal/conf"
)

func TestPlainHasTheKeysAndFormsOfTheFile(t *testing.T) {
	v := document{
		Base: base{ID: "7"}, TTL: 90 * time.Second, Size: 64 << 10, IP: netip.MustParseAddr("::1"),
		Ptr: &limits{Burst: 1}, Items: []item{{Name: "x"}}, Map: map[string]limits{"a": {}}, Skipped: "x",
		Raw: parse(t, "b: [1]"),
	}
	want := map[string]any{
		"id": "7", "ttl": "1m30s", "size": "64KiB", "ip": "::1",
		"ptr": map[string]any{"burst": uint8(1)}, "items": []any{map[string]any{"name": "x"}},
		"map": map[string]any{"a": map[string]any{}}, "raw": map[string]any{"b": []any{int64(1)}},
	}
	if diff := cmp.Diff(want, conf.Plain(v)); diff != "" {
		t.Errorf("plain form (-want +got):\n%s", diff)
	}
}

func TestSizeReadsAndWritesItsUnits(t *testing.T) {
	tests := []struct {
		in, out string
		want    conf.Size
	}{
		{"0", "0B", 0},
		{"512", "512B", 512},
		{"1MB", "1000000B", 1e6},
		{"64KiB", "64KiB", 64 << 10},
		{"1024KiB", "1MiB", 1 << 20},
		{"3 GiB", "3GiB", 3 << 30},
		{"10B", "10B", 10},
	}
	for _, tt := range tests {
		var got conf.Size
		if err := got.UnmarshalText([]byte(tt.in)); err != nil || got != tt.want || got.String() != tt.out {
			t.Errorf("%s is %d (%s), %v, want %d (%s)", tt.in, got, got, err, tt.want, tt.out)
		}
	}
	for _, in := range []string{"", "KiB", "-1", "1.5MiB", "1XB", "99999999999GiB", "1KiBKiB"} {
		var got conf.Size
		if err := got.UnmarshalText([]byte(in)); err == nil {
			t.Errorf("%q is read as %v", in, got)
		}
	}
}

func TestNearestFindsMisspellings(t *testing.T) {
	known := []string{"address", "advertise", "name", "ports"}
	for in, want := range map[string]string{
		"adress": "address", "nmae": "name", "Ports": "ports", "port": "ports", "advertised": "advertise", "frequency": "", "x": "",
	} {
		if got := conf.Nearest(in, known); got != want {
			t.Errorf("Nearest(%s) = %q, want %q", in, got, want)
		}
	}
}
