package conformance

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"golang.org/x/net/http2"
)

// inboundH1YAML is a sidecar before an app of which it is declared that it speaks
// HTTP/1.1.
const inboundH1YAML = `
app: {name: app, ports: [{name: http, protocol: http, address: "APP"}], health: {interval: 1h}}
listen: {inbound: "127.0.0.1:0", outbound: "off", admin: "off"}
discovery: {registry: {}}
drain: {delay: 1ms, timeout: 2s}
middleware: {inbound: []}
`

// smuggle is a request in HTTP/2 that means something else when it is written
// down in HTTP/1.1.
type smuggle struct {
	name   string
	fields []string // names and values, pseudo-header fields too
	body   string
	// trailers come after the body; nil: none.
	trailers []string

	// want is what has to come for the stream: the status, or the code of
	// RST_STREAM; several where either is right.
	want []string
	// app is what the app has seen, one line a request.
	app []string
	// raw has to be a part of the bytes that the app has seen; not must not.
	raw, not string
}

// badHead is what becomes of a malformed request (RFC 9113, section 8.1.1): the
// server may say what is wrong before it resets the stream.
var badHead = []string{"PROTOCOL_ERROR", "400"}

// h2 is a GET for /x with more fields, and h2post a POST.
func h2(more ...string) []string {
	return append([]string{":method", "GET", ":scheme", "http", ":authority", "a", ":path", "/x"}, more...)
}

func h2post(more ...string) []string {
	return append([]string{":method", "POST", ":scheme", "http", ":authority", "a", ":path", "/x"}, more...)
}

