package answerer

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"

	"github.com/outrigger-mesh/outrigger/bench/internal/h2wire"
)

// readSize is how much is read at once, in bytes.
const readSize = 64 << 10

// internalError is the code of a stream that is given up (RFC 9113, section 7).
const internalError = 0x2

// conn is one connection. It is one goroutine's alone.
type conn struct {
	nc      net.Conn
	o       options
	session h2wire.Session
	split   h2wire.Splitter
	out     []byte // frames to be written once what was read has been looked at
	head    *h2wire.Block
	trailer *h2wire.Block // of GRPC
	body    []byte
	open    map[uint32]int // requests that have not come whole: bytes of the body so far
	waiting []uint32       // answers for which the connection's window has no room
}

func newConn(nc net.Conn, o options) *conn {
	c := &conn{nc: nc, o: o, session: h2wire.NewSession(), open: map[uint32]int{}}
	if o.kind == GRPC {
		c.body = append(c.body, 0)
		c.body = binary.BigEndian.AppendUint32(c.body, uint32(o.response)) //nolint:gosec // checked: it is small
	}
	c.body = append(c.body, strings.Repeat("x", o.response)...)
	return c
}

func (c *conn) serve() error {
	start := make([]byte, len(h2wire.Preface))
	if _, err := io.ReadFull(c.nc, start); err != nil {
		return err
	}
	if string(start) != h2wire.Preface {
		if c.o.kind != Hold {
			return errors.New("not HTTP/2")
		}
		_, err := io.Copy(io.Discard, c.nc)
		return err
	}
	c.out = h2wire.Hello(c.out, streams)
	buf := make([]byte, readSize)
	for {
		if len(c.out) > 0 {
			if _, err := c.nc.Write(c.out); err != nil {
				return err
			}
			c.out = c.out[:0]
		}
		n, err := c.nc.Read(buf)
		if err != nil {
			return err
		}
		if err := c.split.Feed(buf[:n], c.frame); err != nil {
			return err
		}
	}
}

// frame takes one frame, and answers the request that it completes.
func (c *conn) frame(f h2wire.Frame) (err error) {
	if c.out, err = c.session.Control(c.out, f); err != nil {
		return err
	}
	ended := false
	switch f.Type {
	case h2wire.SettingsType:
		if c.head == nil && c.session.Settled {
			c.encode()
		}
	case h2wire.WindowUpdate:
		c.resume()
	case h2wire.ResetStream:
		delete(c.open, f.Stream)
	case h2wire.Headers:
		if ended = f.Flags&h2wire.EndStream != 0; !ended {
			c.open[f.Stream] = 0
		}
	case h2wire.Data:
		content, err := f.Content()
		if err != nil {
			return err
		}
		c.open[f.Stream] += len(content)
		ended = f.Flags&h2wire.EndStream != 0
	}
	if !ended || c.o.kind == Hold {
		return nil
	}
	if c.head == nil {
		return errors.New("a request before any settings")
	}
	got := c.open[f.Stream]
	delete(c.open, f.Stream)
	if got != c.o.request {
		c.out = h2wire.Append(c.out, h2wire.ResetStream, 0, f.Stream, binary.BigEndian.AppendUint32(nil, internalError))
		return nil
	}
	if int64(len(c.body)) > c.session.StreamWindow {
		return fmt.Errorf("an answer of %d bytes does not fit into a stream's window", len(c.body))
	}
	if len(c.waiting) > 0 || int64(len(c.body)) > c.session.Window {
		c.waiting = append(c.waiting, f.Stream)
		return nil
	}
	c.answer(f.Stream)
	return nil
}

// encode makes the header blocks, for a peer whose settings are known.
func (c *conn) encode() {
	if c.o.kind == GRPC {
		b := h2wire.Blocks(c.session.Table,
			[]string{":status", "200", "content-type", "application/grpc"}, []string{"grpc-status", "0", "grpc-message", ""})
		c.head, c.trailer = b[0], b[1]
		return
	}
	c.head = h2wire.Blocks(c.session.Table, []string{
		":status", "200", "server", "answerer", "date", "Sat, 21 Nov 2026 12:00:00 GMT",
		"content-type", "application/octet-stream", "content-length", strconv.Itoa(c.o.response),
	})[0]
}

func (c *conn) answer(stream uint32) {
	c.session.Window -= int64(len(c.body))
	c.out = h2wire.Append(c.out, h2wire.Headers, h2wire.EndHeaders, stream, c.head.Take())
	if c.trailer == nil {
		c.out = h2wire.Append(c.out, h2wire.Data, h2wire.EndStream, stream, c.body)
		return
	}
	c.out = h2wire.Append(c.out, h2wire.Data, 0, stream, c.body)
	c.out = h2wire.Append(c.out, h2wire.Headers, h2wire.EndHeaders|h2wire.EndStream, stream, c.trailer.Take())
}

// resume gives the answers for which there is room now.
func (c *conn) resume() {
	n := 0
	for n < len(c.waiting) && int64(len(c.body)) <= c.session.Window {
		c.answer(c.waiting[n])
		n++
	}
	c.waiting = c.waiting[:copy(c.waiting, c.waiting[n:])]
}
