package upstream

import (
	"encoding/binary"
	"io"
	"net"
	"runtime"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/outrigger-mesh/outrigger/middleware"
	"github.com/outrigger-mesh/outrigger/registry"
)

// canned answers every request with 200, five bytes and a trailer, and allocates
// nothing meanwhile.
func canned(t testing.TB) string {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		nc, err := ln.Accept()
		if err != nil {
			return
		}
		defer nc.Close()
		answerCanned(nc)
	}()
	t.Cleanup(func() {
		_ = ln.Close()
		<-ended
	})
	return ln.Addr().String()
}

func answerCanned(nc net.Conn) {
	const head = 9
	answer := []byte{
		0, 0, 1, 1, 4, 0, 0, 0, 0, 0x88, // :status 200
		0, 0, 5, 0, 0, 0, 0, 0, 0, 'h', 'e', 'l', 'l', 'o',
		0, 0, 15, 1, 5, 0, 0, 0, 0, 0, 11, 'g', 'r', 'p', 'c', '-', 's', 't', 'a', 't', 'u', 's', 1, '0',
	}
	buf := make([]byte, 64<<10)
	if _, err := io.ReadFull(nc, buf[:len(http2.ClientPreface)]); err != nil {
		return
	}
	if _, err := nc.Write([]byte{0, 0, 0, 4, 0, 0, 0, 0, 0}); err != nil { // SETTINGS
		return
	}
	for n := 0; ; {
		m, err := nc.Read(buf[n:])
		if err != nil {
			return
		}
		n += m
		at := 0
		for n-at >= head {
			size := int(buf[at])<<16 | int(buf[at+1])<<8 | int(buf[at+2])
			if n-at < head+size {
				break
			}
			if kind, flags := buf[at+3], buf[at+4]; kind <= 1 && flags&1 != 0 { // the end of a request
				id := binary.BigEndian.Uint32(buf[at+5:])
				for _, start := range []int{0, 10, 24} {
					binary.BigEndian.PutUint32(answer[start+5:], id)
				}
				if _, err := nc.Write(answer); err != nil {
					return
				}
			}
			at += head + size
		}
		n = copy(buf, buf[at:n])
	}
}

// tenBytes is a body that has come whole, and begins anew each time.
type tenBytes struct{ left int }

func (c *tenBytes) Read(p []byte) (int, error) {
	n := min(len(p), c.left)
	if c.left -= n; c.left == 0 {
		return n, io.EOF
	}
	return n, nil
}
func (c *tenBytes) Buffered() int  { return c.left }
func (c *tenBytes) Complete() bool { return true }

// late is tenBytes for who does not know that it is there.
type late struct{ *tenBytes }

func (late) Complete() bool { return false }

// TestAllocationsOfACallOverHTTP2: one is for the trailer, which comes as text
// that is not in the table. The connection's window lasts for the calls.
func TestAllocationsOfACallOverHTTP2(t *testing.T) {
	if underRace {
		t.Skip("the race detector allocates")
	}
	for name, tt := range map[string]struct {
		c    *tenBytes
		most float64
	}{
		"ready": {&tenBytes{}, 1}, "later": {&tenBytes{}, 1},
		"none": {nil, 2}, // a POST says that there is none: in text
	} {
		t.Run(name, func(t *testing.T) {
			cl := cluster2(t, registry.ProtocolGRPC, nil, canned(t))
			x := request2(cl)
			target := &middleware.Target{
				Pick: func(*middleware.Exchange) (middleware.Picker, error) { return cl, nil }, Try: middleware.Transport,
			}
			var body io.Reader
			if tt.c != nil {
				body = tt.c
				if name == "later" {
					body = late{tt.c}
				}
			}
			method, path, authority, buf := []byte("POST"), []byte("/a.B/C"), []byte("svc"), make([]byte, 100)
			once := func() {
				x.Start = time.Now()
				r := &x.Request
				r.Proto, r.Method, r.Target, r.Authority = middleware.HTTP2, method, path, authority
				r.Header.Add("content-type", "application/grpc")
				if body != nil {
					tt.c.left = 10
					r.ContentLength = -1
					r.Body.Reset(body)
				}
				x.SetTarget(target)
				x.Serve(middleware.Router)
				if x.Response.Status != 200 {
					t.Fatalf("status %d, %s", x.Response.Status, x.Reason())
				}
				n := 0
				for {
					k, err := x.Response.Body.Read(buf)
					n += k
					if err == io.EOF {
						break
					}
					if err != nil {
						t.Fatal(err)
					}
				}
				if n != 5 || string(x.Response.Trailer.Get("grpc-status")) != "0" {
					t.Fatalf("%d bytes, trailer %q", n, x.Response.Trailer.Get("grpc-status"))
				}
				x.End(nil)
				for !x.Reset() {
					runtime.Gosched() // the pump is about to end
				}
			}
			if n := testing.AllocsPerRun(2000, once); n > tt.most {
				t.Errorf("%v allocations, want %v at most", n, tt.most)
			} else {
				t.Logf("%v allocations", n)
			}
		})
	}
}
