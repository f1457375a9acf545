package serve_test

import (
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/outrigger-mesh/outrigger/controlplane/internal/mesh"
	"github.com/outrigger-mesh/outrigger/controlplane/internal/xds/serve"
	"github.com/outrigger-mesh/outrigger/controlplane/internal/xds/translate"
	"github.com/outrigger-mesh/outrigger/registry"
)

// endpoints sets the endpoints of catalog, each region/zone.
func (w *world) endpoints(places ...string) {
	w.t.Helper()
	var instances []mesh.Instance
	for i, place := range places {
		region, zone, _ := strings.Cut(place, "/")
		instances = append(instances, mesh.Instance{Instance: registry.Instance{
			Address: fmt.Sprintf("10.0.0.%d:1", i+1), Locality: registry.Locality{Region: region, Zone: zone},
		}})
	}
	a := &endpointv3.ClusterLoadAssignment{ClusterName: "catalog"}
	for _, i := range instances {
		a.Endpoints = append(a.Endpoints, &endpointv3.LocalityLbEndpoints{
			Locality: &corev3.Locality{Region: i.Locality.Region, Zone: i.Locality.Zone},
		})
	}
	err := w.cache.Update(translate.Changes{Set: []translate.Resource{{
		Ref: translate.Ref{Type: eds, Name: "catalog"}, Message: a, Zones: translate.NewZones("catalog", instances),
	}}})
	if err != nil {
		w.t.Fatal(err)
	}
}

// in is a client that says to be in a region and zone.
func (w *world) in(place string) *client {
	w.t.Helper()
	c := w.client()
	region, zone, _ := strings.Cut(place, "/")
	c.node = &corev3.Node{Id: "node in " + place, Locality: &corev3.Locality{Region: region, Zone: zone}}
	return c
}

// expectOrder waits for the endpoints of catalog and wants their localities by
// priority, each region/zone:priority.
func (c *client) expectOrder(want ...string) *discoveryv3.DeltaDiscoveryResponse {
	c.t.Helper()
	r := c.expect("eds catalog")
	var a endpointv3.ClusterLoadAssignment
	if err := r.GetResources()[0].GetResource().UnmarshalTo(&a); err != nil {
		c.t.Fatal(err)
	}
	var got []string
	for _, l := range a.GetEndpoints() {
		got = append(got, fmt.Sprintf("%s/%s:%d", l.GetLocality().GetRegion(), l.GetLocality().GetZone(), l.GetPriority()))
	}
	if !slices.Equal(got, want) {
		c.t.Fatalf("the endpoints are %v, want %v", got, want)
	}
	c.ack(r)
	return r
}

func TestAClientsOwnZoneHasTheFirstPriority(t *testing.T) {
	w := newWorld(t)
	w.endpoints("bj/1", "bj/2", "sh/1")
	for _, tt := range []struct{ place, want string }{
		{"bj/1", "bj/1:0 bj/2:1 sh/1:2"},
		{"bj/2", "bj/2:0 bj/1:1 sh/1:2"},
		{"bj/9", "bj/1:0 bj/2:0 sh/1:1"},
		{"sh/1", "sh/1:0 bj/1:1 bj/2:1"},
		{"gz/1", "bj/1:0 bj/2:0 sh/1:0"},
		{"/", "bj/1:0 bj/2:0 sh/1:0"},
	} {
		t.Run(tt.place, func(t *testing.T) {
			c := w.in(tt.place)
			c.subscribe(eds, "catalog")
			c.expectOrder(strings.Fields(tt.want)...)
			c.nothing()
		})
	}
}

func TestClientsOfOnePlaceShareOneForm(t *testing.T) {
	w := newWorld(t)
	w.endpoints("bj/1", "bj/2")
	a, b, c := w.in("bj/1"), w.in("bj/1"), w.in("bj/2")
	versions := map[*client]string{}
	for _, one := range []*client{a, b, c} {
		one.subscribe(eds, "catalog")
		r := one.next()
		one.ack(r)
		versions[one] = r.GetResources()[0].GetVersion()
	}
	if versions[a] != versions[b] || versions[a] == versions[c] {
		t.Errorf("the versions are %q, %q and %q, want the first two the same and the third another", versions[a], versions[b], versions[c])
	}
	// The same endpoints again are no news to anybody.
	w.endpoints("bj/1", "bj/2")
	a.nothing()
	c.nothing()
	w.endpoints("bj/1", "bj/2", "bj/2")
	a.expectOrder("bj/1:0", "bj/2:1")
	c.expectOrder("bj/2:0", "bj/1:1")
}

func TestAFormThatAClientHasIsNotSentAfterAReconnect(t *testing.T) {
	w := newWorld(t)
	w.endpoints("bj/1", "bj/2")
	c := w.in("bj/1")
	c.subscribe(eds, "catalog")
	version := c.expectOrder("bj/1:0", "bj/2:1").GetResources()[0].GetVersion()
	again := w.in("bj/1")
	again.send(&discoveryv3.DeltaDiscoveryRequest{
		TypeUrl: eds, ResourceNamesSubscribe: []string{"catalog"}, InitialResourceVersions: map[string]string{"catalog": version},
	})
	again.nothing()
	// To a client that has moved meanwhile it is another version.
	moved := w.in("bj/2")
	moved.send(&discoveryv3.DeltaDiscoveryRequest{
		TypeUrl: eds, ResourceNamesSubscribe: []string{"catalog"}, InitialResourceVersions: map[string]string{"catalog": version},
	})
	moved.expectOrder("bj/2:0", "bj/1:1")
}

func TestAClientWhoseHostMovesIsSentWhatDiffersFromThere(t *testing.T) {
	var zone atomic.Value
	zone.Store("1")
	w := newWorldWhere(t, func(c serve.Client) serve.Place {
		if c.Host != "vm-1" || c.Network != "dmz" {
			return serve.Place{Locality: c.Locality, Source: serve.FromNode}
		}
		return serve.Place{Locality: registry.Locality{Region: "bj", Zone: zone.Load().(string)}, Source: serve.FromHost, Host: "h1"}
	})
	w.endpoints("bj/1", "bj/2")
	w.set("eds:other=1")
	c := w.in("bj/2")
	c.node.Metadata = &structpb.Struct{Fields: map[string]*structpb.Value{
		"host": structpb.NewStringValue("vm-1"), "network": structpb.NewStringValue("dmz"),
	}}
	c.subscribe(eds, "catalog")
	c.expectOrder("bj/1:0", "bj/2:1") // the host's zone, not the one that the client says
	c.subscribe(eds, "other")
	c.expectAcked("eds other")
	w.cache.Relocate()
	c.nothing()
	zone.Store("2")
	w.cache.Relocate()
	c.expectOrder("bj/2:0", "bj/1:1") // and other is the same from anywhere
	c.nothing()
	p := w.cache.Proxies()
	if len(p) != 1 || p[0].Region != "bj" || p[0].Zone != "2" || p[0].LocalitySource != serve.FromHost || p[0].Host != "h1" {
		t.Errorf("the client is shown as %+v", p)
	}
}
