package secure

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/outrigger-mesh/outrigger/sidecar/internal/secure/securetest"
)

var versions = map[string]uint16{"1.2": tls.VersionTLS12, "1.3": tls.VersionTLS13}

// cell is a Source that a test changes.
type cell[T any] struct{ p atomic.Pointer[T] }

func (c *cell[T]) Current() *T { return c.p.Load() }

func newCell[T any](v *T) *cell[T] {
	c := &cell[T]{}
	c.p.Store(v)
	return c
}

func keyPair(t testing.TB, p securetest.Pair) *KeyPair {
	t.Helper()
	k, err := ParseKeyPair(p.Cert, p.Key, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func bundle(t testing.TB, all ...*securetest.CA) *Bundle {
	t.Helper()
	var pem []byte
	for _, ca := range all {
		pem = append(pem, ca.PEM...)
	}
	b, err := ParseBundle(pem, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// served is how one connection went.
type served struct {
	ours, theirs tls.ConnectionState
	err          error // of the server's handshake
	clientErr    error // of the client's, or of its first read
}

// connect has a client speak to the listener, and read the byte that it is
// sent: with it come the session's tickets, or the reason of a refusal.
func connect(t testing.TB, l *Listener, client *tls.Config) served {
	t.Helper()
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	done := make(chan served, 1)
	go func() {
		var s served
		nc, err := ln.Accept()
		if err != nil {
			done <- served{err: err}
			return
		}
		c := tls.Server(nc, l.Config())
		if s.err = c.HandshakeContext(ctx); s.err == nil {
			_, _ = c.Write([]byte("x"))
			s.ours = c.ConnectionState()
			l.Established(&s.ours)
		} else {
			l.Failed(s.err)
		}
		_, _ = io.Copy(io.Discard, nc) // until the client has read
		_ = c.Close()
		done <- s
	}()
	nc, err := new(net.Dialer).DialContext(ctx, "tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	c := tls.Client(nc, client)
	err = c.HandshakeContext(ctx)
	if err == nil {
		_, err = io.ReadFull(c, make([]byte, 1))
	}
	theirs := c.ConnectionState()
	_ = nc.Close()
	s := <-done
	s.theirs, s.clientErr = theirs, err
	return s
}

// fixture is a listener that has one certificate, and a client that trusts it.
type fixture struct {
	ca      *securetest.CA
	pairs   *cell[KeyPair]
	l       *Listener
	metrics *prometheus.Registry
}

func newFixture(t testing.TB, o ServerOptions) *fixture {
	t.Helper()
	f := &fixture{ca: securetest.NewCA(t, "servers"), metrics: prometheus.NewRegistry()}
	f.pairs = newCell(keyPair(t, f.ca.Issue(t, securetest.Leaf{Name: "first", Hosts: []string{"server"}})))
	f.l = NewListener("inbound", NewMetrics(f.metrics))
	o.Certificates = append([]Source[KeyPair]{f.pairs}, o.Certificates...)
	f.l.Set(o)
	return f
}

func (f *fixture) client() *tls.Config {
	return &tls.Config{ServerName: "server", RootCAs: f.ca.Pool, MinVersion: tls.VersionTLS12, ClientSessionCache: tls.NewLRUClientSessionCache(8)}
}

func TestListenerServesWhatIsInForceNow(t *testing.T) {
	f := newFixture(t, ServerOptions{})
	if f.l.Mode() != Strict {
		t.Errorf("mode %q", f.l.Mode())
	}
	if s := connect(t, f.l, f.client()); s.err != nil || s.clientErr != nil || Name(s.theirs.PeerCertificates[0]) != "first" || s.ours.Version != tls.VersionTLS13 {
		t.Fatalf("%+v", s)
	}
	f.pairs.p.Store(keyPair(t, f.ca.Issue(t, securetest.Leaf{Name: "second", Hosts: []string{"server"}})))
	if s := connect(t, f.l, f.client()); s.err != nil || Name(s.theirs.PeerCertificates[0]) != "second" {
		t.Errorf("%+v", s)
	}
	if n := sample(t, f.metrics, "outrigger_tls_handshakes_total", map[string]string{"listener": "inbound", "version": "1.3", "alpn": "none"}); n != 2 {
		t.Errorf("%v handshakes counted", n)
	}
	f.l.Set(ServerOptions{})
	if f.l.Mode() != Off || (*Listener)(nil).Mode() != Off {
		t.Error("on without a certificate")
	}
}

func TestListenerChoosesByName(t *testing.T) {
	other := securetest.NewCA(t, "others")
	f := newFixture(t, ServerOptions{Certificates: []Source[KeyPair]{
		Fixed(keyPair(t, other.Issue(t, securetest.Leaf{Name: "other", Hosts: []string{"other", "*.wild.example"}}))),
	}})
	for asked, want := range map[string]string{"server": "first", "other": "other", "a.wild.example": "other", "unknown": "first", "": "first"} {
		c := f.client()
		c.ServerName, c.InsecureSkipVerify = asked, true
		if s := connect(t, f.l, c); s.err != nil || Name(s.theirs.PeerCertificates[0]) != want {
			t.Errorf("%q: %v %v", asked, s.err, s.theirs.PeerCertificates)
		}
	}
}

func TestListenerAgreesOnAProtocol(t *testing.T) {
	f := newFixture(t, ServerOptions{})
	for name, c := range map[string]struct {
		offered []string
		want    string
		reason  Reason
	}{
		"both":    {[]string{"http/1.1", "h2"}, "h2", ""},
		"HTTP/1":  {[]string{"http/1.1"}, "http/1.1", ""},
		"none":    {nil, "", ""},
		"neither": {[]string{"spdy/3"}, "", BadProtocol},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := f.client()
			cfg.NextProtos = c.offered
			s := connect(t, f.l, cfg)
			if c.reason != "" {
				if s.err == nil || ReasonOf(s.err) != c.reason {
					t.Errorf("%v", s.err)
				}
			} else if s.err != nil || s.ours.NegotiatedProtocol != c.want {
				t.Errorf("%q, %v", s.ours.NegotiatedProtocol, s.err)
			}
		})
	}
}

func TestListenerRefuses(t *testing.T) {
	clients, strangers := securetest.NewCA(t, "clients"), securetest.NewCA(t, "strangers")
	mtls := ServerOptions{Clients: Fixed(bundle(t, clients)), Require: true}
	given := ServerOptions{Clients: Fixed(bundle(t, clients))}
	certificate := func(c *tls.Config, p securetest.Pair) {
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &p.TLS, nil }
	}
	past := securetest.Leaf{NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: time.Now().Add(-time.Hour)}
	for name, c := range map[string]struct {
		o      ServerOptions
		client func(*tls.Config)
		want   Reason // empty: it is taken
	}{
		"an old version": {ServerOptions{}, func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11 }, BadVersion},
		"1.2 where 1.3 is asked for": {
			ServerOptions{MinVersion: tls.VersionTLS13}, func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 }, BadVersion,
		},
		"a weak cipher": {ServerOptions{}, func(c *tls.Config) {
			c.MaxVersion, c.CipherSuites = tls.VersionTLS12, []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA, tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA}
		}, BadCipher},
		"a client that does not trust us": {ServerOptions{}, func(c *tls.Config) { c.RootCAs = strangers.Pool }, Refused},
		"no certificate":                  {mtls, func(*tls.Config) {}, NoCertificate},
		"no certificate in 1.2":           {mtls, func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 }, NoCertificate},
		"a stranger's":                    {mtls, func(c *tls.Config) { certificate(c, strangers.Issue(t, securetest.Leaf{})) }, UnknownCA},
		"an expired one":                  {mtls, func(c *tls.Config) { certificate(c, clients.Issue(t, past)) }, Expired},
		"a stranger's that needs not be":  {given, func(c *tls.Config) { certificate(c, strangers.Issue(t, securetest.Leaf{})) }, UnknownCA},
		"a good one":                      {mtls, func(c *tls.Config) { certificate(c, clients.Issue(t, securetest.Leaf{})) }, ""},
		"none that needs not be":          {given, func(*tls.Config) {}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, c.o)
			cfg := f.client()
			c.client(cfg)
			s := connect(t, f.l, cfg)
			if c.want == "" {
				if s.err != nil || s.clientErr != nil {
					t.Errorf("%v, %v", s.err, s.clientErr)
				}
				return
			}
			if s.err == nil || s.clientErr == nil || ReasonOf(s.err) != c.want {
				t.Fatalf("server: %v, which is %s; client: %v", s.err, ReasonOf(errors.Join(s.err, io.EOF)), s.clientErr)
			}
			if n := sample(t, f.metrics, "outrigger_tls_handshake_failures_total", map[string]string{"listener": "inbound", "reason": string(c.want)}); n != 1 {
				t.Errorf("%v failures counted", n)
			}
		})
	}
}

