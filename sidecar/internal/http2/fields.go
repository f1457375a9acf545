package http2

import (
	"bytes"
	"strings"
	"unsafe"

	"golang.org/x/net/http2/hpack"

	"github.com/outrigger-mesh/outrigger/middleware"
	"github.com/outrigger-mesh/outrigger/sidecar/internal/http1"
)

// Head is a decoded head. Its bytes are not to be written to; they stay valid
// as long as somebody holds them.
type Head struct {
	Method, Scheme, Authority, Path []byte // of requests; Path is empty for CONNECT
	Status                          int    // of responses
	Header                          middleware.Header
	ContentLength                   int64 // 0: no body; -1: not known
	Continue                        bool  // the client waits for 100 before it sends its body
	BadExpect                       bool  // it expects what nobody knows
	End                             bool  // no body follows
	TooLarge                        bool  // more fields than are taken; those that were too many are missing
}

func (h *Head) reset() {
	h.Method, h.Scheme, h.Authority, h.Path = nil, nil, nil, nil
	h.Status, h.ContentLength, h.Continue, h.BadExpect, h.End, h.TooLarge = 0, 0, false, false, false, false
	h.Header.Reset()
}

// Kinds of header blocks.
type blockKind uint8

const (
	requestBlock blockKind = iota
	responseBlock
	trailerBlock
	lostBlock // decoded for its effect on the table alone
)

// fieldSink takes the fields of one header block as they are decoded.
type fieldSink struct {
	dec  *hpack.Decoder
	kind blockKind
	head *Head              // requestBlock, responseBlock
	to   *middleware.Header // where regular fields go

	size    int
	count   int
	large   bool
	bad     string // what is wrong; empty: nothing
	regular bool   // a regular field has come
	hosts   int
	host    []byte
	lengths int
	length  int64
	cookies int
}

func (f *fieldSink) begin(kind blockKind, head *Head, to *middleware.Header) {
	dec := f.dec
	*f = fieldSink{dec: dec, kind: kind, head: head, to: to, length: -1}
	dec.SetEmitEnabled(kind != lostBlock)
}

// view is the bytes of a string, which are not to be written to.
func view(s string) []byte {
	if s == "" {
		return []byte{}
	}
	return unsafe.Slice(unsafe.StringData(s), len(s)) //nolint:gosec // read only
}

func (f *fieldSink) fault(what string) {
	if f.bad == "" {
		f.bad = what
	}
}

// emit takes one field.
func (f *fieldSink) emit(hf hpack.HeaderField) {
	f.size += len(hf.Name) + len(hf.Value) + 32 // RFC 9113, section 6.5.2
	f.count++
	if f.size > maxHeadBytes || f.count > maxHeadFields+4 {
		f.large = true
		f.dec.SetEmitEnabled(false)
		return
	}
	if len(hf.Name) > 0 && hf.Name[0] == ':' {
		f.pseudo(hf)
		return
	}
	f.regular = true
	if !validName(hf.Name) {
		f.fault("a field's name is not valid")
		return
	}
	if !validValue(hf.Value) {
		f.fault("the value of " + hf.Name + " is not valid")
		return
	}
	if f.keep(hf.Name, hf.Value) {
		f.to.Append(view(hf.Name), view(hf.Value))
	}
}

// keep takes down what concerns this hop; it reports whether the field is for
// the other end too.
func (f *fieldSink) keep(name, value string) bool {
	switch name {
	case "connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade":
		f.fault(name + " is no field of HTTP/2") // RFC 9113, section 8.2.2
		return false
	case "te":
		if value != "trailers" {
			f.fault("te may say trailers alone")
		}
		return true
	}
	if f.kind == trailerBlock {
		switch name { // what frames and routes has no place behind the body (RFC 9110, section 6.5.1)
		case "content-length", "host", "expect":
			return false
		}
		return true
	}
	switch name {
	case "host":
		f.hosts++
		f.host = view(value)
		return false
	case "content-length":
		f.lengths++
		f.contentLength(value)
		return false
	case "cookie":
		f.cookies++
	case "expect":
		if f.kind == requestBlock {
			f.head.Continue = strings.EqualFold(value, "100-continue") // RFC 9110, section 10.1.1
			f.head.BadExpect = !f.head.Continue

			return false
		}
	}
	return true
}

func (f *fieldSink) contentLength(value string) {
	if f.lengths > 1 || len(value) == 0 || len(value) > 18 {
		f.fault("content-length is not valid")
		return
	}
	var n int64
	for i := range len(value) {
		if value[i] < '0' || value[i] > '9' {
			f.fault("content-length is not valid")
			return
		}
		n = n*10 + int64(value[i]-'0')
	}
	f.length = n
}

