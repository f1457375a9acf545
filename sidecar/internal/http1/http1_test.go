package http1

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"github.com/outrigger-mesh/outrigger/middleware"
)

// conn gives a Conn that reads s, in pieces of the size that r gives.
type fakeConn struct {
	net.Conn
	r io.Reader
}

func (f fakeConn) Read(p []byte) (int, error) { return f.r.Read(p) }

func connOf(s string) *Conn { return NewConn(fakeConn{r: strings.NewReader(s)}) }

func slowConnOf(s string) *Conn {
	return NewConn(fakeConn{r: iotest.OneByteReader(strings.NewReader(s))})
}

func parse(c *Conn) (*middleware.Request, Framing, error) {
	head, err := c.ReadHead(MaxHeadBytes)
	if err != nil {
		return nil, Framing{}, err
	}
	r := new(middleware.Request)
	f, err := ParseRequest(head, r)
	return r, f, err
}

func TestMalformedRequestsAreRefusedWithTheirReason(t *testing.T) {
	const get = "GET / HTTP/1.1\r\n"
	cases := []struct {
		name, in string
		want     error
	}{
		{"bare LF after the request line", "GET / HTTP/1.1\nHost: a\r\n\r\n", BadLineEnd},
		{"bare LF after a field", get + "Host: a\n\r\n", BadLineEnd},
		{"bare CR in a field value", get + "Host: a\r\nX: a\rb\r\n\r\n", BadFieldValue},
		{"bare CR in the request line", "GET /\r HTTP/1.1\r\nHost: a\r\n\r\n", BadTarget},
		{"NUL in a value", get + "Host: a\r\nX: \x00\r\n\r\n", BadFieldValue},
		{"folded field", get + "Host: a\r\nX: a\r\n b\r\n\r\n", BadFolding},
		{"folded first field", get + " Host: a\r\n\r\n", BadFolding},
		{"space before the colon", get + "Host : a\r\n\r\n", BadFieldName},
		{"no colon", get + "Host: a\r\nnonsense\r\n\r\n", BadFieldName},
		{"empty name", get + "Host: a\r\n: v\r\n\r\n", BadFieldName},
		{"duplicate Host", get + "Host: a\r\nHost: a\r\n\r\n", BadHost},
		{"no Host", get + "X: y\r\n\r\n", BadHost},
		{"Host with a path", get + "Host: a/b\r\n\r\n", BadHost},
		{"Host with user information", get + "Host: u@a\r\n\r\n", BadHost},
		{"Host with spaces", get + "Host: a b\r\n\r\n", BadHost},
		{"two lengths", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n", BadContentLength},
		{"list of lengths", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 1\r\n\r\n", BadContentLength},
		{"signed length", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n", BadContentLength},
		{"hex length", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x1\r\n\r\n", BadContentLength},
		{"endless length", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9999999999999999999\r\n\r\n", BadContentLength},
		{"length with coding", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", BadLengthAndCoding},
		{"coding with length", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n", BadLengthAndCoding},
		{"coding with HTTP/1.0", "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", BadTransferEncoding},
		{"coding that does not end in chunked", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, gzip\r\n\r\n", BadTransferEncoding},
		{"coding twice", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", BadTransferEncoding},
		{"coding with a tab inside", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \x0bchunked\r\n\r\n", BadFieldValue},
		{"unknown coding", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n", BadTransferEncoding},
		{"two spaces", "GET  / HTTP/1.1\r\nHost: a\r\n\r\n", BadTarget},
		{"no version", "GET /\r\nHost: a\r\n\r\n", BadRequestLine},
		{"version of old", "GET / HTTP/0.9\r\nHost: a\r\n\r\n", BadVersion},
		{"version in lower case", "GET / http/1.1\r\nHost: a\r\n\r\n", BadRequestLine},
		{"method that is no token", "G(T / HTTP/1.1\r\nHost: a\r\n\r\n", BadMethod},
		{"relative target", "GET a HTTP/1.1\r\nHost: a\r\n\r\n", BadTarget},
		{"fragment", "GET /#f HTTP/1.1\r\nHost: a\r\n\r\n", BadTarget},
		{"star for GET", "GET * HTTP/1.1\r\nHost: a\r\n\r\n", BadTarget},
		{"target of another scheme", "GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", BadTarget},
		{"upgrade with a body", "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\nContent-Length: 1\r\n\r\n", BadUpgrade},
		{"unknown expectation", get + "Host: a\r\nExpect: tea\r\n\r\n", BadExpect},
		{"HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", BadVersion},
		{"two empty lines first", "\r\n\r\n" + get + "Host: a\r\n\r\n", BadRequestLine},
		{"end amid the head", get + "Host:", io.ErrUnexpectedEOF},
		{"end before the head", "", io.EOF},
		{"too many fields", get + "Host: a\r\n" + strings.Repeat("X: y\r\n", MaxHeadFields) + "\r\n", ErrHeadTooLarge},
		{"too many bytes", get + "Host: a\r\nX: " + strings.Repeat("y", MaxHeadBytes) + "\r\n\r\n", ErrHeadTooLarge},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			for _, conn := range []*Conn{connOf(c.in), slowConnOf(c.in)} {
				if _, _, err := parse(conn); !errors.Is(err, c.want) {
					t.Errorf("got error %v, want %v", err, c.want)
				}
			}
		})
	}
}

func TestRequestKeepsOrderAndCaseAndDropsWhatIsForThisHop(t *testing.T) {
	const in = "\r\nPOST /p?q=1 HTTP/1.1\r\nHost: Users:80\r\nX-One:  1 \r\nconnection: close, X-Secret, Authorization\r\n" +
		"X-Secret: s\r\nAuthorization: a\r\nx-two:\r\nTE: trailers, gzip\r\nKeep-Alive: 5\r\nExpect: 100-Continue\r\nTransfer-Encoding: Chunked\r\n\r\nrest"
	c := slowConnOf(in)
	r, f, err := parse(c)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for field := range r.Header.All() {
		got = append(got, string(field.Name)+"="+string(field.Value))
	}
	if diff := cmp.Diff([]string{"X-One=1", "Authorization=a", "x-two=", "te=trailers"}, got); diff != "" {
		t.Error(diff)
	}
	if want := (Framing{Chunked: true, Close: true, Continue: true, Length: -1, TETrailer: true}); f != want {
		t.Errorf("framing %+v, want %+v", f, want)
	}
	if string(r.Authority) != "Users:80" || string(r.Target) != "/p?q=1" || string(r.Path()) != "/p" || string(r.Query()) != "q=1" || r.ContentLength != -1 {
		t.Errorf("request %q %q %d", r.Authority, r.Target, r.ContentLength)
	}
}

func TestTargetFormsGiveAuthorityAndPath(t *testing.T) {
	cases := []struct{ name, line, authority, target string }{
		{"origin", "GET /a HTTP/1.1", "h", "/a"},
		{"absolute", "GET http://X:81/a?b HTTP/1.1", "X:81", "/a?b"},
		{"absolute without a path", "GET http://X HTTP/1.1", "X", "/"},
		{"absolute with a query alone", "GET http://X?b HTTP/1.1", "X", "/?b"},
		{"absolute OPTIONS without a path", "OPTIONS http://X HTTP/1.1", "X", "*"},
		{"empty port", "GET http://X:/ HTTP/1.1", "X", "/"},
		{"a version to come", "GET / HTTP/1.7", "h", "/"},
		{"asterisk", "OPTIONS * HTTP/1.1", "h", "*"},
		{"authority", "CONNECT x:443 HTTP/1.1", "x:443", ""},
		{"IPv6", "GET http://[::1]:80/ HTTP/1.1", "[::1]:80", "/"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			r, _, err := parse(connOf(c.line + "\r\nHost: h\r\n\r\n"))
			if err != nil {
				t.Fatal(err)
			}
			if string(r.Authority) != c.authority || string(r.Target) != c.target {
				t.Errorf("got %q %q", r.Authority, r.Target)
			}
		})
	}
}

func TestChunkedBodyIsReadStrictlyWithTrailers(t *testing.T) {
	cases := []struct {
		name, in, body string
		want           error
		trailers       string
	}{
		{"plain", "3\r\nabc\r\n0\r\n\r\n", "abc", nil, ""},
		{"two chunks, hex size", "3\r\nabc\r\nA\r\n0123456789\r\n0\r\n\r\n", "abc0123456789", nil, ""},
		{"trailers, forbidden ones dropped", "1\r\nx\r\n0\r\nGrpc-Status: 0\r\nContent-Length: 9\r\n\r\n", "x", nil, "Grpc-Status=0"},
		{"extension", "3;a=b\r\nabc\r\n0\r\n\r\n", "", BadChunkExtension, ""},
		{"space after the size", "3 \r\nabc\r\n0\r\n\r\n", "", BadChunkExtension, ""},
		{"over-long size", "0000000000000003\r\nabc\r\n0\r\n\r\n", "", BadChunk, ""},
		{"empty size", "\r\nabc\r\n0\r\n\r\n", "", BadChunk, ""},
		{"prefix 0x", "0x3\r\nabc\r\n0\r\n\r\n", "", BadChunk, ""},
		{"data longer than its size", "3\r\nabcd\r\n0\r\n\r\n", "abc", BadChunk, ""},
		{"bare LF after the size", "3\nabc\r\n0\r\n\r\n", "", BadLineEnd, ""},
		{"end amid a chunk", "3\r\nab", "ab", io.ErrUnexpectedEOF, ""},
		{"end before the last chunk", "3\r\nabc\r\n", "abc", io.ErrUnexpectedEOF, ""},
		{"end amid the trailers", "0\r\nA: b\r\n", "", io.ErrUnexpectedEOF, ""},
		{"malformed trailer", "0\r\nA : b\r\n\r\n", "", BadTrailer, ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			for _, conn := range []*Conn{connOf(c.in + "NEXT"), slowConnOf(c.in + "NEXT")} {
				if c.want == io.ErrUnexpectedEOF {
					conn = slowConnOf(c.in)
				}
				var trailer middleware.Header
				var r Reader
				r.Reset(conn, Framing{Chunked: true, Length: -1}, &trailer)
				body, err := io.ReadAll(&r)
				if !errors.Is(err, c.want) || string(body) != c.body {
					t.Fatalf("got %q, %v; want %q, %v", body, err, c.body, c.want)
				}
				var got []string
				for f := range trailer.All() {
					got = append(got, string(f.Name)+"="+string(f.Value))
				}
				if err == nil && strings.Join(got, ",") != c.trailers {
					t.Errorf("trailers %q, want %q", got, c.trailers)
				}
				if err == nil {
					rest, _ := io.ReadAll(conn)
					if string(rest) != "NEXT" {
						t.Errorf("left over %q, want NEXT", rest)
					}
				}
			}
		})
	}
}

func TestMalformedResponsesAreRefused(t *testing.T) {
	cases := []struct {
		name, in string
		want     error
	}{
		{"no status", "HTTP/1.1 \r\n\r\n", BadStatusLine},
		{"short status", "HTTP/1.1 20\r\n\r\n", BadStatusLine},
		{"four digits", "HTTP/1.1 2000\r\n\r\n", BadStatusLine},
		{"status 600", "HTTP/1.1 600 x\r\n\r\n", BadStatusLine},
		{"HTTP/2 text", "HTTP/2.0 200 OK\r\n\r\n", BadStatusLine},
		{"length with coding", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", BadLengthAndCoding},
		{"differing lengths", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", BadContentLength},
		{"chunked by HTTP/1.0", "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", BadTransferEncoding},
		{"folded", "HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n", BadFolding},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			conn := connOf(c.in)
			head, err := conn.ReadHead(MaxHeadBytes)
			if err == nil {
				_, err = ParseResponse(head, []byte("GET"), new(middleware.Response))
			}
			if !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}
}

func TestCopyBodyIsWhatNetHTTPReads(t *testing.T) {
	for _, size := range []int{0, 1, 4095, 32 << 10, 100_000} {
		for _, chunked := range []bool{false, true} {
			body := bytes.Repeat([]byte("0123456789"), size/10+1)[:size]
			var trailer middleware.Header
			trailer.Add("X-T", "v")
			r := &middleware.Response{Status: 200, ContentLength: int64(size)}
			if chunked {
				r.ContentLength = -1
			}
			head, mustChunk, _ := AppendResponse(nil, r, ResponseOptions{})
			if mustChunk != chunked {
				t.Fatalf("chunked %v, want %v", mustChunk, chunked)
			}
			var out bytes.Buffer
			n, readErr, writeErr := CopyBody(&out, iotest.HalfReader(bytes.NewReader(body)), head, mustChunk, &trailer)
			if n != int64(size) || readErr != nil || writeErr != nil {
				t.Fatalf("copied %d, %v, %v", n, readErr, writeErr)
			}
			resp, err := http.ReadResponse(bufio.NewReader(&out), nil)
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(resp.Body)
			_ = resp.Body.Close()
			if err != nil || !bytes.Equal(got, body) {
				t.Fatalf("size %d chunked %v: read %d bytes, %v", size, chunked, len(got), err)
			}
			if chunked && resp.Trailer.Get("X-T") != "v" {
				t.Errorf("trailer %v", resp.Trailer)
			}
		}
	}
}

// FuzzParseRequest: what we accept, net/http accepts too, and understands in
// the same way.
func FuzzParseRequest(f *testing.F) {
	f.Add([]byte("GET / HTTP/1.1\r\nHost: a\r\n\r\n"))
	f.Add([]byte("POST /x?y HTTP/1.1\r\nHost: a:80\r\nContent-Length: 3\r\nX-A: b\r\nX-A: c\r\n\r\nabc"))
	f.Add([]byte("POST http://b/x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nT: u\r\n\r\n"))
	f.Add([]byte("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"))
	f.Fuzz(func(t *testing.T, in []byte) {
		conn := connOf(string(in))
		r, framing, err := parse(conn)
		if err != nil || string(r.Method) == "CONNECT" {
			return
		}
		theirs, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(in)))
		if err != nil {
			t.Fatalf("we accept what net/http refuses: %v", err)
		}
		if theirs.Method != string(r.Method) {
			t.Fatalf("method %q, net/http has %q", r.Method, theirs.Method)
		}
		if strings.TrimSuffix(theirs.Host, ":") != string(r.Authority) {
			t.Fatalf("authority %q, net/http has %q", r.Authority, theirs.Host)
		}
		var body Reader
		body.Reset(conn, framing, &r.Trailer)
		if framing.Length == 0 {
			if theirs.ContentLength != 0 {
				t.Fatalf("no body, net/http has length %d", theirs.ContentLength)
			}
			return
		}
		got, err := io.ReadAll(&body)
		if err != nil {
			return
		}
		want, err := io.ReadAll(theirs.Body)
		if err != nil {
			t.Fatalf("we read a body that net/http refuses: %v", err)
		}
		if !bytes.Equal(got, want) {
			t.Fatalf("body %q, net/http has %q", got, want)
		}
	})
}

func TestAPipeCopiesEverythingAndLeavesTheHeadAlone(t *testing.T) {
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	theirs, err := new(net.Dialer).DialContext(t.Context(), "tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = theirs.Close() }()
	nc, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = nc.Close() }()
	c := NewConn(nc)
	if _, err := io.WriteString(theirs, "GET / HTTP/1.1\r\n\r\nbehind the head, "); err != nil {
		t.Fatal(err)
	}
	head, err := c.ReadHead(MaxHeadBytes)
	if err != nil {
		t.Fatal(err)
	}
	large := strings.Repeat("x", 1<<20)
	pieces := make(chan int, 1<<10)
	done := make(chan error, 1)
	var got bytes.Buffer
	go func() {
		_, err := io.Copy(writerFunc(func(p []byte) (int, error) {
			pieces <- len(p)
			return got.Write(p)
		}), c)
		done <- err
	}()
	<-pieces
	if _, err := io.WriteString(theirs, large); err != nil {
		t.Fatal(err)
	}
	if err := theirs.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil || got.String() != "behind the head, "+large {
		t.Errorf("%d bytes, %v", got.Len(), err)
	}
	if string(head) != "GET / HTTP/1.1\r\n\r\n" {
		t.Errorf("the head has become %q", head)
	}
}

type writerFunc func(p []byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }
