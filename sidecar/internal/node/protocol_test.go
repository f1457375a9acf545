package node

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	microregistry "go-micro.dev/v4/registry"
	"golang.org/x/net/http2"

	"github.com/outrigger-mesh/outrigger/registry/micro"
)

// versions is an app that speaks HTTP/1.1 and HTTP/2, and says which.
func versions(t *testing.T) string {
	t.Helper()
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.Proto) }))
	s.Config.Protocols = new(http.Protocols)
	s.Config.Protocols.SetHTTP1(true)
	s.Config.Protocols.SetUnencryptedHTTP2(true)
	s.Start()
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

// client2 asks over HTTP/2, on connections that it keeps.
func client2(t *testing.T) *http.Client {
	tr := &http2.Transport{AllowHTTP: true, DialTLSContext: func(ctx context.Context, network, address string, _ *tls.Config) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, address)
	}}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

// TestTheProtocolOfAPort says how the app is spoken to and what is registered,
// and not what its listener takes: a change of it closes no connection.
func TestTheProtocolOfAPort(t *testing.T) {
	app := versions(t)
	const text = `
app: {name: orders, health: {interval: 5ms, healthyAfter: 1}, ports: [{name: web, address: "%s"%s}]}
listen: {inbound: "127.0.0.1:0", outbound: off, admin: off}
drain: {delay: 1ms}
`
	services := make(chan *microregistry.Service, 100)
	known := &recorded{}
	r := startFile(t, fmt.Sprintf(text, app, ""), func(o *Options) { o.Registry = kept{known, services} })
	one := &http.Client{Transport: &http.Transport{}}
	t.Cleanup(one.CloseIdleConnections)
	two := client2(t)
	ask := func(c *http.Client) string {
		res, err := c.Get("http://" + r.address("inbound/web") + "/")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = res.Body.Close() }()
		b, err := io.ReadAll(res.Body)
		if err != nil || res.StatusCode != 200 {
			t.Fatalf("%d %q (%v)", res.StatusCode, b, err)
		}
		return string(b)
	}
	before := r.address("inbound/web")
	door := r.doors.find("inbound/web")
	for _, tt := range []struct{ key, registered, one, two string }{
		{"", "", "HTTP/1.1", "HTTP/2.0"},
		{", protocol: grpc", "grpc", "HTTP/2.0", "HTTP/2.0"},
		{", protocol: http", "http", "HTTP/1.1", "HTTP/1.1"},
		{", protocol: http2", "http2", "HTTP/2.0", "HTTP/2.0"},
	} {
		if tt.key != "" {
			r.save(fmt.Sprintf(text, app, tt.key))
		}
		if got := ask(one) + " " + ask(two); got != tt.one+" "+tt.two {
			t.Errorf("%s: the app is spoken to in %s, want %s and %s", tt.key, got, tt.one, tt.two)
		}
		eventually(t, "it is registered so", func() bool {
			for {
				select {
				case s := <-services:
					if s.Nodes[0].Metadata[micro.KeyProtocol] == tt.registered {
						instances, err := micro.Instances(s, micro.Defaults{})
						if err != nil || string(instances[0].Protocol) != tt.registered || instances[0].PortNumber != 80 {
							t.Errorf("registered %+v (%v)", instances, err)
						}
						return true
					}
				default:
					return false
				}
			}
		})
	}
	if r.address("inbound/web") != before || r.doors.find("inbound/web") != door {
		t.Error("the listener is another one")
	}
	if s := strings.Join(known.list(), " "); strings.Contains(s, "deregister") {
		t.Errorf("it was not registered all the time: %s", s)
	}
}

// kept passes on what is registered.
type kept struct {
	*recorded
	services chan *microregistry.Service
}

// Register is microregistry.Registry's.
func (k kept) Register(s *microregistry.Service, o ...microregistry.RegisterOption) error {
	select {
	case k.services <- s:
	default: // it is renewed again and again
	}
	return k.recorded.Register(s, o...)
}
