// Package translate makes xDS resources of the model. Its functions are pure:
// the same snapshot gives the same resources, byte for byte.
//
// The form is that of proxyless gRPC, which the sidecar uses too. A service
// port is one name, name.namespace:port, of four resources:
//
//	Listener              api_listener with an HttpConnectionManager, RDS over ADS
//	RouteConfiguration    one virtual host for every domain
//	Cluster               EDS over ADS, round robin
//	ClusterLoadAssignment the instances, by locality; for clients whose place is
//	                      known by priority, too: own zone, own region, the rest
//
// A tcp port has the last two alone. A gateway's listener and its routes are
// named gateway/<namespace>/<name>/<port>.
//
// # Routes
//
// A service port that no HTTPRoute is attached to has one route, to its own
// cluster. As soon as one is attached, a request that matches none of its rules
// is answered 404, as the Gateway API has it for services (GAMMA).
//
// Virtual hosts hold their own routes and, after them, those of every less
// specific hostname that matches theirs too: the Gateway API lets a request
// whose most specific hostname has no rule for it go on to the next one, a
// virtual host of xDS does not.
//
// A backend that does not exist is answered 500 where it is a rule's only one.
// Where it is a share of several, xDS has no word for "a share of the requests
// is answered": the share goes to the cluster named Blackhole, which has no
// endpoints, and clients answer it 503.
package translate

import (
	"cmp"
	"slices"
	"strconv"

	resource "github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"google.golang.org/protobuf/proto"

	"github.com/outrigger-mesh/outrigger/controlplane/internal/mesh"
	"github.com/outrigger-mesh/outrigger/controlplane/internal/object"
	"github.com/outrigger-mesh/outrigger/registry"
)

// Ref names a resource.
type Ref struct {
	Type string // its type URL
	Name string
}

// Resource is a resource to be served.
type Resource struct {
	Ref
	Message proto.Message
	// Zones, if set, makes forms of the resource for clients in certain places;
	// Message is for all others. The forms differ when Message does, and only
	// then.
	Zones *Zones
}

// Changes is what a change of the model means for the resources.
type Changes struct {
	Set    []Resource // added or perhaps changed, in no order
	Remove []Ref
}

// Static are the resources that are there whatever the model is.
func Static() []Resource {
	return []Resource{
		{Ref: Ref{resource.ClusterType, Blackhole}, Message: cluster(Blackhole, nil)},
		{Ref: Ref{resource.EndpointType, Blackhole}, Message: assignment(Blackhole, nil, registry.Locality{})},
	}
}

// Change translates what differs between two snapshots, and no more than that.
func Change(c mesh.Change) Changes {
	var out Changes
	reshaped := map[registry.ServiceName]struct{}{} // with other ports than before
	for _, name := range c.Services {
		old, next := c.Old.Service(name), c.New.Service(name)
		if !slices.Equal(ports(old), ports(next)) {
			reshaped[name] = struct{}{}
			out.shape(old, next, c.New)
		}
		if next != nil {
			for i := range next.Ports {
				p := &next.Ports[i]
				n := name.PortName(p.Number)
				out.Set = append(out.Set, Resource{
					Ref:     Ref{resource.EndpointType, n},
					Message: assignment(n, p.Instances, registry.Locality{}),
					Zones:   NewZones(n, p.Instances),
				})
			}
		}
	}
	if c.Routes || len(reshaped) > 0 {
		out.routed(c, reshaped)
	}
	return out
}

func (out *Changes) set(typeURL, name string, m proto.Message) {
	out.Set = append(out.Set, Resource{Ref: Ref{typeURL, name}, Message: m})
}

func (out *Changes) remove(typeURL, name string) {
	out.Remove = append(out.Remove, Ref{typeURL, name})
}

