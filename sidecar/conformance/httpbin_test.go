package conformance

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/textproto"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/mccutchen/go-httpbin/v2/httpbin"
)

// ask is one request to httpbin.
type ask struct {
	method, target string
	fields         string // each with its CRLF
	body           string
	hop            string // fields for the first hop alone; not sent where it is the only one
	chunked        bool   // the body goes out in chunks
	// vary matches what is different each time in an answer's fields, trailers
	// and body, by httpbin's own doing.
	vary string
}

const (
	form      = "Content-Type: application/x-www-form-urlencoded\r\n"
	multipart = "Content-Type: multipart/form-data; boundary=b\r\n"
	upload    = "--b\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\none\r\n--b\r\nContent-Disposition: form-data; name=\"f\"; filename=\"x.bin\"\r\n\r\n\x00\x01\r\n\xff\r\n--b--\r\n"
	digest    = "Authorization: Digest username=\"u\", realm=\"go-httpbin\", nonce=\"n\", uri=\"/digest-auth/auth/u/p\", response=\"0\"\r\n"
	nonce     = `[0-9a-f]{32,64}`
)

// asks walk over the whole of httpbin's API.
var asks = []ask{
	{method: "GET", target: "/"},
	{method: "HEAD", target: "/"},
	{method: "GET", target: "/encoding/utf8"},
	{method: "GET", target: "/forms/post"},
	{method: "GET", target: "/get?a=1&a=2&b=%20%2F"},
	{method: "GET", target: "/get", fields: "X-One: 1\r\nx-two: 2\r\nX-One: 3\r\nAccept:\r\n"},
	{method: "HEAD", target: "/head"},
	{method: "HEAD", target: "/get"},
	{method: "OPTIONS", target: "/get", fields: "Origin: http://o\r\nAccess-Control-Request-Method: PUT\r\nAccess-Control-Request-Headers: X-A\r\n"},
	{method: "POST", target: "/get", body: "x"},
	{method: "DELETE", target: "/delete"},
	{method: "DELETE", target: "/delete", body: "gone"},
	{method: "PATCH", target: "/patch", body: "{\"a\": 1}", fields: "Content-Type: application/json\r\n"},
	{method: "PUT", target: "/put", body: strings.Repeat("put", 1000)},
	{method: "PUT", target: "/put", body: strings.Repeat("put", 1000), chunked: true},
	{method: "POST", target: "/post"},
	{method: "POST", target: "/post", body: "a=1&b=2&a=3", fields: form},
	{method: "POST", target: "/post", body: "a=1&b=2&a=3", fields: form, chunked: true},
	{method: "POST", target: "/post", body: upload, fields: multipart},
	{method: "POST", target: "/post", body: upload, fields: multipart, chunked: true},
	{method: "POST", target: "/post", body: "{\"a\": [1, 2]}", fields: "Content-Type: application/json\r\n"},
	{method: "POST", target: "/post", body: "{not json", fields: "Content-Type: application/json\r\n"},
	{method: "POST", target: "/post", body: "\x00\xff\xfe binary", fields: "Content-Type: application/octet-stream\r\n"},
	{method: "POST", target: "/post", body: strings.Repeat("0123456789", 90_000), fields: "Content-Type: text/plain\r\n"},
	{method: "POST", target: "/post", body: "expected", hop: "Expect: 100-continue\r\n"},
	{method: "POST", target: "/post", body: "expected", hop: "Expect: 100-continue\r\n", chunked: true},
	{method: "GET", target: "/get", hop: "Keep-Alive: 5\r\nProxy-Connection: x\r\nConnection: X-Hop\r\nX-Hop: 1\r\n"},
	{method: "GET", target: "/absolute-redirect/3"},
	{method: "GET", target: "/absolute-redirect/1"},
	{method: "GET", target: "/anything"},
	{method: "POST", target: "/anything/a/b?c=d", body: "e=f", fields: form},
	{method: "PROPFIND", target: "/anything/dav"},
	{method: "TRACE", target: "/anything"},
	{method: "GET", target: "/anything/%2e%2e/x;y=z"},
	{method: "GET", target: "/base64/aGVsbG8="},
	{method: "GET", target: "/base64/decode/aGVsbG8="},
	{method: "GET", target: "/base64/encode/hello"},
	{method: "GET", target: "/base64/decode/!!"},
	{method: "GET", target: "/basic-auth/u/p"},
	{method: "GET", target: "/basic-auth/u/p", fields: "Authorization: Basic dTpw\r\n"},
	{method: "GET", target: "/basic-auth/u/p", fields: "Connection: Authorization, close\r\nAuthorization: Basic dTpw\r\n"},
	{method: "GET", target: "/bearer"},
	{method: "GET", target: "/bearer", fields: "Authorization: Bearer t\r\n"},
	{method: "GET", target: "/bytes/1000?seed=1"},
	{method: "GET", target: "/bytes/0?seed=1"},
	{method: "GET", target: "/bytes/100000?seed=1"},
	{method: "GET", target: "/bytes/none"},
	{method: "HEAD", target: "/bytes/1000?seed=1"},
	{method: "GET", target: "/cache", vary: `(?i)ETag: .*`},
	{method: "GET", target: "/cache", fields: "If-None-Match: x\r\n"},
	{method: "GET", target: "/cache", fields: "If-Modified-Since: Sat, 29 Oct 1994 19:43:31 GMT\r\n"},
	{method: "GET", target: "/cache/60"},
	{method: "GET", target: "/cookies"},
	{method: "GET", target: "/cookies", fields: "Cookie: a=1; b=2\r\nCookie: c=3\r\n"},
	{method: "GET", target: "/cookies/set?a=1"},
	{method: "GET", target: "/cookies/delete?a=", fields: "Cookie: a=1\r\n", vary: `Expires=[^;]*`},
	{method: "GET", target: "/deflate"},
	{method: "GET", target: "/gzip", fields: "Accept-Encoding: gzip\r\n"},
	{method: "HEAD", target: "/gzip", fields: "Accept-Encoding: gzip\r\n"},
	{method: "GET", target: "/brotli"},
	{method: "GET", target: "/delay/50ms", vary: `Server-Timing: .*`},
	{method: "GET", target: "/delay/1h"},
	{method: "GET", target: "/deny"},
	{method: "GET", target: "/digest-auth/auth/u/p", vary: nonce},
	{method: "GET", target: "/digest-auth/auth/u/p/SHA-256", vary: nonce},
	{method: "GET", target: "/digest-auth/auth/u/p", fields: digest, vary: nonce},
	{method: "GET", target: "/digest-auth/other/u/p", vary: nonce},
	{method: "GET", target: "/drip?numbytes=10&duration=100ms&delay=0s"},
	{method: "GET", target: "/drip?numbytes=10&duration=0s&delay=0s&code=503"},
	{method: "GET", target: "/drip?numbytes=5&duration=20ms&delay=30ms"},
	{method: "GET", target: "/dump/request?x", fields: "X-A: b\r\nx-a: c\r\n"},
	{method: "POST", target: "/dump/request", body: "dumped"},
	{method: "GET", target: "/env"},
	{method: "GET", target: "/etag/e"},
	{method: "GET", target: "/etag/e", fields: "If-None-Match: \"e\"\r\n"},
	{method: "GET", target: "/etag/e", fields: "If-Match: \"f\"\r\n"},
	{method: "GET", target: "/etag/e", fields: "Range: bytes=0-9\r\n"},
	{method: "GET", target: "/headers", fields: "X-Long: " + strings.Repeat("l", 10_000) + "\r\nX-Utf8: \u00e4\r\n"},
	{method: "GET", target: "/hidden-basic-auth/u/p"},
	{method: "GET", target: "/hidden-basic-auth/u/p", fields: "Authorization: Basic dTpw\r\n"},
	{method: "GET", target: "/hostname"},
	{method: "GET", target: "/html"},
	{method: "GET", target: "/image"},
	{method: "GET", target: "/image", fields: "Accept: image/webp\r\n"},
	{method: "GET", target: "/image/png"},
	{method: "GET", target: "/image/jpeg"},
	{method: "GET", target: "/image/svg"},
	{method: "HEAD", target: "/image/png"},
	{method: "GET", target: "/image/none"},
	{method: "GET", target: "/ip"},
	{method: "GET", target: "/json"},
	{method: "GET", target: "/links/5"},
	{method: "GET", target: "/links/5/2"},
	{method: "GET", target: "/range/1000"},
	{method: "GET", target: "/range/1000", fields: "Range: bytes=10-19\r\n"},
	{method: "GET", target: "/range/1000", fields: "Range: bytes=0-1,10-11\r\n", vary: `[0-9a-f]{60}`},
	{method: "GET", target: "/range/1000", fields: "Range: bytes=-5\r\n"},
	{method: "GET", target: "/range/1000", fields: "Range: bytes=2000-\r\n"},
	{method: "GET", target: "/redirect-to?url=/get"},
	{method: "GET", target: "/redirect-to?url=http://elsewhere.test/&status_code=307"},
	{method: "GET", target: "/redirect/3"},
	{method: "GET", target: "/redirect/1?absolute=true"},
	{method: "GET", target: "/relative-redirect/2"},
	{method: "GET", target: "/response-headers?X-A=1&X-A=2&Content-Type=text/plain"},
	{method: "GET", target: "/robots.txt"},
	{method: "GET", target: "/sse?count=5&duration=100ms", vary: `"timestamp":\d+|dur=[0-9.]+`},
	{method: "GET", target: "/sse?count=1", vary: `"timestamp":\d+|dur=[0-9.]+`},
	{method: "GET", target: "/stream-bytes/10000?seed=1&chunk_size=100"},
	{method: "GET", target: "/stream-bytes/100000?seed=1"},
	{method: "GET", target: "/stream/10"},
	{method: "GET", target: "/stream/100"},
	{method: "HEAD", target: "/stream/10"},
	{method: "GET", target: "/trailers?a=1"},
	{method: "GET", target: "/trailers?a=1", fields: "TE: trailers\r\n"},
	{method: "POST", target: "/trailers?a=1", body: "with a body", chunked: true},
	{method: "GET", target: "/trailers?content-length=1"},
	{method: "GET", target: "/unstable?seed=1&failure_rate=0.5"},
	{method: "GET", target: "/unstable?seed=1&failure_rate=1"},
	{method: "GET", target: "/unstable?seed=1&failure_rate=0"},
	{method: "GET", target: "/user-agent", fields: "User-Agent: ua/1 (x; y)\r\n"},
	{method: "GET", target: "/uuid", vary: `[0-9a-f]{8}-[0-9a-f-]{27}`},
	{method: "GET", target: "/websocket/echo"},
	{method: "GET", target: "/xml"},
	{method: "GET", target: "/no-such-route"},
	{method: "BREW", target: "/put"},
	{method: "POST", target: "/post", body: strings.Repeat("x", 1<<20+1)}, // more than httpbin takes
	{method: "GET", target: "/get", fields: "X-Http: 1.0\r\n"},            // asked in HTTP/1.0
}

