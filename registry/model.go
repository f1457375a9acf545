// Package registry is the mesh's own vocabulary: services, their instances,
// the hosts those run on, and where that is. It imports the standard library
// alone, so that every room of the house can speak it.
//
// The folders beside this file implement Go-Micro's registry.Registry for one
// backend each; registrytest is the suite that all of them pass.
package registry

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// DefaultNamespace is where a service lives that names no namespace, and
// DefaultNetwork the network of a node that names none.
const (
	DefaultNamespace = "default"
	DefaultNetwork   = "default"
)

// DefaultPort is the port that a caller means who names a service alone: the
// default of the http scheme (RFC 9110, section 4.2.1).
const DefaultPort = 80

// Locality says where something runs, from wide to narrow. Empty parts are
// unknown, not wildcards.
type Locality struct {
	Region  string `json:"region,omitempty"`
	Zone    string `json:"zone,omitempty"`
	Subzone string `json:"subzone,omitempty"` // a rack, mostly
}

// Compare orders localities by region, zone and subzone.
func (l Locality) Compare(o Locality) int {
	return cmp.Or(
		strings.Compare(l.Region, o.Region),
		strings.Compare(l.Zone, o.Zone),
		strings.Compare(l.Subzone, o.Subzone),
	)
}

// String is region/zone/subzone without the unknown tail.
func (l Locality) String() string {
	return strings.TrimRight(l.Region+"/"+l.Zone+"/"+l.Subzone, "/")
}

// Status is how far an instance may be given requests.
type Status string

// The statuses, from the least restrictive to the most.
const (
	StatusUp       Status = "up"       // takes requests
	StatusDraining Status = "draining" // finishes what it has, takes nothing new
	StatusDown     Status = "down"     // takes nothing
)

// MostRestrictive is the status to act on when two sources differ. An unknown
// or empty status counts as up.
func MostRestrictive(a, b Status) Status {
	if rank(a) >= rank(b) {
		return a
	}
	return b
}

func rank(s Status) int {
	switch s {
	case StatusDown:
		return 2
	case StatusDraining:
		return 1
	}
	return 0
}

// Protocol is what is spoken on a port.
type Protocol string

// The protocols of a port.
const (
	// ProtocolUndeclared is HTTP in the version that the client speaks: who
	// calls over HTTP/2 is served over HTTP/2, who calls over HTTP/1.1 over that.
	ProtocolUndeclared Protocol = ""
	ProtocolHTTP       Protocol = "http"  // HTTP/1.1
	ProtocolHTTP2      Protocol = "http2" // HTTP/2, by prior knowledge where there is no TLS
	ProtocolGRPC       Protocol = "grpc"  // gRPC over HTTP/2
	ProtocolTCP        Protocol = "tcp"   // bytes
)

// Valid reports whether p is one of the protocols above.
func (p Protocol) Valid() bool {
	switch p {
	case ProtocolUndeclared, ProtocolHTTP, ProtocolHTTP2, ProtocolGRPC, ProtocolTCP:
		return true
	}
	return false
}

// ServiceName names a service: the unit that callers know.
type ServiceName struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
}

// String is namespace/name.
func (n ServiceName) String() string { return n.Namespace + "/" + n.Name }

// PortName is the name of one port of the service over xDS:
// name.namespace:port, the form that proxyless gRPC clients ask for.
func (n ServiceName) PortName(port uint16) string {
	return n.Name + "." + n.Namespace + ":" + strconv.Itoa(int(port))
}

// ParsePortName is the reverse of ServiceName.PortName.
func ParsePortName(s string) (ServiceName, uint16, error) {
	host, portText, ok := strings.Cut(s, ":")
	name, ns, ok2 := strings.Cut(host, ".")
	port, err := strconv.ParseUint(portText, 10, 16)
	if !ok || !ok2 || err != nil || port == 0 || CheckName(name) != nil || CheckName(ns) != nil {
		return ServiceName{}, 0, fmt.Errorf("%q is not of the form name.namespace:port", s)
	}
	return ServiceName{Namespace: ns, Name: name}, uint16(port), nil
}

