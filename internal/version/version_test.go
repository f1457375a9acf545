package version

import "testing"

func TestLinkedVersionWins(t *testing.T) {
	t.Cleanup(func() { version = "" })
	if got := String(); got == "" {
		t.Error("a program without a linked version has none at all")
	}
	version = "v1.2.3-4-gabcdef0"
	if got := String(); got != version {
		t.Errorf("String() = %q, want %q", got, version)
	}
}
