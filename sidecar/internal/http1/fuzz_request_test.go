package http1

import (
	"bytes"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/outrigger-mesh/outrigger/middleware"
)

// requestSeeds are requests of every kind, and some that are none.
var requestSeeds = []string{
	"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
	"GET /x?y HTTP/1.1\r\nHost: a:80\r\nX-A: b\r\nx-a: c\r\nCookie: k=v\r\nAccept:\r\n\r\n",
	"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabcGET / HTTP/1.1\r\nHost: b\r\n\r\n",
	"POST http://b:1/x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: T\r\n\r\n3\r\nabc\r\nA\r\n0123456789\r\n0\r\nT: u\r\nContent-Length: 1\r\n\r\nrest",
	"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
	"GET /a HTTP/1.1\r\nHost: a\r\nConnection: close, X-B, Authorization\r\nX-B: 1\r\nAuthorization: s\r\nTE: trailers, deflate;q=0.5\r\nKeep-Alive: 5\r\n\r\n",
	"GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n\r\nframe",
	"PUT /a HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\nx",
	"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
	"OPTIONS http://a HTTP/1.1\r\nHost: a\r\n\r\n",
	"GET http://a?q HTTP/1.1\r\nHost: b\r\nPragma: no-cache\r\n\r\n",
	"DELETE /\xff%00 HTTP/1.3\r\nHost: [::1]:8\r\nX: \xc3\xa4\t.\r\n\r\n",
	"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 5\r\n\r\nabcde",
	"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
	"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
	"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\vchunked\r\n\r\n0\r\n\r\n",
	"GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n",
	"GET / HTTP/1.1\nHost: a\n\n",
	"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
	"GET /%zz HTTP/1.1\r\nHost: a\r\n\r\n", "GET /x?100% HTTP/1.1\r\nHost: a\r\n\r\n", "GET http://%41/ HTTP/1.1\r\nHost: a\r\n\r\n",
	"GET http://[::1%1]/ HTTP/1.1\r\nHost: a\r\n\r\n", "GET http://[abc]/ HTTP/1.1\r\nHost: a\r\n\r\n",
	"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
}

// FuzzRequestInPieces: a request is the same request however the network has
// cut it.
func FuzzRequestInPieces(f *testing.F) {
	for i, seed := range requestSeeds {
		f.Add([]byte(seed), byte(i))
	}
	f.Fuzz(func(t *testing.T, in []byte, size byte) {
		whole, pieced := outcome(inPieces(in, len(in))), outcome(inPieces(in, int(size)))
		if whole != pieced {
			t.Fatalf("in one piece:\n%s\nin pieces of %d bytes:\n%s", whole, max(size, 1), pieced)
		}
	})
}

// outcome is everything that comes of a connection's first two requests, in
// words.
func outcome(c *Conn) string {
	var s strings.Builder
	for range 2 {
		r, framing, err := parse(c)
		if err != nil {
			fmt.Fprintf(&s, "error %v\n", err)
			break
		}
		fmt.Fprintf(&s, "%s %s %s %s %q %+v\n%q\n", r.Method, r.Authority, r.Target, r.Proto, r.Upgrade, framing, fieldsOf(&r.Header))
		body, err := readOurs(c, framing, &r.Trailer)
		fmt.Fprintf(&s, "%q %v %q\n", body, err, fieldsOf(&r.Trailer))
		if err != nil {
			break
		}
	}
	return s.String()
}

