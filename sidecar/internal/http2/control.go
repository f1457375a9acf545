package http2

import (
	"encoding/binary"
	"fmt"

	"golang.org/x/net/http2"
)

// other does what the frames say that bring no part of a message.
func (c *Conn) other(f http2.Frame) error {
	switch f := f.(type) {
	case *http2.SettingsFrame:
		return c.settings(f)
	case *http2.PingFrame:
		return c.ping(f)
	case *http2.RSTStreamFrame:
		return c.rst(f)
	case *http2.GoAwayFrame:
		return c.goAway(f)
	case *http2.PriorityFrame:
		return c.priority(f)
	case *http2.PushPromiseFrame:
		c.o.Trouble(TroubleProtocol)
		return fatal(http2.ErrCodeProtocol, "PUSH_PROMISE where it is not allowed")
	}
	return c.useless() // what we do not know is left alone (RFC 9113, section 5.5)
}

func (c *Conn) useless() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.noise()
}

// priority is deprecated, and may still come (RFC 9113, section 5.3.2).
func (c *Conn) priority(f *http2.PriorityFrame) error {
	if f.StreamDep == f.StreamID {
		c.o.Trouble(TroubleProtocol)
		return c.endStream(f.StreamID, http2.ErrCodeProtocol, "a stream cannot depend on itself")
	}
	return c.useless()
}

// settings takes the peer's settings (RFC 9113, section 6.5).
func (c *Conn) settings(f *http2.SettingsFrame) error {
	if f.IsAck() {
		return c.useless()
	}
	c.mu.Lock()
	err := c.noise()
	if err == nil {
		err = c.answered()
	}
	for n := f.NumSettings() - fewSettings; n > 0 && err == nil; n-- {
		err = c.noise()
	}
	window := c.peer.window
	if err == nil {
		err = f.ForeachSetting(c.set)
	}
	if err == nil {
		err = c.shiftWindows(c.peer.window - window)
	}
	if err != nil {
		c.mu.Unlock()
		return c.frameError(err)
	}
	_ = c.fw.WriteSettingsAck()
	for _, s := range c.streams {
		s.writable.Signal()
	}
	c.mu.Unlock()
	c.flush()
	c.readOnce.Do(func() { close(c.ready) })
	if c.client {
		c.o.Changed(c)
	}
	return nil
}

// set is one setting. mu is held.
func (c *Conn) set(s http2.Setting) error {
	if err := s.Valid(); err != nil {
		return err
	}
	switch s.ID {
	case http2.SettingHeaderTableSize:
		c.enc.SetMaxDynamicTableSize(min(s.Val, tableSize))
	case http2.SettingEnablePush:
		if c.client && s.Val != 0 { // RFC 9113, section 6.5.2
			return fatal(http2.ErrCodeProtocol, "a server cannot allow itself to push")
		}
	case http2.SettingMaxConcurrentStreams:
		c.peer.streams = s.Val
	case http2.SettingInitialWindowSize:
		c.peer.window = int64(s.Val)
	case http2.SettingMaxFrameSize:
		c.peer.frame = int(min(s.Val, 64<<10)) // no more at once, so that streams take turns
	case http2.SettingMaxHeaderListSize, http2.SettingEnableConnectProtocol, http2.SettingNoRFC7540Priorities:
	}
	return nil
}

// fewSettings is how many entries a frame has that means well: there are ten
// settings.
const fewSettings = 32

// shiftWindows changes every stream's window with the initial one (RFC 9113,
// section 6.9.2). mu is held.
func (c *Conn) shiftWindows(change int64) error {
	if change == 0 {
		return nil
	}
	for _, s := range c.streams {
		if s.sendWindow += change; s.sendWindow > maxWindow {
			c.o.Trouble(TroubleFlowControl)
			return fatal(http2.ErrCodeFlowControl, "a window is larger than it may be")
		}
	}
	return nil
}

// ping answers a PING, or notes the answer to ours.
func (c *Conn) ping(f *http2.PingFrame) error {
	c.mu.Lock()
	if f.IsAck() {
		var err error
		if !c.pong(f.Data) {
			err = c.noise()
		}
		c.mu.Unlock()
		c.flush()
		return err
	}
	err := c.noise()
	if err == nil {
		err = c.answered()
	}
	if err == nil {
		_ = c.fw.WritePing(true, f.Data)
	}
	c.mu.Unlock()
	c.flush()
	return err
}

