package mesh_test

import (
	"fmt"
	"io"
	"maps"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/outrigger-mesh/outrigger/controlplane/internal/mesh"
	"github.com/outrigger-mesh/outrigger/controlplane/internal/object"
	"github.com/outrigger-mesh/outrigger/controlplane/internal/source"
	"github.com/outrigger-mesh/outrigger/internal/conf"
	"github.com/outrigger-mesh/outrigger/registry"
)

func host(name string, edit ...func(*object.Host)) *object.Host {
	h := &object.Host{
		Meta: object.Meta{ID: object.ID{Kind: object.KindHost, Name: name}},
		Spec: registry.Host{Key: name, Network: "default", Status: registry.StatusUp},
	}
	for _, e := range edit {
		e(h)
	}
	return h
}

func named(name string) func(*object.Host) { return func(h *object.Host) { h.Spec.Name = name } }
func asset(id string) func(*object.Host)   { return func(h *object.Host) { h.AssetID = id } }
func at(zone string) func(*object.Host) {
	return func(h *object.Host) { h.Spec.Locality = registry.Locality{Region: "bj", Zone: zone} }
}

func hostStatus(s registry.Status) func(*object.Host) {
	return func(h *object.Host) { h.Spec.Status = s }
}

func addresses(network string, all ...string) func(*object.Host) {
	return func(h *object.Host) { h.Spec.Network, h.Spec.Addresses = network, all }
}

func hosts(all ...*object.Host) source.Content { return source.Content{Hosts: all} }

func on(name string) func(*source.Instance) { return func(i *source.Instance) { i.Host = name } }

// one is the only instance of orders.
func (w *world) one() mesh.Instance {
	w.t.Helper()
	all := w.mesh.Snapshot().Service(orders).Port(80).Instances
	if len(all) != 1 {
		w.t.Fatalf("there are %d instances, want one", len(all))
	}
	return all[0]
}

func TestAnInstanceJoinsItsHost(t *testing.T) {
	tests := []struct {
		name     string
		instance source.Instance
		hosts    []*object.Host
		want     string // the zone that it takes, and how it was joined
	}{
		{"by the host's name", instance("n", "http", "10.0.0.1:1", on("vm-1")), []*object.Host{host("h", named("vm-1"), at("z"))}, "z name"},
		{"in any case of letters", instance("n", "http", "10.0.0.1:1", on("VM-1")), []*object.Host{host("h", named("Vm-1"), at("z"))}, "z name"},
		{"by its asset id", instance("n", "http", "10.0.0.1:1", on("A-17")), []*object.Host{host("h", asset("A-17"), at("z"))}, "z assetID"},
		{"by the key of the CMDB", instance("n", "http", "10.0.0.1:1", on("h")), []*object.Host{host("h", at("z"))}, "z key"},
		{"by network and address", instance("n", "http", "10.0.0.1:1"), []*object.Host{host("h", addresses("default", "10.0.0.9", "10.0.0.1"), at("z"))}, "z address"},
		{"by address, where nobody has its host's name", instance("n", "http", "10.0.0.1:1", on("vm-9")), []*object.Host{host("h", named("vm-1"), addresses("default", "10.0.0.1"), at("z"))}, "z address"},
		{"not by an address of another network", instance("n", "http", "10.0.0.1:1"), []*object.Host{host("h", addresses("other", "10.0.0.1"), at("z"))}, " "},
		{
			"by name before asset id, key and address", instance("n", "http", "10.0.0.1:1", on("vm-1")),
			[]*object.Host{host("vm-1", at("k")), host("a", asset("vm-1"), at("a")), host("c", addresses("default", "10.0.0.1"), at("c")), host("d", named("vm-1"), at("z"))},
			"z name",
		},
		{
			"in its own network, of two of one name", instance("n", "http", "10.0.0.1:1", on("vm-1")),
			[]*object.Host{host("a", named("vm-1"), addresses("other"), at("a")), host("b", named("vm-1"), at("z"))},
			"z name",
		},
		{
			"of the first by object name, of two of one name", instance("n", "http", "10.0.0.1:1", on("vm-1")),
			[]*object.Host{host("b", named("vm-1"), at("b")), host("a", named("vm-1"), at("z"))},
			"z name",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := synced(t)
			w.send("a", "n", instances(tt.instance))
			for _, h := range tt.hosts {
				w.send("b", h.Name, hosts(h))
			}
			i := w.one()
			if got := i.Locality.Zone + " " + i.Machine.JoinedBy; got != tt.want {
				t.Errorf("it is joined as %q, want %q", got, tt.want)
			}
			for _, h := range tt.hosts {
				w.send("b", h.Name, source.Content{})
			}
			if got := w.one(); got.Machine != (mesh.Machine{}) || got.Locality != (registry.Locality{}) {
				t.Errorf("without hosts it is %+v", got)
			}
			if n := w.mesh.Hosts().Count(); n != 0 {
				t.Errorf("%d hosts are left", n)
			}
		})
	}
}

