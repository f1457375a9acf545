//go:build soak

package conformance

import (
	"fmt"
	"testing"
	"time"
)

// TestSoakHTTP2 is hours of TestH2Load and of TestHTTP2Abuse in minutes, on one
// sidecar: its memory and its goroutines come back to what they were.
func TestSoakHTTP2(t *testing.T) {
	app := abusedApp(t)
	p := startProgram(t, fmt.Sprintf(abusedYAML, app))
	inbound, admin := p.at["listen.inbound"], p.at["listen.admin"]
	h2load(t, "http://"+inbound, 20_000, "-c", "10", "-m", "100")
	before := gauges(t, admin)
	for end := time.Now().Add(5 * time.Minute); time.Now().Before(end); {
		h2load(t, "http://"+inbound, 200_000, "-c", "20", "-m", "100")
		for _, a := range abuses {
			abuseOnce(t, p, a)
		}
	}
	eventually(t, "nothing is left of it", func() bool {
		now := gauges(t, admin)
		return now["go_goroutines"] <= before["go_goroutines"]+3 && open(t, p) == 0
	})
	if grown := gauges(t, admin)["process_resident_memory_bytes"] - before["process_resident_memory_bytes"]; grown > mostMemory {
		t.Errorf("it has cost %.0f bytes of memory", grown)
	}
}
