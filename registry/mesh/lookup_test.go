package mesh_test

import (
	"errors"
	"slices"
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	"github.com/google/go-cmp/cmp"
	microregistry "go-micro.dev/v4/registry"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/outrigger-mesh/outrigger/internal/ads"
	"github.com/outrigger-mesh/outrigger/internal/ads/adstest"
)

func endpoint(port uint32, health corev3.HealthStatus, meta *structpb.Struct) *endpointv3.LbEndpoint {
	e := &endpointv3.LbEndpoint{
		HealthStatus:        health,
		LoadBalancingWeight: wrapperspb.UInt32(2),
		HostIdentifier: &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{
			Address: &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
				Address: "10.0.0.1", PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: port},
			}}},
		}},
	}
	if meta != nil {
		e.Metadata = &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{"outrigger": meta}}
	}
	return e
}

func setEndpoints(s *adstest.Server, name, version string, eps ...*endpointv3.LbEndpoint) {
	s.Edit(func(e adstest.Editor) {
		e.Set(name, version, &clusterv3.Cluster{Name: name})
		e.Set(name, version, &endpointv3.ClusterLoadAssignment{
			ClusterName: name,
			Endpoints: []*endpointv3.LocalityLbEndpoints{{
				Locality: &corev3.Locality{Region: "bj", Zone: "bj-2", SubZone: "r7"}, LbEndpoints: eps,
			}},
		})
	})
}

func addresses(t *testing.T, r *struct{ microregistry.Registry }, name string) []string {
	t.Helper()
	services, err := r.GetService(name)
	if err != nil && !errors.Is(err, microregistry.ErrNotFound) {
		t.Fatal(err)
	}
	var out []string
	for _, s := range services {
		for _, n := range s.Nodes {
			out = append(out, n.Address)
		}
	}
	slices.Sort(out)
	return out
}

func TestLookupGivesWhatTakesRequestsWithItsMetadata(t *testing.T) {
	s := adstest.Start(t)
	meta, err := structpb.NewStruct(map[string]any{
		"network": "dc1", "node": "vm-9", "namespace": "default", "service": "users", "portName": "web",
		"protocol": "http2", "version": "v2", "host": "h9", "portNumber": 8080.0,
		"metadata": map[string]any{"team": "red"},
	})
	if err != nil {
		t.Fatal(err)
	}
	setEndpoints(s, "users.default:80", "1",
		endpoint(1, corev3.HealthStatus_HEALTHY, meta),
		endpoint(2, corev3.HealthStatus_DRAINING, nil),
		endpoint(3, corev3.HealthStatus_UNHEALTHY, nil),
		endpoint(4, corev3.HealthStatus_UNKNOWN, nil),
	)
	r := open(t, s.Addr(), nil)
	services, err := r.GetService("users")
	if err != nil {
		t.Fatal(err)
	}
	want := []*microregistry.Service{
		{Name: "users", Nodes: []*microregistry.Node{{
			// Another control plane's endpoints are known by their address.
			Id: "default/10.0.0.1:4/http", Address: "10.0.0.1:4",
			Metadata: map[string]string{
				"outrigger.network": "default", "outrigger.node": "10.0.0.1:4", "outrigger.port": "http",
				"outrigger.status": "up", "outrigger.weight": "2",
				"outrigger.region": "bj", "outrigger.zone": "bj-2", "outrigger.subzone": "r7",
			},
		}}},
		{Name: "users", Version: "v2", Nodes: []*microregistry.Node{{
			Id: "dc1/vm-9/web", Address: "10.0.0.1:1",
			Metadata: map[string]string{
				"outrigger.network": "dc1", "outrigger.node": "vm-9", "outrigger.port": "web",
				"outrigger.protocol": "http2", "outrigger.status": "up", "outrigger.weight": "2", "outrigger.host": "h9",
				"outrigger.portNumber": "8080", "outrigger.region": "bj", "outrigger.zone": "bj-2",
				"outrigger.subzone": "r7", "team": "red",
			},
		}}},
	}
	if diff := cmp.Diff(want, services); diff != "" {
		t.Errorf("service (-want +got):\n%s", diff)
	}
}

func TestLookupOfOnePortAsksForNothingElse(t *testing.T) {
	s := adstest.Start(t)
	setEndpoints(s, "users.default:80", "1", endpoint(1, corev3.HealthStatus_HEALTHY, nil))
	setEndpoints(s, "users.default:81", "1", endpoint(2, corev3.HealthStatus_HEALTHY, nil))
	r := &struct{ microregistry.Registry }{open(t, s.Addr(), nil)}
	if got := addresses(t, r, "users:81"); !slices.Equal(got, []string{"10.0.0.1:2"}) {
		t.Errorf("port 81 is at %q", got)
	}
	if len(s.Requests(ads.ClusterType)) != 0 || s.Subscribed(ads.EndpointType, "users.default:80") {
		t.Error("more was asked for than the port")
	}
	if got := addresses(t, r, "users:82"); got != nil {
		t.Errorf("port 82 is at %q", got)
	}
	adstest.Eventually(t, "what is not there is given up", func() bool {
		return !s.Subscribed(ads.EndpointType, "users.default:82")
	})
	if got := addresses(t, r, "users"); !slices.Equal(got, []string{"10.0.0.1:1", "10.0.0.1:2"}) {
		t.Errorf("the service is at %q", got)
	}
}

func TestPortThatComesLaterBelongsToTheService(t *testing.T) {
	s := adstest.Start(t)
	setEndpoints(s, "users.default:80", "1", endpoint(1, corev3.HealthStatus_HEALTHY, nil))
	r := &struct{ microregistry.Registry }{open(t, s.Addr(), nil)}
	if got := addresses(t, r, "users"); !slices.Equal(got, []string{"10.0.0.1:1"}) {
		t.Fatalf("the service is at %q", got)
	}
	setEndpoints(s, "users.default:81", "1", endpoint(2, corev3.HealthStatus_HEALTHY, nil))
	adstest.Eventually(t, "the new port is there", func() bool {
		return slices.Equal(addresses(t, r, "users"), []string{"10.0.0.1:1", "10.0.0.1:2"})
	})
	s.Remove(ads.ClusterType, "users.default:80")
	adstest.Eventually(t, "the old one is not", func() bool {
		return slices.Equal(addresses(t, r, "users"), []string{"10.0.0.1:2"}) &&
			!s.Subscribed(ads.EndpointType, "users.default:80")
	})
}

func TestEndpointsThatCannotBeReadAreRefused(t *testing.T) {
	s := adstest.Start(t)
	setEndpoints(s, "users.default:80", "1", endpoint(1, corev3.HealthStatus_HEALTHY, nil))
	r := &struct{ microregistry.Registry }{open(t, s.Addr(), nil)}
	if got := addresses(t, r, "users"); !slices.Equal(got, []string{"10.0.0.1:1"}) {
		t.Fatalf("the service is at %q", got)
	}
	setEndpoints(s, "users.default:80", "2", endpoint(0, corev3.HealthStatus_HEALTHY, nil))
	adstest.Eventually(t, "a NACK", func() bool { return len(s.Nacks()) > 0 })
	if got := addresses(t, r, "users"); !slices.Equal(got, []string{"10.0.0.1:1"}) {
		t.Errorf("the last good is lost, the service is at %q", got)
	}
}