// shape sets everything of a service but its endpoints, and removes all of the
// ports that it has no more.
func (out *Changes) shape(old, next *mesh.Service, world *mesh.Snapshot) {
	gone := map[string]registry.Port{}
	for _, p := range ports(old) {
		gone[old.Name.PortName(p.Number)] = p
	}
	for _, p := range ports(next) {
		n := next.Name.PortName(p.Number)
		was, ok := gone[n]
		if !ok || isHTTP(was) == isHTTP(p) {
			delete(gone, n)
		}
		out.set(resource.ClusterType, n, cluster(n, &clusterInfo{service: next.Name, port: p}))
		if isHTTP(p) {
			out.set(resource.ListenerType, n, listener(n))
			out.set(resource.RouteType, n, serviceRoutes(next.Name, p, world))
		}
	}
	kept := map[uint16]registry.Port{}
	for _, p := range ports(next) {
		kept[p.Number] = p
	}
	for n, p := range gone {
		if isHTTP(p) {
			out.remove(resource.ListenerType, n)
			out.remove(resource.RouteType, n)
		}
		if _, ok := kept[p.Number]; !ok {
			out.remove(resource.ClusterType, n)
			out.remove(resource.EndpointType, n)
		}
	}
}

// routed sets every route configuration that HTTPRoutes have a part in: those
// of the gateways, and of the services with routes now or before. Those of
// reshaped services were set already.
func (out *Changes) routed(c mesh.Change, reshaped map[registry.ServiceName]struct{}) {
	old, next := parents(c.Old.Routes), parents(c.New.Routes)
	for _, g := range next.gateways {
		out.set(resource.ListenerType, g.name(), listener(g.name()))
		out.set(resource.RouteType, g.name(), gatewayRoutes(g, c.New))
	}
	for _, g := range old.gateways {
		if !slices.Contains(next.gateways, g) {
			out.remove(resource.ListenerType, g.name())
			out.remove(resource.RouteType, g.name())
		}
	}
	services := slices.Concat(old.services, next.services)
	slices.SortFunc(services, compareNames)
	for _, name := range slices.Compact(services) {
		if _, ok := reshaped[name]; ok {
			continue
		}
		for _, p := range ports(c.New.Service(name)) {
			if isHTTP(p) {
				out.set(resource.RouteType, name.PortName(p.Number), serviceRoutes(name, p, c.New))
			}
		}
	}
}

// ports are the ports of a service, without what changes with its instances.
func ports(svc *mesh.Service) []registry.Port {
	if svc == nil {
		return nil
	}
	all := make([]registry.Port, len(svc.Ports))
	for i := range svc.Ports {
		all[i] = svc.Ports[i].Port
	}
	return all
}

func isHTTP(p registry.Port) bool { return p.Protocol != registry.ProtocolTCP }

// gatewayPort is one listener of a gateway.
type gatewayPort struct {
	namespace, gateway string
	port               uint16
}

// name is what the listener and its routes are called over xDS.
func (g gatewayPort) name() string {
	return "gateway/" + g.namespace + "/" + g.gateway + "/" + strconv.Itoa(int(g.port))
}

func (g gatewayPort) has(p object.Parent) bool {
	return p.Kind == object.ParentGateway && p.Namespace == g.namespace && p.Name == g.gateway && p.Port == g.port
}

type parentSet struct {
	gateways []gatewayPort
	services []registry.ServiceName
}

// parents is everything that routes are attached to, sorted.
func parents(routes []*object.HTTPRoute) parentSet {
	var set parentSet
	for _, r := range routes {
		for _, p := range r.Parents {
			if p.Kind == object.ParentGateway {
				set.gateways = append(set.gateways, gatewayPort{p.Namespace, p.Name, p.Port})
			} else {
				set.services = append(set.services, registry.ServiceName{Namespace: p.Namespace, Name: p.Name})
			}
		}
	}
	slices.SortFunc(set.gateways, func(a, b gatewayPort) int {
		return cmp.Or(cmp.Compare(a.namespace, b.namespace), cmp.Compare(a.gateway, b.gateway), cmp.Compare(a.port, b.port))
	})
	slices.SortFunc(set.services, compareNames)
	set.gateways, set.services = slices.Compact(set.gateways), slices.Compact(set.services)
	return set
}

func compareNames(a, b registry.ServiceName) int {
	return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
}
