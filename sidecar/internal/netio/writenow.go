package netio

import (
	"os"
	"syscall"
)

// WriteNow writes what the socket takes without waiting, which may be nothing.
// What is no socket takes nothing. It counts as a write.
func (c *Conn) WriteNow(p []byte) (int, error) {
	if c.raw == nil || len(p) == 0 {
		return 0, nil
	}
	if c.onWriteNow == nil {
		c.onWriteNow = c.writeNow
	}
	c.out.begin()
	c.writeFrom, c.writeErr = p, nil
	err := c.raw.Write(c.onWriteNow)
	for err != nil && c.out.early(c.Conn, err) { // the limit of an earlier write
		err = c.raw.Write(c.onWriteNow)
	}
	n := len(p) - len(c.writeFrom)
	c.writeFrom = nil
	if err == nil {
		err = c.writeErr
	}
	return n, err
}

func (c *Conn) writeNow(fd uintptr) bool {
	for len(c.writeFrom) > 0 {
		n, err := send(fd, c.writeFrom)
		if err == syscall.EAGAIN {
			return true
		}
		if err != 0 {
			c.writeErr = os.NewSyscallError("write", err)
			return true
		}
		c.writeFrom = c.writeFrom[n:]
	}
	return true
}
