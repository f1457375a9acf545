package accesslog

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/outrigger-mesh/outrigger/internal/conf"
	"github.com/outrigger-mesh/outrigger/middleware"
	"github.com/outrigger-mesh/outrigger/middleware/middlewaretest"
)

func TestKindKeepsTheContract(t *testing.T) {
	file := filepath.Join(t.TempDir(), "access.log")
	middlewaretest.RunKind(t, middlewaretest.Memory{}, Kind, "{file: "+file+"}", "{format: text, query: true, file: "+file+"}")
}

func TestWrongConfigurationIsRefusedWithItsPlace(t *testing.T) {
	n, err := conf.Parse("middleware.yaml", []byte("- accesslog: {format: xml}"))
	if err != nil {
		t.Fatal(err)
	}
	const want = `middleware.yaml:1:23: [0].accesslog.format: expected json or text, found "xml"`
	if _, err := middleware.ParseList(n, []middleware.Kind{Kind}); err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}

// served runs one request through the middleware and an engine, and returns its
// line.
func served(t *testing.T, c Config, backend http.Handler, further []middleware.Middleware, change func(*http.Request)) string {
	t.Helper()
	c.File = filepath.Join(t.TempDir(), "access.log")
	w := NewWriter(c.File, nil)
	var answer []byte
	t.Run("serve", func(t *testing.T) { // the engine ends with it, so that the line is there
		rt := middlewaretest.Memory{}.Start(t, middlewaretest.Setup{
			Request:  append([]middleware.Middleware{New(c, middleware.Inbound, w)}, further...),
			Backends: []http.Handler{backend},
		})
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://app.test/a%0ab/c?secret=1", strings.NewReader("the body"))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("X-Request-Id", "id-1")
		if change != nil {
			change(req)
		}
		resp, err := rt.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		answer, _ = io.ReadAll(resp.Body)
		_ = resp.Body.Close()
	})
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	line, err := os.ReadFile(c.File)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(line), "\n"); n != 1 {
		t.Fatalf("%d lines for an answer of %d bytes, want 1:\n%s", n, len(answer), line)
	}
	return string(line)
}

func hello(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	_, _ = io.WriteString(w, "hello")
}

func TestALineHasEveryField(t *testing.T) {
	line := served(t, defaults(), http.HandlerFunc(hello), nil, nil)
	var got map[string]any
	if err := json.Unmarshal([]byte(line), &got); err != nil {
		t.Fatalf("%s: %v", line, err)
	}
	stamp, err := time.Parse(time.RFC3339Nano, got["time"].(string))
	if err != nil || time.Since(stamp) > time.Minute {
		t.Errorf("time %v, %v", got["time"], err)
	}
	if ms, ok := got["duration_ms"].(float64); !ok || ms <= 0 || ms > 60_000 {
		t.Errorf("duration %v", got["duration_ms"])
	}
	delete(got, "time")
	delete(got, "duration_ms")
	want := map[string]any{
		"direction": "inbound", "method": "POST", "authority": "app.test", "path": "/a%0ab/c", "status": 200.0,
		"reason": "", "route": "default", "service": "backend", "endpoint": "backend-a.memory:80", "attempts": 1.0,
		"bytes_in": 8.0, "bytes_out": 5.0, "request_id": "id-1", "peer": "127.0.0.1:40000", "protocol": "HTTP/2",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestFieldsStandInTheirOrder(t *testing.T) {
	line := served(t, Config{Format: Text, Query: true}, http.HandlerFunc(hello), nil, nil)
	line = regexp.MustCompile(`time=\S+`).ReplaceAllString(line, "time=T")
	line = regexp.MustCompile(`duration_ms=[0-9]+\.[0-9]{3}`).ReplaceAllString(line, "duration_ms=D")
	want := `time=T direction=inbound method=POST authority=app.test path=/a%0ab/c query="secret=1" status=200 reason="" ` +
		`route=default service=backend endpoint=backend-a.memory:80 attempts=1 duration_ms=D bytes_in=8 bytes_out=5 ` +
		"request_id=id-1 peer=127.0.0.1:40000 protocol=HTTP/2\n"
	if line != want {
		t.Errorf("got  %s\nwant %s", line, want)
	}
}

func TestALineSaysHowItEnded(t *testing.T) {
	tests := map[string]struct {
		backend http.Handler
		further []middleware.Middleware
		change  func(*http.Request)
		want    map[string]any
	}{
		"local reply": {
			backend: http.HandlerFunc(hello),
			further: []middleware.Middleware{middleware.Func(func(x *middleware.Exchange, _ middleware.Handler) error {
				return x.Reply(http.StatusTooManyRequests, "busy")
			})},
			want: map[string]any{"status": 429.0, "reason": "busy", "attempts": 0.0, "endpoint": "", "bytes_out": 66.0, "error": nil},
		},
		"local reply to HEAD": {
			backend: http.HandlerFunc(hello),
			change:  func(r *http.Request) { r.Method = http.MethodHead },
			further: []middleware.Middleware{middleware.Func(func(x *middleware.Exchange, _ middleware.Handler) error {
				return x.Reply(http.StatusTooManyRequests, "busy")
			})},
			want: map[string]any{"status": 429.0, "bytes_out": 0.0},
		},
		"refused connection": {
			want: map[string]any{"status": 503.0, "reason": "connect_failed", "attempts": 1.0, "endpoint": "backend-a.memory:80", "error": "connect_failed: connection refused"},
		},
		"broken response": {
			backend: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				_, _ = io.WriteString(w, "begin")
				_ = http.NewResponseController(w).Flush()
				panic(http.ErrAbortHandler)
			}),
			want: map[string]any{"status": 200.0, "reason": "upstream_reset", "bytes_out": 5.0, "error": "backend broke off"},
		},
		"error with control characters": {
			backend: http.HandlerFunc(hello),
			further: []middleware.Middleware{middleware.Func(func(*middleware.Exchange, middleware.Handler) error {
				return errors.New("first\n{\"second\": 1}\x1b[31m\x00\xff\u0085")
			})},
			want: map[string]any{"status": 500.0, "reason": "internal", "error": "first\n{\"second\": 1}\x1b[31m\x00\ufffd\u0085"},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			line := served(t, defaults(), tt.backend, tt.further, tt.change)
			var got map[string]any
			if err := json.Unmarshal([]byte(line), &got); err != nil {
				t.Fatalf("%s: %v", line, err)
			}
			for field, want := range tt.want {
				if diff := cmp.Diff(want, got[field]); diff != "" {
					t.Errorf("%s: %s", field, diff)
				}
			}
		})
	}
}