func TestReasonOfWhatIsNoTLS(t *testing.T) {
	f := newFixture(t, ServerOptions{})
	for name, c := range map[string]struct {
		say  func(net.Conn)
		want Reason
	}{
		"plain text": {func(nc net.Conn) { _, _ = io.WriteString(nc, "GET / HTTP/1.1\r\n\r\n") }, NotTLS},
		"an end":     {func(nc net.Conn) { _ = nc.Close() }, Gone},
		"silence":    {func(net.Conn) {}, Timeout},
	} {
		t.Run(name, func(t *testing.T) {
			a, b := net.Pipe()
			defer func() { _, _ = a.Close(), b.Close() }()
			_ = a.SetDeadline(time.Now().Add(50 * time.Millisecond))
			go c.say(b)
			err := tls.Server(a, f.l.Config()).HandshakeContext(t.Context())
			if got := f.l.Failed(err); got != c.want {
				t.Errorf("%s: %v", got, err)
			}
		})
	}
	if ReasonOf(os.ErrPermission) != Other {
		t.Error("anything has a reason")
	}
}

// A session is resumed after a change that has nothing to do with trust, and
// clients whose authority has gone do not come in by an old session.
func TestListenerResumption(t *testing.T) {
	for name, v := range versions {
		t.Run(name, func(t *testing.T) {
			clients, next := securetest.NewCA(t, "clients"), securetest.NewCA(t, "next")
			trust := newCell(bundle(t, clients))
			o := ServerOptions{Clients: trust, Require: true}
			f := newFixture(t, o)
			cfg := f.client()
			cfg.MinVersion, cfg.MaxVersion = v, v
			p := clients.Issue(t, securetest.Leaf{URIs: []string{"spiffe://mesh/orders"}})
			cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &p.TLS, nil }
			check := func(what string, resumed bool) {
				t.Helper()
				s := connect(t, f.l, cfg)
				if s.err != nil || s.clientErr != nil || s.ours.DidResume != resumed || s.theirs.DidResume != resumed {
					t.Fatalf("%s: resumed %v, %v, %v", what, s.ours.DidResume, s.err, s.clientErr)
				}
				if id := Identity(s.ours.PeerCertificates); id != "spiffe://mesh/orders" {
					t.Errorf("%s: identity %q", what, id)
				}
			}
			check("the first time", false)
			check("the second time", true)
			f.pairs.p.Store(keyPair(t, f.ca.Issue(t, securetest.Leaf{Name: "second", Hosts: []string{"server"}})))
			check("with another certificate of ours", true)
			f.l.Set(ServerOptions{Certificates: []Source[KeyPair]{f.pairs}, Clients: trust, Require: true})
			check("after the configuration was read again", true)
			trust.p.Store(bundle(t, clients, next))
			check("with one more authority", true)

			trust.p.Store(bundle(t, next))
			s := connect(t, f.l, cfg)
			if s.err == nil || s.clientErr == nil || ReasonOf(s.err) != UnknownCA {
				t.Fatalf("without its authority: resumed %v, %v, %v", s.ours.DidResume, s.err, s.clientErr)
			}
			trust.p.Store(bundle(t, clients))
			if s := connect(t, f.l, cfg); s.err != nil {
				t.Fatalf("with its authority again: %v", s.err) // the client may have dropped its session
			}
			check("with its authority again, the second time", true)
			f.l.Set(ServerOptions{Certificates: []Source[KeyPair]{f.pairs}})
			if s := connect(t, f.l, cfg); s.err != nil || s.ours.DidResume || len(s.ours.PeerCertificates) != 0 {
				t.Errorf("where no certificates are asked for: %+v, %v", s.ours.DidResume, s.err)
			}
		})
	}
}

