//go:build !linux || !(amd64 || arm64)

package netio

import "syscall"

// rawCalls says that connections are used by net.Conn's methods alone.
const rawCalls = false

func recv(uintptr, []byte) (int, syscall.Errno) { return 0, syscall.ENOSYS }

func send(uintptr, []byte) (int, syscall.Errno) { return 0, syscall.ENOSYS }

func glance(uintptr) (int, syscall.Errno) { return 0, syscall.ENOSYS }
