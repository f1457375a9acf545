package conformance

import "testing"

// TestRequestLines: method SP target SP version, and nothing else (RFC 9112,
// section 3; J. Kettle, "HTTP/2: The Sequel is Always Worse", 2021, for what a
// request line can hide).
func TestRequestLines(t *testing.T) {
	const rest = "\r\nHost: a\r\n\r\n"
	const version = "505 bad_request, closed" // RFC 9110, section 15.6.6
	cases := []request{
		{name: "one empty line before it", send: "\r\nGET /x HTTP/1.1" + rest, want: "200 GET /x, open", app: []string{"GET /x @a"}},
		{name: "a minor version to come", send: "GET /x HTTP/1.2" + rest, want: "200 GET /x, open", app: []string{"GET /x @a"}, raw: "GET /x HTTP/1.1\r\n"},
		{name: "HTTP/1.0", send: "GET /x HTTP/1.0" + rest, want: "200 GET /x, closed", app: []string{"GET /x @a"}, raw: "GET /x HTTP/1.1\r\n"},
		{name: "HTTP/1.0 that stays", send: "GET /x HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n", want: "200 GET /x, open", app: []string{"GET /x @a"}},
		{name: "HTTP/1.0 without Host", send: "GET /x HTTP/1.0\r\n\r\n", want: "200 GET /x, closed", app: []string{"GET /x @"}},
		{name: "a method of its own", send: "PROPFIND /x HTTP/1.1" + rest, want: "200 PROPFIND /x, open", app: []string{"PROPFIND /x @a"}},
		{name: "a method in small letters", send: "get /x HTTP/1.1" + rest, want: "200 get /x, open", app: []string{"get /x @a"}},
		{name: "dots and slashes stay as they are", send: "GET //b/../x/./%2e%2e;a/ HTTP/1.1" + rest, want: "200 GET //b/../x/./%2e%2e;a/, open", app: []string{"GET //b/../x/./%2e%2e;a/ @a"}, raw: "GET //b/../x/./%2e%2e;a/ HTTP/1.1\r\n"},
		{name: "percent sign in a query", send: "GET /x?a=100%&b=%zz HTTP/1.1" + rest, want: "200 GET /x?a=100%&b=%zz, open", app: []string{"GET /x?a=100%&b=%zz @a"}},
		{name: "encoded line ends stay encoded", send: "GET /%0d%0aX:%20y HTTP/1.1" + rest, want: "200 GET /%0d%0aX:%20y, open", app: []string{"GET /%0d%0aX:%20y @a"}, raw: "GET /%0d%0aX:%20y HTTP/1.1\r\n"},
		{name: "HTTP/2 without the preface's end", send: "GET /x HTTP/2.0" + rest, want: version},
		{name: "HTTP/2 preface with a field", send: "PRI * HTTP/2.0\r\nHost: a\r\n\r\nSM\r\n\r\n", want: version},
		{name: "HTTP/3", send: "GET /x HTTP/3.0" + rest, want: version},
		{name: "HTTP/0.9 with a version", send: "GET /x HTTP/0.9" + rest, want: version},
	}
	for name, send := range map[string]string{
		"HTTP/0.9 and fields":         "GET /x" + rest,
		"no target":                   "GET HTTP/1.1" + rest,
		"empty target":                "GET  HTTP/1.1" + rest,
		"no method":                   " /x HTTP/1.1" + rest,
		"method alone":                "GET" + rest,
		"nothing":                     rest,
		"two spaces":                  "GET  /x HTTP/1.1" + rest,
		"two spaces behind":           "GET /x  HTTP/1.1" + rest,
		"tab for a space":             "GET\t/x HTTP/1.1" + rest,
		"tab for the second space":    "GET /x\tHTTP/1.1" + rest,
		"vertical tab":                "GET\v/x HTTP/1.1" + rest,
		"space at the end":            "GET /x HTTP/1.1 " + rest,
		"tab at the end":              "GET /x HTTP/1.1\t" + rest,
		"four words":                  "GET /x y HTTP/1.1" + rest,
		"two request lines":           "GET /x HTTP/1.1 GET /y HTTP/1.1" + rest,
		"version in small letters":    "GET /x http/1.1" + rest,
		"version without a number":    "GET /x HTTP/" + rest,
		"version without a minor one": "GET /x HTTP/1" + rest,
		"version with a dot alone":    "GET /x HTTP/1." + rest,
		"version of two digits":       "GET /x HTTP/1.10" + rest,
		"version with a zero before":  "GET /x HTTP/01.1" + rest,
		"version with a comma":        "GET /x HTTP/1,1" + rest,
		"version with a sign":         "GET /x HTTP/+1.1" + rest,
		"version with a letter":       "GET /x HTTP/1.x" + rest,
		"space in the version":        "GET /x HTTP/ 1.1" + rest,
		"space before the slash":      "GET /x HTTP /1.1" + rest,
		"another protocol":            "GET /x HTTPS/1.1" + rest,
		"ICY":                         "GET /x ICY/1.1" + rest,
		"two empty lines before it":   "\r\n\r\nGET /x HTTP/1.1" + rest,
		"bare LF before it":           "\nGET /x HTTP/1.1" + rest,
		"space before it":             " GET /x HTTP/1.1" + rest,
		"byte order mark before it":   "\ufeffGET /x HTTP/1.1" + rest,
		"a response":                  "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
		"fragment":                    "GET /x#y HTTP/1.1" + rest,
		"relative path":               "GET x HTTP/1.1" + rest,
		"backslash":                   "GET \\x HTTP/1.1" + rest,
		"asterisk for GET":            "GET * HTTP/1.1" + rest,
		"asterisk and more":           "OPTIONS *x HTTP/1.1" + rest,
		"query alone":                 "GET ?x HTTP/1.1" + rest,
		"percent sign at the end":     "GET /x% HTTP/1.1" + rest,
		"percent sign and one digit":  "GET /x%2 HTTP/1.1" + rest,
		"percent sign and letters":    "GET /x%zz HTTP/1.1" + rest,
		"percent sign in a query too": "GET /%?%41 HTTP/1.1" + rest,
	} {
		cases = append(cases, request{name: name, send: send, want: refused})
	}
	// What is of another protocol from its first byte.
	cases = append(
		cases,
		request{name: "TLS", send: "\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00\r\n\r\n", want: "closed"}, // an answer could not be read
		request{name: "a frame of WebSocket", send: "\x81\x85\x00\x00\x00\x00hello\r\n\r\n", want: refused},
		request{name: "Memcached", send: "set x 0 0 1\r\ny\r\n\r\n", want: refused},
		request{name: "HTTP/0.9", send: "GET /x\r\n", eof: true, want: "closed"},
		request{name: "nothing at all", eof: true, want: "closed"},
	)
	runRequests(t, startInbound, cases)
}

