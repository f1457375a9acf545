package serve_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	resourcev3 "github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/outrigger-mesh/outrigger/controlplane/internal/xds/serve"
	"github.com/outrigger-mesh/outrigger/controlplane/internal/xds/translate"
)

const (
	cds = resourcev3.ClusterType
	eds = resourcev3.EndpointType
	lds = resourcev3.ListenerType
	rds = resourcev3.RouteType
	sds = resourcev3.SecretType
)

// patience bounds every wait for the server.
const patience = 10 * time.Second

// world is a cache behind a real server.
type world struct {
	t       *testing.T
	cache   *serve.Cache
	server  *serve.Server
	metrics *prometheus.Registry
	conn    *grpc.ClientConn
}

func newWorld(t *testing.T) *world {
	t.Helper()
	return newWorldWhere(t, nil)
}

// newWorldWhere is newWorld with a say on where clients are.
func newWorldWhere(t *testing.T, locate func(serve.Client) serve.Place) *world {
	t.Helper()
	w := &world{t: t, metrics: prometheus.NewRegistry()}
	w.cache = serve.NewCache(serve.Options{Logger: slog.New(slog.DiscardHandler), Metrics: w.metrics, Locate: locate})
	w.server = serve.NewServer(w.cache)
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := grpc.NewServer()
	w.server.Register(g)
	served := make(chan struct{})
	go func() { defer close(served); _ = g.Serve(l) }()
	w.conn, err = grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		w.conn.Close()
		w.server.CloseStreams()
		g.Stop()
		<-served
	})
	return w
}

// set gives the resources, each written type:name=content, their content.
func (w *world) set(resources ...string) {
	w.t.Helper()
	w.change(resources, nil)
}

func (w *world) remove(resources ...string) {
	w.t.Helper()
	w.change(nil, resources)
}

func (w *world) change(set, remove []string) {
	w.t.Helper()
	var c translate.Changes
	for _, s := range set {
		c.Set = append(c.Set, parse(w.t, s))
	}
	for _, s := range remove {
		c.Remove = append(c.Remove, parse(w.t, s).Ref)
	}
	if err := w.cache.Update(c); err != nil {
		w.t.Fatal(err)
	}
}

// parse makes a small resource of type:name=content.
func parse(t *testing.T, s string) translate.Resource {
	t.Helper()
	kind, rest, _ := strings.Cut(s, ":")
	name, content, _ := strings.Cut(rest, "=")
	typeURL := map[string]string{"cds": cds, "eds": eds, "lds": lds, "rds": rds}[kind]
	var m proto.Message
	switch kind {
	case "cds":
		m = &clusterv3.Cluster{Name: name, AltStatName: content}
	case "eds":
		m = &endpointv3.ClusterLoadAssignment{
			ClusterName: name,
			Endpoints:   []*endpointv3.LocalityLbEndpoints{{Locality: &corev3.Locality{Region: content}}},
		}
	case "lds":
		m = &listenerv3.Listener{Name: name, StatPrefix: content}
	case "rds":
		m = &routev3.RouteConfiguration{Name: name, VirtualHosts: []*routev3.VirtualHost{{Name: content}}}
	default:
		t.Fatalf("resource %q is of no known kind", s)
	}
	return translate.Resource{Ref: translate.Ref{Type: typeURL, Name: name}, Message: m}
}

// client is a raw delta client: it answers nothing by itself.
type client struct {
	t        *testing.T
	stream   discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesClient
	in       chan *discoveryv3.DeltaDiscoveryResponse
	ended    chan error
	cancel   context.CancelFunc
	barriers int
	named    bool
	node     *corev3.Node // of the first request; nil: node-1 without a locality
}

func (w *world) client() *client {
	w.t.Helper()
	ctx, cancel := context.WithCancel(w.t.Context())
	stream, err := discoveryv3.NewAggregatedDiscoveryServiceClient(w.conn).DeltaAggregatedResources(ctx)
	if err != nil {
		w.t.Fatal(err)
	}
	c := &client{
		t: w.t, stream: stream, cancel: cancel,
		in: make(chan *discoveryv3.DeltaDiscoveryResponse, 100), ended: make(chan error, 1),
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			r, err := stream.Recv()
			if err != nil {
				c.ended <- err
				return
			}
			c.in <- r
		}
	}()
	w.t.Cleanup(func() { cancel(); <-done })
	return c
}

func (c *client) send(r *discoveryv3.DeltaDiscoveryRequest) {
	c.t.Helper()
	if !c.named {
		if r.Node = c.node; c.node == nil {
			r.Node = &corev3.Node{Id: "node-1", Cluster: "default"}
		}
		c.named = true
	}
	if err := c.stream.Send(r); err != nil {
		c.t.Fatalf("send: %v", err)
	}
}

func (c *client) subscribe(typeURL string, names ...string) {
	c.t.Helper()
	c.send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: typeURL, ResourceNamesSubscribe: names})
}

func (c *client) unsubscribe(typeURL string, names ...string) {
	c.t.Helper()
	c.send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: typeURL, ResourceNamesUnsubscribe: names})
}

func (c *client) ack(r *discoveryv3.DeltaDiscoveryResponse) {
	c.t.Helper()
	c.send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: r.GetTypeUrl(), ResponseNonce: r.GetNonce()})
}

func (c *client) nack(r *discoveryv3.DeltaDiscoveryResponse, reason string) {
	c.t.Helper()
	c.send(&discoveryv3.DeltaDiscoveryRequest{
		TypeUrl: r.GetTypeUrl(), ResponseNonce: r.GetNonce(),
		ErrorDetail: status.New(codes.InvalidArgument, reason).Proto(),
	})
}

// next is the next response.
func (c *client) next() *discoveryv3.DeltaDiscoveryResponse {
	c.t.Helper()
	select {
	case r := <-c.in:
		return r
	case err := <-c.ended:
		c.t.Fatalf("the stream ended: %v", err)
	case <-time.After(patience):
		c.t.Fatal("no response came")
	}
	return nil
}

// expect waits for the next response and wants it to say this: its type, the
// resources, and behind a minus the removed ones, such as "cds a b -c".
func (c *client) expect(want string) *discoveryv3.DeltaDiscoveryResponse {
	c.t.Helper()
	r := c.next()
	if got := say(r); got != want {
		c.t.Fatalf("response says %q, want %q", got, want)
	}
	return r
}

// expectAcked is expect, and an ACK.
func (c *client) expectAcked(want string) {
	c.t.Helper()
	c.ack(c.expect(want))
}

// nothing wants that nothing waits to be received. It asks for something that
// is answered at once and sees that this is the next answer: responses on a
// stream come in the order in which they were made.
func (c *client) nothing() {
	c.t.Helper()
	c.barriers++
	name := fmt.Sprintf("barrier-%d", c.barriers)
	c.subscribe(sds, name)
	c.expectAcked("sds -" + name)
}

func say(r *discoveryv3.DeltaDiscoveryResponse) string {
	short := map[string]string{cds: "cds", eds: "eds", lds: "lds", rds: "rds", sds: "sds"}
	words := []string{short[r.GetTypeUrl()]}
	for _, res := range r.GetResources() {
		words = append(words, res.GetName())
	}
	for _, name := range r.GetRemovedResources() {
		words = append(words, "-"+name)
	}
	return strings.Join(words, " ")
}
