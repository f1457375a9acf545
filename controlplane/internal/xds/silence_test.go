package xds_test

import (
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// relay passes bytes on between one client and the address until it is frozen:
// then the connection stands, and nothing comes through, as when a machine has
// lost its power.
type relay struct {
	listener net.Listener
	frozen   chan struct{}
	running  sync.WaitGroup
}

func newRelay(t *testing.T, address string) *relay {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{listener: l, frozen: make(chan struct{})}
	end := make(chan struct{})
	r.running.Go(func() {
		client, err := l.Accept()
		if err != nil {
			return
		}
		server, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", address)
		if err != nil {
			client.Close()
			return
		}
		r.running.Go(func() { r.pass(server, client) })
		r.running.Go(func() { r.pass(client, server) })
		<-end
		client.Close()
		server.Close()
	})
	t.Cleanup(func() { close(end); l.Close(); r.running.Wait() })
	return r
}

func (r *relay) pass(to io.Writer, from io.Reader) {
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		select {
		case <-r.frozen:
			continue // swallowed
		default:
		}
		if _, err := to.Write(buf[:n]); err != nil {
			return
		}
	}
}

func TestAClientThatFallsSilentIsNoticedWithinSeconds(t *testing.T) {
	t.Parallel()
	p := start(t, t.TempDir())
	r := newRelay(t, p.xds)
	api := p.api
	p.xds = r.listener.Addr().String()
	p.register("n1", "127.0.0.1:9001")
	metrics := func() string {
		t.Helper()
		resp, err := http.Get("http://" + api + "/metrics")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return string(body)
	}
	if !strings.Contains(metrics(), "outrigger_registration_streams 1\n") {
		t.Fatal("the stream is not there")
	}
	close(r.frozen)
	since := time.Now()
	for !strings.Contains(metrics(), "outrigger_registration_streams 0\n") {
		if time.Since(since) > patience {
			t.Fatalf("the silent client is still there after %s", patience)
		}
		time.Sleep(50 * time.Millisecond)
	}
}
