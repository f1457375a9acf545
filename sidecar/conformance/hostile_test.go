package conformance

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// hostile is an app that answers /x with whatever bytes it was given, and all
// else decently: with the target, and the number of the connection.
type hostile struct {
	address string
	script  script

	xs    atomic.Int64 // requests for /x
	conns atomic.Int64
}

// script is the app's doing at a request for /x.
type script struct {
	send  string // the answer
	after string // sent once the client has its answer, while the connection lies unused
	end   ending
}

// ending is what the app does with the connection after its answer.
type ending int

const (
	stays    ending = iota
	closes          // FIN
	breaks          // RST
	halfEnds        // FIN of its own side; it goes on reading
)

func startHostile(t *testing.T, s script, late <-chan struct{}, done chan<- struct{}) *hostile {
	t.Helper()
	ln := listen(t)
	h := &hostile{address: ln.Addr().String(), script: s}
	go func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			_ = nc.SetDeadline(time.Now().Add(patience))
			go func() {
				defer func() { _ = nc.Close() }()
				h.serve(nc, late, done)
			}()
		}
	}()
	return h
}

func (h *hostile) serve(nc net.Conn, late <-chan struct{}, done chan<- struct{}) {
	in := bufio.NewReader(nc)
	if _, err := in.Peek(1); err != nil {
		return // a look whether the app is there
	}
	n := h.number()
	for {
		r, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		if r.URL.Path != "/x" {
			_, _ = io.Copy(io.Discard, r.Body)
			body := fmt.Sprintf("%s on connection %d", r.URL.Path, n)
			if r.Method == http.MethodHead {
				body = ""
			}
			_, _ = fmt.Fprintf(nc, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
			continue
		}
		h.xs.Add(1)
		_, _ = io.WriteString(nc, h.script.send)
		if h.script.after != "" {
			<-late
			_, _ = io.WriteString(nc, h.script.after)
			done <- struct{}{}
		}
		tcp, _ := nc.(*net.TCPConn)
		switch h.script.end {
		case stays:
		case closes:
			return
		case breaks:
			_ = tcp.SetLinger(0)
			return
		case halfEnds:
			_ = tcp.CloseWrite()
		}
	}
}

// number is that of a connection: in the order of their first requests.
func (h *hostile) number() int64 { return h.conns.Add(1) }

// response is one case of a table: what an app answers, and the exact outcome.
type response struct {
	name string
	script
	method string // GET if empty
	body   string // of the request

	// want is what the client gets; several where either is right: a head may
	// have gone to the client before its body was found wrong, or not.
	want []string
	// kept says that the app's connection is used again by the next request.
	// Where it is not, that request comes on another one.
	kept bool
}

// what the client gets of an app that is no HTTP server, or breaks off.
var (
	invalid = []string{"502 upstream_invalid"}
	broke   = []string{"502 upstream_reset"}
)

// runResponses asks for each answer, and then for another thing: that has to be
// the app's honest answer, whatever the first one has left behind.
func runResponses(t *testing.T, cases []response) {
	t.Helper()
	names := map[string]bool{}
	for _, c := range cases {
		if names[c.name] {
			t.Errorf("two cases are named %q", c.name)
		}
		names[c.name] = true
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			late, done := make(chan struct{}), make(chan struct{}, 1)
			app := startHostile(t, c.script, late, done)
			s := startInbound(t, app.address)
			method := c.method
			if method == "" {
				method = "GET"
			}
			conn := dial(t, s.address())
			length := ""
			if c.body != "" {
				length = fmt.Sprintf("Content-Length: %d\r\n", len(c.body))
			}
			conn.send(method + " /x HTTP/1.1\r\nHost: a\r\n" + length + "\r\n" + c.body)
			if got := conn.next(method); !slices.Contains(c.want, got) {
				t.Errorf("the app sent %s\nthe client got %q\nwant           %q", clip(c.send), got, c.want)
			}
			if c.after != "" {
				late <- struct{}{}
				<-done
			}
			for i := range 3 {
				other := conn // on it the sidecar is through with the first request
				if !c.kept {
					other = dial(t, s.address())
				}
				other.send(fmt.Sprintf("GET /other%d HTTP/1.1\r\nHost: a\r\n\r\n", i))
				got := other.next("GET")
				if !strings.HasPrefix(got, fmt.Sprintf("200 /other%d on connection ", i)) {
					t.Errorf("the app sent %s\nanother client, asking for /other%d, got %q", clip(c.send+c.after), i, got)
				}
				if i == 0 {
					want := fmt.Sprintf("200 /other0 on connection %d", map[bool]int{true: 1, false: 2}[c.kept])
					if got != want {
						t.Errorf("the app sent %s\nthe next request got %q, want %q", clip(c.send+c.after), got, want)
					}
				}
			}
			if xs := app.xs.Load(); xs != 1 {
				t.Errorf("the app saw the request %d times", xs)
			}
		})
	}
}
