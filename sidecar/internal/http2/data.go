package http2

import (
	"golang.org/x/net/http2"
)

// data reads a DATA frame, straight to where its reader finds it.
func (c *Conn) data(fh http2.FrameHeader) error {
	if fh.StreamID == 0 {
		c.o.Trouble(TroubleProtocol)
		return fatal(http2.ErrCodeProtocol, "DATA without a stream")
	}
	c.nc.LimitRead(c.o.WriteTimeout) // unlike other frames, a body may come slowly
	n, pad := int(fh.Length), 0
	if fh.Flags.Has(http2.FlagDataPadded) {
		var length [1]byte
		if n == 0 {
			c.o.Trouble(TroubleProtocol)
			return fatal(http2.ErrCodeFrameSize, "padding does not fit") // RFC 9113, section 4.2
		}
		if err := c.in.full(length[:]); err != nil {
			return err
		}
		n--
		if pad = int(length[0]); pad > n {
			c.o.Trouble(TroubleProtocol)
			return fatal(http2.ErrCodeProtocol, "padding does not fit")
		}
		n -= pad
	}
	end := fh.Flags.Has(http2.FlagDataEndStream)
	c.mu.Lock()
	if int(fh.Length) > c.recvLeft {
		c.mu.Unlock()
		c.o.Trouble(TroubleFlowControl)
		return fatal(http2.ErrCodeFlowControl, "more data than the connection's window has room for")
	}
	c.recvLeft -= int(fh.Length)
	s := c.streams[fh.StreamID]
	code, fault, err := c.dataFault(s, fh, n, end)
	if err != nil {
		c.mu.Unlock()
		return err
	}
	if s == nil || code != 0 {
		said := c.giveBack(int(fh.Length))
		c.mu.Unlock()
		if err := c.in.skip(n + pad); err != nil {
			return err
		}
		if code != 0 {
			return c.endStream(fh.StreamID, code, fault)
		}
		if said {
			c.flush()
		}
		return nil
	}
	s.recvLeft -= int(fh.Length)
	c.mu.Unlock()
	return c.take(s, fh, n, pad, end)
}

// take reads a frame's data. The stream's user may finish it meanwhile.
func (c *Conn) take(s *Stream, fh http2.FrameHeader, n, pad int, end bool) error {
	var k *chunk
	if n > 0 {
		k = newChunk(n)
		if err := c.in.full(k.b[:n]); err != nil {
			k.release()
			return err
		}
		k.w = n
	}
	if err := c.in.skip(pad); err != nil {
		if k != nil {
			k.release()
		}
		return err
	}
	c.mu.Lock()
	extra := int(fh.Length) - n
	if c.streams[fh.StreamID] != s {
		said := c.giveBack(int(fh.Length))
		c.mu.Unlock()
		if k != nil {
			k.release()
		}
		if said {
			c.flush()
		}
		return nil
	}
	said := false
	if n > 0 {
		if to := s.body.room(n); to != nil {
			copy(to, k.b[:n])
			s.body.last.w += n
			s.body.size += n
			k.release()
		} else {
			s.body.push(k)
		}
		s.received += int64(n)
		c.worked(n)
	}
	if extra > 0 {
		said = s.give(extra)
	}
	if end {
		s.recvEnd = true
		s.ended()
	}
	s.readable.Broadcast()
	c.mu.Unlock()
	if said {
		c.flush()
	}
	return nil
}

// dataFault says what is wrong with a DATA frame: code ends the stream, err the
// connection. mu is held.
func (c *Conn) dataFault(s *Stream, fh http2.FrameHeader, n int, end bool) (code http2.ErrCode, fault string, err error) {
	if n == 0 && !end {
		if err := c.noise(); err != nil {
			return 0, "", err
		}
	}
	if s == nil {
		if c.idle(fh.StreamID) {
			c.o.Trouble(TroubleProtocol)
			return 0, "", fatal(http2.ErrCodeProtocol, "DATA on a stream that was not opened")
		}
		if n > 0 && c.resetOf.take(fh.StreamID, int(fh.Length)) {
			return 0, "", nil
		}
		if err := c.noiseOf(n); err != nil {
			return 0, "", err
		}
		if c.client || c.resetOf.has(fh.StreamID) {
			return 0, "", nil
		}
		c.o.Trouble(TroubleProtocol)
		return http2.ErrCodeStreamClosed, "DATA on a stream that is closed", nil
	}
	switch total := s.received + int64(n); {
	case s.recvEnd:
		c.o.Trouble(TroubleProtocol)
		return http2.ErrCodeStreamClosed, "DATA on a stream that was ended", nil
	case !s.ready:
		c.o.Trouble(TroubleProtocol)
		return http2.ErrCodeProtocol, "DATA before the head", nil
	case int(fh.Length) > s.recvLeft:
		c.o.Trouble(TroubleFlowControl)
		return http2.ErrCodeFlowControl, "more data than the stream's window has room for", nil
	case s.declared >= 0 && (total > s.declared || end && total < s.declared):
		c.o.Trouble(TroubleMalformed)
		return http2.ErrCodeProtocol, "the body is not as long as content-length says", nil
	}
	return 0, "", nil
}

// noiseOf counts data that nobody wants. mu is held.
func (c *Conn) noiseOf(n int) error {
	if n >= frameSize/2 {
		return nil // it costs the peer more than us
	}
	return c.noise()
}
