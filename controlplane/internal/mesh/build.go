package mesh

import (
	"cmp"
	"maps"
	"slices"

	"github.com/outrigger-mesh/outrigger/controlplane/internal/object"
	"github.com/outrigger-mesh/outrigger/registry"
)

// build makes the service as it is to be published, nil where nothing is known
// of it. An entry that holds nothing any more is forgotten.
func (s *state) build(name registry.ServiceName) *Service {
	e := s.services[name]
	if e == nil {
		return nil
	}
	svc := &Service{Name: name}
	by := winner(e.declared)
	declared, holder := e.declared[by], Holder{Source: by.source}
	if declared != nil {
		holder.Pos = declared.Pos
	}
	s.share(object.ID{Kind: object.KindMeshService, Namespace: name.Namespace, Name: name.Name}, holder, len(e.declared))
	byPort := s.mergeInstances(e, by)
	if declared != nil {
		svc.Declared = true
		s.forget(e)
		for _, p := range declared.Ports {
			svc.Ports = append(svc.Ports, Port{Port: p, Instances: byPort[p.Name]})
			delete(byPort, p.Name)
		}
		for port, instances := range byPort {
			if e.firstWarning("undeclared " + port) {
				s.log.Warn("instances register a port that the service does not declare: they get no requests there",
					"service", name.String(), "port", port, "instances", len(instances))
			}
		}
	} else {
		svc.Ports = s.implied(name, e, byPort)
	}
	if e.empty() {
		delete(s.services, name)
		return nil
	}
	slices.SortFunc(svc.Ports, func(a, b Port) int { return cmp.Compare(a.Number, b.Number) })
	return svc
}

// winner is the owner of the declaration that holds: the one that comes first.
// It is nobody's where there is none.
func winner(declared map[owner]*object.MeshService) owner {
	var first *owner
	for o := range declared {
		if first == nil || o.compare(*first) < 0 {
			first = &o
		}
	}
	if first == nil {
		return owner{}
	}
	return *first
}

// mergeInstances gives each port name its instances, by key, each address once.
// Of static endpoints those of the declaration that holds are taken.
func (s *state) mergeInstances(e *entry, declaredBy owner) map[string][]Instance {
	byPort := map[string][]Instance{}
	for _, key := range slices.SortedFunc(maps.Keys(e.instances), registry.InstanceKey.Compare) {
		claims := e.instances[key]
		if len(e.declared) > 1 {
			claims = slices.DeleteFunc(slices.Clone(claims), func(c claim) bool {
				return c.inst.Epoch == staticEpoch && c.owner != declaredBy
			})
			if len(claims) == 0 {
				continue
			}
		}
		i := mergeClaims(claims)
		s.hosts.join(&i)
		byPort[key.PortName] = append(byPort[key.PortName], i)
	}
	for port, instances := range byPort {
		byPort[port] = dropAddressTwins(instances)
	}
	return byPort
}

// mergeClaims makes one instance of what several owners say of it. The first
// owner has membership, address and port; its unknown locality is filled from
// the next; the status is the most restrictive.
func mergeClaims(claims []claim) Instance {
	slices.SortStableFunc(claims, func(a, b claim) int { return a.owner.compare(b.owner) })
	first := claims[0]
	merged := Instance{
		Instance: first.inst.Instance, Source: first.owner.source, StatusSource: first.owner.source, epoch: first.inst.Epoch,
	}
	if merged.Locality != (registry.Locality{}) {
		merged.LocalitySource = first.owner.source
	}
	for _, c := range claims[1:] {
		if status := registry.MostRestrictive(merged.Status, c.inst.Status); status != merged.Status {
			merged.Status, merged.StatusSource = status, c.owner.source
		}
		if merged.Locality == (registry.Locality{}) && c.inst.Locality != (registry.Locality{}) {
			merged.Locality, merged.LocalitySource = c.inst.Locality, c.owner.source
		}
	}
	return merged
}

