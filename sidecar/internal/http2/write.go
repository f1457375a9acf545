package http2

import (
	"os"
	"time"

	"github.com/outrigger-mesh/outrigger/middleware"
)

// WriteRequest writes a request's head, and with end nothing follows. It sends
// nothing before Flush unless end is set. An error says that nothing was sent.
func (s *Stream) WriteRequest(r *middleware.Request, o RequestOptions, end bool) error {
	c := s.c
	c.mu.Lock()
	if err := s.start(); err != nil {
		c.mu.Unlock()
		return err
	}
	s.noBody = string(r.Method) == "HEAD"
	c.encodeRequest(r, o)
	c.putBlock(s.id, end)
	s.headSent, s.sendEnd = true, end
	c.mu.Unlock()
	if end {
		c.flush()
	}
	return nil
}

// start gives a client's stream its number: numbers have to go out in order.
// mu is held.
func (s *Stream) start() error {
	c := s.c
	switch {
	case s.cause != nil:
		return s.cause
	case s.opened:
		return errTwice
	case c.err != nil || c.goingAway || c.nextOut > maxStreamID:
		s.err = &StreamError{Code: CodeRefused, Conn: true, Unprocessed: true, Reason: "the connection is going away"}
		return s.err
	}
	s.id = c.nextOut
	c.nextOut += 2
	s.opened = true
	s.sendWindow = c.peer.window
	c.streams[s.id] = s
	return nil
}

// WriteResponse writes a response's head, and with end nothing follows. It
// sends nothing before Flush unless end is set.
func (s *Stream) WriteResponse(r *middleware.Response, end bool) error {
	c := s.c
	c.mu.Lock()
	if err := s.awaitOutput(); err != nil {
		c.mu.Unlock()
		return err
	}
	length := r.ContentLength
	if length == 0 && (r.Status == 304 || r.Header.Has("grpc-status")) {
		length = -1 // it says nothing of a length
	}
	c.encodeResponse(r.Status, &r.Header, length)
	c.putBlock(s.id, end)
	s.headSent, s.sendEnd = true, end
	s.ended()
	c.mu.Unlock()
	if end {
		c.flush()
	}
	return nil
}

// WriteInterim sends an interim response (1xx).
func (s *Stream) WriteInterim(status int, h *middleware.Header) error {
	c := s.c
	c.mu.Lock()
	if err := s.awaitOutput(); err != nil || s.headSent {
		c.mu.Unlock()
		return err
	}
	c.encodeResponse(status, h, -1)
	c.putBlock(s.id, false)
	c.mu.Unlock()
	c.flush()
	return nil
}

// WriteTrailer ends our half with trailer fields, of which there may be none,
// and sends it.
func (s *Stream) WriteTrailer(h *middleware.Header) error {
	if h == nil || h.Len() == 0 {
		_, err := s.WriteData(nil, true)
		return err
	}
	c := s.c
	c.mu.Lock()
	if err := s.awaitOutput(); err != nil {
		c.mu.Unlock()
		return err
	}
	c.block.Reset()
	c.regular(h, false)
	c.putBlock(s.id, true)
	s.sendEnd = true
	s.ended()
	c.mu.Unlock()
	c.flush()
	return nil
}

// ended takes a stream of which both halves are through off the connection. mu
// is held.
func (s *Stream) ended() {
	if s.recvEnd && s.sendEnd && s.c.streams[s.id] == s {
		delete(s.c.streams, s.id)
	}
}

// WriteData writes a piece of the body; with end it is the last one, and is
// sent. Others go out with Flush, or when there is much of it. It waits while
// the peer's windows, or the socket, take no more.
func (s *Stream) WriteData(p []byte, end bool) (int, error) {
	c := s.c
	done := 0
	if len(p) == 0 && !end {
		return 0, nil
	}
	c.mu.Lock()
	for {
		if err := s.mayWrite(); err != nil {
			c.mu.Unlock()
			return done, err
		}
		n := len(p)
		if n > 0 {
			var err error
			if n, err = s.awaitWindow(n); err != nil {
				c.mu.Unlock()
				return done, err
			}
			if n == 0 {
				continue // it was waited for: look again
			}
		}
		last := n == len(p)
		if !last && n < dribble {
			if err := c.noise(); err != nil {
				c.fail(err)
			}
		}
		c.putData(s, p[:n], last && end)
		if last || n >= dribble {
			c.worked(n)
		}
		done += n
		if p = p[n:]; last {
			break
		}
	}
	if end {
		s.sendEnd = true
		s.ended()
	}
	send := end || c.out.len() >= outputLimit/2
	c.mu.Unlock()
	if send {
		c.flush()
	}
	return done, nil
}

