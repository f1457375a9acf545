package secure

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/sidecar/internal/secure/securetest"
)

func TestParseKeyPair(t *testing.T) {
	ca := securetest.NewCA(t, "authority")
	good := ca.Issue(t, securetest.Leaf{Name: "orders"})
	other := ca.Issue(t, securetest.Leaf{Name: "users"})
	rsa := ca.Issue(t, securetest.Leaf{Name: "old", RSA: true})
	hour := time.Hour
	late := ca.Issue(t, securetest.Leaf{Name: "late", NotBefore: time.Now().Add(-2 * hour), NotAfter: time.Now().Add(-hour)})
	soon := ca.Issue(t, securetest.Leaf{Name: "soon", NotBefore: time.Now().Add(hour), NotAfter: time.Now().Add(2 * hour)})
	encrypted := []byte("-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n")
	legacy := []byte("-----BEGIN EC PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nAAAA\n-----END EC PRIVATE KEY-----\n")

	for name, pair := range map[string][2][]byte{
		"EC": {good.Cert, good.Key}, "RSA": {rsa.Cert, rsa.Key},
		"with its chain": {append(bytes.Clone(good.Cert), ca.PEM...), good.Key},
		"with text":      {append([]byte("subject: orders\n"), good.Cert...), append([]byte("# mine\n"), good.Key...)},
	} {
		t.Run(name, func(t *testing.T) {
			k, err := ParseKeyPair(pair[0], pair[1], time.Now())
			if err != nil || k.Certificate.Leaf == nil || k.Expires.Before(time.Now()) {
				t.Errorf("%+v, %v", k, err)
			}
		})
	}
	for name, c := range map[string]struct {
		cert, key []byte
		part      Part
		want      string
	}{
		"another key":        {good.Cert, other.Key, PartKey, "is not the key of the certificate"},
		"a key of RSA":       {good.Cert, rsa.Key, PartKey, "is not the key of the certificate"},
		"expired":            {late.Cert, late.Key, PartCert, "the certificate of late has expired at"},
		"not yet valid":      {soon.Cert, soon.Key, PartCert, "the certificate of soon is not valid before"},
		"a chain expired":    {append(bytes.Clone(good.Cert), late.Cert...), good.Key, PartCert, "certificate 2 of the chain (late) has expired"},
		"exchanged":          {good.Key, good.Cert, PartCert, `holds a "PRIVATE KEY" where only certificates belong`},
		"twice the cert":     {good.Cert, good.Cert, PartKey, "are cert and key exchanged?"},
		"nothing":            {nil, good.Key, PartCert, "holds no certificate in PEM"},
		"no key":             {good.Cert, []byte("hello"), PartKey, "holds no private key in PEM"},
		"a key cut off":      {good.Cert, good.Key[:len(good.Key)/2], PartKey, "holds no private key in PEM"},
		"a cert cut off":     {good.Cert[:len(good.Cert)/2], good.Key, PartCert, "cut off or damaged"},
		"the chain cut off":  {append(bytes.Clone(good.Cert), ca.PEM[:len(ca.PEM)/2]...), good.Key, PartCert, "cut off or damaged after certificate 1"},
		"encrypted":          {good.Cert, encrypted, PartKey, "encrypted with a passphrase"},
		"encrypted, legacy":  {good.Cert, legacy, PartKey, "encrypted with a passphrase"},
		"garbage in the key": {good.Cert, block(t, "PRIVATE KEY", "garbage"), PartKey, "cannot be used"},
		"garbage":            {block(t, "CERTIFICATE", "garbage"), good.Key, PartCert, "certificate 1 cannot be parsed"},
		"a public key":       {good.Cert, block(t, "PUBLIC KEY", "x"), PartKey, `no private key but a "PUBLIC KEY"`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := ParseKeyPair(c.cert, c.key, time.Now())
			var p *PairError
			if !errors.As(err, &p) || p.Part != c.part || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%+v, expected %q of %s", err, c.want, c.part)
			}
			if err != nil && bytes.Contains([]byte(err.Error()), []byte("BEGIN")) {
				t.Errorf("the content of a file is in the error: %v", err)
			}
		})
	}
}

func block(t *testing.T, kind, content string) []byte {
	t.Helper()
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: []byte(content)})
}

func TestParseBundle(t *testing.T) {
	a, b := securetest.NewCA(t, "a"), securetest.NewCA(t, "b")
	old := a.Issue(t, securetest.Leaf{Name: "old", Authority: true, NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: time.Now().Add(-time.Hour)})
	two, err := ParseBundle(append(bytes.Clone(a.PEM), b.PEM...), time.Now())
	if err != nil || two.Count != 2 {
		t.Fatalf("%+v, %v", two, err)
	}
	for _, ca := range []*securetest.CA{a, b} {
		leaf := ca.Issue(t, securetest.Leaf{Hosts: []string{"x"}}).TLS.Leaf
		if _, err := leaf.Verify(x509.VerifyOptions{Roots: two.Pool, DNSName: "x"}); err != nil {
			t.Error(err)
		}
	}
	if _, err := ParseBundle(append(bytes.Clone(old.Cert), a.PEM...), time.Now()); err != nil {
		t.Errorf("one of two has expired: %v", err)
	}
	for name, c := range map[string]struct {
		pem  []byte
		want string
	}{
		"empty":       {nil, "holds no certificate in PEM"},
		"text":        {[]byte("hello"), "holds no certificate in PEM"},
		"a key":       {a.Issue(t, securetest.Leaf{}).Key, "where only certificates belong"},
		"all expired": {old.Cert, "the certificate of old has expired"},
	} {
		if _, err := ParseBundle(c.pem, time.Now()); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, expected %q", name, err, c.want)
		}
	}
}

func FuzzParse(f *testing.F) {
	ca := securetest.NewCA(f, "authority")
	p := ca.Issue(f, securetest.Leaf{Name: "orders"})
	f.Add(p.Cert, p.Key)
	f.Add(append(bytes.Clone(p.Cert), ca.PEM...), p.Key)
	f.Add(p.Key, p.Cert)
	f.Add([]byte("-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n"), []byte("-----BEGIN PRIVATE KEY-----"))
	f.Fuzz(func(t *testing.T, cert, key []byte) {
		now := time.Now()
		if k, err := ParseKeyPair(cert, key, now); err == nil {
			if k.Certificate.Leaf == nil || k.Expires.Before(now) || k.Certificate.PrivateKey == nil {
				t.Fatalf("accepted: %+v", k)
			}
		} else if p := (*PairError)(nil); !errors.As(err, &p) {
			t.Fatalf("%v does not say which file", err)
		}
		if b, err := ParseBundle(cert, now); err == nil && b.Count == 0 {
			t.Fatal("an empty bundle was accepted")
		}
	})
}
