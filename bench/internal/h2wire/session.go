package h2wire

import (
	"encoding/binary"
	"fmt"
	"math"
)

// The settings that are looked at (RFC 9113, section 6.5.2).
const (
	settingTable   = 0x1
	settingPush    = 0x2
	settingStreams = 0x3
	settingWindow  = 0x4
)

// Sizes of RFC 9113, sections 6.5.2 and 6.9.2, in bytes.
const (
	defaultTable  = 4096
	defaultWindow = 65535
	maxWindow     = math.MaxInt32
)

// ownWindow is what a stream may send us before we say more: no request or
// response of the benchmark is larger, so that no stream ever waits.
const ownWindow = 16 << 20

// replenish is how much the peer may have sent on the connection before its
// window is filled again.
const replenish = 1 << 29

// Session is the connection itself: what its peer has said, and what may be
// sent on it.
type Session struct {
	// Window is how many bytes may be sent on the connection, and StreamWindow on
	// each new stream.
	Window, StreamWindow int64
	// Streams is how many the peer lets be open, and Table the bytes of the
	// dynamic table that it lets its headers use.
	Streams, Table uint32
	// Settled is whether the peer's settings have come.
	Settled bool

	taken int64 // bytes of Data since the window was filled
}

// NewSession is a connection on which nothing was said yet.
func NewSession() Session {
	return Session{Window: defaultWindow, StreamWindow: defaultWindow, Streams: math.MaxUint32, Table: defaultTable}
}

// Hello appends our settings, and opens the connection's window as far as it
// goes: flow control is not what is measured. streams is how many the peer may
// open.
func Hello(b []byte, streams uint32) []byte {
	var s []byte
	for _, v := range []struct {
		id    uint16
		value uint32
	}{{settingPush, 0}, {settingStreams, streams}, {settingWindow, ownWindow}} {
		s = binary.BigEndian.AppendUint16(s, v.id)
		s = binary.BigEndian.AppendUint32(s, v.value)
	}
	b = Append(b, SettingsType, 0, 0, s)
	return appendWindow(b, maxWindow-defaultWindow)
}

func appendWindow(b []byte, n uint32) []byte {
	return Append(b, WindowUpdate, 0, 0, binary.BigEndian.AppendUint32(nil, n))
}

// Control takes what a frame says of the connection, and appends what is to be
// answered to it. An error ends the connection.
func (s *Session) Control(b []byte, f Frame) ([]byte, error) {
	switch f.Type {
	case Data:
		if s.taken += int64(len(f.Payload)); s.taken >= replenish {
			b = appendWindow(b, uint32(s.taken)) //nolint:gosec // little more than replenish
			s.taken = 0
		}
	case SettingsType:
		if f.Flags&Ack != 0 {
			return b, nil
		}
		if err := s.settings(f.Payload); err != nil {
			return b, err
		}
		return Append(b, SettingsType, Ack, 0, nil), nil
	case Ping:
		if f.Flags&Ack == 0 {
			return Append(b, Ping, Ack, 0, f.Payload), nil
		}
	case WindowUpdate:
		if len(f.Payload) != 4 {
			return b, fmt.Errorf("an update of a window with %d bytes", len(f.Payload))
		}
		if f.Stream == 0 {
			s.Window += int64(binary.BigEndian.Uint32(f.Payload) &^ (1 << 31))
		}
	case GoAway:
		if len(f.Payload) < 8 {
			return b, fmt.Errorf("a goodbye of %d bytes", len(f.Payload))
		}
		return b, fmt.Errorf("the connection is given up (GOAWAY, code %d: %.100q)", binary.BigEndian.Uint32(f.Payload[4:]), f.Payload[8:])
	}
	return b, nil
}

func (s *Session) settings(p []byte) error {
	if len(p)%6 != 0 {
		return fmt.Errorf("settings of %d bytes, no multiple of 6", len(p))
	}
	s.Settled = true
	for ; len(p) > 0; p = p[6:] {
		value := binary.BigEndian.Uint32(p[2:])
		switch binary.BigEndian.Uint16(p) {
		case settingTable:
			s.Table = value
		case settingStreams:
			s.Streams = value
		case settingWindow:
			if value > maxWindow {
				return fmt.Errorf("a window of %d bytes", value)
			}
			s.StreamWindow = int64(value)
		}
	}
	return nil
}
