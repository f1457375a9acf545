package conformance

import (
	"strings"
	"testing"
)

const (
	ok    = "HTTP/1.1 200 OK\r\n"
	okLen = ok + "Content-Length: 2\r\n\r\nok"
	evil  = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"
)

// TestResponseHeads: an answer that is not in order is not passed on, and the
// connection that it came on is not used again (RFC 9112, sections 4, 5 and
// 6.3). What an app sends is no more to be trusted than what a client sends: it
// may be owned, or echo what a client gave it ("response splitting").
func TestResponseHeads(t *testing.T) {
	cases := []response{
		{name: "as it should be", script: script{send: okLen}, want: []string{"200 ok"}, kept: true},
		{name: "no reason phrase", script: script{send: "HTTP/1.1 200 \r\nContent-Length: 2\r\n\r\nok"}, want: []string{"200 ok"}, kept: true},
		{name: "no space behind the status", script: script{send: "HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok"}, want: []string{"200 ok"}, kept: true},
		{name: "close", script: script{send: ok + "Connection: close\r\nContent-Length: 2\r\n\r\nok"}, want: []string{"200 ok"}},
		{name: "HTTP/1.0", script: script{send: "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok"}, want: []string{"200 ok"}},
		{name: "HTTP/1.0 that stays", script: script{send: "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok"}, want: []string{"200 ok"}, kept: true},
		{name: "until the end", script: script{send: ok + "\r\nok", end: closes}, want: []string{"200 ok"}},
		{name: "until the end, HTTP/1.0", script: script{send: "HTTP/1.0 200 OK\r\n\r\nok", end: closes}, want: []string{"200 ok"}},
		{name: "until the end of its side", script: script{send: ok + "\r\nok", end: halfEnds}, want: []string{"200 ok"}},
		{name: "a hundred fields", script: script{send: ok + strings.Repeat("A: b\r\n", 99) + "Content-Length: 2\r\n\r\nok"}, want: []string{"200 ok"}, kept: true},
		{name: "status of its own", script: script{send: "HTTP/1.1 299 Odd\r\nContent-Length: 2\r\n\r\nok"}, want: []string{"299 ok"}, kept: true},
	}
	for name, send := range map[string]string{
		"status of two digits":         "HTTP/1.1 20 OK\r\nContent-Length: 2\r\n\r\nok",
		"status of four digits":        "HTTP/1.1 2000 OK\r\nContent-Length: 2\r\n\r\nok",
		"status below 100":             "HTTP/1.1 099 OK\r\nContent-Length: 2\r\n\r\nok",
		"status 600":                   "HTTP/1.1 600 OK\r\nContent-Length: 2\r\n\r\nok",
		"status with a sign":           "HTTP/1.1 +20 OK\r\nContent-Length: 2\r\n\r\nok",
		"status that is a word":        "HTTP/1.1 OK\r\nContent-Length: 2\r\n\r\nok",
		"no space behind the digits":   "HTTP/1.1 200OK\r\nContent-Length: 2\r\n\r\nok",
		"two spaces":                   "HTTP/1.1  200 OK\r\nContent-Length: 2\r\n\r\nok",
		"tab":                          "HTTP/1.1\t200 OK\r\nContent-Length: 2\r\n\r\nok",
		"HTTP/2":                       "HTTP/2 200 OK\r\nContent-Length: 2\r\n\r\nok",
		"HTTP/2.0":                     "HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
		"small letters":                "http/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
		"ICY":                          "ICY 200 OK\r\nContent-Length: 2\r\n\r\nok",
		"no version":                   "200 OK\r\nContent-Length: 2\r\n\r\nok",
		"HTTP/0.9":                     "<html>\r\nok\r\n\r\n",
		"NUL in the reason":            "HTTP/1.1 200 O\x00K\r\nContent-Length: 2\r\n\r\nok",
		"CR in the reason":             "HTTP/1.1 200 O\rK\r\nContent-Length: 2\r\n\r\nok",
		"a request":                    "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
		"TLS alert":                    "\x15\x03\x01\x00\x02\x02\x46\r\n\r\n",
		"two empty lines first":        "\r\n\r\n" + okLen,
		"LF line ends":                 "HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
		"one bare LF":                  ok + "A: b\nContent-Length: 2\r\n\r\nok",
		"bare CR":                      ok + "A: b\rC: d\r\nContent-Length: 2\r\n\r\nok",
		"NUL in a value":               ok + "A: \x00\r\nContent-Length: 2\r\n\r\nok",
		"escape in a value":            ok + "A: \x1b\r\nContent-Length: 2\r\n\r\nok",
		"folded":                       ok + "A: b\r\n c\r\nContent-Length: 2\r\n\r\nok",
		"folded first":                 ok + " A: b\r\nContent-Length: 2\r\n\r\nok",
		"space before the colon":       ok + "A : b\r\nContent-Length: 2\r\n\r\nok",
		"no colon":                     ok + "A\r\nContent-Length: 2\r\n\r\nok",
		"no name":                      ok + ": b\r\nContent-Length: 2\r\n\r\nok",
		"a second status line":         ok + ok + "Content-Length: 2\r\n\r\nok",
		"two lengths":                  ok + "Content-Length: 2\r\nContent-Length: 3\r\n\r\nok",
		"two equal lengths":            ok + "Content-Length: 2\r\nContent-Length: 2\r\n\r\nok",
		"list of lengths":              ok + "Content-Length: 2, 2\r\n\r\nok",
		"length with a plus":           ok + "Content-Length: +2\r\n\r\nok",
		"length with a minus":          ok + "Content-Length: -2\r\n\r\nok",
		"hexadecimal length":           ok + "Content-Length: 0x2\r\n\r\nok",
		"empty length":                 ok + "Content-Length:\r\n\r\nok",
		"length that is a word":        ok + "Content-Length: two\r\n\r\nok",
		"length of 64 bits and two":    ok + "Content-Length: 18446744073709551618\r\n\r\nok",
		"length and coding":            ok + "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
		"coding and length":            ok + "Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n2\r\nok\r\n0\r\n\r\n",
		"coding twice":                 ok + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
		"coding twice in one":          ok + "Transfer-Encoding: chunked, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
		"another coding":               ok + "Transfer-Encoding: gzip\r\n\r\nok",
		"gzip and chunked":             ok + "Transfer-Encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
		"identity":                     ok + "Transfer-Encoding: identity\r\n\r\nok",
		"empty coding":                 ok + "Transfer-Encoding:\r\n\r\nok",
		"coding with vertical tab":     ok + "Transfer-Encoding: \vchunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
		"coding by HTTP/1.0":           "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
		"too many fields":              ok + strings.Repeat("A: b\r\n", 101) + "Content-Length: 2\r\n\r\nok",
		"too large":                    ok + "A: " + strings.Repeat("b", 70_000) + "\r\nContent-Length: 2\r\n\r\nok",
		"too large without an end":     ok + "A: " + strings.Repeat("b", 70_000),
		"too large in all":             ok + strings.Repeat("A: "+strings.Repeat("b", 1000)+"\r\n", 80) + "\r\n",
		"status line too large":        "HTTP/1.1 200 " + strings.Repeat("b", 70_000) + "\r\n\r\n",
		"101 that nobody asked for":    "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
		"101 without anything":         "HTTP/1.1 101 Switching Protocols\r\n\r\n",
		"very many interim answers":    strings.Repeat("HTTP/1.1 100 Continue\r\n\r\n", 10_000) + okLen,
		"length on an interim answer":  "HTTP/1.1 100 Continue\r\nContent-Length: 4\r\n\r\nevil" + okLen,
		"malformed interim answer":     "HTTP/1.1 100 Continue\r\nA : b\r\n\r\n" + okLen,
		"malformed behind an interim":  "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 20 OK\r\n\r\n",
		"chunked on an interim answer": "HTTP/1.1 100 Continue\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nevil\r\n0\r\n\r\n" + okLen,
	} {
		cases = append(cases, response{name: name, script: script{send: send}, want: invalid})
	}
	runResponses(t, cases)
}

