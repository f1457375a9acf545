package ads

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"

	"github.com/outrigger-mesh/outrigger/registry"
)

// DialOptions say how a control plane is reached.
type DialOptions struct {
	Server string // host:port
	// TLS is used as it is, if set. Otherwise CAFile, a PEM file, makes TLS
	// that trusts what it holds; without it, TLS trusts the system's roots.
	// A server on loopback is spoken to in plain text unless one of the two is
	// set, others only where Plaintext says so.
	TLS       *tls.Config
	CAFile    string
	Plaintext bool
	// TokenFile holds a bearer token. It is read for each stream, so that a
	// renewed token is found. It is never sent in plain text to another machine.
	TokenFile string
	// MaxMessage bounds a received message, in bytes. Zero: DefaultMaxMessage.
	MaxMessage int
}

// DefaultMaxMessage bounds a received message, in bytes.
const DefaultMaxMessage = 64 << 20

// The keepalive finds a server that is frozen or cut off: without an answer it
// is given up after the sum of the two. Servers of this project permit a ping
// each 5 s.
const (
	keepaliveTime    = 10 * time.Second
	keepaliveTimeout = 5 * time.Second
	keepaliveMax     = 5 * time.Minute // what a server of gRPC permits by default
	connectTimeout   = 5 * time.Second
)

// Dial makes a connection for the stream to a control plane; nothing is sent
// before its first use. It does not use the proxy of the environment: in a
// mesh that is often the sidecar itself.
func Dial(o DialOptions) (*grpc.ClientConn, error) { return dial(o, keepaliveTime) }

func dial(o DialOptions, ping time.Duration) (*grpc.ClientConn, error) {
	if err := registry.CheckHostPort(o.Server, false); err != nil {
		return nil, fmt.Errorf("address of the control plane: %w", err)
	}
	creds, err := o.credentials()
	if err != nil {
		return nil, err
	}
	size := o.MaxMessage
	if size <= 0 {
		size = DefaultMaxMessage
	}
	opts := []grpc.DialOption{
		grpc.WithTransportCredentials(creds),
		grpc.WithNoProxy(),
		grpc.WithDisableServiceConfig(),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(size)),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: ping, Timeout: keepaliveTimeout}),
		// Each attempt dials anew, so that gRPC's own back-off has no say;
		// this only bounds one attempt.
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: backoff.DefaultConfig, MinConnectTimeout: connectTimeout}),
	}
	if o.TokenFile != "" {
		opts = append(opts, grpc.WithPerRPCCredentials(tokenFile{
			path:  o.TokenFile,
			plain: loopback(o.Server),
		}))
	}
	conn, err := grpc.NewClient(o.Server, opts...)
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", o.Server, err)
	}
	return conn, nil
}

func (o DialOptions) credentials() (credentials.TransportCredentials, error) {
	switch {
	case o.TLS != nil:
		return credentials.NewTLS(o.TLS.Clone()), nil
	case o.CAFile != "":
		pem, err := readBounded(o.CAFile)
		if err != nil {
			return nil, fmt.Errorf("read the control plane's CA: %w", err)
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("read the control plane's CA: %s holds no certificate", o.CAFile)
		}
		return credentials.NewTLS(&tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}), nil
	case o.Plaintext || loopback(o.Server):
		return insecure.NewCredentials(), nil
	}
	return credentials.NewTLS(&tls.Config{MinVersion: tls.VersionTLS12}), nil
}

// loopback reports whether server cannot be another machine.
func loopback(server string) bool {
	host, _, err := net.SplitHostPort(server)
	if err != nil {
		return false
	}
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}

// tokenFile sends a file's content as a bearer token.
type tokenFile struct {
	path  string
	plain bool // whether it may be sent in plain text
}

func (t tokenFile) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	b, err := readBounded(t.path)
	if err != nil {
		return nil, fmt.Errorf("read the control plane's token: %w", err)
	}
	token := strings.TrimSpace(string(b))
	if token == "" {
		return nil, fmt.Errorf("read the control plane's token: %s is empty", t.path)
	}
	return map[string]string{"authorization": "Bearer " + token}, nil
}

func (t tokenFile) RequireTransportSecurity() bool { return !t.plain }

// maxFile bounds a CA or token file, in bytes.
const maxFile = 1 << 20

func readBounded(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	if len(b) > maxFile {
		return nil, fmt.Errorf("%s is larger than %d bytes", path, maxFile)
	}
	return b, nil
}
