package middlewaretest

import (
	"context"
	"io"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/middleware"
)

// hedging is a policy that keeps up to n tries beside each other.
type hedging struct {
	n     int
	after time.Duration
}

func (p hedging) Next(_ *middleware.Exchange, attempts []*middleware.Attempt) (bool, time.Duration) {
	last := attempts[len(attempts)-1]
	return last.Running() && len(attempts) < p.n, p.after
}

// shortly is when the second try of these cases follows the first.
const shortly = 10 * time.Millisecond

// gate is closed by the first who calls open.
type gate struct {
	once sync.Once
	ch   chan struct{}
}

func newGate() *gate  { return &gate{ch: make(chan struct{})} }
func (g *gate) open() { g.once.Do(func() { close(g.ch) }) }
func (g *gate) opened() <-chan struct{} {
	return g.ch
}

// verdicts notes how each try ended.
func verdicts(j *journal) middleware.TryMiddleware {
	return tryHook{done: func(a *middleware.Attempt) { j.add("%d %s", a.Number, verdict(a)) }}
}

var hedgeScenarios = []scenario{
	{"the faster try wins, and the other is canceled and ended", func(t *testing.T, e Engine) {
		slow := newWatched(nil)
		j := &journal{}
		c := start(t, e, Setup{
			Policy: hedging{2, shortly},
			Backends: []http.Handler{slow, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				<-slow.entered // it may take the first try longer than shortly to get there
				hello(w, r)
			})},
			Try: []middleware.TryMiddleware{verdicts(j)},
		})
		for i := range 5 {
			c.get(t, "/").want(t, http.StatusOK, "hello")
			receive(t, "the slow backend is canceled", slow.gone)
			if got := j.wait(t, 2*i+2)[2*i:]; !sameSet(got, "0 "+middleware.ErrLost.Error(), "1 ok") {
				t.Errorf("ends: %q", got)
			}
		}
	}},
	{"the first try wins though a second one was made", func(t *testing.T, e Engine) {
		second := newWatched(nil)
		launched := newGate()
		j := &journal{}
		c := start(t, e, Setup{
			Policy: hedging{2, shortly},
			Backends: []http.Handler{http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				<-launched.opened()
				hello(w, r)
			}), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				launched.open()
				second.ServeHTTP(w, r)
			})},
			Try: []middleware.TryMiddleware{verdicts(j)},
		})
		c.get(t, "/").want(t, http.StatusOK, "hello")
		receive(t, "the second backend is canceled", second.gone)
		if got := j.wait(t, 2); !sameSet(got, "0 ok", "1 "+middleware.ErrLost.Error()) {
			t.Errorf("ends: %q", got)
		}
	}},
	{"a fast answer needs no second try", func(t *testing.T, e Engine) {
		tries := make(chan int, 1)
		c := start(t, e, Setup{
			Policy:  hedging{2, time.Hour},
			Request: []middleware.Middleware{hook{done: func(x *middleware.Exchange) { tries <- len(x.Attempts()) }}},
		})
		c.get(t, "/").want(t, http.StatusOK, "hello")
		if n := receive(t, "attempts", tries); n != 1 {
			t.Errorf("%d attempts, want 1", n)
		}
	}},
	{"an answer of 500 and above waits for a better one", func(t *testing.T, e Engine) {
		launched, answered := newGate(), newGate()
		c := start(t, e, Setup{
			Policy: hedging{2, shortly},
			Try: []middleware.TryMiddleware{middleware.TryFunc(func(a *middleware.Attempt, next middleware.TryHandler) error {
				err := next.Try(a)
				if a.Number == 0 {
					answered.open()
				}
				return err
			})},
			Backends: []http.Handler{http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				<-launched.opened()
				unavailable(w, r)
			}), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				launched.open()
				<-answered.opened()
				hello(w, r)
			})},
		})
		c.get(t, "/").want(t, http.StatusOK, "hello")
	}},
	{"an answer of 500 and above is taken when nothing better comes", func(t *testing.T, e Engine) {
		launched := newGate()
		j := &journal{}
		c := start(t, e, Setup{
			Policy: hedging{2, shortly},
			Backends: []http.Handler{http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				<-launched.opened()
				unavailable(w, r)
			}), http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
				launched.open()
				panic(http.ErrAbortHandler)
			})},
			Try: []middleware.TryMiddleware{verdicts(j)},
		})
		c.get(t, "/").want(t, http.StatusServiceUnavailable, "not now")
		if got := j.wait(t, 2); !sameSet(got, "0 ok", "1 upstream_reset") {
			t.Errorf("ends: %q", got)
		}
	}},
	{"each try gets the whole body", func(t *testing.T, e Engine) {
		launched := newGate()
		first, second := newReader(503), newReader(200)
		c := start(t, e, Setup{
			Policy:  hedging{2, shortly},
			Request: []middleware.Middleware{keep(4096)},
			Backends: []http.Handler{http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body)
				first.bodies <- string(body)
				<-launched.opened()
				<-r.Context().Done()
			}), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				launched.open()
				second.ServeHTTP(w, r)
			})},
		})
		c.post(t, "the body").want(t, http.StatusOK, "OK")
		for i, b := range []*reader{first, second} {
			if got := receive(t, "body", b.bodies); got != "the body" {
				t.Errorf("try %d got %q", i, got)
			}
		}
	}},
	{"no second try is made when the body is gone", func(t *testing.T, e Engine) {
		tries := make(chan int, 1)
		c := start(t, e, Setup{
			Policy:  hedging{2, 5 * shortly},
			Request: []middleware.Middleware{hook{done: func(x *middleware.Exchange) { tries <- len(x.Attempts()) }}},
			Backends: []http.Handler{http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				<-time.After(20 * shortly) // for a second try to be made in
				hello(w, r)
			})},
		})
		c.post(t, "the body").want(t, http.StatusOK, "hello")
		if n := receive(t, "attempts", tries); n != 1 {
			t.Errorf("%d attempts, want 1", n)
		}
	}},
	{"a client that leaves cancels every try", func(t *testing.T, e Engine) {
		slow := newWatched(nil)
		j := &journal{}
		c := start(t, e, Setup{
			Policy:   hedging{3, shortly},
			Backends: []http.Handler{slow},
			Try:      []middleware.TryMiddleware{verdicts(j)},
		})
		ctx, cancel := context.WithCancel(t.Context())
		req := requestWith(ctx, t, http.MethodGet, "/", nil)
		result := make(chan answer, 1)
		go func() { result <- c.do(req) }()
		for range 3 {
			receive(t, "a try", slow.entered)
		}
		cancel()
		for range 3 {
			receive(t, "the backend is canceled", slow.gone)
		}
		receive(t, "the client's result", result)
		gone := middleware.ErrClientGone.Error()
		if got := j.wait(t, 3); !sameSet(got, "0 "+gone, "1 "+gone, "2 "+gone) {
			t.Errorf("ends: %q", got)
		}
	}},
	{"a loser that comes back late keeps its exchange from being used again", func(t *testing.T, e Engine) {
		late := newGate()
		j := &journal{}
		exchanges := make(chan *middleware.Exchange, 2)
		c := start(t, e, Setup{
			Policy:  hedging{2, shortly},
			Request: []middleware.Middleware{before(func(x *middleware.Exchange) { exchanges <- x })},
			Try: []middleware.TryMiddleware{verdicts(j), middleware.TryFunc(func(a *middleware.Attempt, next middleware.TryHandler) error {
				if a.Number == 0 {
					<-late.opened() // whatever the router wants
				}
				return next.Try(a)
			})},
		})
		c.get(t, "/").want(t, http.StatusOK, "hello")
		c.get(t, "/").want(t, http.StatusOK, "hello")
		if one, two := <-exchanges, <-exchanges; one == two {
			t.Error("the exchange serves another request while a try of the first still runs")
		}
		if got := j.wait(t, 2); !sameSet(got, "1 ok", "1 ok") {
			t.Errorf("ends while the losers run: %q", got)
		}
		late.open()
		j.wait(t, 4)
	}},
}

func sameSet(got []string, want ...string) bool {
	count := map[string]int{}
	for _, s := range got {
		count[s]++
	}
	for _, s := range want {
		count[s]--
	}
	for _, n := range count {
		if n != 0 {
			return false
		}
	}
	return true
}
