package conformance

import (
	"strings"
	"testing"
)

// TestChunks: a chunk is digits, CRLF, data, CRLF (RFC 9112, section 7.1).
// Extensions are refused: nobody uses them but who wants two parsers to
// disagree ("Funky Chunks", J. Weikop, 2025, has most of these; the sizes are
// of the literature before it). What is malformed is found while the head is
// on its way, so that the app may see the beginning of the request, and never
// its end.
func TestChunks(t *testing.T) {
	const te = "Transfer-Encoding: chunked\r\n"
	abc := []string{`POST /x @a "abc"`}
	cases := []request{
		{name: "capital and small digits", send: post(te, "A\r\n0123456789\r\nb\r\n0123456789a\r\n0\r\n\r\n"), want: "200 POST /x, open", app: []string{`POST /x @a "01234567890123456789a"`}},
		{name: "leading zeros", send: post(te, "0003\r\nabc\r\n000\r\n\r\n"), want: "200 POST /x, open", app: abc, not: "0003"},
		{name: "none", send: post(te, "0\r\n\r\n"), want: "200 POST /x, open", app: []string{"POST /x @a"}},
		{name: "a request in a chunk", send: post(te, "23\r\n"+smuggled+"\r\n0\r\n\r\n"), want: "200 POST /x, open", app: []string{`POST /x @a "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"`}},
		{name: "a request behind the last chunk", send: post(te, "3\r\nabc\r\n0\r\n\r\n"+smuggled), want: "200 POST /x, 200 GET /smuggled, open", app: append(abc, "GET /smuggled @a")},
		{name: "GET", send: "GET /x HTTP/1.1\r\nHost: a\r\n" + te + "\r\n3\r\nabc\r\n0\r\n\r\n", want: "200 GET /x, open", app: []string{`GET /x @a "abc"`}},
	}
	for name, body := range map[string]string{
		"extension":                        "3;a=b\r\nabc\r\n0\r\n\r\n",
		"extension without a value":        "3;a\r\nabc\r\n0\r\n\r\n",
		"empty extension":                  "3;\r\nabc\r\n0\r\n\r\n",
		"extension of the last chunk":      "3\r\nabc\r\n0;a=b\r\n\r\n",
		"quoted extension with CRLF":       "3;a=\"\r\nabc\r\n0\r\n\r\n",
		"extension with a bare LF":         "3;a\nabc\r\n0\r\n\r\n",
		"extension with a bare CR":         "3;a\rabc\r\n0\r\n\r\n",
		"very long extension":              "3;" + strings.Repeat("a", 100_000) + "\r\nabc\r\n0\r\n\r\n",
		"space before the extension":       "3 ;a\r\nabc\r\n0\r\n\r\n",
		"space behind the size":            "3 \r\nabc\r\n0\r\n\r\n",
		"tab behind the size":              "3\t\r\nabc\r\n0\r\n\r\n",
		"space before the size":            " 3\r\nabc\r\n0\r\n\r\n",
		"tab before the size":              "\t3\r\nabc\r\n0\r\n\r\n",
		"0x":                               "0x3\r\nabc\r\n0\r\n\r\n",
		"x":                                "x3\r\nabc\r\n0\r\n\r\n",
		"plus":                             "+3\r\nabc\r\n0\r\n\r\n",
		"minus":                            "-3\r\nabc\r\n0\r\n\r\n",
		"minus zero":                       "3\r\nabc\r\n-0\r\n\r\n",
		"underscore":                       "0_3\r\nabc\r\n0\r\n\r\n",
		"no hexadecimal digit":             "g\r\nabc\r\n0\r\n\r\n",
		"quoted":                           "\"3\"\r\nabc\r\n0\r\n\r\n",
		"decimal point":                    "3.0\r\nabc\r\n0\r\n\r\n",
		"fullwidth digit":                  "\uff13\r\nabc\r\n0\r\n\r\n",
		"NUL before":                       "\x003\r\nabc\r\n0\r\n\r\n",
		"NUL behind":                       "3\x00\r\nabc\r\n0\r\n\r\n",
		"no size":                          "\r\nabc\r\n0\r\n\r\n",
		"empty line before the last chunk": "3\r\nabc\r\n\r\n0\r\n\r\n",
		"64 bits and three":                "10000000000000003\r\nabc\r\n0\r\n\r\n",
		"64 bits set":                      "ffffffffffffffff\r\nabc\r\n0\r\n\r\n",
		"63 bits and one":                  "8000000000000000\r\nabc\r\n0\r\n\r\n",
		"32 bits and three, many zeros":    "0000000100000003\r\nabc\r\n0\r\n\r\n",
		"very many zeros":                  strings.Repeat("0", 5000) + "3\r\nabc\r\n0\r\n\r\n",
		"bare LF behind the size":          "3\nabc\r\n0\r\n\r\n",
		"bare CR behind the size":          "3\rabc\r\n0\r\n\r\n",
		"CR before CRLF":                   "3\r\r\nabc\r\n0\r\n\r\n",
		"bare LF behind the data":          "3\r\nabc\n0\r\n\r\n",
		"bare CR behind the data":          "3\r\nabc\r0\r\n\r\n",
		"two bytes for CRLF behind data":   "3\r\nabcXX0\r\n\r\n",
		"nothing behind the data":          "3\r\nabc0\r\n\r\n",
		"one byte too many":                "3\r\nabcd\r\n0\r\n\r\n",
		"a line too many":                  "3\r\nabc\r\nxyz\r\n0\r\n\r\n",
		"bare LF behind the last chunk":    "3\r\nabc\r\n0\n\r\n",
		"bare LF at the end":               "3\r\nabc\r\n0\r\n\n",
		"only bare LFs":                    "3\nabc\n0\n\n",
		"request for a trailer section":    "0\r\n" + smuggled,
		"trailer: space before the colon":  "0\r\nX : y\r\n\r\n",
		"trailer: no colon":                "0\r\nX\r\n\r\n",
		"trailer: no name":                 "0\r\n: y\r\n\r\n",
		"trailer: folded":                  "0\r\nX: y\r\n z\r\n\r\n",
		"trailer: folded first":            "0\r\n X: y\r\n\r\n",
		"trailer: bare LF":                 "0\r\nX: y\n\r\n",
		"trailer: bare CR":                 "0\r\nX: y\rZ: a\r\n\r\n",
		"trailer: NUL":                     "0\r\nX: \x00\r\n\r\n",
		"trailer: name of another kind":    "0\r\nX(: y\r\n\r\n",
	} {
		cases = append(cases, request{name: name, send: post(te, body), want: badBody, broken: true, not: "smuggled"})
	}
	cases = append(cases,
		request{name: "a chunk line without an end", send: post(te, strings.Repeat("0", 100)), want: badBody, broken: true},
		request{name: "trailers: too many", send: post(te, "0\r\n"+strings.Repeat("X: y\r\n", 101)+"\r\n"), want: badBody, broken: true},
		request{name: "trailers: too long", send: post(te, "0\r\nX: "+strings.Repeat("y", 70_000)+"\r\n\r\n"), want: badBody, broken: true},
		request{name: "trailers: too long in all", send: post(te, "0\r\n"+strings.Repeat("X: "+strings.Repeat("y", 1000)+"\r\n", 80)+"\r\n"), want: badBody, broken: true},
		request{name: "trailers", send: post(te, "3\r\nabc\r\n0\r\nX-Sum: 6\r\nx-sum: 7\r\n\r\n"), want: "200 POST /x, open", app: []string{`POST /x @a "abc" trailer X-Sum=["6" "7"]`}, raw: "\r\n0\r\nX-Sum: 6\r\nx-sum: 7\r\n\r\n"},
	)
	// What would have decided about the message is not to be believed when it
	// comes after it (RFC 9110, section 6.5.1).
	for _, field := range []string{
		"Content-Length: 5", "Transfer-Encoding: chunked", "Host: b", "Connection: close", "Trailer: X", "TE: trailers", "Upgrade: websocket",
		"Authorization: x", "Content-Encoding: gzip", "Content-Type: a/b", "Content-Range: bytes 0-1/2", "Cookie: a=b", "Expect: 100-continue", "Keep-Alive: 5",
	} {
		cases = append(cases, request{
			name: "trailer that frames: " + field, send: post(te, "3\r\nabc\r\n0\r\n"+field+"\r\n\r\n"), want: "200 POST /x, open", app: abc, not: "\r\n0\r\n" + field,
		})
	}
	runRequests(t, startInbound, cases)
}
