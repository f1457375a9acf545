package http2

import (
	"errors"
	"io"

	"golang.org/x/net/http2"
)

// readFrame reads one frame and does what it says. Its error ends the
// connection.
func (c *Conn) readFrame() error {
	if c.in.buffered() == 0 {
		c.nc.LimitRead(0) // who waits for something has a limit of its own
		if err := c.in.fill(); err != nil {
			return c.firstMissing(err)
		}
		c.heard()
	}
	c.nc.LimitReads(c.o.FrameTimeout)
	fh, err := c.fr.ReadFrameHeader()
	if c.first {
		if err := c.firstFrame(fh, err); err != nil {
			return err
		}
	}
	if err != nil {
		return c.frameError(err)
	}
	switch fh.Type {
	case http2.FrameData:
		err = c.data(fh)
	case http2.FrameWindowUpdate:
		err = c.windowUpdate(fh)
	case http2.FrameHeaders:
		err = c.headers(fh)
	default:
		var f http2.Frame
		if f, err = c.fr.ReadFrameForHeader(fh); err != nil {
			return c.frameError(err)
		}
		err = c.other(f)
	}
	return c.slow(err)
}

// firstMissing is the end of the connection; before the first frame it says that
// a server speaks something else.
func (c *Conn) firstMissing(err error) error {
	if c.first && c.client && !c.nc.ReadBroken() {
		c.mu.Lock()
		c.noH2 = true
		c.mu.Unlock()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil { // somebody has ended it, and this is how we learn of it
		return c.err
	}
	return err
}

// firstFrame makes sure that the peer begins with SETTINGS (RFC 9113, section
// 3.4).
func (c *Conn) firstFrame(fh http2.FrameHeader, err error) error {
	var se http2.StreamError
	var ce http2.ConnectionError
	known := err == nil || errors.As(err, &se) || errors.As(err, &ce) || errors.Is(err, http2.ErrFrameTooLarge)
	if known && fh.Type == http2.FrameSettings && fh.StreamID == 0 && !fh.Flags.Has(http2.FlagSettingsAck) {
		c.first = false
		return nil
	}
	if err != nil && !known {
		return c.firstMissing(err)
	}
	if c.client {
		c.mu.Lock()
		c.noH2 = true
		c.mu.Unlock()
	}
	c.o.Trouble(TroublePreface)
	return fatal(http2.ErrCodeProtocol, "what came first is no SETTINGS frame")
}

// frameError sorts the Framer's errors: of a stream, or of the connection.
func (c *Conn) frameError(err error) error {
	var se http2.StreamError
	var ce http2.ConnectionError
	switch {
	case errors.As(err, &se):
		c.o.Trouble(TroubleProtocol)
		return c.endStream(se.StreamID, se.Code, "")
	case errors.As(err, &ce):
		reason := ""
		if d := c.fr.ErrorDetail(); d != nil {
			reason = d.Error()
		}
		t := TroubleProtocol
		if http2.ErrCode(ce) == http2.ErrCodeFlowControl {
			t = TroubleFlowControl
		}
		c.o.Trouble(t)
		return fatal(http2.ErrCode(ce), reason)
	case errors.Is(err, http2.ErrFrameTooLarge):
		c.o.Trouble(TroubleProtocol)
		return fatal(http2.ErrCodeFrameSize, "a frame is larger than allowed")
	case errors.Is(err, io.ErrUnexpectedEOF):
		return io.EOF
	}
	return c.slow(err)
}

// endStream resets a stream by its number, whoever has it.
func (c *Conn) endStream(id uint32, code http2.ErrCode, reason string) error {
	c.mu.Lock()
	err := c.noise()
	if err == nil {
		err = c.answered()
	}
	if err != nil {
		c.mu.Unlock()
		return err
	}
	s := c.streams[id]
	if s != nil && !c.client && !s.headSent {
		// A client that has us reset its streams gives them up as one that resets
		// them itself (CVE-2025-8671).
		if err := c.gaveUp(); err != nil {
			c.mu.Unlock()
			return err
		}
	}
	switch {
	case s == nil:
		c.resetOf.add(id, 0)
		_ = c.fw.WriteRSTStream(id, code)
		c.mu.Unlock()
	case c.h != nil && !s.ready: // nobody has it
		c.resetStream(s, code, reason)
		c.users--
		c.idleNow()
		c.mu.Unlock()
		s.recycle()
	default:
		c.resetStream(s, code, reason)
		c.failStream(s, s.err)
	}
	c.flush()
	return nil
}

// idle reports whether a stream was never opened. mu is held.
func (c *Conn) idle(id uint32) bool {
	if ours := id%2 == 1; ours == c.client {
		return id >= c.nextOut || !c.client
	}
	return id > c.lastSeen
}

// recent remembers the last few streams that we have reset: what the peer had
// sent by then may still come, as much of it as the stream's window had room for.
type recent struct {
	last [64]struct {
		id   uint32
		left int // of the window
	}
	at int
}

func (r *recent) add(id uint32, left int) {
	x := &r.last[r.at%len(r.last)]
	x.id, x.left = id, left
	r.at++
}

func (r *recent) has(id uint32) bool {
	for i := range r.last {
		if r.last[i].id == id {
			return true
		}
	}
	return false
}

// take reports whether n bytes for a stream may have been under way when it was
// reset, and counts them.
func (r *recent) take(id uint32, n int) bool {
	for i := range r.last {
		if x := &r.last[i]; x.id == id && x.left >= n {
			x.left -= n
			return true
		}
	}
	return false
}
