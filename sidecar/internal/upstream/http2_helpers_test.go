package upstream

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/outrigger-mesh/outrigger/middleware"
	"github.com/outrigger-mesh/outrigger/registry"
)

// server2 is a server of HTTP/2 without TLS, and the connections it has.
type server2 struct {
	address string
	conns   atomic.Int64 // ever
	open    atomic.Int64
}

func newServer2(t testing.TB, o *http2.Server, h http.HandlerFunc) *server2 {
	t.Helper()
	s := &server2{}
	var mu sync.Mutex
	all := map[net.Conn]bool{}
	var wg sync.WaitGroup
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.address = ln.Addr().String()
	wg.Go(func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			all[nc] = true
			mu.Unlock()
			s.conns.Add(1)
			s.open.Add(1)
			wg.Go(func() {
				defer s.open.Add(-1)
				o.ServeConn(nc, &http2.ServeConnOpts{Handler: h})
			})
		}
	})
	t.Cleanup(func() {
		_ = ln.Close()
		mu.Lock()
		for nc := range all {
			_ = nc.Close()
		}
		mu.Unlock()
		wg.Wait()
	})
	return s
}

// cluster2 makes a cluster that is declared to speak p.
func cluster2(t testing.TB, p registry.Protocol, change func(*Settings), addresses ...string) *Cluster {
	t.Helper()
	s := DefaultSettings()
	s.Outlier.Off = true
	if change != nil {
		change(&s)
	}
	c := NewCluster(Config{Name: "svc", Protocol: p, Settings: &s})
	c.SetEndpoints(endpoints(addresses...))
	t.Cleanup(c.Close)
	return c
}

// request2 is a request that came over HTTP/2.
func request2(c *Cluster) *middleware.Exchange {
	x := request(c)
	x.Request.Proto = middleware.HTTP2
	return x
}

// withBody gives a request a body; known: its length is said.
func withBody(x *middleware.Exchange, body io.Reader, length int64) *middleware.Exchange {
	x.Request.Method = []byte("POST")
	x.Request.ContentLength = length
	x.Request.Body.Reset(body)
	return x
}

// ready is a body that has come whole already.
type ready struct{ *bytes.Reader }

func (r ready) Buffered() int  { return r.Len() }
func (r ready) Complete() bool { return true }

// response is what an exchange came to, with the body.
type response struct {
	result
	body    string
	header  map[string]string
	trailer map[string]string
	err     error
	message string
}

// fetch serves the exchange to its end, and keeps its response.
func fetch(x *middleware.Exchange) (a response) {
	x.Serve(middleware.Router)
	a.status, a.reason = x.Response.Status, x.Reason()
	a.header, a.trailer = map[string]string{}, map[string]string{}
	for f := range x.Response.Header.All() {
		a.header[string(f.Name)] = string(f.Value)
	}
	if as := x.Attempts(); len(as) > 0 {
		a.endpoint, a.unsent = as[0].Endpoint.Key, as[0].Unsent()
		if err := as[len(as)-1].Err(); err != nil {
			a.message = err.Error()
		}
	}
	if x.Response.Body != nil {
		b, err := io.ReadAll(x.Response.Body)
		a.body, a.err = string(b), err
	}
	for f := range x.Response.Trailer.All() {
		a.trailer[string(f.Name)] = string(f.Value)
	}
	x.End(a.err)
	return a
}

// peer2 is a server of HTTP/2 that does with each connection what a test says,
// frame by frame.
type peer2 struct {
	*http2.Framer
	nc net.Conn
}

// newPeer2 serves each connection with f, which is given its number, from 0 on.
// The client's preface has been read.
func newPeer2(t *testing.T, f func(n int, p *peer2)) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	var all []net.Conn
	wg.Go(func() {
		for n := 0; ; n++ {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			all = append(all, nc)
			mu.Unlock()
			wg.Go(func() {
				defer nc.Close()
				preface := make([]byte, len(http2.ClientPreface))
				if _, err := io.ReadFull(nc, preface); err != nil || string(preface) != http2.ClientPreface {
					return
				}
				p := &peer2{Framer: http2.NewFramer(nc, nc), nc: nc}
				p.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
				f(n, p)
			})
		}
	})
	t.Cleanup(func() {
		_ = ln.Close()
		mu.Lock()
		for _, nc := range all {
			_ = nc.Close()
		}
		mu.Unlock()
		wg.Wait()
	})
	return ln.Addr().String()
}

// next is the next frame of a kind that matters to tests; nil: the connection
// has ended.
func (p *peer2) next() http2.Frame {
	for {
		f, err := p.ReadFrame()
		if err != nil {
			return nil
		}
		switch f := f.(type) {
		case *http2.SettingsFrame:
			if !f.IsAck() {
				_ = p.WriteSettingsAck()
			}
		case *http2.WindowUpdateFrame, *http2.PingFrame:
		default:
			return f
		}
	}
}

// head waits for a request's head, and is its stream.
func (p *peer2) head() uint32 {
	for {
		switch f := p.next().(type) {
		case nil:
			return 0
		case *http2.MetaHeadersFrame:
			return f.StreamID
		}
	}
}

// respond writes the head of a response.
func (p *peer2) respond(stream uint32, end bool, fields ...string) {
	var block bytes.Buffer
	enc := hpack.NewEncoder(&block)
	for i := 0; i < len(fields); i += 2 {
		_ = enc.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]})
	}
	_ = p.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: block.Bytes(), EndStream: end, EndHeaders: true})
}

// drain reads until the connection ends.
func (p *peer2) drain() {
	for p.next() != nil {
	}
}
