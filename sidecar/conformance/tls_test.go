package conformance

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/sidecar/internal/secure/securetest"
)

// tlsYAML is a sidecar with TLS before an app. Its files lie beside it.
const tlsYAML = `
app: {name: app, address: "APP", health: {interval: 1h}}
listen: {inbound: "127.0.0.1:0", outbound: "off", admin: "127.0.0.1:0"}
discovery: {registry: {}}
drain: {delay: 1ms, timeout: 2s}
limits: {headTimeout: 2s}
middleware: {inbound: []}
tls: {inbound: TLS}
`

// tlsFiles is a folder with an authority's certificate as ca.pem, a server's of
// it for localhost and 127.0.0.1 as server.pem and server.key, one for other as
// other.*, a client's as client.*, and a stranger's as stranger.*.
func tlsFiles(t *testing.T) (dir string, ca *securetest.CA) {
	t.Helper()
	dir, ca = t.TempDir(), securetest.NewCA(t, "mesh")
	securetest.Write(t, dir, "ca.pem", ca.PEM)
	ca.Issue(t, securetest.Leaf{Name: "server", Hosts: []string{"localhost", "127.0.0.1"}, URIs: []string{"spiffe://mesh/server"}, RSA: true}).Write(t, dir, "server")
	ca.Issue(t, securetest.Leaf{Name: "other", Hosts: []string{"other"}}).Write(t, dir, "other")
	ca.Issue(t, securetest.Leaf{Name: "client", URIs: []string{"spiffe://mesh/client"}}).Write(t, dir, "client")
	securetest.NewCA(t, "strangers").Issue(t, securetest.Leaf{Name: "stranger"}).Write(t, dir, "stranger")
	return dir, ca
}

// startTLS is a sidecar with this TLS before an app that says what it was asked.
func startTLS(t *testing.T, dir, options string) *sidecar {
	t.Helper()
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n, _ := io.Copy(io.Discard, r.Body)
		_, _ = fmt.Fprintf(w, "app: %s %s %d\n", r.Method, r.URL.Path, n)
	}))
	t.Cleanup(app.Close)
	return startSidecarIn(t, dir, strings.NewReplacer("APP", app.Listener.Addr().String(), "TLS", options).Replace(tlsYAML))
}

const serverOnly = "{certificates: [{cert: server.pem, key: server.key}, {cert: other.pem, key: other.key}]}"

