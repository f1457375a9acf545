package conformance

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// hostileH2 is an app that speaks HTTP/2, answers requests for /x in a way of its
// own, and all others decently, with the path and the number of the connection.
type hostileH2 struct {
	address string
	deed    deed
	conns   atomic.Int64
	xs      atomic.Int64
}

// deed is what an app does wrong, or right but seldom.
type deed struct {
	name     string
	settings []http2.Setting // what it says first
	silent   bool            // it says nothing first, SETTINGS neither
	body     string          // of the request
	// do answers the request for /x on a stream.
	do func(c *hostileConn, stream uint32)
	// want is what a client that speaks HTTP/1.1 gets: one of them.
	want []string
	// times is how often the app may see the request; 0: once.
	times int64
	// ends says that the sidecar ends the connection for it: a request that has
	// just been sent on it may break too.
	ends bool
}

// hostileConn is a connection of hostileH2.
type hostileConn struct {
	net.Conn
	*http2.Framer
	number int64
	out    bytes.Buffer
	block  bytes.Buffer
	enc    *hpack.Encoder
}

func (c *hostileConn) flush() bool {
	_, err := c.Conn.Write(c.out.Bytes())
	c.out.Reset()
	return err == nil
}

func (c *hostileConn) fields(pairs ...string) []byte {
	c.block.Reset()
	for i := 0; i < len(pairs); i += 2 {
		_ = c.enc.WriteField(hpack.HeaderField{Name: pairs[i], Value: pairs[i+1]})
	}
	return c.block.Bytes()
}

func (c *hostileConn) head(stream uint32, end bool, pairs ...string) {
	_ = c.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: c.fields(pairs...), EndStream: end, EndHeaders: true})
}

// answer is a decent one.
func (c *hostileConn) answer(stream uint32, body string) {
	c.head(stream, false, ":status", "200", "content-length", fmt.Sprint(len(body)))
	_ = c.WriteData(stream, true, []byte(body))
}

// flood does something until the connection does not take it any more.
func (c *hostileConn) flood(do func()) {
	for range many {
		do()
		if c.out.Len() > 16<<10 && !c.flush() {
			return
		}
	}
}

func startHostileH2(t *testing.T, d deed) *hostileH2 {
	t.Helper()
	ln := listen(t)
	h := &hostileH2{address: ln.Addr().String(), deed: d}
	go func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			_ = nc.SetDeadline(time.Now().Add(2 * patience))
			go func() {
				defer func() { _ = nc.Close() }()
				h.serve(nc)
			}()
		}
	}()
	return h
}

func (h *hostileH2) serve(nc net.Conn) {
	var preface [len(http2.ClientPreface)]byte
	if _, err := io.ReadFull(nc, preface[:]); err != nil || string(preface[:]) != http2.ClientPreface {
		return // a look whether the app is there
	}
	c := &hostileConn{Conn: nc, number: h.conns.Add(1)}
	c.Framer = http2.NewFramer(&c.out, nc)
	c.AllowIllegalWrites = true
	c.enc = hpack.NewEncoder(&c.block)
	if !h.deed.silent {
		_ = c.WriteSettings(h.deed.settings...)
		c.flush()
	}
	paths := map[uint32]string{}
	dec := hpack.NewDecoder(4096, nil)
	for {
		f, err := c.ReadFrame()
		if err != nil {
			return
		}
		switch f := f.(type) {
		case *http2.SettingsFrame:
			if !f.IsAck() && !h.deed.silent {
				_ = c.WriteSettingsAck()
			}
		case *http2.PingFrame:
			if !f.IsAck() {
				_ = c.WritePing(true, f.Data)
			}
		case *http2.HeadersFrame:
			fields, err := dec.DecodeFull(f.HeaderBlockFragment())
			if err != nil {
				return
			}
			for _, hf := range fields {
				if hf.Name == ":path" {
					paths[f.StreamID] = hf.Value
				}
			}
			if path := paths[f.StreamID]; path == "/x" {
				h.xs.Add(1)
				h.deed.do(c, f.StreamID)
			} else if f.StreamEnded() {
				c.answer(f.StreamID, fmt.Sprintf("%s on connection %d", path, c.number))
			}
		}
		if !c.flush() {
			return
		}
	}
}

