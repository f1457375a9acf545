package serve_test

import (
	"strings"
	"testing"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func TestAStreamMustSayWhoseItIs(t *testing.T) {
	w := newWorld(t)
	c := w.client()
	c.named = true
	c.subscribe(cds, "a")
	c.expectEnd(codes.InvalidArgument, "must name the node")
}

func TestATypeThatIsNotServedIsRefused(t *testing.T) {
	w := newWorld(t)
	c := w.client()
	c.subscribe("type.googleapis.com/google.protobuf.Empty", "a")
	c.expectEnd(codes.InvalidArgument, "google.protobuf.Empty")
}

func TestStateOfTheWorldIsRefusedWithWhatToUse(t *testing.T) {
	w := newWorld(t)
	stream, err := discoveryv3.NewAggregatedDiscoveryServiceClient(w.conn).StreamAggregatedResources(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	_, err = stream.Recv()
	if status.Code(err) != codes.Unimplemented || !strings.Contains(err.Error(), "DeltaAggregatedResources") {
		t.Fatalf("got %v, want %v and the name of the other form", err, codes.Unimplemented)
	}
}

func TestCloseStreamsEndsThemAsUnavailable(t *testing.T) {
	w := newWorld(t)
	c := w.client()
	c.subscribe(cds, "a")
	c.expectAcked("cds -a")
	w.server.CloseStreams()
	c.expectEnd(codes.Unavailable, "")
}

func TestAnEndedStreamIsForgotten(t *testing.T) {
	w := newWorld(t)
	c := w.client()
	c.subscribe(cds, "*", "a")
	c.expectAcked("cds -a")
	if n := len(w.cache.Proxies()); n != 1 {
		t.Fatalf("%d proxies are connected, want 1", n)
	}
	c.cancel()
	for deadline := time.Now().Add(patience); len(w.cache.Proxies()) != 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the ended stream is still there")
		}
	}
	w.set("cds:a=1") // must not reach for the stream that is gone
}

// expectEnd wants that the server ends the stream, and how.
func (c *client) expectEnd(code codes.Code, text string) {
	c.t.Helper()
	select {
	case err := <-c.ended:
		if status.Code(err) != code || !strings.Contains(err.Error(), text) {
			c.t.Fatalf("the stream ended with %v, want %v and %q", err, code, text)
		}
	case r := <-c.in:
		c.t.Fatalf("a response came: %s", say(r))
	case <-time.After(patience):
		c.t.Fatal("the stream goes on")
	}
}