// awaitWindow is how much of n bytes can be sent now; 0: it had to be waited
// for. mu is held.
func (s *Stream) awaitWindow(n int) (int, error) {
	c := s.c
	can := min(int64(n), s.sendWindow, c.sendWindow, int64(c.peer.frame))
	if can > 0 && c.out.len() < outputLimit {
		s.writeUntil = 0
		return int(can), nil
	}
	return 0, s.awaitWrite()
}

// awaitWrite waits until there may be room to write. mu is held.
func (s *Stream) awaitWrite() error {
	c := s.c
	if c.out.len() > 0 && !c.out.writing && !c.out.broken { // what the peer is to answer has to be sent
		c.mu.Unlock()
		c.flush()
		c.mu.Lock()
		return nil
	}
	if s.writeUntil == 0 && s.writeLimit > 0 {
		s.writeUntil = c.until(s.writeLimit)
	}
	if (c.sendWindow <= 0 || c.out.len() >= outputLimit) && !s.blocked {
		s.blocked = true
		c.blocked = append(c.blocked, s)
	}
	s.writable.Wait()
	if s.writeUntil != 0 && time.Now().UnixNano() >= s.writeUntil {
		s.writeUntil = 0
		c.suspect()
		return os.ErrDeadlineExceeded
	}
	return nil
}

// awaitOutput waits until the output has room for a head, which no window holds
// back: a client that reads nothing must not have answers gather here. mu is
// held.
func (s *Stream) awaitOutput() error {
	for {
		if err := s.mayWrite(); err != nil || s.c.out.len() < outputLimit {
			s.writeUntil = 0
			return err
		}
		if err := s.awaitWrite(); err != nil {
			return err
		}
	}
}

// putData appends a DATA frame. mu is held.
func (c *Conn) putData(s *Stream, p []byte, end bool) {
	b := c.out.grow(frameHeader + len(p))
	flags := byte(0)
	if end {
		flags = 1
	}
	n := len(p)
	b[0], b[1], b[2], b[3], b[4] = byte(n>>16), byte(n>>8), byte(n), 0, flags
	b[5], b[6], b[7], b[8] = byte(s.id>>24), byte(s.id>>16), byte(s.id>>8), byte(s.id)
	copy(b[frameHeader:], p)
	s.sendWindow -= int64(n)
	c.sendWindow -= int64(n)
}

// worked earns a peer its allowance back: a frame with n bytes of data went one
// way or the other. Peers that measure the connection answer each of them, also a
// small one, with a WINDOW_UPDATE and a PING. mu is held.
func (c *Conn) worked(n int) { c.noises.earn(noiseOfFrame + n/noiseOfData) }

// dribble is the size below which a frame of data brings nothing forward: a peer
// that opens its window byte by byte has us send ten times as much
// (CVE-2019-9511).
const dribble = 64

// Flush sends what was written, if nobody is sending already.
func (s *Stream) Flush() { s.c.flush() }

// wakeBlocked has those look again that wait for the connection. mu is held.
func (c *Conn) wakeBlocked() {
	for i, s := range c.blocked {
		s.blocked = false
		s.writable.Signal()
		c.blocked[i] = nil
	}
	c.blocked = c.blocked[:0]
}

// unblock forgets a stream that waited for the connection. mu is held.
func (c *Conn) unblock(s *Stream) {
	for i, b := range c.blocked {
		if b == s {
			last := len(c.blocked) - 1
			c.blocked[i], c.blocked[last] = c.blocked[last], nil
			c.blocked = c.blocked[:last]
			break
		}
	}
	s.blocked = false
}
