package load

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"syscall"
	"time"
)

// TLS is how TLS 1.3 is spoken: with one suite, so that all servers do the
// same work for a byte.
type TLS struct {
	CA         string `json:"ca"` // certificates in PEM, of those who are trusted
	ServerName string `json:"server_name"`
}

// suite is the one that every server has to choose: the one that all of them
// have, and that takes the least work where the processor has AES.
const suite = tls.TLS_AES_128_GCM_SHA256

// link is what lies under a connection's TLS: bytes that were read from the
// socket, and bytes that are to be written to it. It blocks until the handshake
// is over, and never from then on.
type link struct {
	c   *conn
	tls *tls.Conn
	buf []byte
	in  []byte // of buf: read, and not taken by TLS
}

var _ net.Conn = (*link)(nil)

// handshake makes the connection's TLS and checks what was agreed upon.
func handshake(c *conn, spec Spec) (*link, error) {
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM([]byte(spec.TLS.CA)) {
		return nil, errors.New("TLS: there is no certificate in tls.ca")
	}
	alpn := "http/1.1"
	if spec.Protocol != HTTP1 {
		alpn = "h2"
	}
	l := &link{c: c, buf: make([]byte, 64<<10)}
	l.tls = tls.Client(l, &tls.Config{
		RootCAs: roots, ServerName: spec.TLS.ServerName, MinVersion: tls.VersionTLS13, NextProtos: []string{alpn},
	})
	if err := l.tls.Handshake(); err != nil { //nolint:noctx // the socket has its own limit of time
		return nil, fmt.Errorf("TLS: %w", err)
	}
	s := l.tls.ConnectionState()
	if s.CipherSuite != suite || s.NegotiatedProtocol != alpn && (alpn != "http/1.1" || s.NegotiatedProtocol != "") {
		return nil, fmt.Errorf("TLS: the server has chosen %s and %q, wanted are %s and %q",
			tls.CipherSuiteName(s.CipherSuite), s.NegotiatedProtocol, tls.CipherSuiteName(suite), alpn)
	}
	return l, nil
}

// fill reads from the socket once; io.EOF: the other side has ended the
// connection.
func (l *link) fill() error {
	kept := copy(l.buf, l.in) // of the handshake's last reading
	if kept == len(l.buf) {
		return nil
	}
	n, err := l.c.receive(l.buf[kept:])
	if err != nil {
		return err
	}
	l.in = l.buf[:kept+n]
	return nil
}

// Read is net.Conn's. Once the handshake is over it gives what fill has read,
// and syscall.EAGAIN, which TLS takes for an error that passes.
func (l *link) Read(p []byte) (int, error) {
	if len(l.in) == 0 {
		if !l.c.waits {
			return 0, syscall.EAGAIN
		}
		if err := l.fill(); err != nil {
			return 0, err
		}
	}
	n := copy(p, l.in)
	l.in = l.in[n:]
	return n, nil
}

// Write is net.Conn's.
func (l *link) Write(p []byte) (int, error) {
	l.c.put(p)
	if l.c.waits {
		if err := l.c.drain(); err != nil {
			return 0, err
		}
	}
	return len(p), nil
}

// Close is net.Conn's. The socket is closed by its owner.
func (l *link) Close() error { return nil }

// LocalAddr is net.Conn's.
func (l *link) LocalAddr() net.Addr { return &net.TCPAddr{} }

// RemoteAddr is net.Conn's.
func (l *link) RemoteAddr() net.Addr { return &net.TCPAddr{} }

// SetDeadline is net.Conn's. The socket's own limit holds.
func (l *link) SetDeadline(time.Time) error { return nil }

// SetReadDeadline is net.Conn's.
func (l *link) SetReadDeadline(time.Time) error { return nil }

// SetWriteDeadline is net.Conn's.
func (l *link) SetWriteDeadline(time.Time) error { return nil }
