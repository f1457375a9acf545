package http2

import (
	"bytes"
	"errors"
	"io"
	"sync"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/outrigger-mesh/outrigger/middleware"
	"github.com/outrigger-mesh/outrigger/sidecar/internal/netio"
)

// Handler is who takes the streams that a client opens. Both methods are called
// by the goroutine that reads, without locks: they are quick.
type Handler interface {
	// Request is a stream whose request head is complete. From here on it is the
	// handler's, until it calls Finish.
	Request(s *Stream)
	// Reset says that the peer, or the end of the connection, has ended a stream
	// that is the handler's. It is not called after Finish has returned.
	Reset(s *Stream, err error)
}

// Conn is one connection.
type Conn struct {
	nc     *netio.Conn
	o      Options
	client bool
	h      Handler // nil for clients

	// Of the goroutine that reads.
	in      input
	fr      *http2.Framer
	dec     *hpack.Decoder
	fields  fieldSink
	head    Head              // of a response that is being decoded
	trailer middleware.Header // likewise
	first   bool              // the peer's first frame has not come

	ready    chan struct{} // closed when the peer's SETTINGS have come, or the end
	readOnce sync.Once
	done     chan struct{} // closed when Serve has returned

	mu       sync.Mutex // guards what follows
	streams  map[uint32]*Stream
	users    int    // streams that are somebody's: they count, in streams or not
	lastSeen uint32 // the highest stream id that the peer has used
	lastIn   uint32 // and the highest one of those that were taken
	nextOut  uint32 // the next one of ours
	resetOf  recent // streams that we have reset: frames for them may be under way

	out    output
	fw     *http2.Framer // appends to out
	enc    *hpack.Encoder
	block  bytes.Buffer // a header block that is being encoded
	digits []byte

	sender      chan struct{} // wakes the goroutine that sends through TLS; nil: there is none yet
	senderEnded bool
	names       interner
	values      interner
	paths       map[string]string // seen before
	noises      budget
	resets      budget
	answers     int // to the peer's frames, that wait for the socket

	sendWindow  int64 // what we may send; the peer's to raise
	recvUnacked int   // read, and not given back to the peer's window
	recvLeft    int   // of the window that the peer has of us
	blocked     []*Stream
	peer        settings

	err       error // why the connection has ended
	noH2      bool
	goingAway bool // no more streams, from either side's word
	lastGoing uint32
	final     bool // our last GOAWAY was sent: it ends with the last stream
	draining  bool
	brokenAt  int64 // nothing can be written any more: when reading ends too; 0: it can
	drainAt   int64 // when our last GOAWAY goes out at the latest
	beat      heartbeat
	timer     *time.Timer
	timerAt   int64 // when it fires; 0: it is not set
	idleSince int64
}

// settings are the peer's (RFC 9113, section 6.5.2).
type settings struct {
	streams uint32 // that we may open
	window  int64  // of a new stream
	frame   int
}

func newConn(nc *netio.Conn, o Options) *Conn {
	o.complete()
	now := time.Now()
	c := &Conn{
		nc: nc, o: o, first: true,
		noises: newBudget(noiseBudget, noisePerSecond, now), resets: newBudget(max(1000, resetBudget*o.Streams), resetPerSecond, now),
		ready: make(chan struct{}), done: make(chan struct{}),
		streams:    map[uint32]*Stream{},
		sendWindow: defaultWindow, recvLeft: o.ConnWindow,
		peer: settings{streams: 100, window: defaultWindow, frame: frameSize},
	}
	c.in.nc = nc
	c.out.idle.L = &c.mu
	c.fr = http2.NewFramer(nil, &c.in)
	c.fr.SetMaxReadFrameSize(frameSize)
	c.fw = http2.NewFramer(&c.out, nil)
	c.dec = hpack.NewDecoder(tableSize, c.fields.emit)
	c.dec.SetMaxStringLength(2 * maxBlock) // what a block can hold: a field that is too large is no error of compression
	c.fields.dec = c.dec
	c.enc = hpack.NewEncoder(&c.block)
	c.idleSince = now.UnixNano()
	return c
}

// NewServer is the server's side of a connection. early is what was read of it
// already. Nothing is read or written before Serve.
func NewServer(nc *netio.Conn, early []byte, o Options, h Handler) *Conn {
	c := newConn(nc, o)
	c.h = h
	c.in.give(early)
	c.hello()
	return c
}

// NewClient is the client's side. Serve is to be called on a goroutine of its
// own; streams may be opened before.
func NewClient(nc *netio.Conn, o Options) *Conn {
	c := newConn(nc, o)
	c.client, c.nextOut = true, 1
	c.hello()
	return c
}

