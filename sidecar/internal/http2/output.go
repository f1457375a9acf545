package http2

import (
	"runtime"
	"sync"
	"time"
)

// outputLimit is how much may wait for the socket before those that have data
// to send wait too.
const outputLimit = 128 << 10

// keptBuffer is the size above which an output buffer's memory is not kept.
const keptBuffer = 256 << 10

type buffer struct{ b []byte }

var buffers = sync.Pool{New: func() any { return &buffer{make([]byte, 0, 4<<10)} }}

func (b *buffer) release() {
	if b != nil && cap(b.b) <= keptBuffer {
		b.b = b.b[:0]
		buffers.Put(b)
	}
}

// output is what was said and not sent yet: guarded by the connection's mu.
type output struct {
	buf     *buffer   // nil: empty
	writing bool      // somebody sends what was here before, and sends what comes meanwhile
	idle    sync.Cond // told when nobody is writing any more
	broken  bool      // nothing can be sent any more
}

func (o *output) len() int {
	if o.buf == nil {
		return 0
	}
	return len(o.buf.b)
}

// Write is io.Writer's, for the Framer. It never fails.
func (o *output) Write(p []byte) (int, error) {
	copy(o.grow(len(p)), p)
	return len(p), nil
}

// grow gives room for n bytes at the end, which are to be filled at once.
func (o *output) grow(n int) []byte {
	if o.buf == nil {
		o.buf = buffers.Get().(*buffer)
	}
	b := o.buf.b
	start := len(b)
	if start+n > cap(b) {
		b = make([]byte, start, max(2*cap(b), start+n))
		copy(b, o.buf.b)
	}
	o.buf.b = b[:start+n]
	return o.buf.b[start:]
}

// clear makes room for the last word to a peer that does not read: what waits is
// of no use to it.
func (o *output) clear() {
	if o.writing && o.len() > outputLimit {
		o.buf.b = o.buf.b[:0]
	}
}

// flushRounds is how often a goroutine sends what has gathered while it sent:
// others' data must not keep it from its own work.
const flushRounds = 2

// flush sends what there is to send, unless somebody is at it. It never waits
// for the peer: what the socket does not take at once, another goroutine sends,
// and everything that goes through TLS, which cannot write a part.
func (c *Conn) flush() {
	c.mu.Lock()
	if c.out.writing || c.out.len() == 0 || c.out.broken {
		c.mu.Unlock()
		return
	}
	c.out.writing = true
	if c.nc.Raw() == nil {
		c.wakeSender()
		c.mu.Unlock()
		return
	}
	if c.users > 1 {
		// Others may have something to say by now: one system call for all of it.
		c.mu.Unlock()
		runtime.Gosched()
		c.mu.Lock()
	}
	for range flushRounds {
		b := c.next()
		c.mu.Unlock()
		if b == nil {
			return
		}
		n, err := c.nc.WriteNow(b.b)
		if err != nil {
			c.sendFailed(b, err)
			return
		}
		if n < len(b.b) {
			go c.send(b, n)
			return
		}
		b.release()
		c.mu.Lock()
	}
	c.mu.Unlock()
	go c.send(nil, 0)
}

// wakeSender has the connection's own sender send. mu is held, and writing is
// set: nobody else does so before it is through.
func (c *Conn) wakeSender() {
	if c.sender == nil {
		c.sender = make(chan struct{}, 1)
		go func() {
			for range c.sender {
				runtime.Gosched() // as in flush: others may have something to say by now
				c.send(nil, 0)
			}
		}()
	}
	if !c.senderEnded {
		c.sender <- struct{}{}
	}
}

// endSender is the end of the sender, when nobody is writing any more.
func (c *Conn) endSender() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.sender != nil && !c.senderEnded {
		close(c.sender)
	}
	c.senderEnded = true
}

// next is what is to be sent next; nil when there is nothing, and then nobody is
// at it any more. mu is held.
func (c *Conn) next() *buffer {
	c.answers = 0
	b := c.out.buf
	c.out.buf = nil
	if b != nil && (len(b.b) == 0 || c.out.broken) {
		b.release()
		b = nil
	}
	if b == nil {
		c.out.writing = false
		c.out.idle.Broadcast()
	}
	c.wakeBlocked()
	return b
}

// send sends b from n on, and then what has come meanwhile, as slowly as the
// peer takes it.
func (c *Conn) send(b *buffer, n int) {
	c.nc.LimitWrite(c.o.WriteTimeout)
	for {
		if b == nil {
			c.mu.Lock()
			b = c.next()
			c.mu.Unlock()
			if b == nil {
				return
			}
		}
		if _, err := c.nc.Write(b.b[n:]); err != nil {
			c.sendFailed(b, err)
			return
		}
		b.release()
		b, n = nil, 0
	}
}

func (c *Conn) sendFailed(b *buffer, err error) {
	b.release()
	slow := isTimeout(err)
	if slow && !c.nc.WriteBroken() {
		c.o.Trouble(TroubleSlow)
	}
	c.mu.Lock()
	c.out.broken = true
	c.out.writing = false
	c.out.idle.Broadcast()
	if slow {
		c.fail(err)
	} else {
		// A peer that has closed may have said before what streams wait for: it is
		// read to its end.
		c.goingAway = true
		c.brokenAt = now() + int64(lingerTime)
		c.setTimer(c.brokenAt)
	}
	for _, s := range c.streams {
		s.writable.Broadcast()
	}
	c.wakeBlocked()
	c.mu.Unlock()
	c.o.Changed(c)
}

// Bounds on the end of a connection.
const (
	lastWriteTime = time.Second
	lingerTime    = time.Second
)

// lastWords sends what is left to say, if the peer takes it, and closes.
func (c *Conn) lastWords(say bool) {
	defer c.endSender()
	defer func() { _ = c.nc.Close() }()
	if !say {
		c.mu.Lock()
		c.out.broken = true
		c.mu.Unlock()
		return
	}
	stop := time.AfterFunc(lastWriteTime, c.nc.BreakWrite)
	defer stop.Stop()
	c.flush()
	c.mu.Lock()
	for c.out.writing {
		c.out.idle.Wait()
	}
	broken := c.out.broken
	c.out.broken = true
	c.mu.Unlock()
	if broken || c.nc.CloseWrite() != nil {
		return
	}
	// A close while the peer is sending would have the kernel throw away what it
	// has not read yet.
	c.nc.MendRead()
	c.nc.LimitReads(lingerTime)
	var scratch [4 << 10]byte
	for end := time.Now().Add(lingerTime); time.Now().Before(end); {
		if _, err := c.nc.Read(scratch[:]); err != nil {
			return
		}
	}
}
