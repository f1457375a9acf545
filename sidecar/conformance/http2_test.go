package conformance

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// The service of the HTTP/2 tests, under a name that is no host of anything.
const service = "grpc-test"

const (
	// outboundH2YAML is a sidecar for which the app is the service of the tests.
	outboundH2YAML = `
listen: {outbound: "127.0.0.1:0", admin: "off"}
upstreams: {grpc-test: {endpoints: ["APP"], protocol: "PROTOCOL"}}
drain: {delay: 1ms, timeout: 2s}
middleware: {outbound: []}
`
	inboundH2YAML = `
app: {name: app, ports: [{name: http, address: "APP", protocol: "PROTOCOL"}], health: {interval: 1h}}
listen: {inbound: "127.0.0.1:0", outbound: "off", admin: "off"}
discovery: {registry: {}}
drain: {delay: 1ms, timeout: 2s}
middleware: {inbound: []}
`
)

// startMesh is the way of a request through the mesh: a sidecar beside the
// client, whose address it gives, and one beside the app. What the app speaks is
// not declared.
func startMesh(t *testing.T, app string) (address string) {
	t.Helper()
	return startMeshOf(t, app, "")
}

// startMeshOf is startMesh for an app of which it is declared what it speaks.
func startMeshOf(t *testing.T, app, protocol string) (address string) {
	t.Helper()
	in := startSidecar(t, strings.NewReplacer("APP", app, "PROTOCOL", protocol).Replace(inboundH2YAML))
	return startSidecar(t, strings.NewReplacer("APP", in.address(), "PROTOCOL", protocol).Replace(outboundH2YAML)).address()
}

// startAppH2 is an app that speaks HTTP/1.1, and HTTP/2 by prior knowledge.
func startAppH2(t *testing.T, h http.Handler) (address string) {
	t.Helper()
	return startAppOf(t, h, true)
}

// startAppOf is startAppH2, with HTTP/1.1 or without.
func startAppOf(t *testing.T, h http.Handler, http1 bool) (address string) {
	t.Helper()
	app := httptest.NewUnstartedServer(h)
	app.Config.Protocols = new(http.Protocols)
	app.Config.Protocols.SetHTTP1(http1)
	app.Config.Protocols.SetUnencryptedHTTP2(true)
	app.Config.ErrorLog = nil
	app.Start()
	t.Cleanup(func() {
		app.CloseClientConnections()
		app.Close()
	})
	return app.Listener.Addr().String()
}

// transportH2 is a client that speaks HTTP/2 and nothing else, with an address,
// whatever a request's URL says.
func transportH2(t *testing.T, address string, secure *tls.Config) *http.Transport {
	t.Helper()
	tr := &http.Transport{
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, address)
		},
		TLSClientConfig:    secure,
		DisableCompression: true,
		Protocols:          new(http.Protocols),
	}
	tr.Protocols.SetHTTP2(secure != nil)
	tr.Protocols.SetUnencryptedHTTP2(secure == nil)
	t.Cleanup(tr.CloseIdleConnections)
	return tr
}
