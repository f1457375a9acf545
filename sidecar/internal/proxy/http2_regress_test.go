package proxy

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/outrigger-mesh/outrigger/registry"
	"github.com/outrigger-mesh/outrigger/sidecar/internal/upstream"
)

// lateEnd is an app of HTTP/2 whose responses have a content-length, and end in
// a frame of their own when the test says so: with a trailer where the path is
// /trailer. resets has the streams that were reset.
func lateEnd(t *testing.T, end <-chan struct{}) (c *upstream.Cluster, resets <-chan uint32) {
	t.Helper()
	ln := listen(t)
	t.Cleanup(func() { _ = ln.Close() })
	reset := make(chan uint32, 10)
	go func() {
		nc, err := ln.Accept()
		if err != nil {
			return
		}
		defer nc.Close()
		_ = nc.SetDeadline(time.Now().Add(15 * time.Second))
		_, _ = io.ReadFull(nc, make([]byte, len(http2.ClientPreface)))
		fr := http2.NewFramer(nc, nc)
		fr.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
		var b bytes.Buffer
		enc := hpack.NewEncoder(&b)
		head := func(id uint32, last bool, fields ...string) {
			b.Reset()
			for i := 0; i < len(fields); i += 2 {
				_ = enc.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]})
			}
			_ = fr.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: b.Bytes(), EndHeaders: true, EndStream: last})
		}
		_ = fr.WriteSettings()
		for {
			f, err := fr.ReadFrame()
			if err != nil {
				return
			}
			switch f := f.(type) {
			case *http2.MetaHeadersFrame:
				head(f.StreamID, false, ":status", "200", "content-length", "5")
				_ = fr.WriteData(f.StreamID, false, []byte("hello"))
				<-end
				if f.PseudoValue("path") == "/trailer" {
					head(f.StreamID, true, "x-sum", "1")
				} else {
					_ = fr.WriteData(f.StreamID, true, nil)
				}
			case *http2.RSTStreamFrame:
				reset <- f.StreamID
			}
		}
	}()
	c = upstream.NewApp(upstream.Config{Name: "app", Protocol: registry.ProtocolHTTP2}, ln.Addr().String())
	t.Cleanup(c.Close)
	return c, reset
}

// A body that is as long as content-length says is not over yet: trailers may
// follow, and an app whose stream is reset takes the request for given up.
func TestABodyOfKnownLengthIsReadToItsEnd(t *testing.T) {
	t.Parallel()
	end := make(chan struct{}, 1)
	defer close(end)
	cluster, resets := lateEnd(t, end)
	c := dial2(t, serve(t, Options{Listener: "inbound", Dispatcher: to(cluster)}))
	for _, path := range []string{"/trailer", "/", "/trailer", "/"} {
		id := c.open(true, headOf("GET", path)...)
		c.head(id)
		first := c.await(func(f http2.Frame) bool { return f.Header().Type == http2.FrameData }).(*http2.DataFrame)
		if string(first.Data()) != "hello" || first.StreamEnded() {
			t.Errorf("%s: %q, ended: %t", path, first.Data(), first.StreamEnded())
		}
		end <- struct{}{}
		if path == "/trailer" {
			if got := c.head(id); !got.StreamEnded() || len(got.Fields) != 1 || got.Fields[0].Name != "x-sum" {
				t.Errorf("%v", got.Fields)
			}
			continue
		}
		c.await(func(f http2.Frame) bool { d, ok := f.(*http2.DataFrame); return ok && d.StreamEnded() })
	}
	if len(resets) > 0 {
		t.Errorf("stream %d to the app was reset", <-resets)
	}
}

// The answer is the same where a body follows at once.
func TestTooLargeHeadsWithABodyAreAnswered(t *testing.T) {
	t.Parallel()
	address := serve(t, Options{Listener: "inbound", Dispatcher: to(upstream.NewCluster(upstream.Config{Name: "nothing"}))})
	fields := headOf("POST", "/")
	for i := range 150 {
		fields = append(fields, fmt.Sprintf("x-%d", i), "v")
	}
	for range 5 {
		c := dial2(t, address)
		var both bytes.Buffer
		c.Framer = http2.NewFramer(&both, c.nc)
		c.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
		id := c.open(false, fields...)
		_ = c.WriteData(id, false, []byte(strings.Repeat("x", 100)))
		if _, err := c.nc.Write(both.Bytes()); err != nil {
			t.Fatal(err)
		}
		f := c.await(func(f http2.Frame) bool { return f.Header().StreamID == id })
		if h, ok := f.(*http2.MetaHeadersFrame); !ok || h.PseudoValue("status") != "431" {
			t.Errorf("%v", f)
		}
	}
}

// A response's fields are void with the end of its exchange: that it was one of
// gRPC has to be known before.
func TestEveryBrokenGRPCResponseEndsInTrailers(t *testing.T) {
	t.Parallel()
	address := serve(t, Options{Listener: "inbound", Dispatcher: to(rawApp(t, func(nc net.Conn, br *bufio.Reader) {
		if _, err := http.ReadRequest(br); err == nil {
			_, _ = io.WriteString(nc, "HTTP/1.1 200 OK\r\nContent-Type: application/grpc\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
		}
	}))})
	for client := range 4 {
		t.Run(fmt.Sprint("client", client), func(t *testing.T) {
			t.Parallel()
			c := dial2(t, address)
			for range 50 {
				id := c.open(true, headOf("POST", "/p.S/M", "content-type", "application/grpc", "te", "trailers")...)
				f := c.await(func(f http2.Frame) bool {
					h, head := f.(*http2.MetaHeadersFrame)
					return f.Header().StreamID == id && (head && h.StreamEnded() || f.Header().Type == http2.FrameRSTStream)
				})
				if h, ok := f.(*http2.MetaHeadersFrame); !ok || h.Fields[0].Name != "grpc-status" || h.Fields[0].Value != "14" {
					t.Fatalf("%v", f)
				}
			}
		})
	}
}
