package accesslog

import (
	"strconv"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/outrigger-mesh/outrigger/middleware"
)

// line is the memory of one line.
type line struct{ buf []byte }

// maxLine bounds what the pool keeps, in bytes.
const maxLine = 8 << 10

var lines = sync.Pool{New: func() any { return &line{make([]byte, 0, 512)} }}

func getLine() *line {
	l, _ := lines.Get().(*line)
	return l
}

func putLine(l *line) {
	if cap(l.buf) > maxLine {
		return
	}
	l.buf = l.buf[:0]
	lines.Put(l)
}

// append appends the line of an exchange that ended at the given time.
func (l *Log) append(b []byte, x *middleware.Exchange, now time.Time) []byte {
	r := l.slot.In(x)
	e := encoder{b, l.config.Format == JSON}
	e.open()
	start := x.Start
	if start.IsZero() {
		start = now
	}
	e.time("time", now)
	text(&e, "direction", l.direction)
	text(&e, "method", x.Request.Method)
	text(&e, "authority", x.Request.Authority)
	if path, query := x.Request.Path(), x.Request.Query(); l.config.Query {
		text(&e, "path", path)
		text(&e, "query", query)
	} else {
		text(&e, "path", path)
	}
	e.number("status", int64(x.Response.Status))
	text(&e, "reason", x.Reason())
	if x.GRPC() {
		e.grpc(x)
	}
	var service, route, endpoint string
	if to := x.Route(); to != nil {
		service, route = to.Service, to.Name
	}
	attempts := x.Attempts()
	for _, a := range attempts {
		if a.Endpoint != nil {
			endpoint = a.Endpoint.Address
		}
		if a.Committed() {
			break
		}
	}
	text(&e, "route", route)
	text(&e, "service", service)
	text(&e, "endpoint", endpoint)
	e.number("attempts", int64(len(attempts)))
	e.millis("duration_ms", now.Sub(start))
	e.number("bytes_in", x.Request.Body.Read())
	e.number("bytes_out", x.Sent())
	text(&e, "request_id", x.RequestID())
	if t := x.Trace(); !t.ID.IsZero() {
		var id [32]byte
		trace, _ := t.ID.AppendText(id[:0])
		text(&e, "trace_id", trace)
		span, _ := t.Span.AppendText(id[:0])
		text(&e, "span_id", span)
	}
	if x.Request.Peer.Addr.IsValid() {
		e.key("peer")
		e.quote()
		e.b = x.Request.Peer.Addr.AppendTo(e.b)
		e.quote()
	}
	if id := x.Request.Peer.Identity; id != "" {
		text(&e, "identity", id)
	}
	text(&e, "protocol", x.Request.Proto.String())
	if err := errorOf(x, r); err != nil {
		text(&e, "error", err.Error())
	}
	e.close()
	return e.b
}

// grpc is what a gRPC call asked for, and how it ended: the name of its status,
// or nothing where there is none.
func (e *encoder) grpc(x *middleware.Exchange) {
	service, method := x.GRPCMethod()
	text(e, "grpc_service", service)
	text(e, "grpc_method", method)
	code, ok := x.GRPCStatus()
	switch {
	case !ok:
		text(e, "grpc_status", "")
	case code < middleware.GRPCCodes:
		text(e, "grpc_status", code.String())
	default: // no name: no text either, which would be made for this line
		e.key("grpc_status")
		e.quote()
		e.b = strconv.AppendUint(e.b, uint64(code), 10)
		e.quote()
	}
}

// encoder writes one line in either syntax.
type encoder struct {
	b    []byte
	json bool
}

func (e *encoder) open() {
	if e.json {
		e.b = append(e.b, '{')
	}
}

func (e *encoder) close() {
	if e.json {
		e.b = append(e.b, '}')
	}
	e.b = append(e.b, '\n')
}

func (e *encoder) key(name string) {
	if e.json {
		if len(e.b) > 1 {
			e.b = append(e.b, ',')
		}
		e.b = append(append(append(e.b, '"'), name...), '"', ':')
		return
	}
	if len(e.b) > 0 {
		e.b = append(e.b, ' ')
	}
	e.b = append(append(e.b, name...), '=')
}

