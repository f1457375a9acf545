package load

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"golang.org/x/net/http2/hpack"

	"github.com/outrigger-mesh/outrigger/bench/internal/h2wire"
)

// messagePrefix is what stands before a gRPC message: a byte that says whether
// it is compressed, and its length (the gRPC protocol over HTTP/2,
// Length-Prefixed-Message).
const messagePrefix = 5

// http2 is a connection of HTTP/2, which carries as many requests at a time as
// it has slots.
type http2 struct {
	grpc   bool
	want   int // bytes of an answer's body, a message's prefix included
	fields []string
	body   []byte

	session h2wire.Session
	split   h2wire.Splitter
	head    *h2wire.Block
	dec     *hpack.Decoder
	next    uint32         // the next stream's number
	slots   map[uint32]int // streams that are open
	state   []stream       // by slot
	waiting []int          // slots whose requests have no room in the connection's window

	block    []byte // a header block that has not come whole
	blockOf  uint32 // its stream; 0: there is none
	blockEnd bool   // its stream ends with it
	status   string // of the block that is being decoded
	result   string // its grpc-status
}

// stream is the answer that a slot waits for.
type stream struct {
	status string
	result string // grpc-status
	got    int    // bytes of the body
}

func newHTTP2(spec Spec) *http2 {
	r := spec.Request
	scheme := "http"
	if spec.TLS != nil {
		scheme = "https"
	}
	h := &http2{
		grpc: spec.Protocol == GRPC, want: r.Response, body: []byte(strings.Repeat("x", r.Body)),
		session: h2wire.NewSession(), next: 1, slots: map[uint32]int{}, state: make([]stream, spec.Streams),
		fields: []string{":method", r.Method, ":scheme", scheme, ":authority", r.Host, ":path", r.Path},
	}
	switch {
	case h.grpc:
		h.want += messagePrefix
		h.body = append(binary.BigEndian.AppendUint32([]byte{0}, uint32(r.Body)), h.body...) //nolint:gosec // validated: it is small
		h.fields = append(h.fields, "content-type", "application/grpc", "user-agent", "outrigger-bench", "te", "trailers")
	case r.Body > 0:
		h.fields = append(h.fields, "user-agent", "outrigger-bench", "accept", "*/*",
			"content-type", "application/octet-stream", "content-length", strconv.Itoa(r.Body))
	default:
		h.fields = append(h.fields, "user-agent", "outrigger-bench", "accept", "*/*")
	}
	h.dec = hpack.NewDecoder(4096, func(f hpack.HeaderField) {
		switch f.Name {
		case ":status":
			h.status = f.Value
		case "grpc-status":
			h.result = f.Value
		}
	})
	return h
}

// hello appends what a connection begins with.
func (h *http2) hello(b []byte) []byte {
	return h2wire.Hello(append(b, h2wire.Preface...), 0)
}

// begun is called once the server's settings have come.
func (h *http2) begun(spec Spec) error {
	if n := uint32(spec.Streams); n > h.session.Streams { //nolint:gosec // validated: it is small
		return fmt.Errorf("the server takes %d streams at a time, and %d are wanted", h.session.Streams, n)
	}
	if int64(len(h.body)) > h.session.StreamWindow {
		return fmt.Errorf("a request of %d bytes does not fit into a stream's window of %d", len(h.body), h.session.StreamWindow)
	}
	h.head = h2wire.Blocks(h.session.Table, h.fields)[0]
	return nil
}

// begin appends the slot's request, or has it wait for the window.
func (h *http2) begin(b []byte, slot int) []byte {
	if len(h.waiting) > 0 || int64(len(h.body)) > h.session.Window {
		h.waiting = append(h.waiting, slot)
		return b
	}
	id := h.next
	h.next += 2
	h.slots[id] = slot
	h.state[slot] = stream{}
	flags := byte(h2wire.EndHeaders)
	if len(h.body) == 0 {
		return h2wire.Append(b, h2wire.Headers, flags|h2wire.EndStream, id, h.head.Take())
	}
	b = h2wire.Append(b, h2wire.Headers, flags, id, h.head.Take())
	h.session.Window -= int64(len(h.body))
	rest := h.body
	for len(rest) > h2wire.MaxFrame {
		b = h2wire.Append(b, h2wire.Data, 0, id, rest[:h2wire.MaxFrame])
		rest = rest[h2wire.MaxFrame:]
	}
	return h2wire.Append(b, h2wire.Data, h2wire.EndStream, id, rest)
}

