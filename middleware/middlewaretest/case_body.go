package middlewaretest

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"

	"github.com/outrigger-mesh/outrigger/middleware"
)

// large is more than every buffer on the way together.
const large = 8 << 20

// noise is n bytes that no two seeds share.
func noise(seed byte, n int64) io.Reader {
	return io.LimitReader(rand.NewChaCha8([32]byte{seed}), n)
}

func digest(h hash.Hash) string { return hex.EncodeToString(h.Sum(nil)) }

func digestOf(r io.Reader) string {
	h := sha256.New()
	_, _ = io.Copy(h, r)
	return digest(h)
}

// fullDuplex lets a handler of net/http write before it has read everything.
func fullDuplex(w http.ResponseWriter) { _ = http.NewResponseController(w).EnableFullDuplex() }

// echo sends back what it gets, at once.
func echo(w http.ResponseWriter, r *http.Request) {
	fullDuplex(w)
	control := http.NewResponseController(w)
	_ = control.Flush()
	buf := make([]byte, 4<<10)
	for {
		n, err := r.Body.Read(buf)
		if n > 0 {
			if _, err := w.Write(buf[:n]); err != nil {
				return
			}
			_ = control.Flush()
		}
		if err != nil {
			return
		}
	}
}

var bodyScenarios = []scenario{
	{"both bodies stream at once, chunk by chunk", func(t *testing.T, e Engine) {
		c := start(t, e, Setup{Backends: []http.Handler{http.HandlerFunc(echo)}})
		pr, pw := io.Pipe()
		resp := c.open(t, request(t, http.MethodPost, "/", pr))
		defer func() { _ = resp.Body.Close() }()
		for i := range 50 {
			sent := fmt.Sprintf("chunk %d of the conversation\n", i)
			if _, err := io.WriteString(pw, sent); err != nil {
				t.Fatal(err)
			}
			got := make([]byte, len(sent))
			if _, err := io.ReadFull(resp.Body, got); err != nil || string(got) != sent {
				t.Fatalf("sent %q, got %q back, %v", sent, got, err)
			}
		}
		_ = pw.Close()
		if rest, err := io.ReadAll(resp.Body); err != nil || len(rest) > 0 {
			t.Errorf("after the end: %q, %v", rest, err)
		}
	}},
	{"large bodies pass both ways unchanged", func(t *testing.T, e Engine) {
		up, down := digestOf(noise(1, large)), digestOf(noise(2, large))
		c := start(t, e, Setup{Backends: []http.Handler{http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X-Digest", digestOf(r.Body))
			_, _ = io.Copy(w, noise(2, large))
		})}})
		for _, known := range []bool{true, false} {
			req := request(t, http.MethodPost, "/", noise(1, large))
			if known {
				req.ContentLength = large
			}
			resp := c.open(t, req)
			if got := resp.Header.Get("X-Digest"); got != up {
				t.Errorf("length known %t: the backend got other bytes", known)
			}
			if got := digestOf(resp.Body); got != down {
				t.Errorf("length known %t: the client got other bytes", known)
			}
			_ = resp.Body.Close()
		}
	}},
	{"a large body is echoed while it is sent", func(t *testing.T, e Engine) {
		c := start(t, e, Setup{Backends: []http.Handler{http.HandlerFunc(echo)}})
		resp := c.open(t, request(t, http.MethodPost, "/", noise(3, large)))
		if digestOf(resp.Body) != digestOf(noise(3, large)) {
			t.Error("other bytes came back")
		}
		_ = resp.Body.Close()
	}},
	{"the length of a body is passed on", func(t *testing.T, e Engine) {
		c := start(t, e, Setup{Backends: []http.Handler{http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X-Length", fmt.Sprint(r.ContentLength))
			w.Header().Set("Content-Length", "5")
			hello(w, r)
		})}})
		a := c.post(t, "1234567")
		a.want(t, http.StatusOK, "hello")
		if a.header.Get("X-Length") != "7" || a.length != 5 {
			t.Errorf("the backend saw a length of %s, want 7; the client %d, want 5", a.header.Get("X-Length"), a.length)
		}
	}},
	{"a response comes though its request's body is not read", func(t *testing.T, e Engine) {
		c := start(t, e, Setup{Backends: []http.Handler{http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			fullDuplex(w) // or net/http reads the body first
			hello(w, r)
		})}})
		pr, pw := io.Pipe()
		go func() { _, _ = io.WriteString(pw, "a beginning") }()
		resp := c.open(t, request(t, http.MethodPost, "/", pr))
		if resp.StatusCode != http.StatusOK {
			t.Errorf("status %d", resp.StatusCode)
		}
		_ = resp.Body.Close()
		_ = pw.Close()
		c.get(t, "/").want(t, http.StatusOK, "hello")
	}},
	{"a local reply comes though the request's body is not read", func(t *testing.T, e Engine) {
		c := start(t, e, Setup{Request: []middleware.Middleware{
			hook{serve: func(x *middleware.Exchange, _ middleware.Handler) error {
				return x.Reply(http.StatusRequestEntityTooLarge, "too_large")
			}},
		}})
		pr, pw := io.Pipe()
		go func() { _, _ = io.WriteString(pw, "a beginning") }()
		resp := c.open(t, request(t, http.MethodPost, "/", pr))
		readAnswer(resp).wantReply(t, http.StatusRequestEntityTooLarge, "too_large")
		_ = pw.Close()
		c.get(t, "/").wantReply(t, http.StatusRequestEntityTooLarge, "too_large")
	}},
	{"trailers pass both ways, and the chain sees them", func(t *testing.T, e Engine) {
		seen := make(chan [2]string, 1)
		c := start(t, e, Setup{
			Request: []middleware.Middleware{hook{done: func(x *middleware.Exchange) {
				seen <- [2]string{string(x.Request.Trailer.Get("x-up")), string(x.Response.Trailer.Get("x-down"))}
			}}},
			Backends: []http.Handler{http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Trailer", "X-Down")
				body, _ := io.ReadAll(r.Body)
				_, _ = w.Write(body)
				first(w)
				w.Header().Set("X-Down", "got "+r.Trailer.Get("X-Up"))
				w.Header().Set(http.TrailerPrefix+"X-Undeclared", "too")
			})},
		})
		req := request(t, http.MethodPost, "/", io.MultiReader(strings.NewReader("body ")))
		req.Trailer = http.Header{"X-Up": {"sum"}}
		a := c.do(req)
		a.want(t, http.StatusOK, "body first")
		if a.trailer.Get("X-Down") != "got sum" || a.trailer.Get("X-Undeclared") != "too" {
			t.Errorf("trailer of the response: %v", a.trailer)
		}
		if got := receive(t, "Done", seen); got != [2]string{"sum", "got sum"} {
			t.Errorf("Done saw the trailer fields %q", got)
		}
	}},
	{"a wrapped request body is what the backend gets", func(t *testing.T, e Engine) {
		c := start(t, e, Setup{
			Backends: []http.Handler{http.HandlerFunc(echo)},
			Request: []middleware.Middleware{before(func(x *middleware.Exchange) {
				x.Request.Body.Wrap(func(r io.Reader) io.Reader { return &upper{r} })
			})},
		})
		c.post(t, "some words").want(t, http.StatusOK, "SOME WORDS")
	}},
	{"a wrapped request body of another length is what the backend gets", func(t *testing.T, e Engine) {
		c := start(t, e, Setup{
			Backends: []http.Handler{http.HandlerFunc(echo)},
			Request: []middleware.Middleware{before(func(x *middleware.Exchange) {
				x.Request.Body.Wrap(func(r io.Reader) io.Reader { return io.MultiReader(strings.NewReader("before, "), r) })
				x.Request.ContentLength = -1
				x.Request.Header.Del("content-length")
			})},
		})
		c.post(t, "and after").want(t, http.StatusOK, "before, and after")
	}},
	{"a wrapped response body is what the client gets", func(t *testing.T, e Engine) {
		closed := make(chan struct{}, 8)
		c := start(t, e, Setup{
			Request: []middleware.Middleware{hook{serve: func(x *middleware.Exchange, next middleware.Handler) error {
				if err := next.Serve(x); err != nil {
					return err
				}
				body := x.Response.Body
				x.Response.Body = &closing{io.MultiReader(strings.NewReader("before, "), &upper{body}), body, closed}
				x.Response.ContentLength = -1
				x.Response.Header.Del("content-length")
				return nil
			}}},
		})
		c.get(t, "/").want(t, http.StatusOK, "before, HELLO")
		receive(t, "Close of the wrapped body", closed)
		c.get(t, "/").want(t, http.StatusOK, "before, HELLO")
	}},
	{"an error of a wrapped response body breaks the response off", func(t *testing.T, e Engine) {
		c := start(t, e, Setup{
			Request: []middleware.Middleware{hook{serve: func(x *middleware.Exchange, next middleware.Handler) error {
				if err := next.Serve(x); err != nil {
					return err
				}
				x.Response.Body = &closing{io.MultiReader(x.Response.Body, failing{}), x.Response.Body, nil}
				x.Response.ContentLength = -1
				x.Response.Header.Del("content-length")
				return nil
			}}},
		})
		wantBroken(t, c)
	}},
}

// upper makes capitals.
type upper struct{ r io.Reader }

func (u *upper) Read(p []byte) (int, error) {
	n, err := u.r.Read(p)
	copy(p, bytes.ToUpper(p[:n]))
	return n, err
}

// closing is a reader with the Close of another.
type closing struct {
	io.Reader
	close io.Closer
	told  chan<- struct{}
}

func (c *closing) Close() error {
	if c.told != nil {
		c.told <- struct{}{}
	}
	return c.close.Close()
}

// failing is an error instead of an end.
type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errPlain }
