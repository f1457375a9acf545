package xds

import (
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/outrigger-mesh/outrigger/registry"
	"github.com/outrigger-mesh/outrigger/sidecar/internal/upstream"
)

func TestEndpointsAreCarried(t *testing.T) {
	a := &endpointv3.ClusterLoadAssignment{ClusterName: "e", Endpoints: []*endpointv3.LocalityLbEndpoints{
		{
			Locality: &corev3.Locality{Region: "bj", Zone: "bj-1", SubZone: "r1"},
			LbEndpoints: []*endpointv3.LbEndpoint{
				lbEndpoint("10.0.0.1:80", 2, corev3.HealthStatus_HEALTHY),
				lbEndpoint("[fd00::1]:80", 1, corev3.HealthStatus_UNKNOWN),
				lbEndpoint("vm-7:80", 1, corev3.HealthStatus_DRAINING),
				lbEndpoint("10.0.0.4:80", 1, corev3.HealthStatus_TIMEOUT),
			},
		},
		{Priority: 1, LbEndpoints: []*endpointv3.LbEndpoint{lbEndpoint("10.0.1.1:80", 1, corev3.HealthStatus_HEALTHY)}},
	}}
	got, err := decodeEndpoints("e", pack(a))
	if err != nil {
		t.Fatal(err)
	}
	loc := registry.Locality{Region: "bj", Zone: "bj-1", Subzone: "r1"}
	want := []upstream.EndpointConfig{
		{Address: "10.0.0.1:80", Locality: loc, Weight: 2, Status: registry.StatusUp},
		{Address: "[fd00::1]:80", Locality: loc, Weight: 1, Status: registry.StatusUp},
		{Address: "vm-7:80", Locality: loc, Weight: 1, Status: registry.StatusDraining},
		{Address: "10.0.0.4:80", Locality: loc, Weight: 1, Status: registry.StatusDown},
		{Address: "10.0.1.1:80", Priority: 1, Weight: 1, Status: registry.StatusUp},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("endpoints (-want +got):\n%s", diff)
	}
}

func TestLocalityWeightIsSharedByItsEndpoints(t *testing.T) {
	type locality struct {
		weight    uint32 // zero: not set
		endpoints []uint32
		down      int // so many of the last are down
	}
	for _, tc := range []struct {
		name string
		in   []locality
		want []uint32
	}{
		{"none weighted", []locality{{endpoints: []uint32{1, 3}}, {endpoints: []uint32{2}}}, []uint32{1, 3, 2}},
		{"as their sum", []locality{{weight: 4, endpoints: []uint32{1, 3}}, {weight: 2, endpoints: []uint32{2}}}, []uint32{1, 3, 2}},
		{"one of two takes most", []locality{{weight: 6, endpoints: []uint32{1, 1}}, {weight: 1, endpoints: []uint32{1}}}, []uint32{3, 3, 1}},
		{"in fractions", []locality{{weight: 1, endpoints: []uint32{1, 1}}, {weight: 1, endpoints: []uint32{1}}}, []uint32{32768, 32768, 65536}},
		{"without weight beside one with", []locality{{weight: 1, endpoints: []uint32{1}}, {endpoints: []uint32{1}}}, []uint32{1}},
		{"of those that are up", []locality{{weight: 2, endpoints: []uint32{2, 2}, down: 1}}, []uint32{2, 2}},
		{"all down", []locality{{weight: 1, endpoints: []uint32{2, 2}, down: 2}}, []uint32{2, 2}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			a := &endpointv3.ClusterLoadAssignment{ClusterName: "e"}
			port := 0
			for _, in := range tc.in {
				l := &endpointv3.LocalityLbEndpoints{}
				if in.weight > 0 {
					l.LoadBalancingWeight = wrapperspb.UInt32(in.weight)
				}
				for i, w := range in.endpoints {
					health := corev3.HealthStatus_HEALTHY
					if i >= len(in.endpoints)-in.down {
						health = corev3.HealthStatus_UNHEALTHY
					}
					port++
					e := lbEndpoint("10.0.0.1:1", w, health)
					e.GetEndpoint().GetAddress().GetSocketAddress().PortSpecifier = &corev3.SocketAddress_PortValue{PortValue: uint32(port)}
					l.LbEndpoints = append(l.LbEndpoints, e)
				}
				a.Endpoints = append(a.Endpoints, l)
			}
			eps, err := decodeEndpoints("e", pack(a))
			if err != nil {
				t.Fatal(err)
			}
			var got []uint32
			for _, e := range eps {
				got = append(got, e.Weight)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("weights (-want +got):\n%s", diff)
			}
		})
	}
}
