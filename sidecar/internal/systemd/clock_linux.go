package systemd

import (
	"syscall"
	"time"
	"unsafe"
)

// clockMonotonic is CLOCK_MONOTONIC (clock_gettime(2)).
const clockMonotonic = 1

// monotonic is the clock that only goes forward, as systemd reads it; zero
// where the kernel does not say.
func monotonic() time.Duration {
	var now syscall.Timespec
	if _, _, failed := syscall.Syscall(syscall.SYS_CLOCK_GETTIME, clockMonotonic, uintptr(unsafe.Pointer(&now)), 0); failed != 0 {
		return 0
	}
	return time.Duration(now.Nano())
}
