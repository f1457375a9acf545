package serve

import (
	"context"
	"sync"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	resourcev3 "github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	deltav3 "github.com/envoyproxy/go-control-plane/pkg/server/delta/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
)

// Server is the aggregated discovery service over a Cache.
type Server struct {
	cache  *Cache
	ending chan struct{}
	end    func()
}

var _ discoveryv3.AggregatedDiscoveryServiceServer = (*Server)(nil)

// NewServer makes a Server. Register it with a gRPC server.
func NewServer(c *Cache) *Server {
	s := &Server{cache: c, ending: make(chan struct{})}
	s.end = sync.OnceFunc(func() { close(s.ending) })
	return s
}

// CloseStreams ends all streams and refuses new ones, so that the gRPC server
// can stop. Clients keep what they have.
func (s *Server) CloseStreams() { s.end() }

// StreamAggregatedResources is the state-of-the-world form, which is refused.
func (s *Server) StreamAggregatedResources(discoveryv3.AggregatedDiscoveryService_StreamAggregatedResourcesServer) error {
	return errNoSotW
}

// DeltaAggregatedResources serves one stream until it ends.
func (s *Server) DeltaAggregatedResources(stream discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesServer) error {
	address := "unknown"
	if p, ok := peer.FromContext(stream.Context()); ok {
		address = p.Addr.String()
	}
	ctx, cancel := context.WithCancel(stream.Context())
	view := newSession(s.cache, address, cancel)
	s.cache.open(view)
	var watching sync.WaitGroup
	watching.Go(func() {
		select {
		case <-s.ending:
			cancel()
		case <-ctx.Done():
		}
	})
	defer func() {
		cancel()
		watching.Wait()
		view.close()
	}()
	server := deltav3.NewServer(ctx, view, view, deltav3.DeactivateLegacyWildcardForTypes(onlyNamed()))
	err := server.DeltaStreamHandler(stream, resourcev3.AnyType)
	if err == nil && stream.Context().Err() == nil && ctx.Err() != nil {
		return status.Error(codes.Unavailable, "the control plane ends this stream")
	}
	return err
}

// Register adds the service to a gRPC server.
func (s *Server) Register(r grpc.ServiceRegistrar) {
	discoveryv3.RegisterAggregatedDiscoveryServiceServer(r, s)
}
