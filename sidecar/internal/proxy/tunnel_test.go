package proxy

import (
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/sidecar/internal/upstream"
)

// echoServer is a server of no protocol: it answers each byte with itself, and speaks
// first.
func echoServer(t *testing.T) *upstream.Cluster {
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	go func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				_, _ = io.WriteString(nc, "hello ")
				_, _ = io.Copy(nc, nc)
				_ = nc.Close()
			}()
		}
	}()
	c := upstream.NewCluster(upstream.Config{Name: "echo"})
	c.SetEndpoints([]upstream.EndpointConfig{{Address: ln.Addr().String()}})
	t.Cleanup(c.Close)
	return c
}

func TestConnectOpensATunnelWhereItIsServed(t *testing.T) {
	address := serve(t, Options{Listener: "outbound", Dispatcher: to(echoServer(t)), Tunnels: true})
	c := dial(t, address)
	c.send("CONNECT echo:80 HTTP/1.1\r\nHost: echo:80\r\n\r\nsent with the head, ")
	line, err := c.r.ReadString('\n')
	if err != nil || line != "HTTP/1.1 200 OK\r\n" {
		t.Fatalf("%q, %v", line, err)
	}
	if line, err = c.r.ReadString('\n'); err != nil || line != "\r\n" {
		t.Fatalf("a tunnel's head has no fields about a body: %q, %v", line, err)
	}
	c.send("and after it")
	if err := c.Conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(c.r)
	if want := "hello sent with the head, and after it"; err != nil || string(got) != want {
		t.Errorf("got %q, %v; want %q", got, err, want)
	}
}

func TestARefusedConnectEndsTheConnection(t *testing.T) {
	reached := make(chan string, 8)
	cluster := app(t, func(_ http.ResponseWriter, r *http.Request) { reached <- r.URL.Path })
	for name, o := range map[string]Options{
		"not served": {Listener: "inbound", Dispatcher: to(cluster)},
		"no endpoint": {
			Listener: "outbound", Dispatcher: to(upstream.NewCluster(upstream.Config{Name: "nothing"})), Tunnels: true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := dial(t, serve(t, o))
			c.send("CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n")
			got, err := io.ReadAll(c.r)
			if err != nil || strings.Count(string(got), "HTTP/1.1 ") != 1 || !strings.Contains(string(got), "Connection: close") {
				t.Errorf("%v\n%s", err, got)
			}
		})
	}
	select {
	case path := <-reached:
		t.Errorf("the app got %s, which was meant for the tunnel", path)
	default:
	}
}

// A client that says that it closes may close its way out at once.
func TestAClosedWayOutIsNoLeavingClientWhereCloseWasSaid(t *testing.T) {
	address := serve(t, Options{Listener: "inbound", Dispatcher: to(app(t, func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-time.After(10 * watchAfter):
			_, _ = io.WriteString(w, "late")
		case <-r.Context().Done():
		}
	}))})
	for _, head := range []string{"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", "GET / HTTP/1.0\r\n\r\n"} {
		c := dial(t, address)
		c.send(head)
		if err := c.Conn.(*net.TCPConn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if got, body := c.response("GET"); got.StatusCode != http.StatusOK || body != "late" {
			t.Errorf("%q: %d %q", head, got.StatusCode, body)
		}
	}
}
