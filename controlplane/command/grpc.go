package command

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"

	"github.com/outrigger-mesh/outrigger/controlplane/internal/source/sidecar"
	xds "github.com/outrigger-mesh/outrigger/controlplane/internal/xds/serve"
	pb "github.com/outrigger-mesh/outrigger/internal/registration/v1"
)

const (
	// pingAfter and pingTimeout find a client that is gone without a word (a
	// machine that lost power) within their sum.
	pingAfter   = 5 * time.Second
	pingTimeout = 5 * time.Second
	// minClientPing is how often a client may ping; sidecars do each 5 s or
	// more seldom.
	minClientPing = 4 * time.Second
	// maxRequest is enough to subscribe to 100,000 names, or to come back with
	// their versions.
	maxRequest    = 16 << 20
	maxStreams    = 1000 // on one connection
	handshakeTime = 10 * time.Second
	drainTime     = 5 * time.Second
)

// grpcServer is the port that sidecars connect to.
type grpcServer struct {
	log      *slog.Logger
	server   *grpc.Server
	discover *xds.Server
	register *sidecar.Source
}

func newGRPC(log *slog.Logger, discover *xds.Server, register *sidecar.Source) *grpcServer {
	s := grpc.NewServer(
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: pingAfter, Timeout: pingTimeout}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: minClientPing, PermitWithoutStream: true}),
		grpc.MaxRecvMsgSize(max(maxRequest, sidecar.MaxMessageBytes)),
		grpc.MaxConcurrentStreams(maxStreams),
		grpc.ConnectionTimeout(handshakeTime),
	)
	discover.Register(s)
	pb.RegisterRegistrationServer(s, register)
	return &grpcServer{log: log, server: s, discover: discover, register: register}
}

// run serves on l until ctx ends. Then clients are told to go (GOAWAY) and all
// streams end: sidecars go on with what they have.
func (s *grpcServer) run(ctx context.Context, l net.Listener) error {
	served := make(chan error, 1)
	go func() { served <- s.server.Serve(l) }()
	select {
	case err := <-served:
		return fmt.Errorf("serve %s: %w", l.Addr(), err)
	case <-ctx.Done():
	}
	s.discover.CloseStreams()
	s.register.CloseStreams()
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		s.server.GracefulStop()
	}()
	timeout := time.NewTimer(drainTime)
	defer timeout.Stop()
	select {
	case <-stopped:
	case <-timeout.C:
		s.log.Warn("some streams did not end in time, their connections are closed", "after", drainTime)
		s.server.Stop()
		<-stopped
	}
	<-served
	return nil
}
