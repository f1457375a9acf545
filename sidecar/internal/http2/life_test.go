package http2

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/outrigger-mesh/outrigger/middleware"
)

// rawServer takes one connection of our client's side and speaks frames itself.
func rawServer(t *testing.T, speak func(fr *http2.Framer, nc net.Conn)) string {
	t.Helper()
	ln := listen(t)
	done := make(chan struct{})
	go func() {
		defer close(done)
		nc, err := ln.Accept()
		if err != nil {
			return
		}
		defer func() { _ = nc.Close() }()
		_ = nc.SetDeadline(time.Now().Add(20 * time.Second))
		if _, err := io.ReadFull(nc, make([]byte, len(preface))); err != nil {
			return
		}
		fr := http2.NewFramer(nc, nc)
		fr.ReadMetaHeaders = hpack.NewDecoder(tableSize, nil)
		speak(fr, nc)
	}()
	t.Cleanup(func() {
		_ = ln.Close()
		<-done
	})
	return ln.Addr().String()
}

// untilHead reads frames up to a head.
func untilHead(fr *http2.Framer) {
	for {
		f, err := fr.ReadFrame()
		if err != nil || f.Header().Type == http2.FrameHeaders {
			return
		}
	}
}

// rest reads until the connection ends.
func rest(fr *http2.Framer) {
	for {
		if _, err := fr.ReadFrame(); err != nil {
			return
		}
	}
}

func request(t *testing.T, c *Conn) *Stream {
	t.Helper()
	s, err := c.Open()
	if err != nil {
		t.Fatal(err)
	}
	r := middleware.Request{Method: []byte("GET"), Scheme: []byte("http"), Authority: []byte("a"), Target: []byte("/")}
	if err := s.WriteRequest(&r, RequestOptions{}, true); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestWhatGoawayLeavesOutIsUnprocessed(t *testing.T) {
	c := dialClient(t, rawServer(t, func(fr *http2.Framer, _ net.Conn) {
		_ = fr.WriteSettings()
		untilHead(fr)
		untilHead(fr)
		_ = fr.WriteGoAway(1, http2.ErrCodeNo, nil)
		var b bytes.Buffer
		_ = hpack.NewEncoder(&b).WriteField(hpack.HeaderField{Name: ":status", Value: "200"})
		_ = fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: b.Bytes(), EndHeaders: true, EndStream: true})
		rest(fr)
	}), Options{})
	first, second := request(t, c), request(t, c)
	if _, err := second.AwaitHead(); !errors.Is(err, ErrUnprocessed) {
		t.Errorf("the second one: %v", err)
	}
	second.Finish()
	if h, err := first.AwaitHead(); err != nil || h.Status != 200 {
		t.Errorf("the first one: %v, %v", h, err)
	}
	if _, err := c.Open(); !errors.Is(err, ErrGoingAway) {
		t.Errorf("another one: %v", err)
	}
	first.Finish()
	<-c.done // nobody needs it any more
}

func TestRefusedStreamsAreUnprocessedAndOthersAreNot(t *testing.T) {
	c := dialClient(t, rawServer(t, func(fr *http2.Framer, _ net.Conn) {
		_ = fr.WriteSettings()
		untilHead(fr)
		untilHead(fr)
		_ = fr.WriteRSTStream(1, http2.ErrCodeRefusedStream)
		_ = fr.WriteRSTStream(3, http2.ErrCodeInternal)
		rest(fr)
	}), Options{})
	refused, broken := request(t, c), request(t, c)
	if _, err := refused.AwaitHead(); !errors.Is(err, ErrUnprocessed) {
		t.Errorf("REFUSED_STREAM: %v", err)
	}
	if _, err := broken.AwaitHead(); err == nil || errors.Is(err, ErrUnprocessed) {
		t.Errorf("INTERNAL_ERROR: %v", err)
	}
	refused.Finish()
	broken.Finish()
}

func TestThePeersLimitOfStreamsIsKept(t *testing.T) {
	changed := make(chan struct{}, 100)
	c := dialClient(t, rawServer(t, func(fr *http2.Framer, _ net.Conn) {
		_ = fr.WriteSettings(http2.Setting{ID: http2.SettingMaxConcurrentStreams, Val: 1})
		rest(fr)
	}), Options{Changed: func(*Conn) { changed <- struct{}{} }})
	<-c.Ready()
	s := request(t, c)
	if _, err := c.Open(); !errors.Is(err, ErrFull) {
		t.Errorf("%v", err)
	}
	for len(changed) > 0 {
		<-changed
	}
	s.Finish()
	<-changed
	if open, limit := c.Streams(); open != 0 || limit != 1 {
		t.Errorf("%d of %d", open, limit)
	}
}

