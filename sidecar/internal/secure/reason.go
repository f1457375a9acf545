package secure

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
)

// Reason is why a handshake failed, for metrics.
type Reason string

// The reasons. The last word on a certificate is the side's that checks it:
// refused is what the other side says of ours.
const (
	NoCertificate  Reason = "no_certificate"
	BadCertificate Reason = "bad_certificate"
	UnknownCA      Reason = "unknown_ca"
	Expired        Reason = "expired"
	Refused        Reason = "refused"
	BadVersion     Reason = "version"
	BadCipher      Reason = "cipher"
	BadProtocol    Reason = "alpn"
	NotTLS         Reason = "not_tls"
	Timeout        Reason = "timeout"
	Gone           Reason = "gone"
	Other          Reason = "other"
)

// texts are how crypto/tls words what it has no error values for.
var texts = []struct {
	part   string
	reason Reason
}{
	{"didn't provide a certificate", NoCertificate},
	{"unsupported version", BadVersion},
	{"only unsupported versions", BadVersion},
	{"protocol version not supported", BadVersion},
	{"no cipher suite supported", BadCipher},
	{"no ECDHE curve supported", BadCipher},
	{"unsupported application protocols", BadProtocol},
	{"certificate", BadCertificate},
}

// ReasonOf finds the reason in a handshake's error.
func ReasonOf(err error) Reason {
	var (
		record  tls.RecordHeaderError
		unknown x509.UnknownAuthorityError
		invalid x509.CertificateInvalidError
		verify  *tls.CertificateVerificationError
		op      *net.OpError
	)
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return Timeout
	case errors.As(err, &record):
		return NotTLS
	case errors.As(err, &unknown):
		return UnknownCA
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return Expired
	case errors.As(err, &verify), errors.As(err, &invalid):
		return BadCertificate
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed),
		errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return Gone
	case errors.As(err, &op) && op.Op == "remote error":
		return Refused
	}
	text := err.Error()
	for _, t := range texts {
		if strings.Contains(text, t.part) {
			return t.reason
		}
	}
	return Other
}