func TestAHostGivesItsInstancesLocalityStatusAndLabels(t *testing.T) {
	w := synced(t)
	registered := instance("n", "http", "10.0.0.1:1", on("vm-1"))
	registered.Locality = registry.Locality{Region: "sh", Zone: "sh-1"}
	registered.Metadata = map[string]string{"team": "shop", "cmdb/owner": "nobody"}
	w.send("a", "n", instances(registered))
	if got, want := w.one().Metadata, map[string]string{"team": "shop"}; !maps.Equal(got, want) {
		t.Errorf("metadata without a host is %v, want %v: what is under cmdb/ is the CMDB's to say", got, want)
	}
	h := host("h", named("vm-1"), at("bj-1"), hostStatus(registry.StatusDraining))
	h.Spec.Labels = map[string]string{"env": "prod"}
	w.send("b", "h", hosts(h))
	want := mesh.Instance{
		Instance: registered.Instance, Source: "a", Machine: mesh.Machine{Object: "h", Name: "vm-1", JoinedBy: "name"},
		LocalitySource: "host", StatusSource: "host",
	}
	want.Locality, want.Status = registry.Locality{Region: "bj", Zone: "bj-1"}, registry.StatusDraining
	want.Metadata = map[string]string{"team": "shop", "cmdb/env": "prod"}
	if diff := cmp.Diff(want, w.one(), cmpopts.IgnoreUnexported(mesh.Instance{})); diff != "" {
		t.Errorf("instance (-want +got):\n%s", diff)
	}
	if c := w.last(); !c.Hosts || len(c.Services) != 1 {
		t.Errorf("the change says hosts %v and services %v, want both", c.Hosts, c.Services)
	}
	// A host that knows no locality leaves the registered one.
	w.send("b", "h", hosts(host("h", named("vm-1"))))
	if got := w.one(); got.Locality != registered.Locality || got.LocalitySource != "a" || got.Status != registry.StatusUp {
		t.Errorf("it is %+v", got)
	}
	if registered.Metadata["cmdb/owner"] != "nobody" {
		t.Error("what the source holds was changed")
	}
}

func TestTheMostRestrictiveStatusHolds(t *testing.T) {
	for _, tt := range []struct {
		registered, host, want registry.Status
		from                   string
	}{
		{registry.StatusUp, registry.StatusUp, registry.StatusUp, "a"},
		{registry.StatusUp, registry.StatusDraining, registry.StatusDraining, "host"},
		{registry.StatusUp, registry.StatusDown, registry.StatusDown, "host"},
		{registry.StatusDraining, registry.StatusUp, registry.StatusDraining, "a"},
		{registry.StatusDraining, registry.StatusDraining, registry.StatusDraining, "a"},
		{registry.StatusDraining, registry.StatusDown, registry.StatusDown, "host"},
	} {
		t.Run(fmt.Sprintf("%s on a host that is %s", tt.registered, tt.host), func(t *testing.T) {
			w := synced(t)
			w.send("b", "h", hosts(host("h", named("vm-1"), hostStatus(tt.host))))
			w.send("a", "n", instances(instance("n", "http", "10.0.0.1:1", on("vm-1"), status(tt.registered))))
			if got := w.one(); got.Status != tt.want || got.StatusSource != tt.from {
				t.Errorf("it is %s by %s, want %s by %s", got.Status, got.StatusSource, tt.want, tt.from)
			}
		})
	}
}

func TestTheFirstSourcesHostHolds(t *testing.T) {
	w := synced(t)
	w.send("a", "n", instances(instance("n", "http", "10.0.0.1:1", on("vm-1"))))
	w.send("b", "h", hosts(host("h", named("vm-1"), at("b"))))
	first := host("h", named("vm-1"), at("a"))
	first.Pos = conf.Pos{File: "h.yaml", Line: 3, Col: 1}
	w.send("a", "objects", hosts(first))
	if got := w.one().Locality.Zone; got != "a" {
		t.Errorf("the zone is %q, want that of the first source", got)
	}
	if got, ok := w.mesh.Hosts().Holder("h"); !ok || got.Source != "a" || got.Pos != first.Pos {
		t.Errorf("the holder is %+v, want source a at %v", got, first.Pos)
	}
	w.send("a", "objects", source.Content{})
	if got := w.one().Locality.Zone; got != "b" {
		t.Errorf("the zone is %q, want that of the source that is left", got)
	}
	if n := w.mesh.Hosts().Count(); n != 1 {
		t.Errorf("%d hosts are counted, want 1", n)
	}
}

