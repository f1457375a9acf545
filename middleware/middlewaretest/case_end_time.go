package middlewaretest

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/middleware"
)

// endingsTime are brought about by time limits and by the client.
var endingsTime = []ending{
	{
		name: "client gone before the head", status: middleware.StatusClientGone, reason: middleware.ReasonClientGone,
		backend: http.HandlerFunc(stall),
		err:     isErr(middleware.ErrClientGone), tries: []string{middleware.ErrClientGone.Error()},
		client: func(t *testing.T, c *client) {
			ctx, cancel := context.WithTimeout(t.Context(), soon)
			defer cancel()
			if a := c.do(requestWith(ctx, t, http.MethodGet, "/", nil)); a.headErr == nil {
				t.Errorf("a response with %d, and nobody had sent one", a.status)
			}
		},
	},
	{
		name: "client gone amid the response", status: 200, reason: middleware.ReasonClientGone,
		backend: http.HandlerFunc(stallAfterHead),
		err:     isErr(middleware.ErrClientGone), tries: []string{middleware.ErrClientGone.Error()},
		client: func(t *testing.T, c *client) {
			resp := c.open(t, request(t, http.MethodGet, "/", nil))
			buf := make([]byte, len("first"))
			if _, err := io.ReadFull(resp.Body, buf); err != nil || string(buf) != "first" {
				t.Errorf("read %q, %v", buf, err)
			}
			_ = resp.Body.Close()
		},
	},
	{
		name: "deadline before the head", status: 504, reason: middleware.ReasonDeadline,
		backend: http.HandlerFunc(stall), serve: limit,
		err: isErr(middleware.ErrDeadline), tries: []string{middleware.ErrDeadline.Error()},
	},
	{
		name: "deadline amid the response", status: 200, reason: middleware.ReasonDeadline,
		backend: http.HandlerFunc(stallAfterHead), serve: limit, client: wantBroken,
		err: isErr(middleware.ErrDeadline), tries: []string{middleware.ErrDeadline.Error()},
	},
	{
		name: "deadline of the try", status: 504, reason: middleware.ReasonTryTimeout,
		backend: http.HandlerFunc(stall),
		try: func(a *middleware.Attempt, next middleware.TryHandler) error {
			a.SetDeadline(time.Now().Add(soon))
			return next.Try(a)
		},
		err: isNil, tries: []string{middleware.ErrTryTimeout.Error()},
	},
	{
		name: "idle limit amid the response", status: 200, reason: middleware.ReasonIdleTimeout,
		backend: http.HandlerFunc(stallAfterHead), client: wantBroken,
		serve: func(x *middleware.Exchange, next middleware.Handler) error {
			x.SetIdle(soon)
			return next.Serve(x)
		},
		err: isErr(middleware.ErrIdle), tries: []string{middleware.ErrIdle.Error()},
	},
	{
		name: "refusal of the request's body", status: 413, reason: "too_large",
		backend: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			<-r.Context().Done()
		}),
		serve: func(x *middleware.Exchange, next middleware.Handler) error {
			x.Request.Body.Wrap(func(r io.Reader) io.Reader { return &bounded{r: r, left: 10} })
			return next.Serve(x)
		},
		client: func(t *testing.T, c *client) {
			c.post(t, strings.Repeat("x", 100)).wantReply(t, 413, "too_large")
		},
		err: isNil, tries: []string{"too_large"},
	},
}

// bounded refuses a body that is too large.
type bounded struct {
	r    io.Reader
	left int
}

func (b *bounded) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	if b.left -= n; b.left < 0 {
		return 0, &middleware.Reject{Status: http.StatusRequestEntityTooLarge, Reason: "too_large"}
	}
	return n, err
}
