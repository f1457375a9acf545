package timeout

import (
	"fmt"
	"time"

	"github.com/outrigger-mesh/outrigger/middleware"
)

// Config is the configuration of a timeout entry. A zero duration is no limit.
type Config struct {
	// Request limits the whole exchange, from the end of the request's head to
	// the last byte of the response.
	Request time.Duration
	// PerTry limits the time of one try, until the head of its response.
	PerTry time.Duration
	// Idle limits the time in which no byte moves in either body.
	Idle time.Duration
	// Trust says whether a deadline that came with the request is honoured.
	// Left out, it is false on a gateway, whose clients are strangers, and true
	// elsewhere.
	Trust *bool
}

func defaults() Config { return Config{} }

// Validate says which limits contradict each other.
func (c *Config) Validate() error {
	if c.Request > 0 && c.PerTry > c.Request {
		return middleware.FieldError("perTry", fmt.Sprintf("%s for one try is longer than the %s that request allows in all", c.PerTry, c.Request))
	}
	return nil
}
