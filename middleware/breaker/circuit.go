package breaker

import (
	"sync"
	"sync/atomic"
	"time"
)

// state of a circuit.
type state int32

const (
	closed   state = iota // everything passes
	open                  // nothing passes
	halfOpen              // a few calls pass, to see how it is
)

// states are the values of the label to.
var states = [...]string{closed: "closed", open: "open", halfOpen: "half_open"}

// settings are the configuration in the terms of a circuit.
type settings struct {
	config Config
	width  int64  // of a part of the window, in nanoseconds
	salt   uint64 // keeps the parts of windows of different lengths apart
}

func newSettings(c Config) *settings {
	s := &settings{config: c, width: int64(c.Window) / slots}
	s.salt = uint64(s.width) * 0x9e3779b97f4a7c15 >> 16 //nolint:gosec // any number will do
	return s
}

// epoch is the number of the part of the window at now.
func (s *settings) epoch(now int64) uint64 {
	return s.salt + uint64(now/s.width) //nolint:gosec // now is not negative
}

// tripped reports whether a circuit is to open.
func (s *settings) tripped(c counts) bool {
	if c.calls < uint64(s.config.MinimumCalls) { //nolint:gosec // validated
		return false
	}
	return c.failed*100 >= c.calls*uint64(s.config.ErrorPercent) || //nolint:gosec // validated
		s.config.SlowAfter > 0 && c.slow*100 >= c.calls*uint64(s.config.SlowPercent) //nolint:gosec // validated
}

func (s *settings) failure(status int) bool {
	for _, r := range s.config.Statuses {
		if status >= r.First && status <= r.Last {
			return true
		}
	}
	return false
}

// outcome of a call.
type outcome int

const (
	neutral outcome = iota // says nothing about the other side
	success
	failed
	slow // and otherwise well
)

// phase is a state and how many changes came before it, in one word: what a
// call finds out is for the phase that it was admitted in.
type phase uint64

func (p phase) state() state { return state(p & 3) } //nolint:gosec // two bits

func (p phase) next(to state) phase { return (p>>2+1)<<2 | phase(to) } //nolint:gosec // one of states

// circuit is the breaker of one endpoint or service. A closed one costs a load
// before the call and one changed word after it; the lock is for everything
// else. Times are nanoseconds since the circuits' state was made.
type circuit struct {
	series *series
	window window
	phase  atomic.Uint64
	until  atomic.Int64 // when an open circuit lets calls pass again
	used   atomic.Int64 // when it was last asked, to a second

	mu        sync.Mutex // held to change phase, and what follows
	running   int        // probes
	succeeded int        // probes in a row
	probed    int64      // when the last one was let pass
	dropped   bool       // nobody finds it any more: it counts in no gauge
}

func (c *circuit) now() phase { return phase(c.phase.Load()) }

// pass is the permission for one call.
type pass struct {
	circuit *circuit // nil: there is none, or its outcome is known
	phase   phase
}

// admit says whether a call may be made, and changes an open circuit whose time
// is over to half-open.
func (c *circuit) admit(s *settings, now int64) (p pass, ok bool) {
	if now-c.used.Load() > int64(time.Second) {
		c.used.Store(now)
	}
	ph := c.now()
	if ph.state() == closed {
		return pass{c, ph}, true
	}
	if ph.state() == open && now < c.until.Load() {
		return pass{}, false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch ph = c.now(); ph.state() {
	case closed:
		return pass{c, ph}, true
	case open:
		if now < c.until.Load() {
			return pass{}, false
		}
		c.change(halfOpen)
	case halfOpen:
		// A probe that has not come back within the sleep window does not keep
		// others out: it may hang for good.
		if c.running+c.succeeded >= s.config.Probes && now < c.probed+int64(s.config.SleepWindow) {
			return pass{}, false
		}
	}
	c.running++
	c.probed = now
	return pass{c, c.now()}, true
}

// settle takes the outcome of the call; the first one counts.
func (p *pass) settle(s *settings, now int64, o outcome) {
	c := p.circuit
	if c == nil {
		return
	}
	p.circuit = nil
	switch {
	case c.now() != p.phase: // what it says is about a time that is over
	case p.phase.state() == halfOpen:
		c.probeEnded(s, now, p.phase, o)
	case o != neutral:
		c.count(s, now, p.phase, o)
	}
}

// count takes the outcome of a call that was made while the circuit was closed.
func (c *circuit) count(s *settings, now int64, of phase, o outcome) {
	epoch := s.epoch(now)
	c.window.add(epoch, o == failed, o == slow)
	if o == success || !s.tripped(c.window.sum(epoch)) {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.now() == of {
		c.open(s, now)
	}
}

func (c *circuit) probeEnded(s *settings, now int64, of phase, o outcome) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.now() != of {
		return // another probe has decided
	}
	c.running--
	switch o {
	case neutral:
	case success:
		c.succeeded++
		if c.succeeded >= s.config.Probes {
			c.window.reset()
			c.change(closed)
		}
	case failed, slow:
		c.open(s, now)
	}
}

// open opens it for the sleep window. c.mu is held.
func (c *circuit) open(s *settings, now int64) {
	c.until.Store(now + int64(s.config.SleepWindow))
	c.change(open)
}

// change goes over to another state. c.mu is held.
func (c *circuit) change(to state) {
	from := c.now()
	c.running, c.succeeded = 0, 0
	c.phase.Store(uint64(from.next(to)))
	if !c.dropped {
		c.series.left(from.state())
		c.series.entered(to)
		c.series.transitions[to].Inc()
	}
}

// drop takes the circuit out of the gauges, when it is forgotten.
func (c *circuit) drop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.dropped {
		c.dropped = true
		c.series.left(c.now().state())
	}
}
