package conformance

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// request is one case of a table: bytes that a client sends on a connection of
// its own, and the exact outcome.
type request struct {
	name string
	send string
	eof  bool // the client ends its side after that

	// want is the answers in their order, separated by ", ", and what becomes
	// of the connection then: "closed", or "open", which a further request on
	// it shows.
	want   string
	method string // of the first answer's request, where that is HEAD

	// app is what the app has seen, one line a request.
	app []string
	// broken says that the app may besides have seen the beginning of the
	// request, but never the whole of it: the head goes on before the body has
	// come.
	broken bool
	// raw has to be a part of the bytes that the app has seen; not must not.
	raw, not string
}

const (
	refused = "400 bad_request, closed" // a head that is malformed
	badBody = "400 client_body, closed" // a body that is
)

// runRequests sends every case through a sidecar of its own, and looks at what
// the app behind it saw.
func runRequests(t *testing.T, start func(t *testing.T, app string) *sidecar, cases []request) {
	t.Helper()
	names := map[string]bool{}
	for _, c := range cases {
		if names[c.name] {
			t.Errorf("two cases are named %q", c.name)
		}
		names[c.name] = true
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			app := startRecorder(t)
			s := start(t, app.address)
			c.run(t, s)
			// Now nothing is on its way any more.
			if err := s.stop(); err != nil {
				t.Errorf("the sidecar ended with %v", err)
			}
			app.stop()
			c.compare(t, app)
		})
	}
}

// run sends the bytes and reads what comes.
func (c request) run(t *testing.T, s *sidecar) {
	address := s.address()
	conn := dial(t, address)
	conn.send(c.send)
	if c.eof {
		conn.endSending()
	}
	var got []string
	method := c.method
	for want := range strings.SplitSeq(c.want, ", ") {
		if want == "open" {
			conn.send("GET /after HTTP/1.1\r\nHost: app\r\n\r\n")
			answer := conn.next("GET")
			if answer == "200 GET /after" {
				answer = "open"
			}
			got = append(got, answer)
			break
		}
		got = append(got, conn.next(method))
		method = "GET"
		if got[len(got)-1] == "closed" {
			break
		}
	}
	if strings.Join(got, ", ") != c.want {
		t.Errorf("sent %s\nthe client got %q\nwant           %q", clip(c.send), strings.Join(got, ", "), c.want)
	}
	_ = conn.Close()

	// Another client is served by the same connections to the app: it gets what
	// it has asked for.
	other := dial(t, address)
	other.send("GET /other HTTP/1.1\r\nHost: app\r\nConnection: close\r\n\r\n")
	if answer := other.next("GET"); answer != "200 GET /other" {
		t.Errorf("sent %s\nanother client got %q afterwards", clip(c.send), answer)
	}
	_ = other.Close()
}

// compare looks at what the app saw.
func (c request) compare(t *testing.T, app *recorder) {
	requests, raw := app.seen()
	requests = slices.DeleteFunc(requests, func(r string) bool {
		return r == "GET /other @app" || r == "GET /after @app" && strings.HasSuffix(c.want, "open") ||
			c.broken && (strings.HasSuffix(r, " broken") || r == "no request: unexpected EOF")
	})
	if diff := cmp.Diff(c.app, requests, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("sent %s\nthe app saw (-want +got):\n%s", clip(c.send), diff)
	}
	if c.raw != "" && !strings.Contains(raw, c.raw) {
		t.Errorf("sent %s\nthe app saw %s\nwithout %q", clip(c.send), clip(raw), c.raw)
	}
	if c.not != "" && strings.Contains(raw, c.not) {
		t.Errorf("sent %s\nthe app saw %s\nwith %q", clip(c.send), clip(raw), c.not)
	}
}

// clip is bytes as they can be printed, with their middle left out where they
// are many.
func clip(s string) string {
	if len(s) > 600 {
		return fmt.Sprintf("%q … %d bytes … %q", s[:300], len(s)-400, s[len(s)-100:])
	}
	return fmt.Sprintf("%q", s)
}

// smuggled is what an attacker wants the app to see as a request.
const smuggled = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"

// post is a POST with fields (each with its CRLF) and what follows the head.
func post(fields, rest string) string {
	return "POST /x HTTP/1.1\r\nHost: a\r\n" + fields + "\r\n" + rest
}

// get is a GET with fields and nothing behind it.
func get(fields string) string { return "GET /x HTTP/1.1\r\nHost: a\r\n" + fields + "\r\n" }