// TestResponseBodies: the client never takes a part of a body for the whole,
// nor anything for a body that is none (RFC 9112, sections 6.3, 7.1 and 8).
func TestResponseBodies(t *testing.T) {
	const te = ok + "Transfer-Encoding: chunked\r\n\r\n"
	cases := []response{
		{name: "chunks", script: script{send: te + "2\r\nok\r\n0\r\n\r\n"}, want: []string{"200 ok"}, kept: true},
		{name: "chunks and trailers", script: script{send: te + "2\r\nok\r\n0\r\nA: b\r\n\r\n"}, want: []string{"200 ok"}, kept: true},
		{name: "chunks of leading zeros", script: script{send: te + "0002\r\nok\r\n000\r\n\r\n"}, want: []string{"200 ok"}, kept: true},
		{name: "length, ended early", script: script{send: ok + "Content-Length: 5\r\n\r\nok", end: closes}, want: []string{"200 ok broken"}},
		{name: "length, reset", script: script{send: ok + "Content-Length: 5\r\n\r\nok", end: breaks}, want: []string{"200 ok broken", "200 broken", "502 upstream_reset"}},
		{name: "length, nothing", script: script{send: ok + "Content-Length: 5\r\n\r\n", end: closes}, want: []string{"200 broken", "502 upstream_reset"}},
		{name: "very large length", script: script{send: ok + "Content-Length: 999999999999999999\r\n\r\nok", end: closes}, want: []string{"200 ok broken"}},
		{name: "chunks, ended early", script: script{send: te + "5\r\nok", end: closes}, want: []string{"200 ok broken"}},
		{name: "chunks, ended between two", script: script{send: te + "2\r\nok\r\n", end: closes}, want: []string{"200 ok broken"}},
		{name: "chunks, ended before the last empty line", script: script{send: te + "2\r\nok\r\n0\r\n", end: closes}, want: []string{"200 ok broken"}},
		{name: "chunks, ended in the trailers", script: script{send: te + "2\r\nok\r\n0\r\nA: b\r\n", end: closes}, want: []string{"200 ok broken"}},
		{name: "chunks, ended in a size", script: script{send: te + "2\r\nok\r\n5", end: closes}, want: []string{"200 ok broken"}},
		{name: "until the end, reset", script: script{send: ok + "\r\nok", end: breaks}, want: []string{"200 ok broken", "200 broken", "502 upstream_reset"}},
		{name: "HEAD", script: script{send: ok + "Content-Length: 2\r\n\r\n"}, method: "HEAD", want: []string{"200"}, kept: true},
		{name: "HEAD, chunked", script: script{send: te}, method: "HEAD", want: []string{"200"}, kept: true},
		{name: "HEAD, no length", script: script{send: ok + "\r\n"}, method: "HEAD", want: []string{"200"}, kept: true},
		{name: "HEAD with a body", script: script{send: okLen}, method: "HEAD", want: []string{"200"}},
		{name: "HEAD with an answer for a body", script: script{send: ok + "Content-Length: 42\r\n\r\n" + evil}, method: "HEAD", want: []string{"200"}},
		{name: "204", script: script{send: "HTTP/1.1 204 No Content\r\n\r\n"}, want: []string{"204"}, kept: true},
		{name: "204 with a body", script: script{send: "HTTP/1.1 204 No Content\r\nContent-Length: 42\r\n\r\n" + evil}, want: []string{"204"}},
		{name: "204 with chunks", script: script{send: "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"}, want: []string{"204"}},
		{name: "304", script: script{send: "HTTP/1.1 304 Not Modified\r\nContent-Length: 42\r\n\r\n"}, want: []string{"304"}, kept: true},
		{name: "304 with a body", script: script{send: "HTTP/1.1 304 Not Modified\r\nContent-Length: 42\r\n\r\n" + evil}, want: []string{"304"}},
		{name: "205 with a body", script: script{send: "HTTP/1.1 205 Reset Content\r\nContent-Length: 2\r\n\r\nok"}, want: []string{"205 ok"}, kept: true},
	}
	for name, body := range map[string]string{
		"extension":               "2;a=b\r\nok\r\n0\r\n\r\n",
		"no size":                 "\r\nok\r\n0\r\n\r\n",
		"0x":                      "0x2\r\nok\r\n0\r\n\r\n",
		"minus":                   "-2\r\nok\r\n0\r\n\r\n",
		"64 bits and two":         "10000000000000002\r\nok\r\n0\r\n\r\n",
		"bare LF behind the size": "2\nok\r\n0\r\n\r\n",
		"no chunks":               "ok",
	} {
		if name == "no chunks" {
			body += strings.Repeat(" ", 20)
		}
		cases = append(cases, response{name: "chunks: " + name, script: script{send: te + body}, want: []string{"200 broken", "502 upstream_invalid", "502 upstream_reset"}})
	}
	for name, body := range map[string]string{
		"no line end behind the data":       "2\r\nok0\r\n\r\n",
		"bare LF behind the data":           "2\r\nok\n0\r\n\r\n",
		"one byte too many":                 "2\r\nokX\r\n0\r\n\r\n",
		"extension of the last":             "2\r\nok\r\n0;a\r\n\r\n",
		"an answer for a trailer section":   "2\r\nok\r\n0\r\n" + evil,
		"trailer with a NUL":                "2\r\nok\r\n0\r\nA: \x00\r\n\r\n",
		"folded trailer":                    "2\r\nok\r\n0\r\nA: b\r\n c\r\n\r\n",
		"too many trailers":                 "2\r\nok\r\n0\r\n" + strings.Repeat("A: b\r\n", 102) + "\r\n",
		"trailers too large":                "2\r\nok\r\n0\r\nA: " + strings.Repeat("b", 70_000) + "\r\n\r\n",
		"second size that is none":          "2\r\nok\r\nzz\r\n\r\n",
		"bare LF at the very end":           "2\r\nok\r\n0\r\n\n",
		"space before a trailer's colon":    "2\r\nok\r\n0\r\nA : b\r\n\r\n",
		"second size larger than 63 bits":   "2\r\nok\r\nffffffffffffffff\r\n",
		"second size without an end at all": "2\r\nok\r\n" + strings.Repeat("0", 50),
	} {
		cases = append(cases, response{name: "chunks: " + name, script: script{send: te + body}, want: []string{"200 ok broken"}})
	}
	runResponses(t, cases)
}

