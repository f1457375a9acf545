package http2

import (
	"bytes"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/outrigger-mesh/outrigger/middleware"
	"github.com/outrigger-mesh/outrigger/sidecar/internal/netio"
)

// eventually waits for what comes at once.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain until %s", what)
		}
	}
}

// statusBlock is the header block of a response.
func statusBlock() []byte {
	var b bytes.Buffer
	_ = hpack.NewEncoder(&b).WriteField(hpack.HeaderField{Name: ":status", Value: "200"})
	return b.Bytes()
}

// Clients of gRPC measure the connection: each message is answered with a
// WINDOW_UPDATE and a PING, however small it is.
func TestSmallMessagesAreNoFlood(t *testing.T) {
	t.Parallel()
	const messages = 2500
	next := make(chan struct{}, 1)
	address := server(t, Options{}, func(s *Stream) {
		defer s.Finish()
		if s.WriteResponse(&middleware.Response{Status: 200, ContentLength: -1}, false) != nil {
			return
		}
		for range next {
			if _, err := s.WriteData(make([]byte, 10), false); err != nil {
				return
			}
			s.Flush()
		}
		_, _ = s.WriteData(nil, true)
	})
	nc, err := new(net.Dialer).DialContext(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	defer close(next)
	_ = nc.SetDeadline(time.Now().Add(20 * time.Second))
	_, _ = io.WriteString(nc, preface)
	_, _ = nc.Write(frames(func(fr *http2.Framer, block func(...string) []byte) {
		_ = fr.WriteSettings()
		_ = fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block(plainHead...), EndStream: true, EndHeaders: true})
	}))
	next <- struct{}{}
	fr := http2.NewFramer(nc, nc)
	for n := 0; n < messages; {
		f, err := fr.ReadFrame()
		if err != nil {
			t.Fatalf("after %d messages: %v", n, err)
		}
		switch f := f.(type) {
		case *http2.DataFrame:
			n++
			_ = fr.WriteWindowUpdate(0, f.Length)
			_ = fr.WriteWindowUpdate(1, f.Length)
			_ = fr.WritePing(false, [8]byte{2, 4, 16, 16, 9, 14, 7, 7})
		case *http2.PingFrame:
			next <- struct{}{}
		case *http2.GoAwayFrame:
			t.Fatalf("%v after %d messages", f, n)
		}
	}
}

// Heads are under no window: a client that reads nothing must not have them
// gather here.
func TestUnreadHeadsAreBounded(t *testing.T) {
	t.Parallel()
	const requests, size = 200, 4000
	here, there := net.Pipe()
	defer here.Close()
	var began, answered atomic.Int64
	c := NewServer(netio.New(there), nil, Options{}, &handler{serve: func(s *Stream) {
		defer s.Finish()
		began.Add(1)
		r := middleware.Response{Status: 204, ContentLength: -1}
		r.Header.AddBytes("x-large", bytes.Repeat([]byte("x"), size))
		if s.WriteResponse(&r, true) == nil {
			answered.Add(1)
		}
	}})
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = c.Serve()
	}()
	defer func() { <-served }()
	defer here.Close()
	_ = here.SetDeadline(time.Now().Add(20 * time.Second))
	_, err := here.Write(append([]byte(preface), frames(func(fr *http2.Framer, block func(...string) []byte) {
		_ = fr.WriteSettings()
		for i := range requests {
			_ = fr.WriteHeaders(http2.HeadersFrameParam{StreamID: uint32(2*i + 1), BlockFragment: block(plainHead...), EndStream: true, EndHeaders: true})
		}
	})...))
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "all are being answered", func() bool { return began.Load() == requests })
	most := 0
	for end := time.Now().Add(100 * time.Millisecond); time.Now().Before(end); time.Sleep(time.Millisecond) {
		c.mu.Lock()
		most = max(most, c.out.len())
		c.mu.Unlock()
	}
	if most > outputLimit+2*size {
		t.Errorf("%d bytes wait for a client that reads nothing", most)
	}
	go func() { _, _ = io.Copy(io.Discard, here) }()
	eventually(t, "all were answered, once they are read", func() bool { return answered.Load() == requests })
}

// What goes through TLS cannot be sent in part: whoever has something to send
// must not wait for the peer, or nothing reaches it.
func TestAnInterruptionReachesWhoSendsThroughTLS(t *testing.T) {
	t.Parallel()
	here, there := net.Pipe() // no socket, as below TLS
	c := NewClient(netio.New(there), Options{WriteTimeout: 5 * time.Second})
	go func() { _ = c.Serve() }()
	defer func() { <-c.done }()
	defer here.Close()
	_, _ = io.ReadFull(here, make([]byte, len(preface)))
	fr := http2.NewFramer(here, here)
	_, _ = fr.ReadFrame()
	_ = fr.WriteSettings()
	<-c.Ready()
	for { // up to the acknowledgment, and no further
		f, err := fr.ReadFrame()
		if err != nil {
			t.Fatal(err)
		}
		if x, ok := f.(*http2.SettingsFrame); ok && x.IsAck() {
			break
		}
	}
	eventually(t, "nobody is sending", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return !c.out.writing && c.out.len() == 0
	})
	s, err := c.Open()
	if err != nil {
		t.Fatal(err)
	}
	cause := errors.New("given up")
	time.AfterFunc(50*time.Millisecond, func() { s.Interrupt(cause) })
	start := time.Now()
	r := middleware.Request{Method: []byte("GET"), Scheme: []byte("http"), Authority: []byte("a"), Target: []byte("/")}
	if err := s.WriteRequest(&r, RequestOptions{}, true); err != nil {
		t.Errorf("the request: %v", err)
	}
	if _, err := s.AwaitHead(); !errors.Is(err, cause) {
		t.Errorf("the head: %v", err)
	}
	s.Finish()
	if took := time.Since(start); took > 2*time.Second {
		t.Errorf("it took %v to give up", took)
	}
}

