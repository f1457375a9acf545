package conformance

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/textproto"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/mccutchen/go-httpbin/v2/httpbin"
)

// TestHTTPBinOverHTTP2 asks httpbin for everything that it can do by net/http's
// client, in HTTP/2 through one sidecar or two, which carry it on in what the app
// speaks, HTTP/1.1 or HTTP/2. It is the exchange that it is when the client
// speaks that with the app: status, fields, body and trailers.
func TestHTTPBinOverHTTP2(t *testing.T) {
	t.Parallel()
	bin := httpbin.New(httpbin.WithHostname("bin"), httpbin.WithEnv(map[string]string{"A": "b"}))
	old := httptest.NewServer(bin) // HTTP/1.1 alone
	t.Cleanup(old.Close)
	for name, app := range map[string]struct {
		address string
		direct  *http.Transport
	}{
		"HTTP/1.1": {old.Listener.Addr().String(), &http.Transport{DisableCompression: true}},
		"HTTP/2":   {startAppH2(t, bin), nil},
	} {
		if app.direct == nil {
			app.direct = transportH2(t, app.address, nil)
		}
		t.Cleanup(app.direct.CloseIdleConnections)
		for way, address := range map[string]string{"one": startInbound(t, app.address).address(), "two": startMesh(t, app.address)} {
			through := transportH2(t, address, nil)
			for i, a := range allAsks() {
				if a.hop != "" || strings.Contains(a.fields, "Connection:") || strings.Contains(a.fields, "X-Http: 1.0") {
					continue // of HTTP/1.1 alone
				}
				t.Run(fmt.Sprintf("app of %s/through %s/%s %.40s %d", name, way, a.method, a.target, i), func(t *testing.T) {
					t.Parallel()
					want, got := a.askAt(t, app.direct, "http://"+app.address), a.askAt(t, through, "http://"+address)
					if diff := cmp.Diff(want, got); diff != "" {
						t.Errorf("through sidecars it is not what it is without (-without +through):\n%s", diff)
					}
				})
			}
		}
	}
}

// answerOf is an answer as net/http shows it.
type answerOf struct {
	Status   int
	Fields   http.Header
	Length   int64
	Body     string
	Trailers http.Header
}

// askAt sends it by a transport of net/http, with the authority of the service.
func (a ask) askAt(t *testing.T, by http.RoundTripper, url string) answerOf {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	var body io.Reader = http.NoBody
	switch {
	case a.chunked:
		body = io.MultiReader(strings.NewReader(a.body[:len(a.body)/2]), strings.NewReader(a.body[len(a.body)/2:]))
	case a.body != "":
		body = strings.NewReader(a.body)
	}
	r, err := http.NewRequestWithContext(ctx, a.method, url+a.target, body)
	if err != nil {
		t.Fatal(err)
	}
	r.Host = service
	fields, err := textproto.NewReader(bufio.NewReader(strings.NewReader(a.fields + "\r\n"))).ReadMIMEHeader()
	if err != nil {
		t.Fatal(err)
	}
	r.Header = http.Header(fields)
	if _, ok := r.Header["User-Agent"]; !ok {
		r.Header.Set("User-Agent", "conformance")
	}
	resp, err := by.RoundTrip(r)
	if err != nil {
		t.Fatalf("no answer: %v", err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Errorf("read the body: %v", err)
	}
	for _, f := range []string{"Date", "Connection", "Trailer"} {
		resp.Header.Del(f)
	}
	if resp.Header.Get("Last-Modified") != "" { // httpbin's files are as old as the request for them
		resp.Header.Set("Last-Modified", "…")
	}
	got := answerOf{Status: resp.StatusCode, Fields: resp.Header, Length: resp.ContentLength, Body: string(text), Trailers: resp.Trailer}
	if len(got.Trailers) == 0 {
		got.Trailers = nil
	}
	if a.vary != "" {
		vary := regexp.MustCompile(a.vary)
		got.Body = vary.ReplaceAllString(got.Body, "…")
		for _, h := range []http.Header{got.Fields, got.Trailers} {
			for name, values := range h {
				for i, v := range values {
					// The pattern may hold the name.
					_, values[i], _ = strings.Cut(vary.ReplaceAllString(name+": "+v, name+": …"), ": ")
				}
			}
		}
	}
	return got
}
