package intake

import (
	"context"
	"log/slog"
	"net"
	"testing"
	"time"
)

func listen(t *testing.T) net.Listener {
	t.Helper()
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	return ln
}

func TestAddStopsAtTheLimit(t *testing.T) {
	s := New[int](2)
	if !s.Add(1) || !s.Add(2) || s.Add(3) || s.Len() != 2 {
		t.Fatalf("%d connections", s.Len())
	}
	s.Remove(1)
	if !s.Add(3) || s.Len() != 2 {
		t.Fatalf("%d connections after one has gone", s.Len())
	}
}

func TestShutdownWaitsThenAborts(t *testing.T) {
	s, ln := New[net.Conn](8), listen(t)
	started := make(chan net.Conn, 1)
	served := make(chan error, 1)
	go func() {
		served <- s.Serve(ln, slog.New(slog.DiscardHandler), func(nc net.Conn) {
			s.Add(nc)
			started <- nc
		})
	}()
	client, err := new(net.Dialer).DialContext(t.Context(), "tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	nc := <-started
	quieted := 0
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	aborted := s.Shutdown(ctx, func(net.Conn) { quieted++ }, func(c net.Conn) {
		_ = c.Close()
		go s.Remove(c)
	})
	if aborted != 1 || quieted != 1 || s.Len() != 0 || !s.Stopping() {
		t.Errorf("aborted %d, quieted %d, left %d", aborted, quieted, s.Len())
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
	if _, err := nc.Write(nil); err == nil {
		t.Error("the connection is still open")
	}
}

func TestServeAfterShutdownTakesNothing(t *testing.T) {
	s, ln := New[net.Conn](8), listen(t)
	if n := s.Shutdown(t.Context(), func(net.Conn) {}, func(net.Conn) {}); n != 0 {
		t.Fatalf("aborted %d", n)
	}
	if err := s.Serve(ln, slog.New(slog.DiscardHandler), func(net.Conn) { t.Error("took a connection") }); err != nil {
		t.Error(err)
	}
}
