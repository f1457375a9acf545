package netio

import (
	"errors"
	"io"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"time"
)

// layer is what a Conn has where it is a protocol above another Conn: TLS, of
// which NetConn is a Conn. Bytes go through the protocol; limits, and what ends
// a wait, are those of the Conn below, where the waiting is done. There a read
// has its limit as a whole, however many pieces of the protocol it takes: who
// sends a record byte by byte gains no time.
//
// The protocol may write on its own account while it reads (an alert, the
// answer to a change of keys). It lets one write at a time, so that only what
// it is told from outside has to be guarded.
type layer struct {
	below *Conn // nil: there is none

	// A byte that was read to see what has come, and that the next read begins
	// with.
	ahead    [1]byte
	hasAhead bool

	abrupt atomic.Bool // Close leaves without a word
}

// lower is what a Conn has for the layer above it.
type lower struct {
	above   bool // there is one
	now     bool // reads do not wait: the reader's
	ended   bool // the end was read: likewise
	closing atomic.Bool
	each    atomic.Int64 // LimitWrite's
	until   atomic.Int64 // SetWriteDeadline's
}

// notYet is the error of a read that must not wait. Protocols take it for a
// time limit that has passed, and can be read again.
type notYet struct{}

func (notYet) Error() string { return "nothing has come yet" }

// Timeout is net.Error's.
func (notYet) Timeout() bool { return true }

// Temporary is net.Error's, which crypto/tls asks for.
func (notYet) Temporary() bool { return true }

var errNotYet error = notYet{}

// layered makes nc, a protocol above a Conn, a Conn.
func layered(nc net.Conn, below *Conn) *Conn {
	c := &Conn{Conn: nc}
	c.out.write = true
	c.layer.below = below
	below.lower.above = true
	return c
}

// socket is the Conn whose limits are in force.
func (c *Conn) socket() *Conn {
	if c.layer.below != nil {
		return c.layer.below
	}
	return c
}

// Unread puts bytes back that were read: the next reads give them first. They
// are kept, not copied. It is for what was read to find out which protocol
// follows.
func (c *Conn) Unread(b []byte) { c.early = b }

// takeEarly gives what Unread has put back.
func (c *Conn) takeEarly(p []byte) int {
	n := copy(p, c.early)
	if c.early = c.early[n:]; len(c.early) == 0 {
		c.early = nil
	}
	return n
}

// layerRead reads through the protocol.
func (c *Conn) layerRead(p []byte) (int, error) {
	if c.layer.hasAhead {
		c.layer.hasAhead = false
		p[0] = c.layer.ahead[0]
		n, _ := c.layerNow(p[1:]) // an error stays for the next read
		return 1 + n, nil
	}
	b := c.layer.below
	b.in.begin()
	n, err := c.Conn.Read(p)
	return n, c.layerError(err)
}

// layerNow reads through the protocol what is there. It asks the protocol, not
// the socket: that one may be empty while the protocol has bytes, and what the
// socket has may be the protocol's own.
func (c *Conn) layerNow(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if c.layer.hasAhead {
		return c.layerRead(p)
	}
	b := c.layer.below
	b.lower.now = true
	n, err := c.Conn.Read(p)
	b.lower.now = false
	if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, errNotYet) {
		err = nil // no more than nothing: a Read says it
	}
	return n, c.layerError(err)
}

// layerError tells an end that the other side has said from one that anybody
// between could have made (RFC 8446, section 6.1; RFC 9112, section 9.8).
func (c *Conn) layerError(err error) error {
	if errors.Is(err, io.EOF) && c.layer.below.lower.ended {
		return io.ErrUnexpectedEOF
	}
	return err
}

// layerLazy is ReadLazy through the protocol: one byte is waited for, and what
// came with it is there then.
func (c *Conn) layerLazy(m Memory) (int, error) {
	if !c.layer.hasAhead {
		n, err := c.layerRead(c.layer.ahead[:])
		if n == 0 {
			return 0, err
		}
		c.layer.hasAhead = true
	}
	return c.layerRead(m.Take())
}

// layerEnd is AwaitEnd through the protocol. Any end of it is the end, said or
// not; only what this side has done itself is none.
func (c *Conn) layerEnd() bool {
	if c.layer.hasAhead {
		return false
	}
	n, err := c.layerRead(c.layer.ahead[:])
	c.layer.hasAhead = n > 0
	return n == 0 && err != nil && !errors.Is(err, os.ErrDeadlineExceeded) && !errors.Is(err, net.ErrClosed)
}

// layerAlive is Alive through the protocol. Bytes in the socket prove nothing:
// a server that speaks TLS 1.3 sends tickets for later sessions when it likes
// (RFC 8446, section 4.6.1). So the protocol reads what there is; a connection
// on which nothing is left then is as it was.
func (c *Conn) layerAlive() bool {
	if c.layer.hasAhead {
		return false
	}
	n, err := c.layerNow(c.layer.ahead[:])
	c.layer.hasAhead = n > 0
	return n == 0 && err == nil && !c.ReadBroken()
}

// layerClose says goodbye where that needs no waiting, and closes. It may be
// called beside reads and writes, which end.
func (c *Conn) layerClose() error {
	b := c.layer.below
	if c.layer.abrupt.Load() {
		return b.Close()
	}
	b.lower.closing.Store(true)
	b.BreakWrite() // who waits has the protocol's lock
	err := c.Conn.Close()
	if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET) {
		return nil // it was not heard
	}
	return err
}

// layerCloseWrite says that nothing more is sent, to the protocol and below it.
func (c *Conn) layerCloseWrite() error {
	half, ok := c.Conn.(interface{ CloseWrite() error })
	if !ok {
		return errors.ErrUnsupported
	}
	if err := half.CloseWrite(); err != nil {
		return err
	}
	return c.layer.below.CloseWrite()
}

// readForLayer is the layer's read that must not wait.
func (c *Conn) readForLayer(p []byte) (int, error) {
	n, err := c.ReadNow(p)
	if n == 0 && err == nil {
		err = errNotYet
	}
	c.lower.ended = c.lower.ended || errors.Is(err, io.EOF)
	return n, err
}

// limitLayerWrites puts in force what the layer above was told. The caller has
// the layer's lock.
func (c *Conn) limitLayerWrites() {
	c.out.limit(time.Duration(c.lower.each.Load()), 0)
	c.out.until = c.lower.until.Load()
}

// lastWrite sends what goes out at once.
func (c *Conn) lastWrite(p []byte) (int, error) {
	if c.raw == nil {
		return 0, os.ErrDeadlineExceeded
	}
	n := 0
	failed := os.ErrDeadlineExceeded
	err := c.raw.Control(func(fd uintptr) {
		k, errno := send(fd, p)
		switch {
		case errno == 0 && k == len(p):
			n, failed = k, nil
		case errno == 0:
			n = k
		case errno != syscall.EAGAIN:
			failed = os.NewSyscallError("write", errno)
		}
	})
	if err != nil {
		return 0, err
	}
	return n, failed
}