// TestHTTP2Downgrades: no field and no body of a request in HTTP/2 makes two
// requests, or another one, for an app that is spoken to in HTTP/1.1
// (J. Kettle, "HTTP/2: The Sequel is Always Worse", 2021: H2.CL, H2.TE, and
// injection by what HTTP/1.1 takes for its own; RFC 9113, sections 8.1.1 to 8.3 and
// 10.3).
func TestHTTP2Downgrades(t *testing.T) {
	const get = "GET /x HTTP/1.1\r\n"
	cases := []smuggle{
		{name: "as it should be", fields: h2("a", "b"), want: []string{"200"}, app: []string{"GET /x @a"}, raw: get},
		{name: "a body as it should be", fields: h2post("content-length", "5"), body: "abcde", want: []string{"200"}, app: []string{`POST /x @a "abcde"`}, raw: "ontent-"},
		{name: "a body without length", fields: h2post(), body: "abcde", want: []string{"200"}, app: []string{`POST /x @a "abcde"`}},
		{name: "trailers", fields: h2post(), body: "abcde", trailers: []string{"x-end", "1"}, want: []string{"200"}, app: []string{`POST /x @a "abcde" trailer X-End=["1"]`, `POST /x @a "abcde"`}},

		// H2.CL: the length is another one than that of the frames.
		{name: "H2.CL 0", fields: h2post("content-length", "0"), body: smuggled, want: badHead},
		{name: "H2.CL too short", fields: h2post("content-length", "3"), body: "abcde", want: badHead},
		{name: "H2.CL too long", fields: h2post("content-length", "9"), body: "abcde", want: badHead},
		{name: "H2.CL twice", fields: h2post("content-length", "5", "content-length", "5"), body: "abcde", want: badHead},
		{name: "H2.CL twice, two values", fields: h2post("content-length", "5", "content-length", "6"), body: "abcde", want: badHead},
		{name: "H2.CL with a sign", fields: h2post("content-length", "+5"), body: "abcde", want: badHead},
		{name: "H2.CL with white space", fields: h2post("content-length", " 5"), body: "abcde", want: badHead},
		{name: "H2.CL in a list", fields: h2post("content-length", "5, 5"), body: "abcde", want: badHead},
		{name: "H2.CL that overflows", fields: h2post("content-length", "18446744073709551621"), body: "abcde", want: badHead},
		{name: "H2.CL that is empty", fields: h2post("content-length", ""), body: "abcde", want: badHead},
		{name: "a length and no body", fields: h2post("content-length", "5"), want: badHead},

		// H2.TE.
		{name: "H2.TE", fields: h2post("transfer-encoding", "chunked"), body: "0\r\n\r\n" + smuggled, want: badHead},
		{name: "H2.TE identity", fields: h2post("transfer-encoding", "identity"), body: "abcde", want: badHead},
		{name: "H2.TE in trailers", fields: h2post(), body: "abcde", trailers: []string{"transfer-encoding", "chunked"}, want: badHead},
		{name: "a length in trailers", fields: h2post(), body: "abcde", trailers: []string{"content-length", "1"}, want: []string{"PROTOCOL_ERROR", "400", "200"}, not: "ontent-length: 1"},
		{name: "H2.TE, capitals", fields: h2post("Transfer-Encoding", "chunked"), body: "0\r\n\r\n", want: badHead},
		{name: "H2.TE, white space", fields: h2post("transfer-encoding ", "chunked"), body: "0\r\n\r\n", want: badHead},

		// Fields of one hop (section 8.2.2).
		{name: "connection", fields: h2("connection", "close"), want: badHead},
		{name: "keep-alive", fields: h2("keep-alive", "1"), want: badHead},
		{name: "proxy-connection", fields: h2("proxy-connection", "close"), want: badHead},
		{name: "upgrade", fields: h2("upgrade", "websocket"), want: badHead},
		{name: "te", fields: h2("te", "gzip"), want: badHead},
		{name: "te trailers", fields: h2("te", "trailers"), want: []string{"200"}, app: []string{"GET /x @a"}, raw: "te: trailers"},
		{name: "http2-settings", fields: h2("http2-settings", "AAMAAABk"), want: []string{"200", "PROTOCOL_ERROR"}, app: []string{"GET /x @a"}},

		// Values that end a line (section 8.2.1).
		{name: "CR LF in a value", fields: h2("a", "b\r\nTransfer-Encoding: chunked"), want: badHead},
		{name: "LF in a value", fields: h2("a", "b\nc: d"), want: badHead},
		{name: "CR in a value", fields: h2("a", "b\rc: d"), want: badHead},
		{name: "NUL in a value", fields: h2("a", "b\x00"), want: badHead},
		{name: "white space before a value", fields: h2("a", " b"), want: badHead},
		{name: "white space behind a value", fields: h2("a", "b\t"), want: badHead},
		{name: "a request in a value", fields: h2("a", "b\r\n\r\n"+smuggled), want: badHead},
		{name: "a colon in a name", fields: h2("a: b", "c"), want: badHead},
		{name: "a line in a name", fields: h2("a: b\r\nc", "d"), want: badHead},
		{name: "white space in a name", fields: h2("a b", "c"), want: badHead},
		{name: "capitals in a name", fields: h2("Abc", "d"), want: badHead},
		{name: "an empty name", fields: h2("", "d"), want: badHead},
		{name: "a name that is not ASCII", fields: h2("\xc3\xa4", "d"), want: badHead},
		{name: "a value that is not ASCII", fields: h2("a", "\xc3\xa4"), want: []string{"200"}, app: []string{"GET /x @a"}},
		{name: "CR LF in a trailer", fields: h2post(), body: "abcde", trailers: []string{"a", "b\r\n\r\n" + smuggled}, want: badHead},
		{name: "a colon in a trailer's name", fields: h2post(), body: "abcde", trailers: []string{"a: b", "c"}, want: badHead},

		// Pseudo-header fields (section 8.3), of which the request line is made.
		{name: "a line in the method", fields: []string{":method", "GET / HTTP/1.1\r\nHost: b\r\n\r\nGET", ":scheme", "http", ":authority", "a", ":path", "/x"}, want: badHead},
		{name: "white space in the method", fields: []string{":method", "GET /admin", ":scheme", "http", ":authority", "a", ":path", "/x"}, want: badHead},
		{name: "an empty method", fields: []string{":method", "", ":scheme", "http", ":authority", "a", ":path", "/x"}, want: badHead},
		{name: "a line in the path", fields: []string{":method", "GET", ":scheme", "http", ":authority", "a", ":path", "/x HTTP/1.1\r\nHost: b\r\n\r\nGET /"}, want: badHead},
		{name: "white space in the path", fields: []string{":method", "GET", ":scheme", "http", ":authority", "a", ":path", "/x y"}, want: badHead},
		{name: "a path without slash", fields: []string{":method", "GET", ":scheme", "http", ":authority", "a", ":path", "x"}, want: badHead},
		{name: "a path that is a URL", fields: []string{":method", "GET", ":scheme", "http", ":authority", "a", ":path", "http://b/x"}, want: badHead},
		{name: "an empty path", fields: []string{":method", "GET", ":scheme", "http", ":authority", "a", ":path", ""}, want: badHead},
		{name: "a fragment in the path", fields: []string{":method", "GET", ":scheme", "http", ":authority", "a", ":path", "/x#y"}, want: []string{"PROTOCOL_ERROR", "400"}},
		{name: "an asterisk of another method", fields: []string{":method", "GET", ":scheme", "http", ":authority", "a", ":path", "*"}, want: badHead},
		{name: "OPTIONS for all", fields: []string{":method", "OPTIONS", ":scheme", "http", ":authority", "a", ":path", "*"}, want: []string{"200"}, app: []string{"OPTIONS * @a"}},
		{name: "a line in the authority", fields: []string{":method", "GET", ":scheme", "http", ":authority", "a\r\nX: y", ":path", "/x"}, want: badHead},
		{name: "user information in the authority", fields: []string{":method", "GET", ":scheme", "http", ":authority", "u@a", ":path", "/x"}, want: badHead},
		{name: "a path in the authority", fields: []string{":method", "GET", ":scheme", "http", ":authority", "a/b", ":path", "/x"}, want: badHead},
		{name: "white space in the authority", fields: []string{":method", "GET", ":scheme", "http", ":authority", "a b", ":path", "/x"}, want: badHead},
		{name: "a line in the scheme", fields: []string{":method", "GET", ":scheme", "http://b/\r\n", ":authority", "a", ":path", "/x"}, want: badHead},
		{name: "a scheme that is a URL", fields: []string{":method", "GET", ":scheme", "http://b/x?", ":authority", "a", ":path", "/x"}, want: badHead},
		{name: "two paths", fields: h2(":path", "/y"), want: badHead},
		{name: "two methods", fields: h2(":method", "POST"), want: badHead},
		{name: "two authorities", fields: h2(":authority", "b"), want: badHead},
		{name: "a pseudo-header field behind others", fields: []string{":method", "GET", ":scheme", "http", ":path", "/x", "a", "b", ":authority", "a"}, want: badHead},
		{name: "an unknown pseudo-header field", fields: h2(":protocol-x", "y"), want: badHead},
		{name: "that of responses", fields: h2(":status", "200"), want: badHead},
		{name: "one in trailers", fields: h2post(), body: "abcde", trailers: []string{":path", "/y"}, want: badHead},
		{name: "extended CONNECT, not allowed", fields: []string{":method", "CONNECT", ":protocol", "websocket", ":scheme", "http", ":authority", "a", ":path", "/x"}, want: []string{"PROTOCOL_ERROR", "400", "501"}},
		{name: "CONNECT", fields: []string{":method", "CONNECT", ":authority", "a:80"}, want: []string{"501", "PROTOCOL_ERROR", "400"}},
		{name: "CONNECT with a path", fields: []string{":method", "CONNECT", ":scheme", "http", ":authority", "a:80", ":path", "/x"}, want: []string{"PROTOCOL_ERROR", "400"}},

		// Host beside :authority (section 8.3.1).
		{name: "the same host", fields: h2("host", "a"), want: []string{"200"}, app: []string{"GET /x @a"}, raw: "Host: a\r\n"},
		{name: "another host", fields: h2("host", "b"), want: badHead},
		{name: "two hosts", fields: h2("host", "a", "host", "a"), want: badHead},
		{name: "host alone", fields: []string{":method", "GET", ":scheme", "http", ":path", "/x", "host", "a"}, want: []string{"200"}, app: []string{"GET /x @a"}},
		{name: "no host at all", fields: []string{":method", "GET", ":scheme", "http", ":path", "/x"}, want: badHead},
		{name: "host in trailers", fields: h2post(), body: "abcde", trailers: []string{"host", "b"}, want: []string{"PROTOCOL_ERROR", "400", "200"}, not: "host: b"},

		// Expectations are for each hop to meet.
		{name: "100-continue", fields: h2post("expect", "100-continue", "content-length", "5"), body: "abcde", want: []string{"200"}, app: []string{`POST /x @a "abcde"`}, not: "xpect"},
		{name: "100-continue in capitals", fields: h2post("expect", "100-CONTINUE", "content-length", "5"), body: "abcde", want: []string{"200"}, app: []string{`POST /x @a "abcde"`}, not: "xpect"},
		{name: "another expectation", fields: h2post("expect", "tea", "content-length", "5"), body: "abcde", want: []string{"417", "400", "PROTOCOL_ERROR"}},

		// Cookies in pieces (section 8.2.3).
		{name: "cookies", fields: h2("cookie", "a=1", "cookie", "b=2"), want: []string{"200"}, app: []string{"GET /x @a"}, raw: "ookie: a=1; b=2\r\n"},
	}
	names := map[string]bool{}
	for _, c := range cases {
		if names[c.name] {
			t.Errorf("two cases are named %q", c.name)
		}
		names[c.name] = true
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.run(t)
		})
	}
}