// quote stands around what is text, and needs no quotes in key=value.
func (e *encoder) quote() {
	if e.json {
		e.b = append(e.b, '"')
	}
}

func (e *encoder) number(name string, n int64) {
	e.key(name)
	e.b = strconv.AppendInt(e.b, n, 10)
}

// millis is a duration in milliseconds, to the microsecond.
func (e *encoder) millis(name string, d time.Duration) {
	e.key(name)
	us := d.Microseconds()
	e.b = strconv.AppendInt(e.b, us/1000, 10)
	e.b = append(e.b, '.', byte('0'+us/100%10), byte('0'+us/10%10), byte('0'+us%10))
}

func (e *encoder) time(name string, t time.Time) {
	e.key(name)
	e.quote()
	e.b = appendTime(e.b, t.UTC())
	e.quote()
}

// appendTime is RFC 3339 to the microsecond.
func appendTime(b []byte, t time.Time) []byte {
	year, month, day := t.Date()
	hour, minute, second := t.Clock()
	us := t.Nanosecond() / 1000
	b = append2(append2(b, year/100), year%100)
	b = append2(append(b, '-'), int(month))
	b = append2(append(b, '-'), day)
	b = append2(append(b, 'T'), hour)
	b = append2(append(b, ':'), minute)
	b = append2(append(b, ':'), second)
	b = append2(append(b, '.'), us/10_000)
	return append(append2(append2(b, us/100%100), us%100), 'Z')
}

func append2(b []byte, n int) []byte { return append(b, byte('0'+n/10%10), byte('0'+n%10)) }

func text[T ~string | ~[]byte](e *encoder, name string, s T) {
	e.key(name)
	if !e.json && plain(s) {
		e.b = append(e.b, s...)
		return
	}
	e.b = append(e.b, '"')
	e.b = appendEscaped(e.b, s)
	e.b = append(e.b, '"')
}

// plain reports whether a value needs no quotes in key=value.
func plain[T ~string | ~[]byte](s T) bool {
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c >= 0x7f || c == '"' || c == '=' || c == '\\' {
			return false
		}
	}
	return len(s) > 0
}

// appendEscaped escapes s as the inside of a JSON string (RFC 8259, section 7).
// Beyond what JSON demands it escapes DEL, the C1 controls and all that is no
// graphic character, since a terminal may act on them; a byte that is not
// UTF-8 becomes U+FFFD.
func appendEscaped[T ~string | ~[]byte](b []byte, s T) []byte {
	for i := 0; i < len(s); {
		run := i // of what needs nothing
		for i < len(s) && s[i] >= ' ' && s[i] < 0x7f && s[i] != '"' && s[i] != '\\' {
			i++
		}
		b = append(b, s[run:i]...)
		if i == len(s) {
			break
		}
		if c := s[i]; c < utf8.RuneSelf {
			if c == '"' || c == '\\' {
				b = append(b, '\\', c)
			} else {
				b = appendUnit(b, rune(c))
			}
			i++
			continue
		}
		r, n := decodeRune(s, i)
		switch {
		case unicode.IsGraphic(r):
			b = utf8.AppendRune(b, r)
		case r > 0xffff:
			high, low := (r-0x10000)>>10+0xd800, (r-0x10000)&0x3ff+0xdc00
			b = appendUnit(appendUnit(b, high), low)
		default:
			b = appendUnit(b, r)
		}
		i += n
	}
	return b
}

func decodeRune[T ~string | ~[]byte](s T, i int) (rune, int) {
	var unit [utf8.UTFMax]byte
	return utf8.DecodeRune(unit[:copy(unit[:], s[i:min(i+utf8.UTFMax, len(s))])])
}

func appendUnit(b []byte, u rune) []byte {
	const hex = "0123456789abcdef"
	return append(b, '\\', 'u', hex[u>>12&15], hex[u>>8&15], hex[u>>4&15], hex[u&15])
}
