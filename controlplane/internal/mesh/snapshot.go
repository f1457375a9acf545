package mesh

import (
	"github.com/outrigger-mesh/outrigger/controlplane/internal/object"
	"github.com/outrigger-mesh/outrigger/internal/conf"
	"github.com/outrigger-mesh/outrigger/registry"
)

// Snapshot is the whole model at one moment. It and all that hangs on it is
// immutable; what did not change is the same pointer in the next snapshot.
type Snapshot struct {
	Services map[registry.ServiceName]*Service
	// Routes are in the order of their precedence where everything else is
	// equal: older first, then by namespace and name.
	Routes []*object.HTTPRoute
	// Shared are the objects that several sources have, and whose word holds.
	// Hosts are not among them: see Hosts.Holder.
	Shared map[object.ID]Holder
}

// Holder is whose word on an object holds.
type Holder struct {
	Source string
	Pos    conf.Pos // where the object stands there
}

// Service returns a service, or nil.
func (s *Snapshot) Service(name registry.ServiceName) *Service { return s.Services[name] }

// Service is one service with its instances joined to its ports.
type Service struct {
	Name registry.ServiceName
	// Declared says that a MeshService gives the ports; otherwise the
	// instances imply them.
	Declared bool
	Ports    []Port // by number
}

// Port returns the port of that number, or nil.
func (s *Service) Port(number uint16) *Port {
	if s == nil {
		return nil
	}
	for i := range s.Ports {
		if s.Ports[i].Number == number {
			return &s.Ports[i]
		}
	}
	return nil
}

// Port is one port of a service and the instances behind it.
type Port struct {
	registry.Port
	Instances []Instance // by key; no address twice
}

// Instance is an instance and where it is known from.
type Instance struct {
	registry.Instance
	// Source is whose word holds on that it is there and where.
	Source string `json:"source"`
	// Machine is the host that it runs on, where one is known.
	Machine Machine `json:"machine,omitzero"`
	// LocalitySource and StatusSource are where those are from: a source, or
	// FromHost. Empty where nobody said.
	LocalitySource string `json:"localitySource,omitempty"`
	StatusSource   string `json:"statusSource,omitempty"`

	epoch int64
}

// Change is what differs between two snapshots.
type Change struct {
	// Old is the snapshot before; empty at first, never nil.
	Old, New *Snapshot
	// Services are the names of those added, changed or removed, sorted.
	Services []registry.ServiceName
	// Routes says that the set of routes differs.
	Routes bool
	// Hosts says that some hosts differ.
	Hosts bool
}
