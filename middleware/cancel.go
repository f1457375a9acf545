package middleware

import (
	"context"
	"time"
)

// Context is canceled when the exchange is, and when it has ended; its cause
// says why. It is made when first asked for, so that requests that need none
// pay for none. Safe from any goroutine.
func (x *Exchange) Context() context.Context {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.ctx == nil {
		x.ctx, x.cancel = context.WithCancelCause(context.Background())
		switch {
		case x.cause != nil:
			x.cancel(x.cause)
		case x.ended:
			x.cancel(ErrEnded)
		}
	}
	return x.ctx
}

// Cancel gives the exchange up: every attempt is interrupted, the engine stops
// reading and writing, Serve returns. The first cause counts. Safe from any
// goroutine.
func (x *Exchange) Cancel(cause error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.cancelLocked(cause)
}

func (x *Exchange) cancelLocked(cause error) {
	if x.cause != nil || x.ended {
		return
	}
	x.cause = cause
	for _, a := range x.attempts {
		a.cancelLocked(cause)
	}
	if x.cancel != nil {
		x.cancel(cause)
	}
	x.wire.Interrupt(x, cause)
}

// Cause is why the exchange was canceled; nil while it was not.
func (x *Exchange) Cause() error {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.cause
}

// SetDeadline limits the whole exchange, until the last byte of its response.
// The earliest limit that is set counts. When it passes before the head was
// sent, the client gets 504; afterwards the response breaks off.
func (x *Exchange) SetDeadline(t time.Time) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.ended || !x.deadline.IsZero() && x.deadline.Before(t) {
		return
	}
	x.deadline = t
	if x.timer == nil {
		x.timer = time.AfterFunc(time.Until(t), x.onTimer)
	} else {
		x.timer.Reset(time.Until(t))
	}
}

// Deadline is the limit in force, and false where there is none.
func (x *Exchange) Deadline() (time.Time, bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.deadline, !x.deadline.IsZero()
}

// LiftLimits takes deadline and idle limit away: after a 101 the connection is
// the peers' own.
func (x *Exchange) LiftLimits() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.deadline = time.Time{}
	x.idle = 0
}

// onTimer may run late, when the exchange already serves another request: only
// the deadline of now counts.
func (x *Exchange) onTimer() {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.deadline.IsZero() {
		return
	}
	if left := time.Until(x.deadline); left > 0 { // another request's, or the clock was set
		x.timer.Reset(left)
		return
	}
	x.cancelLocked(ErrDeadline)
}

// SetIdle limits the time in which no byte moves in either body. The engine
// enforces it. The shortest limit that is set counts; zero sets none.
func (x *Exchange) SetIdle(d time.Duration) {
	if d > 0 && (x.idle == 0 || d < x.idle) {
		x.idle = d
	}
}

// Idle is the limit that SetIdle set, 0 for none.
func (x *Exchange) Idle() time.Duration { return x.idle }

// pause waits, or returns false when the exchange is canceled.
func (x *Exchange) pause(d time.Duration) bool {
	if d <= 0 {
		return x.Cause() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-x.Context().Done():
		return false
	}
}
