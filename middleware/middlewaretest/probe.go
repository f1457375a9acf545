package middlewaretest

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/middleware"
)

// hook is a middleware made of functions; those that are nil do nothing.
type hook struct {
	serve func(x *middleware.Exchange, next middleware.Handler) error
	done  func(x *middleware.Exchange)
}

func (h hook) Wrap(next middleware.Handler) middleware.Handler { return &hooked{h, next} }

type hooked struct {
	hook
	next middleware.Handler
}

func (h *hooked) Serve(x *middleware.Exchange) error {
	if h.serve == nil {
		return h.next.Serve(x)
	}
	return h.serve(x, h.next)
}

func (h *hooked) Done(x *middleware.Exchange) {
	if h.done != nil {
		h.done(x)
	}
}

// tryHook is a hook of the attempt stage.
type tryHook struct {
	try  func(a *middleware.Attempt, next middleware.TryHandler) error
	done func(a *middleware.Attempt)
}

func (h tryHook) WrapTry(next middleware.TryHandler) middleware.TryHandler {
	return &tryHooked{h, next}
}

type tryHooked struct {
	tryHook
	next middleware.TryHandler
}

func (h *tryHooked) Try(a *middleware.Attempt) error {
	if h.try == nil {
		return h.next.Try(a)
	}
	return h.try(a, h.next)
}

func (h *tryHooked) TryDone(a *middleware.Attempt) {
	if h.done != nil {
		h.done(a)
	}
}

// before is a middleware that does something and goes on.
func before(f func(x *middleware.Exchange)) middleware.Middleware {
	return hook{serve: func(x *middleware.Exchange, next middleware.Handler) error {
		f(x)
		return next.Serve(x)
	}}
}

// journal is what happened, in order, noted from any goroutine.
type journal struct {
	mu      sync.Mutex
	entries []string
}

func (j *journal) add(format string, args ...any) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.entries = append(j.entries, fmt.Sprintf(format, args...))
}

func (j *journal) all() []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Clone(j.entries)
}

// wait waits for n entries.
func (j *journal) wait(t testing.TB, n int) []string {
	t.Helper()
	eventually(t, fmt.Sprintf("%d entries in the journal", n), func() bool { return len(j.all()) >= n })
	return j.all()
}

// ledger pairs each entry of a handler with its Done. It stands at both ends of
// both chains in every case.
type ledger struct {
	mu      sync.Mutex
	entries []*entry
	slot    *middleware.Slot[*entry]
}

type entry struct {
	place string
	done  int
}

func newLedger(t testing.TB) *ledger {
	l := &ledger{slot: middleware.NewSlot[*entry]()}
	t.Cleanup(func() { l.check(t) })
	return l
}

func (l *ledger) open(place string) *entry {
	e := &entry{place: place}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.entries = append(l.entries, e)
	return e
}

func (l *ledger) close(t testing.TB, place string, e *entry) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e == nil || e.place != place {
		t.Errorf("%s: told the end of what it never entered", place)
		return
	}
	e.done++
}

// check runs when the engine has ended. A try that lost may still be on its way
// to its end.
func (l *ledger) check(t testing.TB) {
	for deadline := time.Now().Add(patience); !l.closed() && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range l.entries {
		if e.done != 1 {
			t.Errorf("%s: entered once, told the end %d times", e.place, e.done)
		}
	}
}

// closed reports whether every entry was told its end.
func (l *ledger) closed() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return !slices.ContainsFunc(l.entries, func(e *entry) bool { return e.done == 0 })
}

// request is the ledger in the request stage, under the name of its place.
func (l *ledger) request(t testing.TB, place string) middleware.Middleware {
	slot := middleware.NewSlot[*entry]()
	return hook{
		serve: func(x *middleware.Exchange, next middleware.Handler) error {
			if *slot.In(x) != nil {
				t.Errorf("%s: the slot holds something of an earlier request", place)
			}
			*slot.In(x) = l.open(place)
			return next.Serve(x)
		},
		done: func(x *middleware.Exchange) { l.close(t, place, *slot.In(x)) },
	}
}

// try is the ledger in the attempt stage.
func (l *ledger) try(t testing.TB, place string) middleware.TryMiddleware {
	slot := middleware.NewSlot[*entry]()
	return tryHook{
		try: func(a *middleware.Attempt, next middleware.TryHandler) error {
			if *slot.InTry(a) != nil {
				t.Errorf("%s: the slot holds something of an earlier try", place)
			}
			*slot.InTry(a) = l.open(place)
			return next.Try(a)
		},
		done: func(a *middleware.Attempt) { l.close(t, place, *slot.InTry(a)) },
	}
}