// A session without a certificate does not stand for one.
func TestListenerResumptionDoesNotStandForACertificate(t *testing.T) {
	for name, v := range versions {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, ServerOptions{})
			cfg := f.client()
			cfg.MinVersion, cfg.MaxVersion = v, v
			if s := connect(t, f.l, cfg); s.err != nil {
				t.Fatal(s.err)
			}
			f.l.Set(ServerOptions{
				Certificates: []Source[KeyPair]{f.pairs}, Clients: Fixed(bundle(t, securetest.NewCA(t, "clients"))), Require: true,
			})
			if s := connect(t, f.l, cfg); s.err == nil || ReasonOf(s.err) != NoCertificate {
				t.Errorf("resumed %v, %v", s.ours.DidResume, s.err)
			}
		})
	}
}

func TestClient(t *testing.T) {
	servers, strangers, clients := securetest.NewCA(t, "servers"), securetest.NewCA(t, "strangers"), securetest.NewCA(t, "clients")
	ours := clients.Issue(t, securetest.Leaf{URIs: []string{"spiffe://mesh/orders"}})
	id := "spiffe://mesh/users"
	for name, c := range map[string]struct {
		leaf securetest.Leaf // of the server
		o    ClientOptions
		mtls bool
		want string // of the error; empty: none
	}{
		"the host's name":          {leaf: securetest.Leaf{Hosts: []string{"localhost"}}},
		"another name":             {leaf: securetest.Leaf{Hosts: []string{"users"}}, want: ": certificate not accepted"},
		"a name that is given":     {leaf: securetest.Leaf{Hosts: []string{"users"}}, o: ClientOptions{ServerName: "users"}},
		"another than is given":    {leaf: securetest.Leaf{Hosts: []string{"localhost"}}, o: ClientOptions{ServerName: "users"}, want: "users at localhost:"},
		"an address that is given": {leaf: securetest.Leaf{Hosts: []string{"10.1.2.3"}}, o: ClientOptions{ServerName: "10.1.2.3"}},
		"strangers":                {leaf: securetest.Leaf{Hosts: []string{"localhost"}}, o: ClientOptions{Roots: Fixed(bundle(t, strangers))}, want: "unknown authority"},
		"anybody":                  {leaf: securetest.Leaf{Hosts: []string{"elsewhere"}}, o: ClientOptions{Roots: Fixed(bundle(t, strangers)), InsecureSkipVerify: true}},
		"expired": {
			leaf: securetest.Leaf{Hosts: []string{"localhost"}, NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: time.Now().Add(-time.Hour)},
			want: "certificate has expired",
		},
		"an identity":                  {leaf: securetest.Leaf{URIs: []string{id}}, o: ClientOptions{Identities: []string{"spiffe://mesh/x", id}}},
		"an identity besides a name":   {leaf: securetest.Leaf{URIs: []string{id}, Hosts: []string{"elsewhere"}}, o: ClientOptions{Identities: []string{id}}},
		"another identity":             {leaf: securetest.Leaf{URIs: []string{id}}, o: ClientOptions{Identities: []string{"spiffe://mesh/x"}}, want: "the server is spiffe://mesh/users, expected spiffe://mesh/x"},
		"no identity":                  {leaf: securetest.Leaf{Hosts: []string{"localhost"}}, o: ClientOptions{Identities: []string{id}}, want: "has no SPIFFE ID"},
		"two identities":               {leaf: securetest.Leaf{URIs: []string{id, "spiffe://mesh/x"}}, o: ClientOptions{Identities: []string{id}}, want: "2 URIs"},
		"an identity of strangers":     {leaf: securetest.Leaf{URIs: []string{id}}, o: ClientOptions{Identities: []string{id}, Roots: Fixed(bundle(t, strangers))}, want: "unknown authority"},
		"our certificate":              {leaf: securetest.Leaf{Hosts: []string{"localhost"}}, o: ClientOptions{Certificate: Fixed(keyPair(t, ours))}, mtls: true},
		"without ours where it is due": {leaf: securetest.Leaf{Hosts: []string{"localhost"}}, mtls: true, want: "does it want a client certificate"},
	} {
		t.Run(name, func(t *testing.T) {
			if c.o.Roots == nil {
				c.o.Roots = Fixed(bundle(t, servers))
			}
			p := servers.Issue(t, c.leaf)
			cfg := &tls.Config{Certificates: []tls.Certificate{p.TLS}, MinVersion: tls.VersionTLS12, MaxVersion: tls.VersionTLS12}
			if c.mtls {
				cfg.ClientCAs, cfg.ClientAuth = clients.Pool, tls.RequireAndVerifyClientCert
			}
			client := NewClient(c.o)
			address := serveTLS(t, cfg)
			for range 2 { // the second time there is a session
				state, err := dial(t, client, address)
				if c.want == "" {
					if err != nil {
						t.Fatal(err)
					}
					continue
				}
				var h *HandshakeError
				if !errors.As(err, &h) || !strings.Contains(err.Error(), c.want) || h.Address != address {
					t.Errorf("resumed %v: %v, expected %q", state.DidResume, err, c.want)
				}
			}
		})
	}
}

