package conformance

import "testing"

// TestFieldsOfThisHop: what is for one hop ends here, and nobody can have
// another field ended by naming it (RFC 9110, section 7.6.1; N. Davison,
// "Abusing HTTP hop-by-hop request headers", 2019).
func TestFieldsOfThisHop(t *testing.T) {
	const host = "GET /x HTTP/1.1\r\nHost: a\r\n"
	served := func(name, fields, raw string) request {
		return request{name: name, send: get(fields), want: "200 GET /x, open", app: []string{"GET /x @a"}, raw: raw}
	}
	cases := []request{
		served("Connection, Keep-Alive, Proxy-Connection", "A: b\r\nConnection: keep-alive\r\nKeep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\nC: d\r\n", host+"A: b\r\nC: d\r\n\r\n"),
		served("a field that Connection names", "Connection: X-Hop\r\nX-Hop: 1\r\nx-hop: 2\r\nX-End: 3\r\n", host+"X-End: 3\r\n\r\n"),
		served("several, with white space and empty ones", "Connection: ,x-a , \tX-B,,\r\nConnection: X-C\r\nX-A: 1\r\nX-B: 2\r\nX-C: 3\r\nX-D: 4\r\n", host+"X-D: 4\r\n\r\n"),
		served("what Connection names before it", "X-Hop: 1\r\nX-End: 3\r\nConnection: X-Hop\r\n", host+"X-End: 3\r\n\r\n"),
		served("TE", "TE: gzip\r\nA: b\r\n", host+"A: b\r\n\r\n"),
		served("Connection is no value", "Connection: ()\r\nA: b\r\n", host+"A: b\r\n\r\n"),
		served("empty Connection", "Connection:\r\nA: b\r\n", host+"A: b\r\n\r\n"),
		{name: "close", send: get("Connection: Close\r\n"), want: "200 GET /x, closed", app: []string{"GET /x @a"}},
		{name: "close and keep-alive", send: get("Connection: keep-alive, close\r\n"), want: "200 GET /x, closed", app: []string{"GET /x @a"}},
		{name: "close in a second field", send: get("Connection: keep-alive\r\nConnection: close\r\n"), want: "200 GET /x, closed", app: []string{"GET /x @a"}},
		{name: "a request behind close", send: get("Connection: close\r\n") + smuggled, want: "200 GET /x, closed", app: []string{"GET /x @a"}, not: "smuggled"},
		{name: "trailers are asked for", send: get("TE: trailers\r\n"), want: "200 GET /x, open", app: []string{"GET /x @a"}, raw: "te: trailers\r\n"},
	}
	for _, field := range []string{
		"Authorization: s", "Cookie: a=b", "Content-Type: a/b", "X-Forwarded-For: 192.0.2.1", "X-Forwarded-Proto: https", "Forwarded: for=x",
		"traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "X-Request-Id: i", "Set-Cookie: a",
	} {
		name := field[:len(field)-len(field[indexColon(field):])]
		cases = append(cases, served("Connection names "+name, "Connection: close-not, "+name+"\r\n"+field+"\r\n", host+field+"\r\n\r\n"))
	}
	runRequests(t, startInbound, cases)
}

func indexColon(s string) int {
	for i := range s {
		if s[i] == ':' {
			return i
		}
	}
	return len(s)
}

