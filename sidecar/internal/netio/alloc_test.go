//go:build !race

// The race detector allocates too: make test runs what is named Alloc once more without it.

package netio

import (
	"crypto/tls"
	"testing"
)

// Bytes of our own layer are the only ones that are counted here: crypto/tls
// itself makes a reader for each record that it waits for.
func TestTLSARoundTripAllocatesNothingOfOurs(t *testing.T) {
	ours, theirs := secured(t, tls.VersionTLS13)
	const stdlib = 3 // a reader for each record on both ends, and one for Alive
	if n := roundTrips(t, ours, theirs); n > stdlib {
		t.Errorf("%v allocations", n)
	}
}
