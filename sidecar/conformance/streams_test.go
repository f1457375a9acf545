package conformance

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// TestStreamsAreNotHeldBack: each piece of a body is passed on when it comes.
// Client and app take turns: neither says its next word before it has the
// other's. Who waits for more would wait for ever.
func TestStreamsAreNotHeldBack(t *testing.T) {
	const turns = 20
	for _, c := range []struct{ name, request, answer string }{
		{"chunks both ways", "Transfer-Encoding: chunked\r\n", "Transfer-Encoding: chunked\r\n"},
		{"length both ways", fmt.Sprintf("Content-Length: %d\r\n", 6*turns), fmt.Sprintf("Content-Length: %d\r\n", 6*turns)},
		{"chunks there, length back", "Transfer-Encoding: chunked\r\n", fmt.Sprintf("Content-Length: %d\r\n", 6*turns)},
		{"length there, until the end back", fmt.Sprintf("Content-Length: %d\r\n", 6*turns), ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			chunkedBack := strings.HasPrefix(c.answer, "Transfer")
			address := twoSidecars(t, scripted(t, func(_ int, nc net.Conn, in *bufio.Reader) {
				r, err := http.ReadRequest(in)
				if err != nil {
					return
				}
				_, _ = io.WriteString(nc, ok+c.answer+"\r\n")
				word := make([]byte, 6)
				for range turns {
					if _, err := io.ReadFull(r.Body, word); err != nil {
						return
					}
					piece := strings.ToUpper(string(word))
					if chunkedBack {
						piece = "6\r\n" + piece + "\r\n"
					}
					_, _ = io.WriteString(nc, piece)
				}
				if chunkedBack {
					_, _ = io.WriteString(nc, "0\r\n\r\n")
				}
			}), usual)
			conn := dial(t, address)
			conn.send("POST /x HTTP/1.1\r\nHost: app\r\n" + c.request + "\r\n")
			resp, err := http.ReadResponse(conn.r, nil) // its head comes before any body
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = resp.Body.Close() }()
			word := make([]byte, 6)
			for i := range turns {
				said, loud := fmt.Sprintf("word%02d", i), fmt.Sprintf("WORD%02d", i)
				if strings.HasPrefix(c.request, "Transfer") {
					conn.send("6\r\n" + said + "\r\n")
				} else {
					conn.send(said)
				}
				if _, err := io.ReadFull(resp.Body, word); err != nil || string(word) != loud {
					t.Fatalf("turn %d: got %q, %v", i, word, err)
				}
			}
			if strings.HasPrefix(c.request, "Transfer") {
				conn.send("0\r\n\r\n")
			}
			if rest, err := io.ReadAll(resp.Body); err != nil || len(rest) > 0 {
				t.Errorf("at the end: %q, %v", rest, err)
			}
		})
	}
}

// TestLargeBodies: more than any buffer, in each framing, both ways at once.
func TestLargeBodies(t *testing.T) {
	const size = 24 << 20
	body := make([]byte, size)
	random := rand.NewChaCha8([32]byte{})
	_, _ = random.Read(body)
	sum := sha256.Sum256(body)
	want := hex.EncodeToString(sum[:])
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		hash := sha256.New()
		n, err := io.Copy(hash, r.Body)
		w.Header().Set("X-Got", fmt.Sprintf("%d %x %v", n, hash.Sum(nil), err))
		if r.URL.Path == "/length" {
			w.Header().Set("Content-Length", fmt.Sprint(size))
		}
		for rest := body; len(rest) > 0; {
			n := min(len(rest), 1+len(rest)/3, 300_000)
			if _, err := w.Write(rest[:n]); err != nil {
				return
			}
			rest = rest[n:]
		}
	}))
	t.Cleanup(app.Close)
	address := twoSidecars(t, app.Listener.Addr().String(), usual)
	for _, c := range []struct {
		name, path, proto string
		length            int64
	}{
		{"length", "/length", "HTTP/1.1", size},
		{"chunks", "/chunks", "HTTP/1.1", -1},
		{"HTTP/1.0 until the end", "/chunks", "HTTP/1.0", size},
	} {
		t.Run(c.name, func(t *testing.T) {
			conn := dial(t, address)
			_ = conn.SetDeadline(time.Now().Add(4 * patience))
			go func() {
				if c.length >= 0 {
					conn.send(fmt.Sprintf("POST %s %s\r\nHost: app\r\nContent-Length: %d\r\n\r\n", c.path, c.proto, size))
					_, _ = conn.Write(body)
					return
				}
				conn.send(fmt.Sprintf("POST %s %s\r\nHost: app\r\nTransfer-Encoding: chunked\r\n\r\n", c.path, c.proto))
				for rest := body; len(rest) > 0; {
					n := min(len(rest), 1+len(rest)/5, 1_000_000)
					conn.send(fmt.Sprintf("%x\r\n%s\r\n", n, rest[:n]))
					rest = rest[n:]
				}
				conn.send("0\r\n\r\n")
			}()
			resp, err := http.ReadResponse(conn.r, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = resp.Body.Close() }()
			if got := resp.Header.Get("X-Got"); got != fmt.Sprintf("%d %s <nil>", size, want) {
				t.Errorf("the app got %s, want %s", got, want)
			}
			hash := sha256.New()
			n, err := io.Copy(hash, resp.Body)
			if got := hex.EncodeToString(hash.Sum(nil)); n != size || err != nil || got != want {
				t.Errorf("the client got %d bytes, %s, %v; want %s", n, got, err, want)
			}
		})
	}
}

