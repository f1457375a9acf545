package command_test

import (
	"bytes"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/outrigger-mesh/outrigger/controlplane/command"
	"github.com/outrigger-mesh/outrigger/internal/run"
)

// write writes files into the test's folder, which becomes the working
// directory.
func write(t *testing.T, files map[string]string) {
	t.Helper()
	dir := t.TempDir()
	t.Chdir(dir)
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

const orders = `apiVersion: mesh.outrigger.dev/v1alpha1
kind: MeshService
metadata: {name: orders}
spec: {ports: [{name: http, port: 80}]}
`

func TestCheck(t *testing.T) {
	tests := []struct {
		name  string
		files map[string]string
		args  []string
		out   string // on stdout, where it is right
		err   string // where it is not
	}{
		{name: "no file at all is right", out: "configuration and objects are right: 0 objects\n"},
		{
			name:  "the default folder of objects is read",
			files: map[string]string{"objects/orders.yaml": orders},
			out:   "configuration and objects are right: 1 objects\n",
		},
		{
			name:  "the default file is read, and its paths are relative to it",
			files: map[string]string{"controlplane.yaml": "sources: {files: [a.yaml, b]}\n", "a.yaml": orders, "b/b.yaml": strings.ReplaceAll(orders, "orders", "users")},
			out:   "configuration and objects are right: 2 objects\n",
		},
		{
			name:  "the named file is read, and its paths are relative to it",
			files: map[string]string{"etc/cp.yaml": "sources: {files: [objects]}\n", "etc/objects/orders.yaml": orders},
			args:  []string{"-c", "etc/cp.yaml"},
			out:   "configuration and objects are right: 1 objects\n",
		},
		{
			name: "every mistake of the file is named at its place",
			files: map[string]string{"controlplane.yaml": `listen: {xds: 127.0.0.1, api: "127.0.0.1:x", xsd: 1}
store: {etcd: {endpoints: [127.0.0.1:2379]}, bolt: {path: ""}}
sources:
  files: [""]
  registries: [{kind: etcd}]
registration: {grace: 30}
log: {level: loud, format: pretty}
tokens: tokens.yaml
`},
			err: `controlplane.yaml:1:15: listen.xds: "127.0.0.1" has no port: write host:port
controlplane.yaml:1:31: listen.api: "x" is not a port in "127.0.0.1:x": it is a number from 1 to 65535
controlplane.yaml:1:46: listen: unknown key "xsd", did you mean "xds"?
controlplane.yaml:2:15: store.etcd: the etcd store is not carried by this version: leave it out for the embedded one
controlplane.yaml:2:59: store.bolt.path: must not be empty
controlplane.yaml:4:11: sources.files[0]: must not be empty
controlplane.yaml:5:15: sources.registries: registries are not carried by this version: sidecars register here, and services can be declared in files
controlplane.yaml:6:23: registration.grace: expected a duration, found the number 30 without a unit: write it as in 30s or 30ms
controlplane.yaml:7:14: log.level: unknown log level "loud", known are debug, error, info, warn
controlplane.yaml:7:28: log.format: unknown log format "pretty", known are auto, json, text
controlplane.yaml:8:9: tokens: tokens are not carried by this version: listen on loopback, or where only the mesh can connect`,
		},
		{
			name:  "one address for two listeners is a mistake",
			files: map[string]string{"controlplane.yaml": "listen:\n  xds: 127.0.0.1:18080\n"},
			err:   "controlplane.yaml:2:3: listen.api: 127.0.0.1:18080 is listen.xds already",
		},
		{
			name:  "a path that is not there is named where it is configured",
			files: map[string]string{"controlplane.yaml": "sources:\n  files:\n  - nowhere\n"},
			err:   "controlplane.yaml:3:5: objects: stat nowhere: no such file or directory",
		},
		{
			name:  "every mistake of the objects is named",
			files: map[string]string{"objects/a.yaml": orders + "---\nkind: Foo\n", "objects/b.yaml": orders},
			err:   "objects/a.yaml:6:1: apiVersion is missing: this is no object",
		},
		{
			name:  "an object that is there twice is named at both places",
			files: map[string]string{"objects/a.yaml": orders, "objects/b.yaml": orders},
			err:   "objects/b.yaml:1:1: MeshService default/orders is already defined at objects/a.yaml:1:1",
		},
		{name: "a file that is not there", args: []string{"-c", "none.yaml"}, err: "open none.yaml: no such file or directory"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			write(t, tt.files)
			var stdout, stderr bytes.Buffer
			err := command.Execute(t.Context(), append([]string{"check"}, tt.args...), &stdout, &stderr)
			if got := errText(err); got != tt.err {
				t.Errorf("error:\n%s\nwant:\n%s", got, tt.err)
			}
			if stdout.String() != tt.out {
				t.Errorf("stdout %q, want %q", stdout.String(), tt.out)
			}
			if tt.err == "" {
				return
			}
			if code := run.ExitCode(err); code != 1 {
				t.Errorf("exit code %d, want 1", code)
			}
			// run says the same, and starts nothing.
			if got := errText(command.Execute(t.Context(), append([]string{"run"}, tt.args...), &stdout, &stderr)); got != tt.err {
				t.Errorf("run says:\n%s\nwant what check says:\n%s", got, tt.err)
			}
			if _, err := os.Stat("data"); err == nil {
				t.Error("run made its store before it saw the mistakes")
			}
		})
	}
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestWrongUsageHasExitCode2(t *testing.T) {
	for _, args := range [][]string{{}, {"serve"}, {"run", "now"}, {"run", "--config"}, {"check", "-x"}} {
		t.Run(strings.Join(args, " "), func(t *testing.T) {
			var out bytes.Buffer
			err := command.Execute(t.Context(), args, &out, &out)
			if code := run.ExitCode(err); code != 2 {
				t.Errorf("exit code %d (%v), want 2", code, err)
			}
		})
	}
}

func TestVersionIsPrinted(t *testing.T) {
	var stdout, stderr bytes.Buffer
	if err := command.Execute(t.Context(), []string{"version"}, &stdout, &stderr); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(stdout.String(), "controlplane ") || len(strings.Fields(stdout.String())) != 2 {
		t.Errorf("printed %q, want the program and its version", stdout.String())
	}
}

func TestPortsInUseAreNamedWithTheirKeys(t *testing.T) {
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	k, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close()
	write(t, map[string]string{"controlplane.yaml": "listen: {xds: '" + l.Addr().String() + "', api: '" + k.Addr().String() + "'}\n"})
	var out bytes.Buffer
	err = command.Execute(t.Context(), []string{"run"}, &out, &out)
	want := "listen.xds: " + l.Addr().String() + " is in use\nlisten.api: " + k.Addr().String() + " is in use"
	if errText(err) != want || run.ExitCode(err) != 1 {
		t.Errorf("got %q with code %d, want %q with code 1", errText(err), run.ExitCode(err), want)
	}
}
