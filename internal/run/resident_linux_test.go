package run

import "testing"

func TestOwnReadOnlyTakesTheProgramsConstantParts(t *testing.T) {
	const exe = "/usr/bin/sidecar"
	for line, want := range map[string]bool{
		"00400000-01415000 r-xp 00000000 fe:00 9987106    /usr/bin/sidecar":           true,
		"01415000-026fb000 r--p 01015000 fe:00 9987106    /usr/bin/sidecar":           true,
		"026fb000-027a0000 rw-p 022fb000 fe:00 9987106    /usr/bin/sidecar":           false, // what was written would be lost
		"00400000-01415000 r-xs 00000000 fe:00 9987106    /usr/bin/sidecar":           false,
		"00400000-01415000 ---p 00000000 fe:00 9987106    /usr/bin/sidecar":           false,
		"00400000-01415000 r--p 00000000 fe:00 9987106    /usr/lib/libc.so":           false,
		"00400000-01415000 r-xp 00000000 fe:00 9987106    /usr/bin/sidecar (deleted)": false,
		"027a0000-047ec000 rw-p 00000000 00:00 0":                                     false,
		"01415000-00400000 r-xp 00000000 fe:00 9987106    /usr/bin/sidecar":           false,
		"x-y r-xp 00000000 fe:00 9987106    /usr/bin/sidecar":                         false,
		"": false,
	} {
		start, size, ok := ownReadOnly([]byte(line), exe)
		if ok != want {
			t.Errorf("%q: %v, want %v", line, ok, want)
		}
		if ok && (start == 0 || size == 0) {
			t.Errorf("%q: from %x, %d bytes", line, start, size)
		}
	}
}

func TestTheProgramGoesOnAfterTrimResident(t *testing.T) {
	const text = "constants are mapped again when they are read"
	TrimResident()
	if text[:9] != "constants" {
		t.Error("they are not")
	}
}