// allAsks are the asks and those that are made by rule.
func allAsks() []ask {
	all := slices.Clone(asks)
	for _, code := range []int{200, 201, 202, 203, 204, 205, 206, 300, 301, 302, 303, 304, 305, 307, 308, 400, 401, 402, 403, 404, 405, 406, 407, 408, 409, 410, 411, 412, 413, 414, 415, 416, 417, 418, 421, 422, 425, 426, 428, 429, 431, 451, 500, 501, 502, 503, 504, 505, 507, 508, 511, 599} {
		all = append(all, ask{method: "GET", target: fmt.Sprintf("/status/%d", code)})
	}
	for _, method := range []string{"HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"} {
		all = append(all, ask{method: method, target: "/status/418"}, ask{method: method, target: "/anything"})
	}
	return append(all, ask{method: "GET", target: "/status/200:1,200:1"}, ask{method: "GET", target: "/status/abc"}, ask{method: "GET", target: "/status/1000"})
}

// TestHTTPBin asks httpbin for everything that it can do, directly and through
// a sidecar, in each of its modes, and compares the answers: status, fields in
// their order, body and trailers. What may differ is what RFC 9110, section
// 7.6.1, and RFC 9112, section 6, give to each hop: Connection, and where the
// fields that frame stand.
func TestHTTPBin(t *testing.T) {
	app := httptest.NewServer(httpbin.New(httpbin.WithHostname("bin"), httpbin.WithEnv(map[string]string{"A": "b"})))
	t.Cleanup(app.Close)
	address := app.Listener.Addr().String()
	cases := allAsks()
	for name, start := range map[string]func(*testing.T, string) *sidecar{
		"inbound": startInbound, "outbound": startOutbound, "gateway": startGateway,
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t, address)
			for i, a := range cases {
				t.Run(fmt.Sprintf("%s %.40s %d", a.method, a.target, i), func(t *testing.T) {
					t.Parallel()
					direct := a
					a.fields += a.hop
					if name == "gateway" { // at the edge the app is told who asks
						direct.fields += "x-forwarded-for: 127.0.0.1\r\nx-forwarded-proto: http\r\n"
					}
					want, got := direct.send(t, address), a.send(t, s.address())
					if a.hop != "" {
						got.Interim = 0
					}
					if diff := cmp.Diff(want, got); diff != "" {
						t.Errorf("through the sidecar it is not what it is without (-without +through):\n%s", diff)
					}
				})
			}
		})
	}
}

