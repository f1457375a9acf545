package middlewaretest

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/middleware"
)

const idField = "X-Case-Id"

// identified answers with the request's id in header, body and trailer, and a
// status of its own.
func identified(w http.ResponseWriter, r *http.Request) {
	id := r.Header.Get(idField)
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	w.Header().Set(idField, id)
	_, _ = io.WriteString(w, "id "+id+", path "+r.URL.Path+", body ")
	_, _ = w.Write(body)
}

// identify is a middleware that holds each request's id against what is kept
// for it anywhere.
func identify(t testing.TB) (middleware.Middleware, middleware.TryMiddleware) {
	slot, trySlot := middleware.NewSlot[string](), middleware.NewSlot[string]()
	return hook{
			serve: func(x *middleware.Exchange, next middleware.Handler) error {
				id := string(x.Request.Header.Get(idField))
				if old := *slot.In(x); old != "" {
					t.Errorf("the slot of %s holds %s", id, old)
				}
				*slot.In(x) = id
				if x.Response.Status != 0 || x.Response.Header.Len() != 0 || len(x.Attempts()) != 0 || x.Reason() != "" {
					t.Errorf("%s begins with a response of before: %d, %d fields", id, x.Response.Status, x.Response.Header.Len())
				}
				if strings.HasSuffix(id, "-local") {
					return x.Reply(http.StatusTeapot, "local")
				}
				return next.Serve(x)
			},
			done: func(x *middleware.Exchange) {
				id := *slot.In(x)
				if got := string(x.Request.Header.Get(idField)); got != id {
					t.Errorf("Done of %s sees the request %s", id, got)
				}
				if got := string(x.Response.Header.Get(idField)); got != id && !x.Local() {
					t.Errorf("Done of %s sees the response of %s", id, got)
				}
			},
		}, tryHook{
			try: func(a *middleware.Attempt, next middleware.TryHandler) error {
				*trySlot.InTry(a) = string(a.Exchange().Request.Header.Get(idField))
				return next.Try(a)
			},
			done: func(a *middleware.Attempt) {
				if got := string(a.Response.Header.Get(idField)); got != *trySlot.InTry(a) {
					t.Errorf("TryDone of %s sees the response of %s", *trySlot.InTry(a), got)
				}
			},
		}
}

// exchangeIDs sends request i of a client in one of several ways, and checks
// that the answer is its own.
func (c *client) exchangeIDs(t testing.TB, who, i int) {
	id := fmt.Sprintf("%d-%d", who, i)
	want, status := "id "+id+", path /"+id+", body ", http.StatusOK
	var req *http.Request
	switch i % 4 {
	case 0:
		req = request(t, http.MethodGet, "/"+id, nil)
	case 1: // its length is known
		body := strings.Repeat(id+" ", 20)
		req = request(t, http.MethodPost, "/"+id, strings.NewReader(body))
		want += body
	case 2: // and is not
		body := strings.Repeat(id+" ", 2000)
		req = request(t, http.MethodPost, "/"+id, io.MultiReader(strings.NewReader(body)))
		want += body
	case 3:
		id += "-local"
		req = request(t, http.MethodGet, "/"+id, nil)
		status = http.StatusTeapot
	}
	req.Header.Set(idField, id)
	a := c.do(req)
	if a.headErr != nil || a.bodyErr != nil || a.status != status {
		t.Errorf("request %s: status %d, head: %v, body: %v", id, a.status, a.headErr, a.bodyErr)
		return
	}
	if status == http.StatusOK && (a.body != want || a.header.Get(idField) != id) {
		t.Errorf("request %s got the answer of %s: %s", id, a.header.Get(idField), short(a.body))
	}
}

var reuseScenarios = []scenario{
	{"hundreds of requests one after the other never mix", func(t *testing.T, e Engine) {
		m, try := identify(t)
		c := start(t, e, Setup{
			Request:  []middleware.Middleware{m},
			Try:      []middleware.TryMiddleware{try},
			Backends: []http.Handler{http.HandlerFunc(identified)},
		})
		for i := range 400 {
			c.exchangeIDs(t, 0, i)
		}
	}},
	{"many clients at once never mix", func(t *testing.T, e Engine) {
		m, try := identify(t)
		c := start(t, e, Setup{
			Request:  []middleware.Middleware{m},
			Try:      []middleware.TryMiddleware{try},
			Backends: []http.Handler{http.HandlerFunc(identified)},
		})
		var clients sync.WaitGroup
		for who := range 32 {
			clients.Go(func() {
				for i := range 50 {
					c.exchangeIDs(t, who, i)
				}
			})
		}
		clients.Wait()
	}},
	{"many clients at once with retry and hedging never mix", func(t *testing.T, e Engine) {
		m, _ := identify(t)
		c := start(t, e, Setup{
			Request: []middleware.Middleware{m, keep(64 << 10)},
			Policy:  hedgeAndRetry{},
			Backends: []http.Handler{
				http.HandlerFunc(unavailable), http.HandlerFunc(identified), http.HandlerFunc(identified),
			},
		})
		var clients sync.WaitGroup
		for who := range 16 {
			clients.Go(func() {
				for i := range 50 {
					c.exchangeIDs(t, who, i)
				}
			})
		}
		clients.Wait()
	}},
	{"an exchange that somebody holds is not used again", func(t *testing.T, e Engine) {
		exchanges := make(chan *middleware.Exchange, 2)
		c := start(t, e, Setup{Request: []middleware.Middleware{before(func(x *middleware.Exchange) {
			x.Hold()
			exchanges <- x
		})}})
		c.get(t, "/").want(t, http.StatusOK, "hello")
		c.get(t, "/").want(t, http.StatusOK, "hello")
		one, two := <-exchanges, <-exchanges
		if one == two {
			t.Error("the exchange serves another request while it is held")
		}
		one.Release()
		two.Release()
	}},
	{"a request after a broken one is served", func(t *testing.T, e Engine) {
		c := start(t, e, Setup{Backends: []http.Handler{http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/broken" {
				first(w)
				panic(http.ErrAbortHandler)
			}
			hello(w, r)
		})}})
		for range 10 {
			if a := c.get(t, "/broken"); a.bodyErr == nil {
				t.Fatalf("a whole response with %d: %s", a.status, short(a.body))
			}
			c.get(t, "/").want(t, http.StatusOK, "hello")
		}
	}},
}

// hedgeAndRetry makes a second try beside the first at once, and a third when
// both have failed.
type hedgeAndRetry struct{}

func (hedgeAndRetry) Next(_ *middleware.Exchange, attempts []*middleware.Attempt) (bool, time.Duration) {
	last := attempts[len(attempts)-1]
	if last.Running() {
		return len(attempts) < 2, 0
	}
	return len(attempts) < 3 && failed(last), 0
}
