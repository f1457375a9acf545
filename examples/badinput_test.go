package examples_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/outrigger-mesh/outrigger/examples/internal/lab"
)

// place is the beginning of a message about a file.
var place = regexp.MustCompile(`^[\w./-]+\.yaml:\d+:\d+: `)

func TestEveryMistakeIsReportedAtOnceByCheckAndRun(t *testing.T) {
	tests := []struct {
		name, program, file string
		files               map[string]string
		want                []string // the beginnings of the lines, in order
	}{
		{
			name: "keys, types and addresses", program: "sidecar", file: "sidecar.yaml",
			files: map[string]string{"sidecar.yaml": `app:
  name: orders
  adress: 127.0.0.1:8080
  health: {http: /healthz, interval: fast}
listen: {outbound: localhost}
upstreams:
  users: {endpoints: [127.0.0.1]}
`},
			want: []string{
				`sidecar.yaml:3:3: app: unknown key "adress", did you mean "address"?`,
				`sidecar.yaml:4:38: app.health.interval: expected a duration`,
				`sidecar.yaml:5:20: listen.outbound: "localhost" has no port`,
				`sidecar.yaml:7:23: upstreams.users.endpoints[0].address: "127.0.0.1" has no port`,
			},
		},
		{
			name: "a service twice", program: "sidecar", file: "sidecar.yaml",
			files: map[string]string{"sidecar.yaml": `upstreams:
  users: {endpoints: [127.0.0.1:9000]}
  users.default: {endpoints: [127.0.0.1:9001]}
`},
			want: []string{`sidecar.yaml:3:`},
		},
		{
			name: "an unspecified address to register", program: "sidecar", file: "sidecar.yaml",
			files: map[string]string{"sidecar.yaml": `app: {name: orders}
listen: {inbound: 0.0.0.0:15006}
discovery: {xds: {server: 127.0.0.1:18000}}
`},
			want: []string{`sidecar.yaml:2:19: listen.inbound: 0.0.0.0:15006 is no address to register`},
		},
		{
			name: "middleware in a file of its own", program: "sidecar", file: "conf/sidecar.yaml",
			files: map[string]string{
				"conf/sidecar.yaml": "upstreams: {echo: {endpoints: [127.0.0.1:9000]}}\nmiddleware: middleware.yaml\n",
				"conf/middleware.yaml": `outbound: [accesslog, metrix, {retry: {attempts: many}}]
inbuond: [accesslog]
`,
			},
			want: []string{
				`conf/middleware.yaml:1:23: unknown middleware "metrix"`,
				`conf/middleware.yaml:1:50: outbound[2].retry.attempts: expected an integer`,
				`conf/middleware.yaml:2:1: unknown key "inbuond", did you mean "inbound"?`,
			},
		},
		{
			name: "not YAML", program: "sidecar", file: "sidecar.yaml",
			files: map[string]string{"sidecar.yaml": "app: {name: orders\n"},
			want:  []string{`sidecar.yaml:`},
		},
		{
			name: "configuration of the control plane", program: "controlplane", file: "controlplane.yaml",
			files: map[string]string{"controlplane.yaml": `listen: {xds: 127.0.0.1, api: 3}
stroe: {bolt: {path: x.db}}
`},
			want: []string{
				`controlplane.yaml:1:15: listen.xds: "127.0.0.1" has no port`,
				`controlplane.yaml:1:31: listen.api: expected a string`,
				`controlplane.yaml:2:1: unknown key "stroe", did you mean "store"?`,
			},
		},
		{
			name: "objects", program: "controlplane", file: "controlplane.yaml",
			files: map[string]string{
				"controlplane.yaml": "sources: {files: [objects/]}\n",
				"objects/a.yaml": `apiVersion: mesh.outrigger.dev/v1alpha1
kind: MeshService
metadata: {name: Users}
spec:
  ports: [{name: http, port: 99999}]
`,
				"objects/b.yaml": `apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: shop}
spec:
  parentRefs: [{name: entry}]
  rules:
    - filters: [{type: RequestMirror}]
      backendRefs: [{name: orders}]
---
kind: Pod
`,
			},
			want: []string{
				`objects/a.yaml:3:18: metadata.name: "Users" is not a DNS label`,
				`objects/a.yaml:5:30: spec.ports[0].port: expected an integer`,
				`objects/b.yaml:7:`,
				`objects/b.yaml:8:`,
				`objects/b.yaml:10:`,
			},
		},
		{
			name: "an object twice", program: "controlplane", file: "controlplane.yaml",
			files: map[string]string{
				"controlplane.yaml": "sources: {files: [objects/]}\n",
				"objects/a.yaml":    "apiVersion: mesh.outrigger.dev/v1alpha1\nkind: MeshService\nmetadata: {name: users}\nspec: {ports: [{name: http, port: 80}]}\n",
				"objects/b.yaml":    "apiVersion: mesh.outrigger.dev/v1alpha1\nkind: MeshService\nmetadata: {name: users}\nspec: {ports: [{name: http, port: 80}]}\n",
			},
			want: []string{`objects/b.yaml:1:`},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := write(t, tt.files)
			_, checked, code := program(t, dir, tt.program, "check", "-c", tt.file)
			if code != 1 {
				t.Errorf("check: exit code %d, want 1", code)
			}
			lines := strings.Split(strings.TrimSpace(checked), "\n")
			if len(lines) != len(tt.want) {
				t.Fatalf("%d mistakes, want %d:\n%s", len(lines), len(tt.want), checked)
			}
			for i, line := range lines {
				if !strings.HasPrefix(line, tt.want[i]) || !place.MatchString(line) {
					t.Errorf("line %d: %s\nwant: %s…", i+1, line, tt.want[i])
				}
			}
			_, ran, code := program(t, dir, tt.program, "run", "-c", tt.file)
			if diff := cmp.Diff(checked, ran); diff != "" || code != 1 {
				t.Errorf("run: exit code %d, messages (-check +run):\n%s", code, diff)
			}
		})
	}
}