// TestWhoReadsSlowlyIsWaitedFor: nothing is heaped up for a client or an app
// that does not read: the other side has to stop.
func TestWhoReadsSlowlyIsWaitedFor(t *testing.T) {
	const most = 48 << 20 // the buffers of five sockets, which the system sizes
	piece := make([]byte, 64<<10)
	// push writes until the other side takes nothing any more, or too much.
	push := func(nc net.Conn, written *atomic.Int64) {
		for written.Load() < 2*most {
			_ = nc.SetWriteDeadline(time.Now().Add(time.Second))
			n, err := nc.Write(piece)
			written.Add(int64(n))
			if err != nil {
				return
			}
		}
	}
	t.Run("client", func(t *testing.T) {
		t.Parallel()
		var written atomic.Int64
		stopped := make(chan struct{})
		address := twoSidecars(t, scripted(t, func(_ int, nc net.Conn, in *bufio.Reader) {
			if _, err := http.ReadRequest(in); err == nil {
				_, _ = io.WriteString(nc, ok+"\r\n")
				push(nc, &written)
				close(stopped)
			}
		}), usual)
		conn := dial(t, address)
		conn.send("GET /x HTTP/1.1\r\nHost: app\r\n\r\n")
		<-stopped
		if n := written.Load(); n > most {
			t.Errorf("the app could write %d MiB that nobody read", n>>20)
		}
	})
	t.Run("app", func(t *testing.T) {
		t.Parallel()
		stopped := make(chan struct{})
		address := twoSidecars(t, scripted(t, func(int, net.Conn, *bufio.Reader) { <-stopped }), usual)
		conn := dial(t, address)
		conn.send(fmt.Sprintf("POST /x HTTP/1.1\r\nHost: app\r\nContent-Length: %d\r\n\r\n", 4*most))
		var written atomic.Int64
		push(conn.Conn, &written)
		close(stopped)
		if n := written.Load(); n > most {
			t.Errorf("the client could write %d MiB that nobody read", n>>20)
		}
	})
}

// TestWhoIsGoneIsToldOf: when the client goes, the app's connection ends, so
// that the app can stop its work; and when the app goes, the client hears of
// it.
func TestWhoIsGoneIsToldOf(t *testing.T) {
	for _, c := range []struct {
		name, request, answer string
	}{
		{"the client, before the answer", "GET /x HTTP/1.1\r\nHost: app\r\n\r\n", ""},
		{"the client, amid the answer", "GET /x HTTP/1.1\r\nHost: app\r\n\r\n", ok + "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"},
		{"the client, amid an answer with a length", "GET /x HTTP/1.1\r\nHost: app\r\n\r\n", ok + "Content-Length: 1000\r\n\r\nabc"},
		{"the client, amid its request", "POST /x HTTP/1.1\r\nHost: app\r\nContent-Length: 10\r\n\r\nabc", ""},
		{"the client, amid its chunks", "POST /x HTTP/1.1\r\nHost: app\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			begun, ended := make(chan struct{}), make(chan error, 1)
			address := twoSidecars(t, scripted(t, func(_ int, nc net.Conn, in *bufio.Reader) {
				r, err := http.ReadRequest(in)
				if err != nil {
					return
				}
				_, _ = io.WriteString(nc, c.answer)
				close(begun)
				if _, err := io.Copy(io.Discard, r.Body); err != nil {
					ended <- nil // half a body
					return
				}
				_, err = in.ReadByte()
				ended <- err
			}), "[]")
			conn := dial(t, address)
			conn.send(c.request)
			<-begun
			if c.answer != "" {
				if _, err := readHead(conn.r); err != nil {
					t.Fatal(err)
				}
			}
			_ = conn.Close()
			var timeout net.Error
			if err := <-ended; errors.As(err, &timeout) && timeout.Timeout() {
				t.Error("the app was not told")
			}
		})
	}
}

// TestAClientThatHasSaidAllIsAnswered: the end of the client's side is not the
// client's end, where the answer is not long in coming.
func TestAClientThatHasSaidAllIsAnswered(t *testing.T) {
	address := twoSidecars(t, scripted(t, func(_ int, nc net.Conn, in *bufio.Reader) {
		if r, err := http.ReadRequest(in); err == nil {
			_, _ = io.Copy(io.Discard, r.Body)
			_, _ = io.WriteString(nc, okLen)
		}
	}), usual)
	for _, request := range []string{"GET /x HTTP/1.1\r\nHost: app\r\n\r\n", "POST /x HTTP/1.1\r\nHost: app\r\nContent-Length: 3\r\n\r\nabc"} {
		conn := dial(t, address)
		conn.send(request)
		conn.endSending()
		if got := conn.next("GET"); got != "200 ok" {
			t.Errorf("%q got %s", request, got)
		}
	}
}