// dropAddressTwins keeps of several instances at one address that of the
// latest process: the others' nodes are gone and their leases not over yet.
// Clients refuse an endpoint list with an address in it twice.
func dropAddressTwins(instances []Instance) []Instance {
	latest := make(map[string]int64, len(instances))
	for _, i := range instances {
		if epoch, ok := latest[i.Address]; !ok || i.epoch > epoch {
			latest[i.Address] = i.epoch
		}
	}
	if len(latest) == len(instances) {
		return instances
	}
	taken := make(map[string]struct{}, len(latest))
	return slices.DeleteFunc(instances, func(i Instance) bool {
		if _, ok := taken[i.Address]; ok || i.epoch != latest[i.Address] {
			return true
		}
		taken[i.Address] = struct{}{}
		return false
	})
}

// implied are the ports of a service that no object declares. Each number that
// an instance names is a port; port names for which none does share
// registry.DefaultPort: the one called http has it, else the first by name.
func (s *state) implied(name registry.ServiceName, e *entry, byPort map[string][]Instance) []Port {
	numbers := map[uint16]Port{}
	var unnumbered []string
	for _, portName := range slices.Sorted(maps.Keys(byPort)) {
		instances := byPort[portName]
		found := false
		for _, i := range instances {
			if i.PortNumber == 0 {
				continue
			}
			found = true
			s.imply(e, name, numbers, portName, i.PortNumber, instances)
		}
		if !found {
			unnumbered = append(unnumbered, portName)
		}
	}
	if i := slices.Index(unnumbered, "http"); i > 0 {
		unnumbered[0], unnumbered[i] = unnumbered[i], unnumbered[0]
	}
	for _, portName := range unnumbered {
		s.imply(e, name, numbers, portName, registry.DefaultPort, byPort[portName])
	}
	s.remember(e, numbers, byPort)
	return slices.Collect(maps.Values(numbers))
}

// imply adds a port unless another port name has its number already.
func (s *state) imply(
	e *entry, name registry.ServiceName, numbers map[uint16]Port, portName string, number uint16, instances []Instance,
) {
	if was, ok := numbers[number]; ok {
		if was.Name != portName && e.firstWarning("conflict "+portName) {
			s.log.Warn("two port names of a service imply the same port number: the second gets no requests; declare a MeshService",
				"service", name.String(), "port", number, "first", was.Name, "second", portName)
		}
		return
	}
	numbers[number] = Port{Port: registry.Port{Name: portName, Number: number, Protocol: protocolOf(instances)}, Instances: instances}
}

// protocolOf is what the first instance that says so speaks; undeclared where
// none does.
func protocolOf(instances []Instance) registry.Protocol {
	for _, i := range instances {
		if i.Protocol != "" {
			return i.Protocol
		}
	}
	return registry.ProtocolUndeclared
}

// remember adds to numbers the ports that are known from instances which have
// all gone, and notes those of today.
func (s *state) remember(e *entry, numbers map[uint16]Port, byPort map[string][]Instance) {
	for number, port := range e.remembered {
		_, taken := numbers[number]
		_, moved := byPort[port.Name] // its instances are back under another number
		if taken || moved {
			delete(e.remembered, number)
			s.remembered--
		}
	}
	for number, port := range e.remembered {
		numbers[number] = Port{Port: port}
	}
	for number, port := range numbers {
		if _, ok := e.remembered[number]; !ok && s.remembered < maxRemembered {
			e.remembered[number] = port.Port
			s.remembered++
		}
	}
}

// forget drops what is remembered of a service that is declared now.
func (s *state) forget(e *entry) {
	s.remembered -= len(e.remembered)
	clear(e.remembered)
}

// firstWarning reports whether the service was not warned of this before: what
// is wrong with it is logged once, not at each of its changes.
func (e *entry) firstWarning(key string) bool {
	_, warned := e.warned[key]
	e.warned[key] = struct{}{}
	return !warned
}
