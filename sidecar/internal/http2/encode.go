package http2

import (
	"strconv"
	"unsafe"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/outrigger-mesh/outrigger/middleware"
)

// interner gives strings for bytes: HPACK's dynamic table keeps what it is
// given. What it knows costs no allocation.
type interner struct{ known map[string]string }

// What an interner keeps.
const (
	internMost = 256 // strings
	internSize = 256 // bytes of one
)

func (in *interner) get(b []byte) (s string, ok bool) {
	if s, ok := in.known[string(b)]; ok {
		return s, true
	}
	if len(b) > internSize {
		return "", false
	}
	if in.known == nil || len(in.known) >= internMost {
		in.known = make(map[string]string, 16)
	}
	s = string(b)
	in.known[s] = s
	return s, true
}

// lower gives a field's name as HTTP/2 has it.
func (in *interner) lower(b []byte) string {
	if s, ok := in.known[string(b)]; ok {
		return s
	}
	low := make([]byte, len(b))
	for i, c := range b {
		if c >= 'A' && c <= 'Z' {
			c |= 0x20
		}
		low[i] = c
	}
	s := string(low)
	if len(b) > internSize {
		return s
	}
	if in.known == nil || len(in.known) >= internMost {
		in.known = make(map[string]string, 16)
	}
	in.known[string(b)] = s
	return s
}

// text is a string that shares b's memory: for what the encoder does not keep.
func text(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) } //nolint:gosec // not kept

// field encodes one field into the block. A value that will be the same the
// next time goes into the table, one that will not, or that nobody else should
// be able to guess at, does not. mu is held.
func (c *Conn) field(name string, value []byte) {
	f := hpack.HeaderField{Name: name}
	if volatile(name) {
		f.Value, f.Sensitive = text(value), true
	} else if s, ok := c.values.get(value); ok {
		f.Value = s
	} else {
		f.Value, f.Sensitive = text(value), true
	}
	_ = c.enc.WriteField(f) // a bytes.Buffer takes everything
}

// volatile are the fields whose values are new in each message, or secret
// (RFC 7541, section 7.1.3).
func volatile(name string) bool {
	switch len(name) {
	case 3:
		return name == "age"
	case 4:
		return name == "etag"
	case 6:
		return name == "cookie" || name == "expect"
	case 7:
		return name == "expires"
	case 8:
		return name == "location" || name == "if-match" || name == "baggage"
	case 10:
		return name == "set-cookie" || name == "tracestate"
	case 11:
		return name == "traceparent"
	case 12:
		return name == "x-request-id" || name == "grpc-timeout" || name == "grpc-message"
	case 13:
		return name == "authorization" || name == "last-modified" || name == "if-none-match" || name == "uber-trace-id" || name == "content-range"
	case 14:
		return name == "content-length"
	case 15:
		return name == "x-forwarded-for"
	case 17:
		return name == "if-modified-since"
	case 18:
		return name == "x-request-deadline"
	case 19:
		return name == "proxy-authorization" || name == "grpc-trace-bin"
	case 23:
		return name == "grpc-status-details-bin"
	}
	return false
}

// RequestOptions is what a hop adds to a request.
type RequestOptions struct {
	// GRPCTimeout, if not empty, takes the place of the request's grpc-timeout.
	GRPCTimeout []byte
	Scheme      []byte // empty: the request's
}

// encodeRequest fills the block with a request's head. mu is held.
func (c *Conn) encodeRequest(r *middleware.Request, o RequestOptions) {
	c.block.Reset()
	c.field(":method", r.Method)
	scheme := r.Scheme
	if len(o.Scheme) > 0 {
		scheme = o.Scheme
	}
	c.field(":scheme", scheme)
	c.field(":authority", r.Authority)
	c.path(r.Target)
	c.regular(&r.Header, len(o.GRPCTimeout) > 0)
	if len(o.GRPCTimeout) > 0 {
		c.field("grpc-timeout", o.GRPCTimeout)
	}
	if r.ContentLength > 0 || r.ContentLength == 0 && expectsLength(r.Method) {
		c.length(r.ContentLength)
	}
}

// path encodes :path. One with a query is hardly ever the same again, and one
// with an id in it is not either: those of gRPC's methods, which are neither,
// are what the table is for. It is given to the table where it was seen before.
func (c *Conn) path(p []byte) {
	f := hpack.HeaderField{Name: ":path"}
	if s, ok := c.paths[string(p)]; ok {
		f.Value = s
	} else {
		f.Value, f.Sensitive = text(p), true
		if len(p) <= internSize {
			if len(c.paths) >= internMost || c.paths == nil {
				c.paths = make(map[string]string, 16)
			}
			s := string(p)
			c.paths[s] = s
		}
	}
	_ = c.enc.WriteField(f)
}

func expectsLength(method []byte) bool {
	switch string(method) {
	case "POST", "PUT", "PATCH":
		return true
	}
	return false
}

func (c *Conn) length(n int64) {
	c.digits = strconv.AppendInt(c.digits[:0], n, 10)
	c.field("content-length", c.digits)
}

// statuses are the values of :status.
var statuses = func() (all [600]string) {
	for i := range all {
		all[i] = strconv.Itoa(i)
	}
	return all
}()

// encodeResponse fills the block with the head of a response. mu is held.
func (c *Conn) encodeResponse(status int, h *middleware.Header, length int64) {
	c.block.Reset()
	f := hpack.HeaderField{Name: ":status"}
	if status < len(statuses) && status >= 0 {
		f.Value = statuses[status]
	} else {
		f.Value = strconv.Itoa(status)
	}
	_ = c.enc.WriteField(f)
	if h != nil {
		c.regular(h, false)
	}
	if length >= 0 && status >= 200 && status != 204 {
		c.length(length)
	}
}

// regular encodes the fields that are not this hop's own.
func (c *Conn) regular(h *middleware.Header, noTimeout bool) {
	for i := range h.Len() {
		f := h.At(i)
		name := c.names.lower(f.Name)
		if hopByHop(name) || noTimeout && name == "grpc-timeout" {
			continue
		}
		c.field(name, f.Value)
	}
}

// hopByHop are the fields that HTTP/2 has no use for (RFC 9113, section 8.2.2),
// and those that the head says otherwise.
func hopByHop(name string) bool {
	switch len(name) {
	case 4:
		return name == "host"
	case 7:
		return name == "upgrade"
	case 10:
		return name == "connection" || name == "keep-alive"
	case 14:
		return name == "content-length"
	case 16:
		return name == "proxy-connection"
	case 17:
		return name == "transfer-encoding"
	}
	return false
}

// putBlock appends the block as the frames of a header block. mu is held.
func (c *Conn) putBlock(id uint32, end bool) {
	b := c.block.Bytes()
	first := b[:min(len(b), c.peer.frame)]
	b = b[len(first):]
	_ = c.fw.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: first, EndStream: end, EndHeaders: len(b) == 0})
	for len(b) > 0 {
		part := b[:min(len(b), c.peer.frame)]
		b = b[len(part):]
		_ = c.fw.WriteContinuation(id, len(b) == 0, part)
	}
}
