package node

import (
	"log/slog"
	"strings"

	"github.com/outrigger-mesh/outrigger/middleware"
	"github.com/outrigger-mesh/outrigger/sidecar/internal/route"
	"github.com/outrigger-mesh/outrigger/sidecar/internal/upstream"
	"github.com/outrigger-mesh/outrigger/sidecar/internal/xds"
)

// sink takes what the control plane says to where it belongs.
type sink struct {
	clusters  *upstream.Set
	directory *directory
	gateway   *gateway
	log       *slog.Logger
}

var _ xds.Sink = (*sink)(nil)

// SetCluster is xds.Sink's.
func (s *sink) SetCluster(c upstream.Config) { s.clusters.Put(c) }

// SetEndpoints is xds.Sink's.
func (s *sink) SetEndpoints(cluster string, endpoints []upstream.EndpointConfig) {
	s.clusters.Ensure(cluster).SetEndpoints(endpoints)
}

// RemoveCluster is xds.Sink's.
func (s *sink) RemoveCluster(name string) { s.clusters.Remove(name) }

// SetRoutes is xds.Sink's.
func (s *sink) SetRoutes(listener string, c *route.Config) {
	if !strings.HasPrefix(listener, "gateway/") {
		s.directory.setRoutes(listener, c, s.cluster)
		return
	}
	if listener != s.gateway.listener() {
		return
	}
	if err := s.gateway.setRoutes(c); err != nil { // the xds room has validated it: a defect
		s.log.Error("routes not taken, the last ones stay", "listener", listener, "error", err)
	}
}

func (s *sink) cluster(name string) middleware.Picker { return s.clusters.Ensure(name) }
