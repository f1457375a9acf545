package micro_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	microregistry "go-micro.dev/v4/registry"

	"github.com/outrigger-mesh/outrigger/registry"
	"github.com/outrigger-mesh/outrigger/registry/micro"
)

func full() registry.Instance {
	return registry.Instance{
		InstanceKey: registry.InstanceKey{
			Network: "dc1", Node: "orders-1", PortName: "web",
			Service: registry.ServiceName{Namespace: "shop", Name: "orders"},
		},
		Address: "10.0.0.7:15006", PortNumber: 8080, Protocol: registry.ProtocolHTTP2, Version: "v2", Weight: 3,
		Host: "vm-17", Locality: registry.Locality{Region: "bj", Zone: "bj-2", Subzone: "r7"},
		Status: registry.StatusDraining, Metadata: map[string]string{"app": "127.0.0.1:8080"},
	}
}

func TestInstanceSurvivesTheRoundTrip(t *testing.T) {
	plain := registry.Instance{
		InstanceKey: registry.InstanceKey{
			Network: "default", Node: "n", PortName: "http",
			Service: registry.ServiceName{Namespace: "default", Name: "users"},
		},
		Address: "127.0.0.1:1", // and its protocol is undeclared
	}
	for name, want := range map[string]registry.Instance{"with every field": full(), "with those needed": plain} {
		t.Run(name, func(t *testing.T) {
			services := micro.Services(want)
			if len(services) != 1 {
				t.Fatalf("%d services", len(services))
			}
			got, err := micro.Instances(services[0], micro.Defaults{})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]registry.Instance{want}, got); diff != "" {
				t.Errorf("round trip (-want +got):\n%s", diff)
			}
		})
	}
}

func TestServiceOfGoMicroSurvivesTheRoundTrip(t *testing.T) {
	want := &microregistry.Service{
		Name: "greeter", Version: "latest",
		Nodes: []*microregistry.Node{{
			Id: "greeter-9f3b", Address: "127.0.0.1:4711",
			Metadata: map[string]string{"protocol": "grpc", "transport": "grpc"},
		}},
	}
	in, err := micro.Instances(want, micro.Defaults{Network: "dc1", Node: "vm-1"})
	if err != nil {
		t.Fatal(err)
	}
	if in[0].Node != "vm-1" || in[0].Network != "dc1" || in[0].Protocol != registry.ProtocolGRPC || in[0].PortName != "http" {
		t.Errorf("instance %+v", in[0])
	}
	got := micro.Services(in...)[0]
	if got.Nodes[0].Id != "greeter-9f3b" || got.Nodes[0].Metadata["transport"] != "grpc" {
		t.Errorf("its id or metadata is lost: %+v", got.Nodes[0])
	}
	if _, ok := got.Nodes[0].Metadata[micro.KeyID]; ok {
		t.Error("the id shows up in the node's metadata")
	}
}

func TestServicesAreGroupedByNameAndVersion(t *testing.T) {
	instance := func(service, ns, version, node string) registry.Instance {
		i := full()
		i.Service, i.Version, i.Node = registry.ServiceName{Namespace: ns, Name: service}, version, node
		return i
	}
	var got []string
	for _, s := range micro.Services(
		instance("b", "default", "v1", "n2"), instance("b", "default", "v2", "n3"),
		instance("a", "shop", "v1", "n1"), instance("b", "default", "v1", "n1"),
	) {
		words := []string{s.Name, s.Version}
		for _, n := range s.Nodes {
			words = append(words, n.Id)
		}
		got = append(got, strings.Join(words, " "))
	}
	want := []string{"a.shop v1 dc1/n1/web", "b v1 dc1/n1/web dc1/n2/web", "b v2 dc1/n3/web"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("services (-want +got):\n%s", diff)
	}
}

func TestEveryMistakeIsNamed(t *testing.T) {
	_, err := micro.Instances(&microregistry.Service{Name: "orders", Nodes: []*microregistry.Node{
		nil,
		{Id: "a", Address: "nowhere"},
		{Id: "b", Address: "10.0.0.1:80", Metadata: map[string]string{
			micro.KeyPort: "Web", micro.KeyProtocol: "smtp", micro.KeyStatus: "ill", micro.KeyWeight: "-1", micro.KeyPortNumber: "70000",
		}},
		{Id: "c", Address: "10.0.0.1:80", Metadata: map[string]string{micro.KeyNode: "x"}},
		{Id: "d", Address: "10.0.0.2:80", Metadata: map[string]string{micro.KeyNode: "x"}},
	}}, micro.Defaults{})
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{
		"a node is nil", `node "a": address: "nowhere" has no port`, micro.KeyPort + `: "Web"`, `"smtp" is not http`,
		`"ill" is not up`, `outrigger.weight "-1" is not a number from 1 to 4294967295`,
		`outrigger.portNumber "70000" is not a number from 1 to 65535`, `nodes "c" and "d" are both port http of node x`,
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error lacks %q:\n%v", want, err)
		}
	}
}

func TestServiceNames(t *testing.T) {
	for _, tc := range []struct {
		in, name, namespace string
		port                uint16
		bad                 bool
	}{
		{in: "users", name: "users", namespace: "default"},
		{in: "users.shop", name: "users", namespace: "shop"},
		{in: "users:81", name: "users", namespace: "default", port: 81},
		{in: "users.shop:81", name: "users", namespace: "shop", port: 81},
		{in: "", bad: true},
		{in: "users.", bad: true},
		{in: "users.a.b", bad: true},
		{in: "users:0", bad: true},
		{in: "users:http", bad: true},
		{in: "Users", bad: true},
	} {
		t.Run(tc.in, func(t *testing.T) {
			n, port, err := micro.ParseServiceName(tc.in)
			if tc.bad {
				if err == nil {
					t.Fatalf("taken as %v", n)
				}
				return
			}
			if err != nil || n.Name != tc.name || n.Namespace != tc.namespace || port != tc.port {
				t.Errorf("%v port %d, error %v", n, port, err)
			}
			if got := micro.ServiceName(n); tc.port == 0 && got != tc.in {
				t.Errorf("back to %q", got)
			}
		})
	}
}
