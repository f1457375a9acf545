package http1

import (
	"bytes"

	"github.com/outrigger-mesh/outrigger/middleware"
)

// ParseResponse parses a whole response head, as ReadHead gives it, into r; the
// request's method decides whether a body can follow. The fields point into the
// head. Body is left alone: a body follows unless Length is 0 and it is not
// chunked.
func ParseResponse(head []byte, method []byte, r *middleware.Response) (Framing, error) {
	end := bytes.IndexByte(head, '\n')
	if end < 1 {
		return Framing{}, BadStatusLine
	}
	line := head[:end-1]
	if len(line) < 12 || string(line[:7]) != "HTTP/1." || line[7] != '0' && line[7] != '1' || line[8] != ' ' || len(line) > 12 && line[12] != ' ' {
		return Framing{}, BadStatusLine
	}
	old := line[7] == '0'
	for _, c := range line[9:12] {
		if c < '0' || c > '9' {
			return Framing{}, BadStatusLine
		}
	}
	r.Status = int(line[9]-'0')*100 + int(line[10]-'0')*10 + int(line[11]-'0')
	if r.Status < 100 || r.Status > 599 {
		return Framing{}, BadStatusLine
	}
	for _, c := range line[12:] {
		if c < ' ' && c != '\t' || c == 0x7f {
			return Framing{}, BadStatusLine
		}
	}
	s := fieldScan{}
	s.framing.Length = -1
	if err := s.parseFields(head[end+1:], &r.Header); err != nil {
		return Framing{}, err
	}
	s.dropNamed(&r.Header)
	if s.upgrade != nil && r.Status == 101 {
		r.Header.Append(upgradeName, s.upgrade)
	}
	f := s.framing
	f.Close = f.Close || old && !s.keepAlive
	r.ContentLength = f.Length
	switch {
	case f.Chunked && s.lengths > 0:
		return f, BadLengthAndCoding
	case f.Chunked && old:
		return f, BadTransferEncoding
	case NoBody(r.Status, method):
		f.Length, f.Chunked = 0, false
	case f.Chunked:
	case f.Length < 0:
		f.Close = true // the body goes on until the connection ends
	}
	return f, nil
}

var upgradeName = []byte("upgrade")

// NoBody reports whether a response of the status to a request of the method
// has no body whatever its header says (RFC 9112, section 6.3).
func NoBody(status int, method []byte) bool {
	return status < 200 || status == 204 || status == 304 || string(method) == "HEAD"
}
