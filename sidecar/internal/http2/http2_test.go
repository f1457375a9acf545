package http2

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/net/http2"

	"github.com/outrigger-mesh/outrigger/middleware"
	"github.com/outrigger-mesh/outrigger/sidecar/internal/netio"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// handler answers each request on a goroutine of its own.
type handler struct {
	serve func(*Stream)
	mu    sync.Mutex
	lost  []error
}

func (h *handler) Request(s *Stream) { go h.serve(s) }

func (h *handler) Reset(s *Stream, err error) {
	h.mu.Lock()
	h.lost = append(h.lost, err)
	h.mu.Unlock()
	s.Interrupt(err)
}

func listen(t testing.TB) net.Listener {
	t.Helper()
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	return ln
}

// server serves every connection with our side; it returns the address.
func server(t testing.TB, o Options, serve func(*Stream)) string {
	t.Helper()
	ln := listen(t)
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			c := NewServer(netio.New(nc), nil, o, &handler{serve: serve})
			wg.Go(func() { _ = c.Serve() })
		}
	})
	t.Cleanup(func() {
		_ = ln.Close()
		wg.Wait()
	})
	return ln.Addr().String()
}

// echo answers with what came, and trailers.
func echo(s *Stream) {
	defer s.Finish()
	h := s.Head()
	var r middleware.Response
	r.Status, r.ContentLength = 200, -1
	for f := range h.Header.All() {
		r.Header.AddBytes(string(f.Name), f.Value)
	}
	r.Header.Add("x-method", string(h.Method))
	r.Header.Add("x-path", string(h.Path))
	r.Header.Add("x-authority", string(h.Authority))
	r.Header.Add("trailer", "x-bytes")
	if s.WriteResponse(&r, false) != nil {
		return
	}
	s.Flush()
	buf := make([]byte, 32<<10)
	total := 0
	for {
		n, err := s.Read(buf)
		total += n
		if _, err := s.WriteData(buf[:n], false); err != nil {
			return
		}
		s.Flush()
		if err == io.EOF {
			break
		}
		if err != nil {
			s.Reset(CodeInternal)
			return
		}
	}
	var trailer middleware.Header
	trailer.Add("x-bytes", fmt.Sprint(total))
	_ = s.WriteTrailer(&trailer)
}

func transport(t testing.TB) *http.Client {
	tr := &http2.Transport{AllowHTTP: true, DialTLSContext: func(ctx context.Context, network, addr string, _ *tls.Config) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, addr)
	}}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: 20 * time.Second}
}

func TestServesTheClientOfXNet(t *testing.T) {
	address := server(t, Options{}, echo)
	client := transport(t)
	var wg sync.WaitGroup
	for i, size := range []int{0, 1, 100, 1 << 10, 70_000, 3 << 20, 3<<20 + 17} {
		wg.Go(func() {
			body := bytes.Repeat([]byte{byte('a' + i)}, size)
			req, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+address+"/x?y=z", bytes.NewReader(body))
			req.Header.Set("X-Custom", strings.Repeat("v", 100*i))
			res, err := client.Do(req)
			if err != nil {
				t.Error(err)
				return
			}
			defer func() { _ = res.Body.Close() }()
			got, err := io.ReadAll(res.Body)
			if err != nil || !bytes.Equal(got, body) {
				t.Errorf("%d bytes: got %d, %v", size, len(got), err)
			}
			if res.Trailer.Get("X-Bytes") != fmt.Sprint(size) || res.Header.Get("X-Path") != "/x?y=z" || res.Header.Get("X-Custom") != req.Header.Get("X-Custom") {
				t.Errorf("%d bytes: header %v, trailer %v", size, res.Header, res.Trailer)
			}
		})
	}
	wg.Wait()
}

// dial is our client's side to a server.
func dialClient(t testing.TB, address string, o Options) *Conn {
	t.Helper()
	nc, err := new(net.Dialer).DialContext(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	c := NewClient(netio.New(nc), o)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = c.Serve()
	}()
	t.Cleanup(func() {
		c.Close()
		<-done
	})
	return c
}

func roundTrip(c *Conn, method, path string, body []byte) (status int, got []byte, trailer string, err error) {
	s, err := c.Open()
	if err != nil {
		return 0, nil, "", err
	}
	defer s.Finish()
	var r middleware.Request
	r.Method, r.Scheme, r.Authority, r.Target = []byte(method), []byte("http"), []byte("a.example"), []byte(path)
	r.ContentLength = int64(len(body))
	if err := s.WriteRequest(&r, RequestOptions{}, len(body) == 0); err != nil {
		return 0, nil, "", err
	}
	if len(body) > 0 {
		go func() { _, _ = s.WriteData(body, true) }()
	}
	h, err := s.AwaitHead()
	if err != nil {
		return 0, nil, "", err
	}
	got, err = io.ReadAll(s)
	return h.Status, got, string(s.Trailer().Get("x-bytes")), err
}

func TestOurTwoSides(t *testing.T) {
	c := dialClient(t, server(t, Options{}, echo), Options{})
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			body := bytes.Repeat([]byte{byte(i)}, i*i*100)
			status, got, trailer, err := roundTrip(c, "POST", "/", body)
			if err != nil || status != 200 || !bytes.Equal(got, body) || trailer != fmt.Sprint(len(body)) {
				t.Errorf("%d: %d, %d bytes, %q, %v", i, status, len(got), trailer, err)
			}
		})
	}
	wg.Wait()
}

func TestClientOfAServerOfXNet(t *testing.T) {
	ln := listen(t)
	go func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			go new(http2.Server).ServeConn(nc, &http2.ServeConnOpts{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Trailer", "X-Bytes")
				n, _ := io.Copy(w, r.Body)
				w.Header().Set("X-Bytes", fmt.Sprint(n))
			})})
		}
	}()
	c := dialClient(t, ln.Addr().String(), Options{})
	for _, size := range []int{0, 5, 300_000, 5 << 20} {
		body := bytes.Repeat([]byte("x"), size)
		status, got, trailer, err := roundTrip(c, "POST", "/", body)
		if err != nil || status != 200 || !bytes.Equal(got, body) || trailer != fmt.Sprint(size) {
			t.Errorf("%d: %d, %d bytes, %q, %v", size, status, len(got), trailer, err)
		}
	}
}

func TestAServerOfHTTP1IsKnownAsSuch(t *testing.T) {
	ln := listen(t)
	go func() { _ = http.Serve(ln, nil) }() //nolint:gosec // a test
	c := dialClient(t, ln.Addr().String(), Options{})
	<-c.Ready()
	if !c.NotHTTP2() {
		t.Errorf("it is taken for one of HTTP/2: %v", c.Err())
	}
	if _, err := c.Open(); !errors.Is(err, ErrGoingAway) {
		t.Errorf("%v", err)
	}
}
