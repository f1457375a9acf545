package upstream

import "syscall"

// alive reports whether an unused connection can take a request: the server
// has neither closed it nor sent anything. It looks without waiting and without
// taking a byte.
func (c *clientConn) alive() bool {
	if c.raw == nil {
		return true
	}
	ok := false
	var one [1]byte
	err := c.raw.Read(func(fd uintptr) bool {
		_, _, err := syscall.Recvfrom(int(fd), one[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		ok = err == syscall.EAGAIN || err == syscall.EINTR
		return true
	})
	return err == nil && ok
}
