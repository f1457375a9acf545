package ads_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/outrigger-mesh/outrigger/internal/ads"
	"github.com/outrigger-mesh/outrigger/internal/ads/adstest"
)

// doorkeeper notes the tokens that streams are opened with, and ends them.
type doorkeeper struct {
	discoveryv3.UnimplementedAggregatedDiscoveryServiceServer
	mu     sync.Mutex
	tokens []string
}

func (d *doorkeeper) DeltaAggregatedResources(s discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesServer) error {
	md, _ := metadata.FromIncomingContext(s.Context())
	d.mu.Lock()
	defer d.mu.Unlock()
	d.tokens = append(d.tokens, strings.Join(md.Get("authorization"), ","))
	return status.Error(codes.PermissionDenied, "not today")
}

func (d *doorkeeper) saw(token string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Contains(d.tokens, token)
}

func serveDoor(t *testing.T, opts ...grpc.ServerOption) (*doorkeeper, string) {
	t.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	d := &doorkeeper{}
	g := grpc.NewServer(opts...)
	discoveryv3.RegisterAggregatedDiscoveryServiceServer(g, d)
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := g.Serve(lis); err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	t.Cleanup(func() { g.Stop(); wg.Wait() })
	return d, lis.Addr().String()
}

func run(t *testing.T, o ads.DialOptions) *ads.Client {
	t.Helper()
	c := ads.New(ads.Options{
		Dial: o, Node: ads.Node{ID: "n"}, Backoff: ads.Backoff{Min: time.Millisecond, Max: 10 * time.Millisecond},
	}, ads.HandlerFunc(func(ads.Update) []ads.Rejection { return nil }))
	c.Subscribe(ads.ClusterType, "a")
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := c.Run(ctx); err != nil {
			t.Errorf("run: %v", err)
		}
	})
	t.Cleanup(func() { cancel(); wg.Wait() })
	return c
}

// selfSigned is a certificate for 127.0.0.1, and the file of who trusts it.
func selfSigned(t *testing.T) (tls.Certificate, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "control plane"},
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key},
		write(t, "ca.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
}

func write(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestTokenIsReadForEachStream(t *testing.T) {
	d, addr := serveDoor(t)
	token := write(t, "token", "first\n")
	c := run(t, ads.DialOptions{Server: addr, TokenFile: token})
	adstest.Eventually(t, "the token is sent", func() bool { return d.saw("Bearer first") })
	if err := os.WriteFile(token, []byte("second"), 0o600); err != nil {
		t.Fatal(err)
	}
	adstest.Eventually(t, "the renewed token is sent", func() bool { return d.saw("Bearer second") })
	adstest.Eventually(t, "the server's reason is told", func() bool {
		return strings.Contains(c.Status().LastError, "not today")
	})
}

func TestServerOfTheCAIsTrusted(t *testing.T) {
	cert, ca := selfSigned(t)
	d, addr := serveDoor(t, grpc.Creds(credentials.NewServerTLSFromCert(&cert)))
	run(t, ads.DialOptions{Server: addr, CAFile: ca, TokenFile: write(t, "token", "t")})
	adstest.Eventually(t, "a stream over TLS", func() bool { return d.saw("Bearer t") })
}

func TestServerOfAnotherCAIsNotTrusted(t *testing.T) {
	cert, _ := selfSigned(t)
	_, other := selfSigned(t)
	d, addr := serveDoor(t, grpc.Creds(credentials.NewServerTLSFromCert(&cert)))
	c := run(t, ads.DialOptions{Server: addr, CAFile: other, TokenFile: write(t, "token", "t")})
	adstest.Eventually(t, "the reason is told", func() bool { return strings.Contains(c.Status().LastError, "certificate") })
	if d.saw("Bearer t") {
		t.Error("it was sent the token")
	}
}

func TestWhatKeepsFromDialingIsTold(t *testing.T) {
	empty := write(t, "empty", "")
	for _, tc := range []struct {
		name string
		o    ads.DialOptions
		want string
	}{
		{"no port", ads.DialOptions{Server: "127.0.0.1"}, "has no port"},
		{"no CA file", ads.DialOptions{Server: "127.0.0.1:1", CAFile: "nowhere.pem"}, "read the control plane's CA: open nowhere.pem"},
		{"empty CA file", ads.DialOptions{Server: "127.0.0.1:1", CAFile: empty}, "holds no certificate"},
		{"token in plain text to elsewhere", ads.DialOptions{
			Server: "192.0.2.1:1", Plaintext: true, TokenFile: empty,
		}, "require transport level security"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			conn, err := ads.Dial(tc.o)
			if err == nil {
				if err := conn.Close(); err != nil {
					t.Error(err)
				}
				t.Fatal("no error")
			}
			if !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v, want …%s…", err, tc.want)
			}
		})
	}
}
