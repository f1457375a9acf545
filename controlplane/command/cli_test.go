package command_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/controlplane/command"
	"github.com/outrigger-mesh/outrigger/controlplane/internal/object"
	"github.com/outrigger-mesh/outrigger/internal/run"
)

// running starts a control plane in a folder of its own, which becomes the
// working directory, and returns the URL of its API.
func running(t *testing.T, files map[string]string) string {
	t.Helper()
	if files == nil {
		files = map[string]string{}
	}
	files["controlplane.yaml"] = "listen: {xds: 127.0.0.1:0, api: 127.0.0.1:0}\n"
	write(t, files)
	log := &logLines{serving: make(chan map[string]any, 1)}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- command.Execute(ctx, []string{"run"}, io.Discard, log) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	})
	select {
	case line := <-log.serving:
		return "http://" + line["api"].(string)
	case err := <-done:
		t.Fatalf("it ended: %v", err)
	case <-time.After(patience):
		t.Fatal("it does not serve")
	}
	return ""
}

// cli runs a command line and returns what it printed.
func cli(t *testing.T, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	var out, errs bytes.Buffer
	err = command.Execute(t.Context(), args, &out, &errs)
	return out.String(), errs.String(), err
}

// want runs a command line that works and compares what it prints.
func want(t *testing.T, out string, args ...string) {
	t.Helper()
	got, _, err := cli(t, args...)
	if err != nil {
		t.Fatalf("%v: %v", args, err)
	}
	if got != out {
		t.Errorf("%v prints\n%s, want\n%s", args, got, out)
	}
}

const legacy = `apiVersion: mesh.outrigger.dev/v1alpha1
kind: MeshService
metadata: {name: legacy, namespace: shop}
spec:
  ports: [{name: http, port: 80}]
  endpoints: [{address: "10.0.0.1:8080"}, {address: "10.0.0.2:8080"}]
`

const machines = `apiVersion: mesh.outrigger.dev/v1alpha1
kind: Host
metadata: {name: netbox-17}
spec: {key: "17", name: vm-17, addresses: [10.0.0.1], locality: {region: bj, zone: bj-1}, status: draining}
---
apiVersion: mesh.outrigger.dev/v1alpha1
kind: Host
metadata: {name: netbox-18}
spec: {key: "18", name: vm-18, labels: {"on": "yes", note: "a: b"}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: entry, namespace: shop}
spec:
  parentRefs: [{name: entry}]
  hostnames: [shop.example.test]
  rules: [{backendRefs: [{name: legacy, port: 80}]}]
`

func TestApplyGetDelete(t *testing.T) {
	server := running(t, map[string]string{"mine/legacy.yaml": legacy, "mine/more/machines.yml": machines, "mine/README": "no objects"})
	t.Setenv(command.ServerVariable, server)
	want(t, `KIND          CHANGED  UNCHANGED  REVISION
hosts         2        0          1 (dry run)
meshservices  1        0          1 (dry run)
httproutes    1        0          1 (dry run)
`, "apply", "-f", "mine", "--dry-run")
	want(t, "there are no hosts in the store\n", "get", "hosts")
	want(t, `KIND          CHANGED  UNCHANGED  REVISION
hosts         2        0          1
meshservices  1        0          1
httproutes    1        0          1
`, "apply", "-f", "mine")
	want(t, `KIND          CHANGED  UNCHANGED  REVISION
meshservices  0        1          1
`, "apply", "-f", "mine/legacy.yaml")
	want(t, `NAME       HOST   STATUS    REGION  ZONE  ADDRESSES  IN FORCE
netbox-17  vm-17  draining  bj      bj-1  10.0.0.1   yes
netbox-18  vm-18  up        -       -     -          yes
`, "get", "hosts")
	want(t, `NAMESPACE  NAME    PORTS    ENDPOINTS  IN FORCE
shop       legacy  http:80  2          yes
`, "get", "MeshService", "legacy", "-n", "shop")
	want(t, `NAMESPACE  NAME   PARENTS             HOSTNAMES          IN FORCE
shop       entry  Gateway/shop/entry  shop.example.test  yes
`, "get", "httproutes")
	eventually(t, `NAMESPACE  NAME    PORT  UP  ENDPOINTS  XDS NAME
shop       legacy  http  1   2          legacy.shop:80
`, "get", "services")
	want(t, `XDS NAME        ADDRESS        STATUS           LOCALITY        HOST       NODE                  SOURCE
legacy.shop:80  10.0.0.1:8080  draining (host)  bj/bj-1 (host)  netbox-17  static:10.0.0.1:8080  store
legacy.shop:80  10.0.0.2:8080  up               -               -          static:10.0.0.2:8080  store
`, "get", "endpoints")
	want(t, "NODE  PEER  LOCALITY  HELD  NACKS  REFUSES NOW\n", "get", "proxies")
	want(t, "HTTPRoute shop/entry is deleted (revision 2)\n", "delete", "httproute", "shop/entry")
	want(t, "Host netbox-17 is deleted (revision 2)\n", "delete", "host", "netbox-17")
	_, _, err := cli(t, "get", "host", "netbox-17")
	wantError(t, err, 1, "there is no Host netbox-17 in the store")
	_, _, err = cli(t, "delete", "host", "netbox-17")
	wantError(t, err, 1, "there is no Host netbox-17 in the store")
}

