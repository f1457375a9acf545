package conformance

import (
	"fmt"
	"strings"
	"testing"
)

// tchar are the bytes of a token besides letters and digits (RFC 9110, section
// 5.6.2).
const tchar = "!#$%&'*+-.^_`|~"

func isTchar(b int) bool {
	return b >= '0' && b <= '9' || b >= 'A' && b <= 'Z' || b >= 'a' && b <= 'z' || b < 0x80 && strings.ContainsRune(tchar, rune(b))
}

// TestEveryByte puts every byte there is into each part of a head: the method
// (RFC 9110, section 9.1), the target (RFC 9112, section 3.2), the name of a
// field (RFC 9110, section 5.1) and its value (section 5.5).
func TestEveryByte(t *testing.T) {
	var cases []request
	for b := range 256 {
		c := string([]byte{byte(b)})
		method := request{name: fmt.Sprintf("method %#02x", b), send: "A" + c + "B /x HTTP/1.1\r\nHost: a\r\n\r\n", want: refused}
		if isTchar(b) {
			method.want, method.app = "200 A"+c+"B /x, open", []string{"A" + c + "B /x @a"}
		}
		if c == "\n" { // the first line is "A", and the second a request line with no field
			method.name += " (a line end)"
		}
		target := request{name: fmt.Sprintf("target %#02x", b), send: "GET /a" + c + "b HTTP/1.1\r\nHost: a\r\n\r\n", want: refused}
		if b > ' ' && b != 0x7f && b != '#' {
			// What is no character of a URI (RFC 3986, section 2) but can be
			// taken for nothing else goes on as it came.
			target.want, target.raw = "200 GET /a"+c+"b, open", "GET /a"+c+"b HTTP/1.1\r\n"
			target.app = []string{"GET /a" + c + "b @a"}
		}
		name := request{name: fmt.Sprintf("field name %#02x", b), send: get("A" + c + "B: y\r\n"), want: refused}
		switch {
		case isTchar(b):
			name.want, name.app, name.raw = "200 GET /x, open", []string{"GET /x @a"}, "\r\nA"+c+"B: y\r\n"
		case c == ":":
			name.want, name.app, name.raw = "200 GET /x, open", []string{"GET /x @a"}, "\r\nA: B: y\r\n"
		}
		value := request{name: fmt.Sprintf("field value %#02x", b), send: get("A: b" + c + "c\r\n"), want: refused}
		if b >= ' ' && b != 0x7f || c == "\t" {
			value.want, value.app, value.raw = "200 GET /x, open", []string{"GET /x @a"}, "\r\nA: b"+c+"c\r\n"
		}
		cases = append(cases, method, name, value)
		if c != "%" { // which is the recorder's to refuse
			cases = append(cases, target)
		}
	}
	runMany(t, cases)
}

// runMany runs cases, each on its own connection, through one sidecar: for
// tables whose cases leave nothing behind.
func runMany(t *testing.T, cases []request) {
	t.Helper()
	app := startRecorder(t)
	s := startInbound(t, app.address)
	done := 0
	for _, c := range cases {
		conn := dial(t, s.address())
		conn.send(c.send)
		if c.eof {
			conn.endSending()
		}
		got := []string{conn.next(c.method)}
		if strings.HasSuffix(c.want, ", open") {
			conn.send("GET /after HTTP/1.1\r\nHost: app\r\n\r\n")
			if answer := conn.next("GET"); answer != "200 GET /after" {
				got = append(got, answer)
			} else {
				got = append(got, "open")
			}
		} else if got[0] != "closed" {
			got = append(got, conn.next("GET"))
		}
		_ = conn.Close()
		if g := strings.Join(got, ", "); g != c.want {
			t.Errorf("%s: sent %s\nthe client got %q\nwant           %q", c.name, clip(c.send), g, c.want)
		}
		requests, raw := app.seen()
		requests = requests[done:]
		done += len(requests)
		want := c.app
		if strings.HasSuffix(c.want, ", open") {
			want = append(want[:len(want):len(want)], "GET /after @app")
		}
		if fmt.Sprint(requests) != fmt.Sprint(want) {
			t.Errorf("%s: sent %s\nthe app saw %q\nwant        %q", c.name, clip(c.send), requests, want)
		}
		if c.raw != "" && !strings.Contains(raw, c.raw) {
			t.Errorf("%s: sent %s\nthe app did not see %q", c.name, clip(c.send), c.raw)
		}
	}
}

