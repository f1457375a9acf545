package middlewaretest

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/outrigger-mesh/outrigger/middleware"
)

// reader is a backend that tells what body it got, and then answers.
type reader struct {
	bodies chan string
	status int
}

func newReader(status int) *reader { return &reader{make(chan string, 8), status} }

func (b *reader) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	b.bodies <- string(body)
	w.WriteHeader(b.status)
	_, _ = io.WriteString(w, http.StatusText(b.status))
}

func keep(n int) middleware.Middleware {
	return before(func(x *middleware.Exchange) { x.Request.Body.KeepForReplay(n) })
}

var replayScenarios = []scenario{
	{"a body within the bound is sent whole to each", func(t *testing.T, e Engine) {
		bad, good := newReader(503), newReader(200)
		c := start(t, e, Setup{
			Policy:   again{when: failed},
			Backends: []http.Handler{bad, bad, good},
			Request:  []middleware.Middleware{keep(4096)},
		})
		body := strings.Repeat("0123456789", 400)
		for _, chunked := range []bool{false, true} {
			var r io.Reader = strings.NewReader(body)
			if chunked {
				r = io.MultiReader(r) // net/http does not know its length
			}
			c.do(request(t, http.MethodPost, "/", r)).want(t, http.StatusOK, "OK")
			for i, backend := range []*reader{bad, bad, good} {
				if got := receive(t, "body", backend.bodies); got != body {
					t.Errorf("chunked %t: try %d got %d bytes, want %d", chunked, i, len(got), len(body))
				}
			}
		}
	}},
	{"a body beyond the bound is sent once", func(t *testing.T, e Engine) {
		bad, good := newReader(503), newReader(200)
		c := start(t, e, Setup{
			Policy:   again{when: failed},
			Backends: []http.Handler{bad, good},
			Request:  []middleware.Middleware{keep(1024)},
		})
		body := strings.Repeat("x", 100<<10)
		c.post(t, body).want(t, http.StatusServiceUnavailable, "Service Unavailable")
		if got := receive(t, "body", bad.bodies); got != body {
			t.Errorf("the backend got %d bytes, want %d", len(got), len(body))
		}
		if len(good.bodies) != 0 {
			t.Error("the request was tried again with a body that was not kept")
		}
	}},
	{"a body that nobody asked to keep is sent once", func(t *testing.T, e Engine) {
		bad, good := newReader(503), newReader(200)
		c := start(t, e, Setup{Policy: again{when: failed}, Backends: []http.Handler{bad, good}})
		c.post(t, "body").want(t, http.StatusServiceUnavailable, "Service Unavailable")
		if len(good.bodies) != 0 {
			t.Error("the request was tried again with a body that was not kept")
		}
	}},
	{"a body that was not touched is sent to the next endpoint, whatever its size", func(t *testing.T, e Engine) {
		good := newReader(200)
		c := start(t, e, Setup{Policy: again{when: failed}, Backends: []http.Handler{nil, good}})
		body := strings.Repeat("x", 1<<20)
		c.post(t, body).want(t, http.StatusOK, "OK")
		if got := receive(t, "body", good.bodies); got != body {
			t.Errorf("the backend got %d bytes, want %d", len(got), len(body))
		}
	}},
	{"a wrapped body is replayed as it was wrapped", func(t *testing.T, e Engine) {
		bad, good := newReader(503), newReader(200)
		c := start(t, e, Setup{
			Policy:   again{when: failed},
			Backends: []http.Handler{bad, good},
			Request: []middleware.Middleware{keep(1024), before(func(x *middleware.Exchange) {
				x.Request.Body.Wrap(func(r io.Reader) io.Reader { return &upper{r} })
			})},
		})
		c.post(t, "body").want(t, http.StatusOK, "OK")
		for i, backend := range []*reader{bad, good} {
			if got := receive(t, "body", backend.bodies); got != "BODY" {
				t.Errorf("try %d got %q, want %q", i, got, "BODY")
			}
		}
	}},
	{"a try may follow while the client still sends", func(t *testing.T, e Engine) {
		begun := make(chan struct{})
		got := make(chan string, 1)
		c := start(t, e, Setup{
			Policy:  again{when: failed},
			Request: []middleware.Middleware{keep(4096)},
			Backends: []http.Handler{
				http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					fullDuplex(w)
					_, _ = io.ReadFull(r.Body, make([]byte, len("first, ")))
					w.WriteHeader(http.StatusServiceUnavailable)
				}),
				http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					beginning := make([]byte, len("first, "))
					_, _ = io.ReadFull(r.Body, beginning)
					close(begun)
					rest, _ := io.ReadAll(r.Body)
					got <- string(beginning) + string(rest)
					hello(w, r)
				}),
			},
		})
		pr, pw := io.Pipe()
		result := make(chan answer, 1)
		req := request(t, http.MethodPost, "/", pr)
		go func() { result <- c.do(req) }()
		_, _ = io.WriteString(pw, "first, ")
		receive(t, "the second try has the beginning", begun)
		_, _ = io.WriteString(pw, "second, ")
		_, _ = io.WriteString(pw, "third")
		_ = pw.Close()
		if body := receive(t, "body", got); body != "first, second, third" {
			t.Errorf("the second try got %q", body)
		}
		receive(t, "the answer", result).want(t, http.StatusOK, "hello")
	}},
}
