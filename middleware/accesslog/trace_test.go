package accesslog

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/outrigger-mesh/outrigger/middleware"
)

func TestALineNamesTheTrace(t *testing.T) {
	trace := middleware.Func(func(x *middleware.Exchange, next middleware.Handler) error {
		x.SetTrace(middleware.Trace{ID: middleware.TraceID{0x4b, 15: 0x36}, Span: middleware.SpanID{0xf0, 7: 0xb7}})
		return next.Serve(x)
	})
	line := served(t, defaults(), http.HandlerFunc(hello), []middleware.Middleware{trace}, nil)
	var got struct {
		TraceID string `json:"trace_id"`
		SpanID  string `json:"span_id"`
	}
	if err := json.Unmarshal([]byte(line), &got); err != nil {
		t.Fatalf("%s: %v", line, err)
	}
	if got.TraceID != "4b000000000000000000000000000036" || got.SpanID != "f0000000000000b7" {
		t.Errorf("the line names %+v", got)
	}
	line = served(t, Config{Format: Text}, http.HandlerFunc(hello), []middleware.Middleware{trace}, nil)
	if want := " request_id=id-1 trace_id=4b000000000000000000000000000036 span_id=f0000000000000b7 "; !strings.Contains(line, want) {
		t.Errorf("%s: want%sin it", line, want)
	}
}
