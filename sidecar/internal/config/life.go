package config

import (
	"errors"
	"time"

	"github.com/outrigger-mesh/outrigger/internal/conf"
)

// Drain is how the sidecar ends.
type Drain struct {
	// Delay is how long requests are still taken after the app was
	// deregistered, for the callers to learn of it.
	Delay time.Duration
	// Timeout is how long requests in flight may take to end after Delay; the
	// app's own requests have as much again.
	Timeout time.Duration
	// App is how long outbound goes on taking the app's requests, once nothing
	// comes in any more, unless the app is gone before.
	App time.Duration
}

// Validate finds times that would keep a process from ending.
func (d Drain) Validate() error {
	return errors.Join(
		within("delay", d.Delay, 0, time.Hour),
		within("timeout", d.Timeout, 0, maxIdle),
		within("app", d.App, 0, time.Hour),
	)
}

// Upgrade is how the sidecar is replaced by a new process without a gap.
type Upgrade struct {
	// Socket is the path of the Unix socket on which the sidecar upgrade
	// command asks for it; empty: it cannot be asked.
	Socket string
	// Timeout is how long the new process may take to become ready.
	Timeout time.Duration
}

// maxSocketPath is what fits into a Unix socket's address (unix(7): 108 bytes
// with the zero at the end).
const maxSocketPath = 107

// Validate finds a path that no socket can have, and a time that is none.
func (u Upgrade) Validate() error {
	var errs []error
	if len(u.Socket) > maxSocketPath {
		errs = append(errs, conf.FieldErrorf("socket", "is %d bytes long, and the path of a Unix socket has at most %d", len(u.Socket), maxSocketPath))
	}
	return errors.Join(append(errs, within("timeout", u.Timeout, time.Second, time.Hour))...)
}

// UpgradeSocket is the path of upgrade.socket, ready to be opened; empty where
// it is off.
func (c *Config) UpgradeSocket() string { return c.Path(c.Upgrade.Socket) }
