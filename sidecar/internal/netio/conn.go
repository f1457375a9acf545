package netio

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"time"
)

// Memory is where ReadLazy puts what it reads. It is asked for a buffer when
// there may be something to read, and gives it back to wherever it came from
// when there is not.
type Memory interface {
	Take() []byte // not empty
	Give()        // the buffer that Take gave is not needed
}

// Conn is a connection. What is no TCP connection of the net package (a pipe in
// a test) works as well, by the methods of net.Conn. TLS above a Conn is a Conn
// like one without: see New.
type Conn struct {
	net.Conn
	raw syscall.RawConn // nil: only net.Conn's own methods are used

	in    side
	out   side
	early []byte // what Unread has put back
	layer layer
	lower lower

	// Of the call that is running, for the callbacks; the reader's and the
	// writer's own.
	readInto  []byte
	lazy      Memory
	request   []byte // RoundTrip's, until it is written
	readN     int
	readErr   error
	writeFrom []byte
	writeErr  error
	task      task
	unused    bool // RoundTrip's look

	onRead, onWrite func(fd uintptr) bool // made once
	onWriteNow      func(fd uintptr) bool // made when first needed
}

// task is what onRead does.
type task uint8

const (
	taskRead    task = iota
	taskReadNow      // without waiting
	taskPeek         // without taking
	taskGlance       // without waiting and without taking
	taskExchange
)

// New makes a Conn of a connection. Where that is a protocol above a Conn, such
// as a tls.Conn whose NetConn is one, limits and breaks are those of the Conn
// below, which is not to be used by itself from then on; the protocol's
// handshake has to be through.
func New(nc net.Conn) *Conn {
	if c, ok := nc.(*Conn); ok {
		return c
	}
	if p, ok := nc.(interface{ NetConn() net.Conn }); ok {
		if below, ok := p.NetConn().(*Conn); ok {
			return layered(nc, below)
		}
	}
	c := &Conn{Conn: nc}
	c.out.write = true
	if t, ok := nc.(*net.TCPConn); ok && rawCalls {
		c.raw, _ = t.SyscallConn()
		c.onRead, c.onWrite = c.readable, c.writable
	}
	return c
}

// ErrStale says that a connection cannot take a request: the other side has
// closed it, or has sent what nobody asked for.
var ErrStale = errors.New("connection was closed, or spoke, while it was unused")