// FuzzRequestRewrite: the request that goes on to the next hop is, for
// net/http, the one that came: method, target, host, end-to-end fields, body
// and trailer section, and not a byte more.
func FuzzRequestRewrite(f *testing.F) {
	for _, seed := range requestSeeds {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		c := inPieces(in, len(in))
		r, framing, err := parse(c)
		if err != nil || string(r.Method) == http.MethodConnect {
			return
		}
		body, err := readOurs(c, framing, &r.Trailer)
		if err != nil {
			return
		}
		in = bytes.TrimPrefix(in, []byte("\r\n")) // RFC 9112, section 2.2
		came, theirs, err := readTheirRequest(in)
		if err != nil {
			t.Fatalf("we accept what net/http refuses: %v", err)
		}
		if theirs.body != body || came.Method != string(r.Method) {
			t.Fatalf("%s with body %q, net/http has %s with %q", r.Method, body, came.Method, theirs.body)
		}
		if rest := c.Rest(); theirs.rest != string(rest) && c.Buffered() == 0 && len(in) < bufferSize/2 {
			t.Fatalf("behind the request %q is left, net/http leaves %q", rest, theirs.rest)
		}

		var out bytes.Buffer
		_, readErr, writeErr := CopyBody(&out, strings.NewReader(body), AppendRequest(nil, r), r.ContentLength < 0, &r.Trailer)
		if readErr != nil || writeErr != nil {
			t.Fatalf("write: %v, %v", readErr, writeErr)
		}
		went, sent, err := readTheirRequest(out.Bytes())
		if err != nil {
			t.Fatalf("what we send on is not HTTP: %v\n%q", err, out.Bytes())
		}
		if sent.rest != "" {
			t.Fatalf("a byte more than the request went on: %q", out.Bytes())
		}
		if went.Method != came.Method || went.Host != strings.TrimSuffix(came.Host, ":") || went.ProtoMinor != 1 {
			t.Fatalf("%s at %q by %s went on, %s at %q came", went.Method, went.Host, went.Proto, came.Method, came.Host)
		}
		if target := string(r.Target); went.RequestURI != target || !strings.HasSuffix(came.RequestURI, strings.TrimPrefix(target, "/")) &&
			(target != "*" || came.Method != http.MethodOptions) {
			t.Fatalf("target %q went on, %q came", went.RequestURI, came.RequestURI)
		}
		named := namedBy(came.Header)
		sameFields(t, "fields", endToEnd(went.Header, named), endToEnd(came.Header, named))
		if sent.body != theirs.body {
			t.Fatalf("body %q went on, %q came", sent.body, theirs.body)
		}
		sameFields(t, "trailers", trailersOf(sent.trailer), trailersOf(theirs.trailer))
		again, _, err := parse(inPieces(out.Bytes(), out.Len()))
		if err != nil {
			t.Fatalf("we refuse what we send: %v", err)
		}
		sameFields(t, "read again", fieldsOf(&again.Header), fieldsOf(&r.Header))
	})
}

// FuzzFieldsOfHandlers: whatever a middleware puts into a header, it is one
// field or none on the wire, never the beginning of something else.
func FuzzFieldsOfHandlers(f *testing.F) {
	f.Add("X-A", []byte("b"))
	f.Add("X-A", []byte("b\r\nX-C: d"))
	f.Add("X-A\r\nX-C", []byte("\r\n\r\nHTTP/1.1 200 OK"))
	f.Add("X-Control", []byte("\x14\x7f"))
	f.Add("Content-Length", []byte("5"))
	f.Add("transfer-encoding", []byte("chunked"))
	f.Add("Connection", []byte("close"))
	f.Add("Host", []byte("b"))
	f.Fuzz(func(t *testing.T, name string, value []byte) {
		var h middleware.Header
		h.Add(name, string(value))
		h.AddBytes(name, value)
		h.SetBytes("X-Last", value)
		r := middleware.Response{Status: 200, Header: h, ContentLength: 2}
		head, _, _ := AppendResponse(nil, &r, ResponseOptions{Method: []byte("GET")})
		m, err := readTheirResponse(append(head, "ok"...), http.MethodGet)
		if err != nil || m.body != "ok" || m.rest != "" || len(m.header) > 3 || len(m.header["X-Last"]) == 0 {
			t.Fatalf("the response became %q: %v", head, err)
		}
		req := middleware.Request{Method: []byte("POST"), Target: []byte("/"), Authority: []byte("a"), Header: h, ContentLength: 2}
		got, sent, err := readTheirRequest(append(AppendRequest(nil, &req), "ok"...))
		if err != nil || sent.body != "ok" || sent.rest != "" || len(sent.header) > 3 || got.Host != "a" {
			t.Fatalf("the request became %q: %v", AppendRequest(nil, &req), err)
		}
	})
}
