// Package http1 is the wire format of HTTP/1.1 (RFC 9112), strict: what other
// parsers could read differently is an error. It parses heads into the
// middleware package's messages, reads and writes bodies, and knows nothing of
// routes, pools or listeners.
//
// A Conn is used by one goroutine for reading and by one for writing; these may
// be two.
package http1
