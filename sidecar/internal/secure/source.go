package secure

import (
	"crypto/tls"
	"crypto/x509"
	"time"
)

// Source is something that changes while it is used. Current is what holds now:
// never nil, never changed afterwards, and the same pointer until something has
// changed. It is called at each handshake.
type Source[T any] interface{ Current() *T }

// KeyPair is a certificate with its chain and its private key.
type KeyPair struct {
	Certificate tls.Certificate // Leaf is set
	Expires     time.Time       // when the first certificate of the chain runs out
}

// Bundle is the authorities that are trusted.
type Bundle struct {
	Pool  *x509.CertPool
	Count int
}

// fixed is a Source that never changes.
type fixed[T any] struct{ value *T }

// Current is Source's.
func (f fixed[T]) Current() *T { return f.value }

// Fixed makes a Source of one value.
func Fixed[T any](value *T) Source[T] { return fixed[T]{value} }
