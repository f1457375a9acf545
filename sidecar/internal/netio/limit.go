package netio

import (
	"errors"
	"os"
	"sync/atomic"
	"time"
)

// side is one direction's time limit. The runtime's timer is set only when
// something waits, and only when it would fire too late: one that fires too
// early is set again by whoever it wakes. So a connection in use sets a timer
// once in a while instead of at every message.
type side struct {
	each  time.Duration // what one operation may take; 0: see until
	until time.Time     // when operations end; zero: never
	set   func(time.Time) error
	armed time.Time // what the runtime's timer was last set to here; zero: to none

	// Of the operation that is running.
	begun bool // it has had to wait
	end   time.Time

	broken atomic.Bool
}

// past interrupts what waits.
var past = time.Unix(1, 0)

func (s *side) begin() { s.begun = false }

// wait is called before the goroutine parks.
func (s *side) wait() {
	s.plan()
	if !s.end.IsZero() && (s.armed.IsZero() || s.end.Before(s.armed)) {
		s.arm()
	} else if s.broken.Load() {
		_ = s.set(past)
	}
}

// plan sets when the operation ends, once.
func (s *side) plan() {
	if s.begun {
		return
	}
	s.begun = true
	s.end = s.until
	if s.each > 0 {
		s.end = time.Now().Add(s.each)
	}
}

func (s *side) arm() {
	s.armed = s.end
	_ = s.set(s.end) // fails on a closed connection alone, which the next call finds
	if s.broken.Load() {
		_ = s.set(past) // it came in between, and must not be undone
	}
}

// early reports whether an operation ended only because the timer was set for
// another one; then it is set anew, and the operation is to be begun again.
func (s *side) early(err error) bool {
	if !errors.Is(err, os.ErrDeadlineExceeded) || s.broken.Load() {
		return false
	}
	s.plan()
	if !s.end.IsZero() && !time.Now().Before(s.end) {
		return false
	}
	s.arm()
	return true
}

// exact sets the timer at once: for connections whose operations cannot be
// begun again.
func (s *side) exact() {
	s.begin()
	s.plan()
	if s.end != s.armed || !s.end.IsZero() {
		s.arm()
	} else if s.broken.Load() {
		_ = s.set(past)
	}
}

func (s *side) setUntil(t time.Time) error {
	s.each, s.until, s.armed = 0, t, t
	return s.set(t)
}

func (s *side) interrupt() {
	s.broken.Store(true)
	_ = s.set(past)
}
