package http2

import (
	"errors"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/net/http2"

	"github.com/outrigger-mesh/outrigger/middleware"
)

// Stream is one request and its response. Its user reads on one goroutine and
// writes on one; Interrupt may be called from any, until Finish.
type Stream struct {
	// User is its user's own.
	User any

	c  *Conn
	id uint32

	// What follows is guarded by the connection's mu, but for what says otherwise.
	readable sync.Cond
	writable sync.Cond

	head     Head // the user's, once it is ready
	ready    bool
	interims []*Head
	trailer  middleware.Header // the user's, once the body has ended
	noBody   bool              // of a response to HEAD: content-length says nothing

	body     queue
	recvLeft int   // of the window that the peer has of this stream
	unacked  int   // read, and not given back
	declared int64 // content-length; -1: none
	received int64
	recvEnd  bool // the peer has said everything

	sendWindow int64
	sendEnd    bool // we have
	headSent   bool
	opened     bool // it has an id

	err      error // why it was ended before its time
	cause    error // what Interrupt was given
	telling  bool  // Handler.Reset is being called
	finished bool
	blocked  bool // in c.blocked

	readLimit, writeLimit time.Duration
	readUntil, writeUntil int64 // when the wait ends; 0: there is none, or it has no limit
}

var streams = sync.Pool{New: func() any { return &Stream{} }}

func (c *Conn) newStream() *Stream {
	s := streams.Get().(*Stream)
	s.c = c
	s.readable.L, s.writable.L = &c.mu, &c.mu
	s.recvLeft = c.o.StreamWindow
	s.declared = -1
	return s
}

// recycle forgets everything. Nobody knows the stream any more.
func (s *Stream) recycle() {
	s.body.drop()
	s.head.reset()
	s.trailer.Reset()
	head, trailer := s.head, s.trailer
	*s = Stream{head: head, trailer: trailer}
	streams.Put(s)
}

// ID is the stream's number; 0 for one that has sent nothing yet.
func (s *Stream) ID() uint32 {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	return s.id
}

// Conn is the stream's connection.
func (s *Stream) Conn() *Conn { return s.c }

// Head is the request's head: the server's side.
func (s *Stream) Head() *Head { return &s.head }

// Trailer is what came behind the body: complete once Read has returned io.EOF.
func (s *Stream) Trailer() *middleware.Header { return &s.trailer }

// LimitRead limits how long a following AwaitHead or Read may wait each; 0: not
// at all. The error is then os.ErrDeadlineExceeded.
func (s *Stream) LimitRead(d time.Duration) {
	s.c.mu.Lock()
	s.readLimit = d
	s.c.mu.Unlock()
}

// LimitWrite is LimitRead for WriteData.
func (s *Stream) LimitWrite(d time.Duration) {
	s.c.mu.Lock()
	s.writeLimit = d
	s.c.mu.Unlock()
}

// failure is why nothing can be read or written any more. mu is held.
func (s *Stream) failure() error {
	if s.cause != nil {
		return s.cause
	}
	return s.err
}

// mayWrite is failure for who writes. mu is held.
func (s *Stream) mayWrite() error {
	if err := s.failure(); err != nil || !s.c.out.broken {
		return err
	}
	return &StreamError{Code: CodeInternal, Remote: true, Conn: true, Reason: "the peer does not read any more"}
}

// awaitRead waits for something to read. mu is held.
func (s *Stream) awaitRead() error {
	if s.readUntil == 0 && s.readLimit > 0 {
		s.readUntil = s.c.until(s.readLimit)
	}
	s.readable.Wait()
	if s.readUntil != 0 && time.Now().UnixNano() >= s.readUntil {
		s.readUntil = 0
		s.c.suspect()
		return os.ErrDeadlineExceeded
	}
	return nil
}

// AwaitHead waits for the next head: interim ones (1xx) before the final one.
// It is valid until the next call, and the final one until Finish. The client's
// side.
func (s *Stream) AwaitHead() (*Head, error) {
	c := s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	defer func() { s.readUntil = 0 }()
	for {
		switch {
		case s.cause != nil:
			return nil, s.cause
		case len(s.interims) > 0:
			h := s.interims[0]
			s.interims = s.interims[1:]
			return h, nil
		case s.ready:
			return &s.head, nil
		case s.err != nil:
			return nil, s.err
		}
		if err := s.awaitRead(); err != nil {
			return nil, err
		}
	}
}

// Read reads the body. io.EOF is its end, behind which Trailer is complete.
func (s *Stream) Read(p []byte) (int, error) {
	n, credit, err := s.read(p)
	if credit {
		s.c.flush()
	}
	return n, err
}

// read is Read; credit says that the peer is to be told of it.
func (s *Stream) read(p []byte) (n int, credit bool, err error) {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	defer func() { s.readUntil = 0 }()
	for s.body.size == 0 {
		switch {
		case s.cause != nil:
			return 0, false, s.cause
		case s.recvEnd:
			return 0, false, io.EOF
		case s.err != nil:
			return 0, false, s.err
		}
		if err := s.awaitRead(); err != nil {
			return 0, false, err
		}
	}
	n = s.body.read(p)
	if s.body.size == 0 && s.recvEnd {
		err = io.EOF
	}
	return n, s.give(n), err
}