// TestResponsesNobodyAskedFor: what stands behind an answer is not the answer
// to the next request ("response queue poisoning", Kettle 2021): neither when it
// comes at once, nor when it comes while the connection lies unused.
func TestResponsesNobodyAskedFor(t *testing.T) {
	runResponses(t, []response{
		{name: "at once", script: script{send: okLen + evil}, want: []string{"200 ok"}},
		{name: "at once, behind chunks", script: script{send: ok + "Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n" + evil}, want: []string{"200 ok"}},
		{name: "at once, behind no body", script: script{send: ok + "Content-Length: 0\r\n\r\n" + evil}, want: []string{"200"}},
		{name: "at once, one byte", script: script{send: okLen + "x"}, want: []string{"200 ok"}},
		{name: "at once, a line end", script: script{send: okLen + "\r\n"}, want: []string{"200 ok"}},
		{name: "at once, half of one", script: script{send: okLen + evil[:20]}, want: []string{"200 ok"}},
		{name: "at once, large", script: script{send: okLen + ok + "Content-Length: 100000\r\n\r\n" + strings.Repeat("evil", 25_000)}, want: []string{"200 ok"}},
		{name: "late", script: script{send: okLen, after: evil}, want: []string{"200 ok"}},
		{name: "late, one byte", script: script{send: okLen, after: "x"}, want: []string{"200 ok"}},
		{name: "late, interim", script: script{send: okLen, after: "HTTP/1.1 100 Continue\r\n\r\n"}, want: []string{"200 ok"}},
		{name: "late, 408", script: script{send: okLen, after: "HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n", end: closes}, want: []string{"200 ok"}},
		{name: "late, and closed", script: script{send: okLen, after: evil, end: closes}, want: []string{"200 ok"}},
		{name: "late, behind a body until the end", script: script{send: ok + "Connection: close\r\nContent-Length: 2\r\n\r\nok", after: evil}, want: []string{"200 ok"}},
		{name: "closed late", script: script{send: okLen, end: closes}, want: []string{"200 ok"}},
		{name: "reset late", script: script{send: okLen, end: breaks}, want: []string{"200 ok", "502 upstream_reset"}},
	})
}

// TestResponsesThatBreakOff (RFC 9112, section 8; RFC 9110, section 9.2.2, on
// what may be sent again): a connection that ends before the answer gives 502,
// and a request that the app may have seen is not sent a second time.
func TestResponsesThatBreakOff(t *testing.T) {
	cases := []response{
		{name: "at once", script: script{end: closes}, want: broke},
		{name: "reset", script: script{end: breaks}, want: broke},
		{name: "its side only", script: script{end: halfEnds}, want: broke},
		{name: "POST", script: script{end: closes}, method: "POST", body: "abc", want: broke},
		{name: "behind an interim answer", script: script{send: "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", end: closes}, want: []string{"103"}},
		{name: "amid an interim answer", script: script{send: "HTTP/1.1 103 Early Hints\r\nLink", end: closes}, want: broke},
	}
	whole := ok + "A: b\r\nContent-Length: 2\r\n\r\n"
	for n := 1; n < len(whole); n++ {
		cases = append(cases, response{name: "after " + clip(whole[:n]), script: script{send: whole[:n], end: closes}, want: broke})
	}
	runResponses(t, cases)
}
