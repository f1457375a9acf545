package secure

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"time"
)

// maxPEM bounds a file, in bytes. The bundles of public authorities that
// systems have are a quarter of that.
const maxPEM = 1 << 20

// Part is which file of a pair is meant.
type Part string

// The parts of a pair.
const (
	PartCert Part = "cert"
	PartKey  Part = "key"
)

// PairError is what is wrong with a certificate and its key, and in which of
// the two. Keys are never part of it.
type PairError struct {
	Part Part
	Err  error
}

// Error is what is wrong.
func (e *PairError) Error() string { return e.Err.Error() }

// Unwrap is the error itself.
func (e *PairError) Unwrap() error { return e.Err }

func badCert(format string, args ...any) error {
	return &PairError{PartCert, fmt.Errorf(format, args...)}
}

func badKey(format string, args ...any) error {
	return &PairError{PartKey, fmt.Errorf(format, args...)}
}

// ParseKeyPair reads a certificate with its chain, the leaf first, and its
// private key, both in PEM (RFC 7468). The key has to be the certificate's, and
// each certificate has to be valid at now. Errors are PairErrors.
func ParseKeyPair(certPEM, keyPEM []byte, now time.Time) (*KeyPair, error) {
	chain, err := certificates(certPEM)
	if err != nil {
		return nil, badCert("%w", err)
	}
	if err := checkKeyPEM(keyPEM); err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return nil, mismatch(err)
	}
	k := &KeyPair{Certificate: pair}
	for i, c := range chain {
		if err := valid(c, now); err != nil {
			if i > 0 {
				return nil, badCert("certificate %d of the chain (%s) %w", i+1, Name(c), err)
			}
			return nil, badCert("the certificate of %s %w", Name(c), err)
		}
		if k.Expires.IsZero() || c.NotAfter.Before(k.Expires) {
			k.Expires = c.NotAfter
		}
	}
	return k, nil
}

// mismatch says in which file it lies that no pair can be made.
func mismatch(err error) error {
	switch text := err.Error(); text {
	case "tls: private key does not match public key", "tls: private key type does not match public key type":
		return badKey("is not the key of the certificate in cert")
	default:
		return badKey("cannot be used: %w", err)
	}
}

// checkKeyPEM finds what crypto/tls would only say in general.
func checkKeyPEM(keyPEM []byte) error {
	found := ""
	for rest := keyPEM; ; {
		var b *pem.Block
		b, rest = pem.Decode(rest)
		switch {
		case b == nil && found == "":
			return badKey("holds no private key in PEM")
		case b == nil && found == certificateBlock:
			return badKey("holds a certificate and no private key: are cert and key exchanged?")
		case b == nil:
			return badKey("holds no private key but a %q", found)
		case b.Type == "ENCRYPTED PRIVATE KEY" || b.Headers["DEK-Info"] != "":
			return badKey("is encrypted with a passphrase: store it without one, readable by the sidecar alone")
		case b.Type == "PRIVATE KEY" || bytes.HasSuffix([]byte(b.Type), []byte(" PRIVATE KEY")):
			return nil
		case b.Type != "EC PARAMETERS":
			found = b.Type
		}
	}
}

const certificateBlock = "CERTIFICATE"

// valid says that a certificate's time is not now.
func valid(c *x509.Certificate, now time.Time) error {
	switch {
	case now.After(c.NotAfter):
		return fmt.Errorf("has expired at %s", c.NotAfter.UTC().Format(time.RFC3339))
	case now.Before(c.NotBefore):
		return fmt.Errorf("is not valid before %s", c.NotBefore.UTC().Format(time.RFC3339))
	}
	return nil
}

// ParseBundle reads certificates of authorities in PEM. At least one has to be
// valid at now: others may have expired, as in the bundles of systems.
func ParseBundle(bundlePEM []byte, now time.Time) (*Bundle, error) {
	list, err := certificates(bundlePEM)
	if err != nil {
		return nil, err
	}
	b := &Bundle{Pool: x509.NewCertPool(), Count: len(list)}
	var expired error
	good := 0
	for _, c := range list {
		if err := valid(c, now); err != nil {
			expired = fmt.Errorf("the certificate of %s %w", Name(c), err)
		} else {
			good++
		}
		b.Pool.AddCert(c)
	}
	if good == 0 {
		return nil, expired
	}
	return b, nil
}

// certificates are those of a PEM file. Text between them is passed over, other
// things in PEM are errors: whoever has put them there means something else.
func certificates(data []byte) ([]*x509.Certificate, error) {
	var list []*x509.Certificate
	for rest := data; ; {
		var b *pem.Block
		b, rest = pem.Decode(rest)
		switch {
		case b == nil && len(list) == 0 && bytes.Contains(data, []byte("-----BEGIN ")):
			return nil, errors.New("holds PEM that is cut off or damaged")
		case b == nil && len(list) == 0:
			return nil, errors.New("holds no certificate in PEM")
		case b == nil && bytes.Contains(rest, []byte("-----BEGIN ")):
			return nil, fmt.Errorf("is cut off or damaged after certificate %d", len(list))
		case b == nil:
			return list, nil
		case b.Type != certificateBlock:
			return nil, fmt.Errorf("holds a %q where only certificates belong", b.Type)
		}
		c, err := x509.ParseCertificate(b.Bytes)
		if err != nil {
			return nil, fmt.Errorf("certificate %d cannot be parsed: %w", len(list)+1, err)
		}
		list = append(list, c)
	}
}

// Name is what people call a certificate: its subject, else its first name.
func Name(c *x509.Certificate) string {
	switch {
	case c.Subject.CommonName != "":
		return c.Subject.CommonName
	case len(c.DNSNames) > 0:
		return c.DNSNames[0]
	case len(c.URIs) > 0:
		return c.URIs[0].String()
	case len(c.IPAddresses) > 0:
		return c.IPAddresses[0].String()
	}
	return c.Subject.String()
}