// TestExpectations (RFC 9110, section 10.1.1; Kettle, "HTTP/1.1 must die",
// 2025: 0.CL and CL.0 by Expect). There is one expectation, and each hop
// answers it for itself; it is not passed on.
func TestExpectations(t *testing.T) {
	const failed = "417 bad_request, closed"
	runRequests(t, startInbound, []request{
		{name: "with the body at once", send: post("Expect: 100-continue\r\nContent-Length: 5\r\n", "abcde"), want: "100, 200 POST /x, open", app: []string{`POST /x @a "abcde"`}, not: "Expect"},
		{name: "capitals", send: post("EXPECT: 100-CONTINUE\r\nContent-Length: 5\r\n", "abcde"), want: "100, 200 POST /x, open", app: []string{`POST /x @a "abcde"`}},
		{name: "chunked", send: post("Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n", "5\r\nabcde\r\n0\r\n\r\n"), want: "100, 200 POST /x, open", app: []string{`POST /x @a "abcde"`}},
		{name: "without a body", send: get("Expect: 100-continue\r\n"), want: "200 GET /x, open", app: []string{"GET /x @a"}, not: "xpect"},
		{name: "of length 0, a request behind", send: post("Expect: 100-continue\r\nContent-Length: 0\r\n", smuggled), want: "200 POST /x, 200 GET /smuggled, open", app: []string{"POST /x @a", "GET /smuggled @a"}},
		{name: "HTTP/1.0", send: "POST /x HTTP/1.0\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nabcde", want: "200 POST /x, closed", app: []string{`POST /x @a "abcde"`}},
		{name: "twice", send: post("Expect: 100-continue\r\nExpect: 100-continue\r\nContent-Length: 5\r\n", "abcde"), want: "100, 200 POST /x, open", app: []string{`POST /x @a "abcde"`}},
		{name: "unknown", send: post("Expect: tea\r\nContent-Length: 35\r\n", smuggled), want: failed},
		{name: "a word before", send: post("Expect: y 100-continue\r\nContent-Length: 35\r\n", smuggled), want: failed},
		{name: "empty", send: post("Expect:\r\nContent-Length: 35\r\n", smuggled), want: failed},
		{name: "several in one", send: post("Expect: 100-continue, tea\r\nContent-Length: 35\r\n", smuggled), want: failed},
		{name: "known and unknown", send: post("Expect: 100-continue\r\nExpect: tea\r\nContent-Length: 35\r\n", smuggled), want: failed},
		{name: "parameter", send: post("Expect: 100-continue;q=1\r\nContent-Length: 35\r\n", smuggled), want: failed},
		{name: "vertical tab", send: post("Expect: 100-continue\v\r\nContent-Length: 35\r\n", smuggled), want: refused},
	})
}

// TestUpgrades (RFC 9110, section 7.8; RFC 9113, section 3.1, on h2c, which is
// not forwarded; J. Miller, "h2c Smuggling", 2020; M. Egorov, "WebSocket
// Smuggling", 2019: what the app has not agreed to is no tunnel).
func TestUpgrades(t *testing.T) {
	const up = "Connection: Upgrade\r\nUpgrade: websocket\r\n"
	runRequests(t, startInbound, []request{
		{name: "asked for, not given", send: get(up), want: "200 GET /x, open", app: []string{"GET /x @a"}, raw: "Connection: Upgrade\r\nUpgrade: websocket\r\n"},
		{name: "asked for, not given, a request behind", send: get(up) + smuggled, want: "200 GET /x, 200 GET /smuggled, open", app: []string{"GET /x @a", "GET /smuggled @a"}},
		{name: "without Connection", send: get("Upgrade: websocket\r\n"), want: "200 GET /x, open", app: []string{"GET /x @a"}, not: "Upgrade"},
		{name: "without Upgrade", send: get("Connection: Upgrade\r\n"), want: "200 GET /x, open", app: []string{"GET /x @a"}, not: "pgrade"},
		{name: "empty", send: get("Connection: Upgrade\r\nUpgrade:\r\n"), want: "200 GET /x, open", app: []string{"GET /x @a"}, not: "pgrade"},
		{name: "HTTP/1.0", send: "GET /x HTTP/1.0\r\nHost: a\r\n" + up + "\r\n", want: "200 GET /x, closed", app: []string{"GET /x @a"}, not: "pgrade"},
		{name: "with a body", send: post(up+"Content-Length: 5\r\n", "abcde"), want: refused},
		{name: "with a body in chunks", send: post(up+"Transfer-Encoding: chunked\r\n", "0\r\n\r\n"), want: refused},
		{name: "with a body of length 0", send: post(up+"Content-Length: 0\r\n", ""), want: "200 POST /x, open", app: []string{"POST /x @a"}},
		{name: "two fields", send: get(up + "Upgrade: x\r\n"), want: refused},
		{name: "h2c", send: get("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"), want: "200 GET /x, open", app: []string{"GET /x @a"}, not: "h2c"},
		{name: "h2c, settings not named", send: get("Connection: Upgrade\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"), want: "200 GET /x, open", app: []string{"GET /x @a"}, not: "HTTP2-Settings"},
		{name: "h2c in capitals", send: get("Connection: Upgrade\r\nUpgrade: H2C\r\n"), want: "200 GET /x, open", app: []string{"GET /x @a"}, not: "H2C"},
		{name: "h2c among others", send: get("Connection: Upgrade\r\nUpgrade: websocket, h2c\r\nHTTP2-Settings: AAMAAABk\r\n"), want: "200 GET /x, open", app: []string{"GET /x @a"}, not: "h2c"},
		{name: "h2c first among others", send: get("Connection: Upgrade\r\nUpgrade: h2c,websocket\r\n"), want: "200 GET /x, open", app: []string{"GET /x @a"}, not: "h2c"},
		{name: "h2c with a comma", send: get("Connection: Upgrade\r\nUpgrade: h2c,\r\n"), want: "200 GET /x, open", app: []string{"GET /x @a"}, not: "h2c"},
		{name: "h2", send: get("Connection: Upgrade\r\nUpgrade: h2\r\n"), want: "200 GET /x, open", app: []string{"GET /x @a"}},
	})
}

