package conformance

import (
	"crypto/tls"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/outrigger-mesh/outrigger/sidecar/internal/secure/securetest"
)

// The sidecars of secureMesh: TLS from the client to the first, and TLS with
// certificates on both sides between the two.
const (
	outboundTLSYAML = `
listen: {outbound: "127.0.0.1:0", admin: "off"}
tls: {outbound: {certificates: [{cert: DIR/out.pem, key: DIR/out.key}]}}
upstreams:
  grpc-test:
    endpoints: ["APP"]
    tls: {ca: DIR/ca.pem, cert: DIR/out.pem, key: DIR/out.key, identities: ["spiffe://mesh.test/in"]}
drain: {delay: 1ms, timeout: 2s}
middleware: {outbound: []}
`
	inboundTLSYAML = `
app: {name: app, address: "APP", health: {interval: 1h}}
listen: {inbound: "127.0.0.1:0", outbound: "off", admin: "off"}
tls: {inbound: {certificates: [{cert: DIR/in.pem, key: DIR/in.key}], clients: {ca: DIR/ca.pem, require: CLIENTS}}}
discovery: {registry: {}}
drain: {delay: 1ms, timeout: 2s}
middleware: {inbound: []}
`
)

// secured makes an authority, and the certificates of two sidecars for the
// service and for 127.0.0.1, and gives the folder that they are in.
func secured(t *testing.T) (ca *securetest.CA, dir string) {
	t.Helper()
	ca, dir = securetest.NewCA(t, "mesh"), t.TempDir()
	securetest.Write(t, dir, "ca.pem", ca.PEM)
	for _, name := range []string{"in", "out"} {
		ca.Issue(t, securetest.Leaf{Name: name, Hosts: []string{service, "127.0.0.1"}, URIs: []string{"spiffe://mesh.test/" + name}}).Write(t, dir, name)
	}
	return ca, dir
}

// startSecureMesh is startMesh with TLS; caFile is whom the client has to trust.
func startSecureMesh(t *testing.T, app string) (address, caFile string, ca *securetest.CA) {
	t.Helper()
	ca, dir := secured(t)
	in := startSidecar(t, strings.NewReplacer("APP", app, "DIR", dir, "CLIENTS", "true").Replace(inboundTLSYAML))
	out := startSidecar(t, strings.NewReplacer("APP", in.address(), "DIR", dir).Replace(outboundTLSYAML))
	return out.address(), filepath.Join(dir, "ca.pem"), ca
}

// TestH2SpecOverTLS is TestH2Spec on a port that speaks TLS, where ALPN chooses
// HTTP/2.
func TestH2SpecOverTLS(t *testing.T) {
	_, dir := secured(t)
	app := startAppH2(t, counting)
	s := startSidecar(t, strings.NewReplacer("APP", app, "DIR", dir, "CLIENTS", "false").Replace(inboundTLSYAML))
	h2spec(t, "tls", s.address(), "--tls", "--insecure")
}

// TestGRPCInteropOverTLS is TestGRPCInterop with TLS up to the app's sidecar.
func TestGRPCInteropOverTLS(t *testing.T) {
	t.Parallel()
	address, caFile, _ := startSecureMesh(t, startPeer(t, peer(t, "interopserver")))
	interop(t, "-target", address, "-authority", service, "-ca", caFile, "-server-name", service)
}

// TestGRPCOfNodeOverTLS is TestGRPCOfNode with TLS up to the app's sidecar.
func TestGRPCOfNodeOverTLS(t *testing.T) {
	t.Parallel()
	address, caFile, _ := startSecureMesh(t, startPeer(t, nodePeer(t, "server.js")...))
	out, err := runPeer(t, time.Minute, append(nodePeer(t, "client.js"), address, service, caFile)...)
	if diff := cmp.Diff(nodeWant, out); diff != "" || err != nil {
		t.Errorf("%v; through two sidecars it is not what it is without (-without +through):\n%s", err, diff)
	}
}

// TestCurlOverTLS is TestCurlOverHTTP2 with TLS, where curl and the sidecar agree
// on the version by ALPN.
func TestCurlOverTLS(t *testing.T) {
	t.Parallel()
	address, caFile, _ := startSecureMesh(t, startAppH2(t, sized))
	_, port, _ := strings.Cut(address, ":")
	for flag, version := range map[string]string{"--http2": "2", "--http1.1": "1.1"} {
		t.Run(flag, func(t *testing.T) {
			t.Parallel()
			more := fmt.Sprintf("%s --cacert %s --connect-to ::127.0.0.1:%s", flag, caFile, port)
			curl(t, "https://"+service, more, version)
		})
	}
}

// TestH2LoadOverTLS sends many requests in TLS.
func TestH2LoadOverTLS(t *testing.T) {
	t.Parallel()
	address, _, _ := startSecureMesh(t, startAppH2(t, counting))
	h2load(t, "https://"+address, 1000, "-c", "10", "-m", "50")
}

// TestTransportOverTLS: net/http's client chooses HTTP/2 by itself.
func TestTransportOverTLS(t *testing.T) {
	t.Parallel()
	address, _, ca := startSecureMesh(t, startAppH2(t, counting))
	tr := transportH2(t, address, &tls.Config{RootCAs: ca.Pool, ServerName: service, MinVersion: tls.VersionTLS12})
	got := ask{method: "POST", target: "/x", body: "abc"}.askAt(t, tr, "https://"+service)
	if got.Status != 200 || got.Body != "POST 3 bytes" {
		t.Errorf("got %d %q", got.Status, got.Body)
	}
}
