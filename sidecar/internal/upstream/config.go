package upstream

import (
	"time"

	"github.com/outrigger-mesh/outrigger/registry"
	"github.com/outrigger-mesh/outrigger/sidecar/internal/secure"
)

// Config is one cluster in plain Go: what static configuration and xDS (one
// Cluster) are both decoded to.
type Config struct {
	Name           string            // the xDS name, such as users.default:80
	ConnectTimeout time.Duration     // zero: DefaultConnectTimeout
	Protocol       registry.Protocol // spoken with its endpoints; empty: undeclared, what the client speaks
	TLS            *secure.Client    // is spoken with its endpoints; nil: plain text
	Settings       *Settings         // nil: DefaultSettings; not changed once given
}

// EndpointConfig is one endpoint of a cluster, as the control plane or the
// static configuration gives it.
type EndpointConfig struct {
	Address  string // host:port
	Locality registry.Locality
	Priority uint32          // 0 is used first
	Weight   uint32          // relative within its priority, locality weight multiplied in; zero counts as 1
	Status   registry.Status // draining and down endpoints get no new requests
	Version  string          // of the instance
	// HealthPort is where it is checked, where that is not the address's port.
	HealthPort uint16
	// HealthHost is what HTTP and gRPC checks of this endpoint ask for; empty:
	// what the check itself says.
	HealthHost string
	Unchecked  bool // it is left out of health checks
}

func draining(g *EndpointConfig) bool { return g.Status == registry.StatusDraining }
