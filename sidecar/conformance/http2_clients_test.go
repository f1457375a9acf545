package conformance

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// curlH2 prints for each answer the status, the version and what the app says,
// or how much it has sent.
const curlH2 = `
c() { curl -sS -g "$@" -o body -w '%{http_code} %{http_version} '; head -c 80 body; echo; : > body; }
h() { c VERSION -H 'Host: grpc-test' "$@"; }
s=SIDECAR
: > body
h $s/get
h -I -o /dev/null $s/head
h --data-binary abc $s/post
head -c 1500000 /dev/zero | h -X POST -T - $s/post
head -c 1500000 /dev/zero > large
h -H 'Expect: 100-continue' --data-binary @large $s/post
h -T large $s/put
curl -sS VERSION -H 'Host: grpc-test' -o got -w '%{http_code} %{http_version} %{size_download}\n' $s/large
curl -sS VERSION -H 'Host: grpc-test' -Z --parallel-immediate -o /dev/null -w '%{http_code} %{http_version} %{size_download}\n' "$s/large?[1-20]" | sort | uniq -c
h -X DELETE $s/none
`

const curlH2Want = `200 VERSION GET grpc-test 0
200 VERSION
200 VERSION POST grpc-test 3
200 VERSION POST grpc-test 1500000
200 VERSION POST grpc-test 1500000
200 VERSION PUT grpc-test 1500000
200 VERSION 5000000
20 200 VERSION 5000000
200 VERSION DELETE grpc-test 0
`

// sized answers /large with 5 MB, and all else with what it was asked.
var sized = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/large" {
		w.Header().Set("Content-Length", "5000000")
		_, _ = w.Write(make([]byte, 5_000_000))
		return
	}
	n := 0
	for buf := make([]byte, 32<<10); ; {
		k, err := r.Body.Read(buf)
		if n += k; err != nil {
			break
		}
	}
	_, _ = fmt.Fprintf(w, "%s %s %d", r.Method, r.Host, n)
})

// TestCurlOverHTTP2: GET, HEAD, uploads of known and unknown length, Expect,
// large downloads, many at once, by curl in either version of HTTP, through two
// sidecars to apps that speak one, the other or both, which is declared or not.
func TestCurlOverHTTP2(t *testing.T) {
	t.Parallel()
	old := httptest.NewServer(sized)
	t.Cleanup(old.Close)
	apps := map[string]struct{ address, declared string }{
		"HTTP/1.1":           {old.Listener.Addr().String(), ""},
		"HTTP/1.1, declared": {old.Listener.Addr().String(), "http"},
		"both":               {startAppH2(t, sized), ""},
		"HTTP/2, declared":   {startAppOf(t, sized, false), "http2"},
	}
	for client, version := range map[string]struct{ flag, is string }{
		"HTTP/2": {"--http2-prior-knowledge", "2"}, "HTTP/1.1": {"--http1.1", "1.1"},
	} {
		for name, app := range apps {
			t.Run(client+" to an app of "+name, func(t *testing.T) {
				t.Parallel()
				curl(t, "http://"+startMeshOf(t, app.address, app.declared), version.flag, version.is)
			})
		}
	}
}

// TestGRPCByCurl: a unary call by a client of HTTP/1.1 to a gRPC app, whose
// status comes in the trailers of a body in chunks.
func TestGRPCByCurl(t *testing.T) {
	t.Parallel()
	address := startMeshOf(t, startPeer(t, peer(t, "interopserver")), "grpc")
	for version, flag := range map[string]string{"HTTP/1.1": "--http1.1", "HTTP/2": "--http2-prior-knowledge"} {
		for method, want := range map[string]string{"EmptyCall": "0", "UnimplementedCall": "12"} {
			t.Run(version+" "+method, func(t *testing.T) {
				empty := filepath.Join(t.TempDir(), "empty")
				if err := os.WriteFile(empty, make([]byte, 5), 0o600); err != nil { // a message of no bytes
					t.Fatal(err)
				}
				out, err := runPeer(t, time.Minute, "curl", "-sS", flag, "-D", "-", "-o", "/dev/null",
					"-H", "Host: "+service, "-H", "Content-Type: application/grpc", "-H", "TE: trailers",
					"--data-binary", "@"+empty, "http://"+address+"/grpc.testing.TestService/"+method)
				lines := strings.Split(strings.ToLower(strings.ReplaceAll(out, "\r", "")), "\n")
				if err != nil || !strings.Contains(lines[0], " 200") || !slices.Contains(lines, "content-type: application/grpc") || !slices.Contains(lines, "grpc-status: "+want) {
					t.Errorf("%v, curl got:\n%s\nwant grpc-status: %s", err, out, want)
				}
			})
		}
	}
}