// TestHosts: one Host, and a host (RFC 9112, section 3.2; RFC 9110, section
// 4.2.4, on user information). The authority of an absolute target counts, not
// Host (RFC 9112, section 3.2.2), and Host goes on as it is.
func TestHosts(t *testing.T) {
	served := func(name, line, fields, host, target string) request {
		return request{
			name: name, send: line + "\r\n" + fields + "\r\n", want: "200 GET " + target + ", open", app: []string{"GET " + target + " @" + host},
			raw: "GET " + target + " HTTP/1.1\r\nHost: " + host + "\r\n",
		}
	}
	const line = "GET /x HTTP/1.1"
	cases := []request{
		served("name", line, "Host: a\r\n", "a", "/x"),
		served("name and port", line, "Host: A.b:80\r\n", "A.b:80", "/x"),
		served("IPv4", line, "Host: 127.0.0.1:80\r\n", "127.0.0.1:80", "/x"),
		served("IPv6", line, "Host: [::1]:80\r\n", "[::1]:80", "/x"),
		served("empty port", line, "Host: a:\r\n", "a", "/x"),
		served("not the first field", line, "A: b\r\nhost: a\r\n", "a", "/x"),
		served("named by Connection", line, "Connection: Host\r\nHost: a\r\n", "a", "/x"),
		served("absolute", "GET http://a/x HTTP/1.1", "Host: a\r\n", "a", "/x"),
		served("absolute, another Host", "GET http://b:8/x?y HTTP/1.1", "Host: a\r\n", "b:8", "/x?y"),
		served("absolute, capitals", "GET HTTP://B/x HTTP/1.1", "Host: a\r\n", "B", "/x"),
		served("absolute without a path", "GET http://b HTTP/1.1", "Host: a\r\n", "b", "/"),
		served("absolute, query without a path", "GET http://b?y HTTP/1.1", "Host: a\r\n", "b", "/?y"),
		served("absolute, a URL in the path", "GET http://b/http://c/ HTTP/1.1", "Host: a\r\n", "b", "/http://c/"),
		served("absolute, at sign in the path", "GET http://b/@c HTTP/1.1", "Host: a\r\n", "b", "/@c"),
		served("absolute, IPv6", "GET http://[::1]:8/x HTTP/1.1", "Host: a\r\n", "[::1]:8", "/x"),
		{name: "OPTIONS of the server", send: "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", want: "200 OPTIONS *, open", app: []string{"OPTIONS * @a"}},
		{name: "absolute OPTIONS of the server", send: "OPTIONS http://b HTTP/1.1\r\nHost: a\r\n\r\n", want: "200 OPTIONS *, open", app: []string{"OPTIONS * @b"}},
	}
	for name, send := range map[string]string{
		"none":                            line + "\r\nA: b\r\n\r\n",
		"none, absolute":                  "GET http://a/x HTTP/1.1\r\nA: b\r\n\r\n",
		"two":                             line + "\r\nHost: a\r\nHost: b\r\n\r\n",
		"two equal ones":                  line + "\r\nHost: a\r\nHost: a\r\n\r\n",
		"two, one empty":                  line + "\r\nHost:\r\nHost: a\r\n\r\n",
		"two, absolute":                   "GET http://a/x HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
		"two, HTTP/1.0":                   "GET /x HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n",
		"two, one folded":                 line + "\r\nHost: a\r\n Host: b\r\n\r\n",
		"two, space before the colon":     line + "\r\nHost: a\r\nHost : b\r\n\r\n",
		"user information":                line + "\r\nHost: u@a\r\n\r\n",
		"user and password":               line + "\r\nHost: u:p@a\r\n\r\n",
		"path":                            line + "\r\nHost: a/b\r\n\r\n",
		"backslash":                       line + "\r\nHost: a\\b\r\n\r\n",
		"query":                           line + "\r\nHost: a?b\r\n\r\n",
		"fragment":                        line + "\r\nHost: a#b\r\n\r\n",
		"URL":                             line + "\r\nHost: http://a\r\n\r\n",
		"space within":                    line + "\r\nHost: a b\r\n\r\n",
		"tab within":                      line + "\r\nHost: a\tb\r\n\r\n",
		"comma and space":                 line + "\r\nHost: a, b\r\n\r\n",
		"NUL":                             line + "\r\nHost: a\x00b\r\n\r\n",
		"not ASCII":                       line + "\r\nHost: \u00e4\r\n\r\n",
		"quoted":                          line + "\r\nHost: \"a\"\r\n\r\n",
		"angle brackets":                  line + "\r\nHost: <a>\r\n\r\n",
		"port that is a word":             line + "\r\nHost: a:b\r\n\r\n",
		"port with a sign":                line + "\r\nHost: a:-1\r\n\r\n",
		"port with a plus":                line + "\r\nHost: a:+80\r\n\r\n",
		"port with a space":               line + "\r\nHost: a: 80\r\n\r\n",
		"two ports":                       line + "\r\nHost: a:80:80\r\n\r\n",
		"port of six digits":              line + "\r\nHost: a:000080\r\n\r\n",
		"port alone":                      line + "\r\nHost: :80\r\n\r\n",
		"port and user":                   line + "\r\nHost: a:80@b\r\n\r\n",
		"IPv6 without brackets":           line + "\r\nHost: ::1\r\n\r\n",
		"bracket left open":               line + "\r\nHost: [::1\r\n\r\n",
		"bracket closed only":             line + "\r\nHost: ::1]\r\n\r\n",
		"name in brackets":                line + "\r\nHost: [host]\r\n\r\n",
		"something behind the bracket":    line + "\r\nHost: [::1]x\r\n\r\n",
		"empty brackets":                  line + "\r\nHost: []\r\n\r\n",
		"percent sign":                    line + "\r\nHost: a%\r\n\r\n",
		"percent encoding of no letter":   line + "\r\nHost: %zz\r\n\r\n",
		"no IPv6 in the brackets":         line + "\r\nHost: [abc]\r\n\r\n",
		"too many colons in the brackets": line + "\r\nHost: [:::]\r\n\r\n",
		"zone in the brackets":            line + "\r\nHost: [fe80::1%1]\r\n\r\n",
		"absolute, percent sign":          "GET http://%zz/x HTTP/1.1\r\nHost: a\r\n\r\n",
		"absolute, no IPv6":               "GET http://[abc]/x HTTP/1.1\r\nHost: a\r\n\r\n",
		"absolute, user information":      "GET http://u@a/x HTTP/1.1\r\nHost: a\r\n\r\n",
		"absolute, user with a slash":     "GET http://a\\@b/x HTTP/1.1\r\nHost: a\r\n\r\n",
		"absolute, bad port":              "GET http://a:x/x HTTP/1.1\r\nHost: a\r\n\r\n",
		"absolute, no host":               "GET http:///x HTTP/1.1\r\nHost: a\r\n\r\n",
		"absolute, only a port":           "GET http://:80/x HTTP/1.1\r\nHost: a\r\n\r\n",
		"absolute, one slash":             "GET http:/x HTTP/1.1\r\nHost: a\r\n\r\n",
		"absolute, query for a host":      "GET http://?x HTTP/1.1\r\nHost: a\r\n\r\n",
		"absolute, fragment":              "GET http://a/#x HTTP/1.1\r\nHost: a\r\n\r\n",
		"absolute, fragment for a host":   "GET http://#x HTTP/1.1\r\nHost: a\r\n\r\n",
		"absolute, another scheme":        "GET ftp://a/x HTTP/1.1\r\nHost: a\r\n\r\n",
		"absolute, https":                 "GET https://a/x HTTP/1.1\r\nHost: a\r\n\r\n",
		"absolute, script":                "GET javascript:x HTTP/1.1\r\nHost: a\r\n\r\n",
		"absolute, file":                  "GET file:///etc/passwd HTTP/1.1\r\nHost: a\r\n\r\n",
		"absolute, bad Host beside it":    "GET http://a/x HTTP/1.1\r\nHost: u@b\r\n\r\n",
		"scheme-relative":                 "GET a//b/x HTTP/1.1\r\nHost: a\r\n\r\n",
		"authority form":                  "GET a:80 HTTP/1.1\r\nHost: a\r\n\r\n",
		"tab before the colon of Host":    line + "\r\nHost\t: a\r\n\r\n",
		"folded value":                    line + "\r\nHost:\r\n a\r\n\r\n",
		"Host in the second line, folded": line + "\r\nA: b\r\n Host: a\r\n\r\n",
	} {
		cases = append(cases, request{name: name, send: send, want: refused})
	}
	runRequests(t, startInbound, cases)
}

