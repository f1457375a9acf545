package upstream

import (
	"context"
	"errors"
	"net"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/outrigger-mesh/outrigger/registry"
	"github.com/outrigger-mesh/outrigger/sidecar/internal/netio"
	"github.com/outrigger-mesh/outrigger/sidecar/internal/secure"
)

// secure speaks TLS over a connection that was just made, where the host's
// cluster does, within ctx. Protocols are offered, the preferred one first; alpn
// is the one that was agreed on, empty where none was. Nothing of any request
// was sent when it fails, and the connection is closed then.
func (h *host) secure(ctx context.Context, nc net.Conn, protocols ...string) (_ net.Conn, alpn string, err error) {
	if h.tls == nil {
		return nc, "", nil
	}
	below := netio.New(nc)
	above, err := h.tls.Handshake(ctx, below, h.address, protocols...)
	if err != nil {
		_ = below.Close()
		return nil, "", err
	}
	return netio.New(above), above.ConnectionState().NegotiatedProtocol, nil
}

// overHTTP2Protocols are offered for HTTP/2, by what the cluster is declared to
// speak: only where nothing is, HTTP/1.1 is an answer too.
func overHTTP2Protocols(declared registry.Protocol) []string {
	if declared == registry.ProtocolUndeclared {
		return []string{secure.ProtoHTTP2, secure.ProtoHTTP1}
	}
	return []string{secure.ProtoHTTP2}
}

// dial connects for a check, as requests do.
func (e *endpointCheck) dial(ctx context.Context, protocols ...string) (net.Conn, error) {
	nc, err := e.dialer.dial(ctx)
	if err != nil || e.tls == nil {
		return nc, err
	}
	above, err := e.tls.Handshake(ctx, nc, e.address, protocols...)
	if err != nil {
		_ = nc.Close()
		return nil, err
	}
	return above, nil
}

func (e *endpointCheck) scheme() string {
	if e.tls != nil {
		return "https"
	}
	return "http"
}

// credentials are those of a check by gRPC.
func (e *endpointCheck) credentials() credentials.TransportCredentials {
	if e.tls == nil {
		return insecure.NewCredentials()
	}
	return checkCredentials{client: e.tls, address: e.address}
}

// checkCredentials is TLS in the form of gRPC.
type checkCredentials struct {
	client  *secure.Client
	address string
}

// ClientHandshake is credentials.TransportCredentials'.
func (c checkCredentials) ClientHandshake(ctx context.Context, _ string, nc net.Conn) (net.Conn, credentials.AuthInfo, error) {
	t, err := c.client.Handshake(ctx, nc, c.address, secure.ProtoHTTP2)
	if err != nil {
		_ = nc.Close()
		return nil, nil, err
	}
	return t, credentials.TLSInfo{State: t.ConnectionState(), CommonAuthInfo: credentials.CommonAuthInfo{SecurityLevel: credentials.PrivacyAndIntegrity}}, nil
}

// ServerHandshake is credentials.TransportCredentials'.
func (c checkCredentials) ServerHandshake(net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, errors.New("checks are a client's")
}

// Info is credentials.TransportCredentials'.
func (c checkCredentials) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: "tls"}
}

// Clone is credentials.TransportCredentials'.
func (c checkCredentials) Clone() credentials.TransportCredentials { return c }

// OverrideServerName is credentials.TransportCredentials'.
func (c checkCredentials) OverrideServerName(string) error { return nil }

// renew has every endpoint begin anew: no connection that was made with other
// TLS is used again. mu of the cluster is held.
func (c *Cluster) renew() {
	old := c.hosts
	c.hosts = map[string]*host{}
	c.setEndpoints(c.given)
	for _, h := range old {
		h.close()
	}
}
