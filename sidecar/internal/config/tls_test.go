package config_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/outrigger-mesh/outrigger/sidecar/internal/config"
	"github.com/outrigger-mesh/outrigger/sidecar/internal/secure/securetest"
)

// certs is a folder with the files of the guide below certs.
func certs(t *testing.T) (dir string, ca *securetest.CA) {
	t.Helper()
	dir, ca = t.TempDir(), securetest.NewCA(t, "mesh")
	folder := filepath.Join(dir, "certs")
	if err := os.Mkdir(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"orders", "shop"} {
		ca.Issue(t, securetest.Leaf{Name: name, Hosts: []string{name}}).Write(t, folder, name)
	}
	for _, name := range []string{"mesh-ca.pem", "app-ca.pem"} {
		securetest.Write(t, folder, name, ca.PEM)
	}
	return dir, ca
}

func loadText(t *testing.T, dir, yaml string) (*config.Config, error) {
	t.Helper()
	return config.Load(securetest.Write(t, dir, "sidecar.yaml", []byte(yaml)))
}

// Every block of the guide is a configuration that is taken, and both languages
// have the same.
func TestTheGuideOfTLSHolds(t *testing.T) {
	dir, _ := certs(t)
	blocks := regexp.MustCompile("(?s)```yaml\n(.*?)```")
	var all [2][]string
	for i, file := range []string{"../../../docs/guides/tls.md", "../../../docs/guides/tls.zh-CN.md"} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range blocks.FindAllStringSubmatch(string(text), -1) {
			all[i] = append(all[i], m[1])
			c, err := loadText(t, dir, m[1])
			if err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			if w := c.Warnings(); len(w) != 0 {
				t.Errorf("%s: %v", file, w)
			}
		}
	}
	if diff := cmp.Diff(all[0], all[1]); diff != "" || len(all[0]) < 2 {
		t.Errorf("%d blocks; the languages differ:\n%s", len(all[0]), diff)
	}
}

func TestTLSDefaults(t *testing.T) {
	dir, _ := certs(t)
	c, err := loadText(t, dir, `
app:
  name: orders
  tls: {serverName: orders}
  health: {http: /healthz}
  ports:
    - {name: http, address: "127.0.0.1:1", listen: "127.0.0.1:0"}
    - {name: own, address: "127.0.0.1:2", listen: "127.0.0.1:0", tls: {}}
    - {name: raw, address: "127.0.0.1:3", listen: "127.0.0.1:0", protocol: tcp}
tls:
  inbound: {certificates: [{cert: certs/orders.pem, key: certs/orders.key}], clients: {ca: certs/mesh-ca.pem}, minVersion: 1.3}
upstreams: {users: {endpoints: ["users:443"], tls: {insecureSkipVerify: true}}, plain: {endpoints: ["plain:80"]}}
`)
	if err != nil {
		t.Fatal(err)
	}
	in := c.TLS.Inbound
	if !in.Active() || !in.Clients.Require || in.MinVersion.Number() != 0x0304 || c.TLS.Gateway.Active() || c.TLS.Gateway.MinVersion.Number() != 0x0303 {
		t.Errorf("%+v", c.TLS)
	}
	ports := c.Ports()
	if ports[0].TLS != c.App.TLS || ports[1].TLS == nil || ports[1].TLS.ServerName != "" || ports[2].TLS != nil {
		t.Errorf("ports %+v", ports)
	}
	if c.Upstreams["users"].TLS == nil || c.Upstreams["plain"].TLS != nil {
		t.Errorf("upstreams %+v", c.Upstreams)
	}
	if check := c.App.HealthCheck(); check.URL != "https://127.0.0.1:1/healthz" || check.TLS != c.App.TLS {
		t.Errorf("health check %+v", check)
	}
	var files []string
	for _, f := range c.TLSFiles() {
		files = append(files, strings.TrimPrefix(f, dir+"/certs/"))
	}
	if diff := cmp.Diff([]string{"mesh-ca.pem", "orders.key", "orders.pem"}, files); diff != "" {
		t.Error(diff)
	}
	w := strings.Join(c.Warnings(), "\n")
	if !strings.Contains(w, "insecureSkipVerify: any certificate is taken") || !strings.Contains(w, "tcp ports, which are passed through as they are: raw") {
		t.Errorf("warnings:\n%s", w)
	}
	if err := os.Chmod(filepath.Join(dir, "certs", "orders.key"), 0o640); err != nil { //nolint:gosec // what the warning is about
		t.Fatal(err)
	}
	if w := strings.Join(c.Warnings(), "\n"); !strings.Contains(w, "orders.key: others on this machine can read") {
		t.Errorf("warnings:\n%s", w)
	}
}

