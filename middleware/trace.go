package middleware

// TraceID identifies a trace over all its hops (W3C Trace Context, section
// 3.2.2.3). All zero is none.
type TraceID [16]byte

// SpanID identifies one hop of a trace (W3C Trace Context, section 3.2.2.4).
// All zero is none.
type SpanID [8]byte

// IsZero reports whether there is none.
func (t TraceID) IsZero() bool { return t == TraceID{} }

// IsZero reports whether there is none.
func (s SpanID) IsZero() bool { return s == SpanID{} }

// AppendText appends the id in lower case hex, as it stands in traceparent. It
// never fails.
func (t TraceID) AppendText(b []byte) ([]byte, error) { return appendHex(b, t[:]), nil }

// AppendText appends the id in lower case hex, as it stands in traceparent. It
// never fails.
func (s SpanID) AppendText(b []byte) ([]byte, error) { return appendHex(b, s[:]), nil }

// String is the id in lower case hex.
func (t TraceID) String() string { return string(appendHex(nil, t[:])) }

// String is the id in lower case hex.
func (s SpanID) String() string { return string(appendHex(nil, s[:])) }

func appendHex(b, id []byte) []byte {
	const digits = "0123456789abcdef"
	for _, c := range id {
		b = append(b, digits[c>>4], digits[c&15])
	}
	return b
}

// Trace is an exchange's place in a distributed trace. The zero Trace is none.
type Trace struct {
	ID      TraceID
	Span    SpanID // this exchange's own: the parent of what follows
	Parent  SpanID // of the caller; zero where the trace begins here
	Sampled bool   // whether spans of this trace are to be recorded
}

// Trace is the exchange's place in a distributed trace; zero where no
// middleware has given it one.
func (x *Exchange) Trace() Trace { return x.trace }

// SetTrace gives the exchange its place in a trace, for the logs, exemplars and
// spans of all other middleware. Whoever calls it also sets the request's
// header. It is to be called before the router.
func (x *Exchange) SetTrace(t Trace) { x.trace = t }