func TestPortInUseIsNamedWithItsKey(t *testing.T) {
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	taken := ln.Addr().String()
	free := ports(t, 4)
	tests := []struct{ program, key, config string }{
		{"sidecar", "listen.admin", fmt.Sprintf("listen: {admin: %s, outbound: %s}\n", taken, free[0])},
		{"sidecar", "listen.outbound", fmt.Sprintf("listen: {admin: %s, outbound: %s}\n", free[0], taken)},
		{"sidecar", "listen.gateway", fmt.Sprintf("listen: {admin: %s, outbound: off, gateway: %s}\ngateway: {name: default/entry}\ndiscovery: {xds: {server: %s}}\n", free[0], taken, free[1])},
		{"sidecar", "listen.inbound", fmt.Sprintf("app: {name: orders, address: %s}\nlisten: {admin: %s, outbound: off, inbound: %s}\n", free[2], free[0], taken)},
		{"controlplane", "listen.xds", fmt.Sprintf("listen: {xds: %s, api: %s}\n", taken, free[0])},
		{"controlplane", "listen.api", fmt.Sprintf("listen: {xds: %s, api: %s}\n", free[0], taken)},
	}
	for _, tt := range tests {
		t.Run(tt.key, func(t *testing.T) {
			file := tt.program + ".yaml"
			_, stderr, code := program(t, write(t, map[string]string{file: tt.config}), tt.program, "run", "-c", file)
			if want := tt.key + ": " + taken + " is in use"; code != 1 || !strings.Contains(stderr, want) {
				t.Errorf("exit code %d, want 1 and %q:\n%s", code, want, stderr)
			}
		})
	}
}

func TestWrongUsageHasExitCodeTwo(t *testing.T) {
	for _, name := range []string{"sidecar", "controlplane"} {
		for _, args := range [][]string{{}, {"walk"}, {"run", "--speed"}, {"check", "one", "two"}} {
			if _, stderr, code := program(t, t.TempDir(), name, args...); code != 2 || stderr == "" {
				t.Errorf("%s %v: exit code %d, want 2 and a message: %s", name, args, code, stderr)
			}
		}
		if stdout, _, code := program(t, t.TempDir(), name, "version"); code != 0 || !strings.HasPrefix(stdout, name+" ") {
			t.Errorf("%s version: exit code %d: %s", name, code, stdout)
		}
	}
}