// SetDeadline is net.Conn's, for code that knows no other limits. It is not to
// be called beside a read or a write: BreakRead and BreakWrite are for that.
func (c *Conn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

// SetReadDeadline is SetDeadline for reads alone.
func (c *Conn) SetReadDeadline(t time.Time) error {
	c = c.socket()
	c.in.setUntil(c.Conn, t)
	return nil
}

// SetWriteDeadline is SetDeadline for writes alone.
func (c *Conn) SetWriteDeadline(t time.Time) error {
	c = c.socket()
	if c.lower.above {
		c.lower.each.Store(0)
		c.lower.until.Store(moment(t))
		return nil
	}
	c.out.setUntil(c.Conn, t)
	return nil
}

// LimitRead limits every following read: none waits longer than d for its
// first byte. Zero is no limit.
func (c *Conn) LimitRead(d time.Duration) { c.socket().in.limit(d, 0) }

// LimitReads limits the following reads together: d after the first of them
// began to wait, all end.
func (c *Conn) LimitReads(d time.Duration) { c.socket().in.limit(0, d) }

// LimitWrite limits every following write: none waits longer than d for the
// other side to take something. Zero is no limit.
func (c *Conn) LimitWrite(d time.Duration) {
	c = c.socket()
	if c.lower.above {
		c.lower.until.Store(0)
		c.lower.each.Store(int64(d))
		return
	}
	c.out.limit(d, 0)
}

// BreakRead ends a read that waits, and all that follow until MendRead, with
// os.ErrDeadlineExceeded. It may be called from any goroutine.
func (c *Conn) BreakRead() {
	c = c.socket()
	c.in.interrupt(c.Conn)
}

// BreakWrite is BreakRead for writes.
func (c *Conn) BreakWrite() {
	c = c.socket()
	c.out.interrupt(c.Conn)
}

// MendRead takes BreakRead back.
func (c *Conn) MendRead() { c.socket().in.broken.Store(false) }

// MendWrite takes BreakWrite back.
func (c *Conn) MendWrite() { c.socket().out.broken.Store(false) }

// ReadBroken reports whether BreakRead is in force.
func (c *Conn) ReadBroken() bool { return c.socket().in.broken.Load() }

// WriteBroken reports whether BreakWrite is in force.
func (c *Conn) WriteBroken() bool { return c.socket().out.broken.Load() }

// Close closes the connection. A protocol above the socket says goodbye where
// that needs no waiting, and not after SetLinger(0).
func (c *Conn) Close() error {
	if c.layer.below != nil {
		return c.layerClose()
	}
	return c.Conn.Close()
}

// CloseWrite closes the way out; the way in stays.
func (c *Conn) CloseWrite() error {
	if c.layer.below != nil {
		return c.layerCloseWrite()
	}
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return errors.ErrUnsupported
}

// SetLinger is net.TCPConn's: with 0, Close resets the connection.
func (c *Conn) SetLinger(seconds int) error {
	if b := c.layer.below; b != nil {
		c.layer.abrupt.Store(seconds == 0)
		return b.SetLinger(seconds)
	}
	if l, ok := c.Conn.(interface{ SetLinger(int) error }); ok {
		return l.SetLinger(seconds)
	}
	return errors.ErrUnsupported
}

// Raw is the socket, nil where there is none.
func (c *Conn) Raw() syscall.RawConn { return c.raw }

// Read is io.Reader's, within the limit.
func (c *Conn) Read(p []byte) (int, error) {
	switch {
	case len(p) == 0:
		return 0, nil
	case c.layer.below != nil:
		return c.layerRead(p)
	case len(c.early) > 0:
		return c.takeEarly(p), nil
	case c.lower.now:
		return c.readForLayer(p)
	case c.raw == nil:
		return c.plainRead(p)
	}
	c.readInto = p
	n, err := c.read(taskRead)
	c.readInto = nil
	return n, err
}

// ReadLazy is Read into a buffer that is only taken while there may be
// something to read: a connection that waits holds none. Where it returns
// bytes the buffer is taken; with an error it may be.
func (c *Conn) ReadLazy(m Memory) (int, error) {
	switch {
	case c.layer.below != nil:
		return c.layerLazy(m)
	case len(c.early) > 0:
		return c.takeEarly(m.Take()), nil
	case c.raw == nil:
		return c.plainRead(m.Take())
	}
	c.lazy = m
	n, err := c.read(taskRead)
	c.lazy, c.readInto = nil, nil
	return n, err
}

// ReadNow reads what is there, without waiting: 0 and no error where there is
// nothing yet. What is no socket always has nothing.
func (c *Conn) ReadNow(p []byte) (int, error) {
	switch {
	case c.layer.below != nil:
		return c.layerNow(p)
	case len(c.early) > 0:
		return c.takeEarly(p), nil
	case c.raw == nil || len(p) == 0:
		return 0, nil
	}
	c.readInto = p
	err := c.look(taskReadNow)
	c.readInto = nil
	if err != nil {
		return 0, nil //nolint:nilerr // closed, or broken: a Read says so
	}
	return c.readN, c.readErr
}

// look does a task that does not wait. The time limit of an earlier operation
// does not keep it from that.
func (c *Conn) look(t task) error {
	c.in.begin()
	c.readN, c.readErr, c.task = 0, nil, t
	for {
		err := c.raw.Read(c.onRead)
		if err == nil || !c.in.early(c.Conn, err) {
			return err
		}
	}
}

// RoundTrip writes request, and reads the first bytes of what comes back as
// ReadLazy does. With look it first makes sure that nothing has come since the
// connection was used last, and returns ErrStale otherwise: then nothing was
// sent. wrote is false unless the whole request went out; the error is then the
// write's.
func (c *Conn) RoundTrip(request []byte, look bool, m Memory) (n int, wrote bool, err error) {
	if c.raw == nil {
		if look && !c.Alive() {
			return 0, false, ErrStale
		}
		if _, err := c.Write(request); err != nil {
			return 0, false, err
		}
		n, err = c.ReadLazy(m)
		return n, true, err
	}
	// The poller is told to watch before the request is written: where nothing
	// was there by then, the response is waited for without asking for it once
	// in vain.
	c.request, c.unused, c.lazy, c.writeErr = request, look, m, nil
	n, err = c.read(taskExchange)
	left := c.request
	c.request, c.lazy, c.readInto = nil, nil, nil
	switch {
	case err != nil || len(left) == 0:
		return n, len(left) == 0, err
	case c.writeErr != nil:
		return 0, false, c.writeErr
	}
	if _, err := c.Write(left); err != nil { // the socket's buffer was full
		return 0, false, err
	}
	n, err = c.ReadLazy(m)
	return n, true, err
}

// AwaitEnd waits until the other side says that it sends no more, and returns
// true then. It returns false when there is something to read instead, which it
// leaves, and when the wait was broken. It counts as a read.
func (c *Conn) AwaitEnd() bool {
	if c.raw == nil && c.layer.below == nil || len(c.early) > 0 {
		return false
	}
	c.LimitRead(0)
	if c.layer.below != nil {
		return c.layerEnd()
	}
	_, err := c.read(taskPeek)
	return errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET)
}

