// Package h2wire is as much of HTTP/2 (RFC 9113) as both ends of the benchmark
// need: frames, the settings of a connection, and its flow control. It parses
// what is there and never waits, so that it goes with an event loop.
//
// It is no judge of its peer: what is wrong is an error where it would spoil a
// measurement, and is passed over where it would not.
package h2wire

import (
	"encoding/binary"
	"fmt"
)

// Preface is what a client's connection begins with (RFC 9113, section 3.4).
const Preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

// The types of frames (RFC 9113, section 6).
const (
	Data         = 0x0
	Headers      = 0x1
	ResetStream  = 0x3
	SettingsType = 0x4
	Ping         = 0x6
	GoAway       = 0x7
	WindowUpdate = 0x8
	Continuation = 0x9
)

// The flags of frames.
const (
	EndStream  = 0x1 // of Data and Headers
	Ack        = 0x1 // of SettingsType and Ping
	EndHeaders = 0x4
	padded     = 0x8
	priority   = 0x20
)

// MaxFrame is the largest payload that is sent and taken, in bytes: that which
// holds until settings say otherwise.
const MaxFrame = 16 << 10

const headLength = 9

// Frame is one frame. Its payload is valid until the next one is asked for.
type Frame struct {
	Type, Flags byte
	Stream      uint32
	Payload     []byte
}

// Content is the payload of a Data or Headers frame without padding and
// priority.
func (f Frame) Content() ([]byte, error) {
	p := f.Payload
	pad := 0
	if f.Flags&padded != 0 {
		if len(p) < 1 {
			return nil, fmt.Errorf("a padded frame of no bytes on stream %d", f.Stream)
		}
		pad, p = int(p[0]), p[1:]
	}
	if f.Type == Headers && f.Flags&priority != 0 {
		if len(p) < 5 {
			return nil, fmt.Errorf("a frame without room for its priority on stream %d", f.Stream)
		}
		p = p[5:]
	}
	if pad > len(p) {
		return nil, fmt.Errorf("more padding than payload on stream %d", f.Stream)
	}
	return p[:len(p)-pad], nil
}

// Append appends a frame.
func Append(b []byte, kind, flags byte, stream uint32, payload []byte) []byte {
	n := len(payload)
	b = append(b, byte(n>>16), byte(n>>8), byte(n), kind, flags)
	b = binary.BigEndian.AppendUint32(b, stream)
	return append(b, payload...)
}

// Splitter cuts what comes in pieces of any size into frames.
type Splitter struct{ kept []byte }

// Feed calls each for every frame that is complete with p.
func (s *Splitter) Feed(p []byte, each func(Frame) error) error {
	if len(s.kept) > 0 {
		s.kept = append(s.kept, p...)
		p = s.kept
	}
	for len(p) >= headLength {
		n := int(p[0])<<16 | int(p[1])<<8 | int(p[2])
		if n > MaxFrame {
			return fmt.Errorf("a frame of %d bytes, more than the %d that may be", n, MaxFrame)
		}
		if len(p) < headLength+n {
			break
		}
		f := Frame{Type: p[3], Flags: p[4], Stream: binary.BigEndian.Uint32(p[5:]) &^ (1 << 31), Payload: p[headLength : headLength+n]}
		p = p[headLength+n:]
		if err := each(f); err != nil {
			return err
		}
	}
	s.kept = append(s.kept[:0], p...)
	return nil
}