// Streams that are not read hold their windows' part of the connection's window:
// there is room beside them for one that is read.
func TestStalledStreamsLeaveOthersTheirWindow(t *testing.T) {
	t.Parallel()
	const stalled, window = 7, 64 << 10
	hold := make(chan struct{})
	defer close(hold)
	c := dialClient(t, server(t, Options{Streams: stalled + 1, StreamWindow: window}, func(s *Stream) {
		defer s.Finish()
		if s.ID() < 2*stalled {
			<-hold
			return
		}
		_, _ = io.Copy(io.Discard, s)
		_ = s.WriteResponse(&middleware.Response{Status: 204}, true)
	}), Options{})
	<-c.Ready()
	post := func(n int, end bool) *Stream {
		t.Helper()
		s, err := c.Open()
		if err != nil {
			t.Fatal(err)
		}
		s.LimitWrite(5 * time.Second)
		s.LimitRead(5 * time.Second)
		r := middleware.Request{Method: []byte("POST"), Scheme: []byte("http"), Authority: []byte("a"), Target: []byte("/"), ContentLength: -1}
		if err := s.WriteRequest(&r, RequestOptions{}, false); err != nil {
			t.Fatal(err)
		}
		if _, err := s.WriteData(make([]byte, n), end); err != nil {
			t.Fatalf("stream %d: %v", s.ID(), err)
		}
		s.Flush()
		return s
	}
	for range stalled {
		s := post(window, false)
		t.Cleanup(s.Finish)
	}
	for range 6 {
		s := post(window-1000, true)
		if h, err := s.AwaitHead(); err != nil || h.Status != 204 {
			t.Fatalf("stream %d: %v", s.ID(), err)
		}
		s.Finish()
	}
}

// What a server had sent before it learned that its streams were reset is not
// its fault, small as the pieces may be.
func TestWhatWasUnderWayToResetStreamsIsNoFlood(t *testing.T) {
	t.Parallel()
	const count = 3
	ended := make(chan error, 1)
	c := dialClient(t, rawServer(t, func(fr *http2.Framer, nc net.Conn) {
		_ = fr.WriteSettings()
		for i := range count {
			untilHead(fr)
			_ = fr.WriteHeaders(http2.HeadersFrameParam{StreamID: uint32(2*i + 1), BlockFragment: statusBlock(), EndHeaders: true})
		}
		for n := 0; n < count; {
			f, err := fr.ReadFrame()
			if err != nil {
				ended <- err
				return
			}
			if f.Header().Type == http2.FrameRSTStream {
				n++
			}
		}
		_, _ = nc.Write(frames(func(fr *http2.Framer, _ func(...string) []byte) {
			for range 1200 { // 120 KB of a window of 128 KiB
				for i := range count {
					_ = fr.WriteData(uint32(2*i+1), false, make([]byte, 100))
				}
			}
			_ = fr.WritePing(false, [8]byte{1})
		}))
		for {
			f, err := fr.ReadFrame()
			if p, ok := f.(*http2.PingFrame); err != nil || ok && p.IsAck() {
				ended <- err
				return
			}
		}
	}), Options{})
	<-c.Ready()
	var all []*Stream
	for range count {
		all = append(all, request(t, c))
	}
	for _, s := range all {
		if _, err := s.AwaitHead(); err != nil {
			t.Fatal(err)
		}
		s.Finish()
	}
	if err := <-ended; err != nil {
		t.Errorf("the connection has ended: %v, %v", err, c.Err())
	}
}

// An entry costs a walk over all streams at worst: a frame has as many as there
// are settings, and not thousands.
func TestSettingsOfManyEntriesAreAFlood(t *testing.T) {
	t.Parallel()
	var entries []http2.Setting
	for i := range 2700 {
		entries = append(entries, http2.Setting{ID: http2.SettingInitialWindowSize, Val: uint32(i)})
	}
	code, troubles := abuse(t, func(fr *http2.Framer, block func(...string) []byte) error {
		for id := uint32(1); id < 100; id += 2 {
			_ = fr.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: block(plainHead...), EndHeaders: true})
		}
		for range 3 {
			if err := fr.WriteSettings(entries...); err != nil {
				return err
			}
		}
		return nil
	})
	if code != http2.ErrCodeEnhanceYourCalm || !troubles[TroubleFlood] {
		t.Errorf("ended with %s, troubles %v", code, troubles)
	}
}
