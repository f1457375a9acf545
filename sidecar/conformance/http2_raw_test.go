package conformance

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// rawH2 is one side of an HTTP/2 connection that sends what it likes, and notes
// down what it gets.
type rawH2 struct {
	net.Conn
	*http2.Framer // writes, to out

	out   bytes.Buffer
	block bytes.Buffer
	enc   *hpack.Encoder

	mu     sync.Mutex
	events []string
	bytes  map[uint32]int // of DATA, by stream
	ended  bool
	news   chan struct{}
	pause  chan struct{} // closed: reading begins
}

// dialH2 connects, and says what a client says first.
func dialH2(t *testing.T, address string, s ...http2.Setting) *rawH2 {
	t.Helper()
	c := newRawH2(dialRaw(t, address))
	_, _ = c.out.WriteString(http2.ClientPreface)
	_ = c.WriteSettings(s...)
	c.flush()
	c.read()
	return c
}

// dialRaw gives a connection that nothing was sent on.
func dialRaw(t *testing.T, address string) net.Conn {
	t.Helper()
	nc, err := new(net.Dialer).DialContext(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = nc.Close() })
	_ = nc.SetDeadline(time.Now().Add(3 * patience))
	return nc
}

func newRawH2(nc net.Conn) *rawH2 {
	c := &rawH2{Conn: nc, bytes: map[uint32]int{}, news: make(chan struct{}, 1), pause: make(chan struct{})}
	c.Framer = http2.NewFramer(&c.out, nil)
	c.AllowIllegalWrites = true
	c.enc = hpack.NewEncoder(&c.block)
	c.enc.SetMaxDynamicTableSizeLimit(1 << 20)
	go c.note()
	return c
}

// read begins to read. Until then what the other side says stays in the socket.
func (c *rawH2) read() { close(c.pause) }

// note notes down frames until the connection ends, in the form that the tests
// name them by.
func (c *rawH2) note() {
	<-c.pause
	fr := http2.NewFramer(io.Discard, c.Conn)
	fr.SetMaxReadFrameSize(1<<24 - 1)
	dec := hpack.NewDecoder(1<<20, nil)
	dec.SetAllowedMaxDynamicTableSize(1 << 30)
	var block []byte
	for {
		f, err := fr.ReadFrame()
		if err != nil {
			what := "closed"
			var t net.Error
			if errors.As(err, &t) && t.Timeout() {
				what = "silence"
			} else if !errors.Is(err, io.EOF) {
				what = "reset"
				if strings.Contains(err.Error(), "HTTP/1.1") {
					what = "HTTP/1.1"
				}
			}
			c.add(what, true)
			return
		}
		switch f := f.(type) {
		case *http2.SettingsFrame:
			if f.IsAck() {
				c.add("SETTINGS ACK", false)
			} else {
				c.add("SETTINGS", false)
			}
		case *http2.PingFrame:
			c.add(fmt.Sprintf("PING ack=%v %q", f.IsAck(), f.Data[:]), false)
		case *http2.GoAwayFrame:
			c.add("GOAWAY "+f.ErrCode.String(), false)
		case *http2.RSTStreamFrame:
			c.add(fmt.Sprintf("RST_STREAM %d %s", f.StreamID, f.ErrCode), false)
		case *http2.HeadersFrame:
			block = append(block[:0], f.HeaderBlockFragment()...)
			if f.HeadersEnded() {
				c.head(f.StreamID, dec, block, f.StreamEnded())
			}
		case *http2.ContinuationFrame:
			block = append(block, f.HeaderBlockFragment()...)
			if f.HeadersEnded() {
				c.head(f.StreamID, dec, block, false)
			}
		case *http2.DataFrame:
			c.mu.Lock()
			c.bytes[f.StreamID] += len(f.Data())
			c.mu.Unlock()
			if f.StreamEnded() {
				c.add(fmt.Sprintf("END %d", f.StreamID), false)
			} else {
				c.add("", false)
			}
		}
	}
}

