package peer

import "slices"

// Setup is which protocols a hop is between.
type Setup string

// The setups. What stands after an arrow is to the backend.
const (
	HTTP1    Setup = "http1" // HTTP/1.1 -> HTTP/1.1
	HTTP2    Setup = "h2"    // HTTP/2 -> HTTP/2, but nginx -> HTTP/1.1, which is all that it has; without TLS
	GRPC     Setup = "grpc"  // HTTP/2 with gRPC -> the same, without TLS
	TLSHTTP1 Setup = "tls1"  // HTTP/1.1 over TLS 1.3 -> HTTP/1.1 without TLS
	TLSHTTP2 Setup = "tls2"  // HTTP/2 over TLS 1.3 -> as HTTP2
)

// HTTP2 tells whether clients speak HTTP/2, and proxies that can do it to the
// backend.
func (s Setup) HTTP2() bool { return s == HTTP2 || s == GRPC || s == TLSHTTP2 }

// GRPC tells whether the calls are of gRPC.
func (s Setup) GRPC() bool { return s == GRPC }

// TLS tells whether clients speak TLS.
func (s Setup) TLS() bool { return s == TLSHTTP1 || s == TLSHTTP2 }

// Behind is the setup that the backend of HTTP/2 is asked in: without TLS.
func (s Setup) Behind() Setup {
	if s == GRPC {
		return GRPC
	}
	return HTTP2
}

// everySetup is what a peer takes part in that can do all of it.
var everySetup = []Setup{HTTP1, HTTP2, GRPC, TLSHTTP1, TLSHTTP2}

// Can tells whether a peer takes part in a setup.
func (p Peer) Can(s Setup) bool {
	if p.setups == nil {
		return s == HTTP1
	}
	return slices.Contains(p.setups, s)
}
