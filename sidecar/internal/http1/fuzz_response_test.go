package http1

import (
	"bytes"
	"net/http"
	"strings"
	"testing"

	"github.com/outrigger-mesh/outrigger/middleware"
)

// FuzzResponse: the response that goes on to the client is, for net/http, the
// one that the app sent: status, end-to-end fields, body and trailer section,
// and not a byte more: what stands behind it is never taken for a part of it.
func FuzzResponse(f *testing.F) {
	for _, seed := range []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nGrpc-Status: 0\r\nSet-Cookie: a\r\n\r\n",
		"HTTP/1.1 200 OK\r\nSet-Cookie: a=b\r\nset-cookie: c\r\nVary:\r\nContent-Length: 0\r\n\r\n",
		"HTTP/1.0 200 OK\r\n\r\nuntil the end", "HTTP/1.1 200\r\nConnection: close\r\n\r\nuntil the end",
		"HTTP/1.1 204 No Content\r\nContent-Length: 3\r\n\r\nabc", "HTTP/1.1 304 Not Modified\r\nContent-Length: 30\r\nETag: \"x\"\r\n\r\n",
		"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nframes",
		"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 1, 1\r\n\r\nx",
		"HTTP/1.1 200 OK\nContent-Length: 0\n\n", "HTTP/1.1  200 OK\r\n\r\n", "HTTP/1.1 99 x\r\n\r\n", "HTTP/1.1 200 OK\r\nX: a\x00b\r\n\r\n",
		"HTTP/1.1 200 OK\r\nConnection: X-A\r\nX-A: 1\r\nKeep-Alive: 3\r\nContent-Length: 0\r\n\r\n",
	} {
		for method := range byte(2) {
			for old := range byte(2) {
				f.Add([]byte(seed), method, old)
			}
		}
	}
	f.Fuzz(func(t *testing.T, in []byte, method, old byte) {
		name := []string{http.MethodGet, http.MethodHead}[method%2]
		c := inPieces(in, len(in))
		head, err := c.ReadHead(MaxHeadBytes)
		if err != nil {
			return
		}
		r := new(middleware.Response)
		framing, err := ParseResponse(head, []byte(name), r)
		if err != nil {
			return
		}
		body, err := readOurs(c, framing, &r.Trailer)
		if err != nil {
			return
		}
		theirs, err := readTheirResponse(bytes.TrimPrefix(in, []byte("\r\n")), name)
		if err != nil {
			t.Fatalf("we accept what net/http refuses: %v", err)
		}
		if theirs.status != r.Status || r.Status != 101 && theirs.body != body {
			t.Fatalf("%d with body %q, net/http has %d with %q", r.Status, body, theirs.status, theirs.body)
		}
		if rest := c.Rest(); r.Status != 101 && theirs.rest != string(rest) && len(in) < bufferSize/2 {
			t.Fatalf("behind the response %q is left, net/http leaves %q", rest, theirs.rest)
		}
		if !framing.Close && theirs.close {
			t.Fatalf("we keep a connection that net/http closes")
		}
		if r.Status < 200 {
			return // another head follows, or another protocol
		}

		head, chunked, closing := AppendResponse(nil, r, ResponseOptions{Method: []byte(name), Old: old%2 == 1})
		var out bytes.Buffer
		out.Write(head)
		if !NoBody(r.Status, []byte(name)) {
			out.Reset()
			if _, readErr, writeErr := CopyBody(&out, strings.NewReader(body), head, chunked, &r.Trailer); readErr != nil || writeErr != nil {
				t.Fatalf("write: %v, %v", readErr, writeErr)
			}
		}
		sent, err := readTheirResponse(out.Bytes(), name)
		if err != nil {
			t.Fatalf("what we send on is not HTTP: %v\n%q", err, out.Bytes())
		}
		if sent.rest != "" || sent.status != theirs.status || sent.body != theirs.body {
			t.Fatalf("%d with %q went on and %q behind it; %d with %q came", sent.status, sent.body, sent.rest, theirs.status, theirs.body)
		}
		if sent.length < 0 && !chunked && !closing && !NoBody(r.Status, []byte(name)) {
			t.Fatalf("nobody knows where the body ends: %q", out.Bytes())
		}
		named := namedBy(theirs.header)
		sameFields(t, "fields", endToEnd(sent.header, named), endToEnd(theirs.header, named))
		if chunked {
			sameFields(t, "trailers", trailersOf(sent.trailer), trailersOf(theirs.trailer))
		}
	})
}
