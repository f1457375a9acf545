package conformance

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// pieces is how many pieces the streams of livingApp have.
const pieces = 20

// livingApp answers /quick at once, /slow after a while, and /stream in pieces
// with time between them; /upload counts what it is sent, and /upgrade becomes
// an echo. Each of them is counted in begun when it has begun.
func livingApp(t *testing.T, begun *atomic.Int64) string {
	t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("/quick", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "quick") })
	mux.HandleFunc("/large", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, 1<<20)) })
	mux.HandleFunc("/slow", func(w http.ResponseWriter, r *http.Request) {
		begun.Add(1)
		select {
		case <-time.After(time.Second):
			_, _ = io.WriteString(w, "slow")
		case <-r.Context().Done():
		}
	})
	mux.HandleFunc("/stream", func(w http.ResponseWriter, _ *http.Request) {
		begun.Add(1)
		for i := range pieces {
			_, _ = fmt.Fprintf(w, "piece %d\n", i)
			_ = http.NewResponseController(w).Flush()
			time.Sleep(50 * time.Millisecond)
		}
	})
	mux.HandleFunc("/upload", func(w http.ResponseWriter, r *http.Request) {
		begun.Add(1)
		n, err := io.Copy(io.Discard, r.Body)
		_, _ = fmt.Fprintf(w, "%d bytes %v", n, err)
	})
	mux.HandleFunc("/upgrade", func(w http.ResponseWriter, _ *http.Request) {
		nc, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer func() { _ = nc.Close() }()
		_, _ = io.WriteString(nc, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		begun.Add(1)
		_, _ = io.Copy(nc, rw)
	})
	srv := httptest.NewServer(mux)
	t.Cleanup(srv.Close)
	return srv.Listener.Addr().String()
}

const programYAML = `
app: {name: orders, address: %q, health: {interval: 200ms}}
listen: {inbound: "127.0.0.1:0", outbound: "127.0.0.1:0", admin: "127.0.0.1:0"}
discovery: {registry: {}}
upstreams: {app: {endpoints: [%q]}}
drain: {delay: %s, timeout: %s}
middleware: {inbound: [requestid, metrics], outbound: [requestid, metrics, retry]}
log: {format: json}
`

