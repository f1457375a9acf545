package conformance

import (
	"strings"
	"testing"
)

// TestMessagesWithTwoLengths: whatever says the body's length twice is refused
// (RFC 9112, sections 6.1 and 6.3; J. Kettle, "HTTP Desync Attacks", 2019:
// CL.TE, TE.CL).
func TestMessagesWithTwoLengths(t *testing.T) {
	runRequests(t, startInbound, []request{
		{name: "CL.TE", send: post("Content-Length: 6\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\nG"), want: refused},
		{name: "TE.CL", send: post("Transfer-Encoding: chunked\r\nContent-Length: 4\r\n", "27\r\n"+smuggled+"\r\n0\r\n\r\n"), want: refused},
		{name: "CL 0 with TE", send: post("Content-Length: 0\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"+smuggled), want: refused},
		{name: "GET", send: get("Content-Length: 0\r\nTransfer-Encoding: chunked\r\n"), want: refused},
		{name: "CL, other fields, TE", send: post("Content-Length: 5\r\nA: b\r\nC: d\r\ntransfer-encoding: chunked\r\n", "0\r\n\r\n"), want: refused},
		{name: "CL named by Connection, with TE", send: post("Connection: Content-Length\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"), want: refused},
		{name: "TE named by Connection, with CL", send: post("Connection: Transfer-Encoding\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"), want: refused},
		{name: "both and HTTP/1.0", send: "POST /x HTTP/1.0\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", want: refused},
	})
}

