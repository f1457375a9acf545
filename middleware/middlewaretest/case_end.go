package middlewaretest

import (
	"errors"
	"io"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/middleware"
)

// soon is a time limit that is meant to pass.
const soon = 100 * time.Millisecond

// ending is one way in which an exchange can end: what brings it about, what
// the client sees and what Done finds.
type ending struct {
	name    string
	backend http.Handler // nil: hello
	refuse  bool         // connections to the backend

	serve   func(x *middleware.Exchange, next middleware.Handler) error
	try     func(a *middleware.Attempt, next middleware.TryHandler) error
	done    func()
	tryDone func()
	client  func(t *testing.T, c *client) // nil: reads a whole response

	status int // at the client, and in Done
	reason middleware.Reason
	err    func(error) bool // of Exchange.Err
	tries  []string         // of each attempt: "ok", or what it failed with
}

// outcome is what Done finds.
type outcome struct {
	status int
	reason middleware.Reason
	err    error
	route  string
}

func endScenarios() []scenario {
	var all []scenario
	for _, end := range endings {
		all = append(all, scenario{end.name, func(t *testing.T, e Engine) { end.run(t, e) }})
	}
	return all
}

func (end ending) run(t *testing.T, e Engine) {
	outcomes := make(chan outcome, 4)
	tries := &journal{}
	backend := end.backend
	if backend == nil && !end.refuse {
		backend = http.HandlerFunc(hello)
	}
	c := start(t, e, Setup{
		Request: []middleware.Middleware{
			hook{done: func(x *middleware.Exchange) {
				outcomes <- outcome{status: x.Response.Status, reason: x.Reason(), err: x.Err(), route: x.Route().Service}
			}},
			hook{serve: end.serve, done: func(*middleware.Exchange) {
				if end.done != nil {
					end.done()
				}
			}},
		},
		Try: []middleware.TryMiddleware{
			tryHook{done: func(a *middleware.Attempt) { tries.add("%s", verdict(a)) }},
			tryHook{try: end.try, done: func(*middleware.Attempt) {
				if end.tryDone != nil {
					end.tryDone()
				}
			}},
		},
		Backends: []http.Handler{backend},
	})
	if end.client != nil {
		end.client(t, c)
	} else {
		a := c.get(t, "/")
		if a.headErr != nil || a.bodyErr != nil || a.status != end.status {
			t.Errorf("the client got %d, head: %v, body: %v; want a whole %d", a.status, a.headErr, a.bodyErr, end.status)
		}
	}
	got := receive(t, "Done", outcomes)
	if got.status != end.status {
		t.Errorf("Done finds status %d, want %d", got.status, end.status)
	}
	if got.reason != end.reason {
		t.Errorf("Done finds reason %q, want %q", got.reason, end.reason)
	}
	if !end.err(got.err) {
		t.Errorf("Done finds error: %v", got.err)
	}
	if got.route == "" {
		t.Error("Done finds no route")
	}
	eventually(t, "every try has ended", func() bool { return len(tries.all()) >= len(end.tries) })
	equalStrings(t, "tries", tries.all(), end.tries)
}

// verdict says in a word how an attempt ended.
func verdict(a *middleware.Attempt) string {
	err := a.Err()
	for _, known := range []error{
		middleware.ErrClientGone, middleware.ErrDeadline, middleware.ErrTryTimeout, middleware.ErrIdle,
		middleware.ErrLost, middleware.ErrDiscarded, middleware.ErrEnded,
	} {
		if errors.Is(err, known) {
			return known.Error()
		}
	}
	var reject *middleware.Reject
	switch {
	case errors.As(err, &reject):
		return string(reject.Reason)
	case err != nil:
		return "error"
	case !a.Committed():
		return "not committed"
	}
	return "ok"
}

func isNil(err error) bool  { return err == nil }
func isSome(err error) bool { return err != nil }

func isErr(target error) func(error) bool {
	return func(err error) bool { return errors.Is(err, target) }
}

// wantBroken reads a response whose head comes and whose body breaks off.
func wantBroken(t *testing.T, c *client) {
	t.Helper()
	a := c.get(t, "/")
	if a.headErr != nil || a.status != http.StatusOK {
		t.Fatalf("head: %d, %v; want 200", a.status, a.headErr)
	}
	if a.bodyErr == nil {
		t.Errorf("the body broke off, and the client was given %d bytes as if they were all", len(a.body))
	}
}

// first writes a beginning of a response that has no length and sends it.
func first(w http.ResponseWriter) {
	_, _ = io.WriteString(w, "first")
	_ = http.NewResponseController(w).Flush()
}

// stall answers nothing until the proxy has gone.
func stall(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }

// stallAfterHead begins its answer and goes on when the proxy has gone.
func stallAfterHead(w http.ResponseWriter, r *http.Request) {
	first(w)
	<-r.Context().Done()
}

