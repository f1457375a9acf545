//go:build !race

// The race detector allocates too: make test runs what is named Alloc once more without it.

package netio

import (
	"crypto/tls"
	"testing"
	"time"
)

// Bytes of our own layer are the only ones that are counted here: crypto/tls
// itself makes a reader for each record that it waits for.
func TestTLSARoundTripAllocatesNothingOfOurs(t *testing.T) {
	ours, theirs := secured(t, tls.VersionTLS13)
	go func() {
		b := make([]byte, 16)
		for {
			n, err := theirs.Read(b)
			if err != nil {
				return
			}
			_, _ = theirs.Write(b[:n])
		}
	}()
	m := &memory{}
	request := []byte("ping")
	const stdlib = 3 // a reader for each record on both ends, and one for Alive
	if n := testing.AllocsPerRun(200, func() {
		ours.LimitRead(time.Minute)
		if _, _, err := ours.RoundTrip(request, true, m); err != nil {
			t.Fatal(err)
		}
	}); n > stdlib {
		t.Errorf("%v allocations", n)
	}
}
