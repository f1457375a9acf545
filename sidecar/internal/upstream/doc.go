// Package upstream is the side towards the endpoints: clusters with their
// snapshots of endpoints, connection pools, and the transports that make a try:
// over HTTP/1.1, where an attempt has a connection to itself (clientConn), and
// over HTTP/2, where it has a stream of one that others share (streamCall, mux).
//
// A cluster's snapshot is behind an atomic pointer; picking and trying take no
// lock but the one of the picked endpoint's stack of idle connections, or that of
// the HTTP/2 connection. The cluster's limits cost a request that stays within
// them one atomic addition when it begins and one when it ends; only what opens,
// closes or waits for a connection or a stream takes the lock of the limits.
//
// What attempts come to is counted on the endpoint without a lock. When an
// endpoint is ejected, or a health check finds it ill or well, the snapshot is
// made anew: that is rare. The goroutines of a cluster are those of its health
// checks, which end with it; lookups of names and the opening of HTTP/2
// connections, which end by themselves; and one for each HTTP/2 connection, which
// ends with its last stream once the endpoint or the cluster is gone.
package upstream

import "time"

// Defaults and bounds.
const (
	DefaultConnectTimeout = time.Second
	// DefaultBodyIdle limits the time in which no byte of a response's body
	// comes, unless the exchange sets a shorter one.
	DefaultBodyIdle = 5 * time.Minute
	maxInterim      = 16 // interim responses to one request
)