// feed takes what was read, appends what is to be answered to it, and calls done
// for each slot whose answer is complete; failed says that it is not as
// expected. An error says that the connection is of no use any more.
func (h *http2) feed(b, p []byte, done func(slot int, failed error)) ([]byte, error) {
	err := h.split.Feed(p, func(f h2wire.Frame) (err error) {
		if b, err = h.session.Control(b, f); err != nil {
			return err
		}
		if h.blockOf != 0 && (f.Type != h2wire.Continuation || f.Stream != h.blockOf) {
			return fmt.Errorf("a frame of type %d within the header block of stream %d", f.Type, h.blockOf)
		}
		switch f.Type {
		case h2wire.Headers, h2wire.Continuation:
			return h.headers(f, done)
		case h2wire.Data:
			return h.data(f, done)
		case h2wire.ResetStream:
			if len(f.Payload) != 4 {
				return fmt.Errorf("a reset of %d bytes", len(f.Payload))
			}
			h.complete(f.Stream, fmt.Errorf("the stream was reset, code %d", binary.BigEndian.Uint32(f.Payload)), done)
		case h2wire.WindowUpdate:
			for len(h.waiting) > 0 && int64(len(h.body)) <= h.session.Window {
				slot := h.waiting[0]
				rest := h.waiting[1:]
				h.waiting = nil // begin looks at it
				b = h.begin(b, slot)
				h.waiting = rest
			}
		}
		return nil
	})
	if err == nil && h.next > math.MaxInt32 {
		err = errors.New("there are no more streams on this connection: take a shorter time")
	}
	return b, err
}

// headers takes a piece of a header block, and decodes it when it is whole.
func (h *http2) headers(f h2wire.Frame, done func(int, error)) error {
	p := f.Payload
	if f.Type == h2wire.Headers {
		var err error
		if p, err = f.Content(); err != nil {
			return err
		}
		h.blockOf, h.blockEnd, h.block = f.Stream, f.Flags&h2wire.EndStream != 0, h.block[:0]
	} else if h.blockOf == 0 {
		return fmt.Errorf("a continuation of nothing on stream %d", f.Stream)
	}
	if h.block = append(h.block, p...); len(h.block) > maxHead {
		return fmt.Errorf("a header block has no end within %d bytes", maxHead)
	}
	if f.Flags&h2wire.EndHeaders == 0 {
		return nil
	}
	h.blockOf = 0
	h.status, h.result = "", ""
	if _, err := h.dec.Write(h.block); err != nil {
		return fmt.Errorf("header block: %w", err)
	}
	if err := h.dec.Close(); err != nil {
		return fmt.Errorf("header block: %w", err)
	}
	slot, ok := h.slots[f.Stream]
	if !ok {
		return nil // of a stream that was reset
	}
	s := &h.state[slot]
	if h.status != "" {
		s.status = h.status
	}
	if h.result != "" {
		s.result = h.result
	}
	if h.blockEnd {
		h.complete(f.Stream, nil, done)
	}
	return nil
}

func (h *http2) data(f h2wire.Frame, done func(int, error)) error {
	content, err := f.Content()
	if err != nil {
		return err
	}
	slot, ok := h.slots[f.Stream]
	if !ok {
		return nil
	}
	h.state[slot].got += len(content)
	if f.Flags&h2wire.EndStream != 0 {
		h.complete(f.Stream, nil, done)
	}
	return nil
}

// complete ends a stream, and judges its answer where nothing else has failed.
func (h *http2) complete(id uint32, failed error, done func(int, error)) {
	slot, ok := h.slots[id]
	if !ok {
		return
	}
	delete(h.slots, id)
	s := &h.state[slot]
	switch {
	case failed != nil:
	case s.status != "200":
		failed = fmt.Errorf("status %s", s.status)
	case h.grpc && s.result != "0":
		failed = fmt.Errorf("grpc-status %q", s.result)
	case s.got != h.want:
		failed = fmt.Errorf("a body of %d bytes, expected %d", s.got, h.want)
	}
	done(slot, failed)
}
