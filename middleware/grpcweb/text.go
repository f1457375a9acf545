package grpcweb

import (
	"encoding/base64"
	"errors"
	"io"
	"net/http"

	"github.com/outrigger-mesh/outrigger/middleware"
)

// pieceSize is how much of a body is translated at once, in bytes of base64.
const pieceSize = 4 << 10

// errText is a request whose body is not what its content-type says.
var errText = &middleware.Reject{
	Status: http.StatusBadRequest, Reason: middleware.ReasonClientBody,
	Message: "the body is not base64, as application/grpc-web-text has to be",
}

// textReader decodes base64 (RFC 4648, section 4) as it comes. Padding may stand
// at the end of any group of four characters: a client pads whenever it sends
// what it has.
type textReader struct {
	src  io.Reader
	err  error  // what src ended with, or what is wrong
	text []byte // not decoded yet; less than four characters between two reads
	data []byte // decoded, not read yet

	textMemory [pieceSize]byte
	dataMemory [pieceSize / 4 * 3]byte
}

func (t *textReader) reset(src io.Reader) { t.src, t.err, t.text, t.data = src, nil, nil, nil }

// Read is io.Reader's.
func (t *textReader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for len(t.data) == 0 {
		if t.err != nil {
			return 0, t.err
		}
		t.fill()
	}
	n := copy(p, t.data)
	t.data = t.data[n:]
	return n, nil
}

// Buffered is the number of bytes that Read gives without waiting.
func (t *textReader) Buffered() int { return len(t.data) }

// fill reads once and decodes what is whole.
func (t *textReader) fill() {
	kept := copy(t.textMemory[:], t.text)
	n, err := t.src.Read(t.textMemory[kept:])
	text := t.textMemory[:kept+n]
	whole := len(text) / 4 * 4
	t.text = text[whole:]
	data, ok := decode(t.dataMemory[:0], text[:whole])
	t.data = data
	switch {
	case !ok:
		t.err = errText
	case errors.Is(err, io.EOF) && len(t.text) > 0:
		t.err = errText
	default:
		t.err = err
	}
}

// decode appends what groups of four characters stand for.
func decode(data, text []byte) (_ []byte, ok bool) {
	for len(text) > 0 {
		// Groups without padding, and then one with it.
		end := 0
		for end < len(text) && text[end+3] != '=' {
			end += 4
		}
		if end < len(text) {
			end += 4
		}
		// Decode leaves line breaks out, which would shift the groups.
		for _, c := range text[:end] {
			if c == '\r' || c == '\n' {
				return data, false
			}
		}
		n, err := strict.Decode(data[len(data):cap(data)], text[:end])
		data = data[:len(data)+n]
		if err != nil {
			return data, false
		}
		text = text[end:]
	}
	return data, true
}

var strict = base64.StdEncoding.Strict()
