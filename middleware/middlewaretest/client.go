package middlewaretest

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/outrigger-mesh/outrigger/middleware"
)

// client is the client's side of an engine that was started.
type client struct {
	rt http.RoundTripper
}

// start starts the engine with the ledger at both ends of both chains.
func start(t testing.TB, e Engine, s Setup) *client {
	t.Helper()
	l := newLedger(t)
	s.Request = slices.Concat([]middleware.Middleware{l.request(t, "outermost handler")}, s.Request, []middleware.Middleware{l.request(t, "innermost handler")})
	s.Try = slices.Concat([]middleware.TryMiddleware{l.try(t, "outermost try handler")}, s.Try, []middleware.TryMiddleware{l.try(t, "innermost try handler")})
	if s.Backends == nil {
		s.Backends = []http.Handler{http.HandlerFunc(hello)}
	}
	return &client{e.Start(t, s)}
}

// hello is the backend of cases that are not about the backend.
func hello(w http.ResponseWriter, _ *http.Request) {
	_, _ = io.WriteString(w, "hello")
}

// answer is a response that was read to its end.
type answer struct {
	status  int
	header  http.Header
	trailer http.Header
	length  int64
	body    string
	headErr error // there was no response
	bodyErr error // the body broke off
}

// request makes a request with the test's context.
func request(t testing.TB, method, path string, body io.Reader) *http.Request {
	t.Helper()
	return requestWith(t.Context(), t, method, path, body)
}

func requestWith(ctx context.Context, t testing.TB, method, path string, body io.Reader) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, method, "http://backend.test"+path, body)
	if err != nil {
		t.Fatal(err)
	}
	return req
}

// do sends a request and reads its answer.
func (c *client) do(req *http.Request) answer {
	resp, err := c.rt.RoundTrip(req) //nolint:bodyclose // readAnswer closes it
	if err != nil {
		return answer{headErr: err}
	}
	return readAnswer(resp)
}

func readAnswer(resp *http.Response) answer {
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	return answer{
		status:  resp.StatusCode,
		header:  resp.Header,
		trailer: resp.Trailer,
		length:  resp.ContentLength,
		body:    string(body),
		bodyErr: err,
	}
}

func (c *client) get(t testing.TB, path string) answer {
	t.Helper()
	return c.do(request(t, http.MethodGet, path, nil))
}

func (c *client) post(t testing.TB, body string) answer {
	t.Helper()
	return c.do(request(t, http.MethodPost, "/", strings.NewReader(body)))
}

// open sends a request and returns when its head is there.
func (c *client) open(t testing.TB, req *http.Request) *http.Response {
	t.Helper()
	resp, err := c.rt.RoundTrip(req)
	if err != nil {
		t.Fatalf("%s %s: %v", req.Method, req.URL.Path, err)
	}
	return resp
}

// want checks that the answer is whole.
func (a answer) want(t testing.TB, status int, body string) {
	t.Helper()
	switch {
	case a.headErr != nil:
		t.Fatalf("no response, but %v; want %d", a.headErr, status)
	case a.status != status:
		t.Fatalf("status %d (%s), want %d", a.status, short(a.body), status)
	case a.bodyErr != nil:
		t.Fatalf("the body broke off after %d bytes: %v", len(a.body), a.bodyErr)
	case a.body != body:
		t.Fatalf("body %s, want %s", short(a.body), short(body))
	}
}

func short(s string) string {
	if len(s) > 80 {
		return s[:80] + "…"
	}
	return s
}

// reply is the body of a local reply.
type reply struct {
	Error     string `json:"error"`
	Reason    string `json:"reason"`
	RequestID string `json:"request_id"`
}

// wantReply checks that the answer is a local reply.
func (a answer) wantReply(t testing.TB, status int, reason middleware.Reason) reply {
	t.Helper()
	if a.headErr != nil || a.bodyErr != nil {
		t.Fatalf("no whole response, but %v, %v; want %d %s", a.headErr, a.bodyErr, status, reason)
	}
	var r reply
	if err := json.Unmarshal([]byte(a.body), &r); err != nil {
		t.Fatalf("status %d, body %s: %v; want a local reply with %d %s", a.status, short(a.body), err, status, reason)
	}
	if a.status != status || r.Reason != string(reason) {
		t.Fatalf("%d %s, want %d %s", a.status, r.Reason, status, reason)
	}
	return r
}