func (c smuggle) run(t *testing.T) {
	t.Helper()
	app := startRecorder(t)
	s := startSidecar(t, strings.ReplaceAll(inboundH1YAML, "APP", app.address))
	conn := dialH2(t, s.address())
	end := c.body == "" && c.trailers == nil
	conn.headers(1, end, c.fields...)
	if c.body != "" {
		_ = conn.WriteData(1, c.trailers == nil, []byte(c.body))
	}
	if c.trailers != nil {
		conn.headers(1, true, c.trailers...)
	}
	// The connection goes on.
	conn.headers(3, true, ":method", "GET", ":scheme", "http", ":authority", "a", ":path", "/next")
	conn.flush()
	if !conn.await("HEADERS 3 200") {
		t.Errorf("the next request is not served")
	}
	var want []string
	for _, w := range c.want {
		event := "RST_STREAM 1 " + w
		if w[0] >= '0' && w[0] <= '9' {
			event = "HEADERS 1 " + w
		}
		want = append(want, event)
	}
	if !conn.await(want...) {
		events, _ := conn.seen()
		t.Errorf("got %s\nwant one of %q", brief(events), want)
	}
	_ = conn.Close()
	// Now nothing is on its way any more.
	if err := s.stop(); err != nil {
		t.Errorf("the sidecar ended with %v", err)
	}
	app.stop()
	requests, raw := app.seen()
	requests = slices.DeleteFunc(requests, func(r string) bool {
		// The head may go on before the body is found to be wrong.
		return r == "GET /next @a" || c.app == nil && strings.HasSuffix(r, " broken")
	})
	switch {
	case c.want[len(c.want)-1] == "200" && c.app == nil: // either is right
	case len(c.app) > 1: // one of them
		if len(requests) != 1 || !slices.Contains(c.app, requests[0]) {
			t.Errorf("the app has seen %q, want one of %q", requests, c.app)
		}
	default:
		if diff := cmp.Diff(c.app, requests, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("the app has seen (-want +got):\n%s\n%q", diff, raw)
		}
	}
	if strings.Contains(raw, "/smuggled") && c.not == "" && c.app == nil {
		t.Errorf("the app was sent what was hidden: %q", raw)
	}
	if !strings.Contains(raw, c.raw) || c.not != "" && strings.Contains(raw, c.not) {
		t.Errorf("the app was sent %q, want %q in it and not %q", raw, c.raw, c.not)
	}
}

// TestHTTP2HeadsInPieces: where a head is cut into frames changes nothing.
func TestHTTP2HeadsInPieces(t *testing.T) {
	t.Parallel()
	s := startSidecar(t, strings.ReplaceAll(inboundH1YAML, "APP", startRecorder(t).address))
	conn := dialH2(t, s.address())
	for n := range 30 {
		block := slices.Clone(conn.fields(h2("x-long", strings.Repeat("l", n))...))
		id := stream(n)
		_ = conn.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: block[:min(n, len(block))], EndStream: true, EndHeaders: n >= len(block), PadLength: uint8(n)}) //nolint:gosec // small
		for rest := block[min(n, len(block)):]; len(rest) > 0; {
			k := min(len(rest), n/2+1)
			_ = conn.WriteContinuation(id, k == len(rest), rest[:k])
			rest = rest[k:]
		}
	}
	conn.flush()
	for n := range 30 {
		if !conn.await(fmt.Sprintf("HEADERS %d 200", stream(n))) {
			events, _ := conn.seen()
			t.Fatalf("stream %d is not answered: %s", stream(n), brief(events))
		}
	}
}
