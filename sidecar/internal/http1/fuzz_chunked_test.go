package http1

import (
	"testing"

	"github.com/outrigger-mesh/outrigger/middleware"
)

// FuzzChunked: a chunked body that we take is one for net/http's reader too,
// with the same bytes, the same trailer fields and the same end, however the
// network has cut it.
func FuzzChunked(f *testing.F) {
	for _, seed := range []string{
		"0\r\n\r\n", "3\r\nabc\r\n0\r\n\r\nGET /", "a\r\n0123456789\r\n1\r\nx\r\n0\r\nA: b\r\nC: d\r\n\r\n",
		"3;x=y\r\nabc\r\n0\r\n\r\n", "3 \r\nabc\r\n0\r\n\r\n", "03\r\nabc\r\n00\r\n\r\n", "0x3\r\nabc\r\n0\r\n\r\n", "3\nabc\n0\n\n",
		"-1\r\n\r\n", "fffffffffffffff\r\n", "10000000000000003\r\nabc\r\n0\r\n\r\n", "3\r\nabcd\r\n0\r\n\r\n", "3\r\nabc0\r\n\r\n",
		"0\r\nA : b\r\n\r\n", "0\r\nA: b\n\n", "0\r\n A: b\r\n\r\n", "1_0\r\n", "+3\r\nabc\r\n0\r\n\r\n", "0\r\nContent-Length: 3\r\n\r\nabc",
	} {
		f.Add([]byte(seed), byte(3))
	}
	f.Fuzz(func(t *testing.T, in []byte, size byte) {
		if len(in) > bufferSize/2 { // what is left is to be found in the buffer
			return
		}
		framing := Framing{Chunked: true, Length: -1}
		var trailer, same middleware.Header
		c, pieced := inPieces(in, len(in)), inPieces(in, int(size))
		body, err := readOurs(c, framing, &trailer)
		again, errAgain := readOurs(pieced, framing, &same)
		if body != again || (err == nil) != (errAgain == nil) {
			t.Fatalf("in one piece %q, %v; in pieces of %d bytes %q, %v", body, err, max(size, 1), again, errAgain)
		}
		if err != nil {
			return
		}
		sameFields(t, "in pieces", fieldsOf(&same), fieldsOf(&trailer))
		const head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
		_, theirs, err := readTheirRequest(append([]byte(head), in...))
		if err != nil {
			t.Fatalf("we take what net/http refuses: %v", err)
		}
		if body != theirs.body || string(c.Rest()) != theirs.rest {
			t.Fatalf("body %q, net/http has %q and leaves %q", body, theirs.body, theirs.rest)
		}
		sameFields(t, "trailers", fieldsOf(&trailer), trailersOf(theirs.trailer))
	})
}
