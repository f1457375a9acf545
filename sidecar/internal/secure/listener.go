package secure

import (
	"crypto/tls"
	"slices"
	"sync/atomic"
)

// Mode is what a listener does with connections that speak TLS, and with those
// that do not.
type Mode string

// The modes.
const (
	Strict     Mode = "strict"     // TLS alone
	Permissive Mode = "permissive" // TLS and plain text, told apart by their first byte
	Off        Mode = "off"        // plain text alone
)

// ServerOptions is how a listener speaks TLS.
type ServerOptions struct {
	Mode Mode // empty: Strict
	// Certificates are the server's: the first that fits the name that the
	// client asks for, else the first.
	Certificates []Source[KeyPair]
	// Clients are the authorities of clients' certificates; nil: clients are not
	// asked for any.
	Clients Source[Bundle]
	// Require refuses clients without a certificate. One that is given is
	// verified in any case.
	Require    bool
	MinVersion uint16 // zero: TLS 1.2
}

// Listener is the server's side of TLS at one listener. Its options can change
// while it is used: each handshake has those of its begin.
type Listener struct {
	name    string
	metrics *Metrics
	// base has the keys of session tickets, and crypto/tls rotates them. They
	// outlive every change, so that clients can resume. A client's certificate
	// is verified then against the authorities of the moment: those of its
	// session are not believed.
	base    *tls.Config
	options atomic.Pointer[server]
}

// server is ServerOptions in force.
type server struct {
	o    ServerOptions
	made atomic.Pointer[made]
}

// made is the configuration of crypto/tls for what the sources have.
type made struct {
	pairs   []*KeyPair
	clients *Bundle
	config  *tls.Config
}

// NewListener makes a listener's TLS, which is off until Set. Name is its
// label in metrics.
func NewListener(name string, m *Metrics) *Listener {
	if m == nil {
		m = NewMetrics(nil)
	}
	l := &Listener{name: name, metrics: m}
	l.base = &tls.Config{MinVersion: tls.VersionTLS12, GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
		return l.current(), nil
	}}
	return l
}

// Set puts options in force. Connections that are open stay as they are.
func (l *Listener) Set(o ServerOptions) {
	if o.Mode == "" {
		o.Mode = Strict
	}
	l.options.Store(&server{o: o})
}

// Mode is the mode in force. A nil Listener is off.
func (l *Listener) Mode() Mode {
	if l == nil {
		return Off
	}
	s := l.options.Load()
	if s == nil || len(s.o.Certificates) == 0 {
		return Off
	}
	return s.o.Mode
}

// Config is what connections are served with.
func (l *Listener) Config() *tls.Config { return l.base }

// current is the configuration of a handshake that begins now.
func (l *Listener) current() *tls.Config {
	s := l.options.Load()
	if s == nil {
		return nil
	}
	next := made{pairs: make([]*KeyPair, 0, len(s.o.Certificates))}
	for _, c := range s.o.Certificates {
		next.pairs = append(next.pairs, c.Current())
	}
	if s.o.Clients != nil {
		next.clients = s.o.Clients.Current()
	}
	if m := s.made.Load(); m != nil && m.clients == next.clients && slices.Equal(m.pairs, next.pairs) {
		return m.config
	}
	next.config = s.o.config(&next)
	s.made.Store(&next)
	return next.config
}

// strongCiphers are those of TLS 1.2 that RFC 9113 allows for HTTP/2 (appendix
// A forbids the others): forward secrecy, and authenticated encryption.
var strongCiphers = []uint16{
	tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
	tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
	tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
}

// Names of protocols in ALPN (RFC 7301).
const (
	ProtoHTTP1 = "http/1.1"
	ProtoHTTP2 = "h2"
)

func (o *ServerOptions) config(m *made) *tls.Config {
	c := &tls.Config{
		MinVersion:   max(o.MinVersion, tls.VersionTLS12),
		CipherSuites: strongCiphers,
		NextProtos:   []string{ProtoHTTP2, ProtoHTTP1},
	}
	for _, p := range m.pairs {
		c.Certificates = append(c.Certificates, p.Certificate)
	}
	if m.clients != nil {
		c.ClientCAs, c.ClientAuth = m.clients.Pool, tls.VerifyClientCertIfGiven
		if o.Require {
			c.ClientAuth = tls.RequireAndVerifyClientCert
		}
	}
	return c
}

// Established counts a handshake.
func (l *Listener) Established(s *tls.ConnectionState) {
	alpn := s.NegotiatedProtocol
	if alpn == "" {
		alpn = "none"
	}
	l.metrics.handshakes.WithLabelValues(l.name, Version(s.Version), alpn).Inc()
}

// Failed counts a handshake that failed, and says why it did.
func (l *Listener) Failed(err error) Reason {
	reason := ReasonOf(err)
	l.metrics.failures.WithLabelValues(l.name, string(reason)).Inc()
	return reason
}

// Version is how the configuration writes a version.
func Version(v uint16) string {
	switch v {
	case tls.VersionTLS12:
		return "1.2"
	case tls.VersionTLS13:
		return "1.3"
	}
	return "other"
}
