package http1

import (
	"bytes"
	"slices"

	"github.com/outrigger-mesh/outrigger/middleware"
)

// Framing says how a message's body ends and what becomes of the connection.
type Framing struct {
	Chunked   bool
	Close     bool  // the connection ends with this message
	Continue  bool  // the client waits for 100 before it sends its body
	Length    int64 // -1: until the connection ends (responses alone)
	TETrailer bool  // the sender takes trailers
}

// fieldScan is what the header fields say about framing, while they are parsed.
type fieldScan struct {
	framing   Framing
	lengths   int
	codings   int
	hosts     int
	host      []byte
	keepAlive bool
	upgrade   []byte
	wantsUp   bool // Connection: upgrade
	named     [][]byte
}

// parseFields parses the field lines of a head into h, without those that are
// for this hop alone (RFC 9110, section 7.6.1), Host, and those that frame.
func (s *fieldScan) parseFields(b []byte, h *middleware.Header) error {
	for n := 0; len(b) > 2; n++ {
		if n == MaxHeadFields {
			return ErrHeadTooLarge
		}
		end := bytes.IndexByte(b, '\n') // headEnd has seen the CR before it
		line := b[:end-1]
		b = b[end+1:]
		name, value, err := parseField(line)
		if err != nil {
			return err
		}
		keep, err := s.note(name, value)
		if err != nil {
			return err
		}
		if keep {
			h.Append(name, value)
		}
	}
	return nil
}

func parseField(line []byte) (name, value []byte, err error) {
	if line[0] == ' ' || line[0] == '\t' {
		return nil, nil, BadFolding
	}
	colon := bytes.IndexByte(line, ':')
	if colon <= 0 || !middleware.ValidName(line[:colon]) {
		return nil, nil, BadFieldName
	}
	value = trim(line[colon+1:])
	for _, c := range value {
		if c < ' ' && c != '\t' || c == 0x7f {
			return nil, nil, BadFieldValue
		}
	}
	return line[:colon], value, nil
}

// trim takes the optional white space off both ends (RFC 9110, section 5.6.3).
func trim(b []byte) []byte {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\t') {
		b = b[1:]
	}
	for len(b) > 0 && (b[len(b)-1] == ' ' || b[len(b)-1] == '\t') {
		b = b[:len(b)-1]
	}
	return b
}

// note takes down what concerns this hop; it reports whether the field is for
// the other end too.
func (s *fieldScan) note(name, value []byte) (keep bool, err error) {
	switch len(name) {
	case 2:
		if middleware.EqualFold(name, "te") {
			if hasToken(value, "trailers") {
				s.framing.TETrailer = true
			}
			return false, nil
		}
	case 4:
		if middleware.EqualFold(name, "host") {
			s.hosts++
			s.host = value
			return false, nil
		}
	case 6:
		if middleware.EqualFold(name, "expect") {
			if !middleware.EqualFold(value, "100-continue") {
				return false, BadExpect
			}
			s.framing.Continue = true
			return false, nil
		}
	case 7:
		if middleware.EqualFold(name, "upgrade") {
			if s.upgrade != nil {
				return false, BadUpgrade
			}
			s.upgrade = value
			return false, nil
		}
	case 10:
		if middleware.EqualFold(name, "connection") {
			s.connection(value)
			return false, nil
		}
		if middleware.EqualFold(name, "keep-alive") {
			return false, nil
		}
	case 14:
		if middleware.EqualFold(name, "content-length") {
			return false, s.length(value)
		}
	case 16:
		if middleware.EqualFold(name, "proxy-connection") {
			return false, nil
		}
	case 17:
		if middleware.EqualFold(name, "transfer-encoding") {
			s.codings++
			if s.codings > 1 || !middleware.EqualFold(value, "chunked") {
				return false, BadTransferEncoding
			}
			s.framing.Chunked = true
			return false, nil
		}
	}
	return true, nil
}

func (s *fieldScan) length(value []byte) error {
	s.lengths++
	if s.lengths > 1 || len(value) == 0 || len(value) > 18 {
		return BadContentLength
	}
	var n int64
	for _, c := range value {
		if c < '0' || c > '9' {
			return BadContentLength
		}
		n = n*10 + int64(c-'0')
	}
	s.framing.Length = n
	return nil
}

func (s *fieldScan) connection(value []byte) {
	for option := range bytes.SplitSeq(value, []byte{','}) {
		option = trim(option)
		switch {
		case middleware.EqualFold(option, "close"):
			s.framing.Close = true
		case middleware.EqualFold(option, "keep-alive"):
			s.keepAlive = true
		case middleware.EqualFold(option, "upgrade"):
			s.wantsUp = true
		case len(option) > 0 && !protected(option):
			s.named = append(s.named, option)
		}
	}
}

// protected fields are for the other end even where Connection names them:
// otherwise a client could have a proxy remove what the app relies on.
func protected(name []byte) bool {
	return slices.ContainsFunc([]string{
		"host", "content-length", "transfer-encoding", "authorization", "cookie", "set-cookie", "content-type",
		"x-request-id", "x-request-deadline", "traceparent", "tracestate", "x-forwarded-for", "x-forwarded-proto", "forwarded",
	}, func(s string) bool { return middleware.EqualFold(name, s) })
}

// dropNamed removes the fields that Connection names.
func (s *fieldScan) dropNamed(h *middleware.Header) {
	if len(s.named) == 0 {
		return
	}
	h.DelFunc(func(f middleware.Field) bool {
		return slices.ContainsFunc(s.named, func(n []byte) bool { return bytes.EqualFold(n, f.Name) })
	})
}

func hasToken(value []byte, token string) bool {
	for part := range bytes.SplitSeq(value, []byte{','}) {
		if middleware.EqualFold(trim(part), token) {
			return true
		}
	}
	return false
}
