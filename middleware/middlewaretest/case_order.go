package middlewaretest

import (
	"net/http"
	"testing"

	"github.com/outrigger-mesh/outrigger/middleware"
)

var orderScenarios = []scenario{
	{"handlers run in the order of the list and end in reverse", func(t *testing.T, e Engine) {
		j := &journal{}
		c := start(t, e, Setup{
			Request: []middleware.Middleware{j.request("A"), j.request("B")},
			Try:     []middleware.TryMiddleware{j.try("a"), j.try("b")},
		})
		c.get(t, "/").want(t, http.StatusOK, "hello")
		equalStrings(t, "order", j.wait(t, 12), []string{
			"A in", "B in", "a in", "b in", "b out", "a out", "B out", "A out",
			"b done", "a done", "B done", "A done",
		})
	}},
	{"a handler that answers itself keeps those after it out", func(t *testing.T, e Engine) {
		j := &journal{}
		c := start(t, e, Setup{
			Request: []middleware.Middleware{
				j.request("A"),
				hook{serve: func(x *middleware.Exchange, _ middleware.Handler) error {
					return x.Reply(http.StatusTooManyRequests, "busy")
				}},
				j.request("B"),
			},
			Try: []middleware.TryMiddleware{j.try("a")},
		})
		c.get(t, "/").wantReply(t, http.StatusTooManyRequests, "busy")
		equalStrings(t, "order", j.wait(t, 3), []string{"A in", "A out", "A done"})
	}},
	{"a try handler that refuses keeps those after it out", func(t *testing.T, e Engine) {
		j := &journal{}
		refusal := &middleware.Reject{Status: http.StatusServiceUnavailable, Reason: "breaker_open"}
		c := start(t, e, Setup{
			Request: []middleware.Middleware{j.request("A")},
			Try: []middleware.TryMiddleware{
				j.try("a"),
				tryHook{try: func(*middleware.Attempt, middleware.TryHandler) error { return refusal }},
				j.try("b"),
			},
		})
		c.get(t, "/").wantReply(t, http.StatusServiceUnavailable, "breaker_open")
		equalStrings(t, "order", j.wait(t, 6), []string{"A in", "a in", "a out", "A out", "a done", "A done"})
	}},
	{"the response head passes the chain before the client sees it", func(t *testing.T, e Engine) {
		c := start(t, e, Setup{
			Request: []middleware.Middleware{hook{serve: func(x *middleware.Exchange, next middleware.Handler) error {
				if err := next.Serve(x); err != nil {
					return err
				}
				x.Response.Status = http.StatusAccepted
				return nil
			}}},
			Try: []middleware.TryMiddleware{middleware.TryFunc(func(a *middleware.Attempt, next middleware.TryHandler) error {
				err := next.Try(a)
				a.Response.Header.Set("x-endpoint", a.Endpoint.Key)
				return err
			})},
		})
		a := c.get(t, "/")
		a.want(t, http.StatusAccepted, "hello")
		if a.header.Get("X-Endpoint") == "" {
			t.Error("the field that the try stage has set is not in the response")
		}
	}},
}

// request notes when a handler is entered, left and ended.
func (j *journal) request(name string) middleware.Middleware {
	return hook{
		serve: func(x *middleware.Exchange, next middleware.Handler) error {
			j.add("%s in", name)
			defer j.add("%s out", name)
			return next.Serve(x)
		},
		done: func(*middleware.Exchange) { j.add("%s done", name) },
	}
}

func (j *journal) try(name string) middleware.TryMiddleware {
	return tryHook{
		try: func(a *middleware.Attempt, next middleware.TryHandler) error {
			j.add("%s in", name)
			defer j.add("%s out", name)
			return next.Try(a)
		},
		done: func(*middleware.Attempt) { j.add("%s done", name) },
	}
}
