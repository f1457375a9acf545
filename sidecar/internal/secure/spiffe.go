package secure

import (
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
)

// Bounds of a SPIFFE ID (SPIFFE-ID, sections 2.1 and 2.3).
const (
	maxID          = 2048
	maxTrustDomain = 255
)

const spiffeScheme = "spiffe://"

// CheckID says what is wrong with the SPIFFE ID of a workload,
// spiffe://trust-domain/path (SPIFFE-ID, section 2). It takes the normal form
// alone, as go-spiffe does: two IDs are the same exactly if their bytes are.
func CheckID(id string) error {
	if len(id) > maxID {
		return fmt.Errorf("is longer than %d bytes", maxID)
	}
	rest, ok := strings.CutPrefix(id, spiffeScheme)
	if !ok {
		return fmt.Errorf("%q does not begin with spiffe://", id)
	}
	domain, path, hasPath := strings.Cut(rest, "/")
	switch {
	case domain == "":
		return fmt.Errorf("%q has no trust domain", id)
	case len(domain) > maxTrustDomain:
		return fmt.Errorf("%q: the trust domain is longer than %d bytes", id, maxTrustDomain)
	case !only(domain, func(c byte) bool { return c >= 'a' && c <= 'z' || idByte(c) }):
		return fmt.Errorf("%q: a trust domain is made of a-z, 0-9, '.', '-' and '_'", id)
	case !hasPath || path == "":
		return fmt.Errorf("%q names a trust domain and no workload in it: a path is needed", id)
	}
	for segment := range strings.SplitSeq(path, "/") {
		switch {
		case segment == "":
			return fmt.Errorf("%q has an empty segment in its path", id)
		case segment == "." || segment == "..":
			return fmt.Errorf("%q has %q in its path", id, segment)
		case !only(segment, func(c byte) bool { return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || idByte(c) }):
			return fmt.Errorf("%q: a path is made of a-z, A-Z, 0-9, '.', '-' and '_'", id)
		}
	}
	return nil
}

func idByte(c byte) bool { return c >= '0' && c <= '9' || c == '.' || c == '-' || c == '_' }

func only(s string, allowed func(byte) bool) bool {
	for i := range len(s) {
		if !allowed(s[i]) {
			return false
		}
	}
	return true
}

// identityOf is the SPIFFE ID of a peer's certificate: it has exactly one URI, and
// is no authority's (X509-SVID, sections 2, 4 and 5.2).
func identityOf(c *x509.Certificate) (string, error) {
	switch {
	case len(c.URIs) == 0:
		return "", errors.New("the certificate has no SPIFFE ID")
	case len(c.URIs) > 1:
		return "", fmt.Errorf("the certificate has %d URIs, and one with a SPIFFE ID has one", len(c.URIs))
	case c.IsCA || c.KeyUsage&(x509.KeyUsageCertSign|x509.KeyUsageCRLSign) != 0:
		return "", errors.New("the certificate is an authority's, not a workload's")
	}
	id := c.URIs[0].String()
	if err := CheckID(id); err != nil {
		return "", fmt.Errorf("the certificate's SPIFFE ID: %w", err)
	}
	return id, nil
}

// Identity is the SPIFFE ID of a verified peer; empty where its certificate has
// none, or there is no certificate.
func Identity(peer []*x509.Certificate) string {
	if len(peer) == 0 {
		return ""
	}
	id, err := identityOf(peer[0])
	if err != nil {
		return ""
	}
	return id
}
