package conformance

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"
)

// abusedYAML has short limits, so that what takes too long does so soon.
const abusedYAML = `
app: {name: app, address: %q, health: {interval: 1h}}
listen: {inbound: "127.0.0.1:0", outbound: "off", admin: "127.0.0.1:0"}
discovery: {registry: {}}
drain: {delay: 1ms, timeout: 2s}
limits: {headTimeout: 1s, keepAliveTimeout: 2s, bodyIdleTimeout: 1s}
middleware: {inbound: [metrics]}
log: {format: json}
`

// abuse is one thing that a client does to a sidecar.
type abuse struct {
	name string
	// plain does not even say what a client says first.
	plain    bool
	settings []http2.Setting
	// deaf reads nothing before do has returned.
	deaf bool
	// do is the abuse. What it sends may be cut off.
	do func(c *rawH2)
	// want is what has to come, besides what is usual: one of them.
	want []string
	// stays says that the connection goes on: a request on it is served.
	stays bool
	// kinds are what outrigger_http2_trouble_total counts: one of them; empty:
	// it is not wrong.
	kinds []string
}

// repeat does something until the connection does not take it any more.
func (c *rawH2) repeat(n int, do func(i int)) {
	for i := range n {
		do(i)
		if c.out.Len() > 16<<10 && !c.flush() {
			return
		}
	}
	c.flush()
}

// slowly sends byte after byte until the connection does not take it any more.
func (c *rawH2) slowly(p []byte) {
	c.out.Reset()
	for _, b := range p {
		if _, ended := c.seen(); ended {
			return
		}
		if _, err := c.Conn.Write([]byte{b}); err != nil {
			return
		}
		time.Sleep(100 * time.Millisecond) // a client that takes its time
	}
}

// stream is the id of a client's nth stream.
func stream(n int) uint32 { return uint32(2*n + 1) } //nolint:gosec // small

const (
	calm     = "GOAWAY ENHANCE_YOUR_CALM"
	protocol = "GOAWAY PROTOCOL_ERROR"
	flow     = "GOAWAY FLOW_CONTROL_ERROR"
	squeeze  = "GOAWAY COMPRESSION_ERROR"
)

// many is how many frames a flood has.
const many = 100_000