func TestAPeerThatIsNotThereIsFoundOut(t *testing.T) {
	t.Parallel() // it takes seconds: the patience with a silent peer
	stop := make(chan struct{})
	defer close(stop)
	c := dialClient(t, rawServer(t, func(fr *http2.Framer, _ net.Conn) {
		_ = fr.WriteSettings()
		<-stop // and reads nothing, as one that the network has lost
	}), Options{})
	<-c.Ready()
	s := request(t, c)
	s.LimitRead(1200 * time.Millisecond)
	if _, err := s.AwaitHead(); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("%v", err)
	}
	s.LimitRead(0)
	if _, err := s.AwaitHead(); err == nil {
		t.Error("a head has come")
	}
	s.Finish()
	<-c.done
}

func TestAReadThatTakesTooLongEnds(t *testing.T) {
	c := dialClient(t, rawServer(t, func(fr *http2.Framer, _ net.Conn) {
		_ = fr.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 3})
		rest(fr)
	}), Options{})
	<-c.Ready()
	s, err := c.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Finish()
	r := middleware.Request{Method: []byte("POST"), Scheme: []byte("http"), Authority: []byte("a"), Target: []byte("/"), ContentLength: 10}
	if err := s.WriteRequest(&r, RequestOptions{}, false); err != nil {
		t.Fatal(err)
	}
	s.LimitWrite(50 * time.Millisecond)
	if n, err := s.WriteData(make([]byte, 10), true); n != 3 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("%d, %v", n, err)
	}
	cause := errors.New("given up")
	s.LimitWrite(0)
	time.AfterFunc(20*time.Millisecond, func() { s.Interrupt(cause) })
	if _, err := s.WriteData(make([]byte, 7), true); !errors.Is(err, cause) {
		t.Errorf("%v", err)
	}
}

func TestDrainFinishesWhatIsUnderWay(t *testing.T) {
	release := make(chan struct{})
	conns := make(chan *Conn, 1)
	address := server(t, Options{}, func(s *Stream) {
		defer s.Finish()
		conns <- s.Conn()
		<-release
		_ = s.WriteResponse(&middleware.Response{Status: 200}, true)
	})
	c := dialClient(t, address, Options{})
	s := request(t, c)
	(<-conns).Drain()
	for { // the client learns of it
		if _, limit := c.Streams(); limit == 0 {
			break
		}
		time.Sleep(time.Millisecond)
	}
	close(release)
	if h, err := s.AwaitHead(); err != nil || h.Status != 200 {
		t.Errorf("%v, %v", h, err)
	}
	s.Finish()
	<-c.done
	if err := c.Err(); !errors.Is(err, errOver) && !errors.Is(err, io.EOF) { // whoever was first
		t.Errorf("%v", err)
	}
}

func TestAConnectionWithoutStreamsEnds(t *testing.T) {
	c := dialClient(t, server(t, Options{IdleTimeout: 50 * time.Millisecond}, echo), Options{})
	if status, _, _, err := roundTrip(c, "GET", "/", nil); err != nil || status != 200 {
		t.Fatalf("%d, %v", status, err)
	}
	<-c.done
}

func TestABodyThatNobodyReadsIsBounded(t *testing.T) {
	stop := make(chan struct{})
	address := server(t, Options{StreamWindow: 64 << 10}, func(s *Stream) {
		<-stop
		s.Finish()
	})
	c := dialClient(t, address, Options{})
	s, err := c.Open()
	if err != nil {
		t.Fatal(err)
	}
	r := middleware.Request{Method: []byte("POST"), Scheme: []byte("http"), Authority: []byte("a"), Target: []byte("/"), ContentLength: -1}
	if err := s.WriteRequest(&r, RequestOptions{}, false); err != nil {
		t.Fatal(err)
	}
	<-c.Ready()
	s.LimitWrite(100 * time.Millisecond)
	n, err := s.WriteData(make([]byte, 10<<20), true)
	if n != 64<<10 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("%d bytes were taken, %v", n, err)
	}
	close(stop)
	s.Finish()
}

