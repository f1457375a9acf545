package accesslog

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/outrigger-mesh/outrigger/middleware"
)

func TestALineOfAGRPCCallNamesMethodAndStatus(t *testing.T) {
	ends := func(status string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			w.Header().Set("Content-Type", "application/grpc")
			w.WriteHeader(http.StatusOK)
			_, _ = io.WriteString(w, "\x00\x00\x00\x00\x00")
			if status != "" {
				w.Header().Set(http.TrailerPrefix+"Grpc-Status", status)
			}
		})
	}
	for name, tt := range map[string]struct {
		backend http.Handler
		path    string
		status  any
		reason  string
	}{
		"good":             {ends("0"), "/users.v1.Users/Get", "OK", ""},
		"failed":           {ends("5"), "/users.v1.Users/Get", "NOT_FOUND", ""},
		"without a name":   {ends("77"), "/users.v1.Users/Get", "77", ""},
		"without a status": {ends(""), "/users.v1.Users/Get", "", ""},
		"refused":          {nil, "/users.v1.Users/Get", "UNAVAILABLE", "connect_failed"},
		"not gRPC":         {http.NotFoundHandler(), "/users.v1.Users/Get", "UNIMPLEMENTED", ""},
		"no method":        {ends("12"), "/hello", "UNIMPLEMENTED", ""},
	} {
		t.Run(name, func(t *testing.T) {
			line := served(t, defaults(), tt.backend, nil, func(r *http.Request) {
				r.URL.Path, r.URL.RawPath, r.URL.RawQuery = tt.path, "", ""
				r.Header.Set("Content-Type", "application/grpc")
			})
			var got map[string]any
			if err := json.Unmarshal([]byte(line), &got); err != nil {
				t.Fatalf("%s: %v", line, err)
			}
			service, method, ok := strings.Cut(tt.path[1:], "/")
			if !ok {
				service, method = "", ""
			}
			want := []any{service, method, tt.status, tt.reason}
			if diff := cmp.Diff(want, []any{got["grpc_service"], got["grpc_method"], got["grpc_status"], got["reason"]}); diff != "" {
				t.Error(diff)
			}
		})
	}
	if line := served(t, defaults(), http.HandlerFunc(hello), nil, nil); strings.Contains(line, "grpc_") {
		t.Errorf("the line of another request: %s", line)
	}
}

func TestALineOfAGRPCCallAllocatesNothing(t *testing.T) {
	l := New(Config{Format: JSON}, middleware.Inbound, nil)
	x := finished(l)
	x.Request.Method, x.Request.Target = []byte("POST"), []byte("/users.v1.Users/Get")
	x.Request.Header.Append([]byte("content-type"), []byte("application/grpc"))
	for _, status := range []string{"14", "77", ""} {
		x.Response.Trailer.Reset()
		if status != "" {
			x.Response.Trailer.Append([]byte("grpc-status"), []byte(status))
		}
		var buf []byte
		if n := testing.AllocsPerRun(100, func() { buf = l.append(buf[:0], x, time.Now()) }); n != 0 {
			t.Errorf("%q: %v allocations, want none", status, n)
		}
		if !strings.Contains(string(buf), `"grpc_method":"Get"`) {
			t.Errorf("%s", buf)
		}
	}
}