// tool runs a program of others in a folder and returns all that it says.
func tool(t *testing.T, dir, stdin, name string, args ...string) (string, error) {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("internal/testenv/install.sh installs %s: %v", name, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Dir, cmd.Stdin = dir, strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

const oneRequest = "GET /s HTTP/1.1\r\nHost: app\r\nConnection: close\r\n\r\n"

// sClient sends one request by openssl s_client.
func sClient(t *testing.T, dir, address string, args ...string) string {
	t.Helper()
	out, _ := tool(t, dir, oneRequest, "openssl", append([]string{"s_client", "-connect", address, "-CAfile", "ca.pem", "-ign_eof"}, args...)...)
	return out
}

func wantParts(t *testing.T, out string, parts ...string) {
	t.Helper()
	for _, p := range parts {
		if !strings.Contains(out, p) {
			t.Errorf("%q is not in:\n%s", p, out)
		}
	}
}

func TestTLSByOpenSSL(t *testing.T) {
	dir, _ := tlsFiles(t)
	plain := startTLS(t, dir, serverOnly).address()
	only13 := startTLS(t, dir, `{certificates: [{cert: server.pem, key: server.key}], minVersion: "1.3"}`).address()
	mtls := startTLS(t, dir, "{certificates: [{cert: server.pem, key: server.key}], clients: {ca: ca.pem}}").address()
	wish := startTLS(t, dir, "{certificates: [{cert: server.pem, key: server.key}], clients: {ca: ca.pem, require: false}}").address()
	const served = "app: GET /s 0"
	for name, c := range map[string]struct {
		address string
		args    []string
		want    []string
		refused bool
	}{
		"1.2":                         {plain, []string{"-tls1_2"}, []string{"Protocol  : TLSv1.2", "Verify return code: 0 (ok)"}, false},
		"1.3":                         {plain, []string{"-tls1_3"}, []string{"TLSv1.3", "Verify return code: 0 (ok)"}, false},
		"1.1":                         {plain, []string{"-tls1_1", "-cipher", "DEFAULT:@SECLEVEL=0"}, []string{"alert protocol version"}, true},
		"1.2 where 1.3 is asked for":  {only13, []string{"-tls1_2"}, []string{"alert protocol version"}, true},
		"without forward secrecy":     {plain, []string{"-tls1_2", "-cipher", "AES128-GCM-SHA256"}, []string{"handshake failure"}, true},
		"with CBC":                    {plain, []string{"-tls1_2", "-cipher", "ECDHE-RSA-AES128-SHA:ECDHE-RSA-AES128-SHA256"}, []string{"handshake failure"}, true},
		"a name of the first":         {plain, []string{"-servername", "localhost"}, []string{"subject=CN = server"}, false},
		"a name of the second":        {plain, []string{"-servername", "other", "-verify_hostname", "other"}, []string{"subject=CN = other", "Verify return code: 0 (ok)"}, false},
		"a name of none":              {plain, []string{"-servername", "unknown"}, []string{"subject=CN = server"}, false},
		"no name":                     {plain, []string{"-noservername"}, []string{"subject=CN = server"}, false},
		"HTTP/1.1 by ALPN":            {plain, []string{"-alpn", "http/1.1"}, []string{"ALPN protocol: http/1.1"}, false},
		"no common protocol":          {plain, []string{"-alpn", "spdy/3"}, []string{"no application protocol"}, true},
		"no certificate in 1.2":       {mtls, []string{"-tls1_2"}, []string{"handshake failure"}, true},
		"no certificate in 1.3":       {mtls, []string{"-tls1_3"}, []string{"certificate required"}, true},
		"a client's certificate":      {mtls, []string{"-cert", "client.pem", "-key", "client.key"}, nil, false},
		"a stranger's":                {mtls, []string{"-cert", "stranger.pem", "-key", "stranger.key"}, []string{"alert unknown ca"}, true},
		"none, which may be":          {wish, nil, nil, false},
		"a stranger's, which may not": {wish, []string{"-cert", "stranger.pem", "-key", "stranger.key"}, []string{"alert unknown ca"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			out := sClient(t, dir, c.address, c.args...)
			wantParts(t, out, c.want...)
			if strings.Contains(out, served) == c.refused {
				t.Errorf("the app has answered: %v, expected %v\n%s", !c.refused, c.refused, out)
			}
		})
	}
	t.Run("HTTP/2 by ALPN", func(t *testing.T) {
		out, _ := tool(t, dir, "", "openssl", "s_client", "-connect", plain, "-CAfile", "ca.pem", "-alpn", "h2,http/1.1")
		wantParts(t, out, "ALPN protocol: h2")
	})
	for _, version := range []string{"-tls1_2", "-tls1_3"} {
		t.Run("resumption"+version, func(t *testing.T) {
			session := filepath.Join(t.TempDir(), "session")
			wantParts(t, sClient(t, dir, mtls, version, "-cert", "client.pem", "-key", "client.key", "-sess_out", session), "New, TLSv1", served)
			wantParts(t, sClient(t, dir, mtls, version, "-cert", "client.pem", "-key", "client.key", "-sess_in", session), "Reused, TLSv1", served)
		})
	}
}

func TestTLSByCurl(t *testing.T) {
	dir, _ := tlsFiles(t)
	_, strict, _ := net.SplitHostPort(startTLS(t, dir, serverOnly).address())
	_, both, _ := net.SplitHostPort(startTLS(t, dir, "{mode: permissive, certificates: [{cert: server.pem, key: server.key}]}").address())
	_, mtls, _ := net.SplitHostPort(startTLS(t, dir, "{certificates: [{cert: server.pem, key: server.key}], clients: {ca: ca.pem}}").address())
	_, off, _ := net.SplitHostPort(startTLS(t, dir, "{mode: off, certificates: [{cert: server.pem, key: server.key}]}").address())
	securetest.Write(t, dir, "large", make([]byte, 3_000_000))
	const status = "-w%{http_version} %{http_code}"
	for name, c := range map[string]struct {
		args []string
		want string
		fail bool
	}{
		"HTTP/1.1":                     {[]string{"--http1.1", "https://localhost:" + strict + "/a"}, "app: GET /a 0\n1.1 200", false},
		"HTTP/2":                       {[]string{"--http2", "https://localhost:" + strict + "/a"}, "app: GET /a 0\n2 200", false},
		"a large upload":               {[]string{"--http1.1", "-T", "large", "https://localhost:" + strict + "/a"}, "app: PUT /a 3000000\n1.1 200", false},
		"a large upload by HTTP/2":     {[]string{"--http2", "-T", "large", "https://localhost:" + strict + "/a"}, "app: PUT /a 3000000\n2 200", false},
		"several on one connection":    {[]string{"--http1.1", "https://localhost:" + strict + "/a", "https://localhost:" + strict + "/b"}, "app: GET /b 0\n1.1 200", false},
		"plain text to strict":         {[]string{"http://localhost:" + strict + "/a"}, "this port speaks TLS", false},
		"its status":                   {[]string{"http://localhost:" + strict + "/a"}, "1.1 400", false},
		"HTTP/2 in plain to strict":    {[]string{"--http2-prior-knowledge", "http://localhost:" + strict + "/a"}, "", true},
		"permissive with TLS":          {[]string{"--http2", "https://localhost:" + both + "/a"}, "app: GET /a 0\n2 200", false},
		"permissive without":           {[]string{"http://localhost:" + both + "/a"}, "app: GET /a 0\n1.1 200", false},
		"permissive h2c":               {[]string{"--http2-prior-knowledge", "http://localhost:" + both + "/a"}, "app: GET /a 0\n2 200", false},
		"a client's certificate":       {[]string{"--cert", "client.pem", "--key", "client.key", "https://localhost:" + mtls + "/a"}, "200", false},
		"no client's certificate":      {[]string{"https://localhost:" + mtls + "/a"}, "", true},
		"TLS where it is off":          {[]string{"https://localhost:" + off + "/a"}, "", true},
		"plain where it is off":        {[]string{"http://localhost:" + off + "/a"}, "app: GET /a 0\n1.1 200", false},
		"an address instead of a name": {[]string{"https://127.0.0.1:" + strict + "/a"}, "200", false},
	} {
		t.Run(name, func(t *testing.T) {
			out, err := tool(t, dir, "", "curl", append([]string{"-sS", "-g", "--noproxy", "*", "--cacert", "ca.pem", status}, c.args...)...)
			if (err != nil) != c.fail || !strings.Contains(out, c.want) {
				t.Errorf("%v, expected %q in:\n%s", err, c.want, out)
			}
		})
	}
}

// A new certificate is in force for the next handshake, and a connection that is
// open goes on.
func TestTLSFilesAreReloaded(t *testing.T) {
	dir, ca := tlsFiles(t)
	s := startTLS(t, dir, serverOnly)
	client := tlsClient(t, dir, s.address())
	client.get(t, "/before")
	ca.Issue(t, securetest.Leaf{Name: "renewed", Hosts: []string{"localhost", "127.0.0.1"}}).Write(t, dir, "server")
	for end := time.Now().Add(patience); ; {
		out := sClient(t, dir, s.address())
		if strings.Contains(out, "subject=CN = renewed") {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("never in force:\n%s", out)
		}
	}
	client.get(t, "/after")
	if client.dialed != 1 {
		t.Errorf("%d connections: the open one was closed", client.dialed)
	}
	page := metricsPage(t, s.at["listen.admin"])
	if n := metric(page, fmt.Sprintf("outrigger_tls_reloads_total{result=%q,source=%q}", "ok", filepath.Join(dir, "server.pem"))); n != 1 {
		t.Errorf("%d reloads in the metrics", n)
	}
	wantParts(t, page, `outrigger_tls_handshakes_total{alpn="none",listener="inbound",version="1.3"}`, "outrigger_tls_certificate_expiry_seconds{")
}

// Whoever begins a handshake and goes silent does not hold others up, and is
// let go.
func TestTLSASlowHandshake(t *testing.T) {
	dir, _ := tlsFiles(t)
	s := startTLS(t, dir, serverOnly)
	slow, err := new(net.Dialer).DialContext(t.Context(), "tcp", s.address())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = slow.Close() }()
	if _, err := slow.Write([]byte{0x16, 3, 1, 2, 0, 1}); err != nil {
		t.Fatal(err)
	}
	tlsClient(t, dir, s.address()).get(t, "/meanwhile")
	_ = slow.SetReadDeadline(time.Now().Add(patience))
	if _, err := io.ReadAll(slow); err != nil {
		t.Errorf("not closed: %v", err)
	}
	page := metricsPage(t, s.at["listen.admin"])
	if n := metric(page, `outrigger_tls_handshake_failures_total{listener="inbound",reason="timeout"}`); n != 1 {
		t.Errorf("%d timeouts in the metrics:\n%s", n, page)
	}
}

// nginxYAML is a sidecar before a server that speaks TLS.
const nginxYAML = `
listen: {outbound: "127.0.0.1:0", admin: "off"}
upstreams: {app: {endpoints: ["APP"], PROTOCOL tls: TLS}}
drain: {delay: 1ms, timeout: 2s}
middleware: {outbound: []}
`

// startNginx is an nginx with TLS that wants clients' certificates below /mtls.
func startNginx(t *testing.T, dir string) (address string) {
	t.Helper()
	path, err := exec.LookPath("nginx")
	if err != nil {
		t.Fatalf("internal/testenv/install.sh installs nginx: %v", err)
	}
	ln := listen(t)
	address = ln.Addr().String()
	_ = ln.Close() // nginx cannot be told to choose
	conf := fmt.Sprintf(`
daemon off; master_process off; pid nginx.pid; error_log stderr;
events {}
http {
  access_log off; client_body_temp_path tmp; proxy_temp_path tmp; fastcgi_temp_path tmp; uwsgi_temp_path tmp; scgi_temp_path tmp;
  server {
    listen %s ssl http2;
    ssl_certificate server.pem; ssl_certificate_key server.key; ssl_protocols TLSv1.2 TLSv1.3; ssl_session_cache shared:s:1m;
    ssl_client_certificate ca.pem; ssl_verify_client optional;
    location /closing { keepalive_timeout 0; return 200 "nginx: $server_protocol $ssl_session_reused"; }
    location / { return 200 "nginx: $server_protocol $ssl_client_verify $ssl_client_s_dn $ssl_server_name"; }
  }
}`, address)
	file := securetest.Write(t, dir, "nginx.conf", []byte(conf))
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), path, "-p", dir, "-c", file, "-e", "stderr")
	var said strings.Builder
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-done
	})
	for end := time.Now().Add(patience); ; {
		nc, err := new(net.Dialer).DialContext(t.Context(), "tcp", address)
		if err == nil {
			_ = nc.Close()
			return address
		}
		if time.Now().After(end) {
			t.Fatalf("nginx does not listen: %v", err)
		}
	}
}

