package tracing

import "github.com/outrigger-mesh/outrigger/middleware"

// The fields of W3C Trace Context (https://www.w3.org/TR/trace-context/).
const (
	fieldParent = "traceparent"
	fieldState  = "tracestate"
)

// parentLength is the length of a traceparent of version 00.
const parentLength = 2 + 1 + 32 + 1 + 16 + 1 + 2

// flagSampled is the one flag that version 00 knows; the others are not passed
// on (section 3.2.2.5.2).
const flagSampled = 0x01

// parent is what a traceparent says.
type parent struct {
	trace   middleware.TraceID
	span    middleware.SpanID
	sampled bool
}

// parseParent reads a traceparent. One of a later version is read as far as
// version 00 goes (section 4.3).
func parseParent(v []byte) (p parent, ok bool) {
	var version, flags [1]byte
	if len(v) < parentLength || v[2] != '-' || v[35] != '-' || v[52] != '-' {
		return p, false
	}
	if !unhex(version[:], v[0:2]) || !unhex(p.trace[:], v[3:35]) || !unhex(p.span[:], v[36:52]) || !unhex(flags[:], v[53:55]) {
		return p, false
	}
	switch {
	case version[0] == 0xff, p.trace.IsZero(), p.span.IsZero():
		return p, false
	case len(v) > parentLength && (version[0] == 0 || v[parentLength] != '-'):
		return p, false
	}
	p.sampled = flags[0]&flagSampled != 0
	return p, true
}

// appendParent appends the traceparent by which the next hop learns of t.
func appendParent(b []byte, t middleware.Trace) []byte {
	b = append(b, "00-"...)
	b, _ = t.ID.AppendText(b)
	b = append(b, '-')
	b, _ = t.Span.AppendText(b)
	if t.Sampled {
		return append(b, "-01"...)
	}
	return append(b, "-00"...)
}

// unhex decodes lower case hex, the only one that the specification allows.
func unhex(to, from []byte) bool {
	for i := range to {
		high, low := nibble(from[2*i]), nibble(from[2*i+1])
		if high|low > 15 {
			return false
		}
		to[i] = high<<4 | low
	}
	return true
}

func nibble(c byte) byte {
	switch {
	case c >= '0' && c <= '9':
		return c - '0'
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10
	}
	return 0xff
}
