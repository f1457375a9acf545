package translate

import (
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"

	"github.com/outrigger-mesh/outrigger/controlplane/internal/mesh"
	"github.com/outrigger-mesh/outrigger/registry"
)

// Zones makes the forms of an assignment whose endpoints span zones, one for
// each place that a client can be in: endpoints of its own zone have the first
// priority, those of its region the next, all others the last. Clients take the
// next priority when the one before has no endpoint that takes requests.
//
// There are at most as many forms as there are zones and regions with
// endpoints, however many clients there are.
type Zones struct {
	name      string
	instances []mesh.Instance
	places    map[registry.Locality]struct{} // zones and regions with a form of their own
}

// NewZones is nil where one form is for everybody.
func NewZones(name string, instances []mesh.Instance) *Zones {
	z := &Zones{name: name, instances: instances, places: map[registry.Locality]struct{}{}}
	for _, i := range instances {
		for _, place := range []registry.Locality{zone(i.Locality), {Region: i.Locality.Region}} {
			if place == (registry.Locality{}) {
				continue
			}
			if _, known := z.places[place]; !known && z.divided(place) {
				z.places[place] = struct{}{}
			}
		}
	}
	if len(z.places) == 0 {
		return nil
	}
	return z
}

// divided reports whether the endpoints are not all equally near from there.
func (z *Zones) divided(place registry.Locality) bool {
	for _, i := range z.instances {
		if tier(place, i.Locality) != tier(place, z.instances[0].Locality) {
			return true
		}
	}
	return false
}

// Place is the form for a client: two clients with the same place get the
// same. The zero place is that of clients who are not near any endpoint, or do
// not say where they are; theirs is the form without priorities.
func (z *Zones) Place(client registry.Locality) registry.Locality {
	for _, place := range []registry.Locality{zone(client), {Region: client.Region}} {
		if _, ok := z.places[place]; ok {
			return place
		}
	}
	return registry.Locality{}
}

// Near makes the form for a place.
func (z *Zones) Near(place registry.Locality) *endpointv3.ClusterLoadAssignment {
	return assignment(z.name, z.instances, place)
}

// zone is a locality without what is narrower than its zone; zero where it has
// no zone.
func zone(l registry.Locality) registry.Locality {
	if l.Zone == "" {
		return registry.Locality{}
	}
	return registry.Locality{Region: l.Region, Zone: l.Zone}
}

// The tiers, by which priorities are numbered.
const (
	sameZone = iota
	sameRegion
	elsewhere
)

// tier is how near an endpoint is from a place. What is unknown is near to
// nothing.
func tier(place, endpoint registry.Locality) int {
	switch {
	case place.Zone != "" && zone(endpoint) == place:
		return sameZone
	case place.Region != "" && endpoint.Region == place.Region:
		return sameRegion
	}
	return elsewhere
}