// TestHostsOfServices: on the way out the authority says which service is
// meant, by every form of the target alike.
func TestHostsOfServices(t *testing.T) {
	unknown := "404 unknown_host, open"
	runRequests(t, startOutbound, []request{
		{name: "Host", send: "GET /x HTTP/1.1\r\nHost: app\r\n\r\n", want: "200 GET /x, open", app: []string{"GET /x @app"}},
		{name: "proxy request", send: "GET http://app/x HTTP/1.1\r\nHost: app\r\nProxy-Connection: keep-alive\r\n\r\n", want: "200 GET /x, open", app: []string{"GET /x @app"}, not: "Proxy-Connection"},
		{name: "proxy request, another Host", send: "GET http://app/x HTTP/1.1\r\nHost: evil\r\n\r\n", want: "200 GET /x, open", app: []string{"GET /x @app"}, not: "evil"},
		{name: "another service, Host says app", send: "GET http://evil/x HTTP/1.1\r\nHost: app\r\n\r\n", want: unknown},
		{name: "unknown", send: "GET /x HTTP/1.1\r\nHost: b\r\n\r\n", want: unknown},
		{name: "several", send: "GET /x HTTP/1.1\r\nHost: app,b\r\n\r\n", want: unknown},
		{name: "port out of range", send: "GET /x HTTP/1.1\r\nHost: app:99999\r\n\r\n", want: unknown},
		{name: "empty", send: "GET /x HTTP/1.1\r\nHost:\r\n\r\n", want: "400 unknown_host, open"},
		{name: "X-Forwarded-Host does not route", send: "GET /x HTTP/1.1\r\nHost: b\r\nX-Forwarded-Host: app\r\n\r\n", want: unknown},
		// Client-side desync (Kettle 2022): what is answered here, without the
		// body being asked for, leaves nothing of the body behind as a request.
		{name: "refused with a request for a body", send: "POST /x HTTP/1.1\r\nHost: b\r\nContent-Length: 35\r\n\r\n" + smuggled, want: "404 unknown_host, open"},
		{name: "refused with a request in chunks", send: "POST /x HTTP/1.1\r\nHost: b\r\nTransfer-Encoding: chunked\r\n\r\n23\r\n" + smuggled + "\r\n0\r\n\r\n", want: "404 unknown_host, closed"},
		{name: "refused before its body", send: "POST /x HTTP/1.1\r\nHost: b\r\nContent-Length: 1000\r\n\r\n" + smuggled, want: "404 unknown_host, closed"},
		{name: "refused, body with malformed chunks", send: "POST /x HTTP/1.1\r\nHost: b\r\nTransfer-Encoding: chunked\r\n\r\n3;x\r\nabc\r\n0\r\n\r\n" + smuggled, want: "404 unknown_host, closed"},
	})
}
