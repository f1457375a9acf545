package http1

import (
	"bytes"
	"io"
	"net"
	"sync"

	"github.com/outrigger-mesh/outrigger/sidecar/internal/netio"
)

// Limits of a head. The whole head, with request or status line, counts.
const (
	MaxHeadBytes  = 64 << 10
	MaxHeadFields = 100
)

const (
	bufferSize = 8 << 10
	// minSpace is the room below which a body gets a buffer of its own instead
	// of what the head has left over.
	minSpace = 1 << 10
)

type buffer struct{ b [bufferSize]byte }

var buffers = sync.Pool{New: func() any { return new(buffer) }}

// Conn reads messages from a connection. The head that was read last stays
// where it is in the buffer, because the parsed fields point into it, until
// the next ReadHead.
type Conn struct {
	nc     *netio.Conn
	buf    []byte
	memory *buffer // buf's, where it is of the pool
	pinned int     // buf[:pinned] holds the last head
	r, w   int     // buf[r:w] is read from the connection and not yet taken
	err    error
}

// NewConn makes a Conn that owns nothing yet: the buffer comes with the first
// read.
func NewConn(nc net.Conn) *Conn { return &Conn{nc: netio.New(nc)} }

// NetConn is the connection itself.
func (c *Conn) NetConn() *netio.Conn { return c.nc }

// Buffered is the number of bytes that a Read gives without asking the
// connection.
func (c *Conn) Buffered() int { return c.w - c.r }

// Release gives the buffer back. What was parsed from it is void.
func (c *Conn) Release() {
	if c.memory != nil {
		c.Give()
	}
	c.buf, c.pinned, c.r, c.w = nil, 0, 0, 0
}

// Detach leaves the head that was read last, with its memory, to whoever still
// uses it, and goes on in memory of its own.
func (c *Conn) Detach() {
	rest := c.buf[c.r:c.w]
	c.buf, c.memory, c.pinned, c.r, c.w = nil, nil, 0, 0, 0
	switch {
	case len(rest) == 0:
	case len(rest) > bufferSize:
		c.buf = append(make([]byte, 0, 2*len(rest)), rest...)[:2*len(rest)]
	default:
		copy(c.Take(), rest)
	}
	c.w = len(rest)
}

// Peek gives what is buffered, and leaves it.
func (c *Conn) Peek() []byte { return c.buf[c.r:c.w] }

// Rest gives what is buffered, and makes it taken.
func (c *Conn) Rest() []byte {
	b := c.buf[c.r:c.w]
	c.r = c.w
	return b
}

// Read reads from the buffer, else from the connection; large reads do not go
// through the buffer.
func (c *Conn) Read(p []byte) (int, error) {
	if c.r == c.w {
		if len(p) >= minSpace || c.err != nil {
			return c.readDirect(p)
		}
		if err := c.fill(); err != nil {
			return 0, err
		}
	}
	n := copy(p, c.buf[c.r:c.w])
	c.r += n
	if len(p)-n >= minSpace && c.err == nil { // what came with the head is less than what has come since
		more, err := c.nc.ReadNow(p[n:])
		n += more
		c.err = err // the system says it once: a reset would look like the end the next time
	}
	return n, nil
}

func (c *Conn) readDirect(p []byte) (int, error) {
	if c.err != nil {
		return 0, c.err
	}
	n, err := c.nc.Read(p)
	if err == io.EOF {
		c.err = err
	}
	return n, err
}

// fill reads more into the buffer for a body. It never moves what is pinned.
func (c *Conn) fill() error {
	if c.r == c.w {
		c.r, c.w = c.pinned, c.pinned
	}
	if len(c.buf)-c.w < minSpace && c.r > c.pinned {
		c.w = c.pinned + copy(c.buf[c.pinned:], c.buf[c.r:c.w])
		c.r = c.pinned
	}
	if c.buf != nil && len(c.buf)-c.w < minSpace { // the head stays in the old buffer, for its fields
		bigger := make([]byte, max(bufferSize, 2*(c.w-c.r)))
		c.w = copy(bigger, c.buf[c.r:c.w])
		c.buf, c.memory, c.r, c.pinned = bigger, nil, 0, 0
	}
	return c.more()
}

// more reads what comes into the free end of the buffer.
func (c *Conn) more() error {
	if c.err != nil {
		return c.err
	}
	var n int
	var err error
	if c.buf == nil {
		n, err = c.nc.ReadLazy(c)
	} else {
		n, err = c.nc.Read(c.buf[c.w:])
	}
	c.w += n
	if n > 0 {
		return nil
	}
	if err == nil {
		err = io.ErrNoProgress
	}
	if err == io.EOF {
		c.err = err
	}
	return err
}

