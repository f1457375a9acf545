package grpcweb

import (
	"bytes"

	"github.com/outrigger-mesh/outrigger/middleware"
)

const (
	typeGRPC = "application/grpc"
	typeWeb  = "application/grpc-web"
	typeText = "-text" // follows typeWeb
)

// mediaType is a content-type of gRPC-Web.
type mediaType struct {
	text   bool
	suffix []byte // of the messages' format, such as +proto; the request's bytes
}

// parseMediaType reads a content-type; false says that it is none of gRPC-Web.
func parseMediaType(v []byte) (t mediaType, ok bool) {
	rest, ok := cutFold(v, typeWeb)
	if !ok {
		return t, false
	}
	if after, text := cutFold(rest, typeText); text {
		t.text, rest = true, after
	}
	if len(rest) > 0 && rest[0] != '+' && rest[0] != ';' && rest[0] != ' ' {
		return t, false
	}
	t.suffix = suffixOf(rest)
	return t, true
}

// suffixOf is the suffix of a content-type, with its plus sign; nil: none.
func suffixOf(v []byte) []byte {
	v, _, _ = bytes.Cut(v, []byte{';'})
	v = bytes.TrimRight(v, " \t")
	if i := bytes.IndexByte(v, '+'); i >= 0 {
		return v[i:]
	}
	return nil
}

func cutFold(v []byte, prefix string) (rest []byte, ok bool) {
	if len(v) < len(prefix) || !middleware.EqualFold(v[:len(prefix)], prefix) {
		return v, false
	}
	return v[len(prefix):], true
}

// wantsText reports whether the response is to be in the text form: as accept
// says, and as the request is where accept names neither form.
func wantsText(h *middleware.Header, t mediaType) bool {
	for v := range h.Values("accept") {
		for len(v) > 0 {
			var one []byte
			one, v, _ = bytes.Cut(v, []byte{','})
			if named, ok := parseMediaType(bytes.TrimLeft(one, " \t")); ok {
				return named.text
			}
		}
	}
	return t.text
}