// TestSIGTERMFailsNoRequest: what is in flight is finished, clients of kept
// connections are told to go, new ones are served as long as callers may not
// know yet, and the program ends by itself, with 0.
func TestSIGTERMFailsNoRequest(t *testing.T) {
	var begun atomic.Int64
	app := livingApp(t, &begun)
	p := startProgram(t, fmt.Sprintf(programYAML, app, app, "600ms", "20s"))
	var wg sync.WaitGroup
	var served atomic.Int64
	stop := make(chan struct{}) // of who opens connections
	inFlight := 0
	for _, address := range []string{p.at["listen.inbound"], p.at["listen.outbound"]} {
		one := func(request, want string) {
			conn := dial(t, address)
			_ = conn.SetDeadline(time.Now().Add(2 * patience))
			conn.send(request)
			inFlight++
			wg.Go(func() {
				if got := conn.next("GET"); got != want {
					t.Errorf("in flight: got %q, want %q", got, want)
				}
			})
		}
		var all strings.Builder
		for i := range pieces {
			_, _ = fmt.Fprintf(&all, "piece %d\n", i)
		}
		for range 5 {
			one("GET /slow HTTP/1.1\r\nHost: app\r\n\r\n", "200 slow")
			one("GET /stream HTTP/1.1\r\nHost: app\r\n\r\n", "200 "+all.String())
		}
		uploads := dial(t, address)
		_ = uploads.SetDeadline(time.Now().Add(2 * patience))
		uploads.send("POST /upload HTTP/1.1\r\nHost: app\r\nTransfer-Encoding: chunked\r\n\r\n")
		inFlight++
		wg.Go(func() {
			for range pieces {
				uploads.send("5\r\npiece\r\n")
				time.Sleep(50 * time.Millisecond)
			}
			uploads.send("0\r\n\r\n")
			if got, want := uploads.next("POST"), fmt.Sprintf("200 %d bytes <nil>", 5*pieces); got != want {
				t.Errorf("upload: got %q, want %q", got, want)
			}
		})
		socket := dial(t, address)
		_ = socket.SetDeadline(time.Now().Add(2 * patience))
		socket.send("GET /upgrade HTTP/1.1\r\nHost: app\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		socket.upgraded(t)
		inFlight++
		wg.Go(func() {
			for i := range pieces {
				message := fmt.Sprintf("message %d", i)
				socket.send(message)
				got := make([]byte, len(message))
				if _, err := io.ReadFull(socket.r, got); err != nil || string(got) != message {
					t.Errorf("upgraded: got %q, %v", got, err)
					return
				}
				time.Sleep(50 * time.Millisecond)
			}
			_ = socket.Close()
		})
		// Kept connections, always busy, until they are told to go.
		for range 5 {
			conn := dial(t, address)
			wg.Go(func() {
				for {
					if closing, err := quick(conn); err != nil {
						t.Errorf("kept connection: %v", err)
						return
					} else if closing {
						return
					}
					served.Add(1)
				}
			})
		}
		// New connections.
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				conn := dial(t, address)
				if _, err := quick(conn); err != nil {
					t.Errorf("new connection: %v", err)
				}
				served.Add(1)
				_ = conn.Close()
			}
		})
	}
	eventually(t, "all requests are in flight", func() bool { return begun.Load() == int64(inFlight) && served.Load() > 100 })
	idle := dial(t, p.at["listen.inbound"])
	if _, err := quick(idle); err != nil {
		t.Fatal(err)
	}
	p.terminate(t)
	// Who comes now is served still, for the delay is not over.
	before := served.Load()
	eventually(t, "clients are served after the signal", func() bool { return served.Load() >= before+10 })
	close(stop)
	wg.Wait()
	if got := idle.next("GET"); got != "closed" {
		t.Errorf("an unused connection: %s", got)
	}
	p.wantExit(t)
	t.Logf("%d requests in flight, %d others", inFlight, served.Load())
}

// quick makes one request on a connection; it reports whether the connection
// ends with it.
func quick(c *client) (closing bool, err error) {
	c.send("GET /quick HTTP/1.1\r\nHost: app\r\n\r\n")
	resp, err := http.ReadResponse(c.r, nil)
	if err != nil {
		return false, err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return false, fmt.Errorf("%d %q: %w", resp.StatusCode, body, err)
	}
	if resp.StatusCode != http.StatusOK || string(body) != "quick" {
		return false, fmt.Errorf("%d %q", resp.StatusCode, body)
	}
	return resp.Close, nil
}

// TestSIGTERMDoesNotWaitForEver: what does not end is cut off after the drain's
// time, so that no client takes it for a whole answer, and that is no failure
// of the program.
func TestSIGTERMDoesNotWaitForEver(t *testing.T) {
	stuck := make(chan struct{})
	app := scripted(t, func(_ int, nc net.Conn, _ *bufio.Reader) {
		_, _ = io.WriteString(nc, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
		<-stuck
	})
	defer close(stuck)
	p := startProgram(t, fmt.Sprintf(programYAML, app, app, "10ms", "300ms"))
	// For the second client the end of the connection is the end of the body.
	conns := map[string]*client{"HTTP/1.1": dial(t, p.at["listen.inbound"]), "HTTP/1.0": dial(t, p.at["listen.inbound"])}
	for proto, c := range conns {
		c.send("GET /x " + proto + "\r\nHost: app\r\n\r\n")
		if head, err := readHead(c.r); err != nil || !strings.HasPrefix(head, "HTTP/1.1 200 ") {
			t.Fatalf("%s: got %q, %v", proto, head, err)
		}
	}
	p.terminate(t)
	p.wantExit(t)
	for proto, c := range conns {
		if rest, err := io.ReadAll(c.r); err == nil && (proto == "HTTP/1.0" || strings.HasSuffix(string(rest), "0\r\n\r\n")) {
			t.Errorf("%s: what was cut off ended like a whole answer: %q", proto, rest)
		}
	}
}
