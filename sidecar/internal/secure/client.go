package secure

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

// ClientOptions is how endpoints are spoken to with TLS.
type ClientOptions struct {
	Roots       Source[Bundle]  // nil: the system's authorities
	Certificate Source[KeyPair] // ours, for endpoints that ask for one; nil: none
	// ServerName is asked for, and verified; empty: the host of the endpoint's
	// address.
	ServerName string
	// Identities are SPIFFE IDs of which the endpoint has to have one. Its name
	// does not count then.
	Identities []string
	// InsecureSkipVerify takes any certificate.
	InsecureSkipVerify bool
}

// maxSessions is how many sessions are kept for resumption, of all endpoints
// of a Client.
const maxSessions = 256

// Client is the client's side of TLS to the endpoints of one cluster.
type Client struct {
	o    ClientOptions
	made atomic.Pointer[clientMade]
}

// clientMade is what belongs to what the sources have. Sessions end with it:
// one that began under other authorities, or with another certificate of ours,
// is not resumed.
type clientMade struct {
	roots    *Bundle
	pair     *KeyPair
	config   *tls.Config
	sessions tls.ClientSessionCache
}

// NewClient makes a Client.
func NewClient(o ClientOptions) *Client { return &Client{o: o} }

func (c *Client) current() *clientMade {
	m := &clientMade{}
	if c.o.Roots != nil {
		m.roots = c.o.Roots.Current()
	}
	if c.o.Certificate != nil {
		m.pair = c.o.Certificate.Current()
	}
	if old := c.made.Load(); old != nil && old.roots == m.roots && old.pair == m.pair {
		return old
	}
	m.config = &tls.Config{MinVersion: tls.VersionTLS12}
	var pool *x509.CertPool // nil: the system's
	if m.roots != nil {
		pool = m.roots.Pool
	}
	m.config.RootCAs = pool
	if m.pair != nil {
		m.config.Certificates = []tls.Certificate{m.pair.Certificate}
	}
	switch {
	case c.o.InsecureSkipVerify:
		m.config.InsecureSkipVerify = true //nolint:gosec // asked for, and warned of
	case len(c.o.Identities) > 0:
		// The chain is verified here, since crypto/tls would verify the name too.
		m.config.InsecureSkipVerify = true //nolint:gosec // see verifyIdentity
		m.config.VerifyConnection = func(s tls.ConnectionState) error {
			return verifyIdentity(s.PeerCertificates, pool, c.o.Identities)
		}
	}
	m.sessions = tls.NewLRUClientSessionCache(maxSessions)
	c.made.Store(m)
	return m
}

// verifyIdentity accepts a server whose chain leads to one of the roots and
// that is one of these.
func verifyIdentity(chain []*x509.Certificate, roots *x509.CertPool, identities []string) error {
	if len(chain) == 0 {
		return errors.New("the server has no certificate")
	}
	o := x509.VerifyOptions{Roots: roots, Intermediates: x509.NewCertPool(), CurrentTime: time.Now()}
	for _, c := range chain[1:] {
		o.Intermediates.AddCert(c)
	}
	if _, err := chain[0].Verify(o); err != nil {
		return &tls.CertificateVerificationError{UnverifiedCertificates: chain, Err: err}
	}
	id, err := identityOf(chain[0])
	if err == nil && !slices.Contains(identities, id) {
		err = fmt.Errorf("the server is %s, expected %s", id, strings.Join(identities, " or "))
	}
	if err != nil {
		return &tls.CertificateVerificationError{UnverifiedCertificates: chain, Err: err}
	}
	return nil
}

// HandshakeError says with whom and why TLS could not be agreed on. Nothing
// else was sent.
type HandshakeError struct {
	Address   string   // of the endpoint
	Name      string   // that was asked for
	Protocols []string // that were offered
	Err       error
}

// Error is what happened, with its cause in front.
func (e *HandshakeError) Error() string {
	what, text := "TLS handshake failed", e.Err.Error()
	var verify *tls.CertificateVerificationError
	var op *net.OpError
	switch {
	case errors.As(e.Err, &verify):
		what = "certificate not accepted"
	case errors.As(e.Err, &op) && op.Op == "remote error":
		switch what = "TLS handshake refused by the server"; {
		case strings.HasSuffix(text, "no application protocol"):
			what = "the server agrees to no protocol that was offered (ALPN " + strings.Join(e.Protocols, ", ") + ")"
		case strings.Contains(text, "certificate") || strings.HasSuffix(text, "handshake failure"):
			what += " (does it want a client certificate that it trusts?)"
		}
	case ReasonOf(e.Err) == NotTLS:
		what = "the server does not speak TLS"
	}
	with := e.Address
	if host, _, err := net.SplitHostPort(e.Address); err == nil && host != e.Name {
		with = e.Name + " at " + e.Address
	}
	return with + ": " + what + ": " + text
}

var errNoHTTP2 = errors.New("the server agrees to no protocol that was offered (ALPN h2)")

// Unwrap is the cause.
func (e *HandshakeError) Unwrap() error { return e.Err }

// Handshake speaks TLS over nc to the endpoint of this address, within ctx.
// Protocols are offered, the preferred one first (RFC 7301); where HTTP/2 is the
// only one, the server has to take it (RFC 9113, section 3.2). Where it fails,
// nc is of no use any more and the error is a HandshakeError; closing nc is the
// caller's in any case.
func (c *Client) Handshake(ctx context.Context, nc net.Conn, address string, protocols ...string) (*tls.Conn, error) {
	m := c.current()
	config := m.config.Clone()
	config.ServerName = c.serverName(address)
	config.NextProtos = protocols
	// Endpoints of one name are several servers, each with tickets of its own.
	config.ClientSessionCache = sessionsOf{m.sessions, address}
	t := tls.Client(nc, config)
	err := t.HandshakeContext(ctx)
	if agreed := t.ConnectionState().NegotiatedProtocol; err == nil && len(protocols) == 1 && protocols[0] == ProtoHTTP2 && agreed != ProtoHTTP2 {
		err = errNoHTTP2
	}
	if err != nil {
		return nil, &HandshakeError{Address: address, Name: config.ServerName, Protocols: protocols, Err: err}
	}
	return t, nil
}

// serverName is the name of the server at an address.
func (c *Client) serverName(address string) string {
	if c.o.ServerName != "" {
		return c.o.ServerName
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		host = address
	}
	host, _, _ = strings.Cut(host, "%") // an IPv6 zone is this machine's own (RFC 6874, section 1)
	return host
}

// sessionsOf are the sessions of one endpoint.
type sessionsOf struct {
	all     tls.ClientSessionCache
	address string
}

// Get is tls.ClientSessionCache's.
func (s sessionsOf) Get(name string) (*tls.ClientSessionState, bool) {
	return s.all.Get(s.address + " " + name)
}

// Put is tls.ClientSessionCache's.
func (s sessionsOf) Put(name string, cs *tls.ClientSessionState) {
	s.all.Put(s.address+" "+name, cs)
}