func TestTLSToNginx(t *testing.T) {
	dir, _ := tlsFiles(t)
	nginx := startNginx(t, dir)
	start := func(t *testing.T, protocol, tls string) string {
		t.Helper()
		return startSidecarIn(t, dir, strings.NewReplacer("APP", nginx, "PROTOCOL", protocol, "TLS", tls).Replace(nginxYAML)).address()
	}
	for name, c := range map[string]struct{ protocol, tls, want string }{
		"by its address":     {"", "{ca: ca.pem}", "200 nginx: HTTP/1.1 NONE"},
		"by a name":          {"", "{ca: ca.pem, serverName: localhost}", "200 nginx: HTTP/1.1 NONE  localhost"},
		"by identity":        {"", `{ca: ca.pem, identities: ["spiffe://mesh/server"]}`, "200 nginx: HTTP/1.1"},
		"with a certificate": {"", "{ca: ca.pem, cert: client.pem, key: client.key}", "200 nginx: HTTP/1.1 SUCCESS CN=client"},
		"over HTTP/2":        {"protocol: http2,", "{ca: ca.pem, cert: client.pem, key: client.key}", "200 nginx: HTTP/2.0 SUCCESS CN=client"},
		"anybody":            {"", "{insecureSkipVerify: true}", "200 nginx: HTTP/1.1"},
		"another name":       {"", "{ca: ca.pem, serverName: elsewhere}", "503 "},
		"another identity":   {"", `{ca: ca.pem, identities: ["spiffe://mesh/x"]}`, "503 "},
		"the system's":       {"", "{}", "503 "},
		"a name over HTTP/2": {"protocol: http2,", "{ca: ca.pem, serverName: elsewhere}", "503 "},
	} {
		t.Run(name, func(t *testing.T) {
			got := askTLS(t, start(t, c.protocol, c.tls), "/")
			if !strings.HasPrefix(got, c.want) {
				t.Errorf("%q, expected %q", got, c.want)
			}
			if strings.HasPrefix(c.want, "503") && (!strings.Contains(got, "certificate") || !strings.Contains(got, nginx)) {
				t.Errorf("it does not say whose certificate: %s", got)
			}
		})
	}
	t.Run("new connections resume", func(t *testing.T) {
		address := start(t, "protocol: http,", "{ca: ca.pem}")
		for i, want := range []string{"200 nginx: HTTP/1.1 .", "200 nginx: HTTP/1.1 r", "200 nginx: HTTP/1.1 r"} {
			if got := askTLS(t, address, "/closing"); got != want {
				t.Errorf("request %d: %q, expected %q", i, got, want)
			}
		}
	})
}