// TestMethodsOfProxies: CONNECT is not forwarded, in no form (RFC 9110, section
// 9.3.6), and what a client may have sent behind it for the tunnel is no
// request: the connection ends. Max-Forwards counts hops for TRACE and OPTIONS
// (section 7.6.2).
func TestMethodsOfProxies(t *testing.T) {
	const no = "501 method_refused, closed"
	runRequests(t, startInbound, []request{
		{name: "CONNECT", send: "CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n", want: no},
		{name: "CONNECT with what is for the tunnel", send: "CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n" + smuggled, want: no},
		{name: "CONNECT with a length", send: "CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\nContent-Length: 35\r\n\r\n" + smuggled, want: refused},
		{name: "CONNECT, another Host", send: "CONNECT b:80 HTTP/1.1\r\nHost: a\r\n\r\n", want: no},
		{name: "CONNECT, HTTP/1.0", send: "CONNECT a:80 HTTP/1.0\r\n\r\n", want: no},
		{name: "CONNECT, IPv6", send: "CONNECT [::1]:80 HTTP/1.1\r\nHost: a\r\n\r\n", want: no},
		{name: "CONNECT to a path", send: "CONNECT /x HTTP/1.1\r\nHost: a\r\n\r\n", want: refused},
		{name: "CONNECT to a URL", send: "CONNECT http://a:80/ HTTP/1.1\r\nHost: a\r\n\r\n", want: refused},
		{name: "CONNECT without a port", send: "CONNECT a HTTP/1.1\r\nHost: a\r\n\r\n", want: refused},
		{name: "CONNECT with user information", send: "CONNECT u@a:80 HTTP/1.1\r\nHost: a\r\n\r\n", want: refused},
		{name: "CONNECT to two ports", send: "CONNECT a:80:80 HTTP/1.1\r\nHost: a\r\n\r\n", want: refused},
		{name: "CONNECT to an asterisk", send: "CONNECT * HTTP/1.1\r\nHost: a\r\n\r\n", want: refused},
		{name: "connect in small letters is another method", send: "connect a:80 HTTP/1.1\r\nHost: a\r\n\r\n", want: refused},
		{name: "TRACE", send: "TRACE /x HTTP/1.1\r\nHost: a\r\n\r\n", want: "200 TRACE /x, open", app: []string{"TRACE /x @a"}},
		{name: "TRACE with a body", send: "TRACE /x HTTP/1.1\r\nHost: a\r\nContent-Length: 35\r\n\r\n" + smuggled, want: "200 TRACE /x, open", app: []string{`TRACE /x @a "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"`}},
		{name: "Max-Forwards of another method", send: get("Max-Forwards: 0\r\n"), want: "200 GET /x, open", app: []string{"GET /x @a"}, raw: "Max-Forwards: 0\r\n"},
		{name: "OPTIONS, hops left", send: "OPTIONS /x HTTP/1.1\r\nHost: a\r\nMax-Forwards: 5\r\n\r\n", want: "200 OPTIONS /x, open", app: []string{"OPTIONS /x @a"}, raw: "Max-Forwards: 4\r\n"},
		{name: "TRACE, hops left", send: "TRACE /x HTTP/1.1\r\nHost: a\r\nMax-Forwards: 1\r\n\r\n", want: "200 TRACE /x, open", app: []string{"TRACE /x @a"}, raw: "Max-Forwards: 0\r\n"},
	})
	// The last hop answers by itself.
	for _, method := range []string{"OPTIONS", "TRACE"} {
		t.Run(method+" at its last hop", func(t *testing.T) {
			app := startRecorder(t)
			s := startInbound(t, app.address)
			conn := dial(t, s.address())
			conn.send(method + " /x HTTP/1.1\r\nHost: a\r\nMax-Forwards: 0\r\n\r\n")
			if got := conn.next(method); got == "200 "+method+" /x" || got == "closed" {
				t.Errorf("the client got %q", got)
			}
			if requests, _ := app.seen(); len(requests) > 0 {
				t.Errorf("the app saw %q", requests)
			}
		})
	}
}

