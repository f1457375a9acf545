package xds

import (
	"github.com/outrigger-mesh/outrigger/sidecar/internal/route"
	"github.com/outrigger-mesh/outrigger/sidecar/internal/upstream"
)

// Sink takes what xDS says, decoded and validated. Calls come one at a time,
// from the goroutine of Client.Run, and must not call the Client but for
// Subscribe. A cluster and its endpoints are given before the routes that name
// it, and what has not changed is not given again. What is given is not
// changed afterwards, by neither side.
type Sink interface {
	SetCluster(cfg upstream.Config)
	// SetEndpoints gives all endpoints of a cluster; none means that there are none.
	SetEndpoints(cluster string, eps []upstream.EndpointConfig)
	// RemoveCluster comes when no routes name the cluster any more.
	RemoveCluster(name string)
	// SetRoutes gives a listener's routes; nil says that the control plane has
	// no such listener.
	SetRoutes(listener string, cfg *route.Config)
}
