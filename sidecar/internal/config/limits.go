package config

import (
	"errors"
	"time"

	"github.com/outrigger-mesh/outrigger/internal/conf"
)

// Limits are the bounds of what clients may hold open. They are set when a
// listener opens; a change of them takes a new process.
type Limits struct {
	// Connections are how many each of the HTTP listeners has open at once;
	// what is above is answered with 503 and closed.
	Connections int
	// Streams are how many requests one connection of HTTP/2 has open at once;
	// what is above is refused, so that it may be sent elsewhere.
	Streams int
	// HeadTimeout is the time from the first byte of a request's head to its
	// last, and for the first byte of a connection.
	HeadTimeout time.Duration
	// KeepAliveTimeout is how long a connection may wait for its next request.
	KeepAliveTimeout time.Duration
	// BodyIdleTimeout is how long no byte of a body may move.
	BodyIdleTimeout time.Duration
	TCP             TCPLimits `yaml:"tcp"` // of each of the app's tcp ports
}

// TCPLimits are the bounds of one tcp port.
type TCPLimits struct {
	Connections    int           // open at once; what is above is closed
	ConnectTimeout time.Duration // to the app
	IdleTimeout    time.Duration // without a byte in either direction
}

// The bounds of the bounds: a limit that is none at all is a mistake.
const (
	maxConnections = 1_000_000
	maxStreams     = 100_000
	maxIdle        = 24 * time.Hour
)

func defaultLimits() Limits {
	return Limits{
		Connections: 20_000, Streams: 256, HeadTimeout: 10 * time.Second, KeepAliveTimeout: 75 * time.Second, BodyIdleTimeout: 5 * time.Minute,
		TCP: TCPLimits{Connections: 10_000, ConnectTimeout: 2 * time.Second, IdleTimeout: time.Hour},
	}
}

// Validate finds limits that are none, or that let nothing through.
func (l Limits) Validate() error {
	return errors.Join(
		between("connections", l.Connections, 1, maxConnections),
		between("streams", l.Streams, 1, maxStreams),
		within("headTimeout", l.HeadTimeout, time.Millisecond, time.Hour),
		within("keepAliveTimeout", l.KeepAliveTimeout, time.Millisecond, maxIdle),
		within("bodyIdleTimeout", l.BodyIdleTimeout, time.Millisecond, maxIdle),
	)
}

// Validate finds limits that are none, or that let nothing through.
func (l TCPLimits) Validate() error {
	return errors.Join(
		between("connections", l.Connections, 1, maxConnections),
		within("connectTimeout", l.ConnectTimeout, time.Millisecond, time.Minute),
		within("idleTimeout", l.IdleTimeout, time.Millisecond, maxIdle),
	)
}

func between(key string, n, least, most int) error {
	if n < least || n > most {
		return conf.FieldErrorf(key, "must be from %d to %d, is %d", least, most, n)
	}
	return nil
}

func within(key string, d, least, most time.Duration) error {
	if d < least || d > most {
		return conf.FieldErrorf(key, "must be from %v to %v, is %v", least, most, d)
	}
	return nil
}
