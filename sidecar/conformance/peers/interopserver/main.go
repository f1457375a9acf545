// Interopserver is grpc-go's interop server: the services are grpc-go's own
// (package interop). Unlike grpc-go's program it listens on loopback alone, on a port
// that is free, and prints the address.
package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"time"

	orcapb "github.com/cncf/xds/go/xds/data/orca/v3"
	orcagrpc "github.com/cncf/xds/go/xds/service/orca/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthgrpc "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/interop"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/orca"
	"google.golang.org/grpc/reflection"
)

func main() {
	ln, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		fail(err)
	}
	metrics := orca.NewServerMetricsRecorder()
	server := grpc.NewServer(orca.CallMetricsServerOption(nil))
	testgrpc.RegisterTestServiceServer(server, interop.NewTestServer(interop.NewTestServerOptions{MetricsRecorder: metrics}))
	orcagrpc.RegisterOpenRcaServiceServer(server, &load{metrics: metrics})
	healthgrpc.RegisterHealthServer(server, health.NewServer())
	reflection.Register(server)
	fmt.Println(ln.Addr())
	if err := server.Serve(ln); err != nil {
		fail(err)
	}
}

// load reports as often as it is asked to. That of package orca does so at most
// every 30 seconds, but in a way that only grpc-go's own program can change.
type load struct {
	orcagrpc.UnimplementedOpenRcaServiceServer
	metrics orca.ServerMetricsProvider
}

// StreamCoreMetrics sends a report at once and then every interval.
func (l *load) StreamCoreMetrics(r *orcagrpc.OrcaLoadReportRequest, stream grpc.ServerStreamingServer[orcapb.OrcaLoadReport]) error {
	tick := time.NewTicker(max(r.GetReportInterval().AsDuration(), 100*time.Millisecond))
	defer tick.Stop()
	for {
		m := l.metrics.ServerMetrics()
		report := &orcapb.OrcaLoadReport{CpuUtilization: m.CPUUtilization, MemUtilization: m.MemUtilization, Utilization: m.Utilization}
		if err := stream.Send(report); err != nil {
			return err
		}
		select {
		case <-stream.Context().Done():
			return stream.Context().Err()
		case <-tick.C:
		}
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "interopserver:", err)
	os.Exit(1)
}
