//go:build linux && (amd64 || arm64)

package netio

import (
	"syscall"
	"unsafe"
)

// rawCalls says that the functions below are there.
const rawCalls = true

// recv is read(2) on a socket that does not block. The scheduler is not told:
// the call only copies what is there.
func recv(fd uintptr, p []byte) (int, syscall.Errno) {
	for {
		n, _, err := syscall.RawSyscall(syscall.SYS_READ, fd, uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p))) //nolint:gosec // the form that package unsafe names for system calls
		if err != syscall.EINTR {
			return int(n), err //nolint:gosec // at most len(p)
		}
	}
}

// send is send(2) likewise, without the signal for a connection that is gone.
func send(fd uintptr, p []byte) (int, syscall.Errno) {
	for {
		n, _, err := syscall.RawSyscall6(syscall.SYS_SENDTO, fd, uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)), //nolint:gosec // as above
			syscall.MSG_NOSIGNAL|syscall.MSG_DONTWAIT, 0, 0)
		if err != syscall.EINTR {
			return int(n), err //nolint:gosec // at most len(p)
		}
	}
}

// glance is recv for one byte, which it leaves where it is.
func glance(fd uintptr) (int, syscall.Errno) {
	var one [1]byte
	for {
		n, _, err := syscall.RawSyscall6(syscall.SYS_RECVFROM, fd, uintptr(unsafe.Pointer(&one[0])), 1, //nolint:gosec // as above
			syscall.MSG_PEEK|syscall.MSG_DONTWAIT, 0, 0)
		if err != syscall.EINTR {
			return int(n), err //nolint:gosec // at most 1
		}
	}
}
