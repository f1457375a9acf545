// Package grpchealth asks a server's gRPC health service once whether it can
// serve (grpc.health.v1.Health/Check,
// https://github.com/grpc/grpc/blob/master/doc/health-checking.md).
//
// Each check makes a connection of its own: a kept one would not notice that the
// server no longer accepts any.
package grpchealth

import (
	"context"
	"fmt"
	"net"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
)

// maxAnswer bounds the answer, in bytes.
const maxAnswer = 64 << 10

// Target is what is asked, and where.
type Target struct {
	Address   string // for messages, and the authority where none is given
	Authority string // empty: Address
	Service   string // empty: the server as a whole
	// Dial makes the connection, with TLS where the server wants it. The
	// environment's proxy settings are not followed.
	Dial func(context.Context) (net.Conn, error)
}

// Check returns nil when the answer is SERVING.
func Check(ctx context.Context, t Target) error {
	options := []grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()), // TLS is Dial's
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return t.Dial(ctx) }),
		grpc.WithUserAgent("outrigger-health"),
		grpc.WithDisableServiceConfig(),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxAnswer)),
	}
	if t.Authority != "" {
		options = append(options, grpc.WithAuthority(t.Authority))
	}
	conn, err := grpc.NewClient("passthrough:///"+t.Address, options...)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	res, err := healthpb.NewHealthClient(conn).Check(ctx, &healthpb.HealthCheckRequest{Service: t.Service})
	switch status.Code(err) {
	case codes.OK:
	case codes.Unimplemented:
		return fmt.Errorf("%s has no gRPC health service (grpc.health.v1.Health): register one in the server, or check it another way", t.Address)
	case codes.NotFound:
		return fmt.Errorf("the gRPC health service of %s does not know the service %q", t.Address, t.Service)
	default:
		return err
	}
	if res.GetStatus() != healthpb.HealthCheckResponse_SERVING {
		return fmt.Errorf("answered %s", res.GetStatus())
	}
	return nil
}