// give gives the peer back what was read; it reports whether there is something
// to send. mu is held.
func (s *Stream) give(n int) bool {
	s.unacked += n
	said := s.c.giveBack(n)
	if !s.recvEnd && s.err == nil && s.unacked >= s.c.o.StreamWindow/2 {
		_ = s.c.fw.WriteWindowUpdate(s.id, uint32(s.unacked)) //nolint:gosec // at most the window
		s.recvLeft += s.unacked
		s.unacked = 0
		said = true
	}
	return said
}

// giveBack does so for the connection's window. mu is held.
func (c *Conn) giveBack(n int) bool {
	c.recvUnacked += n
	if c.recvUnacked < min(c.o.ConnWindow/2, c.o.StreamWindow) || c.err != nil {
		return false
	}
	_ = c.fw.WriteWindowUpdate(0, uint32(c.recvUnacked)) //nolint:gosec // at most the window
	c.recvLeft += c.recvUnacked
	c.recvUnacked = 0
	return true
}

// Buffered is how many bytes Read gives without waiting.
func (s *Stream) Buffered() int {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	return s.body.size
}

// Ended reports whether the peer has said everything, and it was read.
func (s *Stream) Ended() bool {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	return s.recvEnd && s.body.size == 0
}

// Complete reports whether the peer has said everything, read or not.
func (s *Stream) Complete() bool {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	return s.recvEnd
}

// Interrupt ends every read and write of the stream's, those that wait and
// those that follow, with the cause. It never blocks.
func (s *Stream) Interrupt(cause error) {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	if s.cause == nil {
		s.cause = cause
	}
	s.readable.Broadcast()
	s.writable.Broadcast()
}

// Mend takes Interrupt back: the user has something to say after all.
func (s *Stream) Mend() {
	s.c.mu.Lock()
	s.cause = nil
	s.c.mu.Unlock()
}

// Reset ends the stream before its time, and tells the peer why.
func (s *Stream) Reset(code ErrCode) {
	s.c.mu.Lock()
	s.c.resetStream(s, code, "")
	s.c.mu.Unlock()
	s.c.flush()
}

// resetStream says that a stream is over. mu is held.
func (c *Conn) resetStream(s *Stream, code ErrCode, reason string) {
	if s.err == nil {
		s.err = &StreamError{Code: code, Reason: reason}
	}
	if s.opened && c.streams[s.id] == s {
		delete(c.streams, s.id)
		c.resetOf.add(s.id, s.recvLeft)
		if c.err == nil {
			_ = c.fw.WriteRSTStream(s.id, code)
		}
	}
	s.readable.Broadcast()
	s.writable.Broadcast()
}

// Finish gives the stream back; what is not at its end is reset. The stream is
// not to be used afterwards.
func (s *Stream) Finish() {
	c := s.c
	c.mu.Lock()
	for s.telling {
		s.readable.Wait()
	}
	if s.finished {
		c.mu.Unlock()
		return
	}
	s.finished = true
	if s.err == nil && !(s.recvEnd && s.sendEnd) {
		code := http2.ErrCodeCancel
		if !c.client && s.sendEnd { // RFC 9113, section 8.1
			code = http2.ErrCodeNo
		}
		c.resetStream(s, code, "")
	}
	if c.streams[s.id] == s {
		delete(c.streams, s.id)
	}
	if s.body.size > 0 {
		c.giveBack(s.body.size)
	}
	if s.blocked {
		c.unblock(s)
	}
	if s.headSent && s.err == nil {
		c.resets.earn(1)
	}
	c.users--
	c.idleNow()
	over := c.over()
	c.mu.Unlock()
	s.recycle()
	c.flush()
	if over {
		c.nc.BreakRead()
	}
	if c.client {
		c.o.Changed(c)
	}
}

// over reports whether a connection that is going away has nothing left to do.
// mu is held.
func (c *Conn) over() bool {
	if c.users > 0 || !c.final && !(c.client && (c.draining || c.goingAway)) {
		return false
	}
	if c.err == nil {
		c.err = errOver
	}
	return true
}

// failStream ends a stream, and tells its user where that has to be told. mu is
// held, and given back.
func (c *Conn) failStream(s *Stream, err error) {
	if s.err == nil {
		s.err = err
	}
	s.readable.Broadcast()
	s.writable.Broadcast()
	tell := c.h != nil && !s.finished && s.ready
	s.telling = tell
	c.mu.Unlock()
	if !tell {
		return
	}
	c.h.Reset(s, err)
	c.mu.Lock()
	s.telling = false
	s.readable.Broadcast()
	c.mu.Unlock()
}

// Open makes a stream, which has no number before its head is written.
func (c *Conn) Open() (*Stream, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.goingAway || c.draining || c.err != nil || c.nextOut > maxStreamID:
		return nil, ErrGoingAway
	case uint32(c.users) >= c.peer.streams: //nolint:gosec // not negative
		return nil, ErrFull
	}
	s := c.newStream()
	s.sendWindow = c.peer.window
	c.users++
	return s, nil
}

var errTwice = errors.New("http2: a second head on a stream")
