package http1

import (
	"bytes"
	"io"

	"github.com/outrigger-mesh/outrigger/middleware"
)

// Reader reads one message's body from a Conn, as its Framing says.
type Reader struct {
	conn    *Conn
	trailer *middleware.Header
	length  int64 // bytes to come of the body, or of the chunk
	chunked bool
	until   bool // until the connection ends
	first   bool // of the chunks
	err     error
}

// Reset makes the reader read the next body. trailer takes the trailer section
// of a chunked one.
func (r *Reader) Reset(c *Conn, f Framing, trailer *middleware.Header) {
	*r = Reader{conn: c, trailer: trailer, chunked: f.Chunked, length: f.Length, first: true}
	if f.Chunked {
		r.length = 0
	} else if f.Length < 0 {
		r.until = true
	}
}

// Complete reports whether the body was read to its end.
func (r *Reader) Complete() bool { return r.err == io.EOF || !r.chunked && !r.until && r.length == 0 }

// Buffered is the number of body bytes that Read gives without asking the
// connection. Between two chunks it is zero: what is buffered may be half a
// size line.
func (r *Reader) Buffered() int {
	switch n := r.conn.Buffered(); {
	case r.err != nil:
		return 0
	case r.until:
		return n
	default:
		return int(min(int64(n), r.length))
	}
}

// Read gives io.EOF at the body's end, io.ErrUnexpectedEOF where the
// connection ends before it, and a Malformed for chunks that are not in order.
func (r *Reader) Read(p []byte) (int, error) {
	if r.err != nil {
		return 0, r.err
	}
	if len(p) == 0 {
		return 0, nil
	}
	n, err := r.read(p)
	if err != nil {
		r.err = err
	}
	return n, err
}

func (r *Reader) read(p []byte) (int, error) {
	if r.until {
		return r.conn.Read(p)
	}
	if r.length == 0 {
		if !r.chunked {
			return 0, io.EOF
		}
		if err := r.nextChunk(); err != nil {
			return 0, err
		}
	}
	if int64(len(p)) > r.length {
		p = p[:r.length]
	}
	n, err := r.conn.Read(p)
	r.length -= int64(n)
	if err == io.EOF {
		return n, io.ErrUnexpectedEOF
	}
	if err == nil && r.length == 0 && !r.chunked {
		return n, io.EOF
	}
	return n, err
}

// maxChunkLine bounds a chunk's size line: 15 hex digits and CRLF. Chunk
// extensions are refused: nobody uses them but who wants parsers to differ.
const maxChunkLine = 17

// nextChunk reads the end of the last chunk and the size line of the next; at
// the last chunk, the trailer section, and returns io.EOF.
func (r *Reader) nextChunk() error {
	if !r.first {
		line, err := r.conn.line(2, BadChunk)
		if err != nil {
			return err
		}
		if len(line) != 0 {
			return BadChunk
		}
	}
	r.first = false
	line, err := r.conn.line(maxChunkLine, BadChunk)
	if err != nil {
		return err
	}
	if len(line) == 0 {
		return BadChunk
	}
	var n int64
	for _, c := range line {
		d := hexValue(c)
		if d < 0 {
			if c == ';' || c == ' ' || c == '\t' {
				return BadChunkExtension
			}
			return BadChunk
		}
		n = n<<4 | int64(d)
	}
	r.length = n
	if n > 0 {
		return nil
	}
	if err := r.readTrailer(); err != nil {
		return err
	}
	return io.EOF
}

func (r *Reader) readTrailer() error {
	total := 0
	for n := 0; ; n++ {
		line, err := r.conn.line(MaxHeadBytes-total, ErrHeadTooLarge)
		if err != nil {
			return err
		}
		if len(line) == 0 {
			return nil
		}
		if total += len(line); n == MaxHeadFields {
			return ErrHeadTooLarge
		}
		name, value, err := parseField(line)
		if err != nil {
			return BadTrailer
		}
		if !forbiddenTrailer(name) {
			r.trailer.Append(bytes.Clone(name), bytes.Clone(value))
		}
	}
}

// forbiddenTrailer names fields that must not come after the body, because
// they would have decided about it (RFC 9110, section 6.5.1). They are dropped.
func forbiddenTrailer(name []byte) bool {
	for _, s := range [...]string{
		"content-length", "transfer-encoding", "host", "connection", "trailer", "te", "upgrade", "keep-alive",
		"authorization", "content-encoding", "content-type", "content-range", "cookie", "set-cookie", "expect",
	} {
		if middleware.EqualFold(name, s) {
			return true
		}
	}
	return false
}

// line reads one line of at most limit bytes and returns it without its CRLF;
// it is valid until the next read.
func (c *Conn) line(limit int, tooLong error) ([]byte, error) {
	for scanned := 0; ; {
		if i := bytes.IndexByte(c.buf[c.r+scanned:c.w], '\n'); i >= 0 {
			line := c.buf[c.r : c.r+scanned+i]
			if len(line)+1 > limit {
				return nil, tooLong
			}
			c.r += len(line) + 1
			if len(line) == 0 || line[len(line)-1] != '\r' {
				return nil, BadLineEnd
			}
			return line[:len(line)-1], nil
		}
		scanned = c.w - c.r
		if scanned > limit {
			return nil, tooLong
		}
		if scanned == 0 {
			c.r, c.w = c.pinned, c.pinned
		}
		if err := c.fill(); err != nil {
			if err == io.EOF {
				return nil, io.ErrUnexpectedEOF
			}
			return nil, err
		}
	}
}

func hexValue(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c >= 'a' && c <= 'f':
		return int(c-'a') + 10
	case c >= 'A' && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}
