//go:build !linux

package systemd

import "time"

// monotonic is zero: there is no systemd to compare it.
func monotonic() time.Duration { return 0 }