// TestPipelines: each request is a request, in order, and the first that is
// malformed is the last one.
func TestPipelines(t *testing.T) {
	runRequests(t, startInbound, []request{
		{name: "three", send: get("") + post("Content-Length: 3\r\n", "abc") + smuggled, want: "200 GET /x, 200 POST /x, 200 GET /smuggled, open", app: []string{"GET /x @a", `POST /x @a "abc"`, "GET /smuggled @a"}},
		{name: "malformed behind", send: get("") + "GET /y\r\n" + smuggled, want: "200 GET /x, 400 bad_request, closed", app: []string{"GET /x @a"}},
		{name: "malformed chunks behind", send: get("") + post("Transfer-Encoding: chunked\r\n", "3;x\r\nabc\r\n0\r\n\r\n"+smuggled), want: "200 GET /x, 400 client_body, closed", app: []string{"GET /x @a"}, broken: true},
		{name: "an empty line between", send: get("") + "\r\n" + smuggled, want: "200 GET /x, 200 GET /smuggled, open", app: []string{"GET /x @a", "GET /smuggled @a"}},
		{name: "two empty lines between", send: get("") + "\r\n\r\n" + smuggled, want: "200 GET /x, 400 bad_request, closed", app: []string{"GET /x @a"}},
		{name: "a bare LF between", send: get("") + "\n" + smuggled, want: "200 GET /x, 400 bad_request, closed", app: []string{"GET /x @a"}},
		{name: "the end behind", send: get("") + smuggled, eof: true, want: "200 GET /x, 200 GET /smuggled, closed", app: []string{"GET /x @a", "GET /smuggled @a"}},
		{name: "half a request behind", send: get("") + smuggled[:20], eof: true, want: "200 GET /x, closed", app: []string{"GET /x @a"}},
		{name: "HEAD", send: "HEAD /x HTTP/1.1\r\nHost: a\r\n\r\n" + smuggled, method: "HEAD", want: "200, 200 GET /smuggled, open", app: []string{"HEAD /x @a", "GET /smuggled @a"}},
	})
}