// Both ways at once: app, sidecar, TLS with certificates of both sides, sidecar,
// app.
func TestTLSBetweenSidecars(t *testing.T) {
	dir, _ := tlsFiles(t)
	inbound := startTLS(t, dir, "{certificates: [{cert: server.pem, key: server.key}], clients: {ca: ca.pem}}")
	outbound := func(protocol, tls string) string {
		yaml := strings.NewReplacer("APP", inbound.address(), "PROTOCOL", protocol, "TLS", tls).Replace(nginxYAML)
		return startSidecarIn(t, dir, yaml).address()
	}
	const ours = `{ca: ca.pem, identities: ["spiffe://mesh/server"], cert: client.pem, key: client.key}`
	for _, protocol := range []string{"", "protocol: http,", "protocol: http2,"} {
		address := outbound(protocol, ours)
		for range 3 {
			if got := askTLS(t, address, "/x"); got != "200 app: GET /x 0\n" {
				t.Errorf("%s %q", protocol, got)
			}
		}
	}
	for _, protocol := range []string{"protocol: http,", "protocol: http2,"} {
		got := askTLS(t, outbound(protocol, `{ca: ca.pem, identities: ["spiffe://mesh/server"], cert: stranger.pem, key: stranger.key}`), "/x")
		if strings.HasPrefix(got, "200") {
			t.Errorf("%s a stranger: %q", protocol, got)
		}
	}
}