// reply is an answer as a client sees it.
type reply struct {
	Interim  int // 1xx before it
	Status   string
	Fields   []string // in their order, without those of one hop and those that frame
	Length   string
	Chunked  bool
	Body     string
	Trailers http.Header
}

// send asks at an address, and leaves out of the answer what is different each
// time.
func (a ask) send(t *testing.T, address string) reply {
	t.Helper()
	conn := dial(t, address)
	_ = conn.SetDeadline(time.Now().Add(2 * patience))
	proto := "HTTP/1.1"
	if strings.Contains(a.fields, "X-Http: 1.0") {
		proto = "HTTP/1.0"
	}
	head := fmt.Sprintf("%s %s %s\r\nHost: app\r\n%s", a.method, a.target, proto, a.fields)
	switch {
	case a.chunked:
		head += "Transfer-Encoding: chunked\r\n"
	case a.body != "" || a.method == "POST" || a.method == "PUT" || a.method == "PATCH":
		// These say that they have none (RFC 9110, section 8.6); a hop adds it.
		head += fmt.Sprintf("Content-Length: %d\r\n", len(a.body))
	}
	body := a.body
	if a.chunked {
		half := len(body) / 2
		body = fmt.Sprintf("%x\r\n%s\r\n%x\r\n%s\r\n0\r\n\r\n", half, body[:half], len(body)-half, body[half:])
	}
	conn.send(head + "\r\n" + body)

	var r reply
	for {
		raw, err := readHead(conn.r)
		if err != nil {
			t.Fatalf("no answer: %v", err)
		}
		if strings.HasPrefix(raw, "HTTP/1.1 1") {
			r.Interim++
			continue
		}
		r.read(t, raw, conn.r, a.method)
		break
	}
	if a.vary != "" {
		vary := regexp.MustCompile(a.vary)
		for i, f := range r.Fields {
			r.Fields[i] = vary.ReplaceAllString(f, "…")
		}
		r.Body = vary.ReplaceAllString(r.Body, "…")
		for _, values := range r.Trailers {
			for i, v := range values {
				values[i] = vary.ReplaceAllString(v, "…")
			}
		}
	}
	return r
}

