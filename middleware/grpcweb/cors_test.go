package grpcweb

import (
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestPreflightsOfAllowedOriginsAreAnswered(t *testing.T) {
	app := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) })
	for name, tt := range map[string]struct {
		config  Config
		origin  string
		method  string // that is asked for
		headers string
		want    string // the allowed origin; empty: the app answers
	}{
		"allowed":          {Config{[]string{"https://a.test", "https://b.test:8443"}}, "https://b.test:8443", "POST", "content-type, x-grpc-web, x-user-agent", "https://b.test:8443"},
		"every origin":     {Config{[]string{"*"}}, "https://b.test", "POST", "X-Grpc-Web", "*"},
		"another origin":   {Config{[]string{"https://a.test"}}, "https://b.test", "POST", "x-grpc-web", ""},
		"no origin":        {Config{[]string{"*"}}, "", "POST", "x-grpc-web", ""},
		"another method":   {Config{[]string{"*"}}, "https://b.test", "PUT", "x-grpc-web", ""},
		"no call":          {Config{[]string{"*"}}, "https://b.test", "POST", "x-other", ""},
		"nothing is said":  {Config{}, "https://a.test", "POST", "x-grpc-web", ""},
		"part of its name": {Config{[]string{"https://a.test"}}, "https://a.test.evil.test", "POST", "x-grpc-web", ""},
	} {
		t.Run(name, func(t *testing.T) {
			rt := start(t, tt.config, app)
			req, err := http.NewRequestWithContext(t.Context(), http.MethodOptions, "http://app.test"+checkPath, http.NoBody)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Access-Control-Request-Method", tt.method)
			req.Header.Set("Access-Control-Request-Headers", tt.headers)
			if tt.origin != "" {
				req.Header.Set("Origin", tt.origin)
			}
			resp, err := rt.RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
			status := http.StatusTeapot
			want := map[string]string{"Access-Control-Allow-Origin": "", "Access-Control-Allow-Methods": "", "Access-Control-Allow-Headers": "", "Content-Type": ""}
			if tt.want != "" {
				status = http.StatusNoContent
				want = map[string]string{
					"Access-Control-Allow-Origin": tt.want, "Access-Control-Allow-Methods": "POST",
					"Access-Control-Allow-Headers": tt.headers, "Content-Type": "",
				}
			}
			got := map[string]string{}
			for field := range want {
				got[field] = resp.Header.Get(field)
			}
			if diff := cmp.Diff(want, got); diff != "" || resp.StatusCode != status {
				t.Errorf("%d: %s", resp.StatusCode, diff)
			}
		})
	}
}

func TestOnlyAllowedPagesMayReadTheResponse(t *testing.T) {
	for origin, want := range map[string]string{"https://a.test": "https://a.test", "https://b.test": "", "": ""} {
		rt := start(t, Config{[]string{"https://a.test"}}, appServer(t))
		var fields []string
		if origin != "" {
			fields = []string{"Origin", origin}
		}
		resp, _, err := send(t, rt, checkPath, "application/grpc-web", check(t, ""), fields...)
		if err != nil || resp.Header.Get("Access-Control-Allow-Origin") != want || resp.Header.Get("Vary") != "Origin" || (resp.Header.Get("Access-Control-Expose-Headers") != "") != (want != "") {
			t.Errorf("%q: %v, %v", origin, err, resp.Header)
		}
	}
}
