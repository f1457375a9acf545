package upstream

import (
	"bytes"
	"context"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/outrigger-mesh/outrigger/middleware"
	"github.com/outrigger-mesh/outrigger/registry"
)

// realGRPC is a gRPC server with the health service, where every other method
// is an echo of messages.
func realGRPC(t *testing.T, seen func(context.Context)) string {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer(grpc.UnknownServiceHandler(func(_ any, st grpc.ServerStream) error {
		if seen != nil {
			seen(st.Context())
		}
		_ = st.SendHeader(metadata.Pairs("x-early", "yes")) // before any message
		for {
			m := new(healthpb.HealthCheckRequest)
			switch err := st.RecvMsg(m); {
			case err == io.EOF:
				return status.Error(codes.DataLoss, "that was all")
			case err != nil:
				return err
			}
			if err := st.SendMsg(m); err != nil {
				return err
			}
		}
	}))
	healthpb.RegisterHealthServer(s, health.NewServer())
	ended := make(chan struct{})
	go func() { defer close(ended); _ = s.Serve(ln) }()
	t.Cleanup(func() { s.Stop(); <-ended })
	return ln.Addr().String()
}

// grpcCall is a call of a method.
func grpcCall(c *Cluster, path string, body io.Reader) *middleware.Exchange {
	x := withBody(request2(c), body, -1)
	x.Request.Target = []byte(path)
	x.Request.Header.Add("content-type", "application/grpc")
	x.Request.Header.Add("te", "trailers")
	return x
}

// message is one message on the wire: HealthCheckRequest{service: text}.
func message(text string) []byte {
	return append([]byte{0, 0, 0, 0, byte(2 + len(text)), 0x0a, byte(len(text))}, text...)
}

func TestGRPCCalls(t *testing.T) {
	for _, p := range []registry.Protocol{registry.ProtocolGRPC, registry.ProtocolUndeclared} {
		c := cluster2(t, p, nil, realGRPC(t, nil))
		unary := fetch(grpcCall(c, "/grpc.health.v1.Health/Check", ready{bytes.NewReader([]byte{0, 0, 0, 0, 0})}))
		if unary.status != 200 || unary.trailer["grpc-status"] != "0" || unary.body != "\x00\x00\x00\x00\x02\x08\x01" {
			t.Errorf("unary: %+v", unary)
		}
		unknown := fetch(grpcCall(c, "/grpc.health.v1.Health/Check", ready{bytes.NewReader(message("nobody"))}))
		if unknown.status != 200 || unknown.header["grpc-status"] != "5" {
			t.Errorf("a response of trailers alone: %+v", unknown)
		}
		empty2(t, c)
	}
}

// TestAGRPCStreamInBothWays: each side says something when it has heard the
// other one.
func TestAGRPCStreamInBothWays(t *testing.T) {
	c := cluster2(t, registry.ProtocolGRPC, nil, realGRPC(t, nil))
	r, w := io.Pipe()
	x := grpcCall(c, "/a.B/C", r)
	x.Serve(middleware.Router)
	if x.Response.Status != 200 || string(x.Response.Header.Get("x-early")) != "yes" {
		t.Fatalf("status %d (%s)", x.Response.Status, x.Reason())
	}
	for _, text := range []string{"a", "b", strings.Repeat("c", 100)} {
		if _, err := w.Write(message(text)); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, len(message(text)))
		if _, err := io.ReadFull(x.Response.Body, got); err != nil || !bytes.Equal(got, message(text)) {
			t.Fatalf("%q came back as %q (%v)", text, got, err)
		}
	}
	_ = w.Close()
	if rest, err := io.ReadAll(x.Response.Body); err != nil || len(rest) != 0 {
		t.Errorf("behind the last message %q (%v)", rest, err)
	}
	if s, m := x.Response.Trailer.Get("grpc-status"), x.Response.Trailer.Get("grpc-message"); string(s) != "15" || string(m) != "that was all" {
		t.Errorf("grpc-status %q, grpc-message %q", s, m)
	}
	x.End(nil)
	until(t, "the pump is through", func() bool { return !x.Held() })
	empty2(t, c)
}

// TestTheTimeThatIsLeftIsPassedOn: an endpoint learns when the client gives up,
// whoever has said so.
func TestTheTimeThatIsLeftIsPassedOn(t *testing.T) {
	left := make(chan time.Duration, 1)
	c := cluster2(t, registry.ProtocolGRPC, nil, realGRPC(t, func(ctx context.Context) {
		d := time.Duration(-1)
		if at, ok := ctx.Deadline(); ok {
			d = time.Until(at)
		}
		left <- d
	}))
	for name, tt := range map[string]struct {
		said     string
		deadline time.Duration
		most     time.Duration
	}{"none": {"", 0, -1}, "the client's, less what is gone": {"10S", 3 * time.Second, 3 * time.Second}, "ours": {"", 2 * time.Second, 2 * time.Second}} {
		x := grpcCall(c, "/a.B/C", ready{bytes.NewReader(message("a"))})
		if tt.said != "" {
			x.Request.Header.Add("grpc-timeout", tt.said)
		}
		if tt.deadline > 0 {
			x.SetDeadline(time.Now().Add(tt.deadline))
		}
		if r := fetch(x); r.trailer["grpc-status"] != "15" {
			t.Errorf("%s: %+v", name, r)
		}
		if d := <-left; d > tt.most || tt.most > 0 && d < tt.most-time.Second {
			t.Errorf("%s: the endpoint has %s, want %s at most", name, d, tt.most)
		}
	}
	plain := withBody(request2(c), ready{bytes.NewReader([]byte("x"))}, 1)
	plain.SetDeadline(time.Now().Add(patience))
	fetch(plain) // no gRPC: 415, and nothing about time
}
