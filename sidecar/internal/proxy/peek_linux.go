package proxy

import "syscall"

// peekEOF waits until the client has closed its side, or something else ends
// the wait: bytes of a next request, or a deadline. It reports the first.
func (c *conn) peekEOF() (gone bool) {
	if c.in.Buffered() > 0 {
		return false
	}
	var one [1]byte
	err := c.raw.Read(func(fd uintptr) bool {
		n, _, err := syscall.Recvfrom(int(fd), one[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		switch {
		case err == syscall.EAGAIN || err == syscall.EINTR:
			return false
		case err != nil || n == 0:
			gone = true
		}
		return true
	})
	return gone && err == nil
}
