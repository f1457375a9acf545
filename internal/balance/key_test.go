package balance

import (
	"net/netip"
	"testing"

	"github.com/cespare/xxhash/v2"

	"github.com/outrigger-mesh/outrigger/middleware"
)

func TestTheFirstKeyThatIsThereCounts(t *testing.T) {
	source := netip.MustParseAddrPort("10.1.2.3:4567")
	ip := netip.MustParseAddr("10.1.2.3").As16()
	tests := []struct {
		name   string
		fields [][2]string
		source bool
		want   string // what is hashed; empty: nothing
	}{
		{"header", [][2]string{{"X-User", "anna"}, {"Cookie", "session=1"}}, true, "anna"},
		{"first of two header fields", [][2]string{{"X-User", "anna"}, {"X-User", "bo"}}, true, "anna"},
		{"empty header", [][2]string{{"X-User", ""}, {"Cookie", "session=1"}}, true, "1"},
		{"cookie", [][2]string{{"Cookie", "a=b; session=abc; c=d"}}, true, "abc"},
		{"cookie in the second field", [][2]string{{"cookie", "a=b"}, {"cookie", "session=abc"}}, true, "abc"},
		{"cookie with spaces and '='", [][2]string{{"Cookie", " session=a=b ;c=d"}}, true, "a=b"},
		{"cookie of another case", [][2]string{{"Cookie", "Session=abc"}}, false, ""},
		{"name at the end of another", [][2]string{{"Cookie", "mysession=abc"}}, false, ""},
		{"cookie without a value", [][2]string{{"Cookie", "session=; session"}}, false, ""},
		{"garbage", [][2]string{{"Cookie", ";;=;session;"}}, false, ""},
		{"source", nil, true, string(ip[:])},
		{"nothing", nil, false, ""},
	}
	hash := with(PolicyConsistentHash).Hash
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var r middleware.Request
			for _, f := range tt.fields {
				r.Header.Append([]byte(f[0]), []byte(f[1]))
			}
			if tt.source {
				r.Peer.Addr = source
			}
			got, ok := hash.hash(&r)
			if ok != (tt.want != "") || ok && got != xxhash.Sum64String(tt.want) {
				t.Errorf("got %x, %v; want the hash of %q", got, ok, tt.want)
			}
		})
	}
}

func TestTheSourcesPortAndFamilyDoNotCount(t *testing.T) {
	hash := Hash{Keys: []HashKey{{Source: true}}}
	var hashes []uint64
	for _, s := range []string{"10.1.2.3:1", "10.1.2.3:2", "[::ffff:10.1.2.3]:3"} {
		h, ok := hash.hash(&middleware.Request{Peer: middleware.Peer{Addr: netip.MustParseAddrPort(s)}})
		if !ok {
			t.Fatalf("%s has no hash", s)
		}
		hashes = append(hashes, h)
	}
	if hashes[0] != hashes[1] || hashes[0] != hashes[2] {
		t.Errorf("hashes %x differ", hashes)
	}
}

func FuzzCookie(f *testing.F) {
	f.Add("a=b; session=abc")
	f.Add(";;= session = x;session")
	f.Fuzz(func(t *testing.T, value string) {
		var h middleware.Header
		h.Append([]byte("Cookie"), []byte(value))
		v := cookie(&h, "session")
		for _, c := range v {
			if c == ';' {
				t.Fatalf("%q has the value %q", value, v)
			}
		}
	})
}