// hello puts what each side says first into the output.
func (c *Conn) hello() {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := []http2.Setting{
		{ID: http2.SettingInitialWindowSize, Val: uint32(c.o.StreamWindow)}, //nolint:gosec // bounded by maxWindow
		{ID: http2.SettingMaxHeaderListSize, Val: maxHeadBytes},
	}
	if c.client {
		_, _ = c.out.Write([]byte(preface))
		s = append(s, http2.Setting{ID: http2.SettingEnablePush, Val: 0})
	} else {
		s = append(s, http2.Setting{ID: http2.SettingMaxConcurrentStreams, Val: uint32(c.o.Streams)}) //nolint:gosec // small
	}
	_ = c.fw.WriteSettings(s...)
	if more := c.o.ConnWindow - defaultWindow; more > 0 {
		_ = c.fw.WriteWindowUpdate(0, uint32(more)) //nolint:gosec // bounded by maxWindow
	}
}

// Serve reads until the connection has ended, and returns why: nil when both
// sides were through. It closes the connection.
func (c *Conn) Serve() error {
	defer close(c.done)
	c.arm()
	c.flush()
	err := c.read()
	c.end(err)
	c.readOnce.Do(func() { close(c.ready) })
	c.in.release()
	var ce *connError
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, errOver):
		return nil
	case errors.As(err, &ce):
		return ce
	}
	return err
}

// errOver is the end of a connection that was drained, or has idled too long.
var errOver = errors.New("http2: the connection is not needed any more")

// read reads frames until one ends the connection.
func (c *Conn) read() error {
	if !c.client {
		if err := c.readPreface(); err != nil {
			return err
		}
	}
	for {
		if err := c.readFrame(); err != nil {
			return err
		}
	}
}

// readPreface reads what a client says first (RFC 9113, section 3.4).
func (c *Conn) readPreface() error {
	c.nc.LimitReads(c.o.FrameTimeout)
	var got [len(preface)]byte
	for n := 0; n < len(got); {
		k, err := c.in.Read(got[n:])
		if err != nil {
			c.o.Trouble(TroublePreface)
			return c.slow(err)
		}
		n += k
		if string(got[:n]) != preface[:n] {
			c.o.Trouble(TroublePreface)
			return fatal(http2.ErrCodeProtocol, "what came first is not the preface of HTTP/2")
		}
	}
	return nil
}

// slow says so where a read has taken too long.
func (c *Conn) slow(err error) error {
	if err != nil && isTimeout(err) && !c.nc.ReadBroken() {
		c.o.Trouble(TroubleSlow)
		return fatal(http2.ErrCodeProtocol, "a frame took too long to come")
	}
	return err
}

// end is the end of the connection: every stream learns of it, and the peer
// where it can.
func (c *Conn) end(cause error) {
	var ce *connError
	c.mu.Lock()
	if c.err == nil {
		c.err = cause
	}
	cause = c.err
	told := errors.As(cause, &ce)
	c.goingAway = true
	if c.timer != nil {
		c.timer.Stop()
	}
	if told {
		c.out.clear()
		_ = c.fw.WriteGoAway(c.lastIn, ce.code, []byte(ce.reason))
	}
	c.mu.Unlock()
	c.breakStreams(cause)
	c.lastWords(told || errors.Is(cause, errOver))
	c.o.Changed(c)
}

// breakStreams ends every stream with the connection.
func (c *Conn) breakStreams(cause error) {
	failure := &StreamError{Code: http2.ErrCodeInternal, Remote: true, Conn: true, Reason: "it was closed"}
	var ce *connError
	if errors.As(cause, &ce) {
		failure = &StreamError{Code: ce.code, Conn: true, Reason: ce.reason}
	} else if cause != nil && !errors.Is(cause, io.EOF) && !errors.Is(cause, errOver) {
		failure.Reason = cause.Error()
	}
	for {
		c.mu.Lock()
		var s *Stream
		for _, s = range c.streams {
			break
		}
		if s == nil {
			c.mu.Unlock()
			return
		}
		delete(c.streams, s.id)
		c.failStream(s, failure)
	}
}

// fail ends the connection from a goroutine that does not read. mu is held.
func (c *Conn) fail(err error) {
	if c.err == nil {
		c.err = err
		c.goingAway = true
	}
	c.nc.BreakRead()
}

// Ready is closed when the peer's first SETTINGS have come, or the connection
// has ended.
func (c *Conn) Ready() <-chan struct{} { return c.ready }

// Err is why the connection has ended; nil while it has not.
func (c *Conn) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// NotHTTP2 reports that a server has ended the connection, or has said something
// else, where it had to say SETTINGS: it does not speak HTTP/2.
func (c *Conn) NotHTTP2() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.noH2
}

// Streams is how many streams are in use, and how many may be.
func (c *Conn) Streams() (open, limit int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.goingAway || c.draining {
		return c.users, 0
	}
	if !c.client {
		return c.users, c.o.Streams
	}
	return c.users, int(min(c.peer.streams, 1<<30))
}

// Close ends the connection at once.
func (c *Conn) Close() {
	c.mu.Lock()
	if c.err == nil {
		c.err = io.ErrClosedPipe
	}
	c.goingAway = true
	c.mu.Unlock()
	_ = c.nc.Close()
}
