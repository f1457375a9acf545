package h2wire

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// all are the frames in data, fed in pieces of n bytes.
func all(data []byte, n int) (frames []string, err error) {
	var s Splitter
	for piece := range slices.Chunk(data, n) {
		if err := s.Feed(piece, func(f Frame) error {
			frames = append(frames, fmt.Sprintf("%d %d %d %q", f.Type, f.Flags, f.Stream, f.Payload))
			return nil
		}); err != nil {
			return frames, err
		}
	}
	return frames, nil
}

func TestFramesAreThoseOfOthers(t *testing.T) {
	var b bytes.Buffer
	f := http2.NewFramer(&b, nil)
	_ = f.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 100})
	_ = f.WriteData(5, true, []byte("data"))
	_ = f.WritePing(false, [8]byte{7})
	want := []string{`4 0 0 "\x00\x04\x00\x00\x00d"`, `0 1 5 "data"`, `6 0 0 "\a\x00\x00\x00\x00\x00\x00\x00"`}
	for n := 1; n < b.Len()+1; n++ {
		got, err := all(b.Bytes(), n)
		if err != nil || !slices.Equal(got, want) {
			t.Fatalf("in pieces of %d: %q, %v", n, got, err)
		}
	}
	back := http2.NewFramer(nil, bytes.NewReader(Append(nil, Headers, EndHeaders|EndStream, 3, []byte{0x88})))
	got, err := back.ReadFrame()
	if err != nil {
		t.Fatal(err)
	}
	if h, ok := got.(*http2.HeadersFrame); !ok || h.StreamID != 3 || !h.StreamEnded() || !h.HeadersEnded() {
		t.Errorf("%v", got)
	}
}

func TestAFrameThatIsTooLargeIsRefused(t *testing.T) {
	if _, err := all([]byte{1, 0, 0, 0, 0, 0, 0, 0, 1}, 9); err == nil || !strings.Contains(err.Error(), "65536 bytes") {
		t.Error(err)
	}
}

func TestAnErrorEndsFeeding(t *testing.T) {
	stop := errors.New("stop")
	var s Splitter
	two := Append(Append(nil, Ping, 0, 0, make([]byte, 8)), Ping, 0, 0, make([]byte, 8))
	n := 0
	if err := s.Feed(two, func(Frame) error { n++; return stop }); !errors.Is(err, stop) || n != 1 {
		t.Errorf("%d frames, %v", n, err)
	}
}

func TestContentIsWithoutPaddingAndPriority(t *testing.T) {
	for _, tt := range []struct {
		f    Frame
		want string // empty: refused
	}{
		{Frame{Type: Data, Payload: []byte("x")}, "x"},
		{Frame{Type: Data, Flags: padded, Payload: []byte("\x02xyz")}, "x"},
		{Frame{Type: Headers, Flags: padded | priority, Payload: []byte("\x0112345xz")}, "x"},
		{Frame{Type: Data, Flags: padded}, ""},
		{Frame{Type: Data, Flags: padded, Payload: []byte("\x03xy")}, ""},
		{Frame{Type: Headers, Flags: priority, Payload: []byte("1234")}, ""},
	} {
		got, err := tt.f.Content()
		if string(got) != tt.want || (err != nil) != (tt.want == "") {
			t.Errorf("%+v: %q, %v", tt.f, got, err)
		}
	}
}

