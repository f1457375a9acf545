package conformance

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/mccutchen/go-httpbin/v2/httpbin"
)

// usual is the middleware of a configuration that names none, but for the access
// log, which would write over the test's own words.
const usual = "[requestid, metrics, tracing, timeout, breaker, retry]"

// twoSidecars is the way of a call in the mesh: the caller's sidecar, the
// called app's sidecar, the app. It gives the address that the caller uses, with
// app as Host.
func twoSidecars(t *testing.T, app, outbound string) string {
	t.Helper()
	in := startSidecar(t, fmt.Sprintf(`
app: {name: app, address: %q, health: {interval: 1h}}
listen: {inbound: "127.0.0.1:0", outbound: "off", admin: "off"}
discovery: {registry: {}}
drain: {delay: 1ms, timeout: 2s}
middleware: {inbound: [requestid, metrics, tracing, timeout]}
`, app))
	out := startSidecar(t, fmt.Sprintf(`
listen: {outbound: "127.0.0.1:0", admin: "off"}
upstreams: {app: {endpoints: [%q]}}
drain: {delay: 1ms, timeout: 2s}
middleware: {outbound: %s}
`, in.at["listen.inbound"], outbound))
	return out.at["listen.outbound"]
}

// echoServer is a WebSocket server that sends back what it gets, message by
// message, and closes with the code that a message "close CODE" asks for. What
// each connection ended with on its side goes into ends.
func echoServer(t *testing.T, ends chan<- websocket.StatusCode) string {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/refuse" {
			http.Error(w, "not here", http.StatusForbidden)
			return
		}
		mode := websocket.CompressionDisabled
		if r.URL.Path == "/deflate" {
			mode = websocket.CompressionContextTakeover
		}
		c, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{"echo"}, CompressionMode: mode})
		if err != nil {
			return
		}
		c.SetReadLimit(4 << 20)
		ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), patience)
		defer cancel()
		for {
			kind, message, err := c.Read(ctx)
			if err != nil {
				ends <- websocket.CloseStatus(err)
				_ = c.CloseNow()
				return
			}
			var code websocket.StatusCode
			if n, _ := fmt.Sscanf(string(message[:min(len(message), 20)]), "close %d", &code); n == 1 {
				_ = c.Close(code, "asked")
				ends <- code
				return
			}
			if err := c.Write(ctx, kind, message); err != nil {
				return
			}
		}
	}))
	t.Cleanup(srv.Close)
	return srv.Listener.Addr().String()
}

// openWebSocket opens a WebSocket to the service app; status is that of the
// answer, 0 where there was none.
func openWebSocket(ctx context.Context, address, path string, o websocket.DialOptions) (c *websocket.Conn, status int, err error) {
	o.Host = "app"
	c, resp, err := websocket.Dial(ctx, "ws://"+address+path, &o) //nolint:bodyclose // the package closes it
	if resp != nil {
		status = resp.StatusCode
	}
	if c != nil {
		c.SetReadLimit(4 << 20)
	}
	return c, status, err
}

// dialWebSocket is openWebSocket where that has to succeed.
func dialWebSocket(t *testing.T, address, path string, o websocket.DialOptions) *websocket.Conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c, status, err := openWebSocket(ctx, address, path, o)
	if err != nil {
		t.Fatalf("no WebSocket: %d, %v", status, err)
	}
	t.Cleanup(func() { _ = c.CloseNow() })
	return c
}

