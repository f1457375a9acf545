package netio

import (
	"errors"
	"net"
	"os"
	"sync/atomic"
	"time"
)

// side is one direction's time limit. The runtime's timer is set only when
// something waits, and only when it would fire too late: one that fires too
// early is set again by whoever it wakes. So a connection in use sets a timer
// once in a while instead of at every message.
//
// Moments are in nanoseconds since the program began; 0 is never.
type side struct {
	each  time.Duration // what one operation may take; 0: see total
	total time.Duration // what operations may take together, from the first wait; 0: see until
	until int64         // when operations end
	armed int64         // what the runtime's timer was last set to here
	end   int64         // when the operation that is running ends

	begun  bool // it has had to wait
	write  bool // which direction this is
	broken atomic.Bool
}

var (
	began = time.Now()
	// past interrupts what waits.
	past = time.Unix(1, 0)
)

func now() int64 { return int64(time.Since(began)) }

func (s *side) limit(each, total time.Duration) { s.each, s.total, s.until = each, total, 0 }

func (s *side) begin() { s.begun = false }

// wait is called before the goroutine parks.
func (s *side) wait(nc net.Conn) {
	s.plan()
	if s.end != 0 && (s.armed == 0 || s.end < s.armed) {
		s.arm(nc)
	} else if s.broken.Load() {
		s.set(nc, past)
	}
}

// plan sets when the operation ends, once.
func (s *side) plan() {
	if s.begun {
		return
	}
	s.begun = true
	switch {
	case s.each > 0:
		s.end = now() + int64(s.each)
		return
	case s.total > 0:
		s.until = now() + int64(s.total)
		s.total = 0
	}
	s.end = s.until
}

// set fails on a closed connection alone, which the next operation finds.
func (s *side) set(nc net.Conn, t time.Time) {
	if s.write {
		_ = nc.SetWriteDeadline(t)
	} else {
		_ = nc.SetReadDeadline(t)
	}
}

func (s *side) arm(nc net.Conn) {
	s.armed = s.end
	if s.end == 0 {
		s.set(nc, time.Time{})
	} else {
		s.set(nc, began.Add(time.Duration(s.end)))
	}
	if s.broken.Load() {
		s.set(nc, past) // it came in between, and must not be undone
	}
}

// early reports whether an operation ended only because the timer was set for
// another one; then it is set anew, and the operation is to be begun again.
func (s *side) early(nc net.Conn, err error) bool {
	if !errors.Is(err, os.ErrDeadlineExceeded) || s.broken.Load() {
		return false
	}
	s.plan()
	if s.end != 0 && now() >= s.end {
		return false
	}
	s.arm(nc)
	return true
}

// exact sets the timer at once: for connections whose operations cannot be
// begun again.
func (s *side) exact(nc net.Conn) {
	s.begin()
	s.plan()
	if s.end != 0 || s.armed != 0 {
		s.arm(nc)
	} else if s.broken.Load() {
		s.set(nc, past)
	}
}

// setUntil is the form of net.Conn, for code that knows no other limits.
func (s *side) setUntil(nc net.Conn, t time.Time) {
	s.limit(0, 0)
	s.until = moment(t)
	s.end = s.until
	s.arm(nc)
}

func moment(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return max(int64(t.Sub(began)), 1)
}

func (s *side) interrupt(nc net.Conn) {
	s.broken.Store(true)
	s.set(nc, past)
}
