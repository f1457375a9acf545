package grpchealth

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func listen(t *testing.T) net.Listener {
	t.Helper()
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return ln
}

// serve serves gRPC until the test ends, and returns where.
func serve(t *testing.T, register func(*grpc.Server)) string {
	t.Helper()
	ln := listen(t)
	s := grpc.NewServer()
	register(s)
	ended := make(chan error)
	go func() { ended <- s.Serve(ln) }()
	t.Cleanup(func() {
		s.Stop()
		<-ended
	})
	return ln.Addr().String()
}

func target(address, service string) Target {
	return Target{Address: address, Service: service, Dial: func(ctx context.Context) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", address)
	}}
}

func TestOnlyServingIsHealthy(t *testing.T) {
	h := health.NewServer()
	h.SetServingStatus("users", healthpb.HealthCheckResponse_NOT_SERVING)
	h.SetServingStatus("orders", healthpb.HealthCheckResponse_SERVING)
	whole := serve(t, func(s *grpc.Server) { healthpb.RegisterHealthServer(s, h) })
	without := serve(t, func(*grpc.Server) {})
	for _, tt := range []struct{ name, address, service, want string }{
		{"the server", whole, "", ""},
		{"a service", whole, "orders", ""},
		{"one that does not serve", whole, "users", "answered NOT_SERVING"},
		{"one that is not known", whole, "payments", `the gRPC health service of ` + whole + ` does not know the service "payments"`},
		{"no health service", without, "", without + " has no gRPC health service (grpc.health.v1.Health): "},
		{"nobody", "127.0.0.1:1", "", "rpc error: code = Unavailable"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			err := Check(ctx, target(tt.address, tt.service))
			if (err == nil) != (tt.want == "") || err != nil && !strings.HasPrefix(err.Error(), tt.want) {
				t.Errorf("got %v, want %s", err, tt.want)
			}
		})
	}
}

func TestACheckEndsWithItsContext(t *testing.T) {
	ln := listen(t) // accepts nobody
	defer func() { _ = ln.Close() }()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := Check(ctx, target(ln.Addr().String(), "")); status.Code(err) != codes.DeadlineExceeded && !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

func TestTheAuthorityIsSent(t *testing.T) {
	address := serve(t, func(s *grpc.Server) { healthpb.RegisterHealthServer(s, authorities{}) })
	for authority, want := range map[string]string{"": address, "users.default": "users.default"} {
		c := target(address, want)
		c.Authority = authority
		if err := Check(t.Context(), c); err != nil {
			t.Errorf("%q: %v", authority, err)
		}
	}
}

// authorities serves what is asked for its own name.
type authorities struct {
	healthpb.UnimplementedHealthServer
}

func (authorities) Check(ctx context.Context, r *healthpb.HealthCheckRequest) (*healthpb.HealthCheckResponse, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	answer := healthpb.HealthCheckResponse_NOT_SERVING
	if got := md.Get(":authority"); len(got) == 1 && got[0] == r.GetService() {
		answer = healthpb.HealthCheckResponse_SERVING
	}
	return &healthpb.HealthCheckResponse{Status: answer}, nil
}