func TestOfADeclarationInTwoSourcesTheFirstHoldsWhole(t *testing.T) {
	w := synced(t)
	declare := func(number uint16, address, file string) source.Content {
		c := declared(registry.Port{Name: "http", Number: number})
		c.Services[0].Endpoints = []object.StaticEndpoint{{PortName: "http", Address: address, Weight: 1}}
		c.Services[0].Pos = conf.Pos{File: file, Line: 1, Col: 1}
		return c
	}
	w.send("b", "k", declare(81, "10.0.0.2:1", ""))
	w.want("http orders.default:81 10.0.0.2:1")
	w.send("a", "k", declare(80, "10.0.0.1:1", "orders.yaml"))
	w.want("http orders.default:80 10.0.0.1:1")
	id := object.ID{Kind: object.KindMeshService, Namespace: "default", Name: "orders"}
	want := map[object.ID]mesh.Holder{id: {Source: "a", Pos: conf.Pos{File: "orders.yaml", Line: 1, Col: 1}}}
	if diff := cmp.Diff(want, w.mesh.Snapshot().Shared); diff != "" {
		t.Errorf("shared objects (-want +got):\n%s", diff)
	}
	w.send("a", "k", source.Content{})
	w.want("http orders.default:81 10.0.0.2:1")
	if shared := w.mesh.Snapshot().Shared; len(shared) != 0 {
		t.Errorf("shared objects are still %v", shared)
	}
}

func TestARouteInTwoSourcesIsToldWithItsHolder(t *testing.T) {
	w := synced(t)
	route := func(file string) source.Content {
		return source.Content{Routes: []*object.HTTPRoute{{Meta: object.Meta{
			ID: object.ID{Kind: object.KindHTTPRoute, Namespace: "default", Name: "r"}, Pos: conf.Pos{File: file},
		}}}}
	}
	w.send("b", "r", route(""))
	w.send("a", "f", route("r.yaml"))
	want := map[object.ID]mesh.Holder{
		{Kind: object.KindHTTPRoute, Namespace: "default", Name: "r"}: {Source: "a", Pos: conf.Pos{File: "r.yaml"}},
	}
	if diff := cmp.Diff(want, w.mesh.Snapshot().Shared); diff != "" {
		t.Errorf("shared objects (-want +got):\n%s", diff)
	}
	w.send("b", "r", source.Content{})
	if shared := w.mesh.Snapshot().Shared; len(shared) != 0 {
		t.Errorf("shared objects are still %v", shared)
	}
}

func TestWhatBelongsTogetherIsPublishedTogether(t *testing.T) {
	w := newWorld(t, io.Discard)
	w.run()
	for _, name := range []string{"a", "b"} {
		w.updates <- source.Update{Source: name, Synced: true}
	}
	w.wait(w.mesh.Ready())
	served := make(chan struct{})
	w.updates <- source.Update{Source: "a", Key: "1", Content: instances(instance("n1", "http", "10.0.0.1:1")), More: true}
	// It is not published while its other half is awaited, though there is time.
	w.updates <- source.Update{Source: "b", Key: "1", Content: instances(instance("n2", "http", "10.0.0.2:1")), Done: func() { close(served) }}
	for len(w.updates) > 0 {
		time.Sleep(time.Millisecond)
	}
	if n := w.published(); n != 1 {
		t.Errorf("published %d times, want the first, empty world alone", n)
	}
	w.updates <- source.Update{Source: "a", Key: "2", Content: instances(instance("n3", "http", "10.0.0.3:1"))}
	w.wait(served)
	w.want("http orders.default:80 10.0.0.1:1 10.0.0.2:1 10.0.0.3:1")
	if n := w.published(); n != 2 {
		t.Errorf("published %d times, want once for both halves", n)
	}
	if got := w.mesh.Sources(); len(got) != 2 || got[0].Keys != 2 || !got[0].Synced || got[0].Updated.IsZero() {
		t.Errorf("the sources are %+v", got)
	}
}
