package micro

import (
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"

	microregistry "go-micro.dev/v4/registry"

	"github.com/outrigger-mesh/outrigger/registry"
)

// Defaults are what an instance is given where its node's metadata does not
// say it.
type Defaults struct {
	Network string // empty: registry.DefaultNetwork
	Node    string
}

// DefaultPort is the name of a port that has none.
const DefaultPort = "http"

// Instances are the nodes of a service in the mesh's model. The error joins
// all that is wrong, each naming its node.
func Instances(s *microregistry.Service, d Defaults) ([]registry.Instance, error) {
	if s == nil {
		return nil, errors.New("no service is given")
	}
	name, port, err := ParseServiceName(s.Name)
	if err != nil {
		return nil, err
	}
	if port != 0 {
		return nil, fmt.Errorf("service %q: what is registered has no port in its name", s.Name)
	}
	var errs []error
	seen := map[registry.InstanceKey]string{}
	out := make([]registry.Instance, 0, len(s.Nodes))
	for _, n := range s.Nodes {
		if n == nil {
			errs = append(errs, fmt.Errorf("service %q: a node is nil", s.Name))
			continue
		}
		i, err := instance(name, s.Version, n, d)
		if err != nil {
			errs = append(errs, fmt.Errorf("service %q: node %q: %w", s.Name, n.Id, err))
			continue
		}
		if other, ok := seen[i.InstanceKey]; ok {
			errs = append(errs, fmt.Errorf("service %q: nodes %q and %q are both port %s of node %s",
				s.Name, other, n.Id, i.PortName, i.Node))
			continue
		}
		seen[i.InstanceKey] = n.Id
		out = append(out, i)
	}
	return out, errors.Join(errs...)
}

func instance(service registry.ServiceName, version string, n *microregistry.Node, d Defaults) (registry.Instance, error) {
	var errs []error
	meta := maps.Clone(n.Metadata)
	take := func(key string) string {
		v := meta[key]
		delete(meta, key)
		return v
	}
	number := func(key string, bits int) uint64 {
		text := take(key)
		if text == "" {
			return 0
		}
		v, err := strconv.ParseUint(text, 10, bits)
		if err != nil || v == 0 {
			errs = append(errs, fmt.Errorf("%s %q is not a number from 1 to %d", key, text, uint64(1)<<bits-1))
		}
		return v
	}
	i := registry.Instance{
		InstanceKey: registry.InstanceKey{
			Network:  first(take(KeyNetwork), d.Network, registry.DefaultNetwork),
			Node:     first(take(KeyNode), d.Node, n.Id),
			Service:  service,
			PortName: first(take(KeyPort), DefaultPort),
		},
		Address:    n.Address,
		PortNumber: uint16(number(KeyPortNumber, 16)),
		Protocol:   registry.Protocol(take(KeyProtocol)),
		Version:    version,
		Weight:     uint32(number(KeyWeight, 32)),
		Host:       take(KeyHost),
		Locality:   registry.Locality{Region: take(KeyRegion), Zone: take(KeyZone), Subzone: take(KeySubzone)},
		Status:     registry.Status(take(KeyStatus)),
	}
	if i.Protocol == "" {
		i.Protocol = guessProtocol(meta["protocol"])
	}
	if n.Id != "" && n.Id != nodeID(i.InstanceKey) {
		if meta == nil {
			meta = map[string]string{}
		}
		meta[KeyID] = n.Id
	}
	if len(meta) > 0 {
		i.Metadata = meta
	}
	return i, errors.Join(append(errs, check(i)...)...)
}

func check(i registry.Instance) []error {
	var errs []error
	if i.Node == "" {
		errs = append(errs, errors.New("has no id"))
	}
	if err := registry.CheckName(i.PortName); err != nil {
		errs = append(errs, fmt.Errorf("%s: %w", KeyPort, err))
	}
	if err := registry.CheckHostPort(i.Address, false); err != nil {
		errs = append(errs, fmt.Errorf("address: %w", err))
	}
	if !i.Protocol.Valid() {
		errs = append(errs, fmt.Errorf("%s %q is not http, http2, grpc or tcp", KeyProtocol, i.Protocol))
	}
	switch i.Status {
	case "", registry.StatusUp, registry.StatusDraining, registry.StatusDown:
	default:
		errs = append(errs, fmt.Errorf("%s %q is not up, draining or down", KeyStatus, i.Status))
	}
	return errs
}

// guessProtocol reads what Go-Micro's own servers say of themselves under
// "protocol". Those of its RPC are opaque to the mesh. Who says nothing has
// declared nothing.
func guessProtocol(s string) registry.Protocol {
	switch strings.ToLower(s) {
	case "":
		return registry.ProtocolUndeclared
	case "http":
		return registry.ProtocolHTTP
	case "grpc":
		return registry.ProtocolGRPC
	}
	return registry.ProtocolTCP
}

func first(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}