// TestLineEnds replaces every CRLF of a request by each thing that a parser
// might take for one (RFC 9112, section 2.2, lets a recipient take a bare LF:
// we do not, and a bare CR is never one). Nothing of such a request may reach
// the app whole.
func TestLineEnds(t *testing.T) {
	lines := []string{"POST /x HTTP/1.1", "Host: a", "A: b", "Transfer-Encoding: chunked", "", "3", "abc", "0", "T: u", ""}
	head := 5 // lines; the rest is the body
	var cases []request
	for i := range lines {
		for name, end := range map[string]string{"LF": "\n", "CR": "\r", "LF CR": "\n\r", "CR CR LF": "\r\r\n", "CR space LF": "\r \n", "NUL": "\x00"} {
			var in strings.Builder
			for j, line := range lines {
				in.WriteString(line)
				if j == i {
					in.WriteString(end)
				} else {
					in.WriteString("\r\n")
				}
			}
			c := request{name: fmt.Sprintf("line %d %s", i+1, name), send: in.String(), eof: true, want: refused}
			if i >= head {
				c.want, c.broken = badBody, true
			}
			if i == len(lines)-1 && (end == "\r" || !strings.Contains(end, "\n")) {
				c.want = "closed" // what ends in the middle of its last line is no request
			}
			cases = append(cases, c)
		}
	}
	runRequests(t, startInbound, cases)
}

// TestFieldLines: what a field line may look like (RFC 9112, section 5).
func TestFieldLines(t *testing.T) {
	served := func(name, fields, raw string) request {
		return request{name: name, send: get(fields), want: "200 GET /x, open", app: []string{"GET /x @a"}, raw: raw}
	}
	cases := []request{
		served("order and case are kept", "b: 1\r\nA: 2\r\nB: 3\r\na: 4\r\n", "b: 1\r\nA: 2\r\nB: 3\r\na: 4\r\n"),
		served("empty value", "A:\r\nB: \r\n", "A: \r\nB: \r\n"),
		served("white space around a value", "A: \t b c \t\r\n", "A: b c\r\n"),
		served("a hundred fields", strings.Repeat("A: b\r\n", 99), strings.Repeat("A: b\r\n", 99)),
		served("a large field", "A: "+strings.Repeat("b", 60_000)+"\r\n", strings.Repeat("b", 60_000)),
		{name: "a hundred and one", send: get(strings.Repeat("A: b\r\n", 100)), want: "431 head_too_large, closed"},
		{name: "too large", send: get("A: " + strings.Repeat("b", 66_000) + "\r\n"), want: "431 head_too_large, closed"},
		{name: "too large in all", send: get(strings.Repeat("A: "+strings.Repeat("b", 1000)+"\r\n", 80)), want: "431 head_too_large, closed"},
		{name: "too large without an end", send: "GET /x HTTP/1.1\r\nHost: a\r\nA: " + strings.Repeat("b", 70_000), want: "431 head_too_large, closed"},
		{name: "request line too large", send: "GET /" + strings.Repeat("x", 70_000) + " HTTP/1.1\r\nHost: a\r\n\r\n", want: "431 head_too_large, closed"},
		{name: "request line without an end", send: "GET /" + strings.Repeat("x", 70_000), want: "431 head_too_large, closed"},
		{name: "method without an end", send: strings.Repeat("A", 70_000), want: "431 head_too_large, closed"},
		{name: "nothing but line ends", send: strings.Repeat("\r\n", 50), want: refused},
	}
	for name, fields := range map[string]string{
		"folded":                   "A: b\r\n c\r\n",
		"folded by a tab":          "A: b\r\n\tc\r\n",
		"folded, empty":            "A: b\r\n \r\n",
		"first line folded":        " A: b\r\n",
		"space before the colon":   "A : b\r\n",
		"tab before the colon":     "A\t: b\r\n",
		"no name":                  ": b\r\n",
		"no colon":                 "A b\r\n",
		"space in the name":        "A B: c\r\n",
		"quoted name":              "\"A\": b\r\n",
		"request line for a field": "GET /smuggled HTTP/1.1\r\n",
		"NUL in the value":         "A: \x00\r\n",
		"escape in the value":      "A: \x1b[2J\r\n",
	} {
		cases = append(cases, request{name: name, send: get(fields), want: refused})
	}
	runRequests(t, startInbound, cases)
}

// TestEarlyEnd ends the client's side after each byte of a request. The app may
// see the beginning of what came, and never a whole request; the client hears
// of it where a head was there.
func TestEarlyEnd(t *testing.T) {
	for name, whole := range map[string]string{
		"length":  post("A: b\r\nContent-Length: 5\r\n", "abcde"),
		"chunked": post("Transfer-Encoding: chunked\r\n", "3\r\nabc\r\n10\r\n0123456789abcdef\r\n0\r\nT: u\r\n\r\n"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			app := startRecorder(t)
			s := startInbound(t, app.address)
			headEnd := strings.Index(whole, "\r\n\r\n") + 4
			for n := 1; n < len(whole); n++ {
				conn := dial(t, s.address())
				conn.send(whole[:n])
				conn.endSending()
				want := map[bool]string{true: "closed", false: "400 client_body"}[n < headEnd]
				if got := conn.next("POST"); got != want && (want == "closed" || got != "closed") {
					t.Errorf("ended after %q: got %q, want %q or closed", whole[:n], got, want)
				}
				_ = conn.Close()
			}
			if err := s.stop(); err != nil {
				t.Error(err)
			}
			app.stop()
			requests, _ := app.seen()
			for _, r := range requests {
				if !strings.HasSuffix(r, " broken") && r != "no request: unexpected EOF" {
					t.Errorf("the app saw %s", r)
				}
			}
		})
	}
}