var abuses = []abuse{
	// Streams that are opened only to be reset: by the client (CVE-2023-44487), or
	// by the server, for an error that the client makes (CVE-2025-8671).
	{name: "rapid reset", want: []string{calm}, kinds: []string{"rapid_reset"}, do: func(c *rawH2) {
		c.repeat(10_000, func(i int) {
			c.request(stream(i), "GET", "/hold", true)
			_ = c.WriteRSTStream(stream(i), http2.ErrCodeCancel)
		})
	}},
	{name: "rapid reset of uploads", want: []string{calm}, kinds: []string{"rapid_reset"}, do: func(c *rawH2) {
		c.repeat(10_000, func(i int) {
			c.request(stream(i), "POST", "/hold", false)
			_ = c.WriteData(stream(i), false, []byte("x"))
			_ = c.WriteRSTStream(stream(i), http2.ErrCodeCancel)
		})
	}},
	{name: "reset by the server: an increment of 0", want: []string{calm}, kinds: []string{"rapid_reset", "flood", "unread"}, do: func(c *rawH2) {
		c.repeat(10_000, func(i int) {
			c.request(stream(i), "GET", "/hold", true)
			c.increment(stream(i), 0)
		})
	}},
	{name: "reset by the server: a window that overflows", want: []string{calm}, kinds: []string{"rapid_reset", "flood", "unread"}, do: func(c *rawH2) {
		c.repeat(10_000, func(i int) {
			c.request(stream(i), "GET", "/hold", true)
			c.increment(stream(i), 1<<31-1)
		})
	}},
	{name: "reset by the server: data after the end", want: []string{calm, "GOAWAY STREAM_CLOSED"}, kinds: []string{"rapid_reset", "flood", "unread", "protocol"}, do: func(c *rawH2) {
		c.repeat(10_000, func(i int) {
			c.request(stream(i), "GET", "/hold", true)
			_ = c.WriteData(stream(i), true, []byte("x"))
		})
	}},
	{name: "reset by the server: more than the length", want: []string{calm}, kinds: []string{"rapid_reset", "flood", "unread", "malformed"}, do: func(c *rawH2) {
		c.repeat(10_000, func(i int) {
			c.request(stream(i), "POST", "/hold", false, "content-length", "1")
			_ = c.WriteData(stream(i), true, []byte("xx"))
		})
	}},
	{name: "reset by the server: a stream that depends on itself", want: []string{calm, protocol}, kinds: []string{"rapid_reset", "flood", "unread", "protocol"}, do: func(c *rawH2) {
		c.repeat(10_000, func(i int) {
			c.request(stream(i), "GET", "/hold", true)
			_ = c.WritePriority(stream(i), http2.PriorityParam{StreamDep: stream(i)})
		})
	}},
	{name: "reset by the server: malformed heads", want: []string{calm}, kinds: []string{"rapid_reset", "flood", "unread", "malformed"}, do: func(c *rawH2) {
		c.repeat(10_000, func(i int) { c.headers(stream(i), true, ":method", "GET") })
	}},

	// Header blocks (CVE-2024-27316 and others).
	{name: "CONTINUATION without end", want: []string{calm}, kinds: []string{"continuation"}, do: func(c *rawH2) {
		_ = c.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: c.fields(":method", "GET"), EndStream: true})
		c.repeat(many, func(int) { _ = c.WriteContinuation(1, false, c.fields("a", "b")) })
	}},
	{name: "empty CONTINUATION without end", want: []string{calm}, kinds: []string{"continuation"}, do: func(c *rawH2) {
		_ = c.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: c.fields(":method", "GET"), EndStream: true})
		c.repeat(many, func(int) { _ = c.WriteContinuation(1, false, nil) })
	}},
	{name: "CONTINUATION of a field that has no end", want: []string{calm, squeeze}, kinds: []string{"continuation", "compression", "head_too_large"}, do: func(c *rawH2) {
		// A literal of 2^28 bytes, without Huffman's code, of which 16 KiB come each time.
		head := append(slices.Clone(c.fields(":method", "GET")), 0x00, 0x01, 'a', 0x7f, 0x81, 0xff, 0xff, 0x7f)
		_ = c.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: head, EndStream: true})
		c.repeat(2000, func(int) { _ = c.WriteContinuation(1, false, make([]byte, 16<<10)) })
	}},
	{name: "HPACK bomb", want: []string{"HEADERS 1 431"}, stays: true, kinds: []string{"head_too_large"}, do: func(c *rawH2) {
		// An entry of 4 KB in the dynamic table, and 16,000 references to it.
		block := append([]byte{0x40, 0x01, 'a', 0x7f, 0xa1, 0x1e}, []byte(strings.Repeat("x", 4000))...) // 127+33+30*128 = 4000
		all := append(slices.Clone(c.fields(":method", "GET", ":scheme", "http", ":path", "/hold")), block...)
		all = append(all, slices.Repeat([]byte{0xbe}, 12_000)...)
		_ = c.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: all, EndStream: true, EndHeaders: true})
		c.flush()
	}},
	{name: "too many fields", want: []string{"HEADERS 1 431"}, stays: true, kinds: []string{"head_too_large"}, do: func(c *rawH2) {
		var fields []string
		for i := range 200 {
			fields = append(fields, fmt.Sprintf("x-%d", i), "y")
		}
		c.request(1, "GET", "/quick", true, fields...)
		c.flush()
	}},
	{name: "too large a head", want: []string{"HEADERS 1 431"}, stays: true, kinds: []string{"head_too_large"}, do: func(c *rawH2) {
		var fields []string
		for i := range 80 {
			fields = append(fields, fmt.Sprintf("x-%d", i), strings.Repeat("l", 1000))
		}
		c.request(1, "GET", "/quick", true, fields...)
		c.flush()
	}},
	{name: "too large a field", want: []string{"HEADERS 1 431", calm}, kinds: []string{"head_too_large"}, do: func(c *rawH2) {
		c.request(1, "GET", "/quick", true, "x-large", strings.Repeat("l", 70_000))
		c.flush()
	}},
	{name: "a table larger than it may be", want: []string{squeeze}, kinds: []string{"compression"}, do: func(c *rawH2) {
		_ = c.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: []byte{0x3f, 0xe2, 0xff, 0x7f}, EndStream: true, EndHeaders: true})
		c.flush()
	}},
	{name: "a reference to nothing", want: []string{squeeze}, kinds: []string{"compression"}, do: func(c *rawH2) {
		_ = c.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: []byte{0xff, 0x80, 0x80, 0x01}, EndStream: true, EndHeaders: true})
		c.flush()
	}},
	{name: "table sizes that change with each request", stays: true, do: func(c *rawH2) {
		for i := range 300 {
			_ = c.WriteSettings(http2.Setting{ID: http2.SettingHeaderTableSize, Val: []uint32{0, 1 << 20, 64, 4096, 1<<32 - 1}[i%5]})
			c.enc.SetMaxDynamicTableSize([]uint32{0, 4096, 100}[i%3])
			c.request(stream(i), "GET", "/quick", true, "x-name", fmt.Sprint(i%7))
			c.flush()
			if !c.await(fmt.Sprintf("HEADERS %d 200", stream(i))) {
				return
			}
		}
	}},

	// Floods (CVE-2019-9511 to 9518).
	{name: "SETTINGS", want: []string{calm}, kinds: []string{"flood"}, do: func(c *rawH2) {
		c.repeat(many, func(int) { _ = c.WriteSettings() })
	}},
	{name: "SETTINGS, answers not read", deaf: true, kinds: []string{"flood", "unread"}, do: func(c *rawH2) {
		c.repeat(many, func(int) { _ = c.WriteSettings() })
	}},
	{name: "answers to SETTINGS that were not sent", want: []string{calm, protocol}, kinds: []string{"flood", "protocol"}, do: func(c *rawH2) {
		c.repeat(many, func(int) { _ = c.WriteSettingsAck() })
	}},
	{name: "windows that settings change for many streams", want: []string{calm}, kinds: []string{"flood"}, do: func(c *rawH2) {
		for i := range 100 {
			c.request(stream(i), "GET", "/hold", true)
		}
		c.repeat(many, func(i int) {
			_ = c.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: uint32(i % 2 * 1000)}) //nolint:gosec // small
		})
	}},
	{name: "PING", want: []string{calm}, kinds: []string{"flood"}, do: func(c *rawH2) {
		c.repeat(many, func(int) { _ = c.WritePing(false, [8]byte{}) })
	}},
	{name: "PING, answers not read", deaf: true, kinds: []string{"flood", "unread"}, do: func(c *rawH2) {
		c.repeat(many, func(int) { _ = c.WritePing(false, [8]byte{}) })
	}},
	{name: "answers to PING that was not sent", want: []string{calm}, kinds: []string{"flood"}, do: func(c *rawH2) {
		c.repeat(many, func(int) { _ = c.WritePing(true, [8]byte{1}) })
	}},
	{name: "WINDOW_UPDATE of the connection", want: []string{calm}, kinds: []string{"flood"}, do: func(c *rawH2) {
		c.repeat(many, func(int) { c.increment(0, 1) })
	}},
	{name: "WINDOW_UPDATE of a stream", want: []string{calm}, kinds: []string{"flood"}, do: func(c *rawH2) {
		c.request(1, "GET", "/hold", true)
		c.repeat(many, func(int) { c.increment(1, 1) })
	}},
	{name: "WINDOW_UPDATE of a stream that has ended", want: []string{calm}, kinds: []string{"flood"}, do: func(c *rawH2) {
		c.request(1, "GET", "/quick", true)
		c.flush()
		c.await("END 1")
		c.repeat(many, func(int) { c.increment(1, 1) })
	}},
	{name: "PRIORITY", want: []string{calm}, kinds: []string{"flood"}, do: func(c *rawH2) {
		c.repeat(many, func(i int) { _ = c.WritePriority(stream(i%1000), http2.PriorityParam{StreamDep: stream(i%1000 + 1)}) })
	}},
	{name: "PRIORITY_UPDATE", want: []string{calm}, kinds: []string{"flood"}, do: func(c *rawH2) {
		c.repeat(many, func(int) { _ = c.WriteRawFrame(0x10, 0, 0, []byte("\x00\x00\x00\x01u=1")) })
	}},
	{name: "frames that nobody knows", want: []string{calm}, kinds: []string{"flood"}, do: func(c *rawH2) {
		c.repeat(many, func(i int) { _ = c.WriteRawFrame(http2.FrameType(0x20+i%200), 0xff, uint32(i%3), []byte("what")) }) //nolint:gosec // small
	}},
	{name: "empty DATA", want: []string{calm}, kinds: []string{"flood"}, do: func(c *rawH2) {
		c.request(1, "POST", "/hold", false)
		c.repeat(many, func(int) { _ = c.WriteData(1, false, nil) })
	}},
	{name: "DATA of padding", want: []string{calm, "RST_STREAM 1 FLOW_CONTROL_ERROR", flow}, kinds: []string{"flood", "flow_control"}, do: func(c *rawH2) {
		c.request(1, "POST", "/hold", false)
		c.repeat(many, func(int) { _ = c.WriteDataPadded(1, false, nil, make([]byte, 10)) })
	}},
	{name: "RST_STREAM of a stream that has ended", want: []string{calm}, kinds: []string{"flood"}, do: func(c *rawH2) {
		c.request(1, "GET", "/quick", true)
		c.flush()
		c.await("END 1")
		c.repeat(many, func(int) { _ = c.WriteRSTStream(1, http2.ErrCodeCancel) })
	}},
	{name: "DATA of a stream that has ended", want: []string{calm, "GOAWAY STREAM_CLOSED"}, kinds: []string{"flood", "protocol"}, do: func(c *rawH2) {
		c.request(1, "GET", "/quick", true)
		c.flush()
		c.await("END 1")
		c.repeat(many, func(int) { _ = c.WriteData(1, false, []byte("x")) })
	}},
	{name: "GOAWAY", want: []string{calm, "GOAWAY NO_ERROR"}, kinds: []string{"flood", ""}, do: func(c *rawH2) {
		c.request(1, "GET", "/hold", true)
		c.repeat(many, func(int) { _ = c.WriteGoAway(0, http2.ErrCodeNo, nil) })
	}},
	{name: "heads of streams above the limit", want: []string{calm}, kinds: []string{"flood", "stream_limit"}, do: func(c *rawH2) {
		c.repeat(10_000, func(i int) { c.request(stream(i), "GET", "/hold", true) })
	}},

	// Windows.
	{name: "no window for an answer", settings: []http2.Setting{{ID: http2.SettingInitialWindowSize, Val: 0}}, want: []string{"RST_STREAM 1 CANCEL", "RST_STREAM 1 INTERNAL_ERROR"}, stays: true, do: func(c *rawH2) {
		c.request(1, "GET", "/large", true)
		c.flush()
	}},
	{name: "no window for many answers", settings: []http2.Setting{{ID: http2.SettingInitialWindowSize, Val: 0}}, want: []string{"RST_STREAM 1 CANCEL", "RST_STREAM 1 INTERNAL_ERROR"}, stays: true, do: func(c *rawH2) {
		for i := range 100 {
			c.request(stream(i), "GET", "/large", true)
		}
		c.flush()
	}},
	{name: "a window of one byte", settings: []http2.Setting{{ID: http2.SettingInitialWindowSize, Val: 1}}, stays: true, do: func(c *rawH2) {
		c.request(1, "GET", "/quick", true)
		c.flush()
		c.repeat(5, func(i int) {
			if !c.awaitBytes(1, i+1) {
				c.add("no end", false)
			}
			c.increment(1, 1)
			c.flush()
		})
		if !c.await("END 1") {
			c.add("no end", false)
		}
	}},
	{name: "the connection's window overflows", want: []string{flow}, kinds: []string{"flow_control"}, do: func(c *rawH2) {
		c.increment(0, 1<<31-1)
		c.flush()
	}},
	{name: "a stream's window overflows", want: []string{"RST_STREAM 1 FLOW_CONTROL_ERROR"}, stays: true, kinds: []string{"flow_control"}, do: func(c *rawH2) {
		c.request(1, "GET", "/hold", true)
		c.increment(1, 1<<31-1)
		c.flush()
	}},
	{name: "settings make a window overflow", want: []string{flow}, kinds: []string{"flow_control"}, do: func(c *rawH2) {
		c.request(1, "GET", "/hold", true)
		c.increment(1, 1<<30)
		_ = c.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1<<31 - 1})
		c.flush()
	}},
	{name: "a window of settings that is too large", want: []string{flow}, kinds: []string{"flow_control"}, do: func(c *rawH2) {
		_ = c.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 31})
		c.flush()
	}},
	{name: "an increment of 0 for the connection", want: []string{protocol}, kinds: []string{"flow_control", "protocol"}, do: func(c *rawH2) {
		c.increment(0, 0)
		c.flush()
	}},
	{name: "more data than the window", want: []string{flow, "RST_STREAM 1 FLOW_CONTROL_ERROR"}, kinds: []string{"flow_control"}, do: func(c *rawH2) {
		c.request(1, "POST", "/hold", false)
		c.repeat(1000, func(int) { _ = c.WriteData(1, false, make([]byte, 16<<10)) })
	}},
	{name: "uploads that nobody reads fill the connection's window", want: []string{flow, calm}, kinds: []string{"flow_control"}, do: func(c *rawH2) {
		for i := range 100 {
			c.request(stream(i), "POST", "/hold", false)
		}
		c.repeat(10_000, func(i int) { _ = c.WriteData(stream(i%100), false, make([]byte, 16<<10)) })
	}},
	{name: "a body that stands still", want: []string{"RST_STREAM 1 CANCEL", "RST_STREAM 1 PROTOCOL_ERROR", "HEADERS 1 408", "HEADERS 1 502", "HEADERS 1 400"}, stays: true, do: func(c *rawH2) {
		c.request(1, "POST", "/read", false)
		_ = c.WriteData(1, false, []byte("x"))
		c.flush()
	}},

	// Streams.
	{name: "more streams than are allowed", want: []string{"RST_STREAM 513 REFUSED_STREAM"}, stays: true, kinds: []string{"stream_limit"}, do: func(c *rawH2) {
		for i := range 257 {
			c.request(stream(i), "GET", "/hold", true)
		}
		c.flush()
		c.await("RST_STREAM 513 REFUSED_STREAM")
		for i := range 256 {
			_ = c.WriteRSTStream(stream(i), http2.ErrCodeCancel)
		}
		// They may be reset but not free yet.
		_ = c.WritePing(false, [8]byte{'r'})
		c.flush()
		c.await(`PING ack=true "r\x00\x00\x00\x00\x00\x00\x00"`)
	}},
	{name: "a stream of the server's", want: []string{protocol}, kinds: []string{"protocol"}, do: func(c *rawH2) {
		c.request(2, "GET", "/quick", true)
		c.flush()
	}},
	{name: "a stream that is lower than the last", want: []string{protocol, "GOAWAY STREAM_CLOSED"}, kinds: []string{"protocol"}, do: func(c *rawH2) {
		c.request(5, "GET", "/quick", true)
		c.request(3, "GET", "/quick", true)
		c.flush()
	}},
	{name: "RST_STREAM of a stream that nobody has opened", want: []string{protocol}, kinds: []string{"protocol"}, do: func(c *rawH2) {
		_ = c.WriteRSTStream(7, http2.ErrCodeCancel)
		c.flush()
	}},
	{name: "a push", want: []string{protocol}, kinds: []string{"protocol"}, do: func(c *rawH2) {
		_ = c.WritePushPromise(http2.PushPromiseParam{StreamID: 1, PromiseID: 2, BlockFragment: c.fields(":method", "GET"), EndHeaders: true})
		c.flush()
	}},
	{name: "a frame larger than it may be", want: []string{"GOAWAY FRAME_SIZE_ERROR"}, kinds: []string{"protocol"}, do: func(c *rawH2) {
		_ = c.WriteRawFrame(http2.FrameData, 0, 1, make([]byte, 17<<10))
		c.flush()
	}},

	// Time.
	{name: "an unused connection", want: []string{"GOAWAY NO_ERROR"}, do: func(*rawH2) {}},
	{name: "what a client says first, slowly", plain: true, kinds: []string{"preface", "slow", ""}, do: func(c *rawH2) {
		c.slowly([]byte(http2.ClientPreface))
	}},
	{name: "half of what a client says first", plain: true, kinds: []string{"preface", "slow", ""}, do: func(c *rawH2) {
		_, _ = c.out.WriteString(http2.ClientPreface[:18])
		c.flush()
	}},
	{name: "no SETTINGS after the preface", plain: true, kinds: []string{"slow", "preface", ""}, do: func(c *rawH2) {
		_, _ = c.out.WriteString(http2.ClientPreface)
		c.flush()
	}},
	{name: "another frame than SETTINGS first", plain: true, want: []string{protocol}, kinds: []string{"protocol", "preface"}, do: func(c *rawH2) {
		_, _ = c.out.WriteString(http2.ClientPreface)
		c.request(1, "GET", "/quick", true)
		c.flush()
	}},
	{name: "HEADERS, byte after byte", kinds: []string{"slow"}, want: []string{protocol, calm}, do: func(c *rawH2) {
		c.request(1, "GET", "/quick", true, "x-long", strings.Repeat("l", 100))
		c.slowly(slices.Clone(c.out.Bytes()))
	}},
	{name: "HEADERS and no CONTINUATION", kinds: []string{"slow"}, want: []string{protocol, calm}, do: func(c *rawH2) {
		_ = c.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: c.fields(":method", "GET"), EndStream: true})
		c.flush()
	}},
	{name: "CONTINUATION, one now and then", kinds: []string{"slow", "continuation"}, want: []string{protocol, calm}, do: func(c *rawH2) {
		_ = c.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: c.fields(":method", "GET"), EndStream: true})
		for end := time.Now().Add(5 * time.Second); time.Now().Before(end) && c.flush(); time.Sleep(200 * time.Millisecond) {
			_ = c.WriteContinuation(1, false, nil)
		}
	}},
	{name: "half a DATA frame", kinds: []string{"slow"}, want: []string{protocol, calm, "RST_STREAM 1 CANCEL"}, do: func(c *rawH2) {
		c.request(1, "POST", "/read", false)
		c.flush()
		_, _ = c.Conn.Write([]byte{0, 0x10, 0, 0, 0, 0, 0, 0, 1, 'x'})
	}},
}