// Take is netio.Memory's.
func (c *Conn) Take() []byte {
	m, _ := buffers.Get().(*buffer)
	c.memory, c.buf = m, m.b[:]
	return c.buf
}

// Give is netio.Memory's.
func (c *Conn) Give() {
	buffers.Put(c.memory)
	c.memory, c.buf = nil, nil
}

// ReadHead reads up to and including the empty line that ends a head, and pins
// it. A connection that ends before the first byte gives io.EOF, one that ends
// amid the head io.ErrUnexpectedEOF. One empty line before a request line is
// passed over (RFC 9112, section 2.2).
func (c *Conn) ReadHead(limit int) ([]byte, error) {
	c.pinned = 0
	c.w = copy(c.buf, c.buf[c.r:c.w])
	c.r = 0
	if c.w == 0 && len(c.buf) > bufferSize { // a large head's buffer is not kept for the next
		c.buf = nil
	}
	skipped := false
	for scanned := 0; ; {
		if !skipped && c.w >= 2 && c.buf[0] == '\r' && c.buf[1] == '\n' {
			c.w = copy(c.buf, c.buf[2:c.w])
			skipped, scanned = true, 0
		}
		end, err := headEnd(c.buf[:c.w], scanned)
		if err != nil {
			return nil, err
		}
		if end > limit || end < 0 && c.w > limit {
			return nil, ErrHeadTooLarge
		}
		if end >= 0 {
			c.pinned, c.r = end, end
			return c.buf[:end], nil
		}
		scanned = c.w
		if c.buf != nil && len(c.buf)-c.w < minSpace { // a head is in one piece
			bigger := make([]byte, 2*len(c.buf))
			copy(bigger, c.buf[:c.w])
			if c.memory != nil {
				c.Give()
			}
			c.buf = bigger
		}
		if err := c.more(); err != nil {
			if err == io.EOF && c.w > 0 {
				return nil, io.ErrUnexpectedEOF
			}
			return nil, err
		}
	}
}

// headEnd is the index after the empty line that ends the head, -1 where it is
// not there yet. A line that does not end in CRLF is found here, at once, so
// that nobody waits for the end of a head that cannot come.
func headEnd(b []byte, from int) (int, error) {
	for i := from; ; {
		j := bytes.IndexByte(b[i:], '\n')
		if j < 0 {
			return -1, nil
		}
		i += j
		if i == 0 || b[i-1] != '\r' {
			return 0, BadLineEnd
		}
		if i >= 3 && b[i-2] == '\n' || i == 1 {
			return i + 1, nil
		}
		i++
	}
}

// Wait returns when there is a byte to read, or with what the connection ended
// with. What was parsed is void from then on. A connection that waits holds no
// buffer.
func (c *Conn) Wait() error {
	if c.r < c.w {
		return nil
	}
	c.Release()
	return c.more()
}

// RoundTrip sends a request and reads the beginning of its response, as
// netio.Conn.RoundTrip does; ReadHead then goes on.
func (c *Conn) RoundTrip(request []byte, look bool) (wrote bool, err error) {
	c.Release()
	c.w, wrote, err = c.nc.RoundTrip(request, look, c)
	if err == io.EOF {
		c.err = err
	}
	return wrote, err
}

// WriteTo copies what comes to w until the connection's end (io.WriterTo): for
// connections that have become a pipe. While nothing comes it holds no memory
// for it, since there may be many such connections, which mostly wait. What was
// parsed stays as it is.
func (c *Conn) WriteTo(w io.Writer) (int64, error) {
	n, err := w.Write(c.Rest())
	total := int64(n)
	m := &pipeMemory{}
	for err == nil && c.err == nil {
		if n, err = c.nc.ReadLazy(m); n > 0 {
			written, writeErr := w.Write(m.held.b[:n])
			total += int64(written)
			if writeErr != nil {
				err = writeErr
			}
		}
		if m.held != nil {
			m.Give()
		}
		if err == io.EOF {
			c.err, err = err, nil
		}
	}
	if err == nil && c.err != io.EOF {
		err = c.err
	}
	return total, err
}

// pipeMemory is what WriteTo reads into.
type pipeMemory struct{ held *buffer }

// Take is netio.Memory's.
func (m *pipeMemory) Take() []byte {
	m.held, _ = buffers.Get().(*buffer)
	return m.held.b[:]
}

// Give is netio.Memory's.
func (m *pipeMemory) Give() {
	buffers.Put(m.held)
	m.held = nil
}
