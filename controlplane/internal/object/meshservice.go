package object

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"github.com/outrigger-mesh/outrigger/internal/conf"
	"github.com/outrigger-mesh/outrigger/registry"
)

// maxWeight bounds an endpoint's weight, so that those of a locality add up
// within the 32 bits that xDS has for it.
const maxWeight = 1 << 16

// meshServiceFile is a MeshService as it is written.
type meshServiceFile struct {
	APIVersion string          `yaml:"apiVersion"`
	Kind       string          `yaml:"kind"`
	Metadata   metadataFile    `yaml:"metadata"`
	Spec       meshServiceSpec `yaml:"spec"`
	Status     conf.Node       `yaml:"status"`
}

type metadataFile struct {
	Name              string            `yaml:"name"`
	Namespace         string            `yaml:"namespace"`
	Labels            map[string]string `yaml:"labels"`
	Annotations       map[string]string `yaml:"annotations"`
	CreationTimestamp time.Time         `yaml:"creationTimestamp"`
}

type meshServiceSpec struct {
	Ports     []portFile     `yaml:"ports"`
	Endpoints []endpointFile `yaml:"endpoints"`
}

type portFile struct {
	Name     string            `yaml:"name"`
	Port     uint16            `yaml:"port"`
	Protocol registry.Protocol `yaml:"protocol"` // empty: undeclared, what the client speaks
}

// endpointFile is reached at its address: host:port where the service has one
// port, or a host alone with the number of each of the service's ports.
type endpointFile struct {
	Address string            `yaml:"address"`
	Ports   map[string]uint16 `yaml:"ports"`
	Weight  uint32            `yaml:"weight"`
	Region  string            `yaml:"region"`
	Zone    string            `yaml:"zone"`
	Subzone string            `yaml:"subzone"`
}

// SetDefaults implements conf.Defaulter.
func (e *endpointFile) SetDefaults() { e.Weight = 1 }

// Validate says what is wrong with the metadata.
func (m *metadataFile) Validate() error {
	var errs []error
	if err := registry.CheckName(m.Name); err != nil {
		errs = append(errs, conf.FieldErrorf("name", "%v", err))
	}
	if err := registry.CheckName(m.Namespace); err != nil {
		errs = append(errs, conf.FieldErrorf("namespace", "%v", err))
	}
	return errors.Join(errs...)
}

// Validate says what is wrong with the ports and endpoints.
func (s *meshServiceSpec) Validate() error {
	var errs []error
	add := func(path, format string, args ...any) { errs = append(errs, conf.FieldErrorf(path, format, args...)) }
	if len(s.Ports) == 0 {
		add("ports", "must name at least one port")
	}
	names, numbers := map[string]int{}, map[uint16]int{}
	for i, p := range s.Ports {
		at := fmt.Sprintf("ports[%d]", i)
		if err := registry.CheckName(p.Name); err != nil {
			add(at+".name", "%v", err)
		} else if first, ok := names[p.Name]; ok {
			add(at+".name", "%q is the name of ports[%d] already", p.Name, first)
		}
		if p.Port == 0 {
			add(at+".port", "must be from 1 to 65535")
		} else if first, ok := numbers[p.Port]; ok {
			add(at+".port", "%d is the number of ports[%d] already", p.Port, first)
		}
		if !p.Protocol.Valid() {
			add(at+".protocol", "%q is none of http, http2, grpc and tcp", p.Protocol)
		}
		names[p.Name], numbers[p.Port] = i, i
	}
	seen := map[string]string{}
	for i, e := range s.Endpoints {
		at := fmt.Sprintf("endpoints[%d]", i)
		if e.Weight == 0 || e.Weight > maxWeight {
			add(at+".weight", "must be from 1 to %d", maxWeight)
		}
		s.checkAddress(at, e, add)
		for _, se := range e.static(s.Ports) {
			key := se.PortName + " " + se.Address
			if first, ok := seen[key]; ok && first != at {
				add(at, "has the address %s of %s already", se.Address, first)
				break
			}
			seen[key] = at
		}
	}
	return errors.Join(errs...)
}

func (s *meshServiceSpec) checkAddress(at string, e endpointFile, add func(path, format string, args ...any)) {
	if e.Ports == nil {
		switch err := checkEndpoint(e.Address, true); {
		case err != nil:
			add(at+".address", "%v", err)
		case len(s.Ports) > 1:
			add(at, "the service has %d ports: write the address without a port, and under ports the number of each", len(s.Ports))
		}
		return
	}
	if err := checkEndpoint(e.Address, false); err != nil {
		add(at+".address", "%v", err)
	}
	for _, name := range slices.Sorted(maps.Keys(e.Ports)) {
		known := false
		for _, p := range s.Ports {
			known = known || p.Name == name
		}
		if !known {
			add(at+".ports."+name, "the service has no port of this name")
		}
		if e.Ports[name] == 0 {
			add(at+".ports."+name, "must be from 1 to 65535")
		}
	}
	if len(e.Ports) == 0 {
		add(at+".ports", "must have at least one of the service's ports")
	}
}

// checkEndpoint checks the address of an endpoint. xDS endpoints are addresses
// and not names, so that nobody has to resolve them.
func checkEndpoint(s string, port bool) error {
	var ip netip.Addr
	if port {
		if err := registry.CheckHostPort(s, false); err != nil {
			return err
		}
		ap, err := netip.ParseAddrPort(s)
		if err != nil {
			return fmt.Errorf("%q is not an IP address with a port: endpoints are addresses, not names", s)
		}
		ip = ap.Addr()
	} else {
		var err error
		if ip, err = netip.ParseAddr(s); err != nil {
			return fmt.Errorf("%q is not an IP address: endpoints are addresses, not names, and have no port where ports are given", s)
		}
	}
	if ip.Unmap().IsUnspecified() {
		return fmt.Errorf("%q is unspecified: nobody can be reached there", s)
	}
	return nil
}

// static gives the endpoint's address for each port.
func (e endpointFile) static(ports []portFile) []StaticEndpoint {
	base := StaticEndpoint{
		Weight:   e.Weight,
		Locality: registry.Locality{Region: e.Region, Zone: e.Zone, Subzone: e.Subzone},
	}
	var all []StaticEndpoint
	for _, p := range ports {
		se := base
		se.PortName = p.Name
		switch number, ok := e.Ports[p.Name]; {
		case e.Ports == nil:
			se.Address = e.Address
		case ok:
			if ip, err := netip.ParseAddr(e.Address); err == nil {
				se.Address = netip.AddrPortFrom(ip, number).String()
			} else {
				se.Address = e.Address + ":" + strconv.Itoa(int(number))
			}
		default:
			continue
		}
		all = append(all, se)
	}
	return all
}

func decodeMeshService(n conf.Node) (Object, error) {
	f := meshServiceFile{Metadata: metadataFile{Namespace: registry.DefaultNamespace}}
	if err := n.Decode(&f); err != nil {
		return nil, err
	}
	s := &MeshService{Meta: Meta{
		ID:     ID{Kind: KindMeshService, Namespace: f.Metadata.Namespace, Name: f.Metadata.Name},
		Labels: f.Metadata.Labels, Annotations: f.Metadata.Annotations,
		Created: f.Metadata.CreationTimestamp, Pos: n.Pos(),
	}}
	for _, p := range f.Spec.Ports {
		s.Ports = append(s.Ports, registry.Port{Name: p.Name, Number: p.Port, Protocol: p.Protocol})
	}
	for _, e := range f.Spec.Endpoints {
		s.Endpoints = append(s.Endpoints, e.static(f.Spec.Ports)...)
	}
	return s, nil
}