// wire is a client's side that nothing goes to.
type wire struct{}

func (wire) Interrupt(*middleware.Exchange, error)                    {}
func (wire) Inform(int, *middleware.Header) error                     { return nil }
func (wire) Rematch(*middleware.Exchange) (*middleware.Target, error) { return nil, nil }

// finished is an exchange at its end, as Done finds it.
func finished(l *Log) *middleware.Exchange {
	x := middleware.NewExchange(wire{})
	x.Start = time.Now()
	x.Request.Method = []byte("GET")
	x.Request.Authority = []byte("orders.default")
	x.Request.Target = []byte("/v1/orders/4711?full=true")
	x.Request.Proto = middleware.HTTP11
	x.Request.Peer.Addr = netip.MustParseAddrPort("10.0.3.7:51234")
	x.Request.Header.Append([]byte("x-request-id"), []byte("018f3c1e-7b1a-7c3e-9d2f-0123456789ab"))
	x.Response.Status = http.StatusOK
	_ = l.slot.In(x)
	return x
}

func TestALineAllocatesNothing(t *testing.T) {
	for _, format := range []Format{JSON, Text} {
		l := New(Config{Format: format}, middleware.Inbound, nil)
		x := finished(l)
		var buf []byte
		if n := testing.AllocsPerRun(100, func() { buf = l.append(buf[:0], x, time.Now()) }); n != 0 {
			t.Errorf("%s: %v allocations, want none", format, n)
		}
	}
}

func FuzzValuesNeverReachTheLogRaw(f *testing.F) {
	for _, s := range []string{"", "plain", `a"b\c`, "a b=c", "\x00\x1b\r\n\t\x7f", "é 世界 \U0001f600", "\xff\xc3", "\u0085\u2028\u202e\U000e0001"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for _, isJSON := range []bool{true, false} {
			e := encoder{json: isJSON}
			e.open()
			text(&e, "field", s)
			e.close()
			line := string(e.b)
			if body := line[:len(line)-1]; strings.ContainsFunc(body, func(r rune) bool { return r < ' ' || r >= 0x7f && r < 0xa0 || r == 0x2028 || r == 0x2029 }) {
				t.Fatalf("%q is in the log as %q", s, line)
			}
			if !isJSON {
				value := strings.TrimPrefix(line[:len(line)-1], "field=")
				if !strings.HasPrefix(value, `"`) && strings.ContainsAny(value, " =\"") {
					t.Fatalf("%q is in the log as %q", s, line)
				}
				continue
			}
			var got map[string]string
			if err := json.Unmarshal(e.b, &got); err != nil {
				t.Fatalf("%q became %s: %v", s, line, err)
			}
			oracle, err := json.Marshal(s)
			if err != nil {
				t.Fatal(err)
			}
			var want string
			if err := json.Unmarshal(oracle, &want); err != nil || got["field"] != want {
				t.Fatalf("%q reads as %q, want %q", s, got["field"], want)
			}
		}
	})
}

func BenchmarkLine(b *testing.B) {
	for _, format := range []Format{JSON, Text} {
		b.Run(string(format), func(b *testing.B) {
			l := New(Config{Format: format}, middleware.Inbound, nil)
			x := finished(l)
			var buf []byte
			b.ReportAllocs()
			for b.Loop() {
				buf = l.append(buf[:0], x, time.Now())
			}
		})
	}
}

func BenchmarkDone(b *testing.B) {
	w := NewWriter(os.DevNull, nil)
	defer func() { _ = w.Close() }()
	l := New(defaults(), middleware.Inbound, w)
	x := finished(l)
	h := &handler{l, nil}
	b.ReportAllocs()
	for b.Loop() {
		h.Done(x)
	}
}