// increment writes a WINDOW_UPDATE, also of what is not allowed.
func (c *rawH2) increment(stream, by uint32) {
	_ = c.WriteRawFrame(http2.FrameWindowUpdate, 0, stream, binary.BigEndian.AppendUint32(nil, by))
}

// abusedApp holds requests for /hold until they are given up, as far as it can
// know, reads those for /read, and answers others at once.
func abusedApp(t *testing.T) string {
	t.Helper()
	over := make(chan struct{})
	address := startAppH2(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/hold":
			select {
			case <-r.Context().Done():
			case <-over:
			}
		case "/large":
			_, _ = w.Write(make([]byte, 5<<20))
		case "/read":
			_, _ = io.Copy(io.Discard, r.Body)
			_, _ = io.WriteString(w, "read")
		default:
			_, _ = io.WriteString(w, "quick")
		}
	}))
	t.Cleanup(func() { close(over) }) // before the app is closed
	return address
}

// TestHTTP2Abuse: what a client does wrong ends its connection, or its stream,
// with the code that says so, and is counted. Another client is served all the
// while, memory stays within bounds, and in the end nothing is left of it.
func TestHTTP2Abuse(t *testing.T) {
	t.Parallel()
	app := abusedApp(t)
	few := make(chan struct{}, 3) // at a time: each has a program of its own
	for _, a := range abuses {
		t.Run(a.name, func(t *testing.T) {
			t.Parallel()
			few <- struct{}{}
			defer func() { <-few }()
			runAbuse(t, app, a)
		})
	}
}

