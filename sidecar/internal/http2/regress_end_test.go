package http2

import (
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/outrigger-mesh/outrigger/middleware"
	"github.com/outrigger-mesh/outrigger/sidecar/internal/netio"
)

// A peer that answers and closes has closed before we answer its PING: that this
// cannot be written must not cost the response that has come.
func TestAResponseIsReadThoughNothingCanBeWritten(t *testing.T) {
	t.Parallel()
	const pieces, size = 40, 1000 // more than is read at once, less than the socket holds
	begin, closed := make(chan struct{}), make(chan struct{})
	c := dialClient(t, rawServer(t, func(fr *http2.Framer, nc net.Conn) {
		defer close(closed)
		_ = fr.WriteSettings()
		untilHead(fr)
		<-begin
		_, _ = nc.Write(frames(func(fr *http2.Framer, _ func(...string) []byte) {
			_ = fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: statusBlock(), EndHeaders: true})
			for range pieces {
				_ = fr.WriteData(1, false, make([]byte, size))
				_ = fr.WritePing(false, [8]byte{})
			}
			_ = fr.WriteData(1, true, nil)
		}))
		_ = nc.(*net.TCPConn).SetLinger(0) // what is written to it from now on fails
		_ = nc.Close()
	}), Options{})
	<-c.Ready()
	s := request(t, c)
	defer s.Finish()
	c.mu.Lock() // nothing is read meanwhile
	close(begin)
	<-closed
	c.mu.Unlock()
	if h, err := s.AwaitHead(); err != nil || h.Status != 200 {
		t.Fatalf("%v, %v", h, err)
	}
	if body, err := io.ReadAll(s); err != nil || len(body) != pieces*size {
		t.Errorf("%d bytes, %v", len(body), err)
	}
}

// whileItEnds takes requests, and lets the connection end meanwhile.
type whileItEnds struct{ taken atomic.Int64 }

func (h *whileItEnds) Request(s *Stream) {
	h.taken.Add(1)
	c := s.Conn()
	_ = s.WriteResponse(&middleware.Response{Status: 204}, true)
	s.Finish()
	for end := time.Now().Add(5 * time.Second); c.Err() == nil && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
}

func (h *whileItEnds) Reset(*Stream, error) {}

// A client sends elsewhere what a GOAWAY leaves out (RFC 9113, section 6.8): it
// must not be served here too, though it was read already.
func TestNothingIsTakenThatGoawayLeavesOut(t *testing.T) {
	t.Parallel()
	here, there := net.Pipe()
	defer here.Close()
	_ = here.SetDeadline(time.Now().Add(10 * time.Second))
	early := append([]byte(preface), frames(func(fr *http2.Framer, block func(...string) []byte) {
		_ = fr.WriteSettings()
		for _, id := range []uint32{1, 3} {
			_ = fr.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: block(plainHead...), EndStream: true, EndHeaders: true})
		}
	})...)
	h := &whileItEnds{}
	c := NewServer(netio.New(there), early, Options{IdleTimeout: 200 * time.Millisecond}, h)
	go func() { _ = c.Serve() }()
	left := false
	for fr := http2.NewFramer(io.Discard, here); ; {
		f, err := fr.ReadFrame()
		if err != nil {
			break
		}
		if g, ok := f.(*http2.GoAwayFrame); ok {
			left = true
			if g.LastStreamID != 1 {
				t.Errorf("%v", g)
			}
		}
	}
	<-c.done
	if n := h.taken.Load(); n != 1 || !left {
		t.Errorf("%d requests were taken; GOAWAY came: %t", n, left)
	}
}