// CheckName says what is wrong with the name of a service, a namespace or a
// port; nil if nothing is. The rule is that of an RFC 1123 DNS label: at most
// 63 of a-z, 0-9 and '-', with a letter or digit at both ends.
func CheckName(s string) error {
	if s == "" {
		return errors.New("must not be empty")
	}
	if len(s) > 63 {
		return fmt.Errorf("%.20q… is longer than 63 characters", s)
	}
	for i := range len(s) {
		c := s[i]
		if c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-' && i > 0 && i < len(s)-1 {
			continue
		}
		return fmt.Errorf("%q is not a DNS label (a-z, 0-9 and '-', a letter or digit at both ends)", s)
	}
	return nil
}

// CheckHostPort says what is wrong with an address of the form host:port; nil
// if nothing is. The host may be a name or an IP, the port is a number from 1
// to 65535 (0 too, where zero says that the system may choose).
func CheckHostPort(s string, zero bool) error {
	i := strings.LastIndexByte(s, ':')
	if i < 0 {
		return fmt.Errorf("%q has no port: write host:port", s)
	}
	host, port := s[:i], s[i+1:]
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 && !zero {
		return fmt.Errorf("%q is not a port in %q: it is a number from 1 to 65535", port, s)
	}
	if strings.HasPrefix(host, "[") && strings.HasSuffix(host, "]") {
		if ip, err := netip.ParseAddr(host[1 : len(host)-1]); err != nil || !ip.Is6() {
			return fmt.Errorf("%q is not an IPv6 address in %q", host, s)
		}
		return nil
	}
	if host == "" {
		return fmt.Errorf("%q has no host: write host:port", s)
	}
	if strings.ContainsAny(host, ":/@ \t[]") {
		return fmt.Errorf("%q is not a host in %q (an IPv6 address stands in brackets)", host, s)
	}
	return nil
}

// Port is one port of a service as callers see it.
type Port struct {
	Name     string   `json:"name"` // what instances' ports are joined by
	Number   uint16   `json:"number"`
	Protocol Protocol `json:"protocol,omitempty"` // empty: undeclared
}

// Service is a name with ports. Where nobody declares a service, its
// instances imply it (see ImpliedPort).
type Service struct {
	ServiceName
	Ports []Port `json:"ports,omitempty"`
}

// InstanceKey identifies an instance through every change of its address.
type InstanceKey struct {
	Network  string      `json:"network"`
	Node     string      `json:"node"` // node id of a VM's sidecar, or pod uid
	Service  ServiceName `json:"service"`
	PortName string      `json:"portName"`
}

// String is network/node/namespace/name/port.
func (k InstanceKey) String() string {
	return k.Network + "/" + k.Node + "/" + k.Service.String() + "/" + k.PortName
}

// Compare orders keys by service, then port, network and node.
func (k InstanceKey) Compare(o InstanceKey) int {
	return cmp.Or(
		strings.Compare(k.Service.Namespace, o.Service.Namespace),
		strings.Compare(k.Service.Name, o.Service.Name),
		strings.Compare(k.PortName, o.PortName),
		strings.Compare(k.Network, o.Network),
		strings.Compare(k.Node, o.Node),
	)
}

// Instance is one port of one running copy of a service.
type Instance struct {
	InstanceKey
	// Address is where it is reached, host:port: its sidecar's inbound
	// listener where it has one.
	Address string `json:"address"`
	// PortNumber is the service port that the instance implies where no
	// Service declares PortName; zero implies none.
	PortNumber uint16            `json:"portNumber,omitempty"`
	Protocol   Protocol          `json:"protocol,omitempty"`
	Version    string            `json:"version,omitempty"`
	Weight     uint32            `json:"weight,omitempty"` // relative; zero counts as 1
	Host       string            `json:"host,omitempty"`   // name or asset id of its machine
	Locality   Locality          `json:"locality,omitzero"`
	Status     Status            `json:"status,omitempty"`
	Metadata   map[string]string `json:"metadata,omitempty"`
}

// Host is a machine as the CMDB knows it.
type Host struct {
	Key       string            `json:"key"` // the CMDB's own, stable id
	Name      string            `json:"name,omitempty"`
	Network   string            `json:"network,omitempty"`
	Addresses []string          `json:"addresses,omitempty"`
	Locality  Locality          `json:"locality,omitzero"`
	Status    Status            `json:"status,omitempty"`
	Labels    map[string]string `json:"labels,omitempty"`
}
