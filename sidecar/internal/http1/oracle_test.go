package http1

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"net/textproto"
	"slices"
	"strings"
	"testing"

	"github.com/outrigger-mesh/outrigger/middleware"
)

// message is what one parser has understood of the first message in a piece of
// input: what two parsers have to agree upon.
type message struct {
	header  http.Header
	body    string
	trailer http.Header
	rest    string // the input behind the message

	// Of a response alone.
	status int
	length int64
	close  bool
}

// fieldsOf is a header as net/http keeps one. A field of an empty value is one
// with an empty value in both.
func fieldsOf(h *middleware.Header) http.Header {
	out := http.Header{}
	for f := range h.All() {
		name := textproto.CanonicalMIMEHeaderKey(string(f.Name))
		out[name] = append(out[name], string(f.Value))
	}
	return out
}

// hopFields are never for the other end (RFC 9110, section 7.6.1); Expect is
// answered by each hop for itself (section 10.1.1), and the fields that frame
// are each hop's own.
var hopFields = []string{
	"Connection", "Keep-Alive", "Proxy-Connection", "Te", "Transfer-Encoding", "Upgrade", "Content-Length", "Expect", "Trailer",
}

// endToEnd is a header without what concerns one hop, and without the fields
// that Connection names: these may be dropped, unless they are among those that
// no client may have removed.
func endToEnd(h http.Header, named []string) http.Header {
	out := h.Clone()
	for name := range h {
		if slices.Contains(hopFields, name) || slices.ContainsFunc(named, func(n string) bool { return strings.EqualFold(n, name) }) {
			delete(out, name)
		}
	}
	return out
}

// namedBy are the fields that Connection names and that may be dropped for it.
func namedBy(h http.Header) []string {
	var named []string
	for _, line := range h["Connection"] {
		for token := range strings.SplitSeq(line, ",") {
			if token = strings.Trim(token, " \t"); token != "" && !slices.ContainsFunc(untouchable, func(u string) bool { return strings.EqualFold(u, token) }) {
				named = append(named, token)
			}
		}
	}
	return named
}

// untouchable fields stay even where Connection names them: otherwise a client
// could have them removed on the way to the app.
var untouchable = []string{"Host", "Content-Length", "Authorization", "Cookie", "Set-Cookie", "Content-Type", "X-Forwarded-For"}

// sameFields fails the test where a header is not what net/http has. Pragma is
// left out of it: net/http makes a Cache-Control of it.
func sameFields(t *testing.T, what string, ours, theirs http.Header) {
	t.Helper()
	if len(theirs["Pragma"]) > 0 {
		delete(ours, "Cache-Control")
		delete(theirs, "Cache-Control")
	}
	for name, values := range theirs {
		if !slices.Equal(values, ours[name]) {
			t.Fatalf("%s: %s is %q, net/http has %q", what, name, ours[name], values)
		}
	}
	for name, values := range ours {
		if _, ok := theirs[name]; !ok {
			t.Fatalf("%s: %s is %q, net/http has none", what, name, values)
		}
	}
}

// readTheirRequest reads the first request of the input by net/http. The buffer
// is large: net/http refuses a trailer section that does not fit into it.
func readTheirRequest(in []byte) (*http.Request, message, error) {
	br := bufio.NewReaderSize(bytes.NewReader(in), 1<<17)
	r, err := http.ReadRequest(br)
	if err != nil {
		return nil, message{}, err
	}
	m := message{header: r.Header}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return r, m, err
	}
	rest, _ := io.ReadAll(br)
	m.body, m.trailer, m.rest = string(body), r.Trailer, string(rest)
	return r, m, nil
}

// readTheirResponse is readTheirRequest for the response to a request of the
// method.
func readTheirResponse(in []byte, method string) (message, error) {
	br := bufio.NewReaderSize(bytes.NewReader(in), 1<<17)
	r, err := http.ReadResponse(br, &http.Request{Method: method})
	if err != nil {
		return message{}, err
	}
	defer func() { _ = r.Body.Close() }()
	m := message{header: r.Header, status: r.StatusCode, length: r.ContentLength, close: r.Close}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return m, err
	}
	rest, _ := io.ReadAll(br)
	m.body, m.trailer, m.rest = string(body), r.Trailer, string(rest)
	return m, nil
}

// readOurs reads the body that follows a head, to its end.
func readOurs(c *Conn, f Framing, trailer *middleware.Header) (string, error) {
	if f.Length == 0 && !f.Chunked {
		return "", nil
	}
	var r Reader
	r.Reset(c, f, trailer)
	body, err := io.ReadAll(&r)
	return string(body), err
}

// trailersOf are those of net/http's trailer fields that may be passed on: ours
// drops those that would have decided about the body.
func trailersOf(h http.Header) http.Header {
	out := http.Header{}
	for name, values := range h {
		if len(values) > 0 && !forbiddenTrailer([]byte(name)) {
			out[name] = values
		}
	}
	return out
}

// inPieces is the input as a connection gives it, in pieces of n bytes.
func inPieces(in []byte, n int) *Conn {
	return NewConn(fakeConn{r: &pieces{in, max(n, 1)}})
}

type pieces struct {
	in []byte
	n  int
}

func (p *pieces) Read(b []byte) (int, error) {
	if len(p.in) == 0 {
		return 0, io.EOF
	}
	n := copy(b, p.in[:min(p.n, len(p.in))])
	p.in = p.in[n:]
	return n, nil
}
