package node

import (
	"net"
	"os"
	"syscall"
)

// duplicate is another descriptor of a listener's socket. The listener's own
// File method will not do: its file makes the socket, which both share, a
// blocking one as soon as it is given to another process, and then an Accept of
// ours waits in the kernel, where Close does not reach it.
func duplicate(ln syscall.Conn, name string) (*os.File, error) {
	raw, err := ln.SyscallConn()
	if err != nil {
		return nil, err
	}
	var fd uintptr
	var errno syscall.Errno
	err = raw.Control(func(own uintptr) {
		fd, _, errno = syscall.Syscall(syscall.SYS_FCNTL, own, syscall.F_DUPFD_CLOEXEC, 0)
	})
	switch {
	case err != nil:
		return nil, err
	case errno != 0:
		return nil, os.NewSyscallError("fcntl", errno)
	}
	return os.NewFile(fd, name), nil
}

var (
	_ syscall.Conn = (*net.TCPListener)(nil)
	_ syscall.Conn = (*net.UnixListener)(nil)
)
