package middleware

import (
	"regexp"
	"testing"
	"time"
)

func TestNewRequestIDsAreUUIDsOfVersion7(t *testing.T) {
	form := regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)
	x := NewExchange(nil)
	seen := map[string]bool{}
	for range 1000 {
		id := string(x.NewRequestID())
		if !form.MatchString(id) {
			t.Fatalf("%q", id)
		}
		seen[id] = true
	}
	if len(seen) != 1000 {
		t.Errorf("%d different ones of 1000", len(seen))
	}
	// The time of RFC 9562's example for version 7, in its appendix A.6.
	if id := string(appendUUID(nil, time.UnixMilli(0x017F22E279B0))); id[:13] != "017f22e2-79b0" {
		t.Errorf("%q does not begin with its time", id)
	}
	if n := testing.AllocsPerRun(100, func() { x.NewRequestID() }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