func readHead(in *bufio.Reader) (string, error) {
	var head strings.Builder
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return "", err
		}
		head.WriteString(line)
		if line == "\r\n" {
			return head.String(), nil
		}
	}
}

// read takes an answer of which the head was read; net/http reads the body.
func (r *reply) read(t *testing.T, head string, in io.Reader, method string) {
	t.Helper()
	lines := strings.Split(strings.TrimSuffix(head, "\r\n\r\n"), "\r\n")
	r.Status = lines[0][9:12]
	for _, line := range lines[1:] {
		name, value, _ := strings.Cut(line, ": ")
		switch textproto.CanonicalMIMEHeaderKey(name) {
		case "Date", "Connection":
		case "Last-Modified": // httpbin's files are as old as the request for them
			r.Fields = append(r.Fields, name)
		case "Content-Length":
			r.Length = value
		case "Transfer-Encoding":
			r.Chunked = true
		default:
			r.Fields = append(r.Fields, line)
		}
	}
	resp, err := http.ReadResponse(bufio.NewReader(io.MultiReader(strings.NewReader(head), in)), &http.Request{Method: method})
	if err != nil {
		t.Fatalf("the answer is none: %v\n%s", err, head)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Errorf("read the body: %v", err)
	}
	r.Body, r.Trailers = string(body), resp.Trailer
}

// TestEveryRouteOfHTTPBinIsAsked: a new version of it has new routes.
func TestEveryRouteOfHTTPBinIsAsked(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	dir, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", "github.com/mccutchen/go-httpbin/v2").Output()
	if err != nil {
		t.Fatal(err)
	}
	source, err := os.ReadFile(filepath.Join(string(bytes.TrimSpace(dir)), "httpbin", "httpbin.go"))
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	open := map[string]bool{}
	for _, m := range regexp.MustCompile(`mux\.HandleFunc\("([^"]+)"`).FindAllSubmatch(source, -1) {
		mux.HandleFunc(string(m[1]), http.NotFound)
		open[string(m[1])] = true
	}
	if len(open) < 50 {
		t.Fatalf("found %d routes: is it still there that they are?", len(open))
	}
	for _, a := range allAsks() {
		_, pattern := mux.Handler(httptest.NewRequest(a.method, a.target, http.NoBody))
		delete(open, pattern)
	}
	for pattern := range open {
		t.Errorf("nobody asks for %s", pattern)
	}
}