func TestWebSocketEcho(t *testing.T) {
	ends := make(chan websocket.StatusCode, 100)
	address := twoSidecars(t, echoServer(t, ends), usual)
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	megabyte := make([]byte, 1<<20)
	_, _ = rand.Read(megabyte)
	for _, path := range []string{"/", "/deflate"} {
		o := websocket.DialOptions{Subprotocols: []string{"echo"}}
		if path == "/deflate" {
			o.CompressionMode = websocket.CompressionContextTakeover
		}
		c := dialWebSocket(t, address, path, o)
		if c.Subprotocol() != "echo" {
			t.Errorf("%s: subprotocol %q", path, c.Subprotocol())
		}
		for i, message := range [][]byte{[]byte("text"), {}, []byte("\u00e4\u4e2d"), {0, 1, 0xff}, megabyte, bytes.Repeat([]byte("a"), 125), bytes.Repeat([]byte("b"), 126), bytes.Repeat([]byte("c"), 65536)} {
			kind := websocket.MessageText
			if i == 3 || i == 4 {
				kind = websocket.MessageBinary
			}
			// In pieces: each Write is a frame, the first of the message's kind,
			// the others its continuation (RFC 6455, section 5.4).
			w, err := c.Writer(ctx, kind)
			if err != nil {
				t.Fatal(err)
			}
			for rest := message; len(rest) > 0; {
				n := min(len(rest), max(len(message)/3, 1))
				if _, err := w.Write(rest[:n]); err != nil {
					t.Fatal(err)
				}
				rest = rest[n:]
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			gotKind, got, err := c.Read(ctx)
			if err != nil || gotKind != kind || !bytes.Equal(got, message) {
				t.Fatalf("%s, message %d: kind %v, %d bytes, %v; want kind %v, %d bytes", path, i, gotKind, len(got), err, kind, len(message))
			}
		}
		// Pings need somebody who reads the pongs.
		c.CloseRead(ctx)
		for range 3 {
			if err := c.Ping(ctx); err != nil {
				t.Fatalf("%s: ping: %v", path, err)
			}
		}
	}
}

// TestWebSocketCloseCodes: the code reaches the other side, whoever closes (RFC
// 6455, section 7.4).
func TestWebSocketCloseCodes(t *testing.T) {
	ends := make(chan websocket.StatusCode, 100)
	address := twoSidecars(t, echoServer(t, ends), usual)
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	for _, code := range []websocket.StatusCode{
		websocket.StatusNormalClosure, websocket.StatusGoingAway, websocket.StatusPolicyViolation, websocket.StatusInternalError, 3000, 4999,
	} {
		c := dialWebSocket(t, address, "/", websocket.DialOptions{})
		if err := c.Close(code, "by the client"); err != nil {
			t.Errorf("close with %d: %v", code, err)
		}
		if got := <-ends; got != code {
			t.Errorf("the server saw %d, want %d", got, code)
		}
		c = dialWebSocket(t, address, "/", websocket.DialOptions{})
		if err := c.Write(ctx, websocket.MessageText, fmt.Appendf(nil, "close %d", code)); err != nil {
			t.Fatal(err)
		}
		_, _, err := c.Read(ctx)
		var closed websocket.CloseError
		if !errors.As(err, &closed) || closed.Code != code || closed.Reason != "asked" {
			t.Errorf("the client saw %v, want %d", err, code)
		}
		<-ends
	}
}

func TestManyWebSocketsAtOnce(t *testing.T) {
	const sockets, messages = 60, 30
	ends := make(chan websocket.StatusCode, sockets)
	address := twoSidecars(t, echoServer(t, ends), usual)
	var wg sync.WaitGroup
	for i := range sockets {
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
			defer cancel()
			c, status, err := openWebSocket(ctx, address, "/", websocket.DialOptions{})
			if err != nil {
				t.Errorf("socket %d: %d, %v", i, status, err)
				return
			}
			for n := range messages {
				message := fmt.Sprintf("message %d of %d %s", n, i, strings.Repeat("x", n*100))
				if err := c.Write(ctx, websocket.MessageText, []byte(message)); err != nil {
					t.Errorf("socket %d: %v", i, err)
					return
				}
				if _, got, err := c.Read(ctx); err != nil || string(got) != message {
					t.Errorf("socket %d: got %.40q, %v", i, got, err)
					return
				}
			}
			if err := c.Close(websocket.StatusNormalClosure, ""); err != nil {
				t.Errorf("socket %d: close: %v", i, err)
			}
		})
	}
	wg.Wait()
	for range sockets {
		if code := <-ends; code != websocket.StatusNormalClosure {
			t.Errorf("the server saw %d", code)
		}
	}
}

// TestWebSocketOfHTTPBin: another server's implementation.
func TestWebSocketOfHTTPBin(t *testing.T) {
	srv := httptest.NewServer(httpbin.New())
	t.Cleanup(srv.Close)
	c := dialWebSocket(t, twoSidecars(t, srv.Listener.Addr().String(), usual), "/websocket/echo", websocket.DialOptions{})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for _, message := range []string{"one", strings.Repeat("two", 300)} {
		if err := c.Write(ctx, websocket.MessageText, []byte(message)); err != nil {
			t.Fatal(err)
		}
		if _, got, err := c.Read(ctx); err != nil || string(got) != message {
			t.Fatalf("got %.40q, %v", got, err)
		}
	}
	if err := c.Close(websocket.StatusNormalClosure, ""); err != nil {
		t.Errorf("close: %v", err)
	}
}

// TestAnUpgradeThatIsRefused is an answer like any other.
func TestAnUpgradeThatIsRefused(t *testing.T) {
	address := twoSidecars(t, echoServer(t, make(chan websocket.StatusCode, 1)), usual)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	_, status, err := openWebSocket(ctx, address, "/refuse", websocket.DialOptions{})
	if err == nil || status != http.StatusForbidden {
		t.Errorf("got %d, %v; want 403", status, err)
	}
}

const handshake = "GET /chat HTTP/1.1\r\nHost: app\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"