// mostMemory is what an abuse may cost in bytes of memory, for as long as it
// lasts.
const mostMemory = 48 << 20

func runAbuse(t *testing.T, app string, a abuse) {
	t.Helper()
	p := startProgram(t, fmt.Sprintf(abusedYAML, app))
	admin := p.at["listen.admin"]
	good := goodClient(t, p.at["listen.inbound"])
	before := gauges(t, admin)
	most := abuseOnce(t, p, a)
	kinds := troubles(t, admin)
	named := func(kind string) bool { return kind == "" && len(kinds) == 0 || kinds[kind] > 0 }
	if len(a.kinds)+len(kinds) > 0 && !slices.ContainsFunc(a.kinds, named) {
		t.Errorf("outrigger_http2_trouble_total has counted %v, want one of %q", kinds, a.kinds)
	}
	if err := good(); err != nil {
		t.Errorf("another client, meanwhile: %v", err)
	}
	if grown := most - before["process_resident_memory_bytes"]; grown > mostMemory {
		t.Errorf("it has cost %.0f bytes of memory", grown)
	}
	eventually(t, "nothing is left of it", func() bool {
		now := gauges(t, admin)
		return now["go_goroutines"] <= before["go_goroutines"]+3 && open(t, p) == 0
	})
}

// abuseOnce does it, and gives the bytes of memory that the sidecar had then.
func abuseOnce(t *testing.T, p *program, a abuse) (memory float64) {
	t.Helper()
	admin := p.at["listen.admin"]
	c := newRawH2(dialRaw(t, p.at["listen.inbound"]))
	if !a.plain {
		_, _ = c.out.WriteString(http2.ClientPreface)
		_ = c.WriteSettings(a.settings...)
		_ = c.WriteSettingsAck()
		c.flush()
	}
	if !a.deaf {
		c.read()
	}
	before := troubles(t, admin)
	a.do(c)
	memory = gauges(t, admin)["process_resident_memory_bytes"]
	if a.deaf {
		// Reading would be a way out.
		eventually(t, "the abuse is counted", func() bool { return !maps.Equal(before, troubles(t, admin)) })
		c.read()
	}
	wantEnd(t, c, a)
	_ = c.Close()
	return max(memory, gauges(t, admin)["process_resident_memory_bytes"])
}

