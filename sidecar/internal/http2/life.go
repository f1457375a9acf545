package http2

import (
	"encoding/binary"
	"io"
	"time"

	"golang.org/x/net/http2"
)

// heartbeat finds out whether a peer that says nothing is there at all.
type heartbeat struct {
	last  int64 // when something came, in nanoseconds of the clock
	asked int64 // when we asked; 0: we have not
	word  uint64
}

// How long a peer may say nothing, where somebody waits for it in vain, before
// it is asked, and how long it has for its answer.
const (
	silence  = time.Second
	patience = 5 * time.Second
	// drainPatience is how long clients have to learn of a GOAWAY before streams
	// that they open are refused.
	drainPatience = 500 * time.Millisecond
)

// drainWord marks the PING that follows the first GOAWAY.
const drainWord = 0x6f75747269676765

func now() int64 { return time.Now().UnixNano() }

// heard notes that something has come.
func (c *Conn) heard() {
	if !c.client {
		return
	}
	t := now()
	c.mu.Lock()
	c.beat.last = t
	c.mu.Unlock()
}

// suspect is called when a stream was given up for want of an answer: it asks
// the peer whether it is there. mu is held. It asks clients' peers only; a client
// that is gone is found by what is written to it.
func (c *Conn) suspect() {
	t := now()
	if !c.client || c.err != nil || c.beat.asked != 0 || t-c.beat.last < int64(silence) {
		return
	}
	c.beat.asked = t
	c.beat.word++
	c.sendPing(c.beat.word)
	c.setTimer(t + int64(patience))
}

// Suspect asks the peer whether it is there, when nothing has come from it for
// a while; without an answer the connection ends.
func (c *Conn) Suspect() {
	c.mu.Lock()
	c.suspect()
	c.mu.Unlock()
	c.flush()
}

func (c *Conn) sendPing(word uint64) {
	var data [8]byte
	binary.BigEndian.PutUint64(data[:], word)
	_ = c.fw.WritePing(false, data)
}

// pong takes the answer to a PING; it reports whether it was one of ours. mu is
// held.
func (c *Conn) pong(data [8]byte) bool {
	switch word := binary.BigEndian.Uint64(data[:]); {
	case word == drainWord && c.draining && !c.client && !c.final:
		c.lastGoAway()
	case c.beat.asked != 0 && word == c.beat.word:
		c.beat.asked = 0
	default:
		return false
	}
	return true
}

// Drain has the connection take no more streams. Those that are under way are
// finished; then it ends.
func (c *Conn) Drain() {
	c.mu.Lock()
	if c.draining || c.err != nil {
		c.mu.Unlock()
		return
	}
	c.draining = true
	if c.client {
		over := c.over()
		c.mu.Unlock()
		if over {
			c.nc.BreakRead()
		}
		return
	}
	// RFC 9113, section 6.8: the first GOAWAY says that no more are wanted, the
	// second one, after a round trip, which was the last.
	_ = c.fw.WriteGoAway(maxStreamID, http2.ErrCodeNo, nil)
	c.sendPing(drainWord)
	c.idleSince = 0
	c.drainAt = now() + int64(drainPatience)
	c.setTimer(c.drainAt)
	c.mu.Unlock()
	c.flush()
}

// lastGoAway says which stream was the last. mu is held.
func (c *Conn) lastGoAway() {
	if c.final || c.err != nil {
		return
	}
	c.final, c.goingAway = true, true
	_ = c.fw.WriteGoAway(c.lastIn, http2.ErrCodeNo, nil)
	if c.over() {
		c.nc.BreakRead()
	}
}

// idleNow notes that the last stream has ended. mu is held.
func (c *Conn) idleNow() {
	if c.users > 0 || c.o.IdleTimeout == 0 || c.draining {
		return
	}
	c.idleSince = now()
	c.setTimer(c.idleSince + int64(c.o.IdleTimeout))
}

// arm begins the time of a connection that has no stream yet.
func (c *Conn) arm() {
	c.mu.Lock()
	c.idleNow()
	c.mu.Unlock()
}

// until is when a wait of d ends, from now on. mu is held.
func (c *Conn) until(d time.Duration) int64 {
	t := now() + int64(d)
	c.setTimer(t)
	return t
}

// setTimer has tick called at t, or before. A connection has one timer, which is
// set when it would fire too late: waits that are over in time cost nothing.
// mu is held.
func (c *Conn) setTimer(t int64) {
	if c.timerAt != 0 && c.timerAt <= t || c.err != nil {
		return
	}
	c.timerAt = t
	d := time.Duration(max(t-now(), 0))
	if c.timer == nil {
		c.timer = time.AfterFunc(d, c.tick)
	} else {
		c.timer.Reset(d)
	}
}

// tick ends what has taken too long.
func (c *Conn) tick() {
	c.mu.Lock()
	c.timerAt = 0
	if c.err != nil {
		c.mu.Unlock()
		return
	}
	t := now()
	next := int64(0)
	due := func(at int64) bool {
		if at == 0 {
			return false
		}
		if at <= t {
			return true
		}
		if next == 0 || at < next {
			next = at
		}
		return false
	}
	for _, s := range c.streams {
		s.tick(due)
	}
	if c.beat.last > c.beat.asked { // its answer is behind what it sends
		c.beat.asked = 0
	}
	if c.beat.asked != 0 && due(c.beat.asked+int64(patience)) {
		c.o.Trouble(TroubleSlow)
		c.fail(fatal(http2.ErrCodeNo, "no answer to PING"))
	}
	if due(c.brokenAt) {
		c.fail(io.ErrClosedPipe)
	}
	if c.draining && !c.client && !c.final && due(c.drainAt) {
		c.lastGoAway()
	}
	if c.users == 0 && c.o.IdleTimeout > 0 && c.idleSince != 0 && due(c.idleSince+int64(c.o.IdleTimeout)) {
		c.idleSince = 0
		if !c.client {
			c.final = true
			_ = c.fw.WriteGoAway(c.lastIn, http2.ErrCodeNo, nil)
		}
		c.fail(errOver)
	}
	if next != 0 {
		c.setTimer(next)
	}
	c.mu.Unlock()
	c.flush()
}

// tick wakes a stream whose wait is over. mu is held.
func (s *Stream) tick(due func(int64) bool) {
	if due(s.readUntil) {
		s.readable.Broadcast()
	}
	if due(s.writeUntil) {
		s.writable.Broadcast()
	}
}
