package upstream

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"golang.org/x/net/http2"

	"github.com/outrigger-mesh/outrigger/middleware"
	"github.com/outrigger-mesh/outrigger/registry"
)

func echo(w http.ResponseWriter, r *http.Request) {
	b, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	w.Header().Set("Trailer", "X-End")
	w.Header().Set("X-Proto", fmt.Sprintf("%s %s %d", r.Proto, r.Method, r.ContentLength))
	w.Header().Set("X-Trailer", r.Trailer.Get("X-Sum"))
	_, _ = w.Write(b)
	w.Header().Set("X-End", "yes")
}

func TestRequestsAndBodiesOverHTTP2(t *testing.T) {
	s := newServer2(t, &http2.Server{}, echo)
	c := cluster2(t, registry.ProtocolHTTP2, nil, s.address)
	large := strings.Repeat("0123456789abcdef", 1<<16) // 1 MiB: more than every window
	slow := func(text string) io.Reader {
		r, w := io.Pipe()
		go func() {
			for _, c := range text {
				_, _ = w.Write([]byte(string(c)))
			}
			_ = w.Close()
		}()
		return r
	}
	for name, tt := range map[string]struct {
		x     *middleware.Exchange
		proto string
		body  string
	}{
		"none":                  {request(c), "HTTP/2.0 GET 0", ""},
		"ready":                 {withBody(request2(c), ready{bytes.NewReader([]byte("hello"))}, -1), "HTTP/2.0 POST -1", "hello"},
		"ready, of a length":    {withBody(request2(c), ready{bytes.NewReader([]byte("hello"))}, 5), "HTTP/2.0 POST 5", "hello"},
		"empty":                 {withBody(request2(c), ready{bytes.NewReader(nil)}, -1), "HTTP/2.0 POST 0", ""},
		"of HTTP/1.1":           {withBody(request(c), ready{bytes.NewReader([]byte("hello"))}, 5), "HTTP/2.0 POST 5", "hello"},
		"chunked":               {withBody(request(c), strings.NewReader("hello"), -1), "HTTP/2.0 POST -1", "hello"},
		"byte by byte":          {withBody(request2(c), slow("hello"), -1), "HTTP/2.0 POST -1", "hello"},
		"large":                 {withBody(request2(c), strings.NewReader(large), int64(len(large))), fmt.Sprintf("HTTP/2.0 POST %d", len(large)), large},
		"large, of no length":   {withBody(request2(c), strings.NewReader(large), -1), "HTTP/2.0 POST -1", large},
		"large, ready at once":  {withBody(request2(c), ready{bytes.NewReader([]byte(large))}, -1), "HTTP/2.0 POST -1", large},
		"no length, of nothing": {withBody(request(c), strings.NewReader(""), -1), "HTTP/2.0 POST -1", ""},
	} {
		t.Run(name, func(t *testing.T) {
			a := fetch(tt.x)
			if a.status != 200 || a.err != nil || a.body != tt.body || a.header["x-proto"] != tt.proto || a.trailer["x-end"] != "yes" {
				t.Errorf("status %d (%s %s), %q, %d bytes (%v), trailer %v", a.status, a.reason, a.message, a.header["x-proto"], len(a.body), a.err, a.trailer)
			}
		})
	}
	if n := s.conns.Load(); n != 1 {
		t.Errorf("%d connections were made for one request at a time, want 1", n)
	}
	empty2(t, c)
}

// empty2 fails unless no request is counted any more, and no stream is open.
func empty2(t *testing.T, c *Cluster) {
	t.Helper()
	until(t, "no stream is open", func() bool {
		streams := 0
		for _, h := range *c.limits.hosts.Load() {
			_, n := h.muxes.counts()
			streams += n
		}
		p := c.Status().Pool
		return streams == 0 && p.Requests == 0 && p.Pending == 0
	})
	until(t, "nobody waits, and every connection counts", func() bool {
		c.limits.mu.Lock()
		defer c.limits.mu.Unlock()
		connections, waiting := 0, c.limits.waiting.Load()
		for _, h := range *c.limits.hosts.Load() {
			n, _ := h.muxes.counts()
			connections += n + h.idleCount()
			waiting += h.muxes.waiting.Load() + int64(h.muxes.opening)
		}
		return waiting == 0 && c.limits.connections == connections
	})
}
