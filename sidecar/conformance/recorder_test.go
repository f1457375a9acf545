package conformance

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// recorder is an app that writes down every byte that reaches it, and what
// net/http makes of them.
type recorder struct {
	address string
	// stop takes no more connections and waits for the end of those that are
	// open, which is the sidecar's to bring about.
	stop func()

	mu       sync.Mutex
	requests []string // one line each; see record
	raw      strings.Builder
}

func startRecorder(t *testing.T) *recorder {
	t.Helper()
	ln := listen(t)
	r := &recorder{address: ln.Addr().String()}
	var wg sync.WaitGroup
	r.stop = func() {
		_ = ln.Close()
		wg.Wait()
	}
	wg.Go(func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			_ = nc.SetDeadline(time.Now().Add(patience))
			wg.Go(func() {
				defer func() { _ = nc.Close() }()
				r.serve(nc)
			})
		}
	})
	return r
}

// serve answers what is a request with its method and target, until something
// is none.
func (r *recorder) serve(nc net.Conn) {
	in := bufio.NewReaderSize(io.TeeReader(nc, r), 1<<17)
	for {
		if _, err := in.Peek(1); err != nil {
			return // a connection may end, or never begin
		}
		req, err := http.ReadRequest(in)
		if err != nil {
			r.record(fmt.Sprintf("no request: %v", err))
			return
		}
		body, err := io.ReadAll(req.Body)
		what := fmt.Sprintf("%s %s @%s", req.Method, req.RequestURI, req.Host)
		if len(body) > 0 {
			what += fmt.Sprintf(" %q", body)
		}
		for name, values := range req.Trailer {
			if len(values) > 0 {
				what += fmt.Sprintf(" trailer %s=%q", name, values)
			}
		}
		if err != nil {
			r.record(what + " broken")
			return
		}
		r.record(what)
		answer := req.Method + " " + req.RequestURI
		if req.Method == http.MethodHead {
			_, err = fmt.Fprintf(nc, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", len(answer))
		} else {
			_, err = fmt.Fprintf(nc, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(answer), answer)
		}
		if err != nil {
			return
		}
	}
}

// Write takes down bytes as they come.
func (r *recorder) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.raw.Write(p)
}

func (r *recorder) record(what string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.requests = append(r.requests, what)
}

// seen is what has come so far.
func (r *recorder) seen() (requests []string, raw string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.requests), r.raw.String()
}
