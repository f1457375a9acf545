package sidecar

import "time"

// Limits bound what one control plane takes on. They are far above what a
// sane site has: they stop a mistake, not growth.
type Limits struct {
	Nodes         int           // nodes known at once
	Instances     int           // instances of one node
	MetadataKeys  int           // metadata entries of one instance
	MetadataBytes int           // keys and values of one instance's metadata
	FieldBytes    int           // any other text
	Weight        uint32        // of one instance
	MinTTL        time.Duration // a shorter TTL is raised to this
	MaxTTL        time.Duration // a longer one is lowered to this
}

// DefaultLimits are the limits that hold unless configured otherwise.
func DefaultLimits() Limits {
	return Limits{
		Nodes:         50_000,
		Instances:     64,
		MetadataKeys:  64,
		MetadataBytes: 16 << 10,
		FieldBytes:    253, // a DNS name's length
		Weight:        1 << 16,
		MinTTL:        time.Second,
		MaxTTL:        10 * time.Minute,
	}
}

// MaxMessageBytes is the largest message that the server has to accept for
// everything within the default limits to pass.
const MaxMessageBytes = 4 << 20

const (
	// DefaultTTL is the lease of a node that names none.
	DefaultTTL = 15 * time.Second
	// DefaultGrace is how much longer than its TTL a node's lease lasts after
	// the control plane's own restart.
	DefaultGrace = 30 * time.Second
	// helloTimeout is how long a stream may stand without its first message.
	helloTimeout = 10 * time.Second
)
