package http2

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/outrigger-mesh/outrigger/middleware"
	"github.com/outrigger-mesh/outrigger/sidecar/internal/netio"
)

// frames makes bytes of frames, as a client sends them.
func frames(f func(fr *http2.Framer, block func(fields ...string) []byte)) []byte {
	var out, b bytes.Buffer
	enc := hpack.NewEncoder(&b)
	f(http2.NewFramer(&out, nil), func(fields ...string) []byte {
		b.Reset()
		for i := 0; i < len(fields); i += 2 {
			_ = enc.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]})
		}
		return bytes.Clone(b.Bytes())
	})
	return out.Bytes()
}

var plainHead = []string{":method", "GET", ":scheme", "http", ":authority", "a.example", ":path", "/x"}

// recorder notes what our side takes for requests.
type recorder struct {
	mu    sync.Mutex
	heads map[uint32]string
	wg    sync.WaitGroup
}

func (r *recorder) Request(s *Stream) {
	r.mu.Lock()
	r.heads[s.ID()] = textOf(s.Head())
	r.mu.Unlock()
	r.wg.Go(func() {
		defer s.Finish()
		_, _ = io.Copy(io.Discard, s)
		_ = s.WriteResponse(&middleware.Response{Status: 204}, true)
	})
}

func (r *recorder) Reset(s *Stream, err error) { s.Interrupt(err) }

func textOf(h *Head) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s %s %s\n", h.Method, h.Scheme, h.Authority, h.Path)
	for f := range h.Header.All() {
		fmt.Fprintf(&b, "%s: %s\n", f.Name, f.Value)
	}
	return b.String()
}

// ours gives input to our side, and returns the heads that it took.
func ours(t *testing.T, input []byte) map[uint32]string {
	here, there := net.Pipe()
	r := &recorder{heads: map[uint32]string{}}
	c := NewServer(netio.New(there), nil, Options{FrameTimeout: 2 * time.Second, WriteTimeout: 2 * time.Second}, r)
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = c.Serve()
	}()
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		_, _ = io.Copy(io.Discard, here)
	}()
	_ = here.SetWriteDeadline(time.Now().Add(5 * time.Second))
	_, _ = io.WriteString(here, preface)
	_ = http2.NewFramer(here, nil).WriteSettings()
	_, err := here.Write(input)
	if err != nil && !errors.Is(err, io.ErrClosedPipe) {
		t.Fatalf("it does not read on: %v", err)
	}
	_ = here.Close()
	select {
	case <-served:
	case <-time.After(10 * time.Second):
		t.Fatal("the connection does not end")
	}
	<-drained
	r.wg.Wait()
	return r.heads
}

// theirs is what x/net reads of the same bytes: the heads that begin streams, up
// to the first error.
func theirs(input []byte) map[uint32]string {
	fr := http2.NewFramer(nil, bytes.NewReader(input))
	fr.SetMaxReadFrameSize(frameSize)
	fr.ReadMetaHeaders = hpack.NewDecoder(tableSize, nil)
	fr.MaxHeaderListSize = maxHeadBytes
	heads := map[uint32]string{}
	last := uint32(0)
	for {
		f, err := fr.ReadFrame()
		var se http2.StreamError
		if errors.As(err, &se) {
			last = max(last, se.StreamID)
			continue
		}
		if err != nil {
			return heads
		}
		mh, ok := f.(*http2.MetaHeadersFrame)
		if !ok || mh.StreamID <= last || mh.StreamID%2 == 0 || mh.Truncated {
			continue
		}
		last = mh.StreamID
		h := Head{
			Method: []byte(mh.PseudoValue("method")), Scheme: []byte(mh.PseudoValue("scheme")),
			Authority: []byte(mh.PseudoValue("authority")), Path: []byte(mh.PseudoValue("path")),
		}
		for _, f := range mh.RegularFields() {
			switch f.Name {
			case "content-length", "host", "expect":
				continue
			}
			h.Header.Append([]byte(f.Name), []byte(f.Value))
		}
		heads[mh.StreamID] = textOf(&h)
	}
}