// Alive reports whether an unused connection is as it was left: neither closed
// by the other side nor with bytes to read.
func (c *Conn) Alive() bool {
	switch {
	case c.layer.below != nil:
		return c.layerAlive()
	case len(c.early) > 0:
		return false
	case c.raw == nil:
		return true
	}
	return c.look(taskGlance) == nil && c.readN == 0 && c.readErr == nil
}

func (c *Conn) read(t task) (int, error) {
	if !c.lower.above { // else what is above has begun it
		c.in.begin()
	}
	c.readN, c.readErr, c.task = 0, nil, t
	for {
		err := c.raw.Read(c.onRead)
		if err == nil {
			c.lower.ended = c.lower.ended || errors.Is(c.readErr, io.EOF)
			return c.readN, c.readErr
		}
		if !c.in.early(c.Conn, err) {
			return 0, err
		}
	}
}

// readable is called by the poller's wait: first at once, then when there is
// something. It returns true when there is a result.
func (c *Conn) readable(fd uintptr) bool {
	if c.task == taskExchange && len(c.request) > 0 {
		if c.send(fd) {
			return true
		}
		if c.unused { // there was nothing, and what comes now the poller tells
			c.in.wait(c.Conn)
			return false
		}
	}
	if c.lazy != nil && c.readInto == nil {
		c.readInto = c.lazy.Take()
	}
	var n int
	var err syscall.Errno
	if c.task == taskPeek || c.task == taskGlance {
		n, err = glance(fd)
	} else {
		n, err = recv(fd, c.readInto)
	}
	if err != syscall.EAGAIN {
		c.readN, c.readErr = result(n, err)
		return true
	}
	if c.task == taskReadNow || c.task == taskGlance {
		return true
	}
	if c.lazy != nil {
		c.readInto = nil
		c.lazy.Give()
	}
	c.in.wait(c.Conn)
	return false
}

// send sends RoundTrip's request. It returns true when that is the result: it
// failed, or not all of it went out.
func (c *Conn) send(fd uintptr) bool {
	if c.unused && !still(fd) {
		c.readErr = ErrStale
		return true
	}
	n, err := send(fd, c.request)
	if err == 0 {
		c.request = c.request[n:]
	} else if err != syscall.EAGAIN {
		c.writeErr = os.NewSyscallError("write", err)
	}
	return len(c.request) > 0 // RoundTrip goes on with the rest
}

func result(n int, err syscall.Errno) (int, error) {
	switch {
	case err != 0:
		return 0, os.NewSyscallError("read", err)
	case n == 0:
		return 0, io.EOF
	}
	return n, nil
}

// plainRead is for connections that are no sockets.
func (c *Conn) plainRead(p []byte) (int, error) {
	c.in.exact(c.Conn)
	n, err := c.Conn.Read(p)
	c.lower.ended = c.lower.ended || errors.Is(err, io.EOF)
	return n, err
}

// Write is io.Writer's, within the limit.
func (c *Conn) Write(p []byte) (int, error) {
	switch {
	case c.layer.below != nil:
		return c.Conn.Write(p)
	case c.lower.closing.Load():
		return c.lastWrite(p)
	case c.lower.above:
		c.limitLayerWrites()
	}
	if c.raw == nil {
		c.out.exact(c.Conn)
		return c.Conn.Write(p)
	}
	c.out.begin()
	c.writeFrom, c.writeErr = p, nil
	for len(c.writeFrom) > 0 {
		err := c.raw.Write(c.onWrite)
		if err == nil {
			err = c.writeErr
		}
		if err != nil && !c.out.early(c.Conn, err) {
			n := len(p) - len(c.writeFrom)
			c.writeFrom = nil
			return n, err
		}
	}
	c.writeFrom = nil
	return len(p), nil
}

func (c *Conn) writable(fd uintptr) bool {
	for len(c.writeFrom) > 0 {
		n, err := send(fd, c.writeFrom)
		switch err {
		case 0:
			c.writeFrom = c.writeFrom[n:]
		case syscall.EAGAIN:
			c.out.wait(c.Conn)
			return false
		default:
			c.writeErr = os.NewSyscallError("write", err)
			return true
		}
	}
	return true
}

// still reports whether there is nothing to read, not even the end.
func still(fd uintptr) bool {
	_, err := glance(fd)
	return err == syscall.EAGAIN
}
