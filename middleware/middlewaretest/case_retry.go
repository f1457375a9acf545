package middlewaretest

import (
	"io"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/middleware"
)

// again is a policy that retries, and never hedges.
type again struct {
	after time.Duration
	when  func(a *middleware.Attempt) bool
}

func (p again) Next(_ *middleware.Exchange, attempts []*middleware.Attempt) (bool, time.Duration) {
	last := attempts[len(attempts)-1]
	return !last.Running() && p.when(last), p.after
}

// failed holds for a try without a good response.
func failed(a *middleware.Attempt) bool { return a.Err() != nil || a.Status() >= 500 }

// unavailable is a backend that has something the matter with it.
func unavailable(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	w.Header().Set("X-Failed", "yes")
	w.WriteHeader(http.StatusServiceUnavailable)
	_, _ = io.WriteString(w, "not now")
}

var retryScenarios = []scenario{
	{"one response is committed, the others are discarded before the next try", func(t *testing.T, e Engine) {
		j := &journal{}
		c := start(t, e, Setup{
			Policy: again{when: failed},
			Try: []middleware.TryMiddleware{tryHook{
				try: func(a *middleware.Attempt, next middleware.TryHandler) error {
					j.add("try %d", a.Number)
					err := next.Try(a)
					if a.Response.Body != nil {
						a.Response.Body = &noted{a.Response.Body, func() { j.add("close %d", a.Number) }}
					}
					return err
				},
				done: func(a *middleware.Attempt) {
					j.add("done %d: %d %s, committed: %t", a.Number, a.Status(), verdict(a), a.Committed())
				},
			}},
			Backends: []http.Handler{http.HandlerFunc(unavailable), http.HandlerFunc(unavailable), http.HandlerFunc(hello)},
		})
		a := c.get(t, "/")
		a.want(t, http.StatusOK, "hello")
		if a.header.Get("X-Failed") != "" {
			t.Error("a field of a discarded response is in the committed one")
		}
		equalStrings(t, "order", j.wait(t, 9), []string{
			"try 0", "close 0", "done 0: 503 " + middleware.ErrDiscarded.Error() + ", committed: false",
			"try 1", "close 1", "done 1: 503 " + middleware.ErrDiscarded.Error() + ", committed: false",
			"try 2", "close 2", "done 2: 200 ok, committed: true",
		})
	}},
	{"another try goes to another endpoint", func(t *testing.T, e Engine) {
		keys := make(chan []string, 1)
		c := start(t, e, Setup{
			Policy:   again{when: failed},
			Backends: []http.Handler{nil, http.HandlerFunc(hello)},
			Request: []middleware.Middleware{hook{done: func(x *middleware.Exchange) {
				var all []string
				for _, a := range x.Attempts() {
					all = append(all, a.Endpoint.Key)
				}
				keys <- all
			}}},
		})
		c.get(t, "/").want(t, http.StatusOK, "hello")
		if got := receive(t, "endpoints", keys); len(got) != 2 || got[0] == got[1] {
			t.Errorf("endpoints of the tries: %q, want two", got)
		}
	}},
	{"the last response is committed when none is good", func(t *testing.T, e Engine) {
		c := start(t, e, Setup{
			Policy:   again{when: func(a *middleware.Attempt) bool { return a.Number < 2 }},
			Backends: []http.Handler{http.HandlerFunc(unavailable), nil, http.HandlerFunc(unavailable)},
		})
		c.get(t, "/").want(t, http.StatusServiceUnavailable, "not now")
	}},
	{"a policy without end is bounded", func(t *testing.T, e Engine) {
		tries := make(chan int, 1)
		c := start(t, e, Setup{
			Policy:   again{when: func(*middleware.Attempt) bool { return true }},
			Backends: []http.Handler{http.HandlerFunc(unavailable)},
			Request:  []middleware.Middleware{hook{done: func(x *middleware.Exchange) { tries <- len(x.Attempts()) }}},
		})
		c.get(t, "/").want(t, http.StatusServiceUnavailable, "not now")
		if n := receive(t, "attempts", tries); n != middleware.DefaultMaxAttempts {
			t.Errorf("%d attempts, want %d", n, middleware.DefaultMaxAttempts)
		}
	}},
	{"the deadline ends a pause between tries", func(t *testing.T, e Engine) {
		c := start(t, e, Setup{
			Policy:   again{after: time.Hour, when: failed},
			Backends: []http.Handler{http.HandlerFunc(unavailable)},
			Request:  []middleware.Middleware{hook{serve: limit}},
		})
		c.get(t, "/").wantReply(t, http.StatusGatewayTimeout, middleware.ReasonDeadline)
	}},
	{"nothing is tried again after the deadline", func(t *testing.T, e Engine) {
		backend := newWatched(nil)
		c := start(t, e, Setup{
			Policy:   again{when: func(*middleware.Attempt) bool { return true }},
			Backends: []http.Handler{backend},
			Request:  []middleware.Middleware{hook{serve: limit}},
		})
		c.get(t, "/").wantReply(t, http.StatusGatewayTimeout, middleware.ReasonDeadline)
		receive(t, "the backend is canceled", backend.gone)
		if n := len(backend.entered); n != 1 {
			t.Errorf("the backend was called %d times, want 1", n)
		}
	}},
	{"a try that ran out of its time is tried again elsewhere", func(t *testing.T, e Engine) {
		c := start(t, e, Setup{
			Policy:   again{when: failed},
			Backends: []http.Handler{http.HandlerFunc(stall), http.HandlerFunc(hello)},
			Try: []middleware.TryMiddleware{middleware.TryFunc(func(a *middleware.Attempt, next middleware.TryHandler) error {
				if a.Number == 0 {
					a.SetDeadline(time.Now().Add(soon))
				}
				return next.Try(a)
			})},
		})
		c.get(t, "/").want(t, http.StatusOK, "hello")
	}},
	{"certainty that nothing was sent is given for a refused connection only", func(t *testing.T, e Engine) {
		unsent := make(chan []bool, 1)
		c := start(t, e, Setup{
			Policy: again{when: failed},
			Backends: []http.Handler{
				nil,
				http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }),
				http.HandlerFunc(unavailable),
				http.HandlerFunc(hello),
			},
			Request: []middleware.Middleware{hook{done: func(x *middleware.Exchange) {
				var all []bool
				for _, a := range x.Attempts() {
					all = append(all, a.Unsent())
				}
				unsent <- all
			}}},
		})
		c.get(t, "/").want(t, http.StatusOK, "hello")
		if got := receive(t, "Unsent", unsent); !slices.Equal(got, []bool{true, false, false, false}) {
			t.Errorf("Unsent of each try: %v", got)
		}
	}},
}

// noted tells of its Close.
type noted struct {
	io.ReadCloser
	closed func()
}

func (n *noted) Close() error {
	n.closed()
	return n.ReadCloser.Close()
}