// pseudo takes a pseudo-header field (RFC 9113, section 8.3).
func (f *fieldSink) pseudo(hf hpack.HeaderField) {
	if f.regular || f.kind == trailerBlock {
		f.fault(hf.Name + " has no place there")
		return
	}
	h := f.head
	var to *[]byte
	if f.kind == requestBlock {
		switch hf.Name {
		case ":method":
			to = &h.Method
		case ":scheme":
			to = &h.Scheme
		case ":authority":
			to = &h.Authority
		case ":path":
			to = &h.Path
		}
	} else if hf.Name == ":status" {
		f.status(hf.Value)
		return
	}
	switch {
	case to == nil:
		f.fault("unknown field " + hf.Name)
	case *to != nil:
		f.fault(hf.Name + " comes twice")
	default:
		*to = view(hf.Value)
	}
}

func (f *fieldSink) status(value string) {
	if f.head.Status != 0 || len(value) != 3 {
		f.fault(":status is not valid")
		return
	}
	n := 0
	for i := range len(value) {
		if value[i] < '0' || value[i] > '9' {
			f.fault(":status is not valid")
			return
		}
		n = 10*n + int(value[i]-'0')
	}
	if n < 100 || n > 599 || n == 101 { // RFC 9113, section 8.6
		f.fault(":status is not valid")
		return
	}
	f.head.Status = n
}

// finish completes the head when its block has ended; it returns what is wrong
// with it, empty for nothing.
func (f *fieldSink) finish(end bool) string {
	if f.kind == lostBlock || f.kind == trailerBlock {
		return f.bad
	}
	h := f.head
	h.TooLarge, h.End = f.large, end
	if f.large && f.bad == "" && (f.kind == responseBlock || len(h.Method) > 0) {
		if !end {
			h.ContentLength = -1
		}
		return "" // it is answered as what it is
	}
	if f.cookies > 1 {
		joinCookies(&h.Header)
	}
	switch {
	case f.lengths > 0:
		h.ContentLength = f.length
	case !end:
		h.ContentLength = -1
	}
	if f.kind == requestBlock {
		f.request()
	} else if h.Status == 0 {
		f.fault(":status is missing")
	}
	return f.bad
}

// request checks a request's pseudo-header fields (RFC 9113, section 8.3.1).
func (f *fieldSink) request() {
	h := f.head
	if f.hosts > 1 {
		f.fault("host comes twice")
	}
	if h.Authority == nil {
		h.Authority = f.host
	} else if f.hosts == 1 && !bytes.EqualFold(f.host, h.Authority) {
		f.fault("host is not the same as :authority")
	}
	h.Authority = bytes.TrimSuffix(h.Authority, []byte{':'}) // an empty port is the default one
	switch {
	case !middleware.ValidName(h.Method):
		f.fault(":method is not valid")
	case !http1.ValidAuthority(h.Authority):
		f.fault(":authority is not valid")
	case string(h.Method) == "CONNECT":
		if h.Scheme != nil || h.Path != nil { // with :protocol (RFC 8441) it would be something else, which is not offered
			f.fault("CONNECT has neither :scheme nor :path")
		}
	case string(h.Scheme) != "http" && string(h.Scheme) != "https":
		f.fault(":scheme is neither http nor https")
	case !validPath(h.Method, h.Path):
		f.fault(":path is not valid")
	}
	if f.head.End && f.length > 0 {
		f.fault("content-length says that there is a body")
	}
}

func validPath(method, path []byte) bool {
	if len(path) == 1 && path[0] == '*' {
		return string(method) == "OPTIONS"
	}
	if len(path) == 0 || path[0] != '/' {
		return false
	}
	for _, c := range path {
		if c <= ' ' || c == 0x7f || c == '#' {
			return false
		}
	}
	return http1.ValidPath(path)
}

// validName accepts what a field's name may be (RFC 9113, section 8.2.1): a
// token without upper case.
func validName(s string) bool {
	if !middleware.ValidName(s) {
		return false
	}
	for i := range len(s) {
		if s[i] >= 'A' && s[i] <= 'Z' {
			return false
		}
	}
	return true
}

// validValue accepts what HTTP/1.1 carries too, without white space at its ends
// (RFC 9113, section 8.2.1).
func validValue(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	if s == "" {
		return true
	}
	first, last := s[0], s[len(s)-1]
	return first != ' ' && first != '\t' && last != ' ' && last != '\t'
}

// joinCookies makes one field of several: HTTP/1.1 has no more than one
// (RFC 9113, section 8.2.3).
func joinCookies(h *middleware.Header) {
	var all []byte
	for v := range h.Values("cookie") {
		if len(all) > 0 {
			all = append(all, "; "...)
		}
		all = append(all, v...)
	}
	h.SetBytes("cookie", all)
}
