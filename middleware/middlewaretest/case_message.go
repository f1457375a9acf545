package middlewaretest

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"testing"

	"github.com/outrigger-mesh/outrigger/middleware"
)

// reflection is what a backend saw of a request's head.
type reflection struct {
	Method, Target, Host string
	Header               http.Header
}

// reflect answers with the head that came.
func reflect(w http.ResponseWriter, r *http.Request) {
	_ = json.NewEncoder(w).Encode(reflection{r.Method, r.RequestURI, r.Host, r.Header})
}

func (a answer) reflection(t testing.TB) reflection {
	t.Helper()
	var r reflection
	if err := json.Unmarshal([]byte(a.body), &r); err != nil {
		t.Fatalf("status %d, body %s: %v", a.status, short(a.body), err)
	}
	return r
}

var messageScenarios = []scenario{
	{"the backend gets method, target, authority and header as the client sent them", func(t *testing.T, e Engine) {
		seen := make(chan string, 1)
		c := start(t, e, Setup{
			Backends: []http.Handler{http.HandlerFunc(reflect)},
			Request: []middleware.Middleware{before(func(x *middleware.Exchange) {
				seen <- string(x.Request.Method) + " " + string(x.Request.Path()) + " ? " + string(x.Request.Query()) + " @ " + string(x.Request.Authority)
			})},
		})
		req := request(t, http.MethodPut, "/a%20b/c?x=1&y=%2F", nil)
		req.Header["X-Many"] = []string{"one", "two"}
		got := c.do(req).reflection(t)
		if got.Method != http.MethodPut || got.Target != "/a%20b/c?x=1&y=%2F" || got.Host != "backend.test" {
			t.Errorf("the backend saw %s %s for %s", got.Method, got.Target, got.Host)
		}
		equalStrings(t, "X-Many", got.Header["X-Many"], []string{"one", "two"})
		if s := receive(t, "Serve", seen); s != "PUT /a%20b/c ? x=1&y=%2F @ backend.test" {
			t.Errorf("the chain saw %s", s)
		}
	}},
	{"fields of the request are set, added and deleted for the backend", func(t *testing.T, e Engine) {
		c := start(t, e, Setup{
			Backends: []http.Handler{http.HandlerFunc(reflect)},
			Request: []middleware.Middleware{before(func(x *middleware.Exchange) {
				h := &x.Request.Header
				h.Set("X-Set", "new")
				h.Add("X-Add", "second")
				if n := h.Del("x-del"); n != 2 {
					t.Errorf("Del dropped %d fields, want 2", n)
				}
			})},
		})
		req := request(t, http.MethodGet, "/", nil)
		req.Header["X-Set"] = []string{"old", "older"}
		req.Header["X-Add"] = []string{"first"}
		req.Header["X-Del"] = []string{"a", "b"}
		got := c.do(req).reflection(t).Header
		equalStrings(t, "X-Set", got["X-Set"], []string{"new"})
		equalStrings(t, "X-Add", got["X-Add"], []string{"first", "second"})
		equalStrings(t, "X-Del", got["X-Del"], nil)
	}},
	{"fields of the response are set, added and deleted for the client", func(t *testing.T, e Engine) {
		c := start(t, e, Setup{
			Backends: []http.Handler{http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header()["X-Set"] = []string{"old", "older"}
				w.Header()["X-Add"] = []string{"first"}
				w.Header()["X-Del"] = []string{"a", "b"}
				hello(w, r)
			})},
			Request: []middleware.Middleware{hook{serve: func(x *middleware.Exchange, next middleware.Handler) error {
				err := next.Serve(x)
				h := &x.Response.Header
				h.Set("X-Set", "new")
				h.Add("X-Add", "second")
				h.Del("x-del")
				return err
			}}},
		})
		a := c.get(t, "/")
		a.want(t, http.StatusOK, "hello")
		equalStrings(t, "X-Set", a.header["X-Set"], []string{"new"})
		equalStrings(t, "X-Add", a.header["X-Add"], []string{"first", "second"})
		equalStrings(t, "X-Del", a.header["X-Del"], nil)
	}},
	{"a value cannot smuggle a field in", func(t *testing.T, e Engine) {
		c := start(t, e, Setup{
			Backends: []http.Handler{http.HandlerFunc(reflect)},
			Request: []middleware.Middleware{hook{serve: func(x *middleware.Exchange, next middleware.Handler) error {
				x.Request.Header.Set("X-Value", "a\r\nX-Smuggled: 1")
				err := next.Serve(x)
				x.Response.Header.Set("X-Value", "a\r\nX-Smuggled: 1")
				return err
			}}},
		})
		a := c.get(t, "/")
		for place, h := range map[string]http.Header{"backend": a.reflection(t).Header, "client": a.header} {
			if len(h["X-Smuggled"]) > 0 || h.Get("X-Value") != "a  X-Smuggled: 1" {
				t.Errorf("the %s saw X-Value %q and X-Smuggled %q", place, h.Get("X-Value"), h["X-Smuggled"])
			}
		}
	}},
	{"a local reply is JSON with error, reason and request_id", func(t *testing.T, e Engine) {
		c := start(t, e, Setup{Request: []middleware.Middleware{
			hook{serve: func(x *middleware.Exchange, _ middleware.Handler) error {
				err := x.ReplyMessage(http.StatusTooManyRequests, "busy", "wait \"a\" second\n")
				x.Response.Header.Set("Retry-After", "1")
				return err
			}},
		}})
		req := request(t, http.MethodGet, "/", nil)
		req.Header.Set("X-Request-Id", "abc-1")
		a := c.do(req)
		r := a.wantReply(t, http.StatusTooManyRequests, "busy")
		if want := (reply{"wait \"a\" second\n", "busy", "abc-1"}); r != want {
			t.Errorf("got %+v, want %+v", r, want)
		}
		if a.header.Get("Content-Type") != "application/json" || a.header.Get("Retry-After") != "1" || a.header.Get("X-Request-Id") != "abc-1" {
			t.Errorf("header of the reply: %v", a.header)
		}
		if a.length != int64(len(a.body)) {
			t.Errorf("content length %d of %d bytes", a.length, len(a.body))
		}
		fresh := c.get(t, "/")
		if id := fresh.wantReply(t, http.StatusTooManyRequests, "busy").RequestID; id == "" || id == "abc-1" || id != fresh.header.Get("X-Request-Id") {
			t.Errorf("a request without an id is given %q, in the header %q", id, fresh.header.Get("X-Request-Id"))
		}
	}},
	{"a local reply to HEAD has no body", func(t *testing.T, e Engine) {
		c := start(t, e, Setup{Request: []middleware.Middleware{
			hook{serve: func(x *middleware.Exchange, _ middleware.Handler) error { return x.Reply(http.StatusForbidden, "no") }},
		}})
		c.do(request(t, http.MethodHead, "/", nil)).want(t, http.StatusForbidden, "")
		c.do(request(t, http.MethodHead, "/", nil)).want(t, http.StatusForbidden, "")
	}},
	{"interim responses are relayed before the final one", func(t *testing.T, e Engine) {
		c := start(t, e, Setup{Backends: []http.Handler{http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			for _, link := range []string{"</a.css>", "</b.css>"} {
				w.Header().Set("Link", link)
				w.WriteHeader(http.StatusEarlyHints)
			}
			w.Header().Del("Link")
			hello(w, r)
		})}})
		j := &journal{}
		ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
			Got1xxResponse: func(code int, header textproto.MIMEHeader) error {
				j.add("%d %s", code, header.Get("Link"))
				return nil
			},
		})
		a := c.do(requestWith(ctx, t, http.MethodGet, "/", nil))
		a.want(t, http.StatusOK, "hello")
		equalStrings(t, "interim responses", j.all(), []string{"103 </a.css>", "103 </b.css>"})
		if a.header.Get("Link") != "" {
			t.Error("a field of an interim response is in the final one")
		}
	}},
	{"answers without a body keep their header and leave the connection usable", func(t *testing.T, e Engine) {
		c := start(t, e, Setup{Backends: []http.Handler{http.HandlerFunc(bodylessBackend)}})
		for _, want := range bodylessAnswers {
			a := c.do(request(t, want.method, want.path, nil))
			a.want(t, want.status, "")
			if got := a.header.Get(want.field); got != want.value {
				t.Errorf("%s %s: %s is %q, want %q", want.method, want.path, want.field, got, want.value)
			}
			c.get(t, "/").want(t, http.StatusOK, "hello")
		}
	}},
	{"the context of a request ends with it, and not before", func(t *testing.T, e Engine) {
		contexts := make(chan context.Context, 1)
		c := start(t, e, Setup{Request: []middleware.Middleware{
			hook{serve: func(x *middleware.Exchange, next middleware.Handler) error {
				ctx := x.Context()
				err := next.Serve(x)
				if ctx.Err() != nil {
					t.Errorf("canceled before the response was sent: %v", context.Cause(ctx))
				}
				contexts <- ctx
				return err
			}},
		}})
		c.get(t, "/").want(t, http.StatusOK, "hello")
		ctx := receive(t, "context", contexts)
		receive(t, "the context's end", ctx.Done())
		if cause := context.Cause(ctx); !errors.Is(cause, middleware.ErrEnded) {
			t.Errorf("cause %v, want %v", cause, middleware.ErrEnded)
		}
	}},
}

var bodylessAnswers = []struct {
	method, path string
	status       int
	field, value string
}{
	{http.MethodHead, "/length", 200, "Content-Length", "42"},
	{http.MethodHead, "/chunked", 200, "X-Kind", "chunked"},
	{http.MethodGet, "/204", 204, "X-Kind", "204"},
	{http.MethodGet, "/304", 304, "Etag", `"v1"`},
	{http.MethodGet, "/empty", 200, "Content-Length", "0"},
}

func bodylessBackend(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/length":
		w.Header().Set("Content-Length", "42")
	case "/chunked":
		w.Header().Set("X-Kind", "chunked")
		first(w)
	case "/204":
		w.Header().Set("X-Kind", "204")
		w.WriteHeader(http.StatusNoContent)
	case "/304":
		w.Header().Set("Etag", `"v1"`)
		w.WriteHeader(http.StatusNotModified)
	case "/empty":
		w.Header().Set("Content-Length", "0")
	default:
		hello(w, r)
	}
}