// columns is what stands between the columns of a table. Where the width of one
// is not known before, a test writes a bar.
var columns = regexp.MustCompile(` {2,}`)

// eventually is want, of what takes a moment to be known.
func eventually(t *testing.T, out string, args ...string) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		got, _, err := cli(t, args...)
		if err == nil && (got == out || columns.ReplaceAllString(got, " | ") == out) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%v: %v, prints\n%s, want\n%s", args, err, got, out)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func wantError(t *testing.T, err error, code int, part string) {
	t.Helper()
	if err == nil || run.ExitCode(err) != code || !strings.Contains(err.Error(), part) {
		t.Errorf("got %v with exit code %d, want %q with %d", err, run.ExitCode(err), part, code)
	}
}

func TestWhatGetPrintsCanBeApplied(t *testing.T) {
	server := running(t, map[string]string{"a.yaml": legacy + "---\n" + machines})
	if _, _, err := cli(t, "apply", "-f", "a.yaml", "--server", server); err != nil {
		t.Fatal(err)
	}
	for _, kind := range []string{"hosts", "meshservices", "httproutes"} {
		for _, format := range []string{"yaml", "json"} {
			text, _, err := cli(t, "get", kind, "-o", format, "--server", server)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile("again."+format, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			out, _, err := cli(t, "apply", "-f", "again."+format, "-o", "json", "--server", server)
			if err != nil {
				t.Fatalf("%v:\n%s", err, text)
			}
			var done struct {
				Applied []struct {
					Kind, Revision     string
					Changed, Unchanged int
				}
			}
			if err := json.Unmarshal([]byte(out), &done); err != nil || len(done.Applied) != 1 ||
				done.Applied[0].Kind != kind || done.Applied[0].Changed != 0 || done.Applied[0].Unchanged == 0 {
				t.Errorf("%s as %s: %v, %s; want nothing changed", kind, format, err, out)
			}
		}
	}
}

func TestAFileHoldsAgainstTheStore(t *testing.T) {
	server := running(t, map[string]string{
		"objects/legacy.yaml": legacy, "mine.yaml": strings.ReplaceAll(legacy, "10.0.0.", "10.9.9."),
	})
	_, warnings, err := cli(t, "apply", "-f", "mine.yaml", "--server", server)
	if err != nil {
		t.Fatal(err)
	}
	_ = warnings // the store's source may not have told the mesh yet
	eventually(t, `NAMESPACE  NAME    PORTS    ENDPOINTS  IN FORCE
shop       legacy  http:80  2          no: objects/legacy.yaml:1:1 has the same object, and files hold
`, "get", "meshservices", "--server", server)
	out, _, err := cli(t, "get", "endpoints", "--server", server)
	if err != nil || strings.Contains(out, "10.9.9.") || !strings.Contains(out, "10.0.0.1:8080") {
		t.Errorf("%v: the endpoints are\n%s", err, out)
	}
	_, warnings, err = cli(t, "apply", "-f", "mine.yaml", "--server", server)
	const warning = "warning: MeshService shop/legacy is not in force: objects/legacy.yaml:1:1 has the same object, and files hold\n"
	if err != nil || warnings != warning {
		t.Errorf("%v: the warnings are %q, want %q", err, warnings, warning)
	}
	if err := os.Remove("objects/legacy.yaml"); err != nil {
		t.Fatal(err)
	}
	eventually(t, `NAMESPACE  NAME    PORTS    ENDPOINTS  IN FORCE
shop       legacy  http:80  2          yes
`, "get", "meshservices", "--server", server)
}

func TestStatus(t *testing.T) {
	server := running(t, map[string]string{"objects/orders.yaml": orders, "a.yaml": legacy + "---\n" + machines})
	if _, _, err := cli(t, "apply", "-f", "a.yaml", "--server", server); err != nil {
		t.Fatal(err)
	}
	eventually(t, `control plane | `+server+` | devel | ready
services | 2
endpoints | 1 up | 1 draining | 0 down
hosts | 2
routes | 1
proxies | 0 connected | 0 refusing (NACK)
store | hosts | revision 1
store | meshservices | revision 1
store | httproutes | revision 1
source | sidecar | synced | 0 keys
source | file | synced | 1 keys
source | store | synced | 4 keys
`, "status", "--server", server)
	if err := os.WriteFile("objects/bad.yaml", []byte("kind: [\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(patience)
	for {
		out, _, err := cli(t, "status", "--server", server)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(out, "\nproblem: objects/bad.yaml:1:7: ") {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the bad file is not told:\n%s", out)
		}
		time.Sleep(10 * time.Millisecond)
	}
	out, _, err := cli(t, "status", "-o", "yaml", "--server", server)
	if err != nil || !strings.Contains(out, "\nhosts: 2\n") || !strings.Contains(out, "\n  - kind: hosts\n    revision: \"1\"\n") {
		t.Errorf("%v: as YAML it is\n%s", err, out)
	}
}

func TestMistakesOfFilesHaveTheirPlace(t *testing.T) {
	write(t, map[string]string{
		"a.yaml": legacy + "---\napiVersion: mesh.outrigger.dev/v1alpha1\nkind: Host\nmetadata: {name: H}\nspec: {rack: 7}\n",
		"b.yaml": legacy, "c.yaml": legacy, "d.yaml": "# nothing\n",
	})
	tests := []struct {
		name string
		args []string
		code int
		err  string
	}{
		{
			"all mistakes at once, and files that are missing",
			[]string{"-f", "a.yaml", "-f", "none.yaml"},
			1,
			"objects: stat none.yaml: no such file or directory\n" +
				`a.yaml:10:18: metadata.name: "H" may have a-z, 0-9, '.' and '-' in it, with a letter or digit at both ends` + "\n" +
				`a.yaml:11:8: spec: unknown key "rack", known are addresses, assetID, key, labels, locality, name, network, source, status`,
		},
		{"an object twice", []string{"-f", "b.yaml", "-f", "c.yaml"}, 1, "c.yaml:1:1: MeshService shop/legacy is already defined at b.yaml:1:1"},
		{"no objects", []string{"-f", "d.yaml"}, 1, "there are no objects in d.yaml"},
		{"no file", nil, 2, "apply: say which files, with -f FILE, -f DIR or -f - for the standard input"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, _, err := cli(t, append([]string{"apply", "--server", "http://127.0.0.1:1"}, tt.args...)...)
			if err == nil || err.Error() != tt.err || run.ExitCode(err) != tt.code {
				t.Errorf("got %d:\n%v\nwant %d:\n%s", run.ExitCode(err), err, tt.code, tt.err)
			}
		})
	}
}

func TestWrongUsageIsToldWithExitCode2(t *testing.T) {
	for _, tt := range []struct{ args, want string }{
		{"get", "get needs a kind"},
		{"get boats", `"boats" is no kind of object: known are hosts, meshservices, httproutes`},
		{"get hosts -o xml", "-o xml: it is one of table, json and yaml"},
		{"get host a -n shop", "--namespace: a Host has none"},
		{"get meshservice a/b -n shop", `--namespace: "a/b" names its namespace already`},
		{"get host A_B", "may have a-z"},
		{"get services orders", "it takes no name"},
		{"delete host", "delete needs a kind and a name"},
		{"delete endpoints a", `"endpoints" is no kind of object`},
		{"status --server 127.0.0.1:18080", `"127.0.0.1:18080" is not the URL of a server: write it as in http://127.0.0.1:18080`},
		{"status --server http://127.0.0.1/v1", "is not the URL of a server"},
		{"status more", "takes no arguments"},
	} {
		t.Run(tt.args, func(t *testing.T) {
			_, _, err := cli(t, strings.Fields(tt.args)...)
			wantError(t, err, 2, tt.want)
		})
	}
}

func TestAServerThatDoesNotAnswerIsToldWithWhatToDo(t *testing.T) {
	_, _, err := cli(t, "status", "--server", "http://127.0.0.1:1")
	wantError(t, err, 1, `the control plane at http://127.0.0.1:1 cannot be reached (connect: connection refused): `+
		`start it with "controlplane run", or say where its API is with --server or OUTRIGGER_SERVER`)
}

func TestMoreObjectsThanOneRequestTakesAreAppliedInParts(t *testing.T) {
	server := running(t, nil)
	var text strings.Builder
	const n = 5001
	for i := range n {
		fmt.Fprintf(&text, "---\n{apiVersion: mesh.outrigger.dev/v1alpha1, kind: Host, metadata: {name: h-%d}, spec: {key: k}}\n", i)
	}
	if err := os.WriteFile("hosts.yaml", []byte(text.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	want(t, "KIND   CHANGED  UNCHANGED  REVISION\nhosts  5001     0          2\n", "apply", "-f", "hosts.yaml", "--server", server)
	out, _, err := cli(t, "get", "hosts", "--server", server) // in several pages
	if lines := strings.Count(out, "\n"); err != nil || lines != n+1 {
		t.Errorf("%v: %d lines are printed, want one for each host and the head", err, lines)
	}
}

func TestTheGuidesObjectsAreRight(t *testing.T) {
	guide, err := os.ReadFile("../../docs/guides/controlplane-api.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := strings.Split(string(guide), "```yaml\n")[1:]
	if len(blocks) == 0 {
		t.Fatal("the guide has no objects")
	}
	for _, block := range blocks {
		text, _, _ := strings.Cut(block, "```")
		if _, err := object.Parse("guide.yaml", []byte(text)); err != nil {
			t.Error(err)
		}
	}
}