// wantEnd checks what the abuser has got.
func wantEnd(t *testing.T, c *rawH2, a abuse) {
	t.Helper()
	said := len(a.want) == 0
	if a.stays {
		said = said || c.await(a.want...)
		c.request(1001, "GET", "/quick", true)
		c.increment(1001, 1000)
		c.flush()
		if !c.await("HEADERS 1001 200") || !c.await("END 1001") {
			t.Errorf("a request after it is not served")
		}
	} else if !c.awaitEnd() {
		t.Errorf("the connection does not end")
	}
	events, ended := c.seen()
	if a.stays && ended {
		t.Errorf("the connection has ended")
	}
	for _, w := range a.want {
		said = said || slices.Contains(events, w)
	}
	if !said || slices.Contains(events, "silence") || slices.Contains(events, "no end") {
		t.Errorf("got %s\nwant one of %q", brief(events), a.want)
	}
}

// goodClient asks, over one connection and over new ones, until the function
// that it gives is called, which gives its first error.
func goodClient(t *testing.T, address string) (stop func() error) {
	t.Helper()
	ctx, cancel := alone(t)
	var wg sync.WaitGroup
	failed := make(chan error, 2)
	for _, kept := range []bool{true, false} {
		tr := transportH2(t, address, nil)
		wg.Go(func() {
			for ctx.Err() == nil {
				if err := askQuick(tr); err != nil {
					failed <- err
					return
				}
				if !kept {
					tr.CloseIdleConnections()
				}
				select {
				case <-ctx.Done():
				case <-time.After(20 * time.Millisecond):
				}
			}
			tr.CloseIdleConnections()
		})
	}
	stop = sync.OnceValue(func() error {
		cancel()
		wg.Wait()
		close(failed)
		return <-failed
	})
	t.Cleanup(func() { _ = stop() })
	return stop
}