// abuse sends frames to our server's side, and returns how that ends the
// connection.
func abuse(t *testing.T, send func(fr *http2.Framer, block func(...string) []byte) error) (http2.ErrCode, map[Trouble]bool) {
	t.Helper()
	troubles := make(chan Trouble, 10_000)
	address := server(t, Options{Streams: 50, FrameTimeout: 300 * time.Millisecond, WriteTimeout: 2 * time.Second, Trouble: func(x Trouble) {
		select {
		case troubles <- x:
		default:
		}
	}}, echo)
	nc, err := new(net.Dialer).DialContext(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = nc.Close() }()
	_ = nc.SetDeadline(time.Now().Add(20 * time.Second))
	fr := http2.NewFramer(nc, nc)
	_, _ = io.WriteString(nc, preface)
	_ = fr.WriteSettings()
	code := make(chan http2.ErrCode, 1)
	go func() {
		defer close(code)
		for {
			f, err := fr.ReadFrame()
			if err != nil {
				return
			}
			if g, ok := f.(*http2.GoAwayFrame); ok {
				code <- g.ErrCode
			}
		}
	}()
	var b bytes.Buffer
	enc := hpack.NewEncoder(&b)
	block := func(fields ...string) []byte {
		b.Reset()
		for i := 0; i < len(fields); i += 2 {
			_ = enc.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]})
		}
		return bytes.Clone(b.Bytes())
	}
	_ = send(fr, block)
	got, ok := <-code
	if !ok {
		t.Error("the connection ended without a word")
	}
	all := map[Trouble]bool{}
	for len(troubles) > 0 {
		all[<-troubles] = true
	}
	return got, all
}

func TestAbuseIsEnded(t *testing.T) {
	for name, c := range map[string]struct {
		send    func(fr *http2.Framer, block func(...string) []byte) error
		code    http2.ErrCode
		trouble Trouble
	}{
		"rapid reset": {func(fr *http2.Framer, block func(...string) []byte) error {
			for id := uint32(1); id < many; id += 2 {
				if err := fr.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: block(plainHead...), EndHeaders: true}); err != nil {
					return err
				}
				if err := fr.WriteRSTStream(id, http2.ErrCodeCancel); err != nil {
					return err
				}
			}
			return nil
		}, http2.ErrCodeEnhanceYourCalm, TroubleRapidReset},
		"ping flood": {func(fr *http2.Framer, _ func(...string) []byte) error {
			return repeat(func() error { return fr.WritePing(false, [8]byte{}) })
		}, http2.ErrCodeEnhanceYourCalm, TroubleFlood},
		"settings flood": {func(fr *http2.Framer, _ func(...string) []byte) error {
			return repeat(func() error { return fr.WriteSettings() })
		}, http2.ErrCodeEnhanceYourCalm, TroubleFlood},
		"unasked ping answers": {func(fr *http2.Framer, _ func(...string) []byte) error {
			return repeat(func() error { return fr.WritePing(true, [8]byte{}) })
		}, http2.ErrCodeEnhanceYourCalm, TroubleFlood},
		"priority flood": {func(fr *http2.Framer, _ func(...string) []byte) error {
			return repeat(func() error { return fr.WritePriority(1, http2.PriorityParam{StreamDep: 3}) })
		}, http2.ErrCodeEnhanceYourCalm, TroubleFlood},
		"window update flood": {func(fr *http2.Framer, _ func(...string) []byte) error {
			return repeat(func() error { return fr.WriteWindowUpdate(0, 1) })
		}, http2.ErrCodeEnhanceYourCalm, TroubleFlood},
		"empty data flood": {func(fr *http2.Framer, block func(...string) []byte) error {
			_ = fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block(plainHead...), EndHeaders: true})
			return repeat(func() error { return fr.WriteData(1, false, nil) })
		}, http2.ErrCodeEnhanceYourCalm, TroubleFlood},
		"continuation flood": {func(fr *http2.Framer, block func(...string) []byte) error {
			_ = fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block(plainHead...)})
			return repeat(func() error { return fr.WriteContinuation(1, false, nil) })
		}, http2.ErrCodeEnhanceYourCalm, TroubleContinuation},
		"window too large": {func(fr *http2.Framer, _ func(...string) []byte) error {
			return fr.WriteWindowUpdate(0, maxWindow)
		}, http2.ErrCodeFlowControl, TroubleFlowControl},
		"half a frame": {func(fr *http2.Framer, block func(...string) []byte) error {
			return fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block(plainHead...)})
		}, http2.ErrCodeProtocol, TroubleSlow},
	} {
		t.Run(name, func(t *testing.T) {
			code, troubles := abuse(t, c.send)
			if code != c.code || !troubles[c.trouble] {
				t.Errorf("ended with %s, troubles %v", code, troubles)
			}
		})
	}
}

// many is more than anybody has patience for.
const many = 100_000

func repeat(f func() error) error {
	for range many {
		if err := f(); err != nil {
			return err
		}
	}
	return nil
}