// FuzzFrames holds what we take for requests against what x/net reads of the
// same bytes. We may refuse what it takes; what both take is the same.
func FuzzFrames(f *testing.F) {
	head := func(id uint32, more ...string) []byte {
		return frames(func(fr *http2.Framer, block func(...string) []byte) {
			_ = fr.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: block(append(plainHead, more...)...), EndHeaders: true, EndStream: true})
		})
	}
	f.Add(head(1))
	f.Add(append(head(1), head(3, "x-a", "b", "te", "trailers")...))
	f.Add(frames(func(fr *http2.Framer, block func(...string) []byte) {
		b := block(append(plainHead, "x-long", strings.Repeat("v", 300))...)
		_ = fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: b[:5]})
		_ = fr.WriteContinuation(1, false, b[5:9])
		_ = fr.WriteContinuation(1, true, b[9:])
		_ = fr.WriteDataPadded(1, false, []byte("some data"), make([]byte, 7))
		_ = fr.WritePing(false, [8]byte{1})
		_ = fr.WriteWindowUpdate(0, 5)
		_ = fr.WriteWindowUpdate(1, 5)
		_ = fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block("x-trailer", "t"), EndHeaders: true, EndStream: true})
		_ = fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 3, BlockFragment: block(plainHead...), EndHeaders: true, PadLength: 3, Priority: http2.PriorityParam{StreamDep: 1, Weight: 5}})
		_ = fr.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1})
		_ = fr.WriteRSTStream(3, http2.ErrCodeCancel)
		_ = fr.WritePriority(5, http2.PriorityParam{StreamDep: 3})
		_ = fr.WriteGoAway(0, http2.ErrCodeNo, []byte("bye"))
	}))
	f.Add(head(1, "X-Upper", "a"))
	f.Add(head(1, "connection", "close"))
	f.Add(head(1, "cookie", "a", "cookie", "b"))
	f.Add(frames(func(fr *http2.Framer, block func(...string) []byte) {
		_ = fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block(append(plainHead, "content-length", "4")...), EndHeaders: true})
		_ = fr.WriteData(1, true, []byte("more than that"))
	}))
	f.Fuzz(func(t *testing.T, input []byte) {
		if len(input) > 64<<10 {
			return
		}
		want := theirs(input)
		for id, got := range ours(t, input) {
			expected, ok := want[id]
			if strings.Contains(expected, "cookie") || strings.Contains(got, "cookie") { // ours are joined
				continue
			}
			if ok && expected != got {
				// Without :authority, host is what counts.
				if _, rest, found := strings.Cut(expected, "\n"); found && strings.HasSuffix(got, rest) {
					continue
				}
				t.Errorf("stream %d: we have\n%s\nthey have\n%s", id, got, expected)
			}
			if !ok {
				t.Errorf("stream %d: we have\n%s\nthey have none", id, got)
			}
		}
	})
}

// FuzzHeads has heads encoded by us and decoded by x/net, several on one
// connection, so that the tables of both have to agree.
func FuzzHeads(f *testing.F) {
	f.Add("POST", "/pkg.Service/Method", "content-type", "application/grpc", "X-Mixed-Case", "value", uint16(4096))
	f.Add("GET", "/?q=1", "cookie", "secret", "traceparent", "00-1-2-3", uint16(0))
	f.Add("GET", "/", "a", strings.Repeat("long", 100), "te", "trailers", uint16(64))
	f.Fuzz(func(t *testing.T, method, path, name1, value1, name2, value2 string, table uint16) {
		c := newConn(netio.New(nil), Options{})
		var got []hpack.HeaderField
		dec := hpack.NewDecoder(tableSize, func(f hpack.HeaderField) { got = append(got, f) })
		for i := range 4 {
			if i == 2 {
				c.enc.SetMaxDynamicTableSize(uint32(min(table, tableSize)))
			}
			r := middleware.Request{Method: []byte(method), Scheme: []byte("http"), Authority: []byte("a"), Target: []byte(path), ContentLength: -1}
			r.Header.Add(name1, value1)
			r.Header.Add(name2, value2)
			c.encodeRequest(&r, RequestOptions{})
			got = nil
			if _, err := dec.Write(c.block.Bytes()); err != nil {
				t.Fatal(err)
			}
			if err := dec.Close(); err != nil {
				t.Fatal(err)
			}
			want := []string{":method", method, ":scheme", "http", ":authority", "a", ":path", path}
			for f := range r.Header.All() {
				if name := strings.ToLower(string(f.Name)); !hopByHop(name) {
					want = append(want, name, string(f.Value))
				}
			}
			if len(got) != len(want)/2 {
				t.Fatalf("got %v, want %q", got, want)
			}
			for j, g := range got {
				if g.Name != want[2*j] || g.Value != want[2*j+1] {
					t.Fatalf("got %v, want %q", got, want)
				}
			}
		}
	})
}