// head notes "stream: status" or, of trailers and requests, the first field, and
// the local answers' reason where it is a field.
func (c *rawH2) head(stream uint32, dec *hpack.Decoder, block []byte, end bool) {
	fields, err := dec.DecodeFull(block)
	what := "no fields"
	if err != nil {
		what = err.Error()
	} else if len(fields) > 0 {
		what = fields[0].Value
	}
	c.add(fmt.Sprintf("HEADERS %d %s", stream, what), false)
	if end {
		c.add(fmt.Sprintf("END %d", stream), false)
	}
}

func (c *rawH2) add(event string, ended bool) {
	c.mu.Lock()
	if event != "" && len(c.events) < 100_000 {
		c.events = append(c.events, event)
	}
	c.ended = c.ended || ended
	c.mu.Unlock()
	select {
	case c.news <- struct{}{}:
	default:
	}
}

// seen is what has come so far.
func (c *rawH2) seen() (events []string, ended bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.events[:len(c.events):len(c.events)], c.ended
}

// await waits for one of the events, and gives false where the connection ended
// without them.
func (c *rawH2) await(one ...string) bool {
	from := 0
	return c.until(patience, func(events []string, _ bool) bool {
		for ; from < len(events); from++ {
			if slices.Contains(one, events[from]) {
				return true
			}
		}
		return false
	})
}

// awaitBytes waits for so much data of a stream.
func (c *rawH2) awaitBytes(stream uint32, n int) bool {
	return c.until(patience, func([]string, bool) bool { return c.bytes[stream] >= n })
}

// awaitEnd waits for the end of the connection.
func (c *rawH2) awaitEnd() bool {
	return c.until(2*patience, func(_ []string, ended bool) bool { return ended })
}

// until waits until ok, which sees the events and is called with mu held. It
// gives false where that is not so in time, or before the connection's end.
func (c *rawH2) until(limit time.Duration, ok func(events []string, ended bool) bool) bool {
	late := time.NewTimer(limit)
	defer late.Stop()
	for {
		c.mu.Lock()
		is, ended := ok(c.events, c.ended), c.ended
		c.mu.Unlock()
		if is || ended {
			return is
		}
		select {
		case <-c.news:
		case <-late.C:
			return false
		}
	}
}

// flush sends what was written.
func (c *rawH2) flush() bool {
	_, err := c.Conn.Write(c.out.Bytes())
	c.out.Reset()
	return err == nil
}

// fields encodes a header block.
func (c *rawH2) fields(pairs ...string) []byte {
	c.block.Reset()
	for i := 0; i < len(pairs); i += 2 {
		_ = c.enc.WriteField(hpack.HeaderField{Name: pairs[i], Value: pairs[i+1]})
	}
	return c.block.Bytes()
}

// request writes the head of a request.
func (c *rawH2) request(stream uint32, method, path string, end bool, pairs ...string) {
	all := append([]string{":method", method, ":scheme", "http", ":authority", service, ":path", path}, pairs...)
	c.headers(stream, end, all...)
}

// headers writes a header block in as many frames as it takes.
func (c *rawH2) headers(stream uint32, end bool, pairs ...string) {
	block := c.fields(pairs...)
	first := block[:min(len(block), 16<<10)]
	block = block[len(first):]
	_ = c.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: first, EndStream: end, EndHeaders: len(block) == 0})
	for len(block) > 0 {
		part := block[:min(len(block), 16<<10)]
		block = block[len(part):]
		_ = c.WriteContinuation(stream, len(block) == 0, part)
	}
}

// brief are events without repetitions, for messages.
func brief(events []string) string {
	var b strings.Builder
	for i := 0; i < len(events); {
		n := 1
		for i+n < len(events) && events[i+n] == events[i] {
			n++
		}
		if b.Len() > 500 {
			return b.String() + " … " + strings.Join(events[max(i, len(events)-3):], "; ")
		}
		fmt.Fprintf(&b, "%s", events[i])
		if n > 1 {
			fmt.Fprintf(&b, " (%d times)", n)
		}
		b.WriteString("; ")
		i += n
	}
	return b.String()
}

// alone is a context that goes on after the test's, for what is stopped by hand.
func alone(t *testing.T) (context.Context, context.CancelFunc) {
	t.Helper()
	return context.WithCancel(context.WithoutCancel(t.Context()))
}
