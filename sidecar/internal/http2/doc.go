// Package http2 is one HTTP/2 connection (RFC 9113), seen from either side:
// frames, header blocks, flow control and the life of streams. What a request
// is, and where it goes, is its users' business.
//
// One goroutine, which runs Conn.Serve, reads. Whoever has something to write
// appends it to the connection's output and, if nobody is at it, sends what has
// gathered there, without ever waiting for the socket: where that takes no
// more, a goroutine of its own goes on. A stream's user reads and writes in the
// style of blocking calls, on goroutines of its own.
//
// One lock guards a connection and all its streams. It is held for the copying
// of at most one frame, and never over a system call.
package http2

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/net/http2"
)

// ErrCode is an error code (RFC 9113, section 7).
type ErrCode = http2.ErrCode

// The codes that users of the package give.
const (
	CodeNo       = http2.ErrCodeNo
	CodeInternal = http2.ErrCodeInternal
	CodeRefused  = http2.ErrCodeRefusedStream
	CodeCancel   = http2.ErrCodeCancel
	CodeProtocol = http2.ErrCodeProtocol
)

// Options of a connection. The zero value has the defaults.
type Options struct {
	// Streams is how many streams the peer may have open at a time, those whose
	// user has not finished included. A client takes none.
	Streams int
	// StreamWindow and ConnWindow bound what the peer may send ahead of what was
	// read, of one stream and of all, in bytes. By default the connection has room
	// for all streams: a body that nobody reads must not hold up the others.
	StreamWindow, ConnWindow int
	// FrameTimeout is how long a frame, or the frames of one header block, may
	// take from the first byte to the last.
	FrameTimeout time.Duration
	// IdleTimeout ends a connection that has had no stream for so long; 0: never.
	IdleTimeout time.Duration
	// WriteTimeout is how long the peer may take nothing of what is sent.
	WriteTimeout time.Duration
	// Trouble is told of what the peer does wrong; it must be quick. nil: nobody.
	Trouble func(Trouble)
	// Changed is told that a stream has become free, that the peer's limit has
	// changed, or that no more streams can be opened. Clients only; nil: nobody.
	Changed func(*Conn)
}

// Defaults of Options.
const (
	DefaultStreams      = 256
	DefaultStreamWindow = 128 << 10
	maxConnWindow       = 64 << 20
	DefaultFrameTimeout = 10 * time.Second
	DefaultWriteTimeout = time.Minute
)

func (o *Options) complete() {
	if o.Streams == 0 {
		o.Streams = DefaultStreams
	}
	if o.StreamWindow == 0 {
		o.StreamWindow = DefaultStreamWindow
	}
	if o.ConnWindow == 0 {
		// Streams that were reset hold what they have until their users are through,
		// and up to one window is read and not given back.
		o.ConnWindow = min((2*o.Streams+1)*o.StreamWindow, maxConnWindow)
	}
	o.ConnWindow = max(o.ConnWindow, defaultWindow)
	if o.FrameTimeout == 0 {
		o.FrameTimeout = DefaultFrameTimeout
	}
	if o.WriteTimeout == 0 {
		o.WriteTimeout = DefaultWriteTimeout
	}
	if o.Trouble == nil {
		o.Trouble = func(Trouble) {}
	}
	if o.Changed == nil {
		o.Changed = func(*Conn) {}
	}
}

// Facts of the protocol.
const (
	defaultWindow = 65_535    // RFC 9113, section 6.9.2
	maxWindow     = 1<<31 - 1 // RFC 9113, section 6.9.1
	frameSize     = 16 << 10  // the largest frame that everybody takes, and that we do
	preface       = http2.ClientPreface
	maxStreamID   = 1<<31 - 1
	frameHeader   = 9
	tableSize     = 4096 // of HPACK's dynamic tables, both ways
)

// Bounds on what is read: those of HTTP/1.1 heads.
const (
	maxHeadBytes  = 64 << 10 // a head's fields, decoded, each with the 32 bytes that RFC 9113, section 6.5.2 adds
	maxHeadFields = 100
	maxBlock      = 128 << 10 // a header block, as it is sent: more than a head, so that one that is too large is answered
	maxBlockParts = 64        // frames of a header block
	maxInterim    = 16        // heads (1xx) that nobody has read yet
)

// Errors of opening a stream. Nothing was sent.
var (
	ErrFull      = errors.New("http2: every stream of the connection is in use")
	ErrGoingAway = errors.New("http2: the connection takes no more streams")
)

// ErrUnprocessed says that it is certain that the peer has done nothing with
// the request (RFC 9113, section 8.7).
var ErrUnprocessed = errors.New("http2: the peer has not processed the request")

// StreamError is the end of a stream before its time, or of its connection.
type StreamError struct {
	Code   ErrCode
	Remote bool   // the peer has ended it
	Conn   bool   // with the whole connection
	Reason string // what is wrong, in words
	// Unprocessed: it is certain that the peer has done nothing with the request.
	Unprocessed bool
}

// Error says who has ended it, and why.
func (e *StreamError) Error() string {
	what, who := "stream", "we have"
	if e.Conn {
		what = "connection"
	}
	if e.Remote {
		who = "the peer has"
	}
	s := fmt.Sprintf("http2: %s ended the %s with %s", who, what, e.Code)
	if e.Reason != "" {
		s += ": " + e.Reason
	}
	return s
}

// Is makes errors.Is find ErrUnprocessed.
func (e *StreamError) Is(target error) bool { return target == ErrUnprocessed && e.Unprocessed }

// connError is what ends the whole connection (RFC 9113, section 5.4.1).
type connError struct {
	code   ErrCode
	reason string
}

func (e *connError) Error() string { return fmt.Sprintf("http2: %s: %s", e.code, e.reason) }

func fatal(code ErrCode, reason string) error { return &connError{code, reason} }
