package http1

import (
	"bytes"
	"net/netip"

	"github.com/outrigger-mesh/outrigger/middleware"
)

var schemeHTTP = []byte("http")

// ParseRequest parses a whole request head, as ReadHead gives it, into r. The
// fields point into the head. Body is left alone.
func ParseRequest(head []byte, r *middleware.Request) (Framing, error) {
	end := bytes.IndexByte(head, '\n')
	if end < 1 {
		return Framing{}, BadRequestLine
	}
	target, err := parseRequestLine(head[:end-1], r)
	if err != nil {
		return Framing{}, err
	}
	s := fieldScan{}
	s.framing.Length = -1
	if err := s.parseFields(head[end+1:], &r.Header); err != nil {
		return Framing{}, err
	}
	if err := s.requestTarget(target, r); err != nil {
		return Framing{}, err
	}
	f := s.framing
	switch {
	case f.Chunked && s.lengths > 0:
		return f, BadLengthAndCoding
	case f.Chunked && r.Proto == middleware.HTTP10:
		return f, BadTransferEncoding
	case f.Chunked:
		r.ContentLength = -1
	case s.lengths == 0:
		f.Length = 0
		r.ContentLength = 0
	default:
		r.ContentLength = f.Length
	}
	if r.Proto == middleware.HTTP10 {
		f.Close = f.Close || !s.keepAlive
		f.Continue = false // RFC 9110, section 10.1.1
		f.TETrailer = false
	}
	if r.ContentLength != 0 && string(r.Method) == "CONNECT" {
		return f, BadUpgrade // it has no body (RFC 9110, section 9.3.6)
	}
	if s.wantsUp && len(s.upgrade) > 0 && r.Proto == middleware.HTTP11 {
		r.Upgrade = s.upgrade
		if r.ContentLength != 0 && onlyH2C(s.upgrade) { // as some clients ask by the way: it is left alone (RFC 9110, section 7.8)
			r.Upgrade = nil
			r.Header.Del("http2-settings")
		} else if r.ContentLength != 0 {
			return f, BadUpgrade // what follows the body and what the upgrade could be confused
		}
	}
	if f.TETrailer {
		r.Header.Append(teName, trailersValue) // gRPC asks for it of every hop
	}
	s.dropNamed(&r.Header)
	return f, nil
}

// onlyH2C reports whether a list of protocols has h2c in it and nothing else.
func onlyH2C(list []byte) bool {
	for p := range bytes.SplitSeq(list, []byte{','}) {
		if !middleware.EqualFold(bytes.TrimSpace(p), "h2c") {
			return false
		}
	}
	return true
}

var (
	teName        = []byte("te")
	trailersValue = []byte("trailers")
)

// parseRequestLine parses method SP target SP version; the target in the form
// that it has.
func parseRequestLine(line []byte, r *middleware.Request) (target []byte, err error) {
	sp1 := bytes.IndexByte(line, ' ')
	sp2 := bytes.LastIndexByte(line, ' ')
	if sp1 <= 0 || sp2 <= sp1+1 {
		return nil, BadRequestLine
	}
	r.Method = line[:sp1]
	if !middleware.ValidName(r.Method) {
		return nil, BadMethod
	}
	switch string(line[sp2+1:]) {
	case "HTTP/1.1":
		r.Proto = middleware.HTTP11
	case "HTTP/1.0":
		r.Proto = middleware.HTTP10
	default:
		// A higher minor version is to be read as the highest known one
		// (RFC 9110, section 2.5).
		v := line[sp2+1:]
		switch {
		case len(v) != 8 || string(v[:5]) != "HTTP/" || !digit(v[5]) || v[6] != '.' || !digit(v[7]):
			return nil, BadRequestLine
		case v[5] != '1':
			return nil, BadVersion
		}
		r.Proto = middleware.HTTP11
	}
	target = line[sp1+1 : sp2]
	for _, c := range target {
		if c <= ' ' || c == 0x7f || c == '#' {
			return nil, BadTarget
		}
	}
	return target, nil
}

