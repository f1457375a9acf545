// Package upstream is the side towards the endpoints: clusters with their
// snapshots of endpoints, connection pools, and the HTTP/1.1 transport that
// makes a try.
//
// A cluster's snapshot is behind an atomic pointer; picking and trying take no
// lock but the one of the picked endpoint's stack of idle connections.
package upstream

import "time"

// Defaults and bounds.
const (
	DefaultConnectTimeout = time.Second
	// DefaultBodyIdle limits the time in which no byte of a response's body
	// comes, unless the exchange sets a shorter one.
	DefaultBodyIdle = 5 * time.Minute
	// IdleTimeout is how long an unused connection is kept. Many servers close
	// after 60 s, some after 5: a connection that the server has closed is
	// found before it is used.
	IdleTimeout = 55 * time.Second
	// MaxIdlePerEndpoint bounds the unused connections to one endpoint.
	MaxIdlePerEndpoint = 128

	maxInterim = 16 // interim responses to one request
)