// serveTLS answers each connection with a byte, and ends it when the client
// does. The address has the name localhost.
func serveTLS(t *testing.T, cfg *tls.Config) string {
	t.Helper()
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	go func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				c := tls.Server(nc, cfg)
				_, _ = c.Write([]byte("x"))
				_, _ = io.Copy(io.Discard, nc)
				_ = nc.Close()
			}()
		}
	}()
	_, port, _ := net.SplitHostPort(ln.Addr().String())
	return "localhost:" + port
}

func dial(t *testing.T, c *Client, address string, protocols ...string) (tls.ConnectionState, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	_, port, _ := net.SplitHostPort(address)
	nc, err := new(net.Dialer).DialContext(ctx, "tcp", "127.0.0.1:"+port)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = nc.Close() }()
	conn, err := c.Handshake(ctx, nc, address, protocols...)
	if err != nil {
		return tls.ConnectionState{}, err
	}
	if _, err := io.ReadFull(conn, make([]byte, 1)); err != nil {
		return tls.ConnectionState{}, err
	}
	return conn.ConnectionState(), nil
}

func TestClientSessionsEndWithWhatTheyWereMadeUnder(t *testing.T) {
	for name, v := range versions {
		t.Run(name, func(t *testing.T) {
			servers, next := securetest.NewCA(t, "servers"), securetest.NewCA(t, "next")
			id := "spiffe://mesh/users"
			p := servers.Issue(t, securetest.Leaf{URIs: []string{id}, Hosts: []string{"localhost"}})
			address := serveTLS(t, &tls.Config{Certificates: []tls.Certificate{p.TLS}, MinVersion: v, MaxVersion: v})
			for name, o := range map[string]ClientOptions{"by name": {}, "by identity": {Identities: []string{id}}} {
				t.Run(name, func(t *testing.T) {
					roots := newCell(bundle(t, servers))
					o.Roots = roots
					c := NewClient(o)
					for i, resumed := range []bool{false, true, true} {
						if s, err := dial(t, c, address); err != nil || s.DidResume != resumed {
							t.Fatalf("connection %d: resumed %v, %v", i, s.DidResume, err)
						}
					}
					roots.p.Store(bundle(t, next))
					var unknown x509.UnknownAuthorityError
					if s, err := dial(t, c, address); !errors.As(err, &unknown) {
						t.Errorf("resumed %v, %v", s.DidResume, err)
					}
				})
			}
		})
	}
}