func digit(c byte) bool { return c >= '0' && c <= '9' }

// ValidPath reports whether each percent sign of the path encodes a byte
// (RFC 3986, section 2.1). In a query it may stand for itself: browsers send it
// so.
func ValidPath(target []byte) bool {
	for i := bytes.IndexByte(target, '%'); i >= 0; {
		if q := bytes.IndexByte(target[:i], '?'); q >= 0 {
			return true
		}
		if len(target) < i+3 || hexValue(target[i+1]) < 0 || hexValue(target[i+2]) < 0 {
			return false
		}
		next := bytes.IndexByte(target[i+1:], '%')
		if next < 0 {
			return true
		}
		i += 1 + next
	}
	return true
}

// requestTarget sorts out the four forms of a target (RFC 9112, section 3.2).
func (s *fieldScan) requestTarget(target []byte, r *middleware.Request) error {
	if s.hosts > 1 || s.hosts == 0 && r.Proto == middleware.HTTP11 {
		return BadHost
	}
	if len(s.host) > 0 && !ValidAuthority(s.host) {
		return BadHost
	}
	r.Scheme = schemeHTTP
	r.Authority = s.host
	defer func() { r.Authority = bytes.TrimSuffix(r.Authority, []byte{':'}) }() // an empty port is the default one
	switch {
	case string(r.Method) == "CONNECT":
		if !ValidAuthority(target) || bytes.IndexByte(target, ':') < 0 {
			return BadTarget
		}
		r.Authority = target // no path
	case target[0] == '/':
		if !ValidPath(target) {
			return BadTarget
		}
		r.Target = target
	case len(target) == 1 && target[0] == '*' && string(r.Method) == "OPTIONS":
		r.Target = target
	default:
		const scheme = "http://"
		if len(target) <= len(scheme) || !middleware.EqualFold(target[:len(scheme)], scheme) {
			return BadTarget
		}
		rest := target[len(scheme):]
		slash := bytes.IndexAny(rest, "/?")
		if slash < 0 {
			slash = len(rest)
		}
		if slash == 0 || !ValidAuthority(rest[:slash]) || !ValidPath(rest[slash:]) {
			return BadTarget
		}
		// What the target says counts, not Host (RFC 9112, section 3.2.2).
		r.Authority = rest[:slash]
		switch path := rest[slash:]; {
		case len(path) == 0 && string(r.Method) == "OPTIONS":
			r.Target = starTarget // RFC 9112, section 3.2.4
		case len(path) == 0:
			r.Target = rootTarget
		case path[0] == '?':
			r.Target = append([]byte{'/'}, path...)
		default:
			r.Target = path
		}
	}
	return nil
}

var (
	rootTarget = []byte("/")
	starTarget = []byte("*")
)

// ValidAuthority accepts host and host:port (RFC 3986, section 3.2), without
// user information, which HTTP does not allow (RFC 9110, section 4.2.4), and
// without encoded bytes, which no name of a service has and which parsers read
// differently.
func ValidAuthority(b []byte) bool {
	host, port := b, []byte(nil)
	if i := bytes.LastIndexByte(b, ':'); i >= 0 && (len(b) == 0 || b[0] != '[' || bytes.IndexByte(b, ']') < i) {
		host, port = b[:i], b[i+1:]
	}
	if len(host) == 0 || len(port) > 5 {
		return false
	}
	for _, c := range port {
		if c < '0' || c > '9' {
			return false
		}
	}
	if host[0] == '[' {
		if len(host) < 4 || host[len(host)-1] != ']' {
			return false
		}
		a, err := netip.ParseAddr(string(host[1 : len(host)-1]))
		return err == nil && a.Is6() && a.Zone() == ""
	}
	for _, c := range host {
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || bytes.IndexByte([]byte("-._~!$&'()*+,;="), c) >= 0) {
			return false
		}
	}
	return true
}