// runSidecar starts a sidecar for the length of the test and waits for its
// admin port.
func runSidecar(t *testing.T, admin, config string) *lab.Process {
	t.Helper()
	stage, err := lab.NewStage("e2e")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := stage.Close(false); err != nil {
			t.Error(err)
		}
	})
	if _, err := stage.Write("sidecar.yaml", []byte(config)); err != nil {
		t.Fatal(err)
	}
	p, err := stage.Start(lab.Spec{Name: "sidecar", Path: filepath.Join(bin, "sidecar"), Args: []string{"run"}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := p.Await(ctx, func(ctx context.Context) error { return lab.Healthy(ctx, "http://"+admin+"/healthz") }); err != nil {
		t.Fatalf("%v\n%s", err, p.Tail(20))
	}
	return p
}

// raw sends bytes to addr and reads one response.
func raw(t *testing.T, addr, request string) (status int, body string) {
	t.Helper()
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatalf("%q: %v", request, err)
	}
	b, err := io.ReadAll(resp.Body)
	if err := errors.Join(err, resp.Body.Close()); err != nil {
		t.Fatalf("%q: %v", request, err)
	}
	return resp.StatusCode, string(b)
}

// TestSidecarAloneServesStaticUpstreams runs one with a control plane that is
// not there: static upstreams work, and what is wrong is answered in JSON.
func TestSidecarAloneServesStaticUpstreams(t *testing.T) {
	echo := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprintf(w, "%s %s for %s", r.Method, r.URL, r.Host)
	}))
	defer echo.Close()
	for _, plane := range []string{"no control plane", "a control plane that is away"} {
		t.Run(plane, func(t *testing.T) {
			addrs := ports(t, 3)
			outbound, admin, dead := addrs[0], addrs[1], addrs[2]
			config := fmt.Sprintf("listen: {outbound: %s, admin: %s}\nupstreams: {echo: {endpoints: [%s]}}\nmiddleware: {outbound: [requestid]}\n",
				outbound, admin, echo.Listener.Addr())
			if strings.Contains(plane, "away") {
				config += "discovery: {xds: {server: " + dead + "}}\n"
			}
			p := runSidecar(t, admin, config)

			for _, host := range []string{"echo", "echo.default", "ECHO:80", "echo.default:80"} {
				status, body := raw(t, outbound, "GET /a?b=c HTTP/1.1\r\nHost: "+host+"\r\nConnection: close\r\n\r\n")
				if status != http.StatusOK || !strings.HasPrefix(body, "GET /a?b=c for ") {
					t.Errorf("Host %s: %d %s", host, status, body)
				}
			}
			if strings.Contains(plane, "no ") {
				wantReply(t, outbound, "GET / HTTP/1.1\r\nHost: nobody\r\n\r\n", http.StatusNotFound, "unknown_host")
			}
			for _, bad := range []string{
				"GET / HTTP/1.1\r\nHost: echo\r\nHost: echo\r\n\r\n",
				"GET / HTTP/1.1\r\nHost: echo\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
				"GET / HTTP/1.1\r\nHost: echo\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n",
				"GET / HTTP/1.1\r\nHost : echo\r\n\r\n",
				"GET / HTTP/1.1\r\n\r\n",
				"nonsense\r\n\r\n",
			} {
				wantReply(t, outbound, bad, http.StatusBadRequest, "bad_request")
			}
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			if err := p.Terminate(ctx); err != nil {
				t.Errorf("%v\n%s", err, p.Tail(20))
			}
		})
	}
}

// wantReply makes sure of an answer that the sidecar gives by itself.
func wantReply(t *testing.T, addr, request string, status int, reason string) {
	t.Helper()
	gotStatus, body := raw(t, addr, request)
	var v map[string]string
	if err := json.Unmarshal([]byte(body), &v); err != nil {
		t.Errorf("%q: %d, not JSON: %s", request, gotStatus, body)
		return
	}
	keys := []string{}
	for key, text := range v {
		if text != "" {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	if gotStatus != status || v["reason"] != reason || !slices.Equal(keys, []string{"error", "reason", "request_id"}) {
		t.Errorf("%q: %d %s, want %d for %s with error, reason and request_id", request, gotStatus, body, status, reason)
	}
}