func TestClientProtocols(t *testing.T) {
	ca := securetest.NewCA(t, "servers")
	p := ca.Issue(t, securetest.Leaf{Hosts: []string{"localhost"}})
	c := NewClient(ClientOptions{Roots: Fixed(bundle(t, ca))})
	both := serveTLS(t, &tls.Config{Certificates: []tls.Certificate{p.TLS}, NextProtos: []string{"h2", "http/1.1"}, MinVersion: tls.VersionTLS12})
	silent := serveTLS(t, &tls.Config{Certificates: []tls.Certificate{p.TLS}, MinVersion: tls.VersionTLS12})
	for _, x := range []struct {
		address string
		offered []string
		want    string
	}{
		{both, []string{ProtoHTTP2, ProtoHTTP1}, "h2"},
		{both, []string{ProtoHTTP1}, "http/1.1"},
		{silent, []string{ProtoHTTP2, ProtoHTTP1}, ""},
	} {
		if s, err := dial(t, c, x.address, x.offered...); err != nil || s.NegotiatedProtocol != x.want {
			t.Errorf("%v: %q, %v", x.offered, s.NegotiatedProtocol, err)
		}
	}
	if _, err := dial(t, c, silent, ProtoHTTP2); err == nil || !strings.Contains(err.Error(), "agrees to no protocol") {
		t.Errorf("HTTP/2 alone: %v", err)
	}
}

func TestClientSaysThatAServerSpeaksPlainText(t *testing.T) {
	a, b := net.Pipe()
	defer func() { _, _ = a.Close(), b.Close() }()
	go func() {
		_, _ = b.Read(make([]byte, 4096))
		_, _ = io.WriteString(b, "HTTP/1.1 400 Bad Request\r\n\r\n")
	}()
	_, err := NewClient(ClientOptions{}).Handshake(t.Context(), a, "10.0.0.1:80")
	if err == nil || !strings.Contains(err.Error(), "10.0.0.1:80: the server does not speak TLS") {
		t.Error(err)
	}
}

func TestServerName(t *testing.T) {
	c := NewClient(ClientOptions{})
	for address, want := range map[string]string{"users:443": "users", "10.0.0.1:443": "10.0.0.1", "[::1]:443": "::1", "[fe80::1%eth0]:443": "fe80::1"} {
		if got := c.serverName(address); got != want {
			t.Errorf("%s: %q", address, got)
		}
	}
}