// askTLS sends a request for the service app, and returns status and body.
func askTLS(t *testing.T, address, path string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+path, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	r.Host = "app"
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%d %s", res.StatusCode, body)
}

func TestTLSBadFilesAreRefusedAtTheStart(t *testing.T) {
	dir, _ := tlsFiles(t)
	securetest.Write(t, dir, "empty.pem", nil)
	securetest.Write(t, dir, "sidecar.yaml", []byte(`
listen: {outbound: "127.0.0.1:0", admin: "off"}
tls:
  outbound:
    certificates:
      - {cert: server.pem, key: other.key}
      - {cert: missing.pem, key: server.key}
    clients: {ca: empty.pem}
upstreams:
  app: {endpoints: [localhost:443], tls: {ca: server.key}}
`))
	out, err := tool(t, dir, "", build(t), "check", "-c", filepath.Join(dir, "sidecar.yaml"))
	if err == nil {
		t.Error("it was accepted")
	}
	wantParts(t, out,
		"sidecar.yaml:6:33: tls.outbound.certificates[0].key: "+dir+"/other.key is not the key of the certificate",
		"sidecar.yaml:7:16: tls.outbound.certificates[1].cert: cannot be read: open "+dir+"/missing.pem",
		"sidecar.yaml:8:19: tls.outbound.clients.ca: "+dir+"/empty.pem holds no certificate",
		"sidecar.yaml:10:47: upstreams.app.tls.ca: "+dir+`/server.key holds a "PRIVATE KEY"`,
	)
	if strings.Contains(out, "BEGIN") || !strings.HasPrefix(out, dir) {
		t.Errorf("a file's content, or no place:\n%s", out)
	}
	if _, err := os.Stat(filepath.Join(dir, "server.key")); err != nil {
		t.Error(err)
	}
}

// keptClient is a client that keeps its connection.
type keptClient struct {
	client  *http.Client
	address string
	dialed  int
}

func tlsClient(t *testing.T, dir, address string) *keptClient {
	t.Helper()
	pem, err := os.ReadFile(filepath.Join(dir, "ca.pem"))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	c := &keptClient{address: address}
	transport := &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			c.dialed++
			return new(net.Dialer).DialContext(ctx, network, address)
		},
	}
	t.Cleanup(transport.CloseIdleConnections)
	c.client = &http.Client{Transport: transport, Timeout: patience}
	return c
}

func (c *keptClient) get(t *testing.T, path string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+c.address+path, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	res, err := c.client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	if body, err := io.ReadAll(res.Body); err != nil || string(body) != "app: GET "+path+" 0\n" {
		t.Errorf("%q, %v", body, err)
	}
}
