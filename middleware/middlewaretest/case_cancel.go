package middlewaretest

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/middleware"
)

// watched is a backend that stalls, and tells when it was entered and when its
// client was gone.
type watched struct {
	entered, gone chan struct{}
	handler       http.HandlerFunc // what it does before it stalls
}

func newWatched(h http.HandlerFunc) *watched {
	return &watched{entered: make(chan struct{}, 16), gone: make(chan struct{}, 16), handler: h}
}

func (b *watched) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b.entered <- struct{}{}
	if b.handler != nil {
		b.handler(w, r)
	}
	<-r.Context().Done()
	b.gone <- struct{}{}
}

var cancelScenarios = []scenario{
	{"a client that leaves before the head cancels the backend", func(t *testing.T, e Engine) {
		backend := newWatched(nil)
		c := start(t, e, Setup{Backends: []http.Handler{backend}})
		ctx, cancel := context.WithCancel(t.Context())
		result := make(chan answer, 1)
		req := requestWith(ctx, t, http.MethodGet, "/", nil)
		go func() { result <- c.do(req) }()
		receive(t, "the backend is entered", backend.entered)
		cancel()
		receive(t, "the backend is canceled", backend.gone)
		if a := receive(t, "the client's result", result); !errors.Is(a.headErr, context.Canceled) {
			t.Errorf("the client got %d, %v", a.status, a.headErr)
		}
	}},
	{"a client that leaves amid the response cancels the backend", func(t *testing.T, e Engine) {
		backend := newWatched(func(w http.ResponseWriter, _ *http.Request) { first(w) })
		c := start(t, e, Setup{Backends: []http.Handler{backend}})
		resp := c.open(t, request(t, http.MethodGet, "/", nil))
		_ = resp.Body.Close()
		receive(t, "the backend is canceled", backend.gone)
	}},
	{"a client that leaves amid its request's body cancels the backend", func(t *testing.T, e Engine) {
		begun, ended := make(chan struct{}), make(chan error, 1)
		c := start(t, e, Setup{Backends: []http.Handler{http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			_, _ = r.Body.Read(make([]byte, 1))
			close(begun)
			_, err := io.Copy(io.Discard, r.Body)
			ended <- err
		})}})
		ctx, cancel := context.WithCancel(t.Context())
		pr, pw := io.Pipe()
		result := make(chan answer, 1)
		req := requestWith(ctx, t, http.MethodPost, "/", pr)
		go func() { result <- c.do(req) }()
		if _, err := io.WriteString(pw, "a beginning"); err != nil {
			t.Fatal(err)
		}
		receive(t, "the backend has a beginning of the body", begun)
		cancel()
		if err := receive(t, "the backend's end of the body", ended); err == nil {
			t.Error("the backend took a beginning of the body for all of it")
		}
		_ = pw.Close() // net/http's client waits for the body's reader
		receive(t, "the client's result", result)
	}},
	{"a handler that cancels ends the attempt and the response", func(t *testing.T, e Engine) {
		backend := newWatched(func(w http.ResponseWriter, _ *http.Request) { first(w) })
		exchanges := make(chan *middleware.Exchange, 1)
		c := start(t, e, Setup{
			Backends: []http.Handler{backend},
			Request: []middleware.Middleware{before(func(x *middleware.Exchange) {
				x.Hold() // the test goes on using it
				exchanges <- x
			})},
		})
		resp := c.open(t, request(t, http.MethodGet, "/", nil))
		x := receive(t, "the exchange", exchanges)
		x.Cancel(errPlain)
		if a := readAnswer(resp); a.bodyErr == nil {
			t.Errorf("the client was given %d bytes as if they were all", len(a.body))
		}
		receive(t, "the backend is canceled", backend.gone)
		if cause := x.Cause(); !errors.Is(cause, errPlain) {
			t.Errorf("cause %v", cause)
		}
		x.Release()
	}},
	{"a deadline cancels the backend", func(t *testing.T, e Engine) {
		backend := newWatched(nil)
		c := start(t, e, Setup{Backends: []http.Handler{backend}, Request: []middleware.Middleware{hook{serve: limit}}})
		c.get(t, "/").wantReply(t, http.StatusGatewayTimeout, middleware.ReasonDeadline)
		receive(t, "the backend is canceled", backend.gone)
	}},
	{"the earliest deadline counts", func(t *testing.T, e Engine) {
		c := start(t, e, Setup{
			Backends: []http.Handler{http.HandlerFunc(stall)},
			Request: []middleware.Middleware{before(func(x *middleware.Exchange) {
				x.SetDeadline(time.Now().Add(time.Hour))
				x.SetDeadline(time.Now().Add(soon))
				x.SetDeadline(time.Now().Add(time.Hour))
			})},
		})
		c.get(t, "/").wantReply(t, http.StatusGatewayTimeout, middleware.ReasonDeadline)
	}},
	{"the deadline of one request never hits the next", func(t *testing.T, e Engine) {
		const limit = time.Second // what is limited takes much less
		var limited atomic.Bool
		c := start(t, e, Setup{
			Backends: []http.Handler{http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/slow" {
					<-time.After(limit + soon)
				}
				hello(w, r)
			})},
			Request: []middleware.Middleware{before(func(x *middleware.Exchange) {
				if limited.Load() {
					x.SetDeadline(time.Now().Add(limit))
				} else if d, ok := x.Deadline(); ok {
					t.Errorf("a deadline from before: %v", d)
				}
			})},
			Try: []middleware.TryMiddleware{middleware.TryFunc(func(a *middleware.Attempt, next middleware.TryHandler) error {
				if limited.Load() {
					a.SetDeadline(time.Now().Add(limit))
				}
				return next.Try(a)
			})},
		})
		for range 2 {
			limited.Store(true)
			c.get(t, "/").want(t, http.StatusOK, "hello")
			limited.Store(false)
			c.get(t, "/slow").want(t, http.StatusOK, "hello")
		}
	}},
	{"the limit of a try ends with its head", func(t *testing.T, e Engine) {
		const limit = time.Second // the head takes much less
		c := start(t, e, Setup{
			Backends: []http.Handler{http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				first(w)
				<-time.After(limit + soon)
				_, _ = io.WriteString(w, ", last")
			})},
			Try: []middleware.TryMiddleware{middleware.TryFunc(func(a *middleware.Attempt, next middleware.TryHandler) error {
				a.SetDeadline(time.Now().Add(limit))
				return next.Try(a)
			})},
		})
		c.get(t, "/").want(t, http.StatusOK, "first, last")
	}},
	{"bytes that move keep the idle limit away", func(t *testing.T, e Engine) {
		const pause, idle = 200 * time.Millisecond, time.Second
		c := start(t, e, Setup{
			Backends: []http.Handler{http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				for range 7 { // longer than the limit in all
					first(w)
					<-time.After(pause)
				}
			})},
			Request: []middleware.Middleware{before(func(x *middleware.Exchange) { x.SetIdle(idle) })},
		})
		c.get(t, "/").want(t, http.StatusOK, "firstfirstfirstfirstfirstfirstfirst")
	}},
}
