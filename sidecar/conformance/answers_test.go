package conformance

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// scripted is an app of which a test says byte for byte what it does with its
// n-th connection that has a request, beginning with 1.
func scripted(t *testing.T, serve func(n int, nc net.Conn, in *bufio.Reader)) string {
	t.Helper()
	ln := listen(t)
	var mu sync.Mutex
	n := 0
	go func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			_ = nc.SetDeadline(time.Now().Add(patience))
			go func() {
				defer func() { _ = nc.Close() }()
				in := bufio.NewReader(nc)
				if _, err := in.Peek(1); err != nil {
					return
				}
				mu.Lock()
				n++
				number := n
				mu.Unlock()
				serve(number, nc, in)
			}()
		}
	}()
	return ln.Addr().String()
}

// TestTheConnectionThatTheAppCloses is the keep-alive race (RFC 9112, section
// 9.3.1): the app closes a kept connection just when a request comes on it. What
// is safe to repeat goes out again on a fresh one; what is not is answered 502,
// and the app sees it once.
func TestTheConnectionThatTheAppCloses(t *testing.T) {
	for _, c := range []struct{ name, request, want, seen string }{
		{"GET", "GET /x HTTP/1.1\r\nHost: a\r\n\r\n", "200 GET /x on 2", "GET /first on 1, GET /x on 1, GET /x on 2"},
		{"HEAD", "HEAD /x HTTP/1.1\r\nHost: a\r\n\r\n", "200", "GET /first on 1, HEAD /x on 1, HEAD /x on 2"},
		{"POST", "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc", "502 upstream_reset", "GET /first on 1, POST /x on 1"},
		{"POST without a body", "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", "502 upstream_reset", "GET /first on 1, POST /x on 1"},
		{"DELETE", "DELETE /x HTTP/1.1\r\nHost: a\r\n\r\n", "502 upstream_reset", "GET /first on 1, DELETE /x on 1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var mu sync.Mutex
			var seen []string
			s := startInbound(t, scripted(t, func(n int, nc net.Conn, in *bufio.Reader) {
				for {
					r, err := http.ReadRequest(in)
					if err != nil {
						return
					}
					_, _ = io.Copy(io.Discard, r.Body)
					what := fmt.Sprintf("%s %s on %d", r.Method, r.URL.Path, n)
					mu.Lock()
					seen = append(seen, what)
					mu.Unlock()
					if n == 1 && r.URL.Path == "/x" {
						return
					}
					if r.Method == http.MethodHead {
						_, _ = io.WriteString(nc, ok+"Content-Length: 1\r\n\r\n")
					} else {
						_, _ = fmt.Fprintf(nc, "%sContent-Length: %d\r\n\r\n%s", ok, len(what), what)
					}
				}
			}))
			conn := dial(t, s.address())
			conn.send("GET /first HTTP/1.1\r\nHost: a\r\n\r\n")
			if got := conn.next("GET"); got != "200 GET /first on 1" {
				t.Fatalf("got %q", got)
			}
			conn.send(c.request)
			if got := conn.next(c.name); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
			mu.Lock()
			defer mu.Unlock()
			if got := strings.Join(seen, ", "); got != c.seen {
				t.Errorf("the app saw %s\nwant        %s", got, c.seen)
			}
		})
	}
}

// TestAnswersBeforeTheBody: an app may answer before it has the body (RFC 9112,
// section 9.3). The client gets that answer; what is left of the body never
// becomes a request, here or at the app, and the app's connection is not used
// again.
func TestAnswersBeforeTheBody(t *testing.T) {
	for _, c := range []struct {
		name, head, rest string
		answer, want     string
	}{
		{"refused, length", "Content-Length: 35\r\n", smuggled, "HTTP/1.1 413 No\r\nContent-Length: 2\r\n\r\nno", "413 no"},
		{"refused, chunks", "Transfer-Encoding: chunked\r\n", "23\r\n" + smuggled + "\r\n0\r\n\r\n", "HTTP/1.1 401 No\r\nContent-Length: 2\r\n\r\nno", "401 no"},
		{"taken, length", "Content-Length: 35\r\n", smuggled, okLen, "200 ok"},
		{"taken, chunks", "Transfer-Encoding: chunked\r\n", "23\r\n" + smuggled + "\r\n0\r\n\r\n", okLen, "200 ok"},
		{"expected, refused", "Expect: 100-continue\r\nContent-Length: 35\r\n", smuggled, "HTTP/1.1 417 No\r\nContent-Length: 2\r\n\r\nno", "417 no"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			second := make(chan string, 1)
			s := startInbound(t, scripted(t, func(n int, nc net.Conn, in *bufio.Reader) {
				r, err := http.ReadRequest(in)
				if err != nil {
					return
				}
				if n > 1 {
					second <- r.URL.Path
					_, _ = io.WriteString(nc, okLen)
					return
				}
				_, _ = io.WriteString(nc, c.answer)
				_, _ = io.Copy(io.Discard, in) // the body, in part or whole, and nothing else
			}))
			conn := dial(t, s.address())
			conn.send("POST /x HTTP/1.1\r\nHost: a\r\n" + c.head + "\r\n")
			got := conn.next("POST")
			if got == "100" {
				got = conn.next("POST")
			}
			if got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
			conn.send(c.rest)
			if got := conn.next("GET"); got != "closed" && got != "reset" {
				t.Errorf("behind the answer came %q", got)
			}
			other := dial(t, s.address())
			other.send("GET /other HTTP/1.1\r\nHost: a\r\n\r\n")
			if got := other.next("GET"); got != "200 ok" {
				t.Errorf("another client got %q", got)
			}
			if path := <-second; path != "/other" {
				t.Errorf("the app saw a request for %s", path)
			}
		})
	}
}