func TestTLSMistakes(t *testing.T) {
	dir, ca := certs(t)
	folder := filepath.Join(dir, "certs")
	ca.Issue(t, securetest.Leaf{Name: "late", NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: time.Now().Add(-time.Hour)}).Write(t, folder, "late")
	ca.Issue(t, securetest.Leaf{Name: "soon", NotBefore: time.Now().Add(time.Hour), NotAfter: time.Now().Add(2 * time.Hour)}).Write(t, folder, "soon")
	securetest.Write(t, folder, "empty.pem", nil)
	pair := func(cert, key string) string {
		return "tls: {inbound: {certificates: [{cert: certs/" + cert + ", key: certs/" + key + "}]}}"
	}
	upstream := func(tls string) string { return "upstreams: {a: {endpoints: [\"a:443\"], tls: {" + tls + "}}}" }
	for name, c := range map[string]struct{ yaml, want string }{
		"another key":           {pair("orders.pem", "shop.key"), "tls.inbound.certificates[0].key: " + folder + "/shop.key is not the key of the certificate"},
		"expired":               {pair("late.pem", "late.key"), "tls.inbound.certificates[0].cert: " + folder + "/late.pem: the certificate of late has expired"},
		"not yet valid":         {pair("soon.pem", "soon.key"), "the certificate of soon is not valid before"},
		"missing":               {pair("none.pem", "orders.key"), "tls.inbound.certificates[0].cert: cannot be read"},
		"missing key":           {pair("orders.pem", "none.key"), "tls.inbound.certificates[0].key: cannot be read"},
		"exchanged":             {pair("orders.pem", "orders.pem"), "are cert and key exchanged?"},
		"an empty CA":           {upstream("ca: certs/empty.pem"), "upstreams.a.tls.ca: " + folder + "/empty.pem holds no certificate"},
		"a key as CA":           {upstream("ca: certs/orders.key"), "upstreams.a.tls.ca: " + folder + `/orders.key holds a "PRIVATE KEY"`},
		"a folder as CA":        {upstream("ca: certs"), "is not a file"},
		"no key":                {upstream("cert: certs/orders.pem"), "upstreams.a.tls.key: must be given"},
		"no cert":               {upstream("key: certs/orders.key"), "upstreams.a.tls.cert: must be given"},
		"an identity":           {upstream(`identities: ["spiffe://mesh"]`), "upstreams.a.tls.identities[0]: "},
		"both":                  {upstream("insecureSkipVerify: true, ca: certs/mesh-ca.pem"), "upstreams.a.tls.insecureSkipVerify: takes any certificate"},
		"a name":                {upstream(`serverName: "a b"`), "upstreams.a.tls.serverName: "},
		"a version":             {"tls: {inbound: {minVersion: 1.1}}", `tls.inbound.minVersion: expected "1.2" or "1.3", found "1.1"`},
		"a version's type":      {"tls: {inbound: {minVersion: [1.2]}}", "found a list"},
		"a mode":                {"tls: {inbound: {mode: maybe}}", "tls.inbound.mode: unknown mode"},
		"a mode without":        {"tls: {gateway: {mode: strict}}", "tls.gateway.certificates: at least one is needed"},
		"clients without":       {"tls: {gateway: {clients: {ca: certs/mesh-ca.pem}}}", "tls.gateway.clients: has no use without certificates"},
		"clients without CA":    {"tls: {gateway: {certificates: [{cert: certs/orders.pem, key: certs/orders.key}], clients: {}}}", "tls.gateway.clients.ca: must be given"},
		"TLS on a tcp port":     {`app: {name: a, ports: [{address: "127.0.0.1:1", protocol: tcp, tls: {}}]}`, "app.ports[0].tls: a tcp port is passed through"},
		"an unknown key":        {"tls: {inbound: {certificate: []}}", `unknown key "certificate"`},
		"an app's CA":           {`app: {name: a, tls: {ca: certs/empty.pem}}`, "app.tls.ca: "},
		"an app port's CA":      {`app: {name: a, ports: [{address: "127.0.0.1:1", tls: {ca: certs/empty.pem}}]}`, "app.ports[0].tls.ca: "},
		"a secret in a message": {pair("orders.key", "orders.pem"), "where only certificates belong"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := loadText(t, dir, c.yaml)
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "sidecar.yaml:1:") {
				t.Errorf("%v\nexpected %q", err, c.want)
			}
			if err != nil && strings.Contains(err.Error(), "BEGIN") {
				t.Errorf("a file's content: %v", err)
			}
		})
	}
}
