package middleware

import "testing"

func TestATraceIsOfOneExchangeOnly(t *testing.T) {
	x := NewExchange(nil)
	if !x.Trace().ID.IsZero() || !x.Trace().Span.IsZero() {
		t.Error("a new exchange has a trace")
	}
	want := Trace{ID: TraceID{1, 0xab}, Span: SpanID{2}, Parent: SpanID{3}, Sampled: true}
	x.SetTrace(want)
	if x.Trace() != want {
		t.Errorf("got %v, want %v", x.Trace(), want)
	}
	if !x.Reset() || x.Trace() != (Trace{}) {
		t.Error("the trace is still there for the next request")
	}
}

func TestTraceIDsAreWrittenInLowerCaseHex(t *testing.T) {
	id, span := TraceID{0: 0x4b, 1: 0xf9, 15: 0x36}, SpanID{0: 0xf0, 7: 0xb7}
	if got, want := id.String(), "4bf90000000000000000000000000036"; got != want {
		t.Errorf("trace id %s, want %s", got, want)
	}
	if got, want := span.String(), "f0000000000000b7"; got != want {
		t.Errorf("span id %s, want %s", got, want)
	}
}