// rst is the end of a stream by the peer's word.
func (c *Conn) rst(f *http2.RSTStreamFrame) error {
	c.mu.Lock()
	s := c.streams[f.StreamID]
	if s == nil {
		idle := c.idle(f.StreamID)
		err := c.noise()
		c.mu.Unlock()
		if idle {
			c.o.Trouble(TroubleProtocol)
			return fatal(http2.ErrCodeProtocol, "RST_STREAM on a stream that was not opened")
		}
		return err
	}
	var err error
	if c.client || s.headSent {
		c.resets.earn(1)
	} else {
		err = c.gaveUp()
	}
	delete(c.streams, f.StreamID)
	c.failStream(s, &StreamError{Code: f.ErrCode, Remote: true, Unprocessed: c.client && f.ErrCode == http2.ErrCodeRefusedStream})
	return err
}

// goAway is the peer's word that it takes no more streams (RFC 9113, section
// 6.8).
func (c *Conn) goAway(f *http2.GoAwayFrame) error {
	c.mu.Lock()
	if c.goingAway && c.lastGoing != 0 && f.LastStreamID > c.lastGoing {
		c.mu.Unlock()
		c.o.Trouble(TroubleProtocol)
		return fatal(http2.ErrCodeProtocol, "the last stream of a GOAWAY cannot grow")
	}
	if err := c.noise(); err != nil {
		c.mu.Unlock()
		return err
	}
	c.goingAway, c.lastGoing = true, f.LastStreamID
	failure := &StreamError{Code: f.ErrCode, Remote: true, Conn: true, Unprocessed: true, Reason: "GOAWAY"}
	if c.client {
		for id, s := range c.streams {
			if id > f.LastStreamID {
				delete(c.streams, id)
				s.err = failure
				s.readable.Broadcast()
				s.writable.Broadcast()
			}
		}
	}
	done := c.over()
	c.mu.Unlock()
	c.o.Changed(c)
	if done {
		return errOver
	}
	return nil
}

// windowUpdate opens a window (RFC 9113, section 6.9).
func (c *Conn) windowUpdate(fh http2.FrameHeader) error {
	var b [4]byte
	if fh.Length != 4 {
		c.o.Trouble(TroubleProtocol)
		return fatal(http2.ErrCodeFrameSize, "WINDOW_UPDATE has 4 bytes")
	}
	if err := c.in.full(b[:]); err != nil {
		return err
	}
	n := int64(binary.BigEndian.Uint32(b[:]) & maxWindow)
	id := fh.StreamID
	if n == 0 {
		c.o.Trouble(TroubleProtocol)
		if id == 0 {
			return fatal(http2.ErrCodeProtocol, "WINDOW_UPDATE of nothing")
		}
		return c.endStream(id, http2.ErrCodeProtocol, "WINDOW_UPDATE of nothing")
	}
	c.mu.Lock()
	if err := c.noise(); err != nil {
		c.mu.Unlock()
		return err
	}
	if id == 0 {
		c.sendWindow += n
		large := c.sendWindow > maxWindow
		c.wakeBlocked()
		c.mu.Unlock()
		if large {
			c.o.Trouble(TroubleFlowControl)
			return fatal(http2.ErrCodeFlowControl, "the connection's window is larger than it may be")
		}
		return nil
	}
	s := c.streams[id]
	if s == nil {
		idle := c.idle(id)
		c.mu.Unlock()
		if idle {
			c.o.Trouble(TroubleProtocol)
			return fatal(http2.ErrCodeProtocol, fmt.Sprintf("WINDOW_UPDATE on stream %d, which was not opened", id))
		}
		return nil
	}
	s.sendWindow += n
	large := s.sendWindow > maxWindow
	s.writable.Signal()
	c.mu.Unlock()
	if large {
		c.o.Trouble(TroubleFlowControl)
		return c.endStream(id, http2.ErrCodeFlowControl, "a window is larger than it may be")
	}
	return nil
}
