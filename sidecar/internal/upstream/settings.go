package upstream

import (
	"errors"
	"time"

	"github.com/outrigger-mesh/outrigger/internal/balance"
	"github.com/outrigger-mesh/outrigger/internal/conf"
)

// Settings is how a cluster is used: the keys of a static upstream, and what an
// xDS Cluster is decoded to. They are not changed once they are given to a
// cluster.
type Settings struct {
	Balancer balance.Config
	Pool     Pool
	Outlier  Outlier
	Health   *Health // nil: endpoints are not checked
}

// DefaultSettings is what holds for a cluster that says nothing.
func DefaultSettings() Settings {
	return Settings{Balancer: balance.Defaults(), Pool: DefaultPool(), Outlier: DefaultOutlier()}
}

// settingsOf are the settings in force. The app beside the sidecar is never
// ejected unless that is asked for: there is no other one to send to.
func settingsOf(c *Config, app bool) *Settings {
	if c.Settings != nil {
		return c.Settings
	}
	s := DefaultSettings()
	s.Outlier.Off = app
	return &s
}

// bounded says that a number is out of its range.
func bounded(path string, n, least, most int) error {
	if n < least || n > most {
		return conf.FieldErrorf(path, "expected %d to %d, found %d", least, most, n)
	}
	return nil
}

// within says that a duration is out of its range; zero is allowed with
// orNone.
func within(path string, d, least, most time.Duration, orNone bool) error {
	if orNone && d == 0 {
		return nil
	}
	if d < least || d > most {
		or := ""
		if orNone {
			or = "0 or "
		}
		return conf.FieldErrorf(path, "expected %s%s to %s, found %s", or, least, most, d)
	}
	return nil
}

// Pool bounds the connections and requests of a cluster. The limits are those
// of the cluster as a whole, as with Envoy's circuit breakers, unless the name
// says otherwise.
type Pool struct {
	// MaxConnections is how many connections there are at a time, used and
	// unused ones.
	MaxConnections int
	// MaxConnectionsPerEndpoint is the same for each endpoint; 0: as many as
	// MaxConnections lets have.
	MaxConnectionsPerEndpoint int
	// MaxPending is how many requests wait for a connection at a time; 0: none
	// waits.
	MaxPending int
	// PendingTimeout is how long a request waits for a connection.
	PendingTimeout time.Duration
	// MaxRequests is how many requests have, or make, a connection at a time.
	MaxRequests int
	// MaxRequestsPerConnection closes a connection after so many; 0: never.
	MaxRequestsPerConnection int
	// MaxIdlePerEndpoint is how many unused connections are kept to an endpoint.
	MaxIdlePerEndpoint int
	// IdleTimeout is how long an unused connection is kept; 0: for ever.
	IdleTimeout time.Duration
	// MaxAge is how old a connection is at its last request; each one's own is
	// up to a tenth shorter, so that not all are made anew at once. 0: no limit.
	MaxAge time.Duration
	// HTTP2 is of the connections that several requests share.
	HTTP2 PoolHTTP2 `yaml:"http2"`
}

// PoolHTTP2 bounds the HTTP/2 connections to one endpoint. Another one is opened
// when all that are there are full.
type PoolHTTP2 struct {
	// Connections is how many there are at a time, within MaxConnections and
	// MaxConnectionsPerEndpoint.
	Connections int
	// Streams is how many requests share one; the endpoint may allow fewer.
	Streams int
}

// DefaultPool is generous, and bounded. The number of connections stays well
// below the 28,232 ports that Linux has by default for connections to one
// address; a queue is as long as Envoy's, and waits no longer than a person
// would; unused connections go before most servers close them after 60 s. Over
// HTTP/2 an endpoint may have about as many requests at a time as over HTTP/1.1,
// on one connection as long as they find room there.
func DefaultPool() Pool {
	return Pool{
		MaxConnections: 16_384, MaxPending: 1024, PendingTimeout: 5 * time.Second, MaxRequests: 32_768,
		MaxIdlePerEndpoint: 1024, IdleTimeout: 55 * time.Second,
		HTTP2: PoolHTTP2{Connections: 128, Streams: 100},
	}
}

// SetDefaults is DefaultPool.
func (p *Pool) SetDefaults() { *p = DefaultPool() }

// Bounds of a Pool.
const (
	MaxPoolLimit   = 1 << 20 // of connections and requests
	MaxPoolPending = 1 << 16
	MaxPoolHTTP2   = 1024      // HTTP/2 connections to an endpoint
	MaxPoolStreams = 1_000_000 // of one of them
	minIdle        = 10 * time.Millisecond
	minAge         = time.Second
	day            = 24 * time.Hour
)

// Validate says what is out of range.
func (p *Pool) Validate() error {
	return errors.Join(
		bounded("maxConnections", p.MaxConnections, 1, MaxPoolLimit),
		bounded("maxConnectionsPerEndpoint", p.MaxConnectionsPerEndpoint, 0, MaxPoolLimit),
		bounded("maxPending", p.MaxPending, 0, MaxPoolPending),
		within("pendingTimeout", p.PendingTimeout, time.Millisecond, 10*time.Minute, false),
		bounded("maxRequests", p.MaxRequests, 1, MaxPoolLimit),
		bounded("maxRequestsPerConnection", p.MaxRequestsPerConnection, 0, 1<<30),
		bounded("maxIdlePerEndpoint", p.MaxIdlePerEndpoint, 0, MaxPoolLimit),
		within("idleTimeout", p.IdleTimeout, minIdle, day, true),
		within("maxAge", p.MaxAge, minAge, 30*day, true),
		bounded("http2.connections", p.HTTP2.Connections, 1, MaxPoolHTTP2),
		bounded("http2.streams", p.HTTP2.Streams, 1, MaxPoolStreams),
	)
}