func limit(x *middleware.Exchange, next middleware.Handler) error {
	x.SetDeadline(time.Now().Add(soon))
	return next.Serve(x)
}

var errPlain = errors.New("plain error of a middleware")

var endings = slices.Concat(endingsHere, endingsBackend, endingsTime)

// endingsHere are brought about by the chain.
var endingsHere = []ending{
	{name: "complete", status: 200, err: isNil, tries: []string{"ok"}},
	{
		name: "local reply", status: 429, reason: "busy", err: isNil,
		serve: func(x *middleware.Exchange, _ middleware.Handler) error { return x.Reply(429, "busy") },
	},
	{
		name: "local reply instead of a response that came", status: 502, reason: "bad_answer", err: isNil,
		tries: []string{middleware.ErrDiscarded.Error()},
		serve: func(x *middleware.Exchange, next middleware.Handler) error {
			if err := next.Serve(x); err != nil {
				return err
			}
			return x.Reply(502, "bad_answer")
		},
	},
	{
		name: "refusal of the request stage", status: 403, reason: "forbidden", err: isNil,
		serve: func(*middleware.Exchange, middleware.Handler) error {
			return &middleware.Reject{Status: 403, Reason: "forbidden"}
		},
	},
	{
		name: "error of the request stage", status: 500, reason: middleware.ReasonInternal, err: isNil,
		serve: func(*middleware.Exchange, middleware.Handler) error { return errPlain },
	},
	{
		name: "no answer from the request stage", status: 500, reason: middleware.ReasonInternal, err: isNil,
		serve: func(*middleware.Exchange, middleware.Handler) error { return nil },
	},
	{
		name: "refusal of the attempt stage", status: 503, reason: "breaker_open", err: isNil, tries: []string{"breaker_open"},
		try: func(*middleware.Attempt, middleware.TryHandler) error {
			return &middleware.Reject{Status: 503, Reason: "breaker_open"}
		},
	},
	{
		name: "refusal of the attempt stage after a response came", status: 503, reason: "not_this", err: isNil, tries: []string{"not_this"},
		try: func(a *middleware.Attempt, next middleware.TryHandler) error {
			if err := next.Try(a); err != nil {
				return err
			}
			return &middleware.Reject{Status: 503, Reason: "not_this"}
		},
	},
	{
		name: "no answer from the attempt stage", status: 500, reason: middleware.ReasonInternal, err: isNil, tries: []string{"internal"},
		try: func(*middleware.Attempt, middleware.TryHandler) error { return nil },
	},
	{
		name: "panic in Serve before the next handler", status: 500, reason: middleware.ReasonInternal, err: isNil,
		serve: func(*middleware.Exchange, middleware.Handler) error { panic("on purpose") },
	},
	{
		name: "panic in Serve with a response", status: 500, reason: middleware.ReasonInternal, err: isNil,
		tries: []string{middleware.ErrDiscarded.Error()},
		serve: func(x *middleware.Exchange, next middleware.Handler) error {
			_ = next.Serve(x)
			panic("on purpose")
		},
	},
	{
		name: "panic in Try", status: 500, reason: middleware.ReasonInternal, err: isNil, tries: []string{"internal"},
		try: func(*middleware.Attempt, middleware.TryHandler) error { panic("on purpose") },
	},
	{
		name: "panic in Try with a response", status: 500, reason: middleware.ReasonInternal, err: isNil, tries: []string{"internal"},
		try: func(a *middleware.Attempt, next middleware.TryHandler) error {
			_ = next.Try(a)
			panic("on purpose")
		},
	},
	{name: "panic in Done", status: 200, err: isNil, tries: []string{"ok"}, done: func() { panic("on purpose") }},
	{name: "panic in TryDone", status: 200, err: isNil, tries: []string{"ok"}, tryDone: func() { panic("on purpose") }},
}

// endingsBackend are brought about by the backend.
var endingsBackend = []ending{
	{
		name: "backend refuses the connection", refuse: true,
		status: 503, reason: middleware.ReasonConnectFailed, err: isNil, tries: []string{"connect_failed"},
	},
	{
		name: "backend breaks off before its head", status: 502, reason: middleware.ReasonUpstreamReset, err: isNil, tries: []string{"upstream_reset"},
		backend: http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }),
	},
	{
		name: "backend breaks off after its head", status: 200, reason: middleware.ReasonUpstreamReset, err: isSome, tries: []string{"error"},
		backend: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			first(w)
			panic(http.ErrAbortHandler)
		}),
		client: wantBroken,
	},
	{
		name: "backend sends less than it declared", status: 200, reason: middleware.ReasonUpstreamReset, err: isSome, tries: []string{"error"},
		backend: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			first(w)
		}),
		client: wantBroken,
	},
}