// TestTransferEncodings: only chunked, once and alone, is a coding that we
// know; it goes on in our own words (RFC 9112, section 6.1). Each obfuscation
// is one that a server was once found to read in another way than the one
// before it (Kettle 2019, TE.TE; the list of his "HTTP Request Smuggler").
func TestTransferEncodings(t *testing.T) {
	const chunks = "5\r\nabcde\r\n0\r\n\r\n"
	const plain = "POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
	taken := []string{`POST /x @a "abcde"`}
	cases := []request{
		{name: "as it should be", send: post("Transfer-Encoding: chunked\r\n", chunks), want: "200 POST /x, open", app: taken, raw: plain},
		{name: "capitals", send: post("TRANSFER-ENCODING: CHUNKED\r\n", chunks), want: "200 POST /x, open", app: taken, raw: plain},
		{name: "tab before the value", send: post("Transfer-Encoding:\tchunked\r\n", chunks), want: "200 POST /x, open", app: taken, raw: plain},
		{name: "white space behind the value", send: post("Transfer-Encoding: chunked \t \r\n", chunks), want: "200 POST /x, open", app: taken, raw: plain},
		{name: "no space after the colon", send: post("Transfer-Encoding:chunked\r\n", chunks), want: "200 POST /x, open", app: taken, raw: plain},
		{name: "named by Connection", send: post("Connection: Transfer-Encoding\r\nTransfer-Encoding: chunked\r\n", chunks), want: "200 POST /x, open", app: taken, raw: plain},
		{name: "content coding of that name", send: post("Content-Encoding: chunked\r\nContent-Length: 5\r\n", "abcde"), want: "200 POST /x, open", app: taken, raw: "Content-Encoding: chunked\r\nContent-Length: 5\r\n"},
		// A field of another name says nothing about the body; what looks like
		// one is then the next request, and none.
		{name: "underscore for the hyphen", send: post("Transfer_Encoding: chunked\r\n", chunks), want: "200 POST /x, 400 bad_request, closed", app: []string{"POST /x @a"}, raw: "Content-Length: 0\r\n\r\n"},
		{name: "X- before the name", send: post("X-Transfer-Encoding: chunked\r\n", chunks), want: "200 POST /x, 400 bad_request, closed", app: []string{"POST /x @a"}, raw: "Content-Length: 0\r\n\r\n"},
	}
	for name, field := range map[string]string{
		"letter before":             "Transfer-Encoding: xchunked",
		"letter behind":             "Transfer-Encoding: chunkedx",
		"shortened":                 "Transfer-Encoding: chunk",
		"identity":                  "Transfer-Encoding: identity",
		"another coding":            "Transfer-Encoding: cow",
		"empty":                     "Transfer-Encoding:",
		"comma before":              "Transfer-Encoding: ,chunked",
		"comma behind":              "Transfer-Encoding: chunked,",
		"identity behind":           "Transfer-Encoding: chunked, identity",
		"identity before":           "Transfer-Encoding: identity, chunked",
		"gzip before":               "Transfer-Encoding: gzip, chunked",
		"chunked twice":             "Transfer-Encoding: chunked, chunked",
		"chunked first":             "Transfer-Encoding: chunked, gzip",
		"weight":                    "Transfer-Encoding: chunked;q=1",
		"parameter":                 "Transfer-Encoding: chunked; a=b",
		"semicolon":                 "Transfer-Encoding: chunked;",
		"quoted":                    `Transfer-Encoding: "chunked"`,
		"single quotes":             "Transfer-Encoding: 'chunked'",
		"comment":                   "Transfer-Encoding: chunked (x)",
		"two words":                 "Transfer-Encoding: chunked x",
		"two fields":                "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
		"two fields, second other":  "Transfer-Encoding: chunked\r\nTransfer-encoding: cow",
		"two fields, first other":   "Transfer-Encoding: x\r\nTransfer-Encoding: chunked",
		"two fields, one empty":     "Transfer-Encoding:\r\nTransfer-Encoding: chunked",
		"space before the colon":    "Transfer-Encoding : chunked",
		"tab before the colon":      "Transfer-Encoding\t: chunked",
		"vertical tab":              "Transfer-Encoding:\vchunked",
		"vertical tab behind":       "Transfer-Encoding: chunked\v",
		"form feed":                 "Transfer-Encoding: \fchunked",
		"NUL before":                "Transfer-Encoding: \x00chunked",
		"NUL behind":                "Transfer-Encoding: chunked\x00",
		"backspace":                 "Transfer-Encoding: chunked\b",
		"DEL":                       "Transfer-Encoding: \x7fchunked",
		"no-break space":            "Transfer-Encoding: \xa0chunked",
		"no-break space in UTF-8":   "Transfer-Encoding: \u00a0chunked",
		"byte above ASCII behind":   "Transfer-Encoding: chunked\xff",
		"small capital K":           "Transfer-Encoding: chun\u212aed",
		"long s":                    "Tran\u017ffer-Encoding: chunked",
		"folded line":               "X: y\r\n Transfer-Encoding: chunked",
		"folded line, tab":          "X: y\r\n\tTransfer-Encoding: chunked",
		"value on the next line":    "Transfer-Encoding:\r\n chunked",
		"value on the line after":   "Transfer-Encoding:\r\n \r\n chunked",
		"folded before the colon":   "Transfer-Encoding\r\n : chunked",
		"behind a bare LF":          "X: y\nTransfer-Encoding: chunked",
		"behind a bare CR":          "X: y\rTransfer-Encoding: chunked",
		"behind an encoded CRLF":    "X: y\r\n%0d%0aTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked, x",
		"CR before the name":        "X: y\r\n\rTransfer-Encoding: chunked",
		"CR before the value":       "Transfer-Encoding: \rchunked",
		"CR behind the name":        "Transfer-Encoding\r: chunked",
		"CR behind the value":       "Transfer-Encoding: chunked\r",
		"NUL in the name":           "Transfer\x00-Encoding: chunked",
		"NUL before the name":       "\x00Transfer-Encoding: chunked",
		"space in the name":         "Transfer Encoding: chunked",
		"equals sign":               "Transfer-Encoding=chunked",
		"semicolon in the name":     "Transfer-Encoding;: chunked",
		"no colon":                  "Transfer-Encoding chunked",
		"two colons":                "Transfer-Encoding:: chunked",
		"as the first line, folded": " Transfer-Encoding: chunked",
	} {
		cases = append(cases, request{name: name, send: "POST /x HTTP/1.1\r\n" + field + "\r\nHost: a\r\n\r\n" + chunks, want: refused})
	}
	cases = append(cases, request{
		name: "HTTP/1.0", send: "POST /x HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks, want: refused,
	})
	runRequests(t, startInbound, cases)
}

