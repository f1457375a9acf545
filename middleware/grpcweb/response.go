package grpcweb

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"io"

	"github.com/outrigger-mesh/outrigger/middleware"
)

// flagTrailer marks the frame that holds the trailer, where others say whether
// their message is compressed.
const flagTrailer = 0x80

// frameHead is the length of a frame's head: the flag, and the length of what
// follows as four bytes.
const frameHead = 5

// responseBody is an endpoint's body on its way to the client: in the text form
// if that is wanted, and the trailer as a last frame.
type responseBody struct {
	call     *call
	response *middleware.Response
	src      io.ReadCloser
	err      error  // what src ended with
	pending  []byte // translated, not read yet

	data  [pieceSize / 4 * 3]byte
	text  [pieceSize]byte
	frame [usualFrame]byte // the last one, where that is enough
}

// usualFrame is the room for a trailer that need not be allocated.
const usualFrame = 512

func (b *responseBody) reset(c *call, r *middleware.Response) {
	b.call, b.response, b.src, b.err, b.pending = c, r, r.Body, nil, nil
}

// Read is io.Reader's.
func (b *responseBody) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for len(b.pending) == 0 {
		switch {
		case b.err != nil:
			return 0, b.err
		case b.call.textBack:
			n, err := b.src.Read(b.data[:])
			b.pending = encode(b.text[:0], b.data[:n])
			b.ended(err)
		default:
			n, err := b.src.Read(p)
			b.ended(err)
			if n > 0 {
				return n, nil
			}
		}
	}
	n := copy(p, b.pending)
	b.pending = b.pending[n:]
	return n, nil
}

// ended takes in what src said, and appends the trailer to what is pending at
// its end.
func (b *responseBody) ended(err error) {
	b.err = err
	if !errors.Is(err, io.EOF) {
		return
	}
	if code, ok := middleware.GRPCStatusOf(b.response); ok {
		b.call.x.SetGRPCStatus(code)
	}
	b.appendTrailer()
}

// appendTrailer makes a frame of the trailer, and leaves none.
func (b *responseBody) appendTrailer() {
	t := &b.response.Trailer
	if t.Len() == 0 { // the header has the status, or nothing has
		return
	}
	f := append(b.frame[:0], flagTrailer, 0, 0, 0, 0)
	for field := range t.All() {
		for _, c := range field.Name {
			if c >= 'A' && c <= 'Z' {
				c |= 0x20
			}
			f = append(f, c)
		}
		f = append(append(append(f, ": "...), field.Value...), "\r\n"...)
	}
	binary.BigEndian.PutUint32(f[1:frameHead], uint32(len(f)-frameHead)) //nolint:gosec // engines bound trailers
	t.Reset()
	if b.call.textBack {
		b.pending = encode(b.pending, f)
		return
	}
	b.pending = f
}

// Buffered lets engines send head and body at once.
func (b *responseBody) Buffered() int {
	if len(b.pending) > 0 {
		return len(b.pending)
	}
	if s, ok := b.src.(interface{ Buffered() int }); ok {
		return s.Buffered()
	}
	return 0
}

// Close is io.Closer's.
func (b *responseBody) Close() error { return b.src.Close() }

// encode appends data as base64, padded, so that a client can decode it at once.
func encode(b, data []byte) []byte {
	if len(data) == 0 {
		return b
	}
	return base64.StdEncoding.AppendEncode(b, data)
}
