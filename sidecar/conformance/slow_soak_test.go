//go:build soak

package conformance

import "testing"

// TestSoakSlowClients is TestSlowClients with more of them, for longer.
func TestSoakSlowClients(t *testing.T) { slow(t, 300, 60) }
