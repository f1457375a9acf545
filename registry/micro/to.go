package micro

import (
	"cmp"
	"maps"
	"slices"
	"strconv"
	"strings"

	microregistry "go-micro.dev/v4/registry"

	"github.com/outrigger-mesh/outrigger/registry"
)

// Services are instances as Go-Micro has them: one Service for each name and
// version, in order of both, its nodes in order of their ids.
func Services(instances ...registry.Instance) []*microregistry.Service {
	type key struct{ name, version string }
	byKey := map[key]*microregistry.Service{}
	var out []*microregistry.Service
	for _, i := range instances {
		k := key{ServiceName(i.Service), i.Version}
		s := byKey[k]
		if s == nil {
			s = &microregistry.Service{Name: k.name, Version: k.version}
			byKey[k] = s
			out = append(out, s)
		}
		s.Nodes = append(s.Nodes, Node(i))
	}
	for _, s := range out {
		slices.SortFunc(s.Nodes, func(a, b *microregistry.Node) int { return strings.Compare(a.Id, b.Id) })
	}
	slices.SortFunc(out, func(a, b *microregistry.Service) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.Version, b.Version))
	})
	return out
}

// Node is one instance as a node.
func Node(i registry.Instance) *microregistry.Node {
	id := i.Metadata[KeyID]
	if id == "" {
		id = nodeID(i.InstanceKey)
	}
	meta := make(map[string]string, len(i.Metadata)+8)
	maps.Copy(meta, i.Metadata)
	delete(meta, KeyID)
	set := func(key, value string) {
		if value != "" {
			meta[key] = value
		}
	}
	set(KeyNetwork, i.Network)
	set(KeyNode, i.Node)
	set(KeyPort, i.PortName)
	set(KeyProtocol, string(i.Protocol))
	set(KeyHost, i.Host)
	set(KeyRegion, i.Locality.Region)
	set(KeyZone, i.Locality.Zone)
	set(KeySubzone, i.Locality.Subzone)
	set(KeyStatus, string(i.Status))
	if i.PortNumber != 0 {
		meta[KeyPortNumber] = strconv.Itoa(int(i.PortNumber))
	}
	if i.Weight != 0 {
		meta[KeyWeight] = strconv.FormatUint(uint64(i.Weight), 10)
	}
	return &microregistry.Node{Id: id, Address: i.Address, Metadata: meta}
}

func nodeID(k registry.InstanceKey) string { return k.Network + "/" + k.Node + "/" + k.PortName }
