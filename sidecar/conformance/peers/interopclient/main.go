// Interopclient runs test cases of grpc-go's interop client one after the
// other, each on a connection of its own, and prints a line for each that has
// passed. The cases are grpc-go's own code (package interop), and their names are
// those of https://github.com/grpc/grpc/blob/master/doc/interop-test-descriptions.md.
// What this program has and grpc-go's does not is a flag for :authority, by
// which a sidecar is told which service is meant.
package main

import (
	"context"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/interop"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"
)

// cases are those that need no account with a cloud, without pick_first_unary,
// for which grpc-go's own server does not say who it is. The soaks are shorter than
// the default, and may be slow: how fast is not what they are here for.
var cases = map[string]func(context.Context, *peer, *grpc.ClientConn){
	"empty_unary":                 call(interop.DoEmptyUnaryCall),
	"large_unary":                 call(interop.DoLargeUnaryCall),
	"client_streaming":            call(interop.DoClientStreaming),
	"server_streaming":            call(interop.DoServerStreaming),
	"ping_pong":                   call(interop.DoPingPong),
	"empty_stream":                call(interop.DoEmptyStream),
	"timeout_on_sleeping_server":  call(interop.DoTimeoutOnSleepingServer),
	"cancel_after_begin":          call(interop.DoCancelAfterBegin),
	"cancel_after_first_response": call(interop.DoCancelAfterFirstResponse),
	"status_code_and_message":     call(interop.DoStatusCodeAndMessage),
	"special_status_message":      call(interop.DoSpecialStatusMessage),
	"custom_metadata":             call(interop.DoCustomMetadata),
	"unimplemented_method": func(ctx context.Context, _ *peer, cc *grpc.ClientConn) {
		interop.DoUnimplementedMethod(ctx, cc)
	},
	"unimplemented_service": func(ctx context.Context, _ *peer, cc *grpc.ClientConn) {
		interop.DoUnimplementedService(ctx, testgrpc.NewUnimplementedServiceClient(cc))
	},
	"orca_per_rpc": func(ctx context.Context, _ *peer, cc *grpc.ClientConn) {
		interop.DoORCAPerRPCTest(ctx, testgrpc.NewTestServiceClient(cc))
	},
	"orca_oob": func(ctx context.Context, _ *peer, cc *grpc.ClientConn) {
		interop.DoORCAOOBTest(ctx, testgrpc.NewTestServiceClient(cc))
	},
	"rpc_soak": func(ctx context.Context, p *peer, cc *grpc.ClientConn) {
		c := p.soak()
		c.ChannelForTest = func() (*grpc.ClientConn, func()) { return cc, func() {} }
		interop.DoSoakTest(ctx, c)
	},
	"channel_soak": func(ctx context.Context, p *peer, _ *grpc.ClientConn) {
		c := p.soak()
		c.ChannelForTest = func() (*grpc.ClientConn, func()) {
			cc, err := p.dial("channel_soak")
			if err != nil {
				p.fail(err)
			}
			return cc, func() { _ = cc.Close() }
		}
		interop.DoSoakTest(ctx, c)
	},
}

// backendMetrics is the balancer with which the client is told of the server's
// load: the orca cases look at what it has learned.
const backendMetrics = `{"loadBalancingConfig": [{"test_backend_metrics_load_balancer": {}}]}`

// call is a case that takes a client of the test service.
func call(do func(context.Context, testgrpc.TestServiceClient, ...grpc.CallOption)) func(context.Context, *peer, *grpc.ClientConn) {
	return func(ctx context.Context, _ *peer, cc *grpc.ClientConn) {
		do(ctx, testgrpc.NewTestServiceClient(cc))
	}
}

// peer is whom the cases call.
type peer struct {
	target, authority string
	creds             credentials.TransportCredentials
	iterations        int
}

func main() {
	var p peer
	flag.StringVar(&p.target, "target", "", "host:port to connect to")
	flag.StringVar(&p.authority, "authority", "", "the name of the service; empty: the target's")
	ca := flag.String("ca", "", "a file of certificates to trust: TLS is spoken")
	serverName := flag.String("server-name", "", "the name that the certificate is for")
	flag.IntVar(&p.iterations, "iterations", 20, "of the soaks")
	timeout := flag.Duration("timeout", time.Minute, "for all cases")
	flag.Parse()
	p.creds = insecure.NewCredentials()
	if *ca != "" {
		roots, err := os.ReadFile(*ca)
		if err != nil {
			p.fail(err)
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(roots) {
			p.fail(fmt.Errorf("%s holds no certificate", *ca))
		}
		p.creds = credentials.NewClientTLSFromCert(pool, *serverName)
	}
	ctx, cancel := context.WithTimeout(context.Background(), *timeout)
	defer cancel()
	for _, name := range flag.Args() {
		run, ok := cases[name]
		if !ok {
			p.fail(fmt.Errorf("no case is named %q", name))
		}
		cc, err := p.dial(name)
		if err != nil {
			p.fail(err)
		}
		begun := time.Now()
		run(ctx, &p, cc) // a case that fails ends the program
		if err := errors.Join(ctx.Err(), cc.Close()); err != nil {
			p.fail(fmt.Errorf("%s: %w", name, err))
		}
		fmt.Println("passed", name, time.Since(begun).Round(time.Millisecond))
	}
}

func (p *peer) dial(name string) (*grpc.ClientConn, error) {
	options := []grpc.DialOption{grpc.WithTransportCredentials(p.creds), grpc.WithNoProxy()}
	if p.authority != "" {
		options = append(options, grpc.WithAuthority(p.authority))
	}
	if name == "orca_per_rpc" || name == "orca_oob" {
		options = append(options, grpc.WithDisableServiceConfig(), grpc.WithDefaultServiceConfig(backendMetrics))
	}
	return grpc.NewClient(p.target, options...)
}

func (p *peer) soak() interop.SoakTestConfig {
	return interop.SoakTestConfig{
		RequestSize: 271828, ResponseSize: 314159, // those of large_unary
		PerIterationMaxAcceptableLatency: 20 * time.Second,
		OverallTimeout:                   time.Minute,
		ServerAddr:                       p.target,
		NumWorkers:                       4,
		Iterations:                       p.iterations,
	}
}

func (p *peer) fail(err error) {
	fmt.Fprintln(os.Stderr, "interopclient:", err)
	os.Exit(1)
}
