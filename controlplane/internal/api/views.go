package api

import (
	"cmp"
	"slices"
	"strings"

	"github.com/outrigger-mesh/outrigger/controlplane/internal/mesh"
	"github.com/outrigger-mesh/outrigger/registry"
)

// Service is a service of the mesh in the API.
type Service struct {
	registry.ServiceName
	Declared bool   `json:"declared"` // by a MeshService; otherwise its instances imply it
	Ports    []Port `json:"ports"`
}

// Port is a service's port in the API.
type Port struct {
	registry.Port
	XDS       string `json:"xds"` // its name over xDS
	Endpoints int    `json:"endpoints"`
	Up        int    `json:"up"` // of them, those that take requests
}

// Endpoint is one instance behind a service's port in the API.
type Endpoint struct {
	XDS string `json:"xds"` // the service port's name over xDS
	mesh.Instance
}

// services are those of a namespace; an empty one is all.
func services(s *mesh.Snapshot, namespace string) []Service {
	all := make([]Service, 0, len(s.Services))
	for _, svc := range sorted(s) {
		if namespace != "" && namespace != svc.Name.Namespace {
			continue
		}
		out := Service{ServiceName: svc.Name, Declared: svc.Declared, Ports: []Port{}}
		for _, p := range svc.Ports {
			up := 0
			for _, i := range p.Instances {
				if i.Status == registry.StatusUp {
					up++
				}
			}
			out.Ports = append(out.Ports, Port{
				Port: p.Port, XDS: svc.Name.PortName(p.Number), Endpoints: len(p.Instances), Up: up,
			})
		}
		all = append(all, out)
	}
	return all
}

// endpoints are those of the services that match; an empty namespace or
// service matches all.
func endpoints(s *mesh.Snapshot, namespace, service string) []Endpoint {
	all := []Endpoint{}
	for _, svc := range sorted(s) {
		if namespace != "" && namespace != svc.Name.Namespace || service != "" && service != svc.Name.Name {
			continue
		}
		for _, p := range svc.Ports {
			for _, i := range p.Instances {
				all = append(all, Endpoint{XDS: svc.Name.PortName(p.Number), Instance: i})
			}
		}
	}
	return all
}

func sorted(s *mesh.Snapshot) []*mesh.Service {
	all := make([]*mesh.Service, 0, len(s.Services))
	for _, svc := range s.Services {
		all = append(all, svc)
	}
	slices.SortFunc(all, func(a, b *mesh.Service) int {
		return cmp.Or(strings.Compare(a.Name.Namespace, b.Name.Namespace), strings.Compare(a.Name.Name, b.Name.Name))
	})
	return all
}

// Status is the state of the whole control plane in short.
type Status struct {
	Version string `json:"version"`
	// NotReady is what is still waited for; empty when everything is served.
	NotReady    string         `json:"notReady,omitempty"`
	Services    int            `json:"services"`
	Hosts       int            `json:"hosts"`
	Routes      int            `json:"routes"`
	Endpoints   EndpointCounts `json:"endpoints"`
	Proxies     ProxyCounts    `json:"proxies"`
	Sources     []SourceStatus `json:"sources"`
	Collections []Collection   `json:"collections"`
}

// EndpointCounts is how many endpoints there are, by status.
type EndpointCounts struct {
	Up       int `json:"up"`
	Draining int `json:"draining"`
	Down     int `json:"down"`
}

// ProxyCounts is how the connected xDS clients stand.
type ProxyCounts struct {
	Connected int `json:"connected"`
	// NACKs is how many of them refuse something now, Refusing the first of
	// those: who, what and why.
	NACKs    int      `json:"nacks"`
	Refusing []string `json:"refusing,omitempty"`
}

// SourceStatus is how a source stands.
type SourceStatus struct {
	mesh.SourceStatus
	// Problems are what of it is wrong now; what was last good is used meanwhile.
	Problems []string `json:"problems,omitempty"`
}

// Collection is a collection of the store.
type Collection struct {
	Kind     string `json:"kind"` // its plural
	Revision string `json:"revision"`
}

// CountEndpoints counts the endpoints of a snapshot.
func CountEndpoints(s *mesh.Snapshot) EndpointCounts {
	var n EndpointCounts
	for _, svc := range s.Services {
		for _, p := range svc.Ports {
			for _, i := range p.Instances {
				switch i.Status {
				case registry.StatusDraining:
					n.Draining++
				case registry.StatusDown:
					n.Down++
				default:
					n.Up++
				}
			}
		}
	}
	return n
}
