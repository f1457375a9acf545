package upstream

import (
	"testing"

	"github.com/outrigger-mesh/outrigger/registry"
)

func TestTheStatusOfAnEndpointIsNeverEmpty(t *testing.T) {
	c := NewCluster(Config{Name: "svc"})
	t.Cleanup(c.Close)
	c.SetEndpoints([]EndpointConfig{
		{Address: "127.0.0.1:1"}, // as static ones are
		{Address: "127.0.0.1:2", Status: registry.StatusUp},
		{Address: "127.0.0.1:3", Status: registry.StatusDraining},
		{Address: "127.0.0.1:4", Status: registry.StatusDown},
	})
	want := []registry.Status{registry.StatusUp, registry.StatusUp, registry.StatusDraining, registry.StatusDown}
	for i, e := range c.Status().Endpoints {
		if e.Status != want[i] {
			t.Errorf("%s is %q, want %q", e.Address, e.Status, want[i])
		}
	}
}