// TestContentLengths: a length is digits, once (RFC 9112, section 6.3; RFC
// 9110, section 8.6, allows to refuse lists of equal ones, and we do).
func TestContentLengths(t *testing.T) {
	taken := []string{`POST /x @a "abcde"`}
	cases := []request{
		{name: "as it should be", send: post("Content-Length: 5\r\n", "abcde"), want: "200 POST /x, open", app: taken, raw: "Content-Length: 5\r\n\r\nabcde"},
		{name: "white space around", send: post("Content-Length: \t5 \t\r\n", "abcde"), want: "200 POST /x, open", app: taken, raw: "Content-Length: 5\r\n\r\nabcde"},
		{name: "leading zeros", send: post("Content-Length: 005\r\n", "abcde"), want: "200 POST /x, open", app: taken, raw: "Content-Length: 5\r\n\r\nabcde"},
		{name: "lower case", send: post("content-length: 5\r\n", "abcde"), want: "200 POST /x, open", app: taken},
		{name: "named by Connection", send: post("Connection: Content-Length\r\nContent-Length: 5\r\n", "abcde"), want: "200 POST /x, open", app: taken},
		{name: "GET with a body", send: "GET /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nabcde", want: "200 GET /x, open", app: []string{`GET /x @a "abcde"`}},
		{name: "HEAD with a body", send: "HEAD /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nabcde", method: "HEAD", want: "200, open", app: []string{`HEAD /x @a "abcde"`}},
		{name: "GET of length 0", send: get("Content-Length: 0\r\n"), want: "200 GET /x, open", app: []string{"GET /x @a"}},
		{name: "HTTP/1.0", send: "POST /x HTTP/1.0\r\nHost: a\r\nContent-Length: 5\r\n\r\nabcde", want: "200 POST /x, closed", app: taken},
		// CL.0 and 0.CL (Kettle, "Browser-Powered Desync Attacks", 2022, and
		// "HTTP/1.1 must die", 2025): what is behind the length is a request,
		// what is within it is not, whatever the method.
		{name: "CL.0", send: post("Content-Length: 0\r\n", smuggled), want: "200 POST /x, 200 GET /smuggled, open", app: []string{"POST /x @a", "GET /smuggled @a"}},
		{name: "no length", send: post("", smuggled), want: "200 POST /x, 200 GET /smuggled, open", app: []string{"POST /x @a", "GET /smuggled @a"}},
		{name: "0.CL", send: "GET /x HTTP/1.1\r\nHost: a\r\nContent-Length: 35\r\n\r\n" + smuggled, want: "200 GET /x, open", app: []string{`GET /x @a "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"`}},
		{name: "0.CL, DELETE", send: "DELETE /x HTTP/1.1\r\nHost: a\r\nContent-Length: 35\r\n\r\n" + smuggled, want: "200 DELETE /x, open", app: []string{`DELETE /x @a "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"`}},
		{name: "0.CL, OPTIONS", send: "OPTIONS /x HTTP/1.1\r\nHost: a\r\nContent-Length: 35\r\n\r\n" + smuggled, want: "200 OPTIONS /x, open", app: []string{`OPTIONS /x @a "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"`}},
		{name: "underscore for the hyphen", send: post("Content_Length: 5\r\n", "abcde"), eof: true, want: "200 POST /x, closed", app: []string{"POST /x @a"}, raw: "Content_Length: 5\r\nContent-Length: 0\r\n\r\n"},
		{name: "shorter than the body", send: post("Content-Length: 4\r\n", "abcde"), eof: true, want: "200 POST /x, closed", app: []string{`POST /x @a "abcd"`}},
		{name: "longer than the body", send: post("Content-Length: 6\r\n", "abcde"), eof: true, want: "closed", broken: true},
	}
	for name, field := range map[string]string{
		"two, equal":                     "Content-Length: 5\r\nContent-Length: 5",
		"two, different":                 "Content-Length: 5\r\nContent-Length: 6",
		"two, different, case too":       "Content-Length: 0\r\ncontent-length: 5",
		"two, one empty":                 "Content-Length: 5\r\nContent-Length:",
		"list of equal ones":             "Content-Length: 5, 5",
		"list of different ones":         "Content-Length: 5,6",
		"list with an empty one":         "Content-Length: 5,",
		"plus":                           "Content-Length: +5",
		"minus":                          "Content-Length: -5",
		"minus zero":                     "Content-Length: -0",
		"hexadecimal":                    "Content-Length: 0x5",
		"decimal point":                  "Content-Length: 5.0",
		"exponent":                       "Content-Length: 5e0",
		"underscore":                     "Content-Length: 0_5",
		"digits of another script":       "Content-Length: \u0665",
		"fullwidth digit":                "Content-Length: \uff15",
		"superscript":                    "Content-Length: \u00b2",
		"empty":                          "Content-Length:",
		"letter behind":                  "Content-Length: 5a",
		"semicolon behind":               "Content-Length: 5;",
		"quoted":                         `Content-Length: "5"`,
		"space within":                   "Content-Length: 0 5",
		"vertical tab":                   "Content-Length: \v5",
		"NUL":                            "Content-Length: 5\x00",
		"no-break space":                 "Content-Length: \xa05",
		"63 bits and one":                "Content-Length: 9223372036854775808",
		"64 bits and five":               "Content-Length: 18446744073709551621",
		"very many digits":               "Content-Length: " + strings.Repeat("9", 400),
		"very many zeros":                "Content-Length: " + strings.Repeat("0", 400) + "5",
		"space before the colon":         "Content-Length : 5",
		"NUL in the name":                "Content-Length\x00: 5",
		"folded":                         "Content-Length: 5\r\n 6",
		"behind a fold":                  "X: y\r\n Content-Length: 5",
		"on the next line":               "Content-Length:\r\n 5",
		"bare CR behind":                 "Content-Length: 5\r",
		"space in the name":              "Content Length: 5",
		"list in two fields":             "Content-Length: 5\r\nContent-Length: 5, 5",
		"named twice with other between": "Content-Length: 5\r\nX: y\r\nContent-Length: 5",
	} {
		cases = append(cases, request{name: name, send: post(field+"\r\n", "abcde"), want: refused})
	}
	runRequests(t, startInbound, cases)
}
