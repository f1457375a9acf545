package translate

import (
	"cmp"
	"math"
	"net/netip"
	"slices"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/outrigger-mesh/outrigger/controlplane/internal/mesh"
	"github.com/outrigger-mesh/outrigger/registry"
)

const (
	// Blackhole is the cluster without endpoints that the share of missing
	// backends goes to.
	Blackhole = "blackhole"
	// MetadataKey is the key of filter_metadata under which clusters and
	// endpoints say what of the model they are.
	MetadataKey = "outrigger"
	// connectTimeout is how long a client may take to connect to an endpoint.
	connectTimeout = 5 * time.Second
	// httpOptionsKey is where Envoy finds a cluster's HTTP options.
	httpOptionsKey = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
)

// clusterInfo is what a cluster says of itself to those who know the mesh.
type clusterInfo struct {
	service registry.ServiceName
	port    registry.Port
}

func cluster(name string, info *clusterInfo) *clusterv3.Cluster {
	c := &clusterv3.Cluster{
		Name:                 name,
		ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_EDS},
		EdsClusterConfig:     &clusterv3.Cluster_EdsClusterConfig{EdsConfig: overADS()},
		LbPolicy:             clusterv3.Cluster_ROUND_ROBIN,
		ConnectTimeout:       durationpb.New(connectTimeout),
	}
	if info == nil {
		return c
	}
	about := map[string]*structpb.Value{
		"namespace": structpb.NewStringValue(info.service.Namespace),
		"service":   structpb.NewStringValue(info.service.Name),
		"port":      structpb.NewNumberValue(float64(info.port.Number)),
		"portName":  structpb.NewStringValue(info.port.Name),
	}
	if info.port.Protocol != registry.ProtocolUndeclared {
		about["protocol"] = structpb.NewStringValue(string(info.port.Protocol))
	}
	c.Metadata = metadata(about)
	if o := httpOptions(info.port.Protocol); o != nil {
		c.TypedExtensionProtocolOptions = map[string]*anypb.Any{httpOptionsKey: pack(o)}
	}
	return c
}

// assignment is the endpoints of a cluster, by locality, as they are from a
// place: by tier, the tiers that have any numbered from priority 0 on without
// gaps, which clients refuse. From the zero place all are equal. A locality
// weighs what its usable endpoints weigh together, so that every endpoint of
// the priority gets the share that its own weight says.
func assignment(name string, instances []mesh.Instance, place registry.Locality) *endpointv3.ClusterLoadAssignment {
	byLocality := map[registry.Locality][]mesh.Instance{}
	for _, i := range instances {
		byLocality[i.Locality] = append(byLocality[i.Locality], i)
	}
	localities := make([]registry.Locality, 0, len(byLocality))
	for l := range byLocality {
		localities = append(localities, l)
	}
	slices.SortFunc(localities, func(a, b registry.Locality) int {
		return cmp.Or(cmp.Compare(tier(place, a), tier(place, b)), a.Compare(b))
	})
	priority, last := uint32(0), -1
	a := &endpointv3.ClusterLoadAssignment{ClusterName: name}
	for _, l := range localities {
		group := &endpointv3.LocalityLbEndpoints{
			Locality: &corev3.Locality{Region: l.Region, Zone: l.Zone, SubZone: l.Subzone},
		}
		if t := tier(place, l); t != last {
			if last >= 0 {
				priority++
			}
			last = t
		}
		group.Priority = priority
		var weight uint64
		for _, i := range byLocality[l] {
			ep := endpoint(i)
			if ep == nil {
				continue
			}
			group.LbEndpoints = append(group.LbEndpoints, ep)
			if ep.GetHealthStatus() == corev3.HealthStatus_HEALTHY {
				weight += uint64(ep.GetLoadBalancingWeight().GetValue())
			}
		}
		// Zero would have the locality skipped with all that is draining in it.
		group.LoadBalancingWeight = wrapperspb.UInt32(uint32(min(max(weight, 1), math.MaxUint32)))
		a.Endpoints = append(a.Endpoints, group)
	}
	return a
}

// endpoint is nil where the address is none; sources do not let that through.
func endpoint(i mesh.Instance) *endpointv3.LbEndpoint {
	addr, err := netip.ParseAddrPort(i.Address)
	if err != nil {
		return nil
	}
	return &endpointv3.LbEndpoint{
		HostIdentifier: &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{
			Address: &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
				Address:       addr.Addr().Unmap().String(),
				PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: uint32(addr.Port())},
			}}},
		}},
		HealthStatus:        health(i.Status),
		LoadBalancingWeight: wrapperspb.UInt32(max(i.Weight, 1)),
		Metadata:            endpointMetadata(i),
	}
}

func health(s registry.Status) corev3.HealthStatus {
	switch s {
	case registry.StatusDraining:
		return corev3.HealthStatus_DRAINING
	case registry.StatusDown:
		return corev3.HealthStatus_UNHEALTHY
	}
	return corev3.HealthStatus_HEALTHY
}

func endpointMetadata(i mesh.Instance) *corev3.Metadata {
	fields := map[string]*structpb.Value{}
	for key, value := range map[string]string{
		"network": i.Network, "node": i.Node, "namespace": i.Service.Namespace, "service": i.Service.Name,
		"portName": i.PortName, "protocol": string(i.Protocol), "version": i.Version, "host": cmp.Or(i.Host, i.Machine.Name),
	} {
		if value != "" {
			fields[key] = structpb.NewStringValue(value)
		}
	}
	if i.PortNumber != 0 {
		fields["portNumber"] = structpb.NewNumberValue(float64(i.PortNumber))
	}
	if len(i.Metadata) > 0 {
		own := make(map[string]*structpb.Value, len(i.Metadata))
		for key, value := range i.Metadata {
			own[key] = structpb.NewStringValue(value)
		}
		fields["metadata"] = structpb.NewStructValue(&structpb.Struct{Fields: own})
	}
	return metadata(fields)
}

func metadata(fields map[string]*structpb.Value) *corev3.Metadata {
	return &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{MetadataKey: {Fields: fields}}}
}

// overADS says that a resource is to be asked for on the stream that this one
// came by.
func overADS() *corev3.ConfigSource {
	return &corev3.ConfigSource{
		ResourceApiVersion:    corev3.ApiVersion_V3,
		ConfigSourceSpecifier: &corev3.ConfigSource_Ads{Ads: &corev3.AggregatedConfigSource{}},
	}
}

// pack marshals a message into an Any, deterministically. Messages that are
// made here always marshal: their text is checked to be UTF-8 where it enters.
func pack(m proto.Message) *anypb.Any {
	packed := &anypb.Any{}
	if err := anypb.MarshalFrom(packed, m, proto.MarshalOptions{Deterministic: true}); err != nil {
		panic("translate: marshal " + string(m.ProtoReflect().Descriptor().FullName()) + ": " + err.Error())
	}
	return packed
}