// curl runs curlH2 at a URL.
func curl(t *testing.T, url, flags, version string) {
	t.Helper()
	code := strings.NewReplacer("SIDECAR", url, "VERSION", flags).Replace(curlH2)
	want := strings.ReplaceAll(curlH2Want, "VERSION", version)
	path := filepath.Join(t.TempDir(), "client.sh")
	if err := os.WriteFile(path, []byte(code), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := runPeer(t, time.Minute, "bash", path)
	var got strings.Builder
	for line := range strings.Lines(out) {
		got.WriteString(strings.TrimSpace(line) + "\n")
	}
	if err != nil || got.String() != want {
		t.Errorf("%v, printed:\n%s\nwant:\n%s", err, got.String(), want)
	}
}

// TestH2Load lets h2load send requests over several connections with many
// streams each, with and without bodies and room for the answers: every one is
// answered with 2xx. The sidecars are programs of their own, as fast as they are.
func TestH2Load(t *testing.T) {
	body := filepath.Join(t.TempDir(), "body")
	if err := os.WriteFile(body, make([]byte, 20_000), 0o600); err != nil {
		t.Fatal(err)
	}
	app := startAppH2(t, counting)
	in := startProgram(t, "log: {format: json}"+strings.NewReplacer("APP", app, "PROTOCOL", "").Replace(inboundH2YAML))
	out := startProgram(t, "log: {format: json}"+strings.NewReplacer("APP", in.at["listen.inbound"], "PROTOCOL", "").Replace(outboundH2YAML))
	for name, c := range map[string]struct {
		requests int
		args     []string
	}{
		"GET":            {20_000, []string{"-c", "10", "-m", "100"}},
		"small windows":  {1000, []string{"-c", "5", "-m", "50", "-w", "10", "-W", "12"}},
		"bodies":         {1000, []string{"-c", "10", "-m", "100", "-d", body}},
		"one connection": {3000, []string{"-c", "1", "-m", "250"}},
	} {
		t.Run(name, func(t *testing.T) {
			h2load(t, "http://"+out.at["listen.outbound"], c.requests, c.args...)
		})
	}
}

// TestH2LoadInOneProcess is a little of it under the eyes of the race detector,
// if the tests run with it.
func TestH2LoadInOneProcess(t *testing.T) {
	t.Parallel()
	h2load(t, "http://"+startMesh(t, startAppH2(t, counting)), 1000, "-c", "5", "-m", "100")
}

// h2load sends so many requests to a URL, all of which have to succeed.
func h2load(t *testing.T, url string, requests int, args ...string) {
	t.Helper()
	if _, err := exec.LookPath("h2load"); err != nil {
		t.Fatalf("internal/testenv/install.sh installs h2load: %v", err)
	}
	command := append([]string{"h2load", "-n", strconv.Itoa(requests), "-H", ":authority: " + service}, args...)
	out, err := runPeer(t, 2*time.Minute, append(command, url+"/load")...)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	want := fmt.Sprintf(`(?m)^requests: %d total, %[1]d started, %[1]d done, %[1]d succeeded, 0 failed, 0 errored, 0 timeout$`, requests)
	codes := fmt.Sprintf(`(?m)^status codes: %d 2xx, 0 3xx, 0 4xx, 0 5xx$`, requests)
	for _, w := range []string{want, codes} {
		if !regexp.MustCompile(w).MatchString(out) {
			t.Errorf("h2load has not printed %s:\n%s", w, out)
		}
	}
}