// switching is an app that switches protocols with bytes of the new one right
// behind its 101, and goes on as it is told.
func switching(t *testing.T, behind string, then func(nc net.Conn, in *bufio.Reader)) string {
	t.Helper()
	return scripted(t, func(_ int, nc net.Conn, in *bufio.Reader) {
		if _, err := http.ReadRequest(in); err != nil {
			return
		}
		_, _ = io.WriteString(nc, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"+behind)
		then(nc, in)
	})
}

func (c *client) upgraded(t *testing.T) {
	t.Helper()
	head, err := readHead(c.r)
	if err != nil || !strings.HasPrefix(head, "HTTP/1.1 101 ") {
		t.Fatalf("got %q, %v", head, err)
	}
}

func (c *client) want(t *testing.T, want string) {
	t.Helper()
	got := make([]byte, len(want))
	if n, err := io.ReadFull(c.r, got); err != nil || string(got) != want {
		t.Fatalf("got %q, %v; want %q", got[:n], err, want)
	}
}

// TestBytesRightBehindTheHandshake: on both sides the first bytes of the new
// protocol may come in one segment with the last of the old one.
func TestBytesRightBehindTheHandshake(t *testing.T) {
	address := twoSidecars(t, switching(t, "server first", func(nc net.Conn, in *bufio.Reader) { _, _ = io.Copy(nc, in) }), usual)
	conn := dial(t, address)
	conn.send(handshake + "client first")
	conn.upgraded(t)
	conn.want(t, "server firstclient first")
	conn.send("and more")
	conn.want(t, "and more")
	conn.endSending()
	if got := conn.next("GET"); got != "closed" {
		t.Errorf("at the end: %s", got)
	}
}

// TestLargeBytesRightBehindTheHandshake: more than any buffer, both ways at
// once.
func TestLargeBytesRightBehindTheHandshake(t *testing.T) {
	large := strings.Repeat("0123456789abcdef", 1<<16) // 1 MiB
	address := twoSidecars(t, switching(t, large, func(nc net.Conn, in *bufio.Reader) { _, _ = io.Copy(nc, in) }), usual)
	conn := dial(t, address)
	go conn.send(handshake + large)
	conn.upgraded(t)
	conn.want(t, large)
	conn.want(t, large)
}

// TestHalfClosedWebSocket: when one side has said all, the other may still
// speak, in both directions.
func TestHalfClosedWebSocket(t *testing.T) {
	t.Run("client first", func(t *testing.T) {
		got := make(chan string, 1)
		address := twoSidecars(t, switching(t, "", func(nc net.Conn, in *bufio.Reader) {
			all, err := io.ReadAll(in)
			got <- fmt.Sprintf("%s %v", all, err)
			_, _ = io.WriteString(nc, "the last word")
		}), usual)
		conn := dial(t, address)
		conn.send(handshake)
		conn.upgraded(t)
		conn.send("all of it")
		conn.endSending()
		if all := <-got; all != "all of it <nil>" {
			t.Errorf("the app got %s", all)
		}
		conn.want(t, "the last word")
		if got := conn.next("GET"); got != "closed" {
			t.Errorf("at the end: %s", got)
		}
	})
	t.Run("app first", func(t *testing.T) {
		got := make(chan string, 1)
		address := twoSidecars(t, switching(t, "all of it", func(nc net.Conn, in *bufio.Reader) {
			if tcp, ok := nc.(*net.TCPConn); ok {
				_ = tcp.CloseWrite()
			}
			all, err := io.ReadAll(in)
			got <- fmt.Sprintf("%s %v", all, err)
		}), usual)
		conn := dial(t, address)
		conn.send(handshake)
		conn.upgraded(t)
		conn.want(t, "all of it")
		if _, err := conn.r.Peek(1); err != io.EOF {
			t.Errorf("the app's end came as %v", err)
		}
		conn.send("the last word")
		conn.endSending()
		if all := <-got; all != "the last word <nil>" {
			t.Errorf("the app got %s", all)
		}
	})
}

// TestABrokenWebSocketBreaksOnBothSides: nobody waits for who is gone.
func TestABrokenWebSocketBreaksOnBothSides(t *testing.T) {
	t.Run("the client breaks", func(t *testing.T) {
		ended := make(chan struct{})
		address := twoSidecars(t, switching(t, "", func(_ net.Conn, in *bufio.Reader) {
			_, _ = io.Copy(io.Discard, in)
			close(ended)
		}), usual)
		conn := dial(t, address)
		conn.send(handshake)
		conn.upgraded(t)
		if tcp, ok := conn.Conn.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
		}
		_ = conn.Close()
		select {
		case <-ended:
		case <-time.After(patience):
			t.Error("the app still waits")
		}
	})
	t.Run("the app breaks", func(t *testing.T) {
		address := twoSidecars(t, switching(t, "", func(nc net.Conn, _ *bufio.Reader) {
			if tcp, ok := nc.(*net.TCPConn); ok {
				_ = tcp.SetLinger(0)
			}
		}), usual)
		conn := dial(t, address)
		conn.send(handshake)
		conn.upgraded(t)
		if got := conn.next("GET"); got != "closed" && got != "reset" {
			t.Errorf("the client got %s", got)
		}
	})
}