func TestASessionKnowsWhatItsPeerSays(t *testing.T) {
	s := NewSession()
	var b bytes.Buffer
	f := http2.NewFramer(&b, nil)
	_ = f.WriteSettings(
		http2.Setting{ID: http2.SettingInitialWindowSize, Val: 100}, http2.Setting{ID: http2.SettingMaxConcurrentStreams, Val: 7},
		http2.Setting{ID: http2.SettingHeaderTableSize, Val: 512})
	_ = f.WriteWindowUpdate(0, 1000)
	_ = f.WriteWindowUpdate(1, 5000)
	_ = f.WritePing(false, [8]byte{9})
	_ = f.WritePing(true, [8]byte{9})
	_ = f.WriteSettingsAck()
	var answers []byte
	var split Splitter
	if err := split.Feed(b.Bytes(), func(f Frame) (err error) {
		answers, err = s.Control(answers, f)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if s.StreamWindow != 100 || s.Streams != 7 || s.Table != 512 || s.Window != defaultWindow+1000 || !s.Settled {
		t.Errorf("%+v", s)
	}
	got, err := all(answers, 1<<10)
	if want := []string{`4 1 0 ""`, `6 1 0 "\t\x00\x00\x00\x00\x00\x00\x00"`}; err != nil || !slices.Equal(got, want) {
		t.Errorf("answers: %q, %v", got, err)
	}
}

func TestASessionFillsThePeersWindow(t *testing.T) {
	s := NewSession()
	var b []byte
	frame := Frame{Type: Data, Payload: make([]byte, MaxFrame)}
	for range replenish / MaxFrame {
		if len(b) > 0 {
			t.Fatal("before it was half empty")
		}
		b, _ = s.Control(b, frame)
	}
	if got, err := all(b, 100); err != nil || !slices.Equal(got, []string{`8 0 0 " \x00\x00\x00"`}) {
		t.Errorf("%q, %v", got, err)
	}
}

func TestASessionThatEndsSaysWhy(t *testing.T) {
	for want, f := range map[string]Frame{
		`GOAWAY, code 11: "calm"`: {Type: GoAway, Payload: []byte("\x00\x00\x00\x01\x00\x00\x00\x0bcalm")},
		"a goodbye of":            {Type: GoAway},
		"no multiple of 6":        {Type: SettingsType, Payload: make([]byte, 7)},
		"a window of":             {Type: SettingsType, Payload: []byte("\x00\x04\xff\xff\xff\xff")},
		"an update of":            {Type: WindowUpdate},
	} {
		s := NewSession()
		if _, err := s.Control(nil, f); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v; want %s", err, want)
		}
	}
}

func TestHelloIsReadByOthers(t *testing.T) {
	f := http2.NewFramer(nil, bytes.NewReader(Hello(nil, 12)))
	first, err := f.ReadFrame()
	if err != nil {
		t.Fatal(err)
	}
	s, ok := first.(*http2.SettingsFrame)
	if !ok {
		t.Fatalf("%v", first)
	}
	if v, ok := s.Value(http2.SettingMaxConcurrentStreams); !ok || v != 12 {
		t.Errorf("%d streams, %v", v, ok)
	}
	second, err := f.ReadFrame()
	if w, ok := second.(*http2.WindowUpdateFrame); err != nil || !ok || w.StreamID != 0 || w.Increment+defaultWindow != maxWindow {
		t.Errorf("%v, %v", second, err)
	}
}

func TestBlocksAreIndexesFromTheSecondTimeOn(t *testing.T) {
	for _, table := range []uint32{4096, 0} {
		blocks := Blocks(table, []string{":status", "200", "content-type", "application/grpc", "x", strings.Repeat("y", 50)}, []string{"grpc-status", "0"})
		head, tail := blocks[0], blocks[1]
		d := hpack.NewDecoder(4096, nil)
		for i := range 5 {
			for _, tt := range []struct {
				b    *Block
				want string
			}{{head, "[:status=200 content-type=application/grpc x=" + strings.Repeat("y", 50) + "]"}, {tail, "[grpc-status=0]"}} {
				raw := tt.b.Take()
				fields, err := d.DecodeFull(raw)
				var got []string
				for _, f := range fields {
					got = append(got, f.Name+"="+f.Value)
				}
				if err != nil || fmt.Sprint(got) != tt.want {
					t.Fatalf("table of %d, time %d: %v, %v", table, i, got, err)
				}
				if i > 0 && table > 0 && len(raw) != len(fields) {
					t.Errorf("time %d: %d bytes for %d fields", i, len(raw), len(fields))
				}
			}
		}
	}
}

func FuzzSplitter(f *testing.F) {
	f.Add(Hello(nil, 1), uint8(3))
	f.Add(Append(nil, Data, padded, 1, []byte{9}), uint8(1))
	f.Fuzz(func(t *testing.T, data []byte, size uint8) {
		if len(data) == 0 {
			return
		}
		whole, wholeErr := all(data, len(data))
		pieces, piecesErr := all(data, max(1, int(size)))
		if (wholeErr == nil) != (piecesErr == nil) || !slices.Equal(whole, pieces) {
			t.Errorf("%q, %v at once; %q, %v in pieces", whole, wholeErr, pieces, piecesErr)
		}
		s := NewSession()
		var split Splitter
		_ = split.Feed(data, func(f Frame) error {
			_, _ = f.Content()
			_, err := s.Control(nil, f)
			return err
		})
	})
}