// TestAnswersOnTheWire: what a client gets, byte for byte but for the reason
// phrase: fields in their order and case, framing in our own words, interim
// responses as they come, and for this hop what is for this hop (RFC 9110,
// sections 7.6.1 and 15.2).
func TestAnswersOnTheWire(t *testing.T) {
	const request = "GET /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
	const upgrade = "GET /x HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
	for _, c := range []struct{ name, request, answer, want string }{
		{"order and case", request, ok + "b: 1\r\nSet-Cookie: a\r\nB: 2\r\nset-cookie: c\r\nContent-Length: 2\r\nX:  y \r\n\r\nok", ok + "b: 1\r\nSet-Cookie: a\r\nB: 2\r\nset-cookie: c\r\nX: y\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"},
		{"no length becomes chunks", request, ok + "\r\nok", ok + "Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n2\r\nok\r\n0\r\n\r\n"},
		{"no length, HTTP/1.0", "GET /x HTTP/1.0\r\n\r\n", ok + "\r\nok", ok + "Connection: close\r\n\r\nok"},
		{"chunks, HTTP/1.0", "GET /x HTTP/1.0\r\n\r\n", ok + "Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nA: b\r\n\r\n", ok + "Connection: close\r\n\r\nok"},
		{"trailers", request, ok + "Trailer: A\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nA: b\r\nContent-Length: 5\r\nSet-Cookie: e\r\n\r\n", ok + "Trailer: A\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n2\r\nok\r\n0\r\nA: b\r\n\r\n"},
		{"fields of one hop", request, ok + "Connection: X-Hop, Set-Cookie\r\nX-Hop: 1\r\nSet-Cookie: a\r\nKeep-Alive: 5\r\nProxy-Connection: x\r\nContent-Length: 0\r\n\r\n", ok + "Set-Cookie: a\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"},
		{"interim ones", request, "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n" + okLen, "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n" + ok + "Content-Length: 2\r\nConnection: close\r\n\r\nok"},
		{"interim ones, HTTP/1.0", "GET /x HTTP/1.0\r\n\r\n", "HTTP/1.1 103 Early Hints\r\n\r\n" + okLen, ok + "Content-Length: 2\r\nConnection: close\r\n\r\nok"},
		{"Upgrade without 101", request, "HTTP/1.1 426 Upgrade Required\r\nUpgrade: TLS/1.0\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 426 Upgrade Required\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"},
		{"101", upgrade, "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: WebSocket\r\nA: b\r\n\r\nframes", "HTTP/1.1 101 Switching Protocols\r\nA: b\r\nupgrade: WebSocket\r\nConnection: Upgrade\r\n\r\nframes"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := startInbound(t, scripted(t, func(_ int, nc net.Conn, in *bufio.Reader) {
				if _, err := http.ReadRequest(in); err == nil {
					_, _ = io.WriteString(nc, c.answer)
				}
			}))
			conn := dial(t, s.address())
			conn.send(c.request)
			got, err := io.ReadAll(conn.r)
			if err != nil || string(got) != c.want {
				t.Errorf("the app sent %q\nthe client got %q, %v\nwant           %q", c.answer, got, err, c.want)
			}
		})
	}
}

// TestProtocolsThatWereNotOffered: the app switches to a protocol that it was
// offered, or the answer is invalid (RFC 9110, section 7.8).
func TestProtocolsThatWereNotOffered(t *testing.T) {
	for name, upgrade := range map[string]string{"another": "Upgrade: tls/1.0\r\n", "h2c": "Upgrade: h2c\r\n", "none": ""} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := startInbound(t, scripted(t, func(_ int, nc net.Conn, in *bufio.Reader) {
				if _, err := http.ReadRequest(in); err == nil {
					_, _ = io.WriteString(nc, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n"+upgrade+"\r\n")
					_, _ = io.Copy(io.Discard, in)
				}
			}))
			conn := dial(t, s.address())
			conn.send("GET /x HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
			if got := conn.next("GET"); got != "502 upstream_invalid" {
				t.Errorf("got %q", got)
			}
		})
	}
}
