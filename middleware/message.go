package middleware

import (
	"bytes"
	"io"
	"net/netip"
)

// Protocol is a version of HTTP.
type Protocol uint8

// The versions of HTTP that engines speak.
const (
	HTTP10 Protocol = iota + 1
	HTTP11
	HTTP2
)

// String is the name of the version, as in an access log.
func (p Protocol) String() string {
	switch p {
	case HTTP10:
		return "HTTP/1.0"
	case HTTP11:
		return "HTTP/1.1"
	case HTTP2:
		return "HTTP/2"
	}
	return "unknown"
}

// Peer is who sent the request.
type Peer struct {
	Addr netip.AddrPort
	// Identity is the peer's verified identity (a SPIFFE ID), empty where the
	// connection proves none.
	Identity string
}

// Request is what came from the client. Byte slices belong to the engine and
// are valid until the exchange has ended; a handler that changes a part sets
// the field to a slice of its own. Changing Target or Authority never chooses
// another route: Exchange.Reroute does.
type Request struct {
	Proto     Protocol
	Method    []byte
	Scheme    []byte // http or https, as the client sees it
	Authority []byte // host, with port where the client gave one; in the client's case
	Target    []byte // path and query, beginning with '/'; "*" for OPTIONS *; empty for CONNECT
	Header    Header // without the pseudo-fields and without Host
	// ContentLength is the length of the body in bytes, 0 where there is none,
	// -1 where it is not known beforehand.
	ContentLength int64
	Body          Body
	Trailer       Header // complete once Body has returned io.EOF
	Peer          Peer
	// Upgrade is the protocol that the client wants to switch to (RFC 9110,
	// section 7.8), empty for none. The engine takes it out of the header.
	Upgrade []byte
}

// Path is Target without the query.
func (r *Request) Path() []byte {
	path, _, _ := bytes.Cut(r.Target, []byte{'?'})
	return path
}

// Query is what follows the '?' of Target; nil where there is none.
func (r *Request) Query() []byte {
	_, query, _ := bytes.Cut(r.Target, []byte{'?'})
	return query
}

// Safe reports whether the method is a safe one, which asks for no change of
// state and may be sent again (RFC 9110, section 9.2.1).
func (r *Request) Safe() bool {
	switch string(r.Method) {
	case "GET", "HEAD", "OPTIONS", "TRACE":
		return true
	}
	return false
}

// Response is what goes to the client: an endpoint's, or a local reply.
type Response struct {
	Status int // 0 until a head is known
	Header Header
	// ContentLength is as in Request. For an answer that has no body whatever
	// its header says (HEAD, 204, 304) it is what the header says.
	ContentLength int64
	// Body is nil where there is none. Close ends the stream before its end;
	// the engine calls it once.
	Body    io.ReadCloser
	Trailer Header // complete once Body has returned io.EOF
	// Upgrade is the way to the endpoint after a 101: what the client sends is
	// written to it, Close is the end of it. Body is then the way back.
	Upgrade io.WriteCloser
}

func (r *Response) reset() {
	r.Status, r.ContentLength, r.Body, r.Upgrade = 0, 0, nil, nil
	r.Header.Reset()
	r.Trailer.Reset()
}
