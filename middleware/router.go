package middleware

import (
	"errors"
	"time"
)

// Router is the end of every request chain: it makes the attempts and commits
// exactly one. It keeps nothing of its own.
var Router Handler = HandlerFunc(route)

func route(x *Exchange) error {
	t := x.target
	if t == nil {
		return &Reject{Status: 404, Reason: ReasonNoRoute}
	}
	if refused := x.grpc.refused; refused != nil {
		return refused
	}
	if t.Timeout > 0 {
		x.SetDeadline(x.Start.Add(t.Timeout))
	}
	pick, err := t.Pick(x)
	if err != nil {
		return err
	}
	a, err := x.newAttempt(pick)
	if err != nil {
		return err
	}
	for {
		if t.Policy != nil {
			if again, after := t.Policy.Next(x, x.attempts); again {
				return x.hedge(t, pick, a, after)
			}
		}
		a.run(t.Try)
		next := x.another(t, pick)
		if next == nil {
			return x.commit(a)
		}
		a.discard(ErrDiscarded)
		a = next
	}
}

// another is the attempt that follows when the last one has ended and none is
// running; nil when there is none to be.
func (x *Exchange) another(t *Target, pick Picker) *Attempt {
	if t.Policy == nil || !x.mayTryAgain(t) {
		return nil
	}
	again, after := t.Policy.Next(x, x.attempts)
	if !again {
		return nil
	}
	// What the client sends of its body from now on is for the next try.
	for _, a := range x.attempts {
		a.body.abandoned.Store(true)
	}
	if !x.pause(after) || !x.mayTryAgain(t) {
		return nil
	}
	next, err := x.newAttempt(pick)
	if err != nil {
		return nil // what the last one said is better than "no endpoint"
	}
	return next
}

func (x *Exchange) mayTryAgain(t *Target) bool {
	limit := t.MaxAttempts
	if limit == 0 {
		limit = DefaultMaxAttempts
	}
	return len(x.attempts) < limit && x.Cause() == nil && x.Request.Body.Replayable()
}

// newAttempt makes the next attempt, with its endpoint.
func (x *Exchange) newAttempt(pick Picker) (*Attempt, error) {
	n := len(x.attempts)
	if n == len(x.pool) {
		x.pool = append(x.pool, &Attempt{x: x})
	}
	a := x.pool[n]
	x.mu.Lock()
	a.reset(n)
	x.mu.Unlock()
	e, err := pick.Pick(a)
	if err != nil {
		return nil, err
	}
	a.Endpoint = e
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.cause != nil {
		return nil, x.cause
	}
	a.running = true
	x.attempts = append(x.attempts, a)
	return a, nil
}

// commit makes a's response the exchange's, or returns what the try failed
// with.
func (x *Exchange) commit(a *Attempt) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if a.err != nil {
		return a.err
	}
	a.committed = true
	x.Response = &a.Response
	return nil
}

// hedge makes attempts beside each other: first, and after each pause one more,
// for as long as the policy says so. The first good response is committed;
// another one is only taken when nothing else comes.
func (x *Exchange) hedge(t *Target, pick Picker, first *Attempt, after time.Duration) error {
	x.hedged = true
	results := make(chan *Attempt, DefaultMaxAttempts+t.MaxAttempts)
	launch := func(a *Attempt) {
		x.Hold()
		go func() {
			defer x.Release()
			a.run(t.Try)
			x.mu.Lock()
			lost := a.lost
			if !lost {
				results <- a // never blocks: there is room for every attempt
			}
			x.mu.Unlock()
			if lost {
				a.discard(ErrLost)
			}
		}()
	}
	timer := time.NewTimer(after)
	defer timer.Stop()
	var fallback *Attempt
	launch(first)
	for running := 1; ; {
		select {
		case <-timer.C:
			if !x.mayTryAgain(t) {
				continue
			}
			a, err := x.newAttempt(pick)
			if err != nil {
				continue
			}
			again, after := t.Policy.Next(x, x.attempts)
			launch(a)
			running++
			if again {
				timer.Reset(after)
			}
		case a := <-results:
			running--
			switch {
			case a.good():
				x.dismiss(a)
				return x.commit(a)
			case fallback == nil || fallback.Err() != nil:
				if fallback != nil {
					fallback.discard(ErrLost)
				}
				fallback = a
			default:
				a.discard(ErrLost)
			}
			if running > 0 {
				continue
			}
			next := x.another(t, pick)
			if next == nil {
				return x.commit(fallback)
			}
			fallback.discard(ErrDiscarded)
			fallback = nil
			launch(next)
			running++
		}
	}
}

// good reports whether the attempt has brought a response that does not say of
// itself that the endpoint has failed.
func (a *Attempt) good() bool {
	if a.Err() != nil || a.Response.Status >= 500 {
		return false
	}
	code, ok := a.GRPCStatus()
	return !ok || !code.Failed()
}

// dismiss ends every attempt but the winner. One whose Try is still running is
// finished by its own goroutine.
func (x *Exchange) dismiss(winner *Attempt) {
	for _, a := range x.attempts {
		if a == winner {
			continue
		}
		x.mu.Lock()
		running := !a.ended
		if running {
			a.lost = true
			a.cancelLocked(ErrLost)
		}
		x.mu.Unlock()
		if !running {
			a.discard(ErrLost)
		}
	}
}

// try runs the attempt chain, with panics as errors.
func (a *Attempt) try(h TryHandler) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = a.x.panicked(p)
		}
	}()
	if err := h.Try(a); err != nil {
		return err
	}
	if a.Response.Status == 0 {
		return &Reject{Status: 500, Reason: ReasonInternal, Err: errors.New("the attempt chain gave no answer")}
	}
	return nil
}
