package http1

import (
	"io"
	"net/http"
	"strconv"

	"github.com/outrigger-mesh/outrigger/middleware"
)

// AppendRequest appends the head of a request to b. A body of unknown length
// goes out chunked.
func AppendRequest(b []byte, r *middleware.Request) []byte {
	b = append(b, r.Method...)
	b = append(b, ' ')
	b = append(b, r.Target...)
	b = append(b, " HTTP/1.1\r\nHost: "...)
	b = append(b, r.Authority...)
	b = append(b, "\r\n"...)
	b = appendFields(b, &r.Header)
	switch {
	case len(r.Upgrade) > 0:
		b = append(b, "Connection: Upgrade\r\nUpgrade: "...)
		b = append(b, r.Upgrade...)
		b = append(b, "\r\n"...)
	case r.ContentLength < 0:
		b = append(b, "Transfer-Encoding: chunked\r\n"...)
	case r.ContentLength > 0 || expectsLength(r.Method):
		b = append(b, "Content-Length: "...)
		b = strconv.AppendInt(b, r.ContentLength, 10)
		b = append(b, "\r\n"...)
	}
	return append(b, "\r\n"...)
}

// expectsLength: a request of these methods without a body says so (RFC 9110,
// section 8.6).
func expectsLength(method []byte) bool {
	switch string(method) {
	case "POST", "PUT", "PATCH":
		return true
	}
	return false
}

// ResponseOptions is what the connection adds to a response's head.
type ResponseOptions struct {
	Method []byte // of the request
	Close  bool   // say that the connection ends with this response
	// Old: the client speaks HTTP/1.0: it wants to be told that the connection
	// stays, and knows no chunks.
	Old bool
}

// AppendResponse appends the head of a final response to b, and says whether
// the body has to follow in chunks, and whether the connection has to be closed
// after it.
func AppendResponse(b []byte, r *middleware.Response, o ResponseOptions) (head []byte, chunked, closing bool) {
	b = appendStatusLine(b, r.Status)
	b = appendFields(b, &r.Header)
	closing = o.Close
	switch {
	case r.Status == 101:
		b = append(b, "Connection: Upgrade\r\n"...)
	case r.Upgrade != nil: // CONNECT: what follows is the tunnel (RFC 9110, section 9.3.6)
	case r.ContentLength >= 0 && r.Status != 204 && r.Status >= 200 && (r.ContentLength > 0 || r.Status != 304):
		b = append(b, "Content-Length: "...)
		b = strconv.AppendInt(b, r.ContentLength, 10)
		b = append(b, "\r\n"...)
	case NoBody(r.Status, o.Method):
	case o.Old:
		closing = true
	default:
		chunked = true
		b = append(b, "Transfer-Encoding: chunked\r\n"...)
	}
	switch {
	case r.Status == 101 || r.Upgrade != nil:
	case closing:
		b = append(b, "Connection: close\r\n"...)
	case o.Old:
		b = append(b, "Connection: keep-alive\r\n"...)
	}
	return append(b, "\r\n"...), chunked, closing
}

// AppendInterim appends an interim response (1xx) to b.
func AppendInterim(b []byte, status int, h *middleware.Header) []byte {
	b = appendStatusLine(b, status)
	if h != nil {
		b = appendFields(b, h)
	}
	return append(b, "\r\n"...)
}

func appendStatusLine(b []byte, status int) []byte {
	b = append(b, "HTTP/1.1 "...)
	b = strconv.AppendInt(b, int64(status), 10)
	b = append(b, ' ')
	b = append(b, http.StatusText(status)...)
	return append(b, "\r\n"...)
}

// appendFields appends the fields without those that frame: framing is this
// hop's own, whatever a handler has set.
func appendFields(b []byte, h *middleware.Header) []byte {
	for f := range h.All() {
		if framingField(f.Name) {
			continue
		}
		b = append(b, f.Name...)
		b = append(b, ": "...)
		b = append(b, f.Value...)
		b = append(b, "\r\n"...)
	}
	return b
}

func framingField(name []byte) bool {
	switch len(name) {
	case 4:
		return middleware.EqualFold(name, "host")
	case 10:
		return middleware.EqualFold(name, "connection") || middleware.EqualFold(name, "keep-alive")
	case 14:
		return middleware.EqualFold(name, "content-length")
	case 17:
		return middleware.EqualFold(name, "transfer-encoding")
	}
	return false
}

// chunkRoom is what a chunk needs before its data: at most 8 hex digits and
// CRLF.
const chunkRoom = 10

// CopyBody copies src to w until its end: as chunks with the trailer section
// behind them, or as it is. Each piece that src gives goes out at once, in one write.
// head, which may be empty, goes out with the first piece when src has that
// ready (it says so by a method Buffered() int), else before it.
//
// It returns the number of body bytes written, and which side an error came
// from.
func CopyBody(w io.Writer, src io.Reader, head []byte, chunked bool, trailer *middleware.Header) (n int64, readErr, writeErr error) {
	return CopySized(w, src, head, chunked, -1, trailer)
}

// CopySized is CopyBody for a body of which the length is known, or is -1: long
// ones are copied in larger pieces.
func CopySized(w io.Writer, src io.Reader, head []byte, chunked bool, length int64, trailer *middleware.Header) (n int64, readErr, writeErr error) {
	buf := getBody(length)
	defer putBody(buf)
	b := buf.b[:0]
	b = append(b, head...)
	if len(b) > 0 && !ready(src) { // the body may be long in coming: the head does not wait for it
		if _, err := w.Write(b); err != nil {
			return 0, nil, err
		}
		b = buf.b[:0]
	}
	for {
		b, n, readErr = appendPiece(b, src, chunked, n)
		if readErr == io.EOF && chunked {
			b = append(b, "0\r\n"...)
			b = appendFields(b, trailer)
			b = append(b, "\r\n"...)
		}
		if len(b) > 0 && (readErr == nil || readErr == io.EOF) {
			if _, err := w.Write(b); err != nil {
				return n, nil, err
			}
			b = buf.b[:0]
		}
		if readErr == io.EOF {
			return n, nil, nil
		}
		if readErr != nil {
			return n, readErr, nil
		}
	}
}

// appendPiece reads once into the free part of b.
func appendPiece(b []byte, src io.Reader, chunked bool, n int64) ([]byte, int64, error) {
	room := 0
	if chunked {
		room = chunkRoom
	}
	free := cap(b) - len(b) - room - 2
	if free < minSpace { // a large head: it needs more memory, once
		bigger := make([]byte, len(b), len(b)+smallBody)
		copy(bigger, b)
		b = bigger
		free = smallBody - room - 2
	}
	start := len(b)
	got, err := src.Read(b[start+room : start+room+free])
	if got == 0 {
		return b, n, err
	}
	n += int64(got)
	if !chunked {
		return b[:start+got], n, err
	}
	var size [chunkRoom]byte
	line := append(strconv.AppendInt(size[:0], int64(got), 16), '\r', '\n')
	// The size line is right before the data: what is unused of its room stands
	// before it, so that the data need not move.
	b = b[:start+room+got]
	if gap := room - len(line); start == 0 {
		copy(b[gap:], line)
		b = b[gap:]
	} else {
		copy(b[start:], line)
		copy(b[start+len(line):], b[start+room:])
		b = b[:len(b)-gap]
	}
	return append(b, '\r', '\n'), n, err
}

func ready(src io.Reader) bool {
	r, ok := src.(interface{ Buffered() int })
	return ok && r.Buffered() > 0
}