func askQuick(by http.RoundTripper) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+service+"/quick", http.NoBody)
	if err != nil {
		return err
	}
	resp, err := by.RoundTrip(r)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if body, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s %q %w", resp.Status, body, err)
	}
	return nil
}

// gauges are what the process says of itself.
func gauges(t *testing.T, admin string) map[string]float64 {
	t.Helper()
	page := metricsPage(t, admin)
	all := map[string]float64{}
	for line := range strings.Lines(page) {
		var v float64
		for _, name := range []string{"process_resident_memory_bytes", "go_goroutines"} {
			if rest, ok := strings.CutPrefix(line, name+" "); ok {
				if _, err := fmt.Sscan(rest, &v); err != nil {
					t.Fatalf("%s: %v", line, err)
				}
				all[name] = v
			}
		}
	}
	if len(all) != 2 {
		t.Fatalf("the metrics say of the process only %v", slices.Collect(maps.Keys(all)))
	}
	return all
}

// troubles are the samples of outrigger_http2_trouble_total, by kind.
func troubles(t *testing.T, admin string) map[string]int {
	t.Helper()
	all := map[string]int{}
	for line := range strings.Lines(metricsPage(t, admin)) {
		if rest, ok := strings.CutPrefix(line, `outrigger_http2_trouble_total{kind="`); ok {
			kind, _, _ := strings.Cut(rest, `"`)
			var n int
			if _, err := fmt.Sscan(line[strings.LastIndexByte(line, ' ')+1:], &n); err != nil {
				t.Fatalf("%s: %v", line, err)
			}
			all[kind] += n
		}
	}
	return all
}
