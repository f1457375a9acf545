package mesh_test

import (
	"testing"

	"github.com/outrigger-mesh/outrigger/controlplane/internal/source"
	"github.com/outrigger-mesh/outrigger/registry"
)

func speaks(p registry.Protocol) func(*source.Instance) {
	return func(i *source.Instance) { i.Protocol = p }
}

// TestTheProtocolOfAnImpliedPort is what one of its instances declares. What
// nobody declares stays undeclared: clients then speak as theirs do.
func TestTheProtocolOfAnImpliedPort(t *testing.T) {
	w := synced(t)
	for _, tt := range []struct {
		instances []source.Instance
		want      registry.Protocol
	}{
		{[]source.Instance{instance("n1", "http", "10.0.0.1:1", speaks(""))}, registry.ProtocolUndeclared},
		{[]source.Instance{instance("n1", "http", "10.0.0.1:1", speaks("")), instance("n2", "http", "10.0.0.2:1", speaks("grpc"))}, registry.ProtocolGRPC},
		{[]source.Instance{instance("n1", "http", "10.0.0.1:1", speaks("http2"))}, registry.ProtocolHTTP2},
		{[]source.Instance{instance("n1", "http", "10.0.0.1:1", speaks("")), instance("n2", "http", "10.0.0.2:1", speaks(""))}, registry.ProtocolUndeclared},
	} {
		w.send("a", "nodes", instances(tt.instances...))
		svc := w.mesh.Snapshot().Service(orders)
		if svc == nil || len(svc.Ports) != 1 || svc.Ports[0].Protocol != tt.want || len(svc.Ports[0].Instances) != len(tt.instances) {
			t.Errorf("service %+v, want one port with protocol %q", svc, tt.want)
		}
	}
	// A declared port says it itself.
	w.send("b", "f", declared(registry.Port{Name: "http", Number: 80, Protocol: registry.ProtocolHTTP}))
	if svc := w.mesh.Snapshot().Service(orders); svc.Ports[0].Protocol != registry.ProtocolHTTP {
		t.Errorf("the declared port has protocol %q", svc.Ports[0].Protocol)
	}
}