const (
	declaredH2YAML = `
app: {name: app, ports: [{name: http, protocol: http2, address: "APP"}], health: {interval: 1h}}
listen: {inbound: "127.0.0.1:0", outbound: "off", admin: "off"}
limits: {headTimeout: 1s, bodyIdleTimeout: 1s}
discovery: {registry: {}}
drain: {delay: 1ms, timeout: 2s}
middleware: {inbound: [{timeout: {idle: 1s}}]}
`
	wholeX = "200 /x on connection"
)

// decent answers /x as it should be.
func decent(c *hostileConn, stream uint32) { c.answer(stream, wholeX[4:]) }

// amid is a head, and the beginning of a body.
func (c *hostileConn) amid(stream uint32) {
	c.head(stream, false, ":status", "200", "content-length", "10")
	_ = c.WriteData(stream, false, []byte("begun"))
	c.flush()
}

// answered is a deed by which the stream gets an answer of these fields.
func answered(pairs ...string) func(*hostileConn, uint32) {
	return func(c *hostileConn, stream uint32) { c.head(stream, true, pairs...) }
}

// TestHostileHTTP2Apps: what an app does wrong in HTTP/2 is told to the client
// whose request it was, in HTTP/1.1, and to nobody else: those after it are
// served. What is seldom but right is taken.
func TestHostileHTTP2Apps(t *testing.T) {
	t.Parallel()
	cut := []string{"200 begun broken", "502 upstream_reset", "502 upstream_invalid"}
	gone := append([]string{"502 upstream_invalid"}, broke...)
	deeds := []deed{
		// What is right.
		{name: "a decent answer", do: decent, want: []string{wholeX}},
		{name: "a head in pieces, padded", want: []string{"200"}, do: func(c *hostileConn, id uint32) {
			block := slices.Clone(c.fields(":status", "200", "x-long", strings.Repeat("l", 100)))
			_ = c.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: block[:1], EndStream: true, PadLength: 7})
			_ = c.WriteContinuation(id, false, block[1:2])
			_ = c.WriteContinuation(id, true, block[2:])
		}},
		{name: "an answer without body", do: answered(":status", "204"), want: []string{"204"}},
		{name: "trailers", want: []string{"200 body"}, do: func(c *hostileConn, id uint32) {
			c.head(id, false, ":status", "200")
			_ = c.WriteDataPadded(id, false, []byte("body"), make([]byte, 9))
			c.head(id, true, "x-end", "1")
		}},
		{name: "an end of its own", want: []string{"200 body"}, do: func(c *hostileConn, id uint32) {
			c.head(id, false, ":status", "200")
			_ = c.WriteData(id, false, []byte("body"))
			_ = c.WriteData(id, true, nil)
		}},
		{name: "reset without error after the end", want: []string{"200 body"}, do: func(c *hostileConn, id uint32) {
			c.head(id, false, ":status", "200")
			_ = c.WriteData(id, true, []byte("body"))
			_ = c.WriteRSTStream(id, http2.ErrCodeNo)
		}},
		{name: "an answer before the body of the request has come", body: strings.Repeat("b", 1<<20), want: []string{"200 early"}, do: func(c *hostileConn, id uint32) {
			c.head(id, false, ":status", "200")
			_ = c.WriteData(id, true, []byte("early"))
			_ = c.WriteRSTStream(id, http2.ErrCodeNo)
		}},
		{name: "early hints", want: []string{wholeX}, do: func(c *hostileConn, id uint32) {
			c.head(id, false, ":status", "103", "link", "</a>")
			decent(c, id)
		}},
		{name: "no table for header fields", settings: []http2.Setting{{ID: http2.SettingHeaderTableSize, Val: 0}}, do: decent, want: []string{wholeX}},
		{name: "goes away, and answers first", want: []string{wholeX}, do: func(c *hostileConn, id uint32) {
			_ = c.WriteGoAway(id, http2.ErrCodeNo, nil)
			decent(c, id)
		}},
		{name: "settings that nobody knows", settings: []http2.Setting{{ID: 0x99, Val: 7}}, do: decent, want: []string{wholeX}},
		{name: "frames that nobody knows", want: []string{wholeX}, do: func(c *hostileConn, id uint32) {
			_ = c.WriteRawFrame(0x99, 0xff, id, []byte("what"))
			decent(c, id)
		}},

		// What breaks off.
		{name: "reset", want: broke, do: func(c *hostileConn, id uint32) { _ = c.WriteRSTStream(id, http2.ErrCodeInternal) }},
		{name: "refused", want: append([]string{"503 upstream_reset"}, broke...), times: 4, do: func(c *hostileConn, id uint32) { _ = c.WriteRSTStream(id, http2.ErrCodeRefusedStream) }},
		{name: "reset amid", want: cut, do: func(c *hostileConn, id uint32) {
			c.amid(id)
			_ = c.WriteRSTStream(id, http2.ErrCodeInternal)
		}},
		{name: "reset without error amid", want: cut, do: func(c *hostileConn, id uint32) {
			c.amid(id)
			_ = c.WriteRSTStream(id, http2.ErrCodeNo)
		}},
		{name: "closed", want: broke, do: func(c *hostileConn, _ uint32) { _ = c.Conn.Close() }},
		{name: "closed amid", want: cut, do: func(c *hostileConn, id uint32) {
			c.amid(id)
			_ = c.Conn.Close()
		}},
		{name: "goes away in anger", want: broke, do: func(c *hostileConn, id uint32) {
			_ = c.WriteGoAway(id, http2.ErrCodeEnhanceYourCalm, []byte("so much"))
			c.flush()
			_ = c.Conn.Close()
		}},
		{name: "goes away, did nothing", want: append([]string{"503 upstream_reset"}, broke...), times: 4, do: func(c *hostileConn, _ uint32) { _ = c.WriteGoAway(0, http2.ErrCodeNo, nil) }},
		{name: "half a frame", want: []string{"502 upstream_reset", "502 upstream_invalid", "504 idle_timeout"}, do: func(c *hostileConn, id uint32) {
			c.head(id, false, ":status", "200")
			c.out.Truncate(c.out.Len() - 1)
		}},
		{name: "half a body", want: append([]string{"200 begun broken"}, cut...), do: func(c *hostileConn, id uint32) { c.amid(id) }},

		// What is no answer (RFC 9113, sections 8.1 to 8.3).
		{name: "no status", do: answered("a", "b"), want: invalid},
		{name: "a status of two digits", do: answered(":status", "99"), want: invalid},
		{name: "a status of four digits", do: answered(":status", "1000"), want: invalid},
		{name: "a status with a sign", do: answered(":status", "+20"), want: invalid},
		{name: "a status of letters", do: answered(":status", "abc"), want: invalid},
		{name: "two statuses", do: answered(":status", "200", ":status", "200"), want: invalid},
		{name: "a status behind fields", do: answered("a", "b", ":status", "200"), want: invalid},
		{name: "that of requests", do: answered(":status", "200", ":path", "/"), want: invalid},
		{name: "switching protocols", do: func(c *hostileConn, id uint32) { c.head(id, false, ":status", "101") }, want: invalid},
		{name: "an interim answer that ends", do: answered(":status", "103"), want: invalid},
		{name: "capitals", do: answered(":status", "200", "Abc", "d"), want: invalid},
		{name: "CR LF in a value", do: answered(":status", "200", "a", "b\r\nSet-Cookie: c"), want: invalid},
		{name: "a colon in a name", do: answered(":status", "200", "a:b", "c"), want: invalid},
		{name: "connection", do: answered(":status", "200", "connection", "close"), want: invalid},
		{name: "transfer-encoding", do: answered(":status", "200", "transfer-encoding", "chunked"), want: invalid},
		{name: "two lengths", do: answered(":status", "200", "content-length", "0", "content-length", "1"), want: invalid},
		{name: "data first", want: gone, do: func(c *hostileConn, id uint32) { _ = c.WriteData(id, true, []byte("data")) }},
		{name: "more than its length", want: append([]string{"200 ab broken", "200 broken", "200 abc"}, gone...), do: func(c *hostileConn, id uint32) {
			c.head(id, false, ":status", "200", "content-length", "2")
			_ = c.WriteData(id, true, []byte("abc"))
		}},
		{name: "less than its length", want: append([]string{"200 ab broken", "200 broken"}, gone...), do: func(c *hostileConn, id uint32) {
			c.head(id, false, ":status", "200", "content-length", "3")
			_ = c.WriteData(id, true, []byte("ab"))
		}},
		{name: "a length and no body", want: append([]string{"200 broken"}, gone...), do: answered(":status", "200", "content-length", "3")},
		{name: "trailers that do not end", want: cut, do: func(c *hostileConn, id uint32) {
			c.amid(id)
			c.head(id, false, "x-end", "1")
		}},
		{name: "a status in trailers", want: cut, do: func(c *hostileConn, id uint32) {
			c.amid(id)
			c.head(id, true, ":status", "200")
		}},
		{name: "CR LF in trailers", want: cut, do: func(c *hostileConn, id uint32) {
			c.amid(id)
			c.head(id, true, "a", "b\r\n\r\nHTTP/1.1 200 OK\r\n")
		}},
		{name: "hints without end", ends: true, want: gone, do: func(c *hostileConn, id uint32) {
			c.flood(func() { c.head(id, false, ":status", "103") })
		}},

		// What is no HTTP/2, or too much.
		{name: "HTTP/1.1", silent: true, want: []string{"503 app_unavailable"}, times: 2, do: func(c *hostileConn, _ uint32) {
			_, _ = c.out.WriteString("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
			c.flush()
			_ = c.Conn.Close()
		}},
		{name: "no SETTINGS", silent: true, do: decent, want: []string{"503 app_unavailable"}, times: 2},
		{name: "a push", ends: true, want: gone, do: func(c *hostileConn, id uint32) {
			_ = c.WritePushPromise(http2.PushPromiseParam{StreamID: id, PromiseID: 2, BlockFragment: c.fields(":method", "GET"), EndHeaders: true})
		}},
		{name: "a stream of its own", ends: true, want: gone, do: func(c *hostileConn, _ uint32) { c.head(2, true, ":status", "200") }},
		{name: "an answer to nothing", ends: true, want: gone, do: func(c *hostileConn, id uint32) { c.head(id+2, true, ":status", "200") }},
		{name: "a block that is none", ends: true, want: gone, do: func(c *hostileConn, id uint32) {
			_ = c.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x0f}, EndStream: true, EndHeaders: true})
		}},
		{name: "CONTINUATION without end", ends: true, want: gone, do: func(c *hostileConn, id uint32) {
			_ = c.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: c.fields(":status", "200"), EndStream: true})
			c.flood(func() { _ = c.WriteContinuation(id, false, nil) })
		}},
		{name: "too large a head", want: invalid, do: func(c *hostileConn, id uint32) {
			fields := []string{":status", "200"}
			for i := range 80 {
				fields = append(fields, fmt.Sprintf("x-%d", i), strings.Repeat("{", 100))
			}
			for i := range 80 {
				fields = append(fields, fmt.Sprintf("y-%d", i), strings.Repeat("l", 100))
			}
			block := slices.Clone(c.fields(fields...))
			_ = c.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: block[:10_000], EndStream: true})
			_ = c.WriteContinuation(id, true, block[10_000:])
		}},
		{name: "an HPACK bomb", want: gone, do: func(c *hostileConn, id uint32) {
			block := append(slices.Clone(c.fields(":status", "200")), 0x40, 0x01, 'a', 0x7f, 0xa1, 0x1e)
			block = append(block, strings.Repeat("x", 4000)...)
			block = append(block, slices.Repeat([]byte{0xbe}, 12_000)...)
			_ = c.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: block, EndStream: true, EndHeaders: true})
		}},
		{name: "a flood of SETTINGS", ends: true, want: gone, do: func(c *hostileConn, _ uint32) { c.flood(func() { _ = c.WriteSettings() }) }},
		{name: "a flood of PING", ends: true, want: gone, do: func(c *hostileConn, _ uint32) {
			c.flood(func() { _ = c.WritePing(false, [8]byte{}) })
		}},
		{name: "a flood of empty DATA", ends: true, want: append([]string{"200 broken"}, gone...), do: func(c *hostileConn, id uint32) {
			c.head(id, false, ":status", "200")
			c.flood(func() { _ = c.WriteData(id, false, nil) })
		}},
		{name: "a flood of WINDOW_UPDATE", ends: true, want: gone, do: func(c *hostileConn, _ uint32) {
			c.flood(func() { _ = c.WriteWindowUpdate(0, 1) })
		}},
		{name: "a window that overflows", ends: true, want: gone, do: func(c *hostileConn, id uint32) {
			_ = c.WriteWindowUpdate(id, 1<<31-1)
			_ = c.WriteWindowUpdate(0, 1<<31-1)
		}},
		{name: "no window for a body", settings: []http2.Setting{{ID: http2.SettingInitialWindowSize, Val: 0}}, body: "abc", do: func(*hostileConn, uint32) {}, want: []string{"504 idle_timeout", "502 upstream_reset"}},
		{name: "a frame larger than it may be", ends: true, want: append([]string{"200 broken"}, gone...), do: func(c *hostileConn, id uint32) {
			c.head(id, false, ":status", "200")
			_ = c.WriteRawFrame(http2.FrameData, 0, id, make([]byte, 17<<10))
		}},
	}
	names := map[string]bool{}
	for _, d := range deeds {
		if names[d.name] {
			t.Errorf("two cases are named %q", d.name)
		}
		names[d.name] = true
		t.Run(d.name, func(t *testing.T) {
			t.Parallel()
			app := startHostileH2(t, d)
			s := startSidecar(t, strings.ReplaceAll(declaredH2YAML, "APP", app.address))
			conn := dial(t, s.address())
			if d.body == "" {
				conn.send("GET /x HTTP/1.1\r\nHost: a\r\n\r\n")
			} else {
				go conn.send(fmt.Sprintf("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s", len(d.body), d.body))
			}
			got := conn.next("GET")
			for got == "103" {
				got = conn.next("GET")
			}
			if !slices.Contains(d.want, got) {
				t.Errorf("the client got %q, want one of %q", got, d.want)
			}
			if d.ends {
				eventually(t, "there is another connection to the app", func() bool {
					other := dial(t, s.address())
					defer func() { _ = other.Close() }()
					other.send("GET /again HTTP/1.1\r\nHost: a\r\n\r\n")
					got := other.next("GET")
					return strings.HasPrefix(got, "200 ") && got != "200 /again on connection 1"
				})
			}
			for i := range 3 {
				other := dial(t, s.address())
				other.send(fmt.Sprintf("GET /other%d HTTP/1.1\r\nHost: a\r\n\r\n", i))
				got := other.next("GET")
				if want := fmt.Sprintf("200 /other%d on connection ", i); !d.silent && !strings.HasPrefix(got, want) {
					t.Errorf("another client got %q, want %q", got, want)
				}
			}
			if xs := app.xs.Load(); xs > max(d.times, 1) {
				t.Errorf("the app saw the request %d times", xs)
			}
		})
	}
}
