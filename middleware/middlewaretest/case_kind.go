package middlewaretest

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/outrigger-mesh/outrigger/middleware"
)

// kindScenario is traffic that no kind may harm.
type kindScenario struct {
	name  string
	probe probe
	run   func(t *testing.T, e Engine, f *fixture)
}

func backend(h http.HandlerFunc) Setup { return Setup{Backends: []http.Handler{h}} }

var kindScenarios = []kindScenario{
	{"a plain request and its response pass", probe{}, func(t *testing.T, e Engine, f *fixture) {
		c := f.start(t, e, backend(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X-Saw", r.Method+" "+r.RequestURI+" "+r.Host+" "+r.Header.Get("X-Mine"))
			w.WriteHeader(http.StatusAccepted)
			_, _ = io.WriteString(w, "hello")
		}))
		req := request(t, http.MethodGet, "/a%20b?c=d", nil)
		req.Header.Set("X-Mine", "me")
		a := c.do(req)
		a.want(t, http.StatusAccepted, "hello")
		if got := a.header.Get("X-Saw"); got != "GET /a%20b?c=d backend.test me" {
			t.Errorf("the backend saw %q", got)
		}
	}},
	{"responses without a body pass", probe{}, func(t *testing.T, e Engine, f *fixture) {
		c := f.start(t, e, backend(bodylessBackend))
		for _, want := range bodylessAnswers {
			a := c.do(request(t, want.method, want.path, nil))
			a.want(t, want.status, "")
			if got := a.header.Get(want.field); got != want.value {
				t.Errorf("%s %s: %s is %q, want %q", want.method, want.path, want.field, got, want.value)
			}
		}
	}},
	{"streams stay streams in both directions", probe{}, func(t *testing.T, e Engine, f *fixture) {
		c := f.start(t, e, backend(echo))
		pr, pw := io.Pipe()
		resp := c.open(t, request(t, http.MethodPost, "/", pr))
		defer func() { _ = resp.Body.Close() }()
		for i := range 10 {
			sent := fmt.Sprintf("chunk %d", i)
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
	{"large bodies pass unchanged", probe{}, func(t *testing.T, e Engine, f *fixture) {
		c := f.start(t, e, backend(echo))
		resp := c.open(t, request(t, http.MethodPost, "/", noise(4, large/4)))
		if digestOf(resp.Body) != digestOf(noise(4, large/4)) {
			t.Error("other bytes came back")
		}
		_ = resp.Body.Close()
	}},
	{"trailers pass in both directions", probe{}, func(t *testing.T, e Engine, f *fixture) {
		c := f.start(t, e, backend(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Trailer", "X-Down")
			_, _ = io.Copy(w, r.Body)
			first(w)
			w.Header().Set("X-Down", "got "+r.Trailer.Get("X-Up"))
		}))
		req := request(t, http.MethodPost, "/", io.MultiReader(strings.NewReader("body ")))
		req.Trailer = http.Header{"X-Up": {"sum"}}
		a := c.do(req)
		a.want(t, http.StatusOK, "body first")
		if got := a.trailer.Get("X-Down"); got != "got sum" {
			t.Errorf("trailer field %q", got)
		}
	}},
	{"a response that breaks off breaks off", probe{}, func(t *testing.T, e Engine, f *fixture) {
		c := f.start(t, e, backend(func(w http.ResponseWriter, _ *http.Request) {
			first(w)
			panic(http.ErrAbortHandler)
		}))
		wantBroken(t, c)
	}},
	{"a backend that cannot be reached is reported as such", probe{}, func(t *testing.T, e Engine, f *fixture) {
		c := f.start(t, e, Setup{Backends: []http.Handler{nil}})
		c.get(t, "/").wantReply(t, http.StatusServiceUnavailable, middleware.ReasonConnectFailed)
	}},
	{"a client that leaves cancels the backend", probe{}, func(t *testing.T, e Engine, f *fixture) {
		backend := newWatched(func(w http.ResponseWriter, _ *http.Request) { first(w) })
		c := f.start(t, e, Setup{Backends: []http.Handler{backend}})
		resp := c.open(t, request(t, http.MethodGet, "/", nil))
		_ = resp.Body.Close()
		receive(t, "the backend is canceled", backend.gone)
	}},
	{
		"a deadline that passes further in is reported as such",
		probe{request: hook{serve: limit}},
		func(t *testing.T, e Engine, f *fixture) {
			c := f.start(t, e, backend(stall))
			c.get(t, "/").wantReply(t, http.StatusGatewayTimeout, middleware.ReasonDeadline)
		},
	},
	{
		"a local reply from further in passes",
		probe{request: hook{serve: func(x *middleware.Exchange, _ middleware.Handler) error {
			return x.Reply(http.StatusTooManyRequests, "busy")
		}}},
		func(t *testing.T, e Engine, f *fixture) {
			c := f.start(t, e, Setup{})
			c.get(t, "/").wantReply(t, http.StatusTooManyRequests, "busy")
		},
	},
	{
		"a refusal of the attempt stage from further in passes",
		probe{try: tryHook{try: func(*middleware.Attempt, middleware.TryHandler) error {
			return &middleware.Reject{Status: http.StatusTooManyRequests, Reason: "busy"}
		}}},
		func(t *testing.T, e Engine, f *fixture) {
			c := f.start(t, e, Setup{})
			c.get(t, "/").wantReply(t, http.StatusTooManyRequests, "busy")
		},
	},
	{
		"a panic further in is answered",
		probe{request: hook{serve: func(*middleware.Exchange, middleware.Handler) error { panic("on purpose") }}},
		func(t *testing.T, e Engine, f *fixture) {
			c := f.start(t, e, Setup{})
			c.get(t, "/").wantReply(t, http.StatusInternalServerError, middleware.ReasonInternal)
		},
	},
	{"many clients at once never mix, over reloads", probe{}, func(t *testing.T, e Engine, f *fixture) {
		c := f.start(t, e, Setup{Backends: []http.Handler{http.HandlerFunc(identified)}})
		var clients sync.WaitGroup
		for who := range 16 {
			clients.Go(func() {
				for i := range 21 {
					if i%4 == 3 {
						continue // a local reply that no probe makes here
					}
					c.exchangeIDs(t, who, i)
				}
			})
		}
		for range 5 {
			f.reload(t)
		}
		clients.Wait()
	}},
}
